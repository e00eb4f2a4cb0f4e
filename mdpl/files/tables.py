"""Tables: a CSV file whose lines are the instances of one dataclass."""

from __future__ import annotations

import csv
import dataclasses
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jlsm.errors import InputError
from mdpl.files.whole import write_whole

Row = TypeVar("Row")


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
