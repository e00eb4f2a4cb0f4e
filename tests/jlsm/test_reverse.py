"""The hand-written reverse mode of a run, against the one JAX derives, and the pieces it is evaluated in."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.forcing import Forcing
from jlsm.model import simulate
from jlsm.numerics.pieces import Pieces
from jlsm.numerics.reverse import scan_chunks
from jlsm.numerics.scan import Scan
from jlsm.parameters import get_parameter, replace_parameters
from tests.jlsm.columns import COLUMNS, KNOBS, STEPS, scenarios
from tests.jlsm.test_derivatives import two_days

FLUXES = ("Qle", "Qh", "GPP", "LWup")


def loss(arguments, forcing: Forcing, site, reverse: bool):
    """Per-site parameters, one of them a time series, the state, and three variables of the weather."""
    params, series, state, weather = arguments
    params = replace_parameters(params, {"vegetation.vcmax25": series})
    given = {name: getattr(forcing, name) for name in forcing.series()} | weather
    out, last = simulate(params, Forcing(**given, dt=forcing.dt), site, state, fields=FLUXES, reverse=reverse)
    counted = jnp.where(forcing.valid, 0.01 * out.Qle + 0.007 * out.Qh + 0.01 * out.GPP + 0.01 * out.LWup, 0.0)
    stores = 0.01 * last.ground_temperature + last.soil_moisture + last.soil_ice
    return jnp.sum(counted) / STEPS + jnp.sum(stores) + jnp.sum(0.01 * last.snow_mass + 0.3 * last.canopy_water)


ours, theirs = (jax.jit(jax.value_and_grad(partial(loss, reverse=reverse))) for reverse in (True, False))


def arguments_of(params, forcing: Forcing, site, state):
    """Arguments of ``ours`` and ``theirs``; a third of the columns ends early."""
    valid = np.arange(STEPS)[:, None] < np.where(np.arange(COLUMNS) % 3 == 0, STEPS // 2, STEPS)
    weather = {name: getattr(forcing, name) for name in ("Tair", "Precip", "LAI")}
    given = {name: getattr(forcing, name) for name in forcing.series()} | {"valid": jnp.asarray(valid)}
    series = get_parameter(params, "vegetation.vcmax25") * (1.0 + 0.1 * jnp.sin(jnp.arange(STEPS))[:, None])
    return (params, series, state, weather), Forcing(**given, dt=forcing.dt), site


@pytest.mark.parametrize("seed", range(4))
def test_it_is_finite_in_random_extremes(seed):
    u = np.random.default_rng(seed).beta(0.5, 0.5, (COLUMNS, KNOBS))
    value, gradient = ours(*arguments_of(*scenarios(u)))
    assert np.isfinite(value)
    bad = [
        jax.tree_util.keystr(p) for p, g in jax.tree_util.tree_leaves_with_path(gradient) if not np.isfinite(g).all()
    ]
    assert not bad


def test_it_equals_what_jax_derives():
    """Every parameter, state and weather variable, in four weathers, with columns that end early.

    (Not in random extremes: many of those stand on a kink, where rounding decides which side is given.)
    """
    (params, state), forcing, site = two_days()
    arguments = arguments_of(params, forcing, site, state)
    (value, found), (expected_value, expected) = ours(*arguments), theirs(*arguments)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    leaves = jax.tree_util.tree_flatten_with_path(expected)[0]
    touched = 0
    for (path, wanted), own in zip(leaves, jax.tree.leaves(found), strict=True):
        name, scale = jax.tree_util.keystr(path), np.abs(wanted).max()
        touched += bool(scale > 0)
        # rain of a single step on melting snow magnifies the rounding of the two programs
        close = 1e-7 if name.startswith("[3]") else 1e-9
        np.testing.assert_allclose(own, wanted, rtol=close, atol=0.1 * close * scale, err_msg=name)
    assert touched > 60, "most parameters must have an effect, or nothing was compared"


# ---- the scan, where the derivative is known by hand -----------------------------------------------------------

GROWTH = Scan(
    prepare=lambda constants, rows: (rows["rain"] * constants["share"], rows["day"]),
    step=lambda c, s, x: (s * c["keep"] + x[0], s * x[0], s),
    known=lambda c, s, x, found: (s * c["keep"] + x[0], s * x[0]),
)


def by_hand(share, keep, state, rain):
    outputs = []
    for value in np.asarray(rain).reshape(-1):
        outputs.append(state * value * share)
        state = state * keep + value * share
    return state, outputs


@pytest.mark.parametrize("chunks", [1, 3, 6])
def test_a_scan_of_known_derivative(chunks):
    rain = jnp.asarray([1.0, 0.5, 2.0, 0.0, 3.0, 0.25]).reshape(chunks, -1)
    rows = {"rain": rain, "day": jnp.arange(6).reshape(chunks, -1)}  # whole numbers have no derivative

    def total(share, keep, state, rain):
        constants = {"share": share, "keep": keep, "name": jnp.asarray(3)}
        end, outputs = scan_chunks(GROWTH, constants, state, rows | {"rain": rain})
        return end + jnp.sum(outputs)

    def plain(share, keep, state, rain):
        end, outputs = state, 0.0
        for value in rain.reshape(-1):
            outputs, end = outputs + end * value * share, end * keep + value * share
        return end + outputs

    arguments = (jnp.asarray(0.3), jnp.asarray(0.9), jnp.asarray(2.0), rain)
    end, outputs = by_hand(0.3, 0.9, 2.0, rain)
    np.testing.assert_allclose(total(*arguments), end + sum(outputs), rtol=1e-14)
    for found, expected in zip(
        jax.grad(total, argnums=(0, 1, 2, 3))(*arguments),
        jax.grad(plain, argnums=(0, 1, 2, 3))(*arguments),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_forward_mode_is_refused():
    rows = {"rain": jnp.ones((2, 3)), "day": jnp.zeros((2, 3))}

    def end(state):
        return scan_chunks(GROWTH, {"share": 0.5, "keep": 0.5}, state, rows)[0]

    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(end, (jnp.ones(()),), (jnp.ones(()),))


# ---- pieces ---------------------------------------------------------------------------------------------------


def long_expression(tree, other):
    """Calls, several results of one operation, results that are arguments, dead ends, a loop."""
    x, n = tree["x"], tree["n"]
    for k in range(20):
        x = jnp.sin(x) + 0.1 * k * jnp.maximum(x, other)
    unused = jnp.exp(x)  # noqa: F841
    largest, where = jax.lax.top_k(x, 2)
    turned = jax.lax.fori_loop(0, 3, lambda _, v: v * 1.5, x)
    return {"x": x, "two": (largest, where), "same": other, "fixed": jnp.arange(3), "turned": turned + n}


def in_pieces(function, once, *arguments, size):
    pieces = Pieces(function, *arguments, size=size)
    return pieces(once, pieces.room(), *arguments)[0]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pieces_give_what_the_expression_gives(size):
    arguments = ({"x": jnp.linspace(-1.0, 2.0, 5), "n": jnp.asarray(2)}, jnp.asarray(0.4))
    found = jax.jit(lambda on, *a: in_pieces(long_expression, on, *a, size=size))(jnp.asarray(True), *arguments)
    expected = long_expression(*arguments)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
        assert a.dtype == b.dtype


def test_pieces_keep_what_is_not_finite():
    found = in_pieces(lambda x: jnp.log(x) * 2.0, jnp.asarray(True), jnp.asarray([-1.0, 0.0, 1.0]), size=1)
    np.testing.assert_array_equal(found, [np.nan, -np.inf, 0.0])


@pytest.mark.parametrize("size", [1, 3, 20])
def test_room_serves_again_and_again(size):
    """A loop of evaluations in one room: what is overwritten was read by everybody who needs it."""

    def recurrence(x, y):
        z = 0.5 * jnp.sin(x)
        for k in range(10):
            x, y, z = jnp.cos(z) + 0.1 * k * y, jnp.tanh(x) - z, 0.5 * jnp.tanh(x * y)
        return x, y + z, (x > 0.0, z)

    start = (jnp.linspace(-1.0, 2.0, 5), jnp.linspace(0.5, 0.7, 5))
    pieces = Pieces(recurrence, *start, size=size)

    def one(carry, _):
        (x, y, rest), room = pieces(carry[0][0] < 1e9, carry[2], *carry[:2])
        return (x, y, room), (x, y, rest)

    found = jax.jit(lambda *a: jax.lax.scan(one, (*a, pieces.room()), None, length=6)[1])(*start)
    values = start
    for k in range(6):
        *values, rest = recurrence(*values)
        same = jax.tree.map(lambda series, k=k: series[k], found)
        for a, b in zip(jax.tree.leaves(same), jax.tree.leaves((*values, rest)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_room_is_taken_again_by_values_that_come_later():
    def long(x):
        for _ in range(40):
            x = jnp.sin(x)
        return x

    assert 2 <= len(Pieces(long, jnp.ones(3), size=1).room()) <= 4


def test_pieces_stay_apart():
    """One loop per piece: what keeps the compiler from merging them."""
    text = str(
        jax.make_jaxpr(lambda x: in_pieces(long_expression, x[0] > 0, {"x": x, "n": 1}, 0.4, size=10))(jnp.ones(5))
    )
    assert 8 <= text.count("while[") <= 20  # some ninety operations, five to fifteen in a piece, and the loop itself
