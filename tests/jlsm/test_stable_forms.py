"""Forms that stay in single precision, on the branch of the root, and off a kink; each against its plain form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.numerics import implicit_solve
from jlsm.numerics.newton import NewtonOptions
from jlsm.numerics.small_systems import eliminate
from jlsm.processes.humidity import saturation_vapour_pressure, specific_humidity
from jlsm.processes.turbulence import roughness
from jlsm.processes.vegetation import SMALLEST_LEAF_AREA, canopy_above_snow
from jlsm.simulation import simulate
from tests.jlsm.columns import make_forcing, make_parameters, make_site, make_state, with_fields


def profiles(params, leaf_area):
    canopy = canopy_above_snow(params.vegetation, leaf_area, jnp.zeros_like(leaf_area))
    return roughness(params.vegetation, params.soil, params.snow, canopy, jnp.full_like(leaf_area, 12.0))


@pytest.mark.parametrize("heat", [0.005, 0.06, 0.2])
def test_roughness_of_dense_canopies_is_finite_in_single_precision(heat):
    """Up to a leaf area of 60 with the largest drag: exp of 112, beyond what single precision holds."""
    leaf_area = jnp.asarray(np.geomspace(0.01, 60.0, 32), jnp.float32)
    params = make_parameters(leaf_drag_coefficient=0.6, leaf_heat_coefficient=heat)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)

    def inverse(params, leaf_area):
        return sum(jnp.sum(1.0 / value) for value in profiles(params, leaf_area))

    slopes = jax.grad(inverse, argnums=(0, 1))(params, leaf_area)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((profiles(params, leaf_area), slopes)))
    _, change = jax.jvp(lambda area: profiles(params, area), (leaf_area,), (leaf_area,))
    assert all(np.isfinite(leaf).all() for leaf in change)


def test_roughness_equals_the_printed_formula():
    """docs/processes/turbulence.md, with its exp(A) as printed, in double precision."""
    leaf_area = np.geomspace(0.01, 20.0, 32)
    params = make_parameters(leaf_drag_coefficient=0.4, leaf_heat_coefficient=0.1)
    rough = profiles(params, jnp.asarray(leaf_area))
    density, ratio = 0.4 * leaf_area / 0.32, 0.25
    log_heat = np.log(1.0 / 0.005)
    p1 = 0.0115 * np.exp(-0.1 * log_heat + 5.0 * np.exp(-0.22 * log_heat))
    p2 = 0.55 * np.exp(-0.58 * np.exp(-0.35 * log_heat))
    floor = (p1 / (p1 + density * np.exp(density))) ** p2 / log_heat
    depth = -np.expm1(-density) / density  # h - d of a canopy of 1 m, 12 m below the sensor
    log_above = np.log((12.0 - (1.0 - depth)) / depth)
    np.testing.assert_allclose(rough.floor_heat[0], log_above + 1.0 / floor, rtol=1e-12)
    momentum = (1.0 - np.exp(-density) + np.log(1.0 / 0.05) ** (-1.0 / 0.45) * np.exp(-2.0 * density)) ** 0.45
    np.testing.assert_allclose(rough.momentum[0], log_above + 1.0 / momentum, rtol=1e-12)
    dense = 0.5 * (np.sqrt(1.0 + 8.0 * ratio) - 1.0)
    p3, p4 = (ratio + 0.084 * np.exp(-15.0 * ratio)) ** 0.15, 2.0 * ratio**1.1
    product = 1.0 - np.exp(-p3 * density) + (momentum * floor / dense) ** (1.0 / 0.9) * np.exp(-p4 * density)
    np.testing.assert_allclose(rough.heat[0], log_above + momentum / (dense * product**0.9), rtol=1e-11)


def test_roughness_is_finite_where_its_relation_is_violated():
    """A search may try a floor rougher to heat than to momentum; ``check_parameters`` refuses it."""
    params = make_parameters(canopy_height=0.05)
    params = with_fields(
        params,
        soil=with_fields(params.soil, roughness_momentum=jnp.full(32, 0.0005), roughness_heat=jnp.full(32, 0.02)),
        snow=with_fields(params.snow, roughness_momentum=jnp.full(32, 0.0001), roughness_heat=jnp.full(32, 0.005)),
    )
    depth = jnp.linspace(0.0, 0.2, 32)
    canopy = canopy_above_snow(params.vegetation, jnp.full(32, 2.0), depth)
    rough = roughness(params.vegetation, params.soil, params.snow, canopy, jnp.full(32, 3.0))
    assert all(np.isfinite(leaf).all() for leaf in rough)


def test_specific_humidity_grows_through_boiling():
    pressure = 5.0e4
    vapour = np.linspace(0.0, 5e5, 1001)
    humidity = specific_humidity(vapour, pressure)
    assert (np.diff(humidity) > 0.0).all()
    below = vapour < pressure
    np.testing.assert_allclose(humidity[below], 0.62198 * vapour[below] / (pressure - 0.37802 * vapour[below]))
    np.testing.assert_allclose(specific_humidity(pressure, pressure), 1.0, rtol=1e-15)
    slope = jax.vmap(jax.grad(lambda t: specific_humidity(saturation_vapour_pressure(t), pressure)))
    assert (np.asarray(slope(jnp.linspace(250.0, 420.0, 200))) > 0.0).all()


def test_a_pivot_of_the_wrong_sign_is_turned_round():
    rows = [[jnp.asarray([2.0, -2.0]), None], [None, jnp.asarray([1.0, 1.0])]]
    right = [jnp.asarray([4.0, 4.0]), jnp.asarray([1.0, 1.0])]
    np.testing.assert_array_equal(eliminate(rows, right, (-1, 1))[1][0], [-2.0, -2.0])
    np.testing.assert_array_equal(eliminate(rows, right)[1][0], [2.0, -2.0])


def test_a_valley_above_zero_does_not_trap_the_iteration():
    """An equation that falls, rises and falls through its root: Newton's steps alone go to and fro in the valley."""

    def residual(x, operands):
        first, last = x
        hill = jnp.where(first < 0.0, 1.0 - first, 1.0 + 2.0 * first - 4.0 * jnp.maximum(first - 1.0, 0.0))
        return hill + 0.0 * last + operands, last - 1.0

    plain = NewtonOptions(
        depends=((0, 1), (1,)), lower=(-50.0, -50.0), upper=(50.0, 50.0), largest_step=(50.0, 50.0),
        scale=(0.1, 0.1), weight=(1.0, 1.0), folded=0,
    )  # fmt: skip
    start, operands = (jnp.asarray([-3.0, 0.5]), jnp.zeros(2)), jnp.zeros(2)
    first, last = implicit_solve(residual, plain._replace(signs=(-1, 1), folded=1), start, operands)
    np.testing.assert_allclose(first, 2.5, rtol=1e-7)
    np.testing.assert_allclose(last, 1.0)


def test_a_bare_field_has_a_derivative_by_its_leaf_area():
    """At the files' 0.01 and the default scale, against differences from either side."""
    assert 0.3 * 0.01 > SMALLEST_LEAF_AREA
    params, site = make_parameters(), make_site()
    forcing = make_forcing(lai=0.01, temperature=np.linspace(268.0, 300.0, 32))
    state = make_state(params, temperature=280.0)
    flux = jax.jit(lambda p: simulate(p, forcing, site.numeric(), state, fields=("Qle", "Qh"))[0])

    def change(scale):
        vegetation = with_fields(params.vegetation, leaf_area_scale=jnp.full(32, scale))
        return flux(with_fields(params, vegetation=vegetation))

    def mean(scale):
        out = change(scale)
        return jnp.mean(out.Qh - out.Qle, axis=0)

    _, slope = jax.jvp(mean, (1.0,), (1.0,))
    h = 1e-4
    for side in (h, -h):
        difference = (mean(1.0 + side) - mean(1.0)) / side
        np.testing.assert_allclose(slope, difference, rtol=2e-3, atol=1e-4)
    assert (np.abs(slope) > 1e-3).all()
