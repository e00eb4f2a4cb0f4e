"""Leaf area of the synthetic fields: a crop calendar per site.

The towers' records hold no sowing or harvest dates, so the rotations below are ASSUMED: crops that the site
descriptions name, with the usual dates of the region, leaf area maxima of well-grown stands, and the timing of the
leaf area derived from the towers' carbon uptake. Each stand rises and falls as a logistic curve of time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BARE = 0.15
"""leaf area index of weeds and volunteers between crops"""


class Stand(NamedTuple):
    """Leaves that come and go once."""

    largest: float
    """m2 m-2"""
    rise: tuple[int, int, int]
    """(year 0 = year of harvest or -1, month, day) when half of it has grown"""
    rise_days: float
    """time scale of the rise; 10 means from 12 to 88 % in 40 days"""
    fall: tuple[int, int, int]
    """when half of it is gone"""
    fall_days: float


def _cereal(largest: float, rise: tuple[int, int], fall: tuple[int, int], autumn: float = 0.5) -> tuple[Stand, ...]:
    """A winter cereal: tillers from autumn on, shooting in spring, ripening in early summer."""
    return (
        Stand(autumn, (-1, 11, 5), 10.0, (0, *fall), 6.0),
        Stand(largest - autumn, (0, *rise), 9.0, (0, *fall), 6.0),
    )


CROPS: dict[str, tuple[Stand, ...]] = {
    "winter wheat": _cereal(5.0, (4, 24), (7, 6)),
    "winter barley": _cereal(4.6, (4, 16), (6, 22)),
    "winter rapeseed": (
        Stand(1.0, (-1, 10, 5), 9.0, (0, 7, 4), 7.0),
        Stand(3.2, (0, 4, 12), 8.0, (0, 7, 4), 7.0),
    ),
    "spring barley": (Stand(4.2, (0, 5, 14), 7.0, (0, 7, 15), 6.0),),
    "silage maize": (Stand(4.5, (0, 7, 1), 8.0, (0, 9, 22), 4.0),),
    "sugar beet": (Stand(4.5, (0, 6, 16), 9.0, (0, 10, 20), 6.0),),
    "irrigated maize, winter forage": (
        Stand(4.5, (0, 6, 14), 7.0, (0, 8, 24), 5.0),
        Stand(2.6, (-1, 11, 10), 10.0, (0, 4, 20), 6.0),
    ),
    "southern winter wheat": _cereal(3.2, (3, 22), (5, 26), autumn=0.4),
    "southern winter wheat, sorghum": (
        *_cereal(3.0, (3, 22), (5, 24), autumn=0.4),
        Stand(2.2, (0, 7, 8), 8.0, (0, 9, 12), 7.0),
    ),
}  # fmt: skip
"""stands of each crop, dates relative to its harvest year"""

ROTATIONS: dict[str, tuple[str, ...]] = {
    "DE-Geb": ("winter wheat", "winter rapeseed", "winter wheat", "winter barley"),
    "DE-Kli": ("winter wheat", "spring barley", "winter rapeseed", "winter wheat"),
    "DE-Seh": ("winter wheat", "sugar beet", "winter wheat", "winter barley"),
    "IT-BCi": ("irrigated maize, winter forage",),
    "US-ARM": ("southern winter wheat", "southern winter wheat, sorghum"),
}
"""crop of each harvest year, in turn, from the first year of the record"""


def leaf_area(code: str, days: np.ndarray) -> np.ndarray:
    """Leaf area index of the calendar, m2 m-2, on each day (days since 1970-01-01); the rotation starts with them."""
    years = np.asarray(days, "datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
    rotation = ROTATIONS[code]
    result = np.full(len(days), BARE)
    for year in range(years[0], years[-1] + 2):  # autumn of the last year grows the next one's cereal
        for stand in CROPS[rotation[(year - years[0]) % len(rotation)]]:
            rise = (np.asarray(days) - _day(year, stand.rise)) / stand.rise_days
            fall = (_day(year, stand.fall) - np.asarray(days)) / stand.fall_days
            result += stand.largest / (1.0 + np.exp(-rise)) / (1.0 + np.exp(-fall))
    return result


def mean_leaf_area(code: str, days: np.ndarray) -> np.ndarray:
    """The mean seasonal cycle of the calendar's years, as a climatology would give it."""
    dates = np.asarray(days, "datetime64[D]")
    place = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)
    place = np.minimum(place, 364)  # 31 December of a leap year shares the value of the day before
    actual = leaf_area(code, days)
    cycle = np.bincount(place, actual, 365) / np.maximum(np.bincount(place, minlength=365), 1)
    return cycle[place]


def _day(year: int, when: tuple[int, int, int]) -> int:
    return int(np.datetime64(f"{year + when[0]}-{when[1]:02d}-{when[2]:02d}", "D").astype(int))
