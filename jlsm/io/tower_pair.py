"""A table of ONEFlux becomes what a pair of PLUMBER2 files holds: names, units, flags translated, everything checked.

Met: TA_F, VPD_F ... become Tair, Qair (from VPD and the model's own saturation) ...; flags keep their codes, but for
ERA's 2, which is 4 (2 is a filling of medium quality, as in ``<VAR>_F_MDS_QC`` and in PLUMBER2). Flux: LE_F_MDS,
H_F_MDS ... become Qle, Qh ...; the random uncertainty (LE_RANDUNC) is ``Qle_uc``, the joint one of the corrected flux
``Qle_cor_uc``. Daily tables give fluxes only, whose
flags stay shares and say so (``flag_kind``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jlsm.constants import DAY, FREEZING_POINT
from jlsm.errors import InputError, RepairWarning
from jlsm.io.bif import SiteFacts
from jlsm.io.checks import (
    RULES,
    check_amounts,
    check_range,
    check_relative_humidity,
    check_vapour_deficit,
    missing_steps,
)
from jlsm.io.gap_filling import monthly_course
from jlsm.io.names import igbp_class
from jlsm.io.oneflux import FLUX_COLUMNS, METEOROLOGY_COLUMNS, SUBSTITUTES, UNCERTAINTY_COLUMNS, Table
from jlsm.io.site_file import SiteChanges
from jlsm.io.site_table import plumber2_utc_offset
from jlsm.io.sun import check_clock
from jlsm.io.time_axis import timestamp
from jlsm.processes.humidity import saturation_over_water, specific_humidity

CARBON_MASS = 12.011  # g mol-1
FLAG_MEANINGS = "measured good_quality_gapfill medium_quality_gapfill poor_quality_gapfill ERA_reanalysis"
"""of the codes 0 to 4"""

_NEEDED = ("Tair", "VPD", "Psurf", "SWdown", "LWdown", "Wind", "Precip")
_LONG_NAMES = {
    "Tair": "air temperature", "Qair": "specific humidity, from VPD_F, TA_F and PA_F", "Psurf": "air pressure",
    "SWdown": "downward shortwave radiation", "LWdown": "downward longwave radiation", "Wind": "wind speed",
    "Precip": "precipitation (rain + snow)", "CO2air": "CO2 mole fraction", "RH": "relative humidity",
    "VPD": "vapour pressure deficit", "LAI": "leaf area index, monthly values of the site file",
    "Qle": "latent heat flux", "Qh": "sensible heat flux", "Qg": "ground heat flux", "Rnet": "net radiation",
    "Qle_cor": "latent heat flux corrected for energy-balance closure",
    "Qh_cor": "sensible heat flux corrected for energy-balance closure",
    "NEE": "net ecosystem exchange of CO2", "GPP": "gross primary production of CO2, night-time partitioning",
    "SWup": "upward shortwave radiation", "LWup": "upward longwave radiation", "Ustar": "friction velocity",
}  # fmt: skip
_FLUX_UNITS = {"NEE": "umol m-2 s-1", "GPP": "umol m-2 s-1", "Ustar": "m s-1"}
_SITE_LINES = {
    "latitude": "latitude = 51.1  # degrees north",
    "longitude": "longitude = 10.9  # degrees east",
    "reference_height": "reference_height = 6.0  # m, of the measurements above the ground",
    "utc_offset_hours": "utc_offset_hours = 1  # local standard time minus UTC",
    "igbp": 'igbp = "CRO"',
}
"""what a Met file needs of the site, and a line of a site file for it"""
_USEFUL = {"elevation": "0 m", "canopy_height": "that of the class"}
"""what a site may lack, and what is taken then"""


@dataclass(frozen=True)
class TowerSeries:
    """One variable to write."""

    values: np.ndarray
    """NaN where missing"""
    unit: str
    attributes: dict[str, str]
    flags: np.ndarray | None = None
    """codes 0 to 4, or shares; NaN where missing"""


@dataclass(frozen=True)
class TowerContents:
    """What one file shall hold."""

    table: Table
    series: dict[str, TowerSeries]
    numbers: dict[str, float]
    """latitude, longitude, elevation, reference_height, canopy_height, as far as they are known"""
    igbp: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """What is known of a site: from the site file, then BIF, then PLUMBER2's table of clocks."""

    code: str
    numbers: dict[str, float]
    igbp: str
    name: str
    soil_texture: str
    monthly_lai: tuple[float, ...] | None

    def missing(self) -> list[str]:
        """What a Met file needs and nothing tells."""
        return [name for name in _SITE_LINES if name not in self.numbers and not (name == "igbp" and self.igbp)]


def describe_place(facts: SiteFacts, changes: SiteChanges, code: str) -> Place:
    """Join what is known of a site; a site file goes first.

    Raises:
        InputError: a value of BIF that no site can have.
    """
    numbers = dict(changes.numbers)
    for name in (*_SITE_LINES, *_USEFUL):
        if name != "igbp" and name not in numbers:
            value = facts.number(name)
            if value is None and name == "utc_offset_hours":
                value = plumber2_utc_offset(code)
            if value is not None:
                numbers[name] = value
    igbp = changes.igbp or facts.text("IGBP")
    return Place(
        code,
        numbers,
        igbp_class(igbp) if igbp else "",
        facts.text("SITE_NAME"),
        changes.soil_texture,
        changes.monthly_lai,
    )


def met_contents(table: Table, place: Place, *, sun_check: bool) -> TowerContents:
    """The Met file of a half-hourly or hourly table.

    Raises:
        InputError: columns or facts of the site that are missing (all in one message), values out of range, a clock
            that the sun contradicts.

    Warns:
        RepairWarning: gaps, noise set to the edge of its range, optional variables left out.
    """
    _check_all_is_there(table, place)
    series: dict[str, np.ndarray] = {}
    for name in (*_NEEDED, "CO2air", "RH"):
        if table.column(name) in table.columns:
            values = _meteorology(table, name)
            if name in _NEEDED:
                series[name] = check_range(table.name, name, values, table.times)
            else:
                _take_optional(table, name, values, series)
    for name, column in SUBSTITUTES.items():
        if table.column(name) == column:
            _warn(f"{table.name}: {METEOROLOGY_COLUMNS[name]} has no value: {name} is {column}, computed, not measured")
    _warn_of_gaps(table, {name: series[name] for name in _NEEDED})
    series["Qair"] = _humidity(table, series)
    finite = {name: series[name][np.isfinite(series[name])] for name in ("Precip", "SWdown")}
    check_amounts(table.name, finite, table.times, table.dt, place.numbers["latitude"])
    if sun_check:
        where = (place.numbers["latitude"], place.numbers["longitude"], place.numbers["utc_offset_hours"])
        check_clock(table.name, table.times, table.dt, series["SWdown"], where)
    rows = {}
    for name, values in series.items():
        flags = _meteorology_flags(table, name)
        comment = {"original_name": table.column(name)} if name in METEOROLOGY_COLUMNS else {}
        rows[name] = TowerSeries(values, RULES[name].unit, {"long_name": _LONG_NAMES[name], **comment}, flags)
    if place.monthly_lai is not None:
        course = monthly_course(place.monthly_lai, table.times)
        rows["LAI"] = TowerSeries(course, RULES["LAI"].unit, {"long_name": _LONG_NAMES["LAI"]})
    return _contents(table, place, rows, "Met")


def flux_contents(table: Table, place: Place) -> TowerContents | None:
    """The Flux file of a table; None where it has no energy flux with a value."""
    rows = {}
    carbon = 1e6 / CARBON_MASS / DAY if table.daily else 1.0  # gC m-2 d-1 in daily tables, umol m-2 s-1 else
    for name, column in FLUX_COLUMNS.items():
        values = table.columns.get(column)
        if values is None or not np.isfinite(values).any():
            continue
        unit = _FLUX_UNITS.get(name, "W m-2")
        attributes = {"long_name": _LONG_NAMES[name], "original_name": column}
        factor = carbon if name in ("NEE", "GPP") else 1.0
        flags = _flux_flags(table, name)
        if flags is not None and not np.isfinite(flags[np.isfinite(values)]).any():
            _warn(
                f"{table.name}: {table.flag_column(name)} has no value: {name} is written, and nothing of it counts as "
                f"measured"
            )
        rows[name] = TowerSeries(factor * values, unit, attributes, flags)
        spread = table.columns.get(UNCERTAINTY_COLUMNS.get(name, ""))
        if spread is not None and np.isfinite(spread).any():
            kind = "joint" if "JOINT" in UNCERTAINTY_COLUMNS[name] else "random"
            text = f"{kind} uncertainty of {_LONG_NAMES[name]}, standard deviation"
            names = {"long_name": text, "original_name": UNCERTAINTY_COLUMNS[name]}
            rows[f"{name}_uc"] = TowerSeries(spread, unit, names)
    if not {"Qle", "Qh", "Qg", "Rnet"} & set(rows):
        return None
    lacking = [name for name in ("Qle", "Qh") if name not in rows]
    if lacking:
        columns = " and ".join(FLUX_COLUMNS[name] for name in lacking)
        _warn(f"{table.name}: {columns} without a value: the Flux file has no {' and no '.join(lacking)}")
    return _contents(table, place, rows, "Flux")


def _contents(table: Table, place: Place, rows: dict[str, TowerSeries], kind: str) -> TowerContents:
    step = "daily mean" if table.daily else f"{table.dt / 60:g} min"
    attributes: dict[str, Any] = {
        "title": f"{kind} of {place.code}, {table.product}",
        "site_code": place.code,
        "site_name": place.name,
        "source": f"{table.product} processed with ONEFlux (doi:10.1038/s41597-020-0534-3)",
        "time_step": step,
        "soil_texture": place.soil_texture,
        "utc_offset_hours": place.numbers.get("utc_offset_hours"),
    }
    attributes = {name: value for name, value in attributes.items() if value not in ("", None)}
    numbers = {name: value for name, value in place.numbers.items() if name != "utc_offset_hours"}
    return TowerContents(table, rows, numbers, place.igbp, attributes)


def _check_all_is_there(table: Table, place: Place) -> None:
    """Raise InputError with all that is missing, and the lines that would tell it."""
    lacking = [name for name in _NEEDED if not table.has_values(table.column(name))]
    columns = [f"{table.column(name)}{f' or {SUBSTITUTES[name]}' if name in SUBSTITUTES else ''}" for name in lacking]
    facts = place.missing()
    problems = []
    if columns:
        verb = "is" if len(columns) == 1 else "are"
        problems.append(f"{', '.join(columns)} {verb} missing: give the FULLSET, SUBSET or FLUXMET table")
    if facts:
        lines = " | ".join(_SITE_LINES[name] for name in facts)
        problems.append(
            f"of the site, nothing tells {', '.join(facts)}: give the network's BIF files (--bif), or a site file "
            f"(--site) with the lines: {lines}"
        )
    if problems:
        raise InputError(f"{table.name}: {'; '.join(problems)}")
    assumed = [f"{name} ({default})" for name, default in _USEFUL.items() if name not in place.numbers]
    if assumed:
        _warn(f"{table.name}: nothing tells {', '.join(assumed)}: a model run will take what stands in brackets")


def _meteorology(table: Table, name: str) -> np.ndarray:
    """A variable of the Met file in its unit."""
    values = table.columns[table.column(name)]
    if name == "Tair":
        return values + FREEZING_POINT
    if name == "Psurf":
        return 1000.0 * values
    return values / table.dt if name == "Precip" else values  # mm per step


def _take_optional(table: Table, name: str, values: np.ndarray, series: dict[str, np.ndarray]) -> None:
    """Add a variable that a run can do without, if it has values and they are sound."""
    if not np.isfinite(values).any():
        return
    check: Callable[..., np.ndarray] = check_relative_humidity
    if name != "RH":
        check = lambda file, *rest: check_range(file, name, *rest)  # noqa: E731
    try:
        series[name] = check(table.name, values, table.times)
    except InputError as error:
        _warn(f"{error}; left out of the Met file")


def _warn_of_gaps(table: Table, series: dict[str, np.ndarray]) -> None:
    gaps = [missing_steps(name, values, table.times) for name, values in series.items()]
    gaps = [gap for gap in gaps if gap]
    if gaps:
        _warn(f"{table.name}: {'; '.join(gaps)}: fill the gaps, or run a period without them (start, stop)")


def _humidity(table: Table, series: dict[str, np.ndarray]) -> np.ndarray:
    """Specific humidity, kg kg-1; where regression on ERA made the air a little drier than dry, hardly any.

    Raises:
        InputError: a deficit 1 hPa or more beyond saturation.
    """
    saturation = saturation_over_water(series["Tair"])
    vapour = saturation - 100.0 * series["VPD"]
    drier = (vapour <= 0.0) & (vapour > -100.0 * RULES["VPD"].noise_below)
    check_vapour_deficit(table.name, np.where(drier, 0.0, series["VPD"]), series["Tair"], table.times)
    lower = RULES["Qair"].lower
    if drier.any():
        _warn(
            f"{table.name}: VPD_F exceeds saturation at {int(drier.sum())} time steps (first "
            f"{timestamp(table.times[int(np.argmax(drier))])}): Qair set to {lower:g}"
        )
    return np.maximum(specific_humidity(vapour, series["Psurf"]), lower)


def _meteorology_flags(table: Table, name: str) -> np.ndarray | None:
    """PLUMBER2's codes; of the humidity the worst of the three it comes from."""
    if name == "Qair":
        parts = [_meteorology_flags(table, part) for part in ("VPD", "Tair", "Psurf")]
        present = [part for part in parts if part is not None]
        return np.maximum.reduce(present) if len(present) == len(parts) else None
    column = table.flag_column(name)
    if not column:
        return _flags_of_unfilled(table, METEOROLOGY_COLUMNS[name]) if name == "RH" else None
    codes = _codes(table, column)
    if table.column(name) in SUBSTITUTES.values():
        codes = np.maximum(codes, 1.0)  # 0 says that what it was computed from is measured
    return np.where(codes == 2.0, 4.0, codes) if column.endswith("_F_QC") else codes


def _flux_flags(table: Table, name: str) -> np.ndarray | None:
    column = table.flag_column(name)
    if column:
        return _shares(table, column) if table.daily else _codes(table, column)
    if name in ("Rnet", "SWup", "LWup", "Ustar") and not table.daily:
        return _flags_of_unfilled(table, FLUX_COLUMNS[name])
    return None


def _flags_of_unfilled(table: Table, column: str) -> np.ndarray:
    """ONEFlux fills only some variables; of the others, what is there was measured."""
    return np.where(np.isfinite(table.columns[column]), 0.0, np.nan)


def _codes(table: Table, column: str) -> np.ndarray:
    values = table.columns[column]
    bad = np.isfinite(values) & ~np.isin(values, (0.0, 1.0, 2.0, 3.0))
    return _flags_without(bad, table, column, "of ONEFlux are 0 to 3")


def _shares(table: Table, column: str) -> np.ndarray:
    values = table.columns[column]
    return _flags_without((values < 0.0) | (values > 1.0), table, column, "of daily tables are shares from 0 to 1")


def _flags_without(bad: np.ndarray, table: Table, column: str, rule: str) -> np.ndarray:
    """The flags of a column. Raises InputError: some are ``bad``."""
    values = table.columns[column]
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{table.name}: {column} = {values[at]:g} at {timestamp(table.times[at])} ({int(bad.sum())} rows): flags "
            f"{rule}; correct them"
        )
    return values


def _warn(message: str) -> None:
    warnings.warn(message, RepairWarning, stacklevel=3)
