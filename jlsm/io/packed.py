"""Packed files, read in memory and never written: gzip and zip, with a limit on what they may unpack to."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from jlsm.errors import InputError

LARGEST_UNPACKED = 2_000_000_000
"""bytes; thirty years of half hours with the 240 columns of ONEFlux are 0.9 GB"""
MOST_MEMBERS = 10_000
ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
NETCDF_BEGINNINGS = (b"\x89HDF", b"CDF")
"""what such files begin with"""


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Limited(io.RawIOBase):
    """A stream of bytes that raises InputError once more than ``most`` were read."""

    def __init__(self, name: str, stream: _Readable, most: int) -> None:
        self._name, self._stream, self._most, self._read = name, stream, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._stream.read(len(buffer))
        self._read += len(data)
        if self._read > self._most:
            raise InputError(too_large(self._name, self._most))
        buffer[: len(data)] = data
        return len(data)


def too_large(name: str, most: int) -> str:
    """The message on a file that is larger, or unpacks to more, than ``most`` bytes."""
    return f"{name}: holds more than {most / 1e9:g} GB, more than any tower's record: check the file"


def first_bytes(path: str | os.PathLike) -> bytes:
    """What a file begins with."""
    with open(path, "rb") as file:
        return file.read(8)


def member_names(path: str | os.PathLike) -> list[str]:
    """The files in a zip, in its order.

    Raises:
        InputError: more than ``MOST_MEMBERS``.
        zipfile.BadZipFile: damaged.
    """
    with zipfile.ZipFile(path) as archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    if len(names) > MOST_MEMBERS:
        raise InputError(f"{os.fspath(path)}: holds {len(names)} files: unpack it and give a table")
    return names


@contextmanager
def open_unpacked(
    path: str | os.PathLike, member: str = "", most: int = LARGEST_UNPACKED
) -> Iterator[io.BufferedReader]:
    """The bytes of a file as a stream: of a member of a zip, of what a gzip file holds, or as they are.

    Raises:
        InputError: more than ``most`` bytes, or a member with a password.
        OSError, EOFError, zipfile.BadZipFile, zlib.error: damage, at any later reading.
    """
    name = os.fspath(path)
    if member:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(member)
            if entry.file_size > most:
                raise InputError(too_large(f"{name}: {member}", most))
            if entry.flag_bits & 1:
                raise InputError(f"{name}: {member} needs a password: unpack it and give the table")
            with archive.open(entry) as stream:
                yield io.BufferedReader(_Limited(f"{name}: {member}", stream, most), 1 << 20)
        return
    opener = gzip.open if first_bytes(path)[:2] == GZIP else open
    with opener(path, "rb") as stream:
        yield io.BufferedReader(_Limited(name, stream, most), 1 << 20)
