"""Whose a run directory is: taken for one run, under a lock; emptied of an earlier one only where it was asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jlsm.errors import InputError
from jlsm.files import check_writable, remove_leftovers
from mdpl.config import load_config
from mdpl.files import locked, read_rows
from mdpl.files.mark import MARK_FILE, Mark, read_mark, write_mark
from mdpl.scores.evaluation import MetricRow
from mdpl.unknowns.generator import GENERATOR_FILE

CONFIG_FILE, METRICS_FILE, PARAMETERS_FILE, COURSES_FILE, LOSSES_FILE, LEFT_OUT_FILE, STOP_FILE, REPORT_FILE = (
    "config.toml", "metrics.csv", "parameters.csv", "parameters_seasonal.csv", "loss.csv", "towers_left_out.csv",
    "stopped.json", "report.html",
)  # fmt: skip
TRANSFERRED_FILE = "transferred.csv"
"""scores at the site that was left out"""
CALIBRATION, TRANSFER, SWEEP = "mdpl calibrate", "mdpl transfer", "mdpl sweep"
"""kinds of directories"""
CHECKPOINTS = ("checkpoints", "checkpoints_surrogate")
TRANSFER_FILE, WITHOUT = "transfer.csv", "without_"
"""of a leave-one-out: its table, and the beginning of the names of its calibrations' directories"""
SWEEP_FILE, PLAN_FILE, FAILURES = "sweep.csv", "sweep.toml", "failures"
"""of a sweep: its table, its tasks, and the folder with a line for each task that failed"""
MANY = {TRANSFER: (TRANSFER_FILE,), SWEEP: (SWEEP_FILE, PLAN_FILE)}
"""kinds that hold run directories, and their own files"""
_FILES = (METRICS_FILE, PARAMETERS_FILE, COURSES_FILE, LOSSES_FILE, LEFT_OUT_FILE, STOP_FILE,
          REPORT_FILE, GENERATOR_FILE, TRANSFERRED_FILE,
          "loss.png", "taylor_Qh.png", "taylor_Qle.png")  # fmt: skip
STAGES = ("default", "calibrated")
"""what the land surface model was run with over the whole record"""


def model_file(site: str, stage: str) -> str:
    """Name of the land surface model's output of a site."""
    return f"{site}_{stage}.nc"


def cycles_file(site: str) -> str:
    """Name of the picture of a site's mean cycles."""
    return f"cycles_{site}.png"


def run_files(sites: Iterable[str]) -> list[str]:
    """Names of all files that a calibration of these sites can leave, beside ``config.toml``."""
    of_site = [name for site in sites for name in (*(model_file(site, s) for s in STAGES), cycles_file(site))]
    return [*_FILES, *of_site]


# ---- what is there --------------------------------------------------------------------------------


def check_claim(path: str | Path, kind: str, overwrite: bool = False, resume: bool = False) -> None:
    """Refuse a directory before anything is computed; nothing is written.

    Raises:
        InputError: as ``claimed``.
    """
    path = Path(path)
    if path.is_dir() and read_mark(path) is not None:
        with locked(path):
            pass
    _earlier(path, kind, overwrite, resume)
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if there == path:
        check_writable(path / MARK_FILE)
    elif not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written ({there} is read-only): choose another -o RUN_DIR")


@contextmanager
def claimed(
    path: str | Path,
    kind: str,
    sites: Iterable[str],
    overwrite: bool = False,
    resume: bool = False,
    parts: Iterable[str] = (),
    patience: float = 0.0,
) -> Iterator[Path]:
    """The directory, marked and locked for one run while the block runs.

    Args:
        path: made if it is not there.
        kind: of the run.
        sites: of the run; with them goes which files it can leave.
        overwrite: remove an earlier run of this kind first: all that is known to be of it, nothing else.
        resume: go on with the earlier run; a sweep does so unasked.
        parts: names of the run directories that a run of ``MANY`` makes in it.
        patience: so long another process is waited for, s.

    Raises:
        InputError: files of something else lie there; an earlier run does (and neither ``overwrite`` nor ``resume`` is
            True), or none to resume; another process is at work there; it cannot be written.
    """
    path = Path(path)
    _earlier(path, kind, overwrite, resume)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another -o RUN_DIR") from error
    with locked(path, patience):
        earlier = _earlier(path, kind, overwrite, resume)  # another process may have been faster
        goes_on = resume or (kind == SWEEP and not overwrite)
        try:
            remove_leftovers(path)
            if earlier and read_mark(path) is None:  # of version 0.1.0
                write_mark(path, Mark(kind, sites=tuple(sites) if resume else _old_sites(path)))
            if earlier and not goes_on:
                _remove_run(path)
            if read_mark(path) is None:
                write_mark(path, Mark(kind, sites=tuple(sites), parts=tuple(parts)))
            if kind == CALIBRATION:
                (path / CHECKPOINTS[0]).mkdir(exist_ok=True)
            (path / STOP_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}): choose another -o RUN_DIR") from error
        yield path


def _earlier(path: Path, kind: str, overwrite: bool, resume: bool) -> bool:
    """Whether a run is there that this one may go on with or take the place of. Raises InputError: see ``claimed``."""
    mark = _mark_of(path)
    begun = mark is not None and (mark.kind in MANY or (path / CONFIG_FILE).is_file())
    if resume and not begun:
        raise InputError(f"{path}: holds no run to resume: leave out --resume, or give its directory with -o")
    if mark is not None and mark.kind != kind:
        raise InputError(f"{path}: holds a run of {mark.kind}: choose another -o RUN_DIR")
    if begun and not overwrite and not resume and kind != SWEEP:
        raise InputError(
            f"{path}: holds an earlier run: choose another -o RUN_DIR, go on with --resume, or add --overwrite"
        )
    return mark is not None


def _mark_of(path: Path) -> Mark | None:
    """The mark of the run in a directory (one is thought up for version 0.1.0); None where nothing is there.

    Raises:
        InputError: something is there, and it is no run of ours.
    """
    if not path.exists():
        return None
    if not path.is_dir():
        raise InputError(f"{path}: is a file: choose another -o RUN_DIR")
    try:
        content = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
        if not content:
            return None
        mark = read_mark(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): choose another -o RUN_DIR") from error
    if mark is None and _is_old_run(path):
        mark = Mark(CALIBRATION)
    if mark is None:
        some = ", ".join(content[:3]) + (f" and {len(content) - 3} more" if len(content) > 3 else "")
        raise InputError(f"{path}: holds {some}, and no run of mdpl: choose another -o, a new or an empty folder")
    return mark


def _is_old_run(path: Path) -> bool:
    """Whether a directory has the form of a calibration before directories were marked."""
    try:
        load_config(path / CONFIG_FILE)
        if (path / METRICS_FILE).is_file():
            return bool(read_rows(path / METRICS_FILE, MetricRow))
    except InputError:
        return False
    return any(_steps(path / folder) for folder in CHECKPOINTS)


# ---- what goes ------------------------------------------------------------------------------------


def _remove_run(path: Path) -> None:
    """Remove all that is known to be of the run in a directory; the mark last, so that a kill leaves it ours."""
    mark = read_mark(path)
    assert mark is not None
    (path / CONFIG_FILE).unlink(missing_ok=True)
    if mark.kind in MANY:
        others = path.glob(f"{WITHOUT}*") if mark.kind == TRANSFER else ()  # 0.1.0's did not name theirs
        for name in {*mark.parts, *(folder.name for folder in others)}:
            folder = path / name
            if folder.is_dir() and read_mark(folder) is not None:
                with locked(folder):
                    _remove_run(folder)
                _remove_if_empty(folder)
            (path / FAILURES / f"{name}.txt").unlink(missing_ok=True)
        for name in MANY[mark.kind]:
            (path / name).unlink(missing_ok=True)
        _remove_if_empty(path / FAILURES)
    else:
        for name in run_files(mark.sites):
            (path / name).unlink(missing_ok=True)
        for name in CHECKPOINTS:
            for step in _steps(path / name):
                shutil.rmtree(step)
            _remove_if_empty(path / name)
    (path / MARK_FILE).unlink(missing_ok=True)


def _old_sites(path: Path) -> tuple[str, ...]:
    """Sites of a run of version 0.1.0; before its scores were written, what its config calls them."""
    if (path / METRICS_FILE).is_file():
        return tuple(dict.fromkeys(row.site for row in read_rows(path / METRICS_FILE, MetricRow)))
    return load_config(path / CONFIG_FILE).sites


def _steps(folder: Path) -> list[Path]:
    """Folders that orbax wrote: finished checkpoints, and those of a killed process."""
    if not folder.is_dir():
        return []

    def is_step(entry: Path) -> bool:
        finished = entry.name.isdigit() and any((entry / part).is_dir() for part in ("state", "facts", "arrays"))
        return entry.is_dir() and not entry.is_symlink() and (finished or ".orbax-checkpoint-tmp" in entry.name)

    return [entry for entry in folder.iterdir() if is_step(entry)]


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # not there, or something of somebody else's is in it
        return
