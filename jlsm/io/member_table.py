"""Ensembles of parameter sets: a CSV file, a line for each member, columns named as ``jlsm.PARAMETERS``.

```
member,vcmax25,soil.porosity
low,40,0.42
high,80,0.45
```
"""

from __future__ import annotations

import csv
import difflib
import math
import os
from pathlib import Path

import numpy as np

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS, parameter_key

MEMBER = "member"
"""column of the members' names, which may be left out"""
LARGEST_TABLE = 200_000_000  # bytes


def read_members(path: str | os.PathLike) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """(names of the members, parameter key -> ``[members]``). Bounds are not checked here.

    Raises:
        InputError: no such file, not a table, no member, a name twice, an unknown parameter, a cell that is no number.
    """
    file = os.fspath(path)
    try:
        if os.path.getsize(file) > LARGEST_TABLE:
            raise InputError(f"{file}: has more than {LARGEST_TABLE // 1_000_000} MB: split the ensemble")
        with Path(file).open(newline="", encoding="utf-8-sig") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file: check the path of the table of members") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{file}: is no CSV table of members ({str(error)[:100]}): check the file") from error
    if len(lines) < 2:
        raise InputError(
            f"{file}: has no member: write parameter names in the first line, a member in each further one"
        )
    header, rows = [name.strip() for name in lines[0]], lines[1:]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise InputError(f"{file}: line {number} has {len(row)} cells, the first line {len(header)}: give as many")
    keys = [MEMBER if name == MEMBER else _key(file, name) for name in header]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise InputError(f"{file}: column {twice[0]} is there twice: keep one")
    if not set(keys) - {MEMBER}:
        raise InputError(f"{file}: has no parameter: name at least one column as `jlsm parameters` does")
    columns = dict(zip(keys, zip(*rows, strict=True), strict=True))
    names = tuple(text.strip() for text in columns.pop(MEMBER, map(str, range(len(rows)))))
    if len(set(names)) < len(names):
        raise InputError(f"{file}: member {next(n for n in names if names.count(n) > 1)!r} is there twice: rename one")
    numbers = {key: [_number(file, i, key, text) for i, text in enumerate(texts, 2)] for key, texts in columns.items()}
    return names, {key: np.array(column) for key, column in numbers.items()}


def _key(file: str, name: str) -> str:
    try:
        return parameter_key(name)
    except InputError as error:
        candidates = list(PARAMETERS) if "." in name else [info.name for info in PARAMETERS.values()]
        near = difflib.get_close_matches(name, [*candidates, MEMBER], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"{file}: {error}{hint}") from error


def _number(file: str, line: int, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{file}: line {line}: {key} = {text!r}: is no number") from error
    if not math.isfinite(value):
        raise InputError(f"{file}: line {line}: {key} = {text}: is not finite")
    return value
