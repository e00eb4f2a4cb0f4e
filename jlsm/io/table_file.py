"""The door for tables: CSV files, also gzipped or in a zip. Whatever is wrong inside becomes one line.

A table's first line is looked at before the rest is read, and only the columns that are needed are.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jlsm.errors import InputError
from jlsm.io.foreign import in_one_line
from jlsm.io.packed import NETCDF_BEGINNINGS, ZIP, first_bytes, member_names, open_unpacked
from jlsm.io.tower_file import MOST_VALUES, without_fill

LONGEST_LINE = 1_000_000  # bytes
TABLE_OF_TEXTS = {"SITE_ID", "VARIABLE", "DATAVALUE"}
"""columns of a BIF file; spreadsheets save it with semicolons where the comma is the decimal point"""


class Sheet(NamedTuple):
    """A table that has been looked at, not read."""

    path: Path
    member: str
    """of a zip; empty for a file of its own"""
    columns: tuple[str, ...]
    first_row: tuple[str, ...]
    separator: str = ","

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.path}: {' '.join(self.member.split())}" if self.member else str(self.path)

    @property
    def file_name(self) -> str:
        """The table's own file name, without folders."""
        return self.member.replace("\\", "/").rsplit("/", 1)[-1] or self.path.name


def list_sheets(path: str | os.PathLike) -> list[Sheet]:
    """The tables of a file: one, or in a zip every CSV file that has a header.

    Raises:
        InputError: no such file, not a table, no table in a zip.
    """
    name = os.fspath(path)
    if "\x00" in name or not Path(name).exists():
        raise InputError(f"{name[:300]}: no such file: check the path")
    if not Path(name).is_file():
        raise InputError(f"{name}: is not a file: give a table (.csv, .csv.gz) or the zip that it came in")
    with in_one_line(name, "a table"):
        if first_bytes(name)[:4] != ZIP:
            return [_look_at(Path(name), "", strict=True)]
        members = member_names(name)
        if "[Content_Types].xml" in members:
            raise InputError(f"{name}: is a spreadsheet: save it as CSV (comma separated values)")
        tables = [member for member in members if member.lower().endswith(".csv")]
        if not tables:
            raise InputError(f"{name}: holds no .csv file{_instead(members)}")
        sheets = [_look_at(Path(name), member, strict=False) for member in tables]
        return [sheet for sheet in sheets if sheet.columns]


def spreadsheets(path: str | os.PathLike) -> list[str]:
    """The spreadsheets in a zip, which are not read; none in any other file."""
    with in_one_line(os.fspath(path), "a table"):
        names = member_names(path) if first_bytes(path)[:4] == ZIP else []
        return [name for name in names if name.lower().endswith(".xlsx")]


def _instead(members: list[str]) -> str:
    """What a zip without tables holds, and what to do with it."""
    for ending, remedy in ((".zip", "unpack it and convert those"), (".xlsx", "save that as CSV")):
        others = [member for member in members if member.lower().endswith(ending)]
        if others:
            shown = " ".join(others[0].split())[:200]
            return f", but {shown}{f' and {len(others) - 1} more' if len(others) > 1 else ''}: {remedy}"
    return ": give the zip of a network's data product, or a table"


def _look_at(path: Path, member: str, strict: bool) -> Sheet:
    """Read the first two lines; a sheet without columns where they are no table's and ``strict`` is False."""
    sheet = Sheet(path, member, (), ())
    with open_unpacked(path, member) as stream:
        lines = [stream.readline(LONGEST_LINE) for _ in range(2)]
    try:
        header, row = (_text(sheet.name, line) for line in lines)
        separator = _separator(sheet.name, header)
    except InputError:
        if strict:
            raise
        return sheet
    return sheet._replace(columns=_cells(header, separator), first_row=_cells(row, separator), separator=separator)


def _cells(line: str, separator: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in next(csv.reader([line.strip("\r\n")], delimiter=separator), []))


def _separator(name: str, header: str) -> str:
    """What stands between the cells.

    Raises:
        InputError: no comma, in a table of numbers: the comma may be the decimal point.
    """
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if header.count(separator) > header.count(","):
            if set(_cells(header, separator)) >= TABLE_OF_TEXTS:
                return separator
            raise InputError(f"{name}: columns are separated by {word}: save the table with commas, and decimal points")
    return ","


def _text(name: str, line: bytes) -> str:
    """A line as text.

    Raises:
        InputError: a spreadsheet, NetCDF or another binary file, UTF-16, no end of the line.
    """
    if line.startswith(NETCDF_BEGINNINGS):
        raise InputError(f"{name}: is NetCDF, not a table: it needs no conversion, give it to jlsm run")
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name}: is written in UTF-16: save it as CSV in UTF-8")
    if len(line) >= LONGEST_LINE or b"\x00" in line or line.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{name}: is no table: save it as CSV (comma separated values)")
    return _decoded(line)


def _decoded(line: bytes) -> str:
    """Text of UTF-8, or of the Latin-1 that older files have in their comments."""
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def read_texts(sheet: Sheet, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Columns of a table as rows of text; missing cells are empty.

    Raises:
        InputError: a column that the table lacks, or a damaged table.
    """
    with in_one_line(sheet.name, "a table"):
        frame = _frame(sheet, names, dtype=str, keep_default_na=False)
        return [tuple(row) for row in frame.fillna("").to_numpy(dtype=object)]


def read_numbers(
    sheet: Sheet, stamps: tuple[str, ...], names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Columns of a table: time stamps as text, the others as float64 with NaN for every kind of missing value.

    Raises:
        InputError: text where a number belongs, more rows than any tower has, a last row that is cut off.
    """
    with in_one_line(sheet.name, "a table"):
        frame = _frame(sheet, (*stamps, *names), dtype=dict.fromkeys((*stamps, sheet.columns[-1]), str))
        if len(frame) > MOST_VALUES:
            raise InputError(f"{sheet.name}: has more than {MOST_VALUES} rows: it is no tower's")
        if not len(frame):
            raise InputError(f"{sheet.name}: has no rows: the table is empty")
        last = frame.iloc[:, -1].isna().to_numpy()
        if last[-1] and not last[:-1].any():
            raise InputError(f"{sheet.name}: its last row ends early: the file is cut off, get it again")
        times = {name: frame[name].fillna("").to_numpy(dtype=object) for name in stamps}
        first = times[stamps[0]]
        return times, {name: _numbers(sheet.name, name, pd.Series(frame[name]), first) for name in names}


def _frame(sheet: Sheet, names: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """The named columns and the last one."""
    wanted = {*names, sheet.columns[-1]}
    twice = [name for name in names if sheet.columns.count(name) > 1]
    if twice:
        raise InputError(f"{sheet.name}: column {twice[0]} occurs twice: keep one of them")
    places = [place for place, name in enumerate(sheet.columns) if name in wanted]
    with open_unpacked(sheet.path, sheet.member) as stream:
        stream.readline(LONGEST_LINE)
        # columns are numbered, for names may be empty or occur twice; the one beyond the last is there for rows that
        # have too many cells, which pandas would cut off without a word
        numbered = sheet.separator.join(map(str, range(len(sheet.columns) + 1))) + "\n"
        frame = pd.read_csv(
            io.BufferedReader(_Preceded(numbered.encode(), stream), 1 << 20),
            usecols=[str(place) for place in (*places, len(sheet.columns))],
            index_col=False,
            nrows=MOST_VALUES + 1,
            sep=sheet.separator,
            low_memory=False,
            encoding="utf-8",
            encoding_errors="replace",
            **_by_place(sheet, options),
        )
    frame.columns = frame.columns.astype(int)
    beyond = frame.pop(len(sheet.columns))
    beyond = (beyond.notna() & (beyond.astype(object) != "")).to_numpy()
    if beyond.any():
        raise InputError(
            f"{sheet.name}: row {int(np.argmax(beyond)) + 1} has more cells than the first line has names: save the "
            f"table with decimal points, and texts with commas in quotes"
        )
    frame.columns = [sheet.columns[place] for place in frame.columns]
    return frame


class _Preceded(io.RawIOBase):
    """A stream with some bytes before it."""

    def __init__(self, first: bytes, stream: io.BufferedReader) -> None:
        self._first, self._rest = first, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._first[: len(buffer)] or self._rest.read1(len(buffer))
        self._first = self._first[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _by_place(sheet: Sheet, options: dict[str, Any]) -> dict[str, Any]:
    """Types of columns by their place, as pandas reads them without a header."""
    types = options.get("dtype")
    if not isinstance(types, dict):
        return options
    places = {str(place): types[name] for place, name in enumerate(sheet.columns) if name in types}
    return {**options, "dtype": places}


def _numbers(table: str, name: str, column: pd.Series, stamps: np.ndarray) -> np.ndarray:
    """A column as float64.

    Raises:
        InputError: a cell that is no number.
    """
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        cells = column.to_numpy(dtype=object)
        values = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=float)
        bad = np.array([isinstance(cell, bool) for cell in cells]) | (np.isnan(values) & column.notna().to_numpy())
        if bad.any():
            at = int(np.argmax(bad))
            text = str(cells[at])
            remedy = "write numbers, and -9999 where they are missing"
            if re.fullmatch(r"\s*[+-]?\d*,\d+\s*", text):
                remedy = "save the table with decimal points"
            raise InputError(
                f"{table}: {name} = {text[:40]!r} at {stamps[at]} ({int(bad.sum())} rows) is no number: {remedy}"
            )
        return without_fill(values)
    return without_fill(column.to_numpy(dtype=float))
