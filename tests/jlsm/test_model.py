"""``simulate`` and its company: stacks, padding, pieces, restarts, transformations, time steps."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.forcing import METEOROLOGY, Forcing, stack_sites
from jlsm.parameters import PARAMETERS, get_parameter, replace_parameters
from jlsm.simulation import simulate, spin_up, stream
from jlsm.simulation.sensitivity import value_and_sensitivity
from tests.jlsm.columns import (
    COLUMNS,
    STEPS,
    make_forcing,
    make_parameters,
    make_site,
    make_state,
    run,
    single,
    with_fields,
)

FIELDS = ("Qle", "Qh", "GPP")


def mixed_weather(steps=STEPS, dt=1800.0):
    """Frost to heat, dry to wet, and states that suit."""
    temperature = np.linspace(258.0, 303.0, COLUMNS)
    params = make_parameters(c4_fraction=np.linspace(0.0, 1.0, COLUMNS))
    forcing = make_forcing(
        temperature, rain=np.linspace(30.0, 0.0, COLUMNS), lai=np.linspace(0.2, 5.0, COLUMNS), steps=steps, dt=dt
    )
    state = make_state(params, temperature, snow_mass=np.where(temperature < 273.0, 20.0, 0.0), snow_temperature=260.0)
    return params, forcing, make_site(), state


def one_site(column: int):
    """A column of ``mixed_weather`` as ``load_forcing`` would give it."""
    params, forcing, site, state = mixed_weather()
    numbers = {f.name: getattr(site, f.name)[column] for f in dataclasses.fields(site) if not f.metadata.get("static")}
    texts = {name: getattr(site, name)[column] for name in ("code", "name", "igbp", "soil_texture")}
    return single(params, column), single(forcing, column), type(site)(**(numbers | texts)), single(state, column)


def same(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_columns_in_blocks_give_what_all_together_give():
    """Blocks of 12: the last of three is filled up. A time series of a parameter and scalars go through too."""
    params, forcing, site, state = mixed_weather()
    series = jnp.linspace(60.0, 90.0, STEPS)[:, None] + jnp.zeros(COLUMNS)
    params = replace_parameters(params, {"vcmax25": series, "root_depth_scale": jnp.asarray(0.4)})
    whole = simulate(params, forcing, site, state, fields=FIELDS)
    blocks = simulate(params, forcing, site, state, fields=FIELDS, columns_at_once=12)
    same(whole, blocks, rtol=1e-6, atol=1e-8)


def test_blocks_that_mean_nothing_are_refused():
    params, forcing, site, state = mixed_weather()
    with pytest.raises(ValueError, match="columns_at_once=0: give a positive number"):
        simulate(params, forcing, site, state, columns_at_once=0)


def test_a_stack_gives_what_single_runs_give():
    params, forcing, site, state = mixed_weather()
    out, last = run(params, forcing, site, state)
    for column in (0, 13, 31):
        # round-off: the compiler orders sums differently for other shapes; near saturation 1e-15 becomes 1e-9
        alone, end = run(*one_site(column))
        for name in out:
            np.testing.assert_allclose(out[name][..., column], alone[name], rtol=1e-7, atol=1e-7, err_msg=name)
        same(single(last, column), end, rtol=1e-8, atol=1e-8)


def test_padding_leaves_the_state_alone():
    pairs = [one_site(column)[1:3] for column in range(COLUMNS)]
    short = [(forcing.window(0, STEPS - 20 if k % 2 else STEPS), site) for k, (forcing, site) in enumerate(pairs)]
    forcing, site = stack_sites(short)
    assert forcing.valid is not None and forcing.steps == STEPS
    params, whole, _, state = mixed_weather()
    out, last = run(params, forcing, site, state)
    reference, end = run(params, whole, site, state)
    same(jax.tree.map(lambda x: x[..., ::2], last), jax.tree.map(lambda x: x[..., ::2], end), rtol=1e-9, atol=1e-9)
    cut = STEPS - 20
    for name in ("SoilMoist", "SoilTemp", "SWE"):
        np.testing.assert_allclose(out[name][:cut], reference[name][:cut], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(last.snow_mass[1::2], reference["SWE"][cut - 1][1::2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(last.ground_temperature[:, 1::2], reference["SoilTemp"][cut - 1][:, 1::2], rtol=1e-12)


def test_pieces_give_the_same_bits_as_each_other_and_the_same_run_as_the_whole():
    params, _, site, state = mixed_weather()
    forcing = mixed_weather(steps=2 * STEPS)[1]
    pieces = list(stream(params, forcing, site, state, chunk_steps=STEPS))
    assert [piece[0] for piece in pieces] == [slice(0, STEPS), slice(STEPS, 2 * STEPS)]
    # a restart from the state between them, as bits
    ((_, again, end),) = stream(params, forcing.window(STEPS, 2 * STEPS), site, pieces[0][2], chunk_steps=STEPS)
    same((again, end), pieces[1][1:], rtol=0.0)
    whole, last = simulate(params, forcing, site, state)
    for name in vars(again):
        joined = np.concatenate([np.asarray(getattr(piece[1], name)) for piece in pieces])
        np.testing.assert_allclose(joined, getattr(whole, name), rtol=1e-7, atol=1e-7, err_msg=name)
    same(last, end, rtol=1e-8, atol=1e-8)


def test_a_constant_series_of_a_parameter_is_the_parameter():
    params, forcing, site, state = mixed_weather()
    series = params
    for name in ("vcmax25", "canopy_height", "soil.porosity"):
        value = get_parameter(params, name)
        series = replace_parameters(series, {name: jnp.broadcast_to(value, (STEPS, *value.shape))})
    constant, end = run(params, forcing, site, state)
    varying, last = run(series, forcing, site, state)
    for name in constant:
        np.testing.assert_allclose(varying[name], constant[name], rtol=1e-9, atol=1e-9, err_msg=name)
    same(end, last, rtol=1e-9, atol=1e-9)
    # and one that changes at noon of the second day changes nothing before
    vcmax = get_parameter(series, "vcmax25").at[72:].multiply(0.3)
    changed, _ = run(replace_parameters(series, {"vcmax25": vcmax}), forcing, site, state)
    np.testing.assert_allclose(changed["GPP"][:72], varying["GPP"][:72], rtol=1e-9, atol=1e-9)
    assert (changed["GPP"][76, 15:25] < 0.95 * varying["GPP"][76, 15:25]).all()


@pytest.mark.slow
def test_vmap_over_parameters_is_a_loop_over_them():
    params, forcing, site, state = one_site(20)
    values = jnp.asarray([50.0, 80.0, 120.0])

    def fluxes(vcmax):
        now = replace_parameters(params, {"vcmax25": vcmax})
        return simulate(now, forcing, site, state)[0]

    together = jax.vmap(fluxes)(values)
    for k, value in enumerate(values):
        alone = fluxes(value)
        np.testing.assert_allclose(together.Qle[k], alone.Qle, rtol=1e-7, atol=1e-7)


def test_forward_and_reverse_doors_agree():
    """``jax.jacfwd`` and ``jax.grad`` of a run, which is what the two modes are.

    Two steps at noon, operation by operation; ``test_derivatives`` has the compiled modes of two days.
    """
    params, forcing, site, state = one_site(20)
    forcing = forcing.window(24, 26)

    def loss(values):
        out, _ = simulate(replace_parameters(params, values), forcing, site, state, fields=FIELDS)
        return jnp.mean(out.Qle) + jnp.mean(out.GPP)

    values = {"vcmax25": jnp.asarray(80.0), "leaf_drag_coefficient": jnp.asarray(0.2), "porosity": jnp.asarray(0.45)}
    with jax.disable_jit():
        (v1, forward), (v2, reverse) = (value_and_sensitivity(loss, values, mode=m) for m in ("forward", "reverse"))
    assert all(np.abs(slope) > 0 for slope in forward.values())
    np.testing.assert_allclose(v1, v2, rtol=1e-12)
    same(forward, reverse, rtol=1e-9)


def test_chosen_fields_are_the_same_numbers():
    params, forcing, site, state = mixed_weather()
    whole, _ = simulate(params, forcing, site, state)
    some, _ = simulate(params, forcing, site, state, fields=FIELDS)
    assert some.SWE is None and some.LWup is None
    for name in FIELDS:
        np.testing.assert_allclose(getattr(some, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "options, message", [({"chunk": 7}, "does not divide"), ({"fields": ("Qlw",)}, "no such output: Qlw")]
)
def test_wrong_options_are_refused(options, message):
    params, forcing, site, state = mixed_weather()
    with pytest.raises(ValueError, match=message):
        simulate(params, forcing, site, state, **options)


def test_spin_up_repeats_the_record():
    params, forcing, site, state = mixed_weather()
    np.testing.assert_array_equal(
        jax.tree.leaves(spin_up(params, forcing, site, 0.0, state))[0], jax.tree.leaves(state)[0]
    )
    twice = spin_up(params, forcing, site, 2 * STEPS / 17520, state)
    expected = state
    for _ in range(2):
        _, expected = simulate(params, forcing, site, expected, fields=("Qle",))
    same(twice, expected, rtol=0.0)


def refined(forcing: Forcing, times: int) -> Forcing:
    """Every step cut into ``times`` steps of the same weather."""
    series = {
        name: jnp.repeat(getattr(forcing, name), times, axis=0) for name in (*METEOROLOGY, "day", "second_of_day")
    }
    dt = forcing.dt / times
    later = jnp.tile(jnp.arange(times), forcing.steps)[:, None] * dt.astype(int)
    series["second_of_day"] = series["second_of_day"] + later.astype(series["second_of_day"].dtype)
    return with_fields(forcing, **series, dt=dt)


def test_half_hours_against_minutes():
    """The same weather in steps of 30 min and of 1 min; mean fluxes of the second day."""
    temperature = np.linspace(276.0, 303.0, COLUMNS)
    params, site = make_parameters(), make_site()
    forcing = make_forcing(
        temperature, wind=np.linspace(1.0, 8.0, COLUMNS), rain=np.where(np.arange(COLUMNS) % 3, 0.0, 8.0)
    )
    state = make_state(params, temperature)
    coarse, _ = run(params, forcing, site, state)
    minutes, pieces = refined(forcing, 30), []
    for start in range(0, minutes.steps, STEPS):  # pieces of the common shape: nothing to compile
        out, state = run(params, minutes.window(start, start + STEPS), site, state)
        pieces.append(out)
    for name, limit in (("Qle", 0.03), ("Qh", 0.05), ("Rnet", 0.01), ("GPP", 0.03)):
        fine = np.concatenate([piece[name] for piece in pieces])[minutes.steps // 2 :].mean(axis=0)
        difference = np.abs(coarse[name][STEPS // 2 :].mean(axis=0) - fine)
        scale = np.abs(fine).mean()
        assert difference.mean() < limit * scale, (name, difference.mean(), scale)


def test_parameters_have_no_more_than_one_axis_of_columns():
    params, _, _, _ = mixed_weather()
    arrays = eqx.filter(params, eqx.is_array)
    assert {leaf.shape for leaf in jax.tree.leaves(arrays)} == {(COLUMNS,)}
    assert len(jax.tree.leaves(arrays)) == len(PARAMETERS)
