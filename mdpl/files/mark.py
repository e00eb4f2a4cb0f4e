"""The mark of a run directory, ``run.toml``: it is ours, which run it belongs to, and which files that run left.

Only what a mark accounts for is ever removed. What is read back is compared with it: a file of another run, or one
that was changed since, is refused. Lines may be appended to a table.
"""

from __future__ import annotations

import dataclasses
import hashlib
import socket
import tomllib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jlsm._version import package_version
from jlsm.errors import InputError
from mdpl.files.whole import write_text

MARK_FILE = "run.toml"
_GROWING = ".csv"
"""ending of files to which lines may be appended"""


@dataclass(frozen=True)
class Mark:
    """What ``run.toml`` says."""

    kind: str
    """the command that made the directory"""
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    """of the run, in its checkpoints too"""
    version: str = field(default_factory=package_version)
    host: str = field(default_factory=socket.gethostname)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    sites: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    """names of the run directories in it that belong to it"""
    settings: str = ""
    """SHA-256 of what decides the run's numbers in its ``config.toml``; empty before there is one"""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """name -> bytes and sha256, of every file the run wrote to its end"""


def write_mark(directory: Path, mark: Mark) -> None:
    """Mark a directory. Raises InputError: it cannot be written."""
    import tomli_w

    about = "# The mark of mdpl: this directory belongs to one run. --resume, --overwrite and mdpl report read it.\n"
    plain = {**dataclasses.asdict(mark), "sites": list(mark.sites), "parts": list(mark.parts)}
    write_text(directory / MARK_FILE, about + tomli_w.dumps(plain))


def read_mark(directory: Path) -> Mark | None:
    """The mark of a directory; None where it has none (nobody's, or that of version 0.1.0).

    Raises:
        InputError: ``run.toml`` is another program's, or damaged.
    """
    path = directory / MARK_FILE
    if not path.is_file():
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        mark = Mark(**{**values, "sites": tuple(values["sites"]), "parts": tuple(values.get("parts", ()))})
        for name in (*mark.files, *mark.parts):
            if Path(name).name != name or name == "..":
                raise ValueError(f"{name!r} is no name in a run directory")
        for name, entry in mark.files.items():
            if not (int(entry["bytes"]) >= 0 and str(entry["sha256"])):
                raise ValueError(f"{name!r} is no file of a run")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no mark of a run of mdpl ({error}): choose another folder (-o)") from error
    return mark


def record(directory: Path, names: Iterable[str]) -> None:
    """Note in the mark how these files are now; those that are not there are passed over, as is a folder unmarked."""
    mark = read_mark(directory)
    if mark is None:
        return
    paths = {name: directory / name for name in names}
    new = {name: _fingerprint(path, path.stat().st_size) for name, path in paths.items() if path.is_file()}
    write_mark(directory, dataclasses.replace(mark, files=mark.files | new))


def check_recorded(directory: Path, names: Iterable[str]) -> None:
    """Refuse files that are not as the run of this directory left them.

    A directory without a mark is one of version 0.1.0, of which nothing can be said.

    Raises:
        InputError: a file that the mark does not name, or one that has changed (other than by appended lines).
    """
    mark = read_mark(directory)
    if mark is None:
        return
    for name in names:
        path, entry = directory / name, mark.files.get(name)
        if entry is None:
            raise InputError(
                f"{path}: {MARK_FILE} does not name it: it is of another run (remove it), or this one did not finish "
                "(go on with --resume)"
            )
        size = path.stat().st_size
        cut = size < entry["bytes"] or (size > entry["bytes"] and path.suffix != _GROWING)
        if cut or _fingerprint(path, entry["bytes"]) != entry:
            raise InputError(
                f"{path}: is not as the run of this directory left it (sha256 in {MARK_FILE}): restore it, or run the "
                "calibration again"
            )


def _fingerprint(path: Path, size: int) -> dict[str, Any]:
    """Size and SHA-256 of the first ``size`` bytes of a file."""
    digest, left = hashlib.sha256(), size
    with path.open("rb") as stream:
        while left and (piece := stream.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}
