"""Tables of ONEFlux, in which FLUXNET, AmeriFlux and ICOS publish their towers: found, read, their clock checked.

Half-hourly (HH), hourly (HR) and daily (DD) tables, FULLSET or SUBSET, as CSV, gzipped, or in the networks' zip:
``FLX_<SITE>_FLUXNET2015_FULLSET_HH_<YEARS>_<VERSION>.csv``, ``AMF_<SITE>_FLUXNET_FULLSET_HH_...``,
``<NETWORK>_<SITE>_FLUXNET_FLUXMET_HH_...``, ``ICOSETC_<SITE>_FLUXNET_HH_L2.csv``. Names only label: what a table is,
its columns say. Time is local standard time without daylight saving; -9999 is missing.

Variables, units and flags: Pastorello et al. (2020), doi:10.1038/s41597-020-0534-3, and the lists of
github.com/fluxnet/ONEFlux (oneflux/metadata/var_info_definitions_hh.txt, _dd.txt). ``<VAR>_F_MDS_QC``: 0 measured,
1 to 3 gap-filled, well to poorly; ``<VAR>_F_QC``: 0 measured, 1 gap-filled well, 2 downscaled from ERA. In daily
tables all are the share of the day that is measured or filled well (NETRAD, SW_OUT, LW_OUT and USTAR: measured).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from jlsm.constants import DAY
from jlsm.errors import InputError
from jlsm.io.bif import is_bif
from jlsm.io.table_file import Sheet, list_sheets, read_numbers
from jlsm.io.time_axis import check_order, step_length, timestamp

METEOROLOGY_COLUMNS = {
    "Tair": "TA_F", "VPD": "VPD_F", "Psurf": "PA_F", "SWdown": "SW_IN_F", "LWdown": "LW_IN_F", "Wind": "WS_F",
    "Precip": "P_F", "CO2air": "CO2_F_MDS", "RH": "RH",
}  # fmt: skip
FLUX_COLUMNS = {
    "Qle": "LE_F_MDS", "Qh": "H_F_MDS", "Qg": "G_F_MDS", "Rnet": "NETRAD", "Qle_cor": "LE_CORR", "Qh_cor": "H_CORR",
    "NEE": "NEE_VUT_REF", "GPP": "GPP_NT_VUT_REF", "SWup": "SW_OUT", "LWup": "LW_OUT", "Ustar": "USTAR",
}  # fmt: skip
SUBSTITUTES = {"LWdown": "LW_IN_JSB_F"}
"""what takes the place of a column that is not there or has no value: towers without a pyrgeometer have longwave
radiation that ONEFlux computed, after Zaehle, from temperature, humidity and clouds"""
UNCERTAINTY_COLUMNS = {
    "Qle": "LE_RANDUNC", "Qh": "H_RANDUNC", "Qle_cor": "LE_CORR_JOINTUNC", "Qh_cor": "H_CORR_JOINTUNC",
}  # fmt: skip
FLAG_COLUMNS = {"GPP": "NEE_VUT_REF_QC", "Qle_cor": "", "Qh_cor": ""}
"""where the flags are not in ``<column>_QC``: GPP is made from NEE; the corrected fluxes have none of their own"""

_FILLED = ("TA_F", *(name for name in FLUX_COLUMNS.values() if "_" in name and name not in ("SW_OUT", "LW_OUT")))
"""columns that only ONEFlux makes; what was measured bears the same names in tables with gaps"""

_CODE = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}-[A-Za-z0-9]{3}(?![A-Za-z0-9])")
_STAMP = re.compile(r"(\d{12}|\d{8}|\d{6}|\d{4})(?:\.0*)?")


@dataclass(frozen=True)
class Table:
    """One site's table, read."""

    name: str
    """for messages"""
    code: str
    product: str
    """of the file's name: ``FLUXNET2015``, ``AMF-FLUXNET``; ``ONEFlux`` where it tells nothing"""
    times: np.ndarray
    """start of each step, ``datetime64[s]`` of local standard time, regular"""
    dt: float
    """s: 1800, 3600 or a day"""
    columns: dict[str, np.ndarray]
    """as in the table, NaN where missing"""

    @property
    def daily(self) -> bool:
        """Whether steps are days: then there is no forcing in it, and flags are shares."""
        return self.dt == DAY

    def has_values(self, column: str) -> bool:
        """Whether there is such a column, and not all of it is missing."""
        return column in self.columns and bool(np.isfinite(self.columns[column]).any())

    def column(self, name: str) -> str:
        """Where a variable (``Tair``, ``Qle``) is: its column, or what takes its place."""
        column = (METEOROLOGY_COLUMNS | FLUX_COLUMNS)[name]
        substitute = SUBSTITUTES.get(name, "")
        return substitute if not self.has_values(column) and self.has_values(substitute) else column

    def flag_column(self, name: str) -> str:
        """Where the flags of a variable are; empty where there are none."""
        column = FLAG_COLUMNS.get(name, f"{self.column(name)}_QC")
        return column if column in self.columns else ""


def choose_table(path: str | os.PathLike) -> tuple[Sheet, list[Sheet]]:
    """The table to convert in a file, and the BIF tables beside it in a zip.

    Of several in a zip: the half-hourly or hourly one before the daily one, the one with most columns that are needed.

    Raises:
        InputError: no table of ONEFlux, or tables of several sites.
    """
    sheets = list_sheets(path)
    descriptions = [sheet for sheet in sheets if is_bif(sheet)]
    usable = [sheet for sheet in sheets if not is_bif(sheet) and not _unfit(sheet)]
    if not usable:
        name = os.fspath(path)
        if len(sheets) == 1:
            raise InputError(f"{sheets[0].name}: {_unfit(sheets[0]) or 'is a BIF file: give it as --bif, and a table'}")
        raise InputError(
            f"{name}: none of its {len(sheets)} tables is a half-hourly, hourly or daily one of ONEFlux with "
            f"meteorology or fluxes: give the zip of FULLSET, SUBSET or FLUXMET data"
        )
    codes = {site_code(sheet) for sheet in usable}
    if len(codes) > 1:
        raise InputError(
            f"{os.fspath(path)}: holds tables of {', '.join(sorted(codes))}: unpack it and convert them one by one"
        )
    usable.sort(key=lambda sheet: (_is_daily(sheet), -len(_wanted(sheet)), sheet.member))
    return usable[0], descriptions


def site_code(sheet: Sheet) -> str:
    """The site in the name of a table or its zip, ``DE-Geb``; empty where they have none."""
    match = _CODE.search(sheet.file_name) or _CODE.search(sheet.path.name)
    return match[0] if match else ""


def _wanted(sheet: Sheet) -> tuple[str, ...]:
    """The columns to read."""
    names = [*METEOROLOGY_COLUMNS.values(), *SUBSTITUTES.values(), *FLUX_COLUMNS.values()]
    names += [f"{name}_QC" for name in names]
    return tuple(name for name in (*names, *UNCERTAINTY_COLUMNS.values()) if name in sheet.columns)


def _is_daily(sheet: Sheet) -> bool:
    return "TIMESTAMP_START" not in sheet.columns


def _unfit(sheet: Sheet) -> str:
    """Why a table is none to convert; empty where it is."""
    stamp = "TIMESTAMP" if _is_daily(sheet) else "TIMESTAMP_START"
    if sheet.columns and sheet.columns[0].startswith("#"):
        return "begins with a comment, as AmeriFlux BASE does, which has gaps: give the network's FLUXNET product"
    if stamp not in sheet.columns:
        return (
            "no column TIMESTAMP_START or TIMESTAMP: give a table of ONEFlux (FLUXNET, AmeriFlux or ICOS, comma "
            "separated, names of the columns in the first line)"
        )
    if not any(name in sheet.columns for name in _FILLED):
        if any(re.fullmatch(r"(TA|LE|H|NETRAD|USTAR)(_\d+)*", name) for name in sheet.columns):
            return (
                "has what was measured, with gaps, as AmeriFlux BASE and ICOS's FLUXES and METEO: give the network's "
                "FLUXNET product"
            )
        return "has none of TA_F, LE_F_MDS, H_F_MDS: give the FULLSET, SUBSET or FLUXMET table"
    row = dict(zip(sheet.columns, sheet.first_row, strict=False))
    match = _STAMP.fullmatch(row.get(stamp, ""))
    digits = len(match[1]) if match else 0
    if digits and digits != (8 if _is_daily(sheet) else 12):
        kind = {8: "weekly", 6: "monthly", 4: "yearly"}.get(digits, "strange")
        return f"is a {kind} table: give the half-hourly (HH), hourly (HR) or daily (DD) one"
    return ""


def read_table(sheet: Sheet, code: str) -> Table:
    """Read a table that ``choose_table`` chose.

    Args:
        code: of the site, where the file's name has none.

    Raises:
        InputError: damage, text where a number belongs, time stamps that are not regular.
    """
    daily = _is_daily(sheet)
    stamps = ("TIMESTAMP",) if daily else ("TIMESTAMP_START",)
    if not daily and "TIMESTAMP_END" in sheet.columns:
        stamps = (*stamps, "TIMESTAMP_END")
    texts, columns = read_numbers(sheet, stamps, _wanted(sheet))
    times = _times(sheet.name, stamps[0], texts[stamps[0]], 8 if daily else 12)
    check_order(sheet.name, times)
    dt = _check_days(sheet.name, times) if daily else step_length(sheet.name, times)
    if not daily and dt not in (1800.0, 3600.0):
        raise InputError(f"{sheet.name}: {stamps[0]} has steps of {dt:g} s: tables of ONEFlux have half hours or hours")
    if len(stamps) == 2:
        wrong = _times(sheet.name, stamps[1], texts[stamps[1]], 12) - times != np.timedelta64(int(dt), "s")
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(
                f"{sheet.name}: TIMESTAMP_END = {texts[stamps[1]][at]} at TIMESTAMP_START = {texts[stamps[0]][at]} is "
                f"not {dt / 60:g} minutes later ({int(wrong.sum())} rows): correct the stamps"
            )
    return Table(sheet.name, site_code(sheet) or code, product(sheet), times, dt, columns)


def product(sheet: Sheet) -> str:
    """What a table's file name calls its product, without underscores."""
    match = re.match(r"([A-Z]+\d*)_[A-Z]{2}-\w{3}_([A-Za-z0-9-]+)(?=_)", sheet.file_name)
    if not match:
        return "ONEFlux"
    network, name = match.groups()
    return name if network == "FLX" else f"{network}-{name}"


def _times(file: str, name: str, texts: np.ndarray, digits: int) -> np.ndarray:
    """Stamps ``YYYYMMDDhhmm`` (or ``YYYYMMDD``) as ``datetime64[s]``.

    Raises:
        InputError: a stamp that is missing, of another form, or a date that does not exist.
    """
    plain = [match[1] if (match := _STAMP.fullmatch(text.strip())) else "" for text in texts]
    lengths = np.array([len(text) for text in plain])
    if (lengths != digits).any():
        at = int(np.argmax(lengths != digits))
        before = f" after {texts[at - 1]}" if at else ""
        rounded = ": a spreadsheet has rounded it, get the file again" if "E+" in texts[at].upper() else ""
        what = f"= {texts[at][:40]!r} is not" if texts[at] else "is missing where there should be"
        raise InputError(f"{file}: {name} {what} {'YYYYMMDDhhmm'[:digits]} in row {at + 1}{before}{rounded}")
    stamps = np.array(plain, dtype=np.int64)
    if digits == 8:
        stamps = stamps * 10_000
    year, month, day = stamps // 10**8, stamps // 10**6 % 100, stamps // 10**4 % 100
    hour, minute = stamps // 100 % 100, stamps % 100
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(int)
    wrong = (month < 1) | (month > 12) | (day < 1) | (day > length) | (hour > 23) | (minute > 59) | (year < 1700)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(f"{file}: {name} = {texts[at]} in row {at + 1} is a time that does not exist: correct it")
    seconds = (day - 1) * DAY + hour * 3600 + minute * 60
    return first.astype("datetime64[s]") + seconds.astype("timedelta64[s]")


def _check_days(file: str, times: np.ndarray) -> float:
    """The length of a day, s.

    Raises:
        InputError: a day that is missing.
    """
    steps = np.diff(times).astype(float)
    if (steps != DAY).any():
        at = int(np.argmax(steps != DAY))
        raise InputError(
            f"{file}: time goes from {timestamp(times[at])} to {timestamp(times[at + 1])} in a daily table: add the "
            f"missing days"
        )
    return float(DAY)
