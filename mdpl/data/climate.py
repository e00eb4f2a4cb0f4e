"""The climate of the five cultivation sites: monthly statistics the weather generator works from.

The numbers stand in ``five_crops_climate.toml``, which ``python -m mdpl.data.make_climate`` computes from the
towers' daily record; this module reads them. A day is wet where it brings more than ``WET_DAY``. Means and
standard deviations of five variables are kept apart for dry and wet days, as Richardson (1981), Water Resour.
Res. 17, 182, does.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from jlsm.errors import InputError

FIVE_CROPS = ("DE-Geb", "DE-Kli", "DE-Seh", "IT-BCi", "US-ARM")
"""the PLUMBER2 cropland towers whose climate is imitated"""
VARIABLES = ("tair", "clearness", "saturation", "wind", "psurf")
"""daily mean air temperature (K), clearness index (SWdown over its value without atmosphere), vapour pressure over
its saturation value at the mean temperature, wind speed (m s-1), surface pressure (Pa)"""
WET_DAY = 0.1
"""mm per day; a day with more is wet"""
STATES = ("dry", "wet")

_SCALARS = ("latitude", "longitude", "elevation", "reference_height", "canopy_height", "utc_offset")
_TEXTS = ("name", "igbp", "vegetation")
MONTHLY = (
    *(f"{name}_{what}_{state}" for name in VARIABLES for what in ("mean", "std") for state in STATES),
    "wet_after_dry", "wet_after_wet", "amount_mean", "amount_std", "wet_frequency",
    "range_mean", "range_per_clearness", "clear_sky", "longwave_scale",
    *(f"{name}_{what}" for name in ("tair", "swdown", "lwdown", "rh", "wind", "psurf", "saturation", "clearness")
      for what in ("mean", "std", "lag1")),
    "days",
)  # fmt: skip
"""monthly statistics of the table: what the generator is given (to ``longwave_scale``), then the plain means,
standard deviations and lag-1 autocorrelations of daily values that it is tested against"""
SHAPES = tuple(f"{name}_shape_{state}" for name in VARIABLES for state in STATES)
SHAPE_PROBABILITIES = np.concatenate([[0.002], (np.arange(31) + 0.5) / 31.0, [0.998]])
"""where the quantile functions of the standardised anomalies have their knots"""


@dataclass(frozen=True)
class SiteClimate:
    """Where a tower is, and its climate."""

    code: str
    """of the real tower, e.g. ``DE-Geb``"""
    scalars: dict[str, float]
    """latitude, longitude (degrees), elevation, reference and canopy height (m), utc_offset (h)"""
    texts: dict[str, str]
    """name, igbp (short), vegetation (in words)"""
    monthly: dict[str, np.ndarray]
    """the statistics named in ``MONTHLY``, ``[12]``"""
    shapes: dict[str, np.ndarray]
    """quantiles of the standardised anomalies at ``SHAPE_PROBABILITIES``, zero mean and unit variance"""
    correlation: np.ndarray
    """correlations of the normal scores of ``VARIABLES`` on the same day"""
    memory: np.ndarray
    """autocorrelation of each score from one day to the next"""

    def __getitem__(self, name: str) -> np.ndarray:
        return self.monthly[name]


@cache
def five_crops_climate() -> dict[str, SiteClimate]:
    """The shipped table, ``{site code: SiteClimate}``."""
    text = files("mdpl.data").joinpath("five_crops_climate.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return {code: _site(code, table[code]) for code in FIVE_CROPS}


def site_climate(code: str) -> SiteClimate:
    """The climate of one of the five sites. Raises InputError: another code."""
    table = five_crops_climate()
    if code not in table:
        raise InputError(f"no climate of site {code!r}: the table has {', '.join(table)}")
    return table[code]


def _site(code: str, row: dict) -> SiteClimate:
    return SiteClimate(
        code=code,
        scalars={name: float(row[name]) for name in _SCALARS},
        texts={name: str(row[name]) for name in _TEXTS},
        monthly={name: np.asarray(row[name], float) for name in MONTHLY},
        shapes={name: np.asarray(row[name], float) for name in SHAPES},
        correlation=np.asarray(row["correlation"], float),
        memory=np.asarray(row["memory"], float),
    )


def month_and_day(days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Month (0-11) and position in the year (0 to 1, the middle of the day) of days since 1970-01-01."""
    dates = np.asarray(days, "datetime64[D]")
    year = dates.astype("datetime64[Y]")
    length = (year + np.timedelta64(1, "Y")).astype("datetime64[D]") - year.astype("datetime64[D]")
    position = ((dates - year.astype("datetime64[D]")).astype(float) + 0.5) / length.astype(float)
    return dates.astype("datetime64[M]").astype(int) % 12, position


def yearly_course(monthly: np.ndarray, days: np.ndarray) -> np.ndarray:
    """A course without steps whose mean over each month is the monthly value, on the given days.

    It is linear between knots at the middle of the months; the knots follow from the twelve means. (Straight lines
    through the means themselves would flatten summer and winter.)
    """
    standard = np.arange("2001-01-01", "2002-01-01", dtype="datetime64[D]").astype(int)
    month, _ = month_and_day(standard)
    weights = _knot_weights(standard)
    means = np.stack([weights[month == m].mean(axis=0) for m in range(12)])
    return _knot_weights(days) @ np.linalg.solve(means, np.asarray(monthly, float))


def _knot_weights(days: np.ndarray) -> np.ndarray:
    """Weights ``[days, 12]`` of linear interpolation between the middles of the months, around the year."""
    place = month_and_day(days)[1] * 12.0 - 0.5
    left = np.floor(place).astype(int)
    share = place - left
    weights = np.zeros((len(place), 12))
    rows = np.arange(len(place))
    weights[rows, left % 12] = 1.0 - share
    weights[rows, (left + 1) % 12] += share
    return weights
