"""Soil freezing against similarity solutions of a sharp and of a wide front, and its limits, budget and derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import erf, erfc

from jlsm.constants import (
    FREEZING_POINT,
    GRAVITY,
    HEAT_CAPACITY_WATER,
    LATENT_HEAT_FUSION,
    SOIL_LAYER_THICKNESS,
    WATER_DENSITY,
)
from jlsm.processes.snow import snow_cover
from jlsm.processes.soil_freezing import freezing, liquid_limit
from jlsm.processes.soil_heat import (
    SoilLayers,
    heat_column,
    soil_heat_capacity,
    soil_heat_conductivity,
    temperature_change,
)
from tests.jlsm.columns import as_float32, make_parameters, single, unit_cube, with_fields

ONE = single(make_parameters())
FUSION = LATENT_HEAT_FUSION * WATER_DENSITY  # J m-3
# Without suction nothing stays liquid below 0 degC: at b = 2 and this suction it is 1e-4 of the pores 0.01 K below
STEP = with_fields(ONE.soil, saturated_potential=jnp.asarray(-1e-8), clapp_hornberger_b=jnp.asarray(2.0))


def per_metre(soil, water):
    """Heat conductivity, W m-1 K-1, and capacity, J m-3 K-1, of soil with so much water."""
    moisture = jnp.full((1,), water)
    return float(soil_heat_conductivity(soil, moisture)[0]), float(soil_heat_capacity(soil, moisture, 1.0)[0])


def freeze_from_above(soil, water, warm, cold, thickness, dt, days):
    """Temperature and ice of every step, ``[step, layer]``, below a surface held at ``-cold`` degC."""
    moisture = jnp.full(thickness.shape, water)
    cover = snow_cover(jnp.asarray(0.0), ONE.snow)
    capacity = soil_heat_capacity(soil, moisture, thickness)
    no_snow, no_pond = jnp.full((3,), FREEZING_POINT), jnp.asarray(0.0)

    def body(carry, _):
        temperature, ice = carry
        column = heat_column(
            soil, ONE.snow, cover, SoilLayers(thickness, temperature, moisture, ice, no_pond), no_snow, dt
        )
        flux = column.conductance[0] * (FREEZING_POINT - cold - column.reference[0])
        temperature = temperature + temperature_change(column, jnp.stack([flux, 0.0]))[1]
        frozen = freezing(soil, temperature, moisture, ice, capacity, thickness)
        temperature = temperature + FUSION * thickness * frozen / capacity
        return (temperature, ice + frozen), (temperature, ice + frozen)

    start = (jnp.full(thickness.shape, FREEZING_POINT + warm), jnp.zeros(thickness.shape))
    temperature, ice = jax.lax.scan(body, start, length=int(days * 86400 / dt))[1]
    return np.asarray(temperature), np.asarray(ice)


def test_neumann_front():
    """Soil at +2 degC below a surface held at -10 degC: without suction the front is sharp, and goes like sqrt(t)."""
    water, warm, cold, dt, days = 0.3, 2.0, 10.0, 600.0, 20.0
    thickness = jnp.full((120,), 0.02)
    _, ice = freeze_from_above(STEP, water, warm, cold, thickness, dt, days)
    front = np.sum(ice * np.asarray(thickness), axis=1) / water

    # ice and liquid have one conductivity and one heat capacity here, so one diffusivity on both sides
    conductivity, volumetric = per_metre(STEP, water)
    diffusivity = conductivity / volumetric
    latent = FUSION * water / (volumetric * cold)
    root = brentq(
        lambda x: np.exp(-(x**2)) / erf(x) - warm / cold * np.exp(-(x**2)) / erfc(x) - x * np.sqrt(np.pi) * latent,
        1e-3,
        2.0,
    )
    time = dt * np.arange(1, front.size + 1)
    expected = 2.0 * root * np.sqrt(diffusivity * time)
    later = time > 2 * 86400
    # the front moves through a layer in steps: half a layer (1 cm) of about half a metre, and first order in time
    np.testing.assert_allclose(front[later], expected[later], rtol=0.03)
    assert expected[-1] > 0.4
    assert np.sum((ice[-1] > 1e-3) & (ice[-1] < 0.3 - 1e-3)) <= 3  # a sharp front


def test_a_wide_freezing_zone():
    """The same in loam, where water freezes over several kelvin: the heat equation in z / sqrt(t), solved by shooting.

    ``k T'' = -(eta / 2) (C + L d(liquid)/dT) T'``, eta = z / sqrt(t): the latent heat is a heat capacity here.
    """
    water, warm, cold, dt, days = 0.3, 2.0, 10.0, 600.0, 20.0
    # fine where it freezes, and deep enough to be without end
    soil, thickness = ONE.soil, jnp.concatenate([jnp.full((150,), 0.01), jnp.full((60,), 0.1)])
    temperature, ice = freeze_from_above(soil, water, warm, cold, thickness, dt, days)

    porosity, b = float(soil.porosity), float(soil.clapp_hornberger_b)
    entry = GRAVITY * FREEZING_POINT / LATENT_HEAT_FUSION * -float(soil.saturated_potential)
    point = entry * (water / porosity) ** -b  # K below 0 degC where this much water begins to freeze
    conductivity, capacity = per_metre(soil, water)

    def liquid(below):
        return porosity * (np.maximum(below, point) / entry) ** (-1.0 / b)

    def slope(eta, y):  # of temperature (degC), heat flux and ice above eta
        below = max(-y[0], 1e-9)
        apparent = capacity + (FUSION * liquid(below) / (b * below) if below > point else 0.0)
        return [y[1] / conductivity, -0.5 * eta * apparent * y[1] / conductivity, water - liquid(-y[0])]

    def shoot(gradient, **options):
        far = 8.0 * np.sqrt(conductivity / capacity)
        return solve_ivp(slope, (0.0, far), [-cold, gradient, 0.0], method="LSODA", rtol=1e-8, atol=1e-9, **options)

    start = warm + cold
    guess = conductivity * start / np.sqrt(conductivity / capacity)
    right = brentq(lambda g: shoot(g).y[0, -1] - warm, 0.1 * guess, 10.0 * guess, rtol=1e-7)
    exact = shoot(right, dense_output=True)

    time = dt * np.arange(1, ice.shape[0] + 1)
    later = time > 2 * 86400
    total = ice @ np.asarray(thickness)
    np.testing.assert_allclose(total[later], exact.y[2, -1] * np.sqrt(time)[later], rtol=0.02)
    depth = np.cumsum(np.asarray(thickness)) - 0.5 * np.asarray(thickness)
    inside = depth / np.sqrt(time[-1]) < exact.t[-1]
    profile = exact.sol(depth[inside] / np.sqrt(time[-1]))[0]
    np.testing.assert_allclose(temperature[-1][inside] - FREEZING_POINT, profile, atol=0.1)  # K of 12
    assert np.sum((ice[-1] > 1e-3) & (ice[-1] < 0.9 * ice[-1].max())) > 10  # a zone, not a front


def test_freezing_goes_on_without_a_way_back():
    """Steady cold over the model's own layers and step: a layer that freezes never melts in between."""
    thickness = jnp.asarray(SOIL_LAYER_THICKNESS)
    temperature, ice = freeze_from_above(ONE.soil, 0.35, 1.0, 8.0, thickness, 1800.0, 30.0)
    assert np.diff(ice, axis=0).min() > -1e-6  # the tolerance of the freezing curve (two steps of Halley)
    assert np.diff(temperature[:, 0]).max() < 1e-3
    assert ice[-1, 0] > 0.2


def random_layers(u):
    """Soils, ponds and layers between their bounds: ``(soil, temperature, moisture, ice, capacity, thickness)``."""
    soil = with_fields(
        make_parameters().soil,
        porosity=jnp.asarray(0.25 + 0.5 * u[:, 0]),
        saturated_potential=jnp.asarray(-0.01 * 150.0 ** u[:, 1]),
        clapp_hornberger_b=jnp.asarray(2.0 + 13.0 * u[:, 2]),
        heat_capacity=jnp.asarray(0.5e6 + 2e6 * u[:, 3]),
    )
    thickness = jnp.asarray(SOIL_LAYER_THICKNESS)[:, None]
    moisture = jnp.broadcast_to(soil.porosity * u[:, 4], (6, 32))
    ice = moisture * u[:, 5]
    temperature = jnp.broadcast_to(FREEZING_POINT - 60.0 + 100.0 * u[:, 6], (6, 32))
    pond = HEAT_CAPACITY_WATER * 300.0 * u[:, 7] * (u[:, 8] > 0.5)  # shares the first layer's temperature
    capacity = soil_heat_capacity(soil, moisture, thickness).at[0].add(pond)
    return soil, temperature, moisture, ice, capacity, thickness


@given(unit_cube(9))
def test_ice_and_temperature_fit_each_other_and_the_heat(u):
    soil, temperature, moisture, ice, capacity, thickness = random_layers(u)
    frozen = freezing(soil, temperature, moisture, ice, capacity, thickness)
    after = temperature + FUSION * thickness * frozen / capacity
    ice_after = np.asarray(ice + frozen)
    assert (ice_after >= 0.0).all() and (ice_after <= np.asarray(moisture)).all()
    fitting = np.maximum(np.asarray(moisture - liquid_limit(soil, after)), 0.0)
    # what a kelvin freezes at this temperature turns the error of the root into one of the curve
    entry = GRAVITY * FREEZING_POINT / LATENT_HEAT_FUSION * -soil.saturated_potential
    below = jnp.maximum(FREEZING_POINT - after, entry)
    per_kelvin = liquid_limit(soil, after) / (soil.clapp_hornberger_b * below)
    steepness = 1.0 + np.asarray(FUSION * thickness / capacity * per_kelvin)
    assert (np.abs(ice_after - fitting) < 5e-6 * steepness + 1e-15).all()
    # never both: ice above freezing, or freezing by heat that came from nowhere
    np.testing.assert_allclose(ice_after[np.asarray(after) > FREEZING_POINT], 0.0, atol=1e-15)
    # what is in equilibrium stays
    again = freezing(soil, after, moisture, jnp.asarray(ice_after), capacity, thickness)
    np.testing.assert_allclose(again, 0.0, atol=5e-6)


@given(unit_cube(9))
def test_derivatives_are_finite_and_those_of_the_function(u):
    soil, temperature, moisture, ice, capacity, thickness = random_layers(u)

    def frozen(soil, temperature, moisture, ice, capacity):
        return jnp.sum(freezing(soil, temperature, moisture, ice, capacity, thickness), axis=0)

    inputs = (soil, temperature, moisture, ice, capacity)
    gradient = jax.grad(lambda *x: jnp.sum(frozen(*x)), argnums=(0, 1, 2, 3, 4))(*inputs)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(freezing(*as_float32((*inputs, thickness)))))

    # central differences in one layer, where the kinks (first ice, a dry start of the root) are not within the step
    step = 1e-5
    layer = lambda t: freezing(soil, t, moisture, ice, capacity, thickness)[2]  # noqa: E731
    low, middle, high = (np.asarray(layer(temperature + s)) for s in (-step, 0.0, step))
    smooth = np.abs(high - 2.0 * middle + low) < 1e-9
    got = np.asarray(gradient[1][2])
    np.testing.assert_allclose(got[smooth], ((high - low) / (2 * step))[smooth], rtol=1e-3, atol=1e-6)
    assert smooth.sum() > 16


def test_liquid_limit_is_that_of_niu_and_yang():
    """Their equation 3 with the temperature in the denominator, at -5 degC; all pores above the entry depression."""
    soil, frost = ONE.soil, 5.0
    suction = LATENT_HEAT_FUSION * frost / (GRAVITY * (FREEZING_POINT - frost))
    share = (suction / -float(soil.saturated_potential)) ** (-1.0 / float(soil.clapp_hornberger_b))
    got = liquid_limit(soil, jnp.asarray(FREEZING_POINT - frost))
    np.testing.assert_allclose(got, float(soil.porosity) * share, rtol=4e-3)
    np.testing.assert_allclose(liquid_limit(soil, jnp.asarray([FREEZING_POINT, 300.0])), soil.porosity, rtol=1e-15)
