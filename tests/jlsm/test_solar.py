"""The sun against NOAA's algorithm, calendar against datetime, splits against their sums."""

from __future__ import annotations

import datetime

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from jlsm.constants import FREEZING_POINT, HEAT_CAPACITY_AIR, LATENT_HEAT_VAPORISATION
from jlsm.processes.humidity import (
    saturation_vapour_pressure,
    specific_humidity,
    vapour_pressure,
    wet_bulb_temperature,
)
from jlsm.processes.solar import day_of_year, diffuse_share, mean_cos_zenith, prepare_atmosphere, snow_share
from tests.jlsm.columns import make_forcing, make_parameters, make_site, with_fields

EPOCH = datetime.date(1970, 1, 1)


def noaa_cos_zenith(julian_day, hours_utc, latitude, longitude):
    """Cosine of the solar zenith angle after NOAA's solar calculator (Meeus 1998), good to 0.01 degrees."""
    century = (julian_day + hours_utc / 24.0 - 2451545.0) / 36525.0
    mean_longitude = np.deg2rad((280.46646 + century * (36000.76983 + century * 0.0003032)) % 360.0)
    anomaly = np.deg2rad(357.52911 + century * (35999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = np.deg2rad(
        np.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + np.sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + np.sin(3 * anomaly) * 0.000289
    )
    node = np.deg2rad(125.04 - 1934.136 * century)
    apparent = mean_longitude + centre - np.deg2rad(0.00569 + 0.00478 * np.sin(node))
    obliquity = np.deg2rad(23.439291 - 0.0130042 * century + 0.00256 * np.cos(node))
    declination = np.arcsin(np.sin(obliquity) * np.sin(apparent))
    y = np.tan(obliquity / 2) ** 2
    time = 4 * np.rad2deg(  # equation of time, minutes
        y * np.sin(2 * mean_longitude)
        - 2 * eccentricity * np.sin(anomaly)
        + 4 * eccentricity * y * np.sin(anomaly) * np.cos(2 * mean_longitude)
        - 0.5 * y**2 * np.sin(4 * mean_longitude)
        - 1.25 * eccentricity**2 * np.sin(2 * anomaly)
    )
    hour_angle = np.deg2rad((hours_utc * 60.0 + time + 4 * longitude) / 4 - 180.0)
    phi = np.deg2rad(latitude)
    return np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)


def sun(forcing, site):
    """``mean_cos_zenith`` at the forcing's clock."""
    clock = (forcing.day, forcing.second_of_day, forcing.dt)
    return mean_cos_zenith(*clock, site.latitude, site.longitude, site.utc_offset)


def test_day_of_year_over_two_centuries():
    dates = [datetime.date(1900, 1, 1) + datetime.timedelta(days=k) for k in range(201 * 365 + 49)]
    assert dates[-1] == datetime.date(2100, 12, 31)
    days = np.array([(d - EPOCH).days for d in dates])
    expected = np.array([d.timetuple().tm_yday for d in dates])
    np.testing.assert_array_equal(day_of_year(jnp.asarray(days), jnp.zeros(days.shape)), expected)
    assert day_of_year(jnp.asarray(0), jnp.asarray(43200.0)) == 1.5


@pytest.mark.parametrize("date", ["1997-03-20", "2000-02-29", "2008-06-21", "2015-12-22", "2019-10-03"])
def test_zenith_against_noaa_minute_by_minute(date):
    day = (datetime.date.fromisoformat(date) - EPOCH).days
    latitude = np.linspace(-75.0, 75.0, 32)
    longitude, offset = np.linspace(-170.0, 170.0, 32), np.round(np.linspace(-170.0, 170.0, 32) / 15.0)
    forcing = make_forcing(day=day)
    site = with_fields(make_site(latitude), longitude=jnp.asarray(longitude), utc_offset=jnp.asarray(offset))
    cosine, share, _ = sun(forcing, site)

    minutes = np.arange(2 * 1440)[:, None] + 0.5
    exact = noaa_cos_zenith(2440587.5 + day, minutes / 60.0 - offset, latitude, longitude).reshape(96, 30, 32)
    mean = np.maximum(exact, 0.0).mean(axis=1)
    # Spencer's series knows no leap-year cycle (half a day) and the day is the local one (half a day from
    # UTC at the date line): together 0.4 degrees of declination at the equinox, beside 0.04 of the series
    np.testing.assert_allclose(np.asarray(cosine * share), mean, atol=9e-3)
    whole = (exact > 0.02).all(axis=1)
    np.testing.assert_allclose(np.asarray(share)[whole], 1.0, rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(share)[(exact < -0.02).all(axis=1)], 0.0)


def test_zenith_averages_only_the_sunlit_part():
    """The step of sunrise: mean over its lit part, not over the step (which would halve a low sun)."""
    cosine, share, _ = sun(make_forcing(day=10672, dt=3600.0, steps=24), make_site())  # 22 March
    cosine, share = np.asarray(cosine)[:, 0], np.asarray(share)[:, 0]
    rise = np.flatnonzero((share > 0) & (share < 1))[0]
    lit = share[rise]  # hours of sun in that hour; the cosine rises linearly with cos(latitude) per radian
    np.testing.assert_allclose(cosine[rise], 0.5 * lit * np.pi / 12 * np.cos(np.deg2rad(45.0)), rtol=0.02)


def test_polar_night_and_day():
    latitude = np.where(np.arange(32) % 2, 80.0, -80.0)
    winter = 10956  # 31 December 1999
    cosine, share, top = sun(make_forcing(day=winter), make_site(latitude))
    assert (np.asarray(cosine)[:, 1::2] == 0.0).all() and (np.asarray(share)[:, 1::2] == 0.0).all()
    np.testing.assert_allclose(np.asarray(share)[:, ::2], 1.0, rtol=1e-12)
    declination = np.deg2rad(-23.1)
    np.testing.assert_allclose(
        np.asarray(cosine)[:, ::2].mean(), np.sin(np.deg2rad(-80)) * np.sin(declination), rtol=5e-3
    )
    assert 1390 < float(top.min()) <= float(top.max()) < 1410  # perihelion: 1361 x 1.033


def test_bands_and_phases_add_up():
    forcing = make_forcing(
        temperature=np.linspace(230.0, 315.0, 32), rain=20.0, latitude=np.linspace(-85, 85, 32),
        cloud=np.linspace(0, 1, 32),
    )  # fmt: skip
    # light at night, as sensors report it, and more than the sun gives
    forcing = with_fields(forcing, SWdown=(forcing.SWdown + 3.0) * jnp.linspace(0.5, 2.0, 32))
    air = prepare_atmosphere(forcing, make_site(np.linspace(-85, 85, 32)), make_parameters().snow)
    np.testing.assert_allclose(air.direct + air.diffuse, forcing.SWdown, rtol=1e-14)
    np.testing.assert_allclose(air.rain + air.snow, forcing.Precip, rtol=1e-14)
    for part in (air.direct, air.diffuse, air.rain, air.snow):
        assert (np.asarray(part) >= 0.0).all()
    assert (np.asarray(air.cos_zenith) > 0.0).all()
    _, share, _ = sun(forcing, make_site(np.linspace(-85, 85, 32)))
    assert (np.asarray(air.direct)[np.asarray(share) == 0.0] == 0.0).all()


def test_diffuse_share_is_continuous_and_decreasing():
    k = jnp.linspace(0.0, 1.0, 2001)
    share = np.asarray(diffuse_share(k))
    assert (share >= 0.0).all() and (share <= 1.0).all()
    assert np.abs(np.diff(share)).max() < 2e-3  # the published coefficients join to 4e-4
    assert np.diff(share).max() < 1e-3


def test_snow_share_of_wet_bulb_temperature():
    celsius = jnp.asarray([-10.0, 0.0, 0.8, 2.0, 10.0])
    share = np.asarray(snow_share(FREEZING_POINT + celsius, 3.97))
    assert share[0] > 0.999 and share[-1] < 1e-3 and (np.diff(share) < 0).all()
    # Wang et al. (2019): half of it at 1 / (1 + 6.99e-5 exp(2 (Tw + 3.97))) = 0.5
    half = -np.log(6.99e-5) / 2 - 3.97
    np.testing.assert_allclose(snow_share(jnp.asarray(FREEZING_POINT + half), 3.97), 0.5, rtol=1e-12)


@pytest.mark.parametrize("relative", [0.02, 0.3, 0.7, 1.0])
def test_wet_bulb_against_a_root_finder(relative):
    ratio = LATENT_HEAT_VAPORISATION / HEAT_CAPACITY_AIR
    pressure = 85000.0
    for temperature in np.linspace(233.0, 318.0, 18):
        saturation = float(specific_humidity(saturation_vapour_pressure(jnp.asarray(temperature)), pressure))
        humidity = relative * saturation

        def excess(wet, humidity=humidity, temperature=temperature):
            wet_saturation = specific_humidity(saturation_vapour_pressure(jnp.asarray(wet)), pressure)
            return float(wet - temperature + ratio * (wet_saturation - humidity))

        expected = brentq(excess, temperature - 40.0, temperature + 0.01, xtol=1e-9)
        got = float(wet_bulb_temperature(jnp.asarray(temperature), humidity, pressure))
        # three Newton steps: 0.01 K wherever it may snow or rain, less in hot dry air, where it is rain anyway
        assert abs(got - expected) < (0.01 if expected < 282.0 else 0.2), temperature


def test_humidity_there_and_back():
    pressure, q = jnp.asarray(95000.0), jnp.linspace(1e-5, 0.03, 7)
    np.testing.assert_allclose(specific_humidity(vapour_pressure(q, pressure), pressure), q, rtol=1e-13)
    # WMO tables: 0 degC 611.2 Pa, 20 degC 2337-2339 Pa, -20 degC over ice 103.2 Pa
    e = saturation_vapour_pressure(jnp.asarray([273.15, 293.15, 253.15]))
    np.testing.assert_allclose(e, [611.2, 2338.0, 103.2], rtol=3e-3)
