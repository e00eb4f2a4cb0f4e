"""Results become ALMA/CF NetCDF: one site per file, laid out as PLUMBER2 lays out its own files.

``to_dataset`` describes; ``OutputWriter`` appends dataset after dataset along time, so that memory stays flat
however long the run, and shows the file under its name only when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import jax
import netCDF4
import numpy as np
import xarray as xr
from jaxtyping import Array

from jlsm._version import package_version
from jlsm.constants import SNOW_LAYERS, SOIL_LAYER_THICKNESS
from jlsm.errors import InputError
from jlsm.files import OVERWRITE, check_writable, discard, part_of, reason_of
from jlsm.forcing import Forcing, Site
from jlsm.outputs import Outputs, output_fields
from jlsm.parameters import PARAMETERS, Parameters, get_parameter

_CELL_METHODS = {
    "mean": {"cell_methods": "time: mean"},
    "sum": {"cell_methods": "time: sum"},
    "start": {"cell_methods": "time: point", "comment": "value at the start of the interval"},
    "end": {"cell_methods": "time: point", "comment": "value at the end of the interval"},
}

FILL_VALUE = -9999.0  # as in PLUMBER2
_TIME_CHUNK = 8192  # steps per compressed block: a few hundred kB, and half a year half-hourly
_CHUNK_CACHE = 2**20  # bytes: a block or more
_LAYER_DIMENSIONS = {"soil": "soil_layer", "snow": "snow_layer"}
_Pick = Callable[[Array | np.ndarray], np.ndarray]  # takes one column out of a stack


def to_dataset(
    out: Outputs, forcing: Forcing, site: Site, params: Parameters | None = None, *, column: int | None = None
) -> xr.Dataset:
    """Model output of one site with ALMA names and CF-1.8 attributes.

    Args:
        out: from ``simulate``, ``[time, (layer,) columns]``; fields that are None are left out.
        forcing: the forcing of the same steps; steps that are padding (``valid`` False) are left out.
        site: the site, or the stack of sites.
        params: written as global attributes ``parameter_<group>_<name>``; a time series becomes a variable.
        column: which site of a stack; None for a single site.

    Returns:
        Dataset with dimensions ``time, (soil_layer | snow_layer,) y, x`` (y = x = 1). Time is local standard time, the
        start of each interval; ``time_bnds`` holds both ends.

    Raises:
        ValueError: a stack without ``column``, or lengths that differ.
    """
    columns = np.ndim(forcing.dt)
    if columns > 1 or (columns == 1) != (column is not None):
        raise ValueError("to_dataset writes one site: give column=i for a stack of sites, and nothing for a single one")
    written = {name: field for name, field in output_fields().items() if getattr(out, name) is not None}
    for name in written:
        if getattr(out, name).shape[0] != forcing.steps:
            raise ValueError(f"{name} has {getattr(out, name).shape[0]} steps, forcing {forcing.steps}: give the same")

    def pick(values: Array | np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        return values if column is None or values.ndim == 0 else values[..., min(column, values.shape[-1] - 1)]

    keep = np.ones(forcing.steps, bool) if forcing.valid is None else pick(forcing.valid)
    dataset = _coordinates(pick(forcing.day)[keep], pick(forcing.second_of_day)[keep], float(pick(forcing.dt)))
    for name, field in written.items():
        layer = _LAYER_DIMENSIONS.get(field["layers"] or "")
        values = pick(getattr(out, name))[keep]
        dimensions = ("time", *([layer] if layer else []), "y", "x")
        dataset[name] = (dimensions, values[..., None, None], _variable_attributes(field))
        dataset[name].encoding = {"_FillValue": values.dtype.type(FILL_VALUE)}
    _describe_site(dataset, site, pick, column)
    if params is not None:
        _describe_parameters(dataset, params, columns, keep, pick)
    return dataset


def members_dataset(
    out: Outputs,
    forcing: Forcing,
    site: Site,
    params: Parameters,
    names: tuple[str, ...],
    varied: tuple[str, ...],
) -> xr.Dataset:
    """Output of an ensemble of parameter sets at one site: as ``to_dataset``, with a dimension ``member`` after time.

    Args:
        out: ``[time, (layer,) members]``.
        forcing, site: of the single site.
        params: ``[members]``.
        names: of the members.
        varied: keys of the parameters that differ; they become variables ``[member]``, the others are attributes.
    """
    out = jax.tree.map(np.asarray, out)
    first = jax.tree.map(lambda leaf: leaf[..., 0], (out, params))
    dataset = to_dataset(first[0], forcing, site, first[1])
    numbers = np.arange(len(names), dtype=np.int32)
    dataset.coords["member"] = ("member", numbers, {"standard_name": "realization", "units": "1"})
    dataset["member_name"] = ("member", np.array(names, object), {"long_name": "name of the member"})
    for name in output_fields():
        if getattr(out, name) is None:
            continue
        one = dataset[name]
        values = np.moveaxis(getattr(out, name), -1, 1)[..., None, None]
        dataset[name] = (("time", "member", *one.dims[1:]), values, one.attrs)
        dataset[name].encoding = one.encoding
    for key in varied:
        name, info = "parameter_" + key.replace(".", "_"), PARAMETERS[key]
        del dataset.attrs[name]
        unit = "1" if info.unit == "-" else info.unit
        attributes = {"long_name": info.description, "units": unit}
        dataset[name] = ("member", np.asarray(get_parameter(params, key)), attributes)
        dataset[name].encoding = {"_FillValue": None}
    return dataset


def _coordinates(days: np.ndarray, seconds: np.ndarray, dt: float) -> xr.Dataset:
    """Time with bounds, soil and snow layers, and the grid cell."""
    start = days.astype("datetime64[D]").astype("datetime64[ns]") + seconds.astype("timedelta64[s]")
    bounds = np.stack([start, start + np.timedelta64(round(dt), "s")], axis=1)
    edges = np.concatenate([[0.0], np.cumsum(SOIL_LAYER_THICKNESS)])
    dataset = xr.Dataset(
        coords={
            "time": (
                "time",
                start,
                {
                    "standard_name": "time",
                    "long_name": "start of the interval, local standard time",
                    "axis": "T",
                    "bounds": "time_bnds",
                },
            ),
            "soil_layer": (
                "soil_layer",
                0.5 * (edges[1:] + edges[:-1]),
                {
                    "standard_name": "depth",
                    "long_name": "depth of the middle of the soil layer",
                    "units": "m",
                    "positive": "down",
                    "axis": "Z",
                    "bounds": "soil_layer_bnds",
                },
            ),
            "snow_layer": (
                "snow_layer",
                np.arange(1, SNOW_LAYERS + 1, dtype=np.int32),
                {"long_name": "snow layer, counted from the surface", "units": "1", "positive": "down", "axis": "Z"},
            ),
            "y": ("y", np.ones(1), {"long_name": "grid cell along y"}),
            "x": ("x", np.ones(1), {"long_name": "grid cell along x"}),
        },
        data_vars={
            "time_bnds": (("time", "bnds"), bounds),
            "soil_layer_bnds": (("soil_layer", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1)),
            "soil_layer_thickness": (
                "soil_layer",
                np.asarray(SOIL_LAYER_THICKNESS),
                {"standard_name": "cell_thickness", "long_name": "thickness of the soil layer", "units": "m"},
            ),
        },
    )
    # like the Met files, the clock counts from the first of January of the record's first year
    year = str(start[0].astype("datetime64[Y]")) if start.size else "1970"
    encoding = {"units": f"seconds since {year}-01-01 00:00:00", "calendar": "standard", "dtype": "float64"}
    dataset["time"].encoding = {**encoding, "_FillValue": None}
    for name in ("soil_layer", "soil_layer_bnds", "soil_layer_thickness", "snow_layer", "y", "x"):
        dataset[name].encoding = {"_FillValue": None}
    return dataset


def _variable_attributes(field: dict[str, str | None]) -> dict[str, str]:
    """CF attributes of one output."""
    attributes = {"long_name": str(field["long_name"]), "units": "1" if field["units"] == "-" else str(field["units"])}
    if field["standard_name"]:
        attributes["standard_name"] = field["standard_name"]
    return attributes | _CELL_METHODS[str(field["value"])]


_SITE_VARIABLES = {
    "latitude": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
    "longitude": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
    "elevation": {"standard_name": "surface_altitude", "long_name": "height above sea level", "units": "m"},
    "reference_height": {"long_name": "height of the measurements above the ground", "units": "m"},
    "canopy_height": {"standard_name": "canopy_height", "long_name": "height of the vegetation", "units": "m"},
}


def _describe_site(dataset: xr.Dataset, site: Site, pick: _Pick, column: int | None) -> None:
    """Add what is known of the site: coordinates, heights, texts."""

    def text(value: str | tuple[str, ...]) -> str:
        return value if isinstance(value, str) else value[column or 0]

    for name, attributes in _SITE_VARIABLES.items():
        value = pick(getattr(site, name))
        if np.isfinite(value):
            dataset[name] = (("y", "x"), value.reshape(1, 1), attributes)
            dataset[name].encoding = {"_FillValue": None}
    dataset.coords.update(dataset[["latitude", "longitude"]])
    offset = float(pick(site.utc_offset))
    dataset["time"].attrs["time_zone"] = f"local standard time, UTC{offset:+g} h"
    code = text(site.code)
    dataset.attrs = {
        "Conventions": "CF-1.8",
        "title": f"jlsm land surface model output at {code}" if code else "jlsm land surface model output",
        "source": f"jlsm {package_version()} (MATSIRO6 in JAX)",
        "history": f"written by jlsm {package_version()}",
        "jlsm_version": package_version(),
        "site_code": code,
        "site_name": text(site.name),
        "IGBP_veg_short": text(site.igbp),
        "soil_texture": text(site.soil_texture),
        "utc_offset_hours": offset,
    }


def _describe_parameters(dataset: xr.Dataset, params: Parameters, columns: int, keep: np.ndarray, pick: _Pick) -> None:
    """Add every parameter: a constant as a global attribute, a time series as a variable."""
    for key, info in PARAMETERS.items():
        value = np.asarray(get_parameter(params, key))
        name = "parameter_" + key.replace(".", "_")
        series = value.ndim > columns
        value = pick(value)
        if not series:
            dataset.attrs[name] = value.item() if value.dtype == np.float64 else np.float32(value)
        elif value.shape[0] == keep.size:
            unit = "1" if info.unit == "-" else info.unit
            attributes = {"long_name": info.description, "units": unit, "cell_methods": "time: mean"}
            dataset[name] = (("time", "y", "x"), value[keep][:, None, None], attributes)
            dataset[name].encoding = {"_FillValue": value.dtype.type(FILL_VALUE)}
            dataset.attrs[name] = f"time series, see variable {name}"
        else:
            raise ValueError(f"parameter {key} has {value.shape[0]} time steps, forcing {keep.size}: give as many")


def is_result(path: Path) -> bool:
    """Whether a file is a result of jlsm: NetCDF that carries its version, and no saved state."""
    attributes = global_attributes(path)
    return "jlsm_version" in attributes and "kind" not in attributes


def global_attributes(path: Path) -> dict[str, object]:
    """Global attributes of a NetCDF file; empty where it is none."""
    try:
        with netCDF4.Dataset(path) as dataset:
            return {name: dataset.getncattr(name) for name in dataset.ncattrs()}
    except (OSError, RuntimeError, ValueError, AttributeError):  # whatever a foreign file makes the library say
        return {}


class OutputWriter:
    """A NetCDF file that grows along time; a context manager.

    The data go to a hidden file in the same folder, renamed onto ``path`` when the block ends without an error;
    otherwise it is removed and an older file at ``path`` stays as it was.

    Args:
        path: where the finished file shall be.
        attributes: further global attributes (``history``).
        overwrite: replace a file that is there, whatever it is; without it, only a result of jlsm is replaced.

    Raises:
        InputError: the path cannot be written, on construction or when the disk fills up; a file that is no result
            of jlsm lies there.
    """

    def __init__(self, path: str | os.PathLike, attributes: dict[str, str] | None = None, overwrite: bool = False):
        self.path = path
        self.attributes = attributes or {}
        self.steps = 0
        self._target = check_writable(path, None if overwrite else is_result, "result of jlsm", OVERWRITE)
        self._file = part_of(self._target)
        self._open: netCDF4.Dataset | None = None
        self._origin = np.datetime64(0, "s")

    def __enter__(self) -> OutputWriter:
        return self

    def append(self, dataset: xr.Dataset) -> None:
        """Add the time steps of a dataset from ``to_dataset``; the first one defines the file."""
        try:
            if self._open is None:
                self._create(dataset)
            else:
                self._extend(self._open, dataset)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{self.path}: cannot be written ({reason_of(error)}): free space or choose another path"
            ) from error
        self.steps += dataset.sizes["time"]

    def _create(self, dataset: xr.Dataset) -> None:
        encoding = {}
        for name, variable in dataset.variables.items():
            if "time" in variable.dims:
                chunk = max(1, _TIME_CHUNK // dataset.sizes.get("member", 1))
                sizes = [chunk if d == "time" else dataset.sizes[d] for d in variable.dims]
                encoding[name] = {**variable.encoding, "zlib": True, "complevel": 1, "shuffle": True}
                encoding[name]["chunksizes"] = tuple(sizes)
        encoding["time_bnds"] |= dataset["time"].encoding  # xarray would otherwise choose the bounds' own clock
        dataset.assign_attrs(self.attributes).to_netcdf(
            self._file, engine="netcdf4", format="NETCDF4", unlimited_dims=["time"], encoding=encoding
        )
        self._open = netCDF4.Dataset(self._file, "a")
        self._open.set_auto_maskandscale(False)
        for variable in self._open.variables.values():
            if "time" in variable.dimensions:  # blocks are written once, in order: the default cache of 16 MB is idle
                variable.set_var_chunk_cache(_CHUNK_CACHE)
        # xarray shortens the units to the bare date; some readers of tower files expect the time of day too
        units = dataset["time"].encoding["units"]
        self._open.variables["time"].units = units
        self._origin = np.datetime64(units.split("since ")[1].replace(" ", "T"), "s")

    def _extend(self, file: netCDF4.Dataset, dataset: xr.Dataset) -> None:
        steps = slice(self.steps, self.steps + dataset.sizes["time"])
        for name, variable in dataset.variables.items():
            if "time" not in variable.dims:
                continue
            values = variable.values
            if values.dtype.kind == "M":
                values = (values - self._origin) / np.timedelta64(1, "s")
            elif values.dtype.kind == "f":
                values = np.where(np.isnan(values), values.dtype.type(FILL_VALUE), values)
            file.variables[str(name)][steps] = values

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._open is not None:
                self._open.close()
            if kind is None and self._open is not None:
                os.replace(self._file, self._target)
        except (OSError, RuntimeError) as failure:
            raise InputError(f"{self.path}: cannot be written ({reason_of(failure)}): choose another path") from failure
        finally:
            discard(self._file)


def write_dataset(data: xr.Dataset | Iterable[xr.Dataset], path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Write a dataset, or consecutive datasets along time, to a NetCDF file; whole or not at all.

    Raises:
        InputError: the path cannot be written, or a file that is no result of jlsm lies there (and ``overwrite`` is
            not True).
    """
    with OutputWriter(path, overwrite=overwrite) as writer:
        for dataset in [data] if isinstance(data, xr.Dataset) else data:
            writer.append(dataset)
