"""The sun as witness of a record's clock: when it shines on the sensor, and when it can.

A record whose clock, time zone, longitude or latitude is wrong has its shortwave radiation at the wrong time of day.
Each day's radiation has a centre on the circle of 24 hours, and so has the radiation above the atmosphere; clouds come
before noon as often as after it, so the median of their distance is the clock's error. At six
half-hourly towers it is within 0.12 h, and at most 0.011 % of their radiation comes from below the horizon (an hour
off: 0.4 to 0.8 %).
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from jlsm.constants import DAY
from jlsm.errors import InputError, RepairWarning
from jlsm.io.time_axis import timestamp
from jlsm.processes.solar import mean_cos_zenith

LAG_WARNED, LAG_REFUSED = 0.5, 3.0  # h
BELOW_WARNED, BELOW_REFUSED = 0.003, 0.02  # share of the radiation
DAYS_NEEDED = 5


class Witness(NamedTuple):
    """What the sun says of a record."""

    lag: float
    """hours by which the clock is ahead of the sun (the sun shines too late on it); NaN where it cannot be told"""
    below_horizon: float
    """share of the radiation that arrives while the sun is below the horizon during the whole step"""
    silence: str
    """why the sun cannot tell; empty where it can"""


def question(
    times: np.ndarray, dt: float, shortwave: np.ndarray, latitude: float, longitude: float, utc_offset: float
) -> Witness:
    """Compare a record of shortwave radiation with the sun above it.

    Args:
        times: start of each step, ``datetime64[s]`` of local standard time, regular.
        dt: s.
        shortwave: SWdown, W m-2; NaN where missing.
        latitude, longitude: degrees.
        utc_offset: of the clock, hours.
    """
    days = times.astype("datetime64[D]")
    second = (times - days).astype(float)
    cosine, share, irradiance = mean_cos_zenith(days.astype(int), second, dt, latitude, longitude, utc_offset)
    potential = cosine * share * irradiance
    radiation = np.where(np.isfinite(shortwave), np.maximum(shortwave, 0.0), 0.0)
    total = radiation.sum()
    below = float(radiation[share == 0.0].sum() / total) if total > 0.0 else 0.0

    per_day = max(1, round(DAY / dt))
    count = radiation.size // per_day
    if count < DAYS_NEEDED:
        return Witness(np.nan, below, f"the record has fewer than {DAYS_NEEDED} days")
    turn = np.exp(2j * np.pi * (second + 0.5 * dt) / DAY)
    measured, possible = (
        (series * turn)[: count * per_day].reshape(count, per_day).sum(axis=1) for series in (radiation, potential)
    )
    light, most = (series[: count * per_day].reshape(count, per_day).sum(axis=1) for series in (radiation, potential))
    whole = np.isfinite(shortwave[: count * per_day]).reshape(count, per_day).all(axis=1)
    # days with a night, and with a sun: on a polar day, and under a constant lamp, no time of day stands out
    usable = whole & (most > 0.0) & (np.abs(possible) > 0.3 * most) & (np.abs(measured) > 0.3 * light) & (light > 0.0)
    if usable.sum() < DAYS_NEEDED:
        return Witness(np.nan, below, f"only {int(usable.sum())} days have both a sun and a night")
    clearness = np.where(usable, light / np.maximum(most, 1e-9), 0.0)
    clear = usable & (clearness >= np.median(clearness[usable]))
    angle = np.angle(measured[clear] * np.conj(possible[clear]))
    middle = np.angle(np.exp(1j * angle).sum())  # the median of angles, counted from their mean
    lag = middle + np.median(np.angle(np.exp(1j * (angle - middle))))
    return Witness(float(np.angle(np.exp(1j * lag)) * 12.0 / np.pi), below, "")


def check_clock(
    file: str,
    times: np.ndarray,
    dt: float,
    shortwave: np.ndarray,
    place: tuple[float, float, float],
) -> Witness:
    """Warn or refuse where the sun contradicts a record's clock or place.

    Args:
        times, dt, shortwave: as in ``question``.
        place: latitude, longitude (degrees) and the clock's offset from UTC (hours).

    Raises:
        InputError: more than three hours apart, or 2 % of the radiation below the horizon.

    Warns:
        RepairWarning: more than half an hour apart, 0.3 % of the radiation below the horizon, or the sun cannot tell.
    """
    witness = question(times, dt, shortwave, *place)
    latitude, longitude, utc_offset = place
    where = f"{file}: SWdown from {timestamp(times[0])} on"
    if witness.silence:
        _warn(f"{file}: the clock was not checked against the sun: {witness.silence}")
        return witness
    share = f"{100.0 * witness.below_horizon:.2g} % of it below the horizon"
    if abs(witness.lag) > LAG_WARNED:
        late = "later" if witness.lag > 0.0 else "earlier"
        # the whole hours that would put it right, if only the zone is wrong
        zone = (utc_offset + round(witness.lag) + 12.0) % 24.0 - 12.0
        message = (
            f"{where} comes {abs(witness.lag):.1f} hours {late} than the sun at {latitude:.2f} N, {longitude:.2f} E "
            f"on a clock of UTC{utc_offset:+g} ({share}): correct time, longitude or utc_offset_hours; if the record "
            f"is on another clock, --utc-offset {zone:g}"
        )
        if abs(witness.lag) > LAG_REFUSED:
            raise InputError(f"{message}; to run it as it is, --no-sun-check")
        _warn(message)
    elif witness.below_horizon > BELOW_WARNED:
        mirrored = question(times, dt, shortwave, -latitude, longitude, utc_offset)
        remedy = "correct latitude, time or SWdown"
        if mirrored.below_horizon < 0.5 * witness.below_horizon:
            remedy = f"it fits a latitude of {-latitude:.2f}; correct its sign"
        message = (
            f"{where} has {share} at {latitude:.2f} N, {longitude:.2f} E on a clock of UTC{utc_offset:+g}: {remedy}"
        )
        if witness.below_horizon > BELOW_REFUSED:
            raise InputError(f"{message}; to run it as it is, --no-sun-check")
        _warn(message)
    return witness


def _warn(message: str) -> None:
    warnings.warn(message, RepairWarning, stacklevel=4)
