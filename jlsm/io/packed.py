"""Packed files, read in memory and never written: gzip and zip, with a limit on what they may unpack to."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jlsm.errors import InputError

LARGEST_UNPACKED = 2_000_000_000
"""bytes; thirty years of half hours with the 240 columns of ONEFlux are 0.9 GB"""
MOST_MEMBERS = 10_000
ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
NETCDF_BEGINNINGS = (b"\x89HDF", b"CDF")
"""what such files begin with"""


class _Limited(io.RawIOBase):
    """A stream of bytes that raises InputError once more than ``LARGEST_UNPACKED`` were read."""

    def __init__(self, name: str, read: Callable[[int], bytes]) -> None:
        self._name, self._source, self._count = name, read, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._source(len(buffer))
        self._count += len(data)
        if self._count > LARGEST_UNPACKED:
            raise InputError(_too_large(self._name))
        buffer[: len(data)] = data
        return len(data)


def _too_large(name: str) -> str:
    return f"{name}: holds more than {LARGEST_UNPACKED / 1e9:g} GB, more than any tower's record: check the file"


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
def open_unpacked(path: str | os.PathLike, member: str = "") -> Iterator[io.BufferedReader]:
    """The bytes of a file as a stream: of a member of a zip, of what a gzip file holds, or as they are.

    Raises:
        InputError: more than ``LARGEST_UNPACKED`` bytes, or a member with a password.
        OSError, EOFError, zipfile.BadZipFile, zlib.error: damage, at any later reading.
    """
    name = os.fspath(path)
    if member:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(member)
            if entry.file_size > LARGEST_UNPACKED:
                raise InputError(_too_large(f"{name}: {member}"))
            if entry.flag_bits & 1:
                raise InputError(f"{name}: {member} needs a password: unpack it and give the table")
            with archive.open(entry) as stream:
                yield io.BufferedReader(_Limited(f"{name}: {member}", stream.read), 1 << 20)
        return
    opener = gzip.open if first_bytes(path)[:2] == GZIP else open
    with opener(path, "rb") as stream:
        yield io.BufferedReader(_Limited(name, stream.read), 1 << 20)
