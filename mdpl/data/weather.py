"""Half-hourly weather from daily weather: the sun's course, clouds, the day's warmth, showers and wind.

Every daily mean (rain: sum) of ``daily_weather`` is kept. Nothing jumps at midnight: what changes from day to day is
interpolated so that each day's mean comes out. Assumed where no source is named: constants below were set by eye
and by the statistics of the towers of this project that have true half-hours.
Left out: fronts (temperature and wind change smoothly with the day), fog, any memory of clouds beyond the day.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from jlsm.constants import STEFAN_BOLTZMANN
from jlsm.processes.humidity import saturation_over_water, specific_humidity
from mdpl.data.climate import SiteClimate, month_and_day, yearly_course
from mdpl.data.daily_weather import DailyWeather, daily_weather
from mdpl.data.sky import STEP, STEPS_PER_DAY, clear_sky_emissivity, potential_radiation, sky_longwave

CLEAREST = 0.85
"""largest share of potential radiation in any half-hour (thin broken cloud adds to a clear sky)"""
WARMEST_HOUR = 14.5
"""solar time of the highest temperature"""
AFTER_SUNRISE = 0.3
"""h after sunrise when it is coldest"""
WINDIEST_HOUR = 14.0
"""solar time of the strongest wind"""
LARGEST_HUMIDITY = 0.995
"""vapour pressure over its saturation value: more has condensed"""
RAIN_HUMIDITY = 0.96
"""what falling rain moistens the air towards (of the largest humidity); rain into dry air would make the model's wet
leaves evaporate more than any sun gives"""
RAIN_MOISTENING = 1.35
"""largest factor on the vapour pressure by that"""
LARGEST_DRYING = 0.15
"""share of the other hours' vapour that may pay for it"""


@dataclass(frozen=True)
class Weather:
    """Half-hourly weather of one site under ALMA names, ``[time]``; means over the interval from each time stamp."""

    days: np.ndarray
    """whole days of the record, days since 1970-01-01 (48 steps each)"""
    Tair: np.ndarray
    """K"""
    Qair: np.ndarray
    """kg kg-1"""
    Psurf: np.ndarray
    """Pa"""
    SWdown: np.ndarray
    """W m-2"""
    LWdown: np.ndarray
    """W m-2"""
    Wind: np.ndarray
    """m s-1"""
    Precip: np.ndarray
    """kg m-2 s-1, rain and snow"""
    VPD: np.ndarray
    """hPa"""
    RH: np.ndarray
    """%"""
    potential: np.ndarray
    """solar radiation without atmosphere, W m-2"""
    daily: DailyWeather


def generate_weather(climate: SiteClimate, first_year: int, last_year: int, seed: int) -> Weather:
    """Weather of whole calendar years.

    Args:
        climate: from ``mdpl.data.climate.site_climate``.
        first_year, last_year: both included.
        seed: with the site's code it decides everything; the same two give the same weather.
    """
    days = np.arange(f"{first_year}-01-01", f"{last_year + 1}-01-01", dtype="datetime64[D]").astype(int)
    rng = np.random.default_rng([seed, zlib.crc32(climate.code.encode())])
    return half_hours(climate, daily_weather(climate, days, rng), rng)


def half_hours(climate: SiteClimate, daily: DailyWeather, rng: np.random.Generator) -> Weather:
    """Half-hourly weather with the daily values given."""
    place = {name: climate.scalars[name] for name in ("latitude", "longitude", "utc_offset")}
    potential = potential_radiation(daily.days, **place).reshape(-1, STEPS_PER_DAY)
    hours = (np.arange(STEPS_PER_DAY) + 0.5) * STEP / 3600.0
    solar_hours = hours - place["utc_offset"] + place["longitude"] / 15.0
    rain = _showers(daily, potential, rng)
    sun = _sunshine(daily.clearness, potential, rain > 0.0, rng)
    tair = _temperature(daily, potential, solar_hours)
    pressure = course_through_days(daily.psurf)
    vapour = _vapour_pressure(daily, tair, rain > 0.0)
    ceiling = saturation_over_water(tair)
    speed = _wind(daily.wind, solar_hours, rng)
    longwave = _longwave(climate, daily, tair)
    flat = {"Tair": tair, "Psurf": pressure, "SWdown": sun, "LWdown": longwave, "Wind": speed, "Precip": rain / STEP}
    flat["Qair"] = specific_humidity(vapour, pressure)
    flat["VPD"] = (ceiling - vapour) / 100.0
    flat["RH"] = 100.0 * vapour / ceiling
    flat["potential"] = potential
    return Weather(days=daily.days, daily=daily, **{name: values.ravel() for name, values in flat.items()})


def course_through_days(daily: np.ndarray) -> np.ndarray:
    """``[days, 48]`` without jumps, whose mean over each day is the daily value.

    Straight lines between midnight (the mean of the two days) and noon, where the value makes the day's mean right.
    """
    padded = np.concatenate([daily[:1], daily, daily[-1:]])
    midnight = 0.5 * (padded[1:] + padded[:-1])
    start, end = midnight[:-1, None], midnight[1:, None]
    noon = 2.0 * daily[:, None] - 0.5 * (start + end)
    share = (np.arange(STEPS_PER_DAY) + 0.5) / STEPS_PER_DAY
    before, after = np.minimum(2.0 * share, 1.0), np.maximum(2.0 * share - 1.0, 0.0)
    return start + (noon - start) * before + (end - noon) * after


def _smooth_noise(shape: tuple[int, int], memory_hours: float, rng: np.random.Generator) -> np.ndarray:
    """Autocorrelated noise of unit variance ``[days, 48]`` that runs on across midnight."""
    from scipy.signal import lfilter

    keep = np.exp(-STEP / 3600.0 / memory_hours)
    shocks = rng.standard_normal(shape[0] * shape[1]) * np.sqrt(1.0 - keep**2)
    shocks[0] /= np.sqrt(1.0 - keep**2)
    return np.reshape(lfilter([1.0], [1.0, -keep], shocks), shape)


def _showers(daily: DailyWeather, potential: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rain per half-hour, mm, ``[days, 48]``: one to three showers, exponential intensities.

    The number of wet half-hours, 2.6 P^0.6 (P in mm), is that of the half-hourly towers of this project. Showers
    keep away from the sun of bright days: those had their rain in the night.
    """
    height = potential / np.maximum(potential.max(axis=1, keepdims=True), 1.0)
    bright = np.clip((daily.clearness - 0.25) / 0.25, 0.0, 1.0)
    result = np.zeros(potential.shape)
    for day in np.flatnonzero(daily.rain > 0.0):
        wet_steps = int(np.clip(round(2.6 * daily.rain[day] ** 0.6), 1, 36))
        showers = min(int(rng.integers(1, 4)), wet_steps)
        risen = np.concatenate([[0.0], np.cumsum(height[day])])
        steps = set()
        for part in np.array_split(np.arange(wet_steps), showers):
            sun = (risen[part.size :] - risen[: risen.size - part.size]) / part.size
            chance = np.exp(-8.0 * bright[day] * sun)
            start = int(rng.choice(chance.size, p=chance / chance.sum()))
            steps.update(range(start, start + part.size))
        chosen = np.array(sorted(steps))
        weights = rng.exponential(size=chosen.size)
        result[day, chosen] = daily.rain[day] * weights / weights.sum()
    return result


def _sunshine(clearness: np.ndarray, potential: np.ndarray, raining: np.ndarray, rng) -> np.ndarray:
    """SWdown ``[days, 48]``: most variable under broken cloud, darker in showers, less clear when the sun is low."""
    broken = np.clip(4.0 * clearness * (0.8 - clearness) / 0.16, 0.0, 1.0)[:, None]
    cloud = np.exp(0.45 * broken * _smooth_noise(potential.shape, 1.5, rng))
    height = potential / np.maximum(potential.max(axis=1, keepdims=True), 1.0)
    weights = potential * height**0.2 * cloud * np.where(raining, 0.4, 1.0)
    total = clearness * potential.sum(axis=1)
    sun = np.zeros_like(potential)
    free = weights > 0.0
    for _ in range(20):  # what a half-hour cannot take, the others do: the day's sum is kept
        room = np.where(free, weights, 0.0).sum(axis=1)
        left = total - np.where(free, 0.0, sun).sum(axis=1)
        sun = np.where(free, weights * (left / np.maximum(room, 1e-9))[:, None], sun)
        above = sun > CLEAREST * potential
        if not (above & free).any():
            break
        sun = np.where(above, CLEAREST * potential, sun)
        free &= ~above
    return sun


def _temperature(daily: DailyWeather, potential: np.ndarray, solar_hours: np.ndarray) -> np.ndarray:
    """Tair ``[days, 48]``: a warming half-wave from soon after sunrise to mid-afternoon, a cooling one back."""
    lit = potential > 0.0
    sunrise = solar_hours[np.argmax(lit, axis=1)] - 0.25
    coldest = np.where(lit.any(axis=1), sunrise + AFTER_SUNRISE, 7.0)[:, None]
    since = np.mod(solar_hours - coldest, 24.0)
    warming = WARMEST_HOUR - coldest
    phase = np.where(since < warming, since / warming, 1.0 + (since - warming) / (24.0 - warming))
    wave = -0.5 * np.cos(np.pi * phase)
    swing = course_through_days(daily.temperature_range) * wave
    return swing + course_through_days(daily.tair - swing.mean(axis=1))


def _vapour_pressure(daily: DailyWeather, tair: np.ndarray, raining: np.ndarray) -> np.ndarray:
    """Pa, ``[days, 48]``: nearly constant over the day, close to saturation in showers; the day's mean is kept.

    A share ``share`` of the way to ``RAIN_HUMIDITY`` is gone in a shower; then the whole day is moved towards
    saturation, or dry half-hours towards less vapour, until the mean is right.
    """
    target = daily.saturation * saturation_over_water(daily.tair)
    ceiling = LARGEST_HUMIDITY * saturation_over_water(tair)
    # the last resort of a nearly saturated day; its mean is then a little lower than asked for
    target = np.minimum(target, 0.999 * ceiling.mean(axis=1))
    # the air moistens and dries within an hour of the shower
    share = np.convolve(raining.ravel().astype(float), [1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9], "same").reshape(tair.shape)
    vapour = np.maximum(course_through_days(target), 0.3 * target[:, None])
    vapour = np.minimum(vapour, ceiling)
    moist = np.minimum(RAIN_HUMIDITY * ceiling, RAIN_MOISTENING * vapour)
    added = share * np.maximum(moist - vapour, 0.0)
    allowed = LARGEST_DRYING * ((1.0 - share) * vapour).mean(axis=1)
    vapour = vapour + added * np.minimum(1.0, allowed / np.maximum(added.mean(axis=1), 1e-9))[:, None]
    for _ in range(60):
        missing = target - vapour.mean(axis=1)
        if np.abs(missing / target).max() < 1e-4:
            break
        room = ceiling - vapour
        filled = np.clip(missing / np.maximum(room.mean(axis=1), 1e-9), 0.0, 1.0)[:, None]
        dry = np.maximum((1.0 - share) * (vapour - 0.3 * target[:, None]), 0.0)
        dried = np.clip(-missing / np.maximum(dry.mean(axis=1), 1e-9), 0.0, 1.0)[:, None]
        vapour = vapour + filled * room - dried * dry
    return vapour


def _longwave(climate: SiteClimate, daily: DailyWeather, tair: np.ndarray) -> np.ndarray:
    """LWdown ``[days, 48]`` from a column of air with the day's vapour, that warms 0.6 as much as at the tower."""
    month, _ = month_and_day(daily.days)
    cloud = np.clip(1.0 - daily.clearness / climate["clear_sky"][month], 0.0, 1.0)
    mean = course_through_days(daily.tair)
    air = mean + 0.6 * (tair - mean)
    vapour = np.maximum(course_through_days(daily.saturation * saturation_over_water(daily.tair)), 1.0)
    share = np.clip(course_through_days(cloud), 0.0, 1.0)
    scale = yearly_course(climate["longwave_scale"], daily.days)[:, None]
    longwave = scale * sky_longwave(air, clear_sky_emissivity(vapour, air), share)
    return np.minimum(longwave, 1.02 * STEFAN_BOLTZMANN * tair**4)


def _wind(wind: np.ndarray, solar_hours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Wind ``[days, 48]``: strongest in the afternoon, gusty, the day's mean kept."""
    noise = np.exp(0.25 * _smooth_noise((wind.size, STEPS_PER_DAY), 3.0, rng))
    course = 1.0 + 0.25 * np.cos(2.0 * np.pi * (solar_hours - WINDIEST_HOUR) / 24.0)
    speed = np.maximum(course_through_days(wind), 0.3 * wind[:, None]) * course * noise
    return speed * (wind / speed.mean(axis=1))[:, None]
