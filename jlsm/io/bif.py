"""A site's facts from its BIF files (BADM Interchange Format), the networks' tables of what is not a time series.

Columns SITE_ID, GROUP_ID, VARIABLE_GROUP, VARIABLE, DATAVALUE, in any order; rows with one GROUP_ID belong together
(Pastorello et al. 2020, doi:10.1038/s41597-020-0534-3, supplementary table SM8; github.com/FLUXNET/BIF_BADM). A fact
may be there several times, with dates: the last counts, and a RepairWarning says so. The height of the canopy is that
of its highest part, not of an understory. The height of the measurements is that of the sonic anemometer:
``VAR_INFO_HEIGHT`` of wind or fluxes (BIFVARINFO, VARINFO; of the table's own columns before those of single sensors),
else ``INST_HEIGHT``.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from typing import NamedTuple

from jlsm.errors import InputError, RepairWarning
from jlsm.io.site_file import RANGES
from jlsm.io.table_file import Sheet, read_texts

_COLUMNS = ("SITE_ID", "GROUP_ID", "VARIABLE", "DATAVALUE")
_VARIABLES = {
    "latitude": "LOCATION_LAT",
    "longitude": "LOCATION_LONG",
    "elevation": "LOCATION_ELEV",
    "utc_offset_hours": "UTC_OFFSET",
    "canopy_height": "HEIGHTC",
}
_TYPICAL = (
    "mean", "single observation", "median", "50th percentile", "", "75th percentile", "90th percentile",
    "95th percentile",
)  # fmt: skip
"""statistics of HEIGHTC that are a height of the canopy, best first; deviations and numbers of trees are none"""
_WIND = ("WS", "USTAR", "H", "LE", "TA")
"""variables whose height is that of the measurements, best first"""
_OF_A_SENSOR = re.compile(r"(?:_\d+)+$")
"""what the name of one of several sensors ends with: WS_1_2_1, at one level of a profile perhaps"""

_Group = dict[str, str]
"""what rows with one GROUP_ID say: VARIABLE -> DATAVALUE"""


class Dated(NamedTuple):
    """A value and the date it is of, ``YYYY[MM[DD[hhmm]]]``; empty where the file has none."""

    date: str
    value: str


def is_bif(sheet: Sheet) -> bool:
    """Whether a table has the columns of a BIF file."""
    return set(_COLUMNS) <= set(sheet.columns)


class SiteFacts:
    """What BIF files say of one site.

    Args:
        sheets: tables with the columns of BIF.
        code: the site; empty where they are of one site only.

    Raises:
        InputError: the tables do not have the site, or have several and ``code`` is empty.
    """

    def __init__(self, sheets: list[Sheet], code: str) -> None:
        groups: dict[tuple[str, str, str], _Group] = defaultdict(dict)
        for sheet in sheets:
            for site, group, variable, value in read_texts(sheet, _COLUMNS):
                if site.strip():  # real files have empty rows
                    groups[sheet.name, site.strip(), group.strip()][variable.strip().upper()] = value.strip()
        self.file = ", ".join(dict.fromkeys(sheet.name for sheet in sheets))
        codes = sorted({site for _, site, _ in groups})
        if sheets and (code not in codes if code else len(codes) != 1):
            listed = ", ".join(codes[:5]) + (" ..." if len(codes) > 5 else "")
            raise InputError(f"{self.file}: holds {listed or 'no site'}, not {code or 'one site'}: give the site's BIF")
        self.code = code or (codes[0] if codes else "")
        if not re.fullmatch(r"[A-Za-z0-9-]{0,40}", self.code):  # it becomes part of a file's name
            raise InputError(f"{self.file}: SITE_ID = {self.code[:40]!r} is no code of a site: write it as US-Ne1")
        self._groups = [group for (_, site, _), group in groups.items() if site == self.code]

    def number(self, name: str) -> float | None:
        """A number with one of the names of a site file (``jlsm.io.site_file``); None where no file tells.

        Raises:
            InputError: text, or a value that no site can have.
        """
        variable, values = self._height() if name == "reference_height" else self._values(_VARIABLES[name])
        value = self._last(variable, values)
        if value is None:
            return None
        lower, upper = RANGES[name]
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not lower <= number <= upper:
            raise InputError(
                f"{self.file}: {variable} = {value[:40]!r} is no number from {lower:g} to {upper:g}: correct it, or "
                f"give {name} in a site file (--site)"
            )
        return number

    def text(self, variable: str) -> str:
        """A text such as ``IGBP`` or ``SITE_NAME``; empty where no file tells."""
        return self._last(variable, self._values(variable)[1]) or ""

    def _values(self, variable: str) -> tuple[str, list[Dated]]:
        groups = [group for group in self._groups if group.get(variable)]
        if variable == "HEIGHTC":
            ranks = [_rank(group.get("HEIGHTC_STATISTIC", "").lower(), _TYPICAL) for group in groups]
            best = min(ranks, default=len(_TYPICAL))
            groups = [group for group, rank in zip(groups, ranks, strict=True) if rank == best < len(_TYPICAL)]
            upper = [group for group in groups if "under" not in group.get("HEIGHTC_VEGTYPE", "").lower()]
            return variable, _dated(upper or groups, variable, highest=True)
        return variable, _dated(groups, variable)

    def _height(self) -> tuple[str, list[Dated]]:
        """The heights of the sensors of wind, or else of the sonic anemometers; of several at one date the highest."""
        groups = [group for group in self._groups if group.get("VAR_INFO_HEIGHT")]
        names = [group.get("VAR_INFO_VARNAME", "") for group in groups]
        whole = [name for name in names if name.split("_")[0] in _WIND and not _OF_A_SENSOR.search(name)]
        ranks = [_rank(name.split("_")[0], _WIND) for name in names]
        if whole:
            ranks = [rank if name in whole else len(_WIND) for name, rank in zip(names, ranks, strict=True)]
        best = min(ranks, default=len(_WIND))
        variable = "VAR_INFO_HEIGHT"
        groups = [group for group, rank in zip(groups, ranks, strict=True) if rank == best < len(_WIND)]
        if not groups:
            variable = "INST_HEIGHT"
            groups = [group for group in self._groups if group.get(variable)]
            groups = [group for group in groups if group.get("INST_MODEL", "").upper().startswith("SA")]
        return variable, _dated(groups, variable, highest=True)

    def _last(self, variable: str, values: list[Dated]) -> str | None:
        """The value with the latest date, of these the last in the file."""
        if not values:
            return None
        last = max(reversed(values), key=lambda dated: dated.date)
        different = {dated.value for dated in values}
        if len(different) > 1:
            of = f" of {last.date}" if last.date else ""
            warnings.warn(
                f"{self.file}: {variable} has {len(different)} values: the last is taken, {last.value[:40]}{of}; give "
                f"another in a site file (--site)",
                RepairWarning,
                stacklevel=3,
            )
        return last.value


def _rank(word: str, order: tuple[str, ...]) -> int:
    """The place of a word, beyond the end for those that are not there."""
    return order.index(word) if word in order else len(order)


def _date(group: _Group) -> str:
    """The latest date that a group names, but not that of an end."""
    dates = [value for name, value in group.items() if "_DATE" in name and "END" not in name and "UNC" not in name]
    return max(("".join(re.findall(r"\d", date)) for date in dates), default="")


def _dated(groups: list[_Group], variable: str, *, highest: bool = False) -> list[Dated]:
    """The values of a variable, in the file's order, or from the lowest to the highest."""
    values = [Dated(_date(group), group[variable]) for group in groups]
    return sorted(values, key=_height_order) if highest else values


def _height_order(dated: Dated) -> float:
    try:
        return float(dated.value)
    except ValueError:
        return float("-inf")
