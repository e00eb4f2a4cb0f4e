"""A PLUMBER2 Met file becomes ``Forcing`` and ``Site``: read, check, repair and fill, in that order.

The file is taken as it is. What is wrong raises ``InputError``; what is slightly off or may be missing
is repaired and announced by ``RepairWarning``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax.numpy as jnp
import netCDF4
import numpy as np

from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import Forcing, Site
from jlsm.io import gap_filling, time_axis
from jlsm.io.checks import (
    RULES,
    check_amounts,
    check_range,
    check_relative_humidity,
    check_unit,
    first_missing,
    plain_unit,
)

REQUIRED = ("Tair", "Psurf", "SWdown", "LWdown", "Wind", "Precip")
"""Variables that must be there and complete; ``Qair`` joins them unless RH or VPD can stand in."""

_FILL_VALUES = (-9999.0, -6999.0, -999.0)  # flux-tower habit, also where no attribute declares it
_IGBP_ALIASES = {"CVM": "CNM", "BAR": "BSV", "DES": "BSV", "ICE": "SNO", "BRL": "BSV"}


def load_forcing(
    path: str | os.PathLike, *, lai: str = "LAI", start: str | None = None, stop: str | None = None
) -> tuple[Forcing, Site]:
    """Read a PLUMBER2 v1.0 Met file, unchanged.

    Args:
        path: NetCDF file with ``time`` (and y, x of length 1), ALMA variables and the site's scalars. Time is local
            standard time and marks the start of each interval.
        lai: ``"LAI"`` or ``"LAI_alternative"``.
        start: first time to read, ISO date (``"2005"``, ``"2005-06-01"``, ``"2005-06-01T12:00"``).
        stop: first time to leave out.

    Returns:
        Forcing ``[time]`` (K, kg kg-1, Pa, W m-2, m s-1, kg m-2 s-1, ppm, m2 m-2) and the Site, in the default float
        dtype (float32, or float64 with ``jax_enable_x64``).

    Raises:
        InputError: anything that cannot be run; one line with file, variable, time and remedy.

    Warns:
        RepairWarning: missing CO2air (Mauna Loa), LAI (interpolation, or an assumed course of the class), Qair
            (from RH or VPD) or utc offset (from longitude); small noise set to the edge of its range, counted.
    """
    if lai not in ("LAI", "LAI_alternative"):
        raise InputError(f"lai {lai!r} is unknown: use 'LAI' or 'LAI_alternative'")
    with _open(path) as (file, dataset):
        times = _times(file, dataset)
        time_axis.check_order(file, times)
        steps = time_axis.select(file, times, start, stop)
        times = times[steps]
        dt = time_axis.step_length(file, times)
        site = _site(file, dataset)
        latitude = float(site.latitude)
        series = {name: _complete(file, dataset, name, steps, times) for name in REQUIRED}
        humidity = _optional(file, dataset, "RH", steps, times)
        series["Qair"] = _humidity(file, dataset, steps, times, series, humidity)
        check_amounts(file, series, times, dt, latitude)
        series["CO2air"] = gap_filling.fill_co2(file, _optional(file, dataset, "CO2air", steps, times), times)
        series["LAI"] = _leaf_area(file, dataset, lai, steps, times, site)
    days = times.astype("datetime64[D]")
    forcing = Forcing(
        **{name: jnp.asarray(values, dtype=float) for name, values in series.items()},
        day=jnp.asarray(days.astype(int), dtype=jnp.int32),
        second_of_day=jnp.asarray((times - days).astype(int), dtype=jnp.int32),
        dt=jnp.asarray(dt, dtype=float),
    )
    return forcing, site


def load_site(path: str | os.PathLike) -> Site:
    """The Site of a Met file alone, without reading its time series; errors and warnings as ``load_forcing``."""
    with _open(path) as (file, dataset):
        return _site(file, dataset)


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[tuple[str, netCDF4.Dataset]]:
    """The file's name for messages and the open dataset; what the NetCDF library throws becomes one line."""
    file = os.fspath(path)
    if not Path(file).exists():
        raise InputError(f"{file}: no such file: check the path")
    if not Path(file).is_file():
        raise InputError(f"{file}: is not a file: give the path of a PLUMBER2 Met file")
    damaged = f"{file}: cannot be read as NetCDF (truncated, damaged or another format): get the file again"
    try:
        dataset = netCDF4.Dataset(file)
    except PermissionError as error:
        raise InputError(f"{file}: may not be read: change its permissions") from error
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise InputError(f"{damaged} ({error})") from error
    with dataset:
        try:
            yield file, dataset
        except InputError:
            raise
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            raise InputError(f"{damaged} ({error})") from error


def _numbers(file: str, dataset: netCDF4.Dataset, name: str) -> np.ndarray:
    """A numeric variable as float64 with NaN for every kind of missing value."""
    values = dataset.variables[name][...]
    if np.asarray(values).dtype.kind not in "fiu":
        raise InputError(f"{file}: {name} holds text where numbers are expected: write it as float")
    values = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    values[np.isin(values, _FILL_VALUES) | (np.abs(values) > 1e15)] = np.nan
    return values


def _times(file: str, dataset: netCDF4.Dataset) -> np.ndarray:
    """The decoded time axis, ``datetime64[s]``."""
    if "time" not in dataset.variables:
        raise InputError(f"{file}: variable time is missing: add it, in 'seconds since YYYY-MM-DD hh:mm:ss'")
    variable = dataset.variables["time"]
    if variable.ndim != 1:
        raise InputError(f"{file}: time has {variable.ndim} dimensions: write it with one")
    if variable.size == 0:
        raise InputError(f"{file}: time has no steps: the file is empty")
    units = getattr(variable, "units", None)
    if units is None:
        raise InputError(f"{file}: time has no units attribute: add 'seconds since YYYY-MM-DD hh:mm:ss'")
    return time_axis.decode(
        file, _numbers(file, dataset, "time"), str(units), str(getattr(variable, "calendar", "standard"))
    )


def _series(file: str, dataset: netCDF4.Dataset, name: str, steps: slice) -> np.ndarray:
    """One variable over the chosen steps, ``[time]``, its unit attribute checked; missing values are NaN."""
    variable = dataset.variables[name]
    if "time" not in variable.dimensions:
        raise InputError(f"{file}: {name} has no time dimension: give one value per time step")
    for dimension, length in zip(variable.dimensions, variable.shape, strict=True):
        if dimension != "time" and length != 1:
            raise InputError(
                f"{file}: {name} has {length} cells along {dimension}: a Met file holds one site; select one cell"
            )
    if "units" in variable.ncattrs():
        check_unit(file, name, str(variable.units))
    return _numbers(file, dataset, name).reshape(-1)[steps]


def _complete(file: str, dataset: netCDF4.Dataset, name: str, steps: slice, times: np.ndarray) -> np.ndarray:
    """A variable that must be present, complete and in range; noise repaired."""
    if name not in dataset.variables:
        raise InputError(f"{file}: variable {name} ({RULES[name].unit}) is missing: add it to the file")
    values = _series(file, dataset, name, steps)
    first_missing(file, name, values, times)
    return check_range(file, name, values, times)


def _optional(file: str, dataset: netCDF4.Dataset, name: str, steps: slice, times: np.ndarray) -> np.ndarray | None:
    """A variable that may be absent or have gaps (NaN); what it holds is checked all the same."""
    if name not in dataset.variables:
        return None
    values = _series(file, dataset, name, steps)
    check = check_relative_humidity if name == "RH" else lambda *rest: check_range(file, name, *rest[1:])
    return check(file, values, times)


def _humidity(
    file: str,
    dataset: netCDF4.Dataset,
    steps: slice,
    times: np.ndarray,
    series: dict[str, np.ndarray],
    relative_humidity: np.ndarray | None,
) -> np.ndarray:
    """Specific humidity, kg kg-1: the file's own, or derived from RH or VPD."""
    if "Qair" not in dataset.variables:
        if relative_humidity is not None:
            first_missing(file, "RH", relative_humidity, times)
            return gap_filling.fill_humidity(file, "RH", relative_humidity, series["Tair"], series["Psurf"])
        if "VPD" in dataset.variables and plain_unit(str(getattr(dataset.variables["VPD"], "units", ""))) == "hpa":
            deficit = _numbers(file, dataset, "VPD").reshape(-1)[steps]
            first_missing(file, "VPD", deficit, times)
            return gap_filling.fill_humidity(file, "VPD", deficit, series["Tair"], series["Psurf"])
    return _complete(file, dataset, "Qair", steps, times)


def _leaf_area(
    file: str, dataset: netCDF4.Dataset, lai: str, steps: slice, times: np.ndarray, site: Site
) -> np.ndarray:
    """Leaf area index, m2 m-2, from the variable asked for, or the stated substitutes."""
    if lai == "LAI_alternative" and lai not in dataset.variables:
        raise InputError(f"{file}: variable LAI_alternative is missing: run with LAI, or add it to the file")
    if lai not in dataset.variables and "LAI_alternative" in dataset.variables:
        warnings.warn(f"{file}: LAI is absent: LAI_alternative used", RepairWarning, stacklevel=2)
        lai = "LAI_alternative"
    values = _optional(file, dataset, lai, steps, times)
    return gap_filling.fill_lai(file, lai, values, times, str(site.igbp), float(site.latitude))


def _site(file: str, dataset: netCDF4.Dataset) -> Site:
    """The site's scalars, checked."""

    def scalar(name: str, lower: float, upper: float, unit: str, required: bool = True) -> float:
        if name in dataset.variables:
            values = _numbers(file, dataset, name).reshape(-1)
            if values.size != 1:
                raise InputError(f"{file}: {name} has {values.size} values: a Met file holds one site; select one cell")
            value = float(values[0])
            if np.isfinite(value):
                if not lower <= value <= upper:
                    raise InputError(
                        f"{file}: {name} = {value:g} is outside {lower:g} to {upper:g} {unit}: correct the file"
                    )
                return value
        if required:
            raise InputError(f"{file}: variable {name} ({unit}) is missing: add it to the file")
        return np.nan

    latitude = scalar("latitude", -90.0, 90.0, "degrees_north")
    longitude = scalar("longitude", -180.0, 360.0, "degrees_east")
    longitude = longitude - 360.0 if longitude > 180.0 else longitude
    reference_height = scalar("reference_height", 0.1, 500.0, "m")
    canopy_height = scalar("canopy_height", 0.0, 120.0, "m", required=False)
    if canopy_height >= reference_height:
        warnings.warn(
            f"{file}: reference_height {reference_height:g} m is not above the canopy ({canopy_height:g} m): kept; "
            f"correct the file or set vegetation.canopy_height in a parameter file",
            RepairWarning,
            stacklevel=3,
        )
    elevation = scalar("elevation", -450.0, 9000.0, "m", required=False)
    if np.isnan(elevation):
        warnings.warn(f"{file}: elevation is absent: taken as 0 m", RepairWarning, stacklevel=3)
        elevation = 0.0
    igbp = _text(dataset, "IGBP_veg_short").upper()
    if not igbp:
        raise InputError(f"{file}: variable IGBP_veg_short is missing or empty: add the IGBP class, such as CRO or GRA")
    attributes = {name: dataset.getncattr(name) for name in dataset.ncattrs()}
    if "utc_offset_hours" in attributes:
        offset = _attribute_number(file, "utc_offset_hours", attributes["utc_offset_hours"], -14.0, 14.0)
    else:
        offset = gap_filling.solar_utc_offset(file, longitude)
    code = str(attributes.get("site_code", "")).strip() or Path(file).name.split("_")[0].removesuffix(".nc")
    numbers = (latitude, longitude, elevation, reference_height, canopy_height, offset)
    return Site(
        *(jnp.asarray(number, dtype=float) for number in numbers),
        code=code,
        name=str(attributes.get("site_name", "")).strip(),
        igbp=_IGBP_ALIASES.get(igbp, igbp),
        soil_texture=str(attributes.get("soil_texture", "loam")).strip().lower(),
    )


def _text(dataset: netCDF4.Dataset, name: str) -> str:
    """A text variable (char array, string, or padded bytes) without its padding; empty where absent."""
    if name not in dataset.variables:
        return ""
    values = np.ma.filled(np.ma.asarray(dataset.variables[name][...]), b"")
    parts = [part.decode("utf-8") if isinstance(part, bytes) else str(part) for part in np.atleast_1d(values).flat]
    return "".join(parts).replace("\x00", " ").strip()


def _attribute_number(file: str, name: str, value: object, lower: float, upper: float) -> float:
    """A number from a global attribute, within bounds."""
    try:
        number = float(np.asarray(value).reshape(()))
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: global attribute {name} = {value!r} is not a number: correct it") from error
    if not lower <= number <= upper:
        raise InputError(f"{file}: global attribute {name} = {number:g} is outside {lower:g} to {upper:g}: correct it")
    return number
