"""Parameter files: TOML, with the groups of the parameter table as tables, or flat names.

```toml
vcmax25 = 80.0                 # a name that only one group has may stand alone
[soil]
porosity = 0.45
[vegetation]
canopy_height = [0.3, 0.3, 0.4]  # a time series: one value per time step of the forcing
```
"""

from __future__ import annotations

import difflib
import hashlib
import os

import jax.numpy as jnp
import numpy as np

from jlsm._version import package_version
from jlsm.errors import InputError
from jlsm.files import OVERWRITE, check_writable, whole_file
from jlsm.io.toml_file import read_toml
from jlsm.parameters import (
    PARAMETERS,
    Parameters,
    check_parameters,
    get_parameter,
    parameter_key,
    replace_parameters,
)


def read_parameters(path: str | os.PathLike, defaults: Parameters, *, steps: int | None = None) -> Parameters:
    """Parameters with the values of a TOML file in place of the defaults.

    Args:
        path: the file.
        defaults: from ``default_parameters``; the file overrides some of them.
        steps: time steps of the forcing, the length that a time series must have; None accepts any one length.

    Raises:
        InputError: an unreadable file, an unknown name, a value of the wrong type or shape, or outside its bounds.
    """
    file = os.fspath(path)
    content = read_toml(file, "parameter file", "vcmax25 = 80.0")
    groups = {info.group for info in PARAMETERS.values()}
    values: dict[str, np.ndarray] = {}
    for name, value in content.items():
        entries = {f"{name}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {name: value}
        if isinstance(value, dict) and name not in groups:
            raise InputError(f"{file}: unknown table [{name}]: use one of {', '.join(sorted(groups))}")
        for entry, value in entries.items():
            key = _key(file, entry)
            if key in values:
                raise InputError(f"{file}: parameter {key} is given twice: keep one")
            values[key] = _array(file, key, value)
    columns = defaults.vegetation.vcmax25.shape[-1:] if defaults.vegetation.vcmax25.ndim else ()
    lengths = {value.shape[0] for value in values.values() if value.ndim > len(columns)}
    if steps is None and lengths:
        steps = max(lengths)
    params = replace_parameters(defaults, {key: jnp.asarray(value) for key, value in values.items()})
    check_parameters(params, columns=columns, steps=steps, file=file)
    return params


def _key(file: str, name: str) -> str:
    """The parameter's key; an unknown name comes with the nearest known one."""
    try:
        return parameter_key(name)
    except InputError as error:
        candidates = list(PARAMETERS) if "." in name else [info.name for info in PARAMETERS.values()]
        near = difflib.get_close_matches(name, candidates, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"{file}: {error}{hint}") from error


def _array(file: str, key: str, value: object) -> np.ndarray:
    """A TOML number or (nested) list of numbers as float64."""
    if not _numeric(value):
        raise InputError(f"{file}: parameter {key} = {value!r} is not a number or a list of numbers: write it as 1.0")
    try:
        array = np.asarray(value, dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file}: parameter {key} is a list of uneven length or a number too large") from error
    if array.size == 0:
        raise InputError(f"{file}: parameter {key} is an empty list: give one value per time step")
    return array


def _numeric(value: object) -> bool:
    if isinstance(value, list):
        return all(_numeric(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_parameters(params: Parameters, path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Write all parameters as TOML, with unit and description beside them; reading them back gives the same bits.

    Raises:
        InputError: the path cannot be written, or a file lies there that this function did not write, or that was
            changed since (and ``overwrite`` is not True).
    """
    target = check_writable(path, None if overwrite else _is_ours, "parameter file as jlsm wrote it", OVERWRITE)
    lines: list[str] = []
    group = None
    for key, info in PARAMETERS.items():
        if info.group != group:
            group = info.group
            lines += ["", f"[{group}]"] if lines else [f"[{group}]"]
        value = np.asarray(get_parameter(params, key))
        lines.append(f"{info.name} = {_toml(value)}  # {info.unit}: {info.description}")
    text = ("\n".join(lines) + "\n").encode()
    with whole_file(target) as part:
        part.write_bytes(_first_line(text) + text)


def _first_line(text: bytes) -> bytes:
    """Says which version wrote the text, and lets see whether somebody has changed it since."""
    return f"# written by jlsm {package_version()}, sha256 {hashlib.sha256(text).hexdigest()}\n".encode()


def _is_ours(path: Path) -> bool:
    """Whether ``write_parameters`` wrote a file, and nobody has changed it since."""
    first, _, text = path.read_bytes().partition(b"\n")
    return first.startswith(b"# written by jlsm ") and first.endswith(hashlib.sha256(text).hexdigest().encode())


def _toml(value: np.ndarray | np.floating) -> str:
    """The shortest text that reads back to the same float; arrays as (nested) lists."""
    array = np.asarray(value)
    if array.ndim:
        return "[" + ", ".join(_toml(item) for item in array) + "]"
    return str(array[()])
