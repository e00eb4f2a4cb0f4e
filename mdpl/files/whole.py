"""Any file, whole or not there at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jlsm.files import whole_file

ProgressReport = Callable[[str, int, int | None], object]
"""called with (what is going on, steps or bytes done, how many in all or None)"""


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a temporary file beside ``path``, then rename it.

    Raises:
        InputError: the file cannot be written; nothing is left behind.
    """
    with whole_file(path, "free space or choose -o") as part:
        write(part)


def write_text(path: Path, text: str) -> None:
    """A text file (UTF-8)."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
