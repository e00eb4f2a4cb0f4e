"""A site file: what is known of a site and not in its Met file, or better known, as TOML.

```toml
utc_offset_hours = -6          # of the record's clock
soil_texture = "silty clay loam"
c4_fraction = 1.0              # maize, say
igbp = "CRO"
canopy_height = 0.9            # m; latitude, longitude, elevation, reference_height likewise
lai_monthly = [0.2, 0.2, 0.3, 0.5, 1.0, 3.0, 5.0, 5.0, 3.0, 1.0, 0.4, 0.2]  # m2 m-2, January to December
# or lai_file = "lai.csv"      # lines of date,value beside this file; linear in between
soil_moisture = [[0.05, 0.31], [0.5, 0.28]]  # depth (m) and m3 m-3 at the start of the record, after the spin-up
```
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jlsm.errors import InputError
from jlsm.io.toml_file import read_toml

RANGES = {
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 360.0),
    "elevation": (-450.0, 9000.0),
    "reference_height": (0.1, 500.0),
    "canopy_height": (0.0, 120.0),
    "utc_offset_hours": (-14.0, 14.0),
    "c4_fraction": (0.0, 1.0),
}
"""The numbers a site file may have, with their ranges."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?")
_TEXTS = ("soil_texture", "igbp")
LARGEST_LAI = 15.0  # m2 m-2
LARGEST_LAI_FILE = 20_000_000  # bytes


@dataclass(frozen=True)
class SiteChanges:
    """What a site file says; it goes before what the Met file says."""

    numbers: dict[str, float] = field(default_factory=dict)
    soil_texture: str = ""
    igbp: str = ""
    monthly_lai: tuple[float, ...] | None = None
    dated_lai: tuple[np.ndarray, np.ndarray] | None = None
    """dates (``datetime64[D]``) and leaf area index, m2 m-2"""
    soil_moisture: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """depths (m) and soil moisture (m3 m-3) at the start of the record"""

    def with_utc_offset(self, hours: float) -> SiteChanges:
        """The same with another clock.

        Raises:
            InputError: more than 14 hours from UTC.
        """
        lower, upper = RANGES["utc_offset_hours"]
        if not lower <= hours <= upper:
            raise InputError(f"utc offset {hours:g} is outside {lower:g} to {upper:g} hours: give hours ahead of UTC")
        return dataclasses.replace(self, numbers={**self.numbers, "utc_offset_hours": float(hours)})


def read_site_changes(path: str | os.PathLike) -> SiteChanges:
    """Read a site file.

    Raises:
        InputError: an unreadable file, an unknown name, a value of the wrong type or out of range.
    """
    file = os.fspath(path)
    content = read_toml(file, "site file", 'soil_texture = "loam"')
    numbers: dict[str, float] = {}
    texts: dict[str, str] = {}
    monthly: tuple[float, ...] | None = None
    dated = moisture = None
    for name, value in content.items():
        if name in RANGES:
            numbers[name] = _in_range(file, name, value, *RANGES[name])
        elif name in _TEXTS:
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise InputError(f"{file}: {name} = {value!r} is not a text: write it in quotes")
            texts[name] = str(value).strip() if name == "igbp" else str(value).strip().lower()
        elif name == "soil_moisture":
            moisture = _profile(file, value)
        elif name == "lai_file":
            if not isinstance(value, str):
                raise InputError(f"{file}: lai_file = {value!r} is not a path: write it in quotes")
            dated = _read_lai(Path(file).parent / value)
        elif name == "lai_monthly":
            if not isinstance(value, list) or len(value) != 12:
                raise InputError(f"{file}: lai_monthly is not a list of twelve numbers: one for each month")
            monthly = tuple(_in_range(file, "lai_monthly", number, 0.0, LARGEST_LAI) for number in value)
        else:
            choices = ", ".join((*RANGES, *_TEXTS, "lai_monthly", "lai_file", "soil_moisture"))
            raise InputError(f"{file}: unknown name {name[:80]!r}: a site file has {choices}")
    if monthly and dated:
        raise InputError(f"{file}: lai_monthly and lai_file both give the leaf area: keep one")
    return SiteChanges(numbers, texts.get("soil_texture", ""), texts.get("igbp", ""), monthly, dated, moisture)


def _profile(file: str, value: object) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Depths and values of a list of pairs."""
    pairs = value if isinstance(value, list) else []
    if not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise InputError(f"{file}: soil_moisture is not a list of pairs: write it as [[0.05, 0.31], [0.5, 0.28]]")
    depths = tuple(_in_range(file, "soil_moisture depth", pair[0], 0.0, 15.0) for pair in pairs)
    if any(lower <= upper for upper, lower in zip(depths, depths[1:], strict=False)):
        raise InputError(f"{file}: soil_moisture: depths must increase: sort the pairs")
    return depths, tuple(_in_range(file, "soil_moisture", pair[1], 0.0, 1.0) for pair in pairs)


def _read_lai(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Dates and values of lines like ``2005-06-01,3.2``; a first line of names is passed over."""
    try:
        if path.stat().st_size > LARGEST_LAI_FILE:
            raise InputError(f"{path}: has more than {LARGEST_LAI_FILE // 1_000_000} MB: give lines of date,value")
        lines = [line.split(",") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if lines and not lines[0][0].strip()[:1].isdigit():
            lines = lines[1:]
        texts = [line[0].strip() for line in lines]
        other = next((text for text in texts if not _DATE.fullmatch(text)), None)
        if other is not None:  # NumPy understands more: 2001, 20010101 as years, "today"
            raise ValueError(f"{other[:40]!r} is no date")
        dates = np.array(texts, dtype="datetime64[D]")
        values = np.array([float(line[1]) for line in lines])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path of lai_file") from error
    except (ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is no table of leaf area ({reason}): write lines like 2005-06-01,3.2") from error
    if dates.size < 2 or (np.diff(dates).astype(int) <= 0).any():
        raise InputError(f"{path}: needs at least two dates, each after the one before: sort the lines")
    wrong = ~((values >= 0.0) & (values <= LARGEST_LAI))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(f"{path}: {dates[at]}: {values[at]:g} is outside 0 to {LARGEST_LAI:g} m2 m-2: correct it")
    return dates, values


def _in_range(file: str, name: str, value: object, lower: float, upper: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{file}: {name} = {value!r} is not a number: write it as 1.0")
    if not lower <= value <= upper:  # NaN too
        raise InputError(f"{file}: {name} = {str(value)[:30]} is outside {lower:g} to {upper:g}: correct it")
    return float(value)
