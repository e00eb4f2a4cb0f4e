"""Forward mode by hand: tangents against ``jax.jvp``, runs against JAX's derivative, bad input."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlsm
from jlsm.numerics.jaxprs.elimination import push
from jlsm.numerics.jaxprs.forward import scan_tangents
from jlsm.numerics.time_loop import Scan
from tests.jlsm.columns import COLUMNS, KNOBS, STEPS, scenarios
from tests.jlsm.test_derivatives import two_days

FIELDS = ("Qle", "Qh")
ONE = jnp.ones(())

# ---- one function -----------------------------------------------------------------------------------------------


def expression(x, y):
    """Chains, sums over shared values, branches, moved axes, a solve, an index, a result that is an argument."""
    a = jnp.log(2.0 + x * y) - jnp.exp(-x)
    b = jnp.where(a > 1.0, jnp.sqrt(a) / (1.0 + y**2), -a)
    stacked = jnp.stack([a, b, 2.0 * a - b])
    moved = jnp.concatenate([stacked[1:], stacked[:1]]) * jnp.maximum(stacked, 0.3)
    matrix = jnp.diag(2.0 + y) + 0.1
    solved = jax.lax.custom_linear_solve(lambda v: matrix @ v, a, lambda _, v: jnp.linalg.solve(matrix, v))
    return {"moved": moved.sum(axis=0), "first": moved[0, ::2], "same": x, "fixed": jnp.ones(2), "solved": solved + a}


def test_tangents_equal_jvp():
    rng = np.random.default_rng(0)
    primals = (jnp.asarray(rng.uniform(0.1, 2.0, 5)), jnp.asarray(rng.uniform(0.1, 2.0, 5)))
    tangents = tuple(jnp.asarray(rng.normal(size=(5, 4))) for _ in primals)
    found, slopes = jax.jit(lambda one, p, t: push(expression, one, p, t))(ONE, primals, tangents)
    expected, along = jax.vmap(
        lambda *t: jax.jvp(expression, primals, t), in_axes=-1, out_axes=(None, -1)
    )(*tangents)  # fmt: skip
    for own, wanted in zip(jax.tree.leaves((found, slopes)), jax.tree.leaves((expected, along)), strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-12, atol=1e-14)


def test_a_branch_not_taken_spoils_nothing():
    """The derivative of the other branch is infinite; a factor of zero times it would be NaN."""

    def guarded(x):
        return jnp.where(x > 0.0, 3.0 * jnp.sqrt(jnp.where(x > 0.0, x, 0.0)), 2.0 * x) * x

    x, t = jnp.asarray([-1.0, 0.0, 4.0]), jnp.ones((3, 2))
    _, slope = push(guarded, ONE, (x,), (t,))
    np.testing.assert_allclose(slope[:, 0], [-4.0, 0.0, 9.0], rtol=1e-14)


def test_what_is_not_finite_stays_so():
    _, slope = push(lambda x: jnp.log(x) * 2.0, ONE, (jnp.asarray([0.0, 1.0]),), (jnp.ones((2, 1)),))
    np.testing.assert_array_equal(slope[:, 0], [np.inf, 2.0])


def test_products_are_taken_once():
    """A chain of factors is one product per direction, whatever its length."""

    def chain(x):
        for _ in range(30):
            x = jnp.sin(x) * 1.1
        return x

    jaxpr = jax.make_jaxpr(lambda x, t: push(chain, ONE, (x,), (t,)))(jnp.ones(3), jnp.ones((3, 8))).jaxpr
    wide = [e for e in jaxpr.eqns if e.primitive.name == "mul" and e.outvars[0].aval.shape == (3, 8)]
    assert len(wide) == 1


# ---- a scan whose derivative is known by hand ---------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [1, 3, 6])
def test_a_scan_of_known_derivative(chunks):
    rain = jnp.asarray([1.0, 0.5, 2.0, 0.0, 3.0, 0.25])
    scan = Scan(
        prepare=lambda constants, rows: (rows["rain"] * constants["share"], rows["day"]),
        step=lambda c, s, x: (s * c["keep"] + x[0], s * x[0], None),
    )
    constants = {"share": jnp.asarray(0.3), "keep": jnp.asarray(0.9), "name": jnp.asarray(3)}
    rows = {"rain": rain.reshape(chunks, -1), "day": jnp.arange(6).reshape(chunks, -1)}
    eye = jnp.eye(9)  # share, keep, the state, each rain
    of_constants = {"share": eye[0], "keep": eye[1], "name": None}
    of_rows = {"rain": eye[3:].reshape(chunks, -1, 9), "day": None}
    found = scan_tangents(scan, constants, jnp.asarray(2.0), rows, of_constants, eye[2], of_rows)

    def plain(share, keep, state, rain):
        outputs = []
        for value in rain:
            outputs.append(state * value * share)
            state = state * keep + value * share
        return state, jnp.stack(outputs)

    arguments = (jnp.asarray(0.3), jnp.asarray(0.9), jnp.asarray(2.0), rain)
    end, outputs = plain(*arguments)
    of_end, of_outputs = (
        jnp.concatenate([part[..., None] if part.ndim < level + 1 else part for part in parts], axis=-1)
        for level, parts in enumerate(jax.jacfwd(plain, argnums=(0, 1, 2, 3))(*arguments))
    )
    for own, wanted in zip(found, (end, outputs.reshape(chunks, -1), of_end, of_outputs), strict=True):
        np.testing.assert_allclose(own, wanted.reshape(own.shape), rtol=1e-13)


# ---- runs ---------------------------------------------------------------------------------------------------------

SERIES = "vegetation.ball_berry_slope"
STORES = [name for name in vars(two_days()[0][1]) if not name.endswith("_carry")]
"""a carry holds the rounding of its store: its derivative is rounding too"""
EARLY = np.arange(STEPS)[:, None] < np.where(np.arange(COLUMNS) % 3 == 0, STEPS // 2, STEPS)


def case(everything=None):
    """Four weathers (or others of that shape), one parameter a time series, columns that end early."""
    (params, state), forcing, site = two_days() if everything is None else everything
    forcing = dataclasses.replace(forcing, valid=jnp.asarray(EARLY))
    slope = jlsm.get_parameter(params, SERIES) * (1.0 + 0.1 * jnp.sin(jnp.arange(STEPS))[:, None])
    return jlsm.replace_parameters(params, {SERIES: slope}), forcing, site, state


def directions_of(params, forcing):
    """Every constant parameter on its own; two courses of the time series; the state's ground and snow."""
    keys = [key for key in jlsm.PARAMETERS if key != SERIES and key.split(".")[0] != "snow"][:36:2]
    count = len(keys) + 3
    directions = {key: np.broadcast_to(np.eye(count)[i], (COLUMNS, count)) for i, key in enumerate(keys)}
    course = np.zeros((STEPS, COLUMNS, count))
    course[..., -3], course[..., -2] = 1.0, np.asarray(forcing.LAI)
    return keys, directions | {SERIES: course}, count


def test_a_run_equals_jax_forward_mode():
    params, forcing, site, state = case()
    keys, directions, count = directions_of(params, forcing)
    rng = np.random.default_rng(1)
    of_state = jax.tree.map(
        lambda leaf: jnp.zeros((*leaf.shape, count)).at[..., -1].set(jnp.asarray(rng.normal(size=leaf.shape))), state
    )
    out, end, slopes, of_end = jlsm.simulate_tangents(
        params, directions, forcing, site, state, of_state=of_state, fields=FIELDS
    )

    @jax.jit
    def expected(direction, of_state):
        def run(change, state):
            own = {key: jlsm.get_parameter(params, key) + value for key, value in change.items()}
            out, end = jlsm.simulate(jlsm.replace_parameters(params, own), forcing, site, state, fields=FIELDS)
            return (out.Qle, out.Qh), end

        return jax.jvp(run, (jax.tree.map(jnp.zeros_like, direction), state), (direction, of_state))

    moved = 0
    for lane in range(count):
        at = jax.tree.map(lambda leaf, lane=lane: jnp.asarray(leaf[..., lane]), (directions, of_state))
        (series, last), (of_series, of_last) = expected(*at)
        for own, wanted in (
            (out.Qle, series[0]), (slopes.Qle[..., lane], of_series[0]), (slopes.Qh[..., lane], of_series[1]),
        ):  # fmt: skip
            scale = np.abs(np.where(EARLY, wanted, 0.0)).max()
            np.testing.assert_allclose(
                np.where(EARLY, own, 0), np.where(EARLY, wanted, 0), rtol=1e-8, atol=1e-9 * scale
            )
        moved += bool(np.abs(of_series[0]).max() > 0)
        for name in STORES:
            wanted = getattr(of_last, name)
            np.testing.assert_allclose(getattr(end, name), getattr(last, name), rtol=1e-9)
            np.testing.assert_allclose(
                getattr(of_end, name)[..., lane], wanted, rtol=1e-8, atol=1e-9 * np.abs(wanted).max(), err_msg=name
            )
    assert moved > 15, "most directions must matter, or nothing was compared"


@pytest.mark.parametrize("seed", range(3))
def test_it_is_finite_in_random_extremes(seed):
    u = np.random.default_rng(seed).beta(0.5, 0.5, (COLUMNS, KNOBS))
    params, forcing, site, state = scenarios(u)
    params, forcing, site, state = case(((params, state), forcing, site))
    _, directions, count = directions_of(params, forcing)
    of_state = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, count)).at[..., -1].set(1.0), state)
    out, _, slopes, of_end = jlsm.simulate_tangents(
        params, directions, forcing, site, state, of_state=of_state, fields=FIELDS
    )
    for leaf in (out.Qle, slopes.Qle, slopes.Qh):
        assert np.isfinite(np.asarray(leaf)[EARLY]).all()
    bad = [name for name in vars(of_end) if not np.isfinite(getattr(of_end, name)).all()]
    assert not bad


def test_sensitivities_of_one_site_without_a_column_axis():
    """Against differences; those of columns beside each other are compared in ``test_jaxprs``."""
    (params, state), forcing, site = two_days()
    whole = (params, forcing, site.numeric(), state)
    params, forcing, site, state = jax.tree.map(
        lambda leaf: jnp.asarray(leaf)[..., 4] if jnp.ndim(leaf) else leaf, whole
    )
    names, step = ("vcmax25", "soil.porosity", "canopy_height"), 1e-4
    out, _, slopes = jlsm.sensitivities(params, names, forcing, site, state, fields=FIELDS)
    assert out.Qle.shape == (STEPS,) and slopes.Qle.shape == (STEPS, 3) and slopes.Qg is None
    for i, name in enumerate(names):
        value = jlsm.get_parameter(params, name)
        above, below = (
            jlsm.simulate(
                jlsm.replace_parameters(params, {name: value * (1.0 + side * step)}), forcing, site, state,
                fields=FIELDS,
            )[0].Qle
            for side in (1.0, -1.0)
        )  # fmt: skip
        difference = (above - below) / (2.0 * step * value)
        assert np.abs(slopes.Qle[:, i]).max() > 0
        close = np.isclose(slopes.Qle[:, i], difference, rtol=1e-3, atol=1e-5 * np.abs(difference).max())
        assert close.mean() > 0.98, name  # a central difference that straddles a kink is not the derivative


def test_bad_input_is_named():
    params, forcing, site, state = case()
    with pytest.raises(jlsm.InputError, match="vcmax"):
        jlsm.sensitivities(params, ("vcmax",), forcing, site, state)
    with pytest.raises(ValueError, match="time series"):
        jlsm.sensitivities(params, (SERIES,), forcing, site, state)
    with pytest.raises(ValueError, match="different"):
        jlsm.sensitivities(params, ("vcmax25", "vegetation.vcmax25"), forcing, site, state)
    with pytest.raises(ValueError, match="directions is empty"):
        jlsm.simulate_tangents(params, {}, forcing, site, state)
    with pytest.raises(TypeError, match="unexpected keyword argument 'chunks'"):
        jlsm.simulate_tangents(params, {"vcmax25": jnp.ones((COLUMNS, 1))}, forcing, site, state, chunks=7)
    with pytest.warns(DeprecationWarning, match="has no effect"), pytest.raises(jlsm.InputError):
        jlsm.simulate_tangents(params, {"vcmax": jnp.ones((COLUMNS, 1))}, forcing, site, state, chunk=7)
