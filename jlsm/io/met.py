"""A PLUMBER2 Met file becomes ``Forcing`` and ``Site``: read, check, repair and fill, in that order.

The file is taken as it is. What is wrong raises ``InputError``; what is slightly off or may be missing
is repaired and announced by ``RepairWarning``. All that is missing is named in one message.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import Forcing, Site
from jlsm.io import gap_filling, sun, time_axis
from jlsm.io.checks import (
    RULES,
    check_amounts,
    check_range,
    check_relative_humidity,
    check_saturation,
    check_vapour_deficit,
    missing_steps,
)
from jlsm.io.names import NAMES, igbp_class
from jlsm.io.site_file import SiteChanges, read_site_changes
from jlsm.io.tower_file import TowerFile, open_tower_file

REQUIRED = ("Tair", "Psurf", "SWdown", "LWdown", "Wind", "Precip")
"""Variables that must be there and complete; ``Qair`` joins them unless RH or VPD can stand in."""

_PLACE = {
    "latitude": ("degrees_north", -90.0, 90.0),
    "longitude": ("degrees_east", -180.0, 360.0),
    "reference_height": ("m", 0.1, 500.0),
    "canopy_height": ("m", 0.0, 120.0),
    "elevation": ("m", -450.0, 9000.0),
}
"""The site's numbers with unit and range; the first three must be there."""


def load_forcing(
    path: str | os.PathLike,
    *,
    lai: str = "LAI",
    start: str | None = None,
    stop: str | None = None,
    site_file: str | os.PathLike | None = None,
    utc_offset: float | None = None,
    sun_check: bool = True,
) -> tuple[Forcing, Site]:
    """Read a PLUMBER2 v1.0 Met file, unchanged; names of ALMA, CABLE and Urban-PLUMBER are understood too.

    Args:
        path: NetCDF file with ``time`` (and y, x of length 1), ALMA variables and the site's scalars. Time is local
            standard time (or has a zone in its units) and marks the start of each interval (or has bounds).
        lai: ``"LAI"`` or ``"LAI_alternative"``.
        start: first time to read, ISO date (``"2005"``, ``"2005-06-01"``, ``"2005-06-01T12:00"``).
        stop: first time to leave out.
        site_file: TOML file with what is known of the site and not in the Met file (see ``jlsm.io.site_file``).
        utc_offset: hours by which the record's clock is ahead of UTC, in place of what the file says.
        sun_check: whether SWdown must be where the sun is on the record's clock (see ``jlsm.io.sun``).

    Returns:
        Forcing ``[time]`` (K, kg kg-1, Pa, W m-2, m s-1, kg m-2 s-1, ppm, m2 m-2) and the Site, in the default float
        dtype (float32, or float64 with ``jax_enable_x64``).

    Raises:
        InputError: anything that cannot be run; one line with file, variable, time and remedy.

    Warns:
        RepairWarning: units converted; missing CO2air (Mauna Loa), LAI (interpolation, or an assumed course of the
            class), Qair (from RH or VPD), utc offset (PLUMBER2's table, or longitude) or soil texture (loam); small
            noise set to the edge of its range, counted; a sun that is half an hour to three hours away.
    """
    if lai not in ("LAI", "LAI_alternative"):
        raise InputError(f"lai {lai!r} is unknown: use 'LAI' or 'LAI_alternative'")
    changes = read_site_changes(site_file) if site_file is not None else SiteChanges()
    if utc_offset is not None:
        changes = changes.with_utc_offset(utc_offset)
    with open_tower_file(path, "Met") as file:
        _check_presence(file, changes)
        site = _site(file, changes)
        times = file.times(float(site.utc_offset))
        time_axis.check_order(file.name, times)
        steps = time_axis.select(file.name, times, start, stop)
        dt = time_axis.step_length(file.name, times[steps])
        if sun_check:
            place = (float(site.latitude), float(site.longitude), float(site.utc_offset))
            sun.check_clock(file.name, times, dt, file.quantity("SWdown", "W m-2"), place)
        reader = _Reader(file, steps, times[steps])
        series = reader.complete(REQUIRED)
        series["Qair"] = _humidity(reader, series)
        check_saturation(file.name, series["Qair"], series["Tair"], series["Psurf"], reader.times)
        check_amounts(file.name, series, reader.times, dt, float(site.latitude))
        series["CO2air"] = gap_filling.fill_co2(file.name, reader.optional("CO2air"), reader.times)
        series["LAI"] = _leaf_area(reader, lai, site, changes)
        if "Snowf" in file:
            series["Snowf"] = reader.snowfall(series["Precip"])
    days = reader.times.astype("datetime64[D]")
    forcing = Forcing(
        **{name: jnp.asarray(values, dtype=float) for name, values in series.items()},
        day=jnp.asarray(days.astype(int), dtype=jnp.int32),
        second_of_day=jnp.asarray((reader.times - days).astype(int), dtype=jnp.int32),
        dt=jnp.asarray(dt, dtype=float),
    )
    return forcing, site


def load_site(path: str | os.PathLike, site_file: str | os.PathLike | None = None) -> Site:
    """The Site of a Met file alone, without reading its time series; errors and warnings as ``load_forcing``."""
    changes = read_site_changes(site_file) if site_file is not None else SiteChanges()
    with open_tower_file(path, "Met") as file:
        return _site(file, changes)


class _Reader:
    """The chosen steps of a file's variables, by PLUMBER2's names, each in its unit and checked."""

    def __init__(self, file: TowerFile, steps: slice, times: np.ndarray) -> None:
        self.file, self.steps, self.times = file, steps, times

    def complete(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Variables that must be complete and in range; all gaps are named together.

        Raises:
            InputError: gaps, a value out of range.
        """
        series = {name: self.values(name) for name in names}
        gaps = [missing_steps(name, values, self.times) for name, values in series.items()]
        gaps = [gap for gap in gaps if gap]
        if gaps:
            raise InputError(
                f"{self.file.name}: {'; '.join(gaps)}: fill the gaps, or choose a period without them (start, stop)"
            )
        return {name: check_range(self.file.name, name, values, self.times) for name, values in series.items()}

    def optional(self, name: str) -> np.ndarray | None:
        """A variable that may be absent or have gaps (NaN); what it holds is checked all the same."""
        if self.file.first(NAMES[name]) is None:
            return None
        check = check_relative_humidity if name == "RH" else lambda *rest: check_range(rest[0], name, *rest[1:])
        return check(self.file.name, self.values(name), self.times)

    def values(self, name: str) -> np.ndarray:
        """A variable in its unit, unchecked; wind from two components and precipitation from rain and snow."""
        present = self.file.first(NAMES[name])
        if present is None and name == "Wind":
            return np.hypot(self._quantity("Wind_E", name), self._quantity("Wind_N", name))
        if present is None and name == "Precip":
            rain = self._quantity("Rainf", name)
            return rain + self._quantity("Snowf", name) if "Snowf" in self.file else rain
        assert present is not None, name
        return self._quantity(present, name)

    def snowfall(self, precipitation: np.ndarray) -> np.ndarray:
        """The part of precipitation that the file says fell as snow, kg m-2 s-1, NaN where it does not say.

        Raises:
            InputError: out of range, or more snow than precipitation.
        """
        snow = check_range(self.file.name, "Precip", self._quantity("Snowf", "Precip"), self.times)
        more = snow > precipitation + 1e-6
        if more.any():
            at = int(np.argmax(more))
            raise InputError(
                f"{self.file.name}: Snowf = {snow[at]:.4g} at {time_axis.timestamp(self.times[at])} is more than all "
                f"precipitation ({precipitation[at]:.4g} kg m-2 s-1): correct Snowf or Precip"
            )
        return np.minimum(snow, precipitation)

    def _quantity(self, variable: str, name: str) -> np.ndarray:
        rule = RULES[name]
        return self.file.quantity(variable, rule.unit, rule.remedy)[self.steps]


def _check_presence(file: TowerFile, changes: SiteChanges) -> None:
    """Raise InputError with all that is missing at once."""
    instead = {"Wind": ("Wind_E", "Wind_N"), "Precip": ("Rainf",)}
    missing = [
        f"variable {name} ({RULES[name].unit})"
        for name in REQUIRED
        if file.first(NAMES[name]) is None and not all(part in file for part in instead.get(name, ("",)))
    ]
    if not any(file.first(NAMES[name]) for name in ("Qair", "RH", "VPD")):
        missing.append("variable Qair (kg kg-1; or RH, VPD)")
    missing += _missing_of_site(file, changes)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(f"{file.name}: {', '.join(missing)} {verb} missing: add to the file")


def _missing_of_site(file: TowerFile, changes: SiteChanges) -> list[str]:
    """What a site must have and the file lacks, in words."""
    missing = [
        f"variable {name} ({_PLACE[name][0]})"
        for name in ("latitude", "longitude", "reference_height")
        if np.isnan(_number(file, name, changes))
    ]
    if not _vegetation_class(file, changes):
        missing.append("variable IGBP_veg_short (the IGBP class, such as CRO or GRA)")
    return missing


def _humidity(reader: _Reader, series: dict[str, np.ndarray]) -> np.ndarray:
    """Specific humidity, kg kg-1: the file's own, or derived from RH or VPD."""
    file = reader.file
    relative = reader.optional("RH")
    if file.first(NAMES["Qair"]):
        return reader.complete(("Qair",))["Qair"]
    source = "RH" if relative is not None else "VPD"
    values = reader.complete((source,))[source] if relative is None else relative
    gap = missing_steps(source, values, reader.times)
    if gap:
        raise InputError(f"{file.name}: {gap}, and Qair is absent: fill the gaps, or choose a period without them")
    if source == "VPD":
        check_vapour_deficit(file.name, values, series["Tair"], reader.times)
    return gap_filling.fill_humidity(file.name, source, values, series["Tair"], series["Psurf"])


def _leaf_area(reader: _Reader, lai: str, site: Site, changes: SiteChanges) -> np.ndarray:
    """Leaf area index, m2 m-2, from the site file, the variable asked for, or the stated substitutes."""
    file = reader.file
    if changes.monthly_lai is not None:
        return gap_filling.monthly_course(changes.monthly_lai, reader.times)
    if changes.dated_lai is not None:
        dates, values = changes.dated_lai
        outside = reader.times[(reader.times < dates[0]) | (reader.times > dates[-1])]
        if outside.size:
            _warn(
                f"{file.name}: leaf area of the site file is from {dates[0]} to {dates[-1]}: its ends are held at "
                f"{outside.size} time steps beyond"
            )
        return np.interp(reader.times.astype(float), dates.astype("datetime64[s]").astype(float), values)
    if lai == "LAI_alternative" and lai not in file:
        raise InputError(f"{file.name}: variable LAI_alternative is missing: run with LAI, or add it to the file")
    if lai not in file and "LAI_alternative" in file:
        warnings.warn(f"{file.name}: LAI is absent: LAI_alternative used", RepairWarning, stacklevel=2)
        lai = "LAI_alternative"
    values = reader.optional(lai)
    return gap_filling.fill_lai(file.name, lai, values, reader.times, str(site.igbp), float(site.latitude))


def _number(file: TowerFile, name: str, changes: SiteChanges) -> float:
    """A number of the site within its range, NaN where nothing tells: site file, variable, then global attribute."""
    if name in changes.numbers:
        return changes.numbers[name]
    unit, lower, upper = _PLACE[name]
    value = np.nan
    present = file.first(NAMES[name])
    attributes = file.attributes()
    if present is not None:
        value = file.place_number(present, unit)
    else:
        present = next((other for other in NAMES[name] if other in attributes), None)
        if present is not None:
            value = _attribute_number(file.name, present, attributes[present])
    if np.isfinite(value) and not lower <= value <= upper:
        limits = f"{lower:g} to {upper:g} {unit}"
        raise InputError(f"{file.name}: {present} = {value:g} is outside {limits}: correct the file")
    return value


def _vegetation_class(file: TowerFile, changes: SiteChanges) -> str:
    """The IGBP class in its short form; empty where nothing tells."""
    if changes.igbp:
        return igbp_class(changes.igbp)
    attributes = file.attributes()
    for name in ("IGBP_veg_short", "IGBP_veg_long", "IGBP"):
        text = file.text(name) or str(attributes.get(name, "")).strip()
        if text:
            return igbp_class(text)
    return ""


def _site(file: TowerFile, changes: SiteChanges) -> Site:
    """The site's scalars, checked."""
    missing = _missing_of_site(file, changes)
    if missing:
        raise InputError(f"{file.name}: {', '.join(missing)} missing: add to the file")
    numbers = {name: _number(file, name, changes) for name in _PLACE}
    if numbers["longitude"] > 180.0:
        numbers["longitude"] -= 360.0
    if numbers["canopy_height"] >= numbers["reference_height"]:
        _warn(
            f"{file.name}: reference_height {numbers['reference_height']:g} m is not above the canopy "
            f"({numbers['canopy_height']:g} m): kept; correct the file or set vegetation.canopy_height in a parameter "
            f"file"
        )
    if np.isnan(numbers["elevation"]):
        _warn(f"{file.name}: elevation is absent: taken as 0 m")
        numbers["elevation"] = 0.0
    attributes = file.attributes()
    code = str(attributes.get("site_code", "")).strip() or Path(file.name).name.split("_")[0].removesuffix(".nc")
    offset = changes.numbers.get("utc_offset_hours")
    if offset is None:
        offset = file.utc_offset(code)
    if offset is None:
        offset = gap_filling.solar_utc_offset(file.name, numbers["longitude"])
    texture = changes.soil_texture or str(attributes.get("soil_texture", "")).strip().lower()
    if not texture:
        _warn(
            f"{file.name}: soil texture is unknown: loam assumed; name it in a site file (--site) or the global "
            f"attribute soil_texture"
        )
    return Site(
        latitude=jnp.asarray(numbers["latitude"], dtype=float),
        longitude=jnp.asarray(numbers["longitude"], dtype=float),
        elevation=jnp.asarray(numbers["elevation"], dtype=float),
        reference_height=jnp.asarray(numbers["reference_height"], dtype=float),
        canopy_height=jnp.asarray(numbers["canopy_height"], dtype=float),
        utc_offset=jnp.asarray(offset, dtype=float),
        code=code,
        name=str(attributes.get("site_name", "")).strip(),
        igbp=_vegetation_class(file, changes),
        soil_texture=texture or "loam",
        c4_fraction=changes.numbers.get("c4_fraction"),
    )


def _attribute_number(file: str, name: str, value: object) -> float:
    """A number from a global attribute."""
    try:
        return float(np.asarray(value).reshape(()))
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: global attribute {name} = {value!r} is not a number: correct it") from error


def _warn(message: str) -> None:
    warnings.warn(message, RepairWarning, stacklevel=4)
