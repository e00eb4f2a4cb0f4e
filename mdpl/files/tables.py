"""Files of mdpl: each appears under its name when it is whole, or not at all.

- ``write_whole``: any file
- ``write_rows``, ``read_rows``: a CSV table whose lines are the instances of one dataclass
- ``write_archive``, ``read_archive``: named arrays and facts about them, in one ``.npz`` file
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from jlsm.errors import InputError

Row = TypeVar("Row")
ProgressReport = Callable[[str, int, int | None], object]
"""called with (what is going on, steps or bytes done, how many in all or None)"""


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a temporary file beside ``path``, then rename it.

    Raises:
        InputError: the file cannot be written; nothing is left behind.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error}): free space or choose -o") from error


def write_text(path: Path, text: str) -> None:
    """A text file (UTF-8)."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


# ---- tables ---------------------------------------------------------------------------------------


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """A CSV file with a header line.

    Args:
        path: the file.
        kind: a dataclass; its fields are the columns, in their order.
        rows: its instances. None is an empty cell, a flag is 0 or 1, floats keep seven significant digits.
    """
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)

    write_whole(path, write)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return int(value)
    return f"{value:.7g}" if isinstance(value, float | np.floating) else value


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Lines of a table written by ``write_rows`` (or another program), as ``kind``.

    Columns that ``kind`` does not name are passed over; a column whose field has a default may be missing.

    Raises:
        InputError: no such file, not a table, a column or cells missing, a cell that is no number.
    """
    types = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    required = tuple(name for name, field in fields.items() if field.default is dataclasses.MISSING)
    rows = []
    for line, record in _records(path, required):
        values = {}
        for name in (name for name in fields if name in record):
            annotation = types[name]
            optional = type(None) in typing.get_args(annotation)
            if annotation is str:
                values[name] = record[name]
            elif optional and record[name] == "":
                values[name] = None
            else:
                number = _number(path, line, record, name)
                values[name] = annotation(number) if annotation in (int, bool) else number
        rows.append(kind(**values))
    return rows


def _records(path: Path, required: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Numbered lines of a CSV file that has the ``required`` columns."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: the calibration did not finish: run `mdpl calibrate` again")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            names = reader.fieldnames or ()
            records = [(reader.line_num, record) for record in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV table ({error}): run `mdpl calibrate` again") from error
    missing = [name for name in required if name not in names]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}: not a table of mdpl calibrate, run it again")
    if not records:
        raise InputError(f"{path}: no line under the header: the calibration did not finish, run it again")
    for line, record in records:
        if None in record or None in record.values():
            raise InputError(f"{path}: line {line}: not {len(names)} cells: the file is cut or edited, run it again")
    return records


def _number(path: Path, line: int, record: dict[str, str], name: str) -> float:
    try:
        return float(record[name])
    except ValueError as error:
        raise InputError(f"{path}: line {line}: {name} = {record[name]!r}: not a number: restore the file") from error


# ---- arrays ---------------------------------------------------------------------------------------

FACTS = "about"
"""entry of an archive that holds its facts as JSON"""


def write_archive(path: Path, facts: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Named arrays, and facts (anything JSON can hold) about them, in one ``.npz`` file."""

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            entries: dict[str, Any] = {FACTS: json.dumps(facts)} | {n: np.asarray(leaf) for n, leaf in arrays.items()}
            np.savez(stream, **entries)

    write_whole(path, write)


def read_archive(path: Path, remedy: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays of a file of ``write_archive``.

    Args:
        path: the file.
        remedy: what a user can do where it is missing or damaged, for the error.

    Raises:
        InputError: no such file, damaged, or another program's.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file: {remedy}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored[FACTS]))
            arrays = {name: stored[name] for name in stored.files if name != FACTS}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        reason = "no facts in it: an older version's" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: not a readable file of this version ({reason}): {remedy}") from error
    return facts, arrays
