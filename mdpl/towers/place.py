"""Where the tower of a file stands: two files that shall be compared must be of one tower."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from jlsm.errors import InputError
from jlsm.io.names import NAMES
from jlsm.io.tower_file import TowerFile, open_tower_file

LARGEST_DISTANCE = 0.5
"""degrees of latitude or longitude between what two files say of one tower; files round, and towers are moved"""


class TowerPlace(NamedTuple):
    """What a file says of its tower, as far as it does."""

    file: str
    latitude: float
    """degrees, NaN where the file does not say"""
    longitude: float
    code: str
    """empty where the file does not say"""


def place_of(path: str | os.PathLike, kind: str) -> TowerPlace:
    """The place that a file names.

    Args:
        path: a Met or Flux file, or a model's output.
        kind: which, for messages.

    Raises:
        InputError: the file cannot be read.
    """
    with open_tower_file(path, kind) as file:
        code = str(file.attributes().get("site_code", "")).strip()
        return TowerPlace(file.name, _degrees(file, "latitude"), _degrees(file, "longitude"), code)


def check_same_place(one: TowerPlace, other: TowerPlace) -> None:
    """Raise InputError where two files are of different towers; where one of them does not say, they are believed."""
    apart = [
        abs(one.latitude - other.latitude),
        abs((one.longitude - other.longitude + 180.0) % 360.0 - 180.0),
    ]
    codes = one.code.casefold(), other.code.casefold()
    if any(distance > LARGEST_DISTANCE for distance in apart) or (all(codes) and codes[0] != codes[1]):
        raise InputError(
            f"{one.file}: is of {_words(one)}, {other.file} of {_words(other)}: give two files of one tower"
        )


def _degrees(file: TowerFile, name: str) -> float:
    present = file.first(NAMES[name])
    values = file.numbers(present).reshape(-1) if present else []
    return float(values[0]) if len(values) == 1 else math.nan


def _words(place: TowerPlace) -> str:
    where = f"{place.latitude:.2f} N, {place.longitude:.2f} E"
    words = [place.code or "a tower", *([where] if math.isfinite(place.latitude + place.longitude) else [])]
    return " at ".join(words)
