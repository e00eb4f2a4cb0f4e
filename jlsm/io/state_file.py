"""A saved model state: a small NetCDF file from which a run goes on to the same bits."""

from __future__ import annotations

import dataclasses
import os
import warnings

import jax.numpy as jnp
import netCDF4
import numpy as np

from jlsm._version import package_version
from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import Forcing, Site
from jlsm.io.result import _part, check_writable
from jlsm.state import State, initial_state

_KIND = "jlsm state"


def save_state(
    state: State,
    path: str | os.PathLike,
    site: Site | None = None,
    forcing: Forcing | None = None,
    *,
    description: str = "",
) -> None:
    """Write every field of a state at its full precision; whole or not at all.

    Args:
        state: of one column or a stack.
        path: NetCDF file to write.
        site: where the state belongs; its code is kept as the attribute ``site_code``.
        forcing: what led to the state; the end of its last step is kept as the attribute ``time``.
        description: free text, kept as an attribute.

    Raises:
        InputError: the path cannot be written.
    """
    target = check_writable(path)
    part = _part(target)
    try:
        with netCDF4.Dataset(part, "w") as dataset:
            dataset.setncatts({"kind": _KIND, "jlsm_version": package_version(), "description": description})
            if site is not None:
                dataset.site_code = _codes(site)
            if forcing is not None:
                dataset.time = _times(forcing, end=True)
                dataset.time_zone = "local standard time"
            for name in _names():
                values = np.asarray(getattr(state, name))
                dimensions = tuple(f"{name}_{axis}" for axis in range(values.ndim))
                for dimension, length in zip(dimensions, values.shape, strict=True):
                    dataset.createDimension(dimension, length)
                variable = dataset.createVariable(name, values.dtype, dimensions)
                variable.set_auto_maskandscale(False)
                variable[...] = values
        os.replace(part, target)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be written ({error}): choose another path") from error
    finally:
        part.unlink(missing_ok=True)


def load_state(path: str | os.PathLike, site: Site | None = None, forcing: Forcing | None = None) -> State:
    """Read a state that ``save_state`` wrote, bit for bit.

    A float32 state is widened (exactly) when the default dtype is float64. Where the file says to which site and time
    the state belongs and ``site`` or ``forcing`` are given, a difference is announced by a RepairWarning: such a
    start may be what is wanted.

    Args:
        path: NetCDF file.
        site: where the run goes on.
        forcing: what the run goes on with; it should start when the state's run ended.

    Raises:
        InputError: not a state file, a field missing, of the wrong shape or type, or not finite; a float64 state
            while the default dtype is float32.
    """
    file = os.fspath(path)
    if not os.path.isfile(file):
        raise InputError(f"{file}: no such file: check the path of the saved state")
    try:
        with netCDF4.Dataset(file) as dataset:
            dataset.set_auto_maskandscale(False)
            if getattr(dataset, "kind", None) != _KIND:
                raise InputError(f"{file}: is not a jlsm state: give a file that jlsm saved (--save-state)")
            values = {name: dataset.variables[name][...] for name in _names() if name in dataset.variables}
            origin = {name: str(getattr(dataset, name, "")) for name in ("site_code", "time")}
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        raise InputError(f"{file}: cannot be read as NetCDF ({error}): save the state again") from error
    _check(file, values)
    _check_origin(file, origin, site, forcing)
    return State(**{name: jnp.asarray(value, dtype=float) for name, value in values.items()})


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(State)]


def _check(file: str, values: dict[str, np.ndarray]) -> None:
    """Raise InputError where the arrays are not those of a State."""
    template = initial_state(jnp.asarray(280.0), jnp.asarray(0.45))
    columns = np.shape(values.get("canopy_water", np.zeros(())))
    default = np.asarray(template.canopy_water).dtype
    for name in _names():
        if name not in values:
            raise InputError(f"{file}: state field {name} is missing: the file is of another version; spin up again")
        expected = (*getattr(template, name).shape, *columns)
        value = values[name]
        if value.shape != expected:
            raise InputError(f"{file}: state field {name} has shape {value.shape}, expected {expected}: spin up again")
        if value.dtype not in (np.float32, np.float64):
            raise InputError(f"{file}: state field {name} has type {value.dtype}, expected float: spin up again")
        if value.dtype.itemsize > default.itemsize:
            raise InputError(
                f"{file}: state field {name} is {value.dtype}, the run {default}: run with --precision float64"
            )
        if not np.isfinite(value).all():
            raise InputError(f"{file}: state field {name} is not finite: spin up again")


def _codes(site: Site) -> str:
    """The site's code; those of a stack side by side."""
    return site.code if isinstance(site.code, str) else ",".join(site.code)


def _times(forcing: Forcing, *, end: bool) -> str:
    """When a record starts or ends (local standard time, ISO 8601); those of a stack side by side."""
    day, second = (np.asarray(values).reshape(forcing.steps, -1) for values in (forcing.day, forcing.second_of_day))
    step = np.zeros(day.shape[1], int)
    after = np.zeros(day.shape[1], int)
    if end:
        valid = np.ones(day.shape, bool) if forcing.valid is None else np.asarray(forcing.valid).reshape(day.shape)
        step = valid.sum(axis=0) - 1  # padding is at the end
        after = np.round(np.ravel(forcing.dt)).astype(int)
    column = np.arange(step.size)
    time = day[step, column].astype("datetime64[D]") + (second[step, column] + after).astype("timedelta64[s]")
    return ",".join(str(one) for one in time.astype("datetime64[m]"))


def _check_origin(file: str, origin: dict[str, str], site: Site | None, forcing: Forcing | None) -> None:
    """Warn where the state is known to belong to another site or time than the run that goes on from it."""
    if site is not None and origin["site_code"] and _codes(site) and origin["site_code"] != _codes(site):
        warnings.warn(
            f"{file}: is a state of site {origin['site_code']}, the run is at {_codes(site)}: "
            "kept; spin up at the site, or give its own state",
            RepairWarning,
            stacklevel=3,
        )
    if forcing is not None and origin["time"] and origin["time"] != (starts := _times(forcing, end=False)):
        warnings.warn(
            f"{file}: the state belongs to {origin['time']}, the run starts at {starts}: "
            "kept; start the run there, or spin up",
            RepairWarning,
            stacklevel=3,
        )
