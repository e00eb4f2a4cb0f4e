"""A saved model state: a small NetCDF file from which a run goes on to the same bits."""

from __future__ import annotations

import dataclasses
import os

import jax.numpy as jnp
import netCDF4
import numpy as np

from jlsm._version import package_version
from jlsm._write import _part, check_writable
from jlsm.errors import InputError
from jlsm.state import State, initial_state

_KIND = "jlsm state"


def save_state(state: State, path: str | os.PathLike, *, description: str = "") -> None:
    """Write every field of a state at its full precision; whole or not at all.

    Args:
        state: of one column or a stack.
        path: NetCDF file to write.
        description: free text, such as site and time, kept as an attribute.

    Raises:
        InputError: the path cannot be written.
    """
    target = check_writable(path)
    part = _part(target)
    try:
        with netCDF4.Dataset(part, "w") as dataset:
            dataset.setncatts({"kind": _KIND, "jlsm_version": package_version(), "description": description})
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


def load_state(path: str | os.PathLike) -> State:
    """Read a state that ``save_state`` wrote, bit for bit.

    A float32 state is widened (exactly) when the default dtype is float64.

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
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        raise InputError(f"{file}: cannot be read as NetCDF ({error}): save the state again") from error
    _check(file, values)
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
