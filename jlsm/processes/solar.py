"""Row 1: the sun, the bands of shortwave radiation, rain and snow.

Solves nothing that depends on the state, so it runs ahead of the time loop on whole records.
Equations: declination and equation of time of Spencer (1971); diffuse share of Erbs et al. (1982);
snow share of precipitation from wet-bulb temperature, Wang et al. (2019), GRL 46, 13825.
Leaves out terrain shading; the visible share of radiation is constant (Weiss & Norman 1985).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jlsm.constants import (
    DAY,
    FREEZING_POINT,
    GAS_CONSTANT_DRY_AIR,
    GRAVITY,
    HEAT_CAPACITY_AIR,
    SOLAR_CONSTANT,
)
from jlsm.forcing import Forcing, Site
from jlsm.numerics.namespace import namespace_of
from jlsm.parameters import Snow
from jlsm.processes.humidity import (
    saturation_over_water,
    specific_humidity,
    vapour_pressure,
    wet_bulb_temperature,
)

Series = Float[Array | np.ndarray, "..."]
LOWEST_COS_ZENITH = 0.02  # below this the sun counts as 1.1 degrees high: bounds sec(zenith) in the two-stream
VISIBLE_SHARE = 0.46  # of SWdown, Weiss & Norman (1985) for potential radiation
LOWEST_WIND = 1.0  # m s-1; calm nights have no steady state without it (the value of CTSM)


class Atmosphere(NamedTuple):
    """What the surface sees of the weather in one time step (or a record of steps, time leading)."""

    temperature: Array  # K
    potential_temperature: Array  # K, brought down to the ground dry-adiabatically
    humidity: Array  # kg kg-1
    vapour_pressure: Array  # Pa
    pressure: Array  # Pa
    density: Array  # kg m-3
    wind: Array  # m s-1, not below LOWEST_WIND
    longwave: Array  # W m-2
    cos_zenith: Array  # -, mean of the sunlit part of the step
    direct: Array  # W m-2, direct-beam shortwave
    diffuse: Array  # W m-2, diffuse shortwave
    rain: Array  # kg m-2 s-1
    snow: Array  # kg m-2 s-1
    snow_temperature: Array  # K, temperature of falling snow
    co2: Array  # umol mol-1
    lai: Array  # m2 m-2
    day_of_year: Array  # 1..366, fractional


def day_of_year(day, second_of_day):
    """Fractional day of year (1 at the start of 1 January) from days since 1970-01-01.

    Civil-calendar arithmetic in integers (Hinnant 2013), exact for all years used here.
    """
    xp = namespace_of(day)
    shifted = day + 719468  # days since 0000-03-01
    era_day = shifted % 146097
    year_of_era = (era_day - era_day // 1460 + era_day // 36524 - era_day // 146096) // 365
    march_based = era_day - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)  # 0 on 1 March
    # 1 March is day 60 (61 in leap years); January and February belong to the next civil year
    civil_year = year_of_era + xp.where(march_based >= 306, 1, 0)
    leap = (civil_year % 4 == 0) & ((civil_year % 100 != 0) | (civil_year % 400 == 0))
    ordinal = xp.where(march_based >= 306, march_based - 305, march_based + 60 + leap)
    return ordinal + second_of_day / float(DAY)


def year_angle(day):
    """Where in the year a fractional day of year (``day_of_year``) lies, radians: the argument of Spencer's series."""
    return 2.0 * np.pi * (day - 1.0) / 365.25


def declination(angle):
    """Of the sun, radians, from ``year_angle``; within 0.0006 (Spencer 1971)."""
    xp = namespace_of(angle)
    return (
        0.006918
        - 0.399912 * xp.cos(angle)
        + 0.070257 * xp.sin(angle)
        - 0.006758 * xp.cos(2 * angle)
        + 0.000907 * xp.sin(2 * angle)
        - 0.002697 * xp.cos(3 * angle)
        + 0.00148 * xp.sin(3 * angle)
    )


def equation_of_time(angle):
    """What the sundial is ahead of the clock, minutes, from ``year_angle``; within 35 s (Spencer 1971)."""
    xp = namespace_of(angle)
    return 229.18 * (
        0.000075
        + 0.001868 * xp.cos(angle)
        - 0.032077 * xp.sin(angle)
        - 0.014615 * xp.cos(2 * angle)
        - 0.040849 * xp.sin(2 * angle)
    )


def solar_hours(seconds, angle, longitude, utc_offset):
    """Apparent solar time, hours from 0 at midnight (it may leave 0 to 24), of ``seconds`` of the local standard day.

    Args:
        angle: from ``year_angle``.
        longitude: degrees east.
        utc_offset: local standard time minus UTC, hours.
    """
    return seconds / 3600.0 - utc_offset + longitude / 15.0 + equation_of_time(angle) / 60.0


def mean_cos_zenith(day, second_of_day, dt, latitude, longitude, utc_offset) -> tuple[Series, Series, Series]:
    """Cosine of the zenith angle, averaged over the sunlit part of each step.

    Args:
        day, second_of_day, dt: the clock, as in ``Forcing``; NumPy arrays give NumPy arrays.
        latitude, longitude, utc_offset: the place, as in ``Site``.

    Returns:
        (cosine, sunlit share of the step, top-of-atmosphere irradiance on a plane facing the sun, W m-2).
    """
    xp = namespace_of(day, second_of_day, latitude)
    half = 0.5 * dt
    seconds = second_of_day + half
    angle = year_angle(day_of_year(day, seconds))
    distance = 1.00011 + 0.034221 * xp.cos(angle) + 0.00128 * xp.sin(angle)
    hours = solar_hours(seconds, angle, longitude, utc_offset)
    hour_angle = xp.mod(xp.pi * (hours - 12.0) / 12.0 + xp.pi, 2 * xp.pi) - xp.pi
    width = xp.pi * half / 43200.0

    latitude, tilt = xp.deg2rad(latitude), declination(angle)
    vertical = xp.sin(latitude) * xp.sin(tilt)
    horizontal = xp.cos(latitude) * xp.cos(tilt)
    sunset = xp.arccos(xp.clip(-vertical / xp.maximum(horizontal, 1e-6), -1.0, 1.0))

    def sunlit(noon):  # of the step, around one noon
        start = xp.clip(hour_angle - width, noon - sunset, noon + sunset)
        end = xp.clip(hour_angle + width, noon - sunset, noon + sunset)
        return end - start, xp.sin(end) - xp.sin(start)

    # under a midnight sun, a step across midnight belongs to two days
    today, other = sunlit(0.0), sunlit(xp.where(hour_angle < 0.0, -2.0, 2.0) * xp.pi)
    lit = today[0] + other[0]
    cosine = vertical + horizontal * (today[1] + other[1]) / xp.maximum(lit, 1e-6)
    share = lit / (2.0 * width)
    return xp.where(lit > 1e-6, xp.maximum(cosine, 0.0), 0.0), share, SOLAR_CONSTANT * distance


def diffuse_share(clearness: Float[Array, "..."]) -> Float[Array, "..."]:
    """Diffuse over global radiation from the clearness index (Erbs et al. 1982, eq. 1)."""
    cloudy = 1.0 - 0.09 * clearness
    k = clearness
    middle = 0.9511 - 0.1604 * k + 4.388 * k**2 - 16.638 * k**3 + 12.336 * k**4
    return jnp.where(clearness <= 0.22, cloudy, jnp.where(clearness <= 0.80, middle, 0.165))


def snow_share(wet_bulb: Float[Array, "..."], offset) -> Float[Array, "..."]:
    """Share of precipitation that is snow, from wet-bulb temperature in K (Wang et al. 2019, eq. 1)."""
    celsius = wet_bulb - FREEZING_POINT
    return jax.nn.sigmoid(-(jnp.log(6.99e-5) + 2.0 * (celsius + offset)))


def prepare_atmosphere(forcing: Forcing, site: Site, snow: Snow) -> Atmosphere:
    """Everything that depends on the forcing alone, for a whole record at once.

    Args:
        forcing: ``[time, ...]``.
        site: position and reference height.
        snow: parameters of the rain-snow split.

    Returns:
        Atmosphere with ``[time, ...]`` fields.
    """
    cosine, lit, extraterrestrial = mean_cos_zenith(
        forcing.day, forcing.second_of_day, forcing.dt, site.latitude, site.longitude, site.utc_offset
    )
    top = jnp.maximum(extraterrestrial * cosine * lit, 1.0)
    share = jnp.where(lit > 0.0, diffuse_share(jnp.clip(forcing.SWdown / top, 0.0, 1.0)), 1.0)
    diffuse = share * forcing.SWdown
    # air holds no more vapour than it can over water; sensors that read 101 % saw droplets
    ceiling = specific_humidity(saturation_over_water(forcing.Tair), forcing.Psurf)
    humidity = jnp.minimum(forcing.Qair, ceiling)
    virtual = forcing.Tair * (1.0 + 0.608 * humidity)
    solid = snow_share(wet_bulb_temperature(forcing.Tair, humidity, forcing.Psurf), snow.wet_bulb_offset)
    if forcing.Snowf is not None:
        observed = jnp.isfinite(forcing.Snowf)
        fallen = jnp.where(observed, forcing.Snowf, 0.0) / jnp.where(forcing.Precip > 0.0, forcing.Precip, 1.0)
        solid = jnp.where(observed, jnp.clip(fallen, 0.0, 1.0), solid)
    return Atmosphere(
        temperature=forcing.Tair,
        potential_temperature=forcing.Tair + GRAVITY / HEAT_CAPACITY_AIR * site.reference_height,
        humidity=humidity,
        vapour_pressure=vapour_pressure(humidity, forcing.Psurf),
        pressure=forcing.Psurf,
        density=forcing.Psurf / (GAS_CONSTANT_DRY_AIR * virtual),
        wind=jnp.maximum(forcing.Wind, LOWEST_WIND),
        longwave=forcing.LWdown,
        cos_zenith=jnp.maximum(cosine, LOWEST_COS_ZENITH),
        direct=forcing.SWdown - diffuse,
        diffuse=diffuse,
        rain=forcing.Precip * (1.0 - solid),
        snow=forcing.Precip * solid,
        snow_temperature=jnp.minimum(forcing.Tair, FREEZING_POINT),
        co2=forcing.CO2air,
        lai=forcing.LAI,
        day_of_year=day_of_year(forcing.day, forcing.second_of_day),
    )
