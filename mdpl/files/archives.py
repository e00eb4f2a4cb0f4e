"""Archives: named arrays and facts about them in one ``.npz`` file, verified when read."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jlsm.errors import InputError, RepairWarning
from jlsm.files import digest
from mdpl.files.whole import write_whole

FACTS = "about"
"""entry of an archive that holds its facts as JSON"""
DIGEST = "sha256"
"""the fact that is the digest of the arrays and of all others"""


def write_archive(path: Path, facts: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Named arrays, facts (anything JSON can hold) about them, and a digest of both, in one ``.npz`` file."""
    arrays = {name: np.asarray(leaf) for name, leaf in arrays.items()}
    facts = json.loads(json.dumps(facts))  # as they will be read
    text = json.dumps(facts | {DIGEST: digest(facts, arrays)})

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            entries: dict[str, Any] = {FACTS: text} | arrays
            np.savez(stream, **entries)

    write_whole(path, write)


def read_archive(path: Path, remedy: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays of a file of ``write_archive``.

    Args:
        path: the file.
        remedy: what a user can do where it is missing or damaged, for the error.

    Raises:
        InputError: no such file, damaged, changed since it was written, or another program's.

    A file of a version that wrote no digest is read with a ``RepairWarning``.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file: {remedy}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored[FACTS]))
            arrays = {name: stored[name] for name in stored.files if name != FACTS}
        written = facts.pop(DIGEST, None)
    except Exception as error:  # damage makes zip, NumPy and JSON raise anything, and only the file is read in here
        reason = "no facts in it: an older version's" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: not a readable file of this version ({reason}): {remedy}") from error
    if written is None:
        warnings.warn(f"{path}: has no digest: its numbers are believed as they are", RepairWarning, stacklevel=2)
    elif written != digest(facts, arrays):
        raise InputError(f"{path}: has changed since it was written: restore it, or {remedy}")
    return facts, arrays
