"""The hand-written reverse mode of a run, against the one JAX derives, and the pieces it is evaluated in.

A run whose trajectory is worked out again instead of kept is compared in ``test_jaxprs``.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.forcing import Forcing
from jlsm.numerics.jaxprs.reverse import scan_chunks
from jlsm.numerics.time_loop import Scan
from jlsm.parameters import get_parameter, replace_parameters
from jlsm.simulation import Checkpointed, ReverseOnly, simulate
from tests.jlsm.columns import COLUMNS, KNOBS, STEPS, scenarios
from tests.jlsm.test_derivatives import two_days

FLUXES = ("Qle", "Qh", "GPP", "LWup")


def loss(arguments, forcing: Forcing, site, **options):
    """Per-site parameters, one of them a time series, the state, and three variables of the weather."""
    params, series, state, weather = arguments
    params = replace_parameters(params, {"vegetation.vcmax25": series})
    given = {name: getattr(forcing, name) for name in forcing.series()} | weather
    out, last = simulate(params, Forcing(**given, dt=forcing.dt), site, state, fields=FLUXES, **options)
    counted = jnp.where(forcing.valid, 0.01 * out.Qle + 0.007 * out.Qh + 0.01 * out.GPP + 0.01 * out.LWup, 0.0)
    stores = 0.01 * last.ground_temperature + last.soil_moisture + last.soil_ice
    return jnp.sum(counted) / STEPS + jnp.sum(stores) + jnp.sum(0.01 * last.snow_mass + 0.3 * last.canopy_water)


ours, theirs = (
    jax.jit(jax.value_and_grad(partial(loss, adjoint=adjoint))) for adjoint in (ReverseOnly(), Checkpointed())
)


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


def assert_same(found, expected):
    """Gradients of ``loss``, each to its own scale."""
    leaves = jax.tree_util.tree_flatten_with_path(expected)[0]
    for (path, wanted), own in zip(leaves, jax.tree.leaves(found), strict=True):
        name, scale = jax.tree_util.keystr(path), np.abs(wanted).max()
        # rain of a single step on melting snow magnifies the rounding of the two programs
        close = 1e-7 if name.startswith("[3]") else 1e-9
        np.testing.assert_allclose(own, wanted, rtol=close, atol=0.1 * close * scale, err_msg=name)


def test_it_equals_what_jax_derives():
    """Every parameter, state and weather variable, in four weathers, with columns that end early.

    (Not in random extremes: many of those stand on a kink, where rounding decides which side is given.)
    """
    (params, state), forcing, site = two_days()
    arguments = arguments_of(params, forcing, site, state)
    (value, found), (expected_value, expected) = ours(*arguments), theirs(*arguments)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    assert_same(found, expected)
    touched = sum(bool(np.any(wanted)) for wanted in jax.tree.leaves(expected))
    assert touched > 60, "most parameters must have an effect, or nothing was compared"


# ---- the scan, where the derivative is known by hand -----------------------------------------------------------

GROWTH = Scan(
    prepare=lambda constants, rows: (rows["rain"] * constants["share"], rows["day"]),
    step=lambda c, s, x: (s * c["keep"] + x[0], s * x[0], s),
    solved=lambda c, s, x, solution: (s * c["keep"] + x[0], s * x[0]),
)


def by_hand(share, keep, state, rain):
    outputs = []
    for value in np.asarray(rain).reshape(-1):
        outputs.append(state * value * share)
        state = state * keep + value * share
    return state, outputs


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("chunks", [1, 3, 6])
def test_a_scan_of_known_derivative(chunks, keep):
    rain = jnp.asarray([1.0, 0.5, 2.0, 0.0, 3.0, 0.25]).reshape(chunks, -1)
    rows = {"rain": rain, "day": jnp.arange(6).reshape(chunks, -1)}  # whole numbers have no derivative

    def total(share, kept, state, rain):
        constants = {"share": share, "keep": kept, "name": jnp.asarray(3)}
        end, outputs = scan_chunks(GROWTH, keep, constants, state, rows | {"rain": rain})
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
        return scan_chunks(GROWTH, True, {"share": 0.5, "keep": 0.5}, state, rows)[0]

    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(end, (jnp.ones(()),), (jnp.ones(()),))
