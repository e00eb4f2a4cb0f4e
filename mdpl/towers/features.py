"""What the generator sees of a site: the series X of its weather and leaf area, and the attributes A.

X holds means over ``days`` days (weeks by default) of the record's training part; test years, or test months of short
records, never enter. A holds what is known of the place, and normals of the same part of the record.

Both are scaled with the fixed numbers below, not with statistics of the sites at hand: one site alone can be
learned from, and a site seen later is measured with the same rod. The numbers are rounded centres and spreads of
land climates (assumed; nothing but the conditioning of the network depends on them).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jlsm.parameters import IGBP_CLASSES, SOIL_CLASSES, default_parameters
from jlsm.processes.humidity import vapour_pressure_deficit
from mdpl.towers.intervals import DAY
from mdpl.towers.load import Tower
from mdpl.towers.split import Split

SERIES_SCALES = {
    "air_temperature": (283.0, 10.0),
    "daily_range": (10.0, 5.0),
    "shortwave": (150.0, 100.0),
    "longwave": (310.0, 50.0),
    "vapour_pressure_deficit": (600.0, 500.0),
    "wind": (3.0, 2.0),
    "precipitation": (0.7, 0.7),
    "leaf_area": (2.0, 2.0),
    "season_cos": (0.0, 1.0),
    "season_sin": (0.0, 1.0),
}
"""name -> (centre, spread); K, K, W m-2, W m-2, Pa, m s-1, log(1 + mm d-1), m2 m-2, -, -"""
ATTRIBUTE_SCALES = {
    "latitude": (40.0, 20.0),
    "elevation": (300.0, 500.0),
    "canopy_height": (0.0, 1.5),
    "reference_height": (1.5, 1.0),
    "mean_temperature": (283.0, 10.0),
    "temperature_season": (8.0, 5.0),
    "annual_precipitation": (6.5, 1.0),
    "mean_shortwave": (150.0, 60.0),
    "mean_deficit": (600.0, 500.0),
    "mean_leaf_area": (1.5, 1.0),
    "largest_leaf_area": (3.0, 2.0),
    "leaf_area_season": (1.0, 1.0),
}
"""name -> (centre, spread); degrees, m, log m, log m, K, K, log mm a-1, W m-2, Pa, m2 m-2 (three)"""
IGBP, TEXTURES = tuple(IGBP_CLASSES), tuple(SOIL_CLASSES)


class Features(NamedTuple):
    """X and A of sites; records of different length are padded with zeros and masked."""

    series: Float[np.ndarray, "sites time features"]
    mask: Bool[np.ndarray, "sites time"]
    """True where the series holds a period; periods stand at the front"""
    attributes: Float[np.ndarray, "sites attributes"]


def site_features(towers: list[Tower] | tuple[Tower, ...], splits: list[Split | None], days: int = 7) -> Features:
    """X and A of towers, scaled.

    Args:
        towers: sites; their observations are not looked at.
        splits: of each tower, says which days may be seen (None: all of them).
        days: length of a period, days.
    """
    series, attributes = [], []
    for tower, split in zip(towers, splits, strict=True):
        daily = daily_means(tower, split)
        series.append(_scaled(_periods(daily, days), SERIES_SCALES))
        attributes.append(_attributes(tower, daily))
    length = max(len(one) for one in series)
    padded = np.zeros((len(series), length, len(SERIES_SCALES)), np.float32)
    mask = np.zeros((len(series), length), bool)
    for s, one in enumerate(series):
        padded[s, : len(one)], mask[s, : len(one)] = one, True
    return Features(padded, mask, np.stack(attributes))


def daily_means(tower: Tower, split: Split | None) -> dict[str, np.ndarray]:
    """Daily means of the visible days, physical units, with ``day`` (since 1970-01-01)."""
    forcing = tower.forcing
    day = np.asarray(forcing.day, np.int64)
    days, which = np.unique(day, return_inverse=True)
    count = np.bincount(which)
    used = count * float(forcing.dt) > 0.9 * DAY  # the record's cut first and last day have no daily range
    if split is not None:
        used &= split.visible(days)

    def mean(values) -> np.ndarray:
        return np.bincount(which, np.asarray(values, np.float64)) / count

    humidity, air, pressure = (np.asarray(x, np.float64) for x in (forcing.Qair, forcing.Tair, forcing.Psurf))
    deficit = np.maximum(vapour_pressure_deficit(humidity, air, pressure), 0.0)
    low, high = np.full(days.size, np.inf), np.full(days.size, -np.inf)
    np.minimum.at(low, which, air)
    np.maximum.at(high, which, air)
    phase = 2 * np.pi * days / 365.2425
    table = {
        "air_temperature": mean(air),
        "daily_range": high - low,
        "shortwave": mean(forcing.SWdown),
        "longwave": mean(forcing.LWdown),
        "vapour_pressure_deficit": mean(deficit),
        "wind": mean(forcing.Wind),
        "precipitation": mean(forcing.Precip) * DAY,
        "leaf_area": mean(forcing.LAI),
        "season_cos": np.cos(phase),
        "season_sin": np.sin(phase),
        "day": days,
    }
    return {name: values[used] for name, values in table.items()}


def leaf_area_course(tower: Tower, split: Split | None) -> Float[np.ndarray, "365"]:
    """Mean leaf area index by day of year over the visible days; days never seen are interpolated."""
    daily = daily_means(tower, split)
    date = daily["day"].astype("datetime64[D]")
    day_of_year = np.minimum((date - date.astype("datetime64[Y]")).astype(int), 364)
    count = np.bincount(day_of_year, minlength=365)
    total = np.bincount(day_of_year, daily["leaf_area"], minlength=365)
    seen = np.flatnonzero(count)
    return np.interp(np.arange(365), seen, total[seen] / count[seen], period=365)


def _periods(daily: dict[str, np.ndarray], days: int) -> dict[str, np.ndarray]:
    period = (daily["day"] - daily["day"][0]) // days
    _, which = np.unique(period, return_inverse=True)  # periods of held-back months leave no gap
    count = np.bincount(which)
    means = {name: np.bincount(which, daily[name]) / count for name in SERIES_SCALES}
    return means | {"precipitation": np.log1p(means["precipitation"])}


def _attributes(tower: Tower, daily: dict[str, np.ndarray]) -> np.ndarray:
    site = tower.site
    month = daily["day"].astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12
    present = np.unique(month)

    def season(name: str) -> float:
        return float(np.std([daily[name][month == m].mean() for m in present]))

    height = float(default_parameters(site).vegetation.canopy_height)  # the class's where the file has none
    table = {
        "latitude": abs(float(site.latitude)),
        "elevation": float(site.elevation),
        "canopy_height": np.log(height),
        "reference_height": np.log(float(site.reference_height)),
        "mean_temperature": daily["air_temperature"].mean(),
        "temperature_season": season("air_temperature"),
        "annual_precipitation": np.log(max(daily["precipitation"].mean() * 365.0, 1.0)),
        "mean_shortwave": daily["shortwave"].mean(),
        "mean_deficit": daily["vapour_pressure_deficit"].mean(),
        "mean_leaf_area": daily["leaf_area"].mean(),
        "largest_leaf_area": np.percentile(daily["leaf_area"], 95),
        "leaf_area_season": season("leaf_area"),
    }
    numbers = _scaled({name: np.atleast_1d(value) for name, value in table.items()}, ATTRIBUTE_SCALES)[0]
    classes = [site.igbp == name for name in IGBP] + [site.soil_texture == name for name in TEXTURES]
    return np.concatenate([numbers, np.asarray(classes, np.float32)])


def _scaled(table: dict[str, np.ndarray], scales: dict[str, tuple[float, float]]) -> np.ndarray:
    columns = [(table[name] - centre) / spread for name, (centre, spread) in scales.items()]
    return np.stack(columns, axis=-1).astype(np.float32)
