"""Files that are whole or not there at all, that replace nothing of anybody else's, and that are checked when read.

- ``whole_file``: a temporary file beside the target, renamed onto it when the block ends without an error
- ``check_writable``: refuses a target before a long run, instead of after it
- ``remove_leftovers``: what killed processes of this machine left in a folder
- ``digest``: SHA-256 of facts and arrays
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jlsm.errors import InputError

_PART = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})\.(?P<pid>\d+)\.part")
OVERWRITE = "choose another path, or overwrite it (--overwrite, overwrite=True)"
"""remedy of those who have such an option"""
_parts: set[Path] = set()
"""temporary files that this process has open"""


@cache
def host_token() -> str:
    """Eight hex digits of the machine, or of the container in which process ids are counted."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{zlib.crc32(f'{socket.gethostname()} {namespace}'.encode()):08x}"


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; True where that cannot be told."""
    if os.name != "posix":  # there, signal 0 ends a process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def part_of(target: Path) -> Path:
    """The hidden temporary file beside a target; its name says which process of which machine writes it."""
    part = target.with_name(f".{target.name[:180]}.{host_token()}.{os.getpid()}.part")
    _parts.add(part)
    return part


def _of_dead_process(path: Path) -> bool:
    match = _PART.fullmatch(path.name)
    return match is not None and match["host"] == host_token() and not is_alive(int(match["pid"]))


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of ``part_of`` whose processes, on this machine, are gone."""
    for path in folder.iterdir() if os.access(folder, os.R_OK) else ():
        if _of_dead_process(path):
            with suppress(PermissionError):  # another user's, who may remove it
                discard(path)


def discard(part: Path) -> None:
    """Remove a temporary file or folder that may be there or not."""
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
    _parts.discard(part)


@atexit.register
def _discard_parts() -> None:
    """What an exception at the wrong moment (a signal's) left of this process's own; not of one it was forked from."""
    for part in [part for part in _parts if part.name.endswith(f".{os.getpid()}.part")]:
        discard(part)


@contextmanager
def whole_file(path: str | os.PathLike, remedy: str = "free space or choose another path") -> Iterator[Path]:
    """Yields a temporary file to write; it takes the place of ``path`` when the block ends without an error.

    Args:
        path: where the finished file shall be; links are followed.
        remedy: what a user can do where it cannot be written, for the error.

    Raises:
        InputError: it cannot be written (an OSError or a RuntimeError in the block counts); nothing is left behind.
    """
    target = Path(os.path.realpath(os.fspath(path)))
    part = part_of(target)
    try:
        yield part
        os.replace(part, target)
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be written ({reason_of(error)}): {remedy}") from error
    finally:
        discard(part)


def reason_of(error: BaseException) -> str:
    """What an exception says, in one short line."""
    if isinstance(error, InputError):
        return str(error)  # a line already, whose end says what to do
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def check_writable(
    path: str | os.PathLike,
    ours: Callable[[Path], bool] | None = None,
    kind: str = "such file",
    remedy: str = "choose another path",
) -> Path:
    """The path behind links, after trying to create a file beside it; call it before a long run.

    What killed processes of this machine left in the folder is removed.

    Args:
        path: file to be written.
        ours: whether a file that is there already may be replaced; None: any file may.
        kind: what such a file is, for the error.
        remedy: what to do where another file is there.

    Raises:
        InputError: the folder does not exist or may not be written, the path is no ordinary file, another process is
            writing it, or a file is there that is not ``ours``.
    """
    target = Path(os.path.realpath(os.fspath(path)))
    try:
        exists = _exists(target)
        if exists and not target.is_file():
            raise InputError(f"{path}: cannot be written, it is not an ordinary file: choose another path")
        if not target.parent.is_dir():
            what = "choose another path" if target.parent.exists() else "create it"
            raise InputError(f"{path}: cannot be written, there is no folder {target.parent}: {what}")
        if exists and not os.access(target, os.W_OK):
            raise InputError(f"{path}: cannot be written, the file is read-only: choose another path")
        remove_leftovers(target.parent)
        _check_unused(path, target)
        if exists and ours is not None and target.stat().st_size and not ours(target):
            raise InputError(f"{path}: is there already and is no {kind}: {remedy}")
        probe = part_of(target)
        probe.touch()
        discard(probe)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error
    return target


def _check_unused(path: str | os.PathLike, target: Path) -> None:
    """Refuse a target whose temporary file belongs to another process that runs."""
    for part in target.parent.glob(f".{_glob_text(target.name[:180])}.*.part"):
        match = _PART.fullmatch(part.name)
        if match and match["host"] == host_token() and int(match["pid"]) != os.getpid():
            raise InputError(
                f"{path}: process {match['pid']} is writing it: wait for it, or choose another path (if that process "
                f"does something else, delete {part.name})"
            )


def _glob_text(text: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", text)


def _exists(target: Path) -> bool:
    """Whether there is something at the path; OSError where there can be nothing, as when its name is too long.

    The probe has a shorter name than the target may have, and ``Path.exists`` of newer Pythons says only False.
    """
    try:
        os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def digest(facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    """SHA-256 of facts (what JSON can hold) and of names, types, shapes and bytes of arrays."""
    result = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        result.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        result.update(array.tobytes())
    return result.hexdigest()
