"""Daily weather from monthly statistics: what the weather of a made-up day is, before it has hours.

Rain occurs as a first-order Markov chain and falls in gamma-distributed amounts; temperature, clearness, humidity,
wind and pressure follow a multivariate autoregression of first order whose means and standard deviations depend
on season and on whether the day is wet: Richardson (1981), Water Resour. Res. 17, 182; Richardson & Wright (1984),
WGEN, USDA ARS-8. One difference: the autoregression runs on normal scores, and each variable's own distribution
(skewed wind, bounded clearness) comes back through its quantiles.
Left out: the difference between one year and another beyond what these days add up to, and trends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from mdpl.data.climate import (
    SHAPE_PROBABILITIES,
    STATES,
    VARIABLES,
    WET_DAY,
    SiteClimate,
    month_and_day,
    yearly_course,
)

LIMITS = {
    "tair": (200.0, 330.0),
    "clearness": (0.03, 0.80),
    "saturation": (0.15, 1.0),
    "wind": (0.3, 40.0),
    "psurf": (8e4, 1.06e5),
}
"""what no day may leave: clear air lets 0.8 through at most, vapour does not exceed saturation"""
_SETTLING_DAYS = 60
"""days generated ahead of the first and thrown away"""


class DailyWeather(NamedTuple):
    """One value per day, ``[days]``."""

    days: np.ndarray
    """days since 1970-01-01"""
    rain: np.ndarray
    """mm"""
    tair: np.ndarray
    """mean temperature, K"""
    clearness: np.ndarray
    """solar radiation over its value without atmosphere"""
    saturation: np.ndarray
    """mean vapour pressure over saturation at the mean temperature"""
    wind: np.ndarray
    """m s-1"""
    psurf: np.ndarray
    """Pa"""
    temperature_range: np.ndarray
    """warmest less coldest half-hour, K"""


def daily_weather(climate: SiteClimate, days: np.ndarray, rng: np.random.Generator) -> DailyWeather:
    """Weather of consecutive days.

    Args:
        climate: from ``mdpl.data.climate``.
        days: consecutive days since 1970-01-01.
        rng: the only source of chance.
    """
    early = np.concatenate([days[0] - np.arange(_SETTLING_DAYS, 0, -1), days])
    month, _ = month_and_day(early)
    wet = _wet_days(climate, month, rng)
    rain = np.where(wet, _amounts(climate, month, rng), 0.0)
    share = ndtr(_normal_scores(climate, early.size, rng))
    values = {}
    for i, name in enumerate(VARIABLES):
        by_state = []
        for state in STATES:
            anomaly = np.interp(share[:, i], SHAPE_PROBABILITIES, climate.shapes[f"{name}_shape_{state}"])
            mean = yearly_course(climate[f"{name}_mean_{state}"], early)
            by_state.append(mean + climate[f"{name}_std_{state}"][month] * anomaly)
        values[name] = np.clip(np.where(wet, by_state[1], by_state[0]), *LIMITS[name])
    spread = climate["range_mean"][month] + climate["range_per_clearness"][month] * (
        values["clearness"] - climate["clearness_mean"][month]
    )
    late = slice(_SETTLING_DAYS, None)
    return DailyWeather(
        days, rain[late], temperature_range=np.maximum(spread, 1.0)[late], **{k: v[late] for k, v in values.items()}
    )


def _wet_days(climate: SiteClimate, month: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The Markov chain of dry and wet days."""
    draws = rng.random(month.size)
    chance = np.stack([climate["wet_after_dry"], climate["wet_after_wet"]])
    wet = np.zeros(month.size, bool)
    before = 0
    for i in range(month.size):
        wet[i] = draws[i] < chance[before, month[i]]
        before = int(wet[i])
    return wet


def _amounts(climate: SiteClimate, month: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rain of wet days, mm: what exceeds the threshold is gamma-distributed with the table's mean and deviation."""
    excess = climate["amount_mean"] - WET_DAY
    shape = (excess / climate["amount_std"]) ** 2
    return WET_DAY + rng.gamma(shape[month], (excess / shape)[month])


def _normal_scores(climate: SiteClimate, length: int, rng: np.random.Generator) -> np.ndarray:
    """x(t) = A x(t-1) + B e(t) with the table's correlations and, in a diagonal A, its memory (Matalas 1967).

    How one variable goes with another on the next day then follows from these two; in the record it differs by less
    than 0.2.
    """
    memory = np.diag(climate.memory)
    noise = np.linalg.cholesky(climate.correlation - memory @ climate.correlation @ memory)
    shocks = rng.standard_normal((length, len(VARIABLES))) @ noise.T
    scores = np.zeros_like(shocks)
    now = np.zeros(len(VARIABLES))
    for t in range(length):
        now = memory @ now + shocks[t]
        scores[t] = now
    return scores
