"""Humidity and sun against the libraries that others use for them: metpy and pvlib."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pvlib
import pytest
from metpy import calc
from metpy.units import units

from jlsm.processes import humidity, solar

KELVIN, PASCAL = units.kelvin, units.pascal


def of_metpy(quantity) -> np.ndarray:
    return np.asarray(quantity.to_base_units().magnitude)


def test_saturation_over_water_and_ice():
    """WMO's formulas are within 0.4 % of Murphy & Koop (2005), metpy's (Ambaum 2020) too between -40 and 45 degC."""
    warm, cold = np.linspace(253.15, 318.15, 66), np.linspace(233.15, 273.1, 40)
    water = of_metpy(calc.saturation_vapor_pressure(warm * KELVIN, phase="liquid"))
    ice = of_metpy(calc.saturation_vapor_pressure(cold * KELVIN, phase="solid"))
    np.testing.assert_allclose(humidity.saturation_over_water(warm), water, rtol=4e-3)
    np.testing.assert_allclose(humidity.saturation_vapour_pressure(cold), ice, rtol=4e-3)
    melted = warm[warm >= 273.15]
    np.testing.assert_array_equal(humidity.saturation_vapour_pressure(melted), humidity.saturation_over_water(melted))


def test_measures_of_humidity():
    """The same conversions; the ratio of molar masses differs in its fifth digit (0.62198 and 0.62196)."""
    rng = np.random.default_rng(0)
    temperature, pressure = rng.uniform(260.0, 310.0, 500), rng.uniform(7e4, 1.05e5, 500)
    vapour = rng.uniform(0.05, 1.0, 500) * humidity.saturation_over_water(temperature)
    mixed = calc.mixing_ratio(vapour * PASCAL, pressure * PASCAL)
    specific = humidity.specific_humidity(vapour, pressure)
    np.testing.assert_allclose(specific, of_metpy(calc.specific_humidity_from_mixing_ratio(mixed)), rtol=5e-5)
    np.testing.assert_allclose(humidity.vapour_pressure(specific, pressure), vapour, rtol=1e-13)
    relative = calc.relative_humidity_from_specific_humidity(
        pressure * PASCAL, temperature * KELVIN, specific * units.dimensionless
    )
    found = humidity.relative_humidity(specific, temperature, pressure)
    np.testing.assert_allclose(found, of_metpy(relative), rtol=4e-3)
    deficit = humidity.vapour_pressure_deficit(specific, temperature, pressure)
    np.testing.assert_allclose(deficit, (1.0 - found) * vapour / found, atol=1e-9)


@pytest.mark.parametrize("name", ["saturation_vapour_pressure", "saturation_over_water"])
def test_numpy_stays_in_double_precision(name):
    """Without JAX's single precision in between, and the same numbers from JAX, compiled or not."""
    function, temperature = getattr(humidity, name), np.linspace(230.0, 320.0, 50)
    with jax.enable_x64(False):
        exact = function(temperature)
        assert isinstance(exact, np.ndarray) and exact.dtype == np.float64
        single = jnp.asarray(temperature)
        assert jax.jit(function)(single).dtype == jnp.float32
        np.testing.assert_allclose(function(single), exact, rtol=5e-6)


def test_series_of_the_sun_have_their_author_s_coefficients():
    """Pvlib's Spencer (1971) counts 365 days a year, and reads his equation of time's first term as a tenth of ours
    (0.9 s)."""
    days = np.arange(1, 366)
    angle = 2.0 * np.pi * (days - 1) / 365.0
    position = pvlib.solarposition
    np.testing.assert_allclose(solar.declination(angle), position.declination_spencer71(days), atol=1e-12)
    np.testing.assert_allclose(solar.equation_of_time(angle), position.equation_of_time_spencer71(days), atol=1.0 / 60)


@pytest.mark.parametrize(("latitude", "longitude"), [(51.1, 10.9), (36.6, -97.5), (-33.0, 151.0), (69.0, 20.0)])
def test_zenith_against_the_solar_position_algorithm(latitude, longitude):
    """Four years, hourly, against Reda & Andreas (2004), good to 0.0003 degrees.

    Spencer's declination is good to 0.034 degrees and his equation of time to 35 s (0.15 degrees); the year of 365.25
    days is up to half a day off (0.2 degrees, 15 s), and so is that of the local calendar: 0.6 degrees at worst.
    """
    times = pd.date_range("2005-01-01", "2008-12-31 23:00", freq="h", tz="UTC")
    offset = round(longitude / 15.0)
    seconds = times.as_unit("s").asi8 + 3600 * offset
    found, share, _ = solar.mean_cos_zenith(
        seconds // 86400, seconds % 86400, 1.0, np.float64(latitude), longitude, offset
    )
    exact = np.cos(np.deg2rad(pvlib.solarposition.get_solarposition(times, latitude, longitude)["zenith"]))
    error = found * share - np.maximum(exact, 0.0)
    assert np.abs(error).max() < np.deg2rad(0.6)
    assert np.sqrt((error**2).mean()) < np.deg2rad(0.15)


def test_sun_of_numpy_is_that_of_jax():
    """A whole year in half hours; the day of the year counts the same days in integers."""
    days, seconds = np.repeat(np.arange(12000, 12366), 48), np.tile(np.arange(48) * 1800, 366)
    place = (51.1, 10.9, 1.0)
    found = solar.mean_cos_zenith(days, seconds, 1800.0, np.float64(place[0]), *place[1:])
    compiled = jax.jit(solar.mean_cos_zenith)(jnp.asarray(days), jnp.asarray(seconds), 1800.0, *place)
    for mine, theirs in zip(found, compiled, strict=True):
        assert isinstance(mine, np.ndarray) and mine.dtype == np.float64
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
