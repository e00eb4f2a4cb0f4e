"""Where the benchmarks read real towers: ``--data DIR``, else ``$MDPL_DATA`` (``docs/data.md`` says what it holds)."""

from __future__ import annotations

import os
from pathlib import Path

from jlsm.command_line.front_door import one_line_errors
from jlsm.errors import InputError


def data_folder(option: str = "") -> Path:
    """The folder with ``plumber2/``, ``plumber2_daily/`` and ``reference/``.

    Args:
        option: value of ``--data``; empty where it was not given or the benchmark has no such option.

    Raises:
        SystemExit: neither is there (code 2, after one line on stderr).
    """
    folder = option or os.environ.get("MDPL_DATA", "")
    if folder and Path(folder).is_dir():
        return Path(folder)
    what = f"{folder}: no such folder" if folder else "this benchmark reads real towers"
    with one_line_errors():
        raise InputError(f"{what}: give --data DIR or set MDPL_DATA to the folder described in docs/data.md")


def met_files(folder: Path) -> list[Path]:
    """Met files of all towers, half-hourly ones first."""
    return sorted([*folder.glob("plumber2/*_Met.nc"), *folder.glob("plumber2_daily/*_Met.nc")])
