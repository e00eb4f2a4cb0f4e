"""What orbax writes for us into a checkpoint: one archive of arrays and facts with a digest of both.

Its own formats spread the arrays over many files, written by threads of another library whose errors cannot be
caught; a full disk would print their tracebacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from mdpl.files import read_archive, write_archive

FILE = "state.npz"


class ArchiveHandler(ocp.CheckpointHandler):
    """Writes and reads ``state.npz``."""

    def save(self, directory: Any, args: ArchiveArgs) -> None:
        """Raises InputError: it cannot be written."""
        write_archive(Path(directory) / FILE, args.facts, args.arrays)

    def restore(self, directory: Any, args: ArchiveArgs | None = None) -> Any:
        """(facts, arrays). Raises InputError: damaged, or changed since it was written."""
        return read_archive(Path(directory) / FILE, "start again with --overwrite")


@ocp.args.register_with_handler(ArchiveHandler, for_save=True, for_restore=True)
@dataclass
class ArchiveArgs(ocp.args.CheckpointArgs):
    """What is saved; nothing is needed to read."""

    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
