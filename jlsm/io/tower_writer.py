"""Met and Flux files in PLUMBER2's layout, written side by side, whole or not at all."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import netCDF4
import numpy as np

from jlsm._version import package_version
from jlsm.errors import InputError
from jlsm.files import check_writable, whole_file
from jlsm.io.names import SHARE_KIND
from jlsm.io.result import FILL_VALUE
from jlsm.io.tower_pair import FLAG_MEANINGS, TowerContents, TowerSeries

_UNITS = {"latitude": "degrees_north", "longitude": "degrees_east"}
_TEXT_LENGTH = 200  # as in PLUMBER2


def write_pair(files: dict[Path, TowerContents], *, overwrite: bool) -> None:
    """Write files that belong together: all of them appear under their names, or none.

    Raises:
        InputError: a path that cannot be written, or is there already and ``overwrite`` is False.
    """
    for path in files:
        check_writable(path)
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already: give --overwrite, or another folder (-o)")
    with ExitStack() as stack:  # the names are given when all files are complete
        parts = {path: stack.enter_context(whole_file(path)) for path in files}
        for path, contents in files.items():
            with netCDF4.Dataset(parts[path], "w") as file:
                _fill(file, contents)


def _fill(file: netCDF4.Dataset, contents: TowerContents) -> None:
    table = contents.table
    for name, size in {"time": table.times.size, "y": 1, "x": 1, "nchar": _TEXT_LENGTH}.items():
        file.createDimension(name, size)
    origin = table.times[0].astype("datetime64[Y]")
    time = file.createVariable("time", "f8", ("time",), zlib=True)
    time.units = f"seconds since {origin}-01-01 00:00:00"
    time.calendar = "standard"
    time.long_name = "start of each interval, local standard time"
    time[:] = (table.times - origin).astype("timedelta64[s]").astype(float)
    for name, value in contents.numbers.items():
        variable = file.createVariable(name, "f4", ("y", "x"))
        variable.units = _UNITS.get(name, "m")
        variable[:] = value
    if contents.igbp:
        text = np.array(list(contents.igbp.ljust(_TEXT_LENGTH)), "S1")
        file.createVariable("IGBP_veg_short", "S1", ("nchar",))[:] = text
    for name, series in contents.series.items():
        _add(file, name, series.values, {"units": series.unit, **series.attributes})
        if series.flags is not None:
            _add_flags(file, name, series, shares=table.daily)
    history = f"jlsm convert {Path(table.name).name}, jlsm {package_version()}"
    file.setncatts({"Conventions": "CF-1.8", "history": history, **contents.attributes})


def _add(file: netCDF4.Dataset, name: str, values: np.ndarray, attributes: dict, kind: str = "f4") -> None:
    """A variable ``(time, y, x)``."""
    variable = file.createVariable(name, kind, ("time", "y", "x"), zlib=True, complevel=2, fill_value=FILL_VALUE)
    variable.setncatts(attributes)
    variable[:, 0, 0] = np.where(np.isfinite(values), values, FILL_VALUE).astype(kind)


def _add_flags(file: netCDF4.Dataset, name: str, series: TowerSeries, *, shares: bool) -> None:
    assert series.flags is not None
    if shares:
        words = f"share of the day for which {name} is measured or filled well, 1 is best"
        _add(file, f"{name}_qc", series.flags, {"units": "1", "long_name": words, "flag_kind": SHARE_KIND})
        return
    values = np.arange(len(FLAG_MEANINGS.split()), dtype="i2")
    meanings = {"flag_values": values, "flag_meanings": FLAG_MEANINGS, "long_name": f"quality of {name}"}
    _add(file, f"{name}_qc", series.flags, meanings, "i2")
