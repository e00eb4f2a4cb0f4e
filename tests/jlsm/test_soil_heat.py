"""Heat conduction against the damped temperature wave, and its budget."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from jlsm.constants import HEAT_CAPACITY_ICE, SOIL_LAYER_THICKNESS
from jlsm.processes.snow import snow_cover
from jlsm.processes.soil_heat import (
    SoilLayers,
    heat_column,
    soil_heat_capacity,
    soil_heat_conductivity,
    temperature_change,
)
from tests.jlsm.columns import make_parameters, make_state, single, unit_cube

PARAMS = make_parameters()
ONE = single(PARAMS)
MOISTURE = 0.3
BARE = snow_cover(jnp.asarray(0.0), ONE.snow)


def bare_step(thickness, temperature, surface, dt):
    """Soil temperature and ground heat flux after a step below a surface of given temperature."""
    moisture = jnp.full(thickness.shape, MOISTURE)
    cold = jnp.full((3,), 273.15)
    layers = SoilLayers(thickness, temperature, moisture, jnp.zeros_like(moisture), jnp.asarray(0.0))
    column = heat_column(ONE.soil, ONE.snow, BARE, layers, cold, dt)
    flux = column.conductance[0] * (surface - column.reference[0])
    return temperature + temperature_change(column, jnp.stack([flux, 0.0]))[1], flux


def run_wave(thickness, dt, period, days, start, surface):
    """Temperature after and flux of every step, for a surface temperature ``surface(t)``."""
    thickness = jnp.asarray(thickness)

    def body(temperature, number):
        temperature, flux = bare_step(thickness, temperature, surface((number + 1.0) * dt), jnp.asarray(dt))
        return temperature, (temperature, flux)

    steps = int(round(days * 86400 / dt))
    return jax.lax.scan(body, jnp.asarray(start), jnp.arange(steps))[1]


def uniform_soil():
    capacity = float(soil_heat_capacity(ONE.soil, jnp.full((1,), MOISTURE), 1.0)[0])
    return float(soil_heat_conductivity(ONE.soil, jnp.full((1,), MOISTURE))[0]), capacity


def wave_error(layers, dt, depth=1.5):
    """Largest departure from the analytic damped daily wave of 10 K over one day, K."""
    conductivity, capacity = uniform_soil()
    omega = 2 * np.pi / 86400
    damping = np.sqrt(2 * conductivity / capacity / omega)
    thickness = np.full(layers, depth / layers)
    z = np.cumsum(thickness) - 0.5 * thickness

    def exact(t):
        return 285.0 + 10.0 * np.exp(-z / damping) * np.sin(omega * t[..., None] - z / damping)

    surface = lambda t: 285.0 + 10.0 * jnp.sin(omega * t)  # noqa: E731
    temperature, _ = run_wave(thickness, dt, 86400.0, 2.0, exact(np.array(0.0)), surface)
    time = dt * np.arange(1, len(temperature) + 1)
    return float(np.abs(np.asarray(temperature) - exact(time))[len(time) // 2 :].max())


def test_damped_daily_wave_converges_with_the_layers_to_second_order():
    coarse, middle, fine = (wave_error(layers, 60.0) for layers in (30, 60, 120))
    assert middle < 0.1  # K of 10, layers of 2.5 cm against a damping depth of 13 cm
    assert 3.2 < coarse / middle < 4.3 and 3.2 < middle / fine < 4.3


def test_the_wave_converges_with_the_time_step_to_first_order():
    coarse, middle, fine = (wave_error(150, dt) for dt in (1800.0, 900.0, 450.0))
    assert coarse < 0.2  # K of 10 at the model's own step
    assert 1.7 < coarse / middle < 2.2 and 1.6 < middle / fine < 2.2


@pytest.mark.parametrize("period, amplitude, limit", [(86400.0, 10.0, 0.25), (365 * 86400.0, 10.0, 0.05)])
def test_six_layers_against_sixty(period, amplitude, limit):
    """Ground heat flux of the model's layers and of layers a tenth as thick; share of its amplitude.

    By day the second layer (20 cm) is thicker than the damping depth (13 cm): 19 %. By year 3 %.
    """
    coarse = np.array(SOIL_LAYER_THICKNESS)
    fine = np.repeat(coarse / 10, 10)
    dt, days = (1800.0, 5.0) if period < 1e6 else (6 * 3600.0, 730.0)
    surface = lambda t: 285.0 + amplitude * jnp.sin(2 * jnp.pi * t / period)  # noqa: E731
    fluxes = []
    for layers in (coarse, fine):
        _, flux = run_wave(layers, dt, period, days, np.full(layers.size, 285.0), surface)
        fluxes.append(np.asarray(flux)[-int(period / dt) :])
    difference = np.sqrt(np.mean((fluxes[0] - fluxes[1]) ** 2)) / np.sqrt(np.mean(fluxes[1] ** 2))
    assert difference < limit, difference


@given(unit_cube(12))
def test_heat_goes_where_the_fluxes_say(u):
    """Heat gained by snow and soil is what came through both surfaces, for any snow cover."""
    mass = np.where(u[:, 0] < 0.2, 0.0, 300.0 * u[:, 0] ** 3)
    cover = snow_cover(jnp.asarray(mass), PARAMS.snow)
    thickness = jnp.asarray(SOIL_LAYER_THICKNESS)[:, None]
    soil, snow = 240.0 + 70.0 * u[:, 1:7].T, 233.15 + 40.0 * u[:, 7:10].T
    state = make_state(PARAMS)
    pond, flux = 100.0 * u[:, 10], np.stack([-300.0 + 800.0 * u[:, 11], -300.0 + 800.0 * u[:, 10]])
    layers = SoilLayers(thickness, jnp.asarray(soil), state.soil_moisture, state.soil_ice, jnp.asarray(pond))
    column = heat_column(PARAMS.soil, PARAMS.snow, cover, layers, jnp.asarray(snow), jnp.asarray(1800.0))
    snow_change, soil_change = temperature_change(column, jnp.asarray(flux))
    gained = (column.soil_capacity * soil_change).sum(axis=0) + (
        HEAT_CAPACITY_ICE * cover.fraction * cover.layer_mass * snow_change
    ).sum(axis=0)
    came = 1800.0 * ((1.0 - cover.fraction) * flux[0] + cover.fraction * flux[1])
    np.testing.assert_allclose(gained, came, atol=1e-5)  # J m-2, of 1e8
    # the flux through a surface is its conductance times the difference to the layer's end temperature
    first = jnp.stack([soil[0] + soil_change[0], snow[0] + snow_change[0]])
    gain = jnp.stack([column.per_bare[3], column.per_snow[0]])
    other = jnp.stack([column.per_snow[3] * flux[1], column.per_bare[0] * flux[0]])
    np.testing.assert_allclose(first, column.reference + gain * flux + other, rtol=1e-12)


def test_an_isothermal_column_stays_so():
    thickness = jnp.asarray(SOIL_LAYER_THICKNESS)
    after, flux = bare_step(thickness, jnp.full((6,), 280.0), 280.0, jnp.asarray(1800.0))
    np.testing.assert_allclose(after, 280.0, rtol=1e-15)
    np.testing.assert_allclose(flux, 0.0, atol=1e-9)
