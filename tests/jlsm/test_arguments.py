"""What a run refuses before it compiles, what it does not compile again, and what it says at its end."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.budget import Unsettled, unsettled_steps
from jlsm.command_line import run_file as door
from jlsm.errors import InputError, UnsettledWarning
from jlsm.parameters import PARAMETERS, RELATIONS, default_parameters, get_parameter, replace_parameters
from jlsm.simulation import simulate, spin_up, stream
from jlsm.simulation.run import _simulate
from tests.jlsm.builders import fake_model, fake_outputs, write_met
from tests.jlsm.columns import make_forcing, make_parameters, make_site, make_state, single, with_fields

STEPS = 4


def columns():
    params = make_parameters()
    return params, make_forcing(steps=STEPS), make_site(), make_state(params)


def refused(params, forcing, site, state) -> set[str]:
    """The one message of every door."""
    messages = set()
    for run in (
        lambda: simulate(params, forcing, site, state),
        lambda: spin_up(params, forcing, site, years=0.001),
        lambda: next(stream(params, forcing, site, state, chunk_steps=STEPS)),
    ):
        with pytest.raises(InputError) as error:
            run()
        messages.add(str(error.value))
    assert all("\n" not in message for message in messages)
    return messages


@pytest.mark.parametrize("key", PARAMETERS)
def test_values_outside_their_bounds_are_refused(key):
    params, forcing, site, state = columns()
    info = PARAMETERS[key]
    for value in (info.lower - 0.1 * (info.upper - info.lower), info.upper + 0.1 * (info.upper - info.lower), np.nan):
        values = np.array(get_parameter(params, key))
        values[3] = value
        with pytest.raises(InputError, match=f"XX-Syn: parameter {key} = .*outside its bounds.*give a value inside"):
            simulate(replace_parameters(params, {key: jnp.asarray(values)}), forcing, site, state)


def test_every_door_says_the_same():
    params, forcing, site, state = columns()
    wrong = replace_parameters(params, {"vcmax25": jnp.full(32, -80.0)})
    (message,) = refused(wrong, forcing, site, state)
    assert message == (
        "XX-Syn: parameter vegetation.vcmax25 = -80 umol m-2 s-1 is outside its bounds [10, 200]: "
        "give a value inside them"
    )


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.smaller)
def test_parameters_at_odds_are_refused(relation):
    params, forcing, site, state = columns()
    low, high = PARAMETERS[relation.smaller], PARAMETERS[relation.larger]
    wrong = replace_parameters(
        params, {relation.smaller: jnp.full(32, low.upper), relation.larger: jnp.full(32, high.lower)}
    )
    (message,) = refused(wrong, forcing, site, state)
    assert f"{relation.smaller} = " in message and relation.larger in message and relation.reason in message


def test_defaults_obey_the_relations():
    for igbp in ("CRO", "ENF", "SNO"):
        site = make_site(igbp=igbp)
        params = default_parameters(site)
        for relation in RELATIONS:
            smaller, larger = (np.asarray(get_parameter(params, key)) for key in (relation.smaller, relation.larger))
            assert (smaller < larger).all()


def test_traced_values_are_left_alone():
    params, forcing, site, state = columns()

    def flux(value):
        now = replace_parameters(params, {"vcmax25": jnp.full(32, value)})
        return simulate(now, forcing, site, state, fields=("Qle",))[0].Qle.mean()

    assert np.isfinite(jax.jit(flux)(9.0))  # a little below the bound of 10


def test_series_of_another_length_are_named():
    params, forcing, site, state = columns()
    (message,) = refused(params, with_fields(forcing, LAI=forcing.LAI[:3]), site, state)
    assert message == "forcing: LAI has 3 steps, the forcing 4 (Tair): give one value per step"
    with pytest.raises(InputError, match=r"parameter vegetation\.canopy_height has 3 steps, the forcing 4"):
        simulate(replace_parameters(params, {"canopy_height": jnp.ones((3, 32))}), forcing, site, state)


def test_weak_types_and_plain_numbers_do_not_compile_again():
    params, forcing, site, state = (single(tree) for tree in columns())
    expected, _ = simulate(params, forcing, site, state)
    before = _simulate._cache_size()
    assert jnp.asarray(1.0).weak_type
    height = float(params.vegetation.canopy_height)
    for value in (height, jnp.asarray(height)):
        now = with_fields(params, vegetation=with_fields(params.vegetation, canopy_height=value))
        weather = with_fields(forcing, dt=jnp.asarray(float(forcing.dt)))
        out, _ = simulate(now, weather, site, state)
        np.testing.assert_array_equal(out.Qle, expected.Qle)
    assert _simulate._cache_size() == before


def test_unsettled_steps_are_counted_over_pieces():
    forcing = make_forcing(steps=8, columns=3)
    out = fake_outputs(forcing)
    residual = np.zeros((8, 3))
    residual[2, 1], residual[5, 0], residual[6, 2] = 3.0, 40.0, 0.5
    parts = Unsettled()
    for start in (0, 4):
        part = dataclasses.replace(out, SolverResidual=jnp.asarray(residual[start : start + 4]))
        parts = parts.joined(unsettled_steps(part, forcing.window(start, start + 4)))
    assert parts == Unsettled(2, 24, 40.0, np.datetime64("1999-06-18T02:30"), 0)
    assert "2 of 24 steps (worst 40 W m-2 at 1999-06-18T02:30 in column 0)" in parts.line()
    settled = dataclasses.replace(out, SolverResidual=jnp.zeros((8, 3)))
    assert unsettled_steps(settled, forcing) == Unsettled(of=24) and not Unsettled(of=24).line()
    with pytest.raises(ValueError, match="add it to fields"):
        unsettled_steps(dataclasses.replace(out, SolverResidual=None), forcing)


@pytest.mark.parametrize("residual", [0.5, 12.0])
def test_a_run_says_at_its_end_what_did_not_settle(tmp_path, monkeypatch, residual):
    model = fake_model()
    plain = model.stream

    def stream(*arguments):
        for steps, out, state in plain(*arguments):
            values = jnp.where(jnp.arange(steps.start, steps.stop) == 50, residual, 0.0)
            yield steps, dataclasses.replace(out, SolverResidual=values), state

    model.stream = stream
    monkeypatch.setattr(door, "simulation", model)
    met = write_met(tmp_path / "XX-Tst_2004-2004_Test_Met.nc")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        door.run_file(met, tmp_path / "out.nc")
    lines = [str(w.message) for w in caught if issubclass(w.category, UnsettledWarning)]
    if residual < 1.0:
        assert not lines
    else:
        (line,) = lines
        assert "XX-Tst: the surface balance is not settled in 1 of 96 steps (worst 12 W m-2 at 2004-02-29T01:00" in line
