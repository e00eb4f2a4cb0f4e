"""Soil freezing against Neumann's moving front, and its limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from scipy.optimize import brentq
from scipy.special import erf, erfc

from jlsm.constants import FREEZING_POINT, LATENT_HEAT_FUSION, SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.processes.snow import snow_cover
from jlsm.processes.soil_freezing import freezing
from jlsm.processes.soil_heat import heat_column, soil_heat_capacity, soil_heat_conductivity, temperature_change
from tests.jlsm.columns import make_parameters, single, unit_cube

ONE = single(make_parameters())


def test_neumann_front():
    """Soil at +2 degC below a surface held at -10 degC: the front goes down like the square root of time."""
    water, warm, cold, dt, days = 0.3, 2.0, 10.0, 600.0, 20.0
    thickness = jnp.full((120,), 0.02)
    moisture = jnp.full(thickness.shape, water)
    cover = snow_cover(jnp.asarray(0.0), ONE.snow)
    capacity = soil_heat_capacity(ONE.soil, moisture, thickness)

    def body(carry, _):
        temperature, ice = carry
        column = heat_column(
            ONE.soil, ONE.snow, cover, thickness, temperature, moisture, jnp.full((3,), 273.15), jnp.asarray(0.0), dt
        )
        flux = column.conductance[0] * (FREEZING_POINT - cold - column.reference[0])
        temperature = temperature + temperature_change(column, jnp.stack([flux, 0.0]))[1]
        frozen = freezing(temperature, moisture, ice, capacity, thickness)
        temperature = temperature + LATENT_HEAT_FUSION * WATER_DENSITY * thickness * frozen / capacity
        return (temperature, ice + frozen), jnp.sum((ice + frozen) * thickness) / water

    start = (jnp.full(thickness.shape, FREEZING_POINT + warm), jnp.zeros(thickness.shape))
    (_, ice), front = jax.lax.scan(body, start, length=int(days * 86400 / dt))

    # ice and liquid have one conductivity and one heat capacity here, so one diffusivity on both sides
    volumetric = float(capacity[0] / thickness[0])
    diffusivity = float(soil_heat_conductivity(ONE.soil, moisture)[0]) / volumetric
    latent = LATENT_HEAT_FUSION * WATER_DENSITY * water / (volumetric * cold)
    root = brentq(
        lambda x: np.exp(-(x**2)) / erf(x) - warm / cold * np.exp(-(x**2)) / erfc(x) - x * np.sqrt(np.pi) * latent,
        1e-3,
        2.0,
    )
    time = dt * np.arange(1, front.size + 1)
    expected = 2.0 * root * np.sqrt(diffusivity * time)
    later = time > 2 * 86400
    # the front moves through a layer in steps: half a layer (1 cm) of about half a metre, and first order in time
    np.testing.assert_allclose(np.asarray(front)[later], expected[later], rtol=0.03)
    assert expected[-1] > 0.4
    assert np.sum((np.asarray(ice) > 1e-9) & (np.asarray(ice) < 0.3 - 1e-9)) <= 3  # a sharp front


@given(unit_cube(4))
def test_what_freezes_is_limited_by_heat_and_by_water(u):
    thickness = jnp.asarray(SOIL_LAYER_THICKNESS)[:, None]
    moisture = jnp.asarray(np.broadcast_to(0.45 * u[:, 0], (6, 32)))
    ice = moisture * u[:, 1]
    temperature = jnp.asarray(np.broadcast_to(FREEZING_POINT - 30.0 + 45.0 * u[:, 2], (6, 32)))
    capacity = soil_heat_capacity(ONE.soil, moisture, thickness)
    frozen = freezing(temperature, moisture, ice, capacity, thickness)
    after = temperature + LATENT_HEAT_FUSION * WATER_DENSITY * thickness * frozen / capacity
    assert (np.asarray(ice + frozen) >= -1e-16).all() and (
        np.asarray(ice + frozen) <= np.asarray(moisture) + 1e-16
    ).all()
    # never both: ice above freezing, or liquid below it
    warm, cold = np.asarray(after) > FREEZING_POINT + 1e-9, np.asarray(after) < FREEZING_POINT - 1e-9
    np.testing.assert_allclose(np.asarray(ice + frozen)[warm], 0.0, atol=1e-15)
    np.testing.assert_allclose(np.asarray(moisture - ice - frozen)[cold], 0.0, atol=1e-15)
    # it never crosses the freezing point
    assert (np.sign(np.asarray(after) - FREEZING_POINT) * np.sign(np.asarray(temperature) - FREEZING_POINT) >= 0)[
        np.abs(np.asarray(after) - FREEZING_POINT) > 1e-9
    ].all()
