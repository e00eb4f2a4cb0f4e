"""The door for NetCDF files of a tower, forcing and fluxes alike: whatever is wrong inside becomes one line.

Nothing is read before its size is known to be sensible, every number is float64 with NaN for each kind of missing
value, and the clock is decoded in one place (``jlsm.io.time_axis``).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from jlsm.errors import InputError, RepairWarning
from jlsm.io import time_axis, units
from jlsm.io.foreign import in_one_line
from jlsm.io.packed import GZIP, NETCDF_BEGINNINGS, ZIP, first_bytes, open_unpacked
from jlsm.io.site_table import plumber2_utc_offset

FILL_VALUES = (-9999.0, -6999.0, -999.0)
"""What flux-tower files write where nothing was measured, also where no attribute declares it."""
LOWEST = -9990.0
"""at or below this a value is a missing one that was computed with (-9998)"""
MOST_VALUES = 5_000_000
"""values of a variable: 285 years of half hours; a file that declares more is damaged, or no tower's"""
LONGEST_TEXT = 10_000


def without_fill(values: np.ndarray) -> np.ndarray:
    """The values with NaN where they stand for a missing one."""
    return np.where(np.isin(values, FILL_VALUES) | (values <= LOWEST) | (np.abs(values) > 1e15), np.nan, values)


class TowerFile:
    """An open file: ``name`` for messages, and readers for times, numbers, texts and attributes."""

    def __init__(self, name: str, dataset: netCDF4.Dataset) -> None:
        self.name = name
        self._dataset = dataset
        self._quantities: dict[tuple[str, str], np.ndarray] = {}

    def __contains__(self, variable: str) -> bool:
        return variable in self._dataset.variables

    def first(self, variables: tuple[str, ...]) -> str | None:
        """The first of several names that the file has."""
        return next((name for name in variables if name in self), None)

    def attributes(self) -> dict[str, Any]:
        """The global attributes."""
        return {name: self._dataset.getncattr(name) for name in self._dataset.ncattrs()}

    def attribute(self, variable: str, name: str, default: str = "") -> str:
        """An attribute of a variable as text."""
        holder = self._dataset.variables[variable]
        return str(holder.getncattr(name)) if name in holder.ncattrs() else default

    def values_attribute(self, variable: str, name: str) -> np.ndarray | None:
        """An attribute of a variable that holds numbers; None where it is absent."""
        holder = self._dataset.variables[variable]
        return np.asarray(holder.getncattr(name)) if name in holder.ncattrs() else None

    def _limited(self, variable: str, most: int = MOST_VALUES) -> netCDF4.Variable:
        holder = self._dataset.variables[variable]
        size = int(np.prod([int(length) for length in holder.shape], dtype=object)) if holder.shape else 1
        if size > most:
            raise InputError(
                f"{self.name}: {variable} declares {size} values, more than any tower has ({most}): "
                f"the file is damaged, or not of one site"
            )
        return holder

    def numbers(self, variable: str) -> np.ndarray:
        """A numeric variable as float64 with NaN for every kind of missing value."""
        values = self._limited(variable)[...]
        if np.asarray(values).dtype.kind not in "fiu":
            raise InputError(f"{self.name}: {variable} holds text where numbers are expected: write it as float")
        return without_fill(np.ma.filled(np.ma.asarray(values).astype(float), np.nan))

    def series(self, variable: str) -> np.ndarray:
        """One value per time step, ``[time]``.

        Raises:
            InputError: no time dimension, twice the time dimension, or more than one cell beside it.
        """
        holder = self._dataset.variables[variable]
        if holder.dimensions.count("time") != 1:
            count = "no" if "time" not in holder.dimensions else "more than one"
            raise InputError(f"{self.name}: {variable} has {count} time dimension: give one value per time step")
        for dimension, length in zip(holder.dimensions, holder.shape, strict=True):
            if dimension != "time" and length != 1:
                raise InputError(
                    f"{self.name}: {variable} has {length} cells along {dimension}: a tower's file holds one site; "
                    f"select one cell"
                )
        return self.numbers(variable).reshape(-1)

    def quantity(self, variable: str, expected: str, remedy: str = "") -> np.ndarray:
        """A series in the unit ``expected``, converted from the units attribute; a conversion is announced.

        Raises:
            InputError: a unit that is not understood or measures something else.
        """
        key = (variable, expected)
        if key not in self._quantities:  # read once, and a conversion is announced once
            self._quantities[key] = self._converted(variable, expected, remedy)
        return self._quantities[key]

    def _converted(self, variable: str, expected: str, remedy: str) -> np.ndarray:
        values = self.series(variable)
        unit = self.attribute(variable, "units").strip()
        if not unit or units.same(unit, expected):
            return values
        try:
            converted = units.convert(values, unit, expected)
        except units.UnitError as error:
            raise InputError(
                f"{self.name}: {variable} has units {unit!r}, {error}, expected {expected!r}: "
                f"{remedy or 'convert the values, or correct the attribute'}"
            ) from error
        if np.array_equal(converted, values, equal_nan=True):  # another spelling: m2 m-2 and 1
            return values
        warnings.warn(
            f"{self.name}: {variable} converted from {unit} to {expected}: as its units attribute says",
            RepairWarning,
            stacklevel=3,
        )
        return converted

    def place_number(self, variable: str, expected: str) -> float:
        """A single number of the site in the unit ``expected``, NaN where it is missing; a conversion is announced.

        Raises:
            InputError: several numbers, a unit that is not understood or measures something else.
        """
        key = (variable, expected)
        if key not in self._quantities:  # as in ``quantity``
            self._quantities[key] = np.asarray([self._converted_number(variable, expected)])
        return float(self._quantities[key][0])

    def _converted_number(self, variable: str, expected: str) -> float:
        values = self.numbers(variable).reshape(-1)
        if values.size != 1:
            raise InputError(
                f"{self.name}: {variable} has {values.size} values: a tower's file holds one site; select one cell"
            )
        value, unit = float(values[0]), self.attribute(variable, "units").strip()
        try:
            converted = units.convert_place(value, unit, expected)
        except units.UnitError as error:
            raise InputError(
                f"{self.name}: {variable} has units {unit[:40]!r}, {error}, expected {expected!r}: correct it"
            ) from error
        if converted != value and np.isfinite(value):
            warnings.warn(
                f"{self.name}: {variable} = {value:g} {unit} is {converted:g} {expected}: as its units attribute says",
                RepairWarning,
                stacklevel=5,
            )
        return converted

    def text(self, variable: str) -> str:
        """A text variable (char array, string, padded bytes, or a number) without its padding; empty where absent."""
        if variable not in self:
            return ""
        values = np.ma.filled(np.ma.asarray(self._limited(variable, LONGEST_TEXT)[...]), b"")
        parts = [part.decode("utf-8") if isinstance(part, bytes) else str(part) for part in np.atleast_1d(values).flat]
        return "".join(parts).replace("\x00", " ").strip()

    def times(self, utc_offset: float | None) -> np.ndarray:
        """The start of every interval, ``datetime64[s]`` of local standard time: from time and its bounds.

        Args:
            utc_offset: of the site's clock, hours; used where the file's times have a zone.
        """
        if "time" not in self:
            raise InputError(f"{self.name}: variable time is missing: add it, in 'seconds since YYYY-MM-DD hh:mm:ss'")
        variable = self._dataset.variables["time"]
        if variable.ndim != 1:
            raise InputError(f"{self.name}: time has {variable.ndim} dimensions: write it with one")
        if variable.size == 0:
            raise InputError(f"{self.name}: time has no steps: the file is empty")
        stamps = time_axis.decode(self.name, self.numbers("time"), self.clock(), utc_offset)
        bounds = self._bounds(stamps.size)
        if bounds is None:
            return stamps
        clock = self.clock(bounds)
        edges = time_axis.decode(self.name, self.numbers(bounds).reshape(-1), clock, utc_offset)
        return time_axis.interval_starts(self.name, stamps, edges.reshape(-1, 2))

    def clock(self, variable: str = "time") -> time_axis.Clock:
        """The clock of time, or of its bounds, which take over the units of time where they have none."""
        units_text = self.attribute(variable, "units") or self.attribute("time", "units")
        if not units_text:
            raise InputError(f"{self.name}: time has no units attribute: add 'seconds since YYYY-MM-DD hh:mm:ss'")
        return time_axis.read_clock(self.name, units_text, self.attribute("time", "calendar", "standard"))

    def _bounds(self, steps: int) -> str | None:
        """Name of the variable with the edges of each interval, ``[time, 2]``; None where there is none."""
        declared = self.attribute("time", "bounds")
        name = self.first((declared, "time_bnds", "time_bounds", "bounds_time"))
        if name is None:
            if declared:
                warnings.warn(
                    f"{self.name}: time has bounds in {declared!r}, which the file lacks: its stamps count as "
                    f"the start of each interval",
                    RepairWarning,
                    stacklevel=2,
                )
            return None
        if self._dataset.variables[name].shape != (steps, 2):
            raise InputError(
                f"{self.name}: {name} has shape {self._dataset.variables[name].shape}, expected {(steps, 2)}: "
                f"correct or remove it"
            )
        return name

    def utc_offset(self, code: str = "") -> float | None:
        """Hours by which the site's standard time is ahead of UTC, as far as the file or a table tells; else None.

        From, in this order: a global attribute, a zone in the units of time other than UTC itself, the table of
        PLUMBER2's sites.
        """
        attributes = self.attributes()
        for name in ("utc_offset_hours", "local_utc_offset_hours", "utc_offset", "time_zone", "timezone"):
            if name in attributes:
                offset = _offset(attributes[name])
                if offset is None or not -14.0 <= offset <= 14.0:
                    raise InputError(
                        f"{self.name}: global attribute {name} = {attributes[name]!r} is no offset from UTC between "
                        f"-14 and 14 hours: correct it"
                    )
                return offset
        if "time" in self and self.attribute("time", "units"):
            zone = self.clock().zone
            if zone:
                return zone
        return plumber2_utc_offset(code)


def _offset(value: Any) -> float | None:
    """The hours of an attribute: ``-6``, ``-6.0``, ``UTC-6``, ``UTC+05:30``, ``GMT``; None where it says none."""
    text = str(np.asarray(value).reshape(-1)[0] if np.asarray(value).size == 1 else value).strip().upper()
    for prefix in ("UTC", "GMT"):
        text = text.removeprefix(prefix).strip()
    if not text or text == "Z":
        return 0.0
    hours, _, minutes = text.partition(":")
    try:
        sign = -1.0 if hours.startswith("-") else 1.0
        return float(hours) + sign * float(minutes or 0.0) / 60.0
    except ValueError:
        return None


@contextmanager
def open_tower_file(path: str | os.PathLike, kind: str) -> Iterator[TowerFile]:
    """Open a file; what the NetCDF library, or a damaged file, throws at any later reading becomes one line.

    Args:
        path: the file, gzipped or not.
        kind: what it should be, for messages: ``Met`` or ``Flux``.

    Raises:
        InputError: no such file, not a file, not NetCDF, damaged.
    """
    name = os.fspath(path)
    if "\x00" in name or not Path(name).exists():
        raise InputError(f"{name}: no such file: check the path")
    if not Path(name).is_file():
        raise InputError(f"{name}: is not a file: give the path of a PLUMBER2 {kind} file")
    with in_one_line(name, "NetCDF"), _dataset(name, kind) as dataset:
        yield TowerFile(name, dataset)


def _dataset(name: str, kind: str) -> netCDF4.Dataset:
    """The open file; a gzipped one is unpacked in memory.

    Raises:
        InputError: a table, for which ``jlsm convert`` is there, or a gzip file that unpacks to too much.
    """
    begin = first_bytes(name)
    if begin[:2] == GZIP:
        with open_unpacked(name) as stream:
            begin = stream.peek(8)[:8]
            content = stream.read() if begin.startswith(NETCDF_BEGINNINGS) else b""
    if begin[:4] == ZIP or (not begin.startswith(NETCDF_BEGINNINGS) and ".csv" in Path(name).suffixes):
        raise InputError(
            f"{name}: is a table, not NetCDF: 'jlsm convert {Path(name).name}' makes a Met and a Flux file of a "
            f"network's (ONEFlux) table; give its {kind} file here"
        )
    if first_bytes(name)[:2] == GZIP:
        return netCDF4.Dataset("unpacked", memory=content)
    return netCDF4.Dataset(name)
