"""A saved model state: a small NetCDF file from which a run goes on to the same bits."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path

import jax.numpy as jnp
import netCDF4
import numpy as np

from jlsm._version import package_version
from jlsm.errors import InputError, RepairWarning
from jlsm.files import OVERWRITE, check_writable, digest, reason_of, whole_file
from jlsm.forcing import Forcing, Site
from jlsm.io.result import global_attributes
from jlsm.state import State, initial_state

_KIND = "jlsm state"
_DIGEST = "sha256"
"""attribute with the digest of all fields and all other attributes"""
_ROUNDING = 1e-4
"""by which rounding may carry a field out of its range, in its unit"""


def save_state(
    state: State,
    path: str | os.PathLike,
    site: Site | None = None,
    forcing: Forcing | None = None,
    *,
    description: str = "",
    overwrite: bool = False,
) -> None:
    """Write every field of a state at its full precision; whole or not at all.

    Args:
        state: of one column or a stack.
        path: NetCDF file to write.
        site: where the state belongs; its code is kept as the attribute ``site_code``.
        forcing: what led to the state; the end of its last step is kept as the attribute ``time``.
        description: free text, kept as an attribute.
        overwrite: replace a file that is there, whatever it is; without it, only a saved state is replaced.

    Raises:
        InputError: the path cannot be written, a file that is no saved state lies there, or ``load_state`` would refuse
            the state.
    """
    fields = {name: np.asarray(getattr(state, name)) for name in _names()}
    _check(os.fspath(path), fields)
    target = check_writable(path, None if overwrite else is_state, "saved state of jlsm", OVERWRITE)
    attributes = {"kind": _KIND, "jlsm_version": package_version(), "description": description}
    if site is not None:
        attributes["site_code"] = _codes(site)
    if forcing is not None:
        attributes |= {"time": _times(forcing, end=True), "time_zone": "local standard time"}
    with whole_file(target) as part, netCDF4.Dataset(part, "w") as dataset:
        dataset.setncatts(attributes | {_DIGEST: digest(attributes, fields)})
        for name, values in fields.items():
            dimensions = tuple(f"{name}_{axis}" for axis in range(values.ndim))
            for dimension, length in zip(dimensions, values.shape, strict=True):
                dataset.createDimension(dimension, length)
            variable = dataset.createVariable(name, values.dtype, dimensions)
            variable.set_auto_maskandscale(False)
            variable[...] = values


def is_state(path: Path) -> bool:
    """Whether a file is a state that ``save_state`` wrote."""
    return global_attributes(path).get("kind") == _KIND


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
        InputError: not a state file; bytes that changed since it was written; a field missing, of the wrong shape or
            type, not finite, or outside the range that ``State`` declares for it; a float64 state while the default
            dtype is float32.
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
            attributes = {name: str(dataset.getncattr(name)) for name in dataset.ncattrs()}
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read as NetCDF ({reason_of(error)}): save the state again") from error
    origin = {name: attributes.get(name, "") for name in ("site_code", "time")}
    _check(file, values)
    _check_digest(file, attributes, values)
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
        _check_range(file, name, value)
    _check_ice(file, values)


def _check_range(file: str, name: str, value: np.ndarray) -> None:
    """Raise InputError where a field leaves the range that ``State`` declares for it."""
    metadata = {field.name: field.metadata for field in dataclasses.fields(State)}[name]
    lower, upper, unit = metadata["lower"], metadata["upper"], metadata["units"]
    bad = (value < lower - _ROUNDING) | (value > upper + _ROUNDING)
    if bad.any():
        raise InputError(
            f"{file}: state field {name} = {value[bad].flat[0]:g} {unit}, believed from {lower:g} to {upper:g}: "
            "spin up again, or give another state"
        )


def _check_ice(file: str, values: dict[str, np.ndarray]) -> None:
    """Raise InputError where more water is frozen than there is."""
    for whole, frozen in (("soil_moisture", "soil_ice"), ("canopy_water", "canopy_ice")):
        excess = values[frozen] - values[whole]
        at = np.unravel_index(int(np.argmax(excess)), excess.shape)
        if excess[at] > _ROUNDING:
            raise InputError(
                f"{file}: state field {frozen} = {values[frozen][at]:g} is more than {whole} = {values[whole][at]:g}: "
                "spin up again, or give another state"
            )


def _check_digest(file: str, attributes: dict[str, str], values: dict[str, np.ndarray]) -> None:
    """Raise InputError where a file is not as it was written; warn where that cannot be told, or of another version."""
    facts, written = {k: v for k, v in attributes.items() if k != _DIGEST}, attributes.get(_DIGEST)
    version = facts.get("jlsm_version", "unknown")
    if written is None:
        _warn(f"{file}: has no digest (written by jlsm {version}): its values are believed as they are")
    elif written != digest(facts, values):
        raise InputError(f"{file}: has changed since it was written: restore it, or spin up again")
    if version != package_version():
        _warn(f"{file}: was written by jlsm {version}, this is {package_version()}: a run that goes on may differ")


def _warn(message: str) -> None:
    warnings.warn(message, RepairWarning, stacklevel=4)


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
