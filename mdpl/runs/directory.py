"""The run directory: what a calibration leaves behind, every file complete or not there at all."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS
from mdpl.config import Config
from mdpl.scores.evaluation import ScoreRow
from mdpl.training.state import EpochRow
from mdpl.unknowns.search_space import SearchSpace
from mdpl.unknowns.time_varying import Layout

METRIC_COLUMNS = ("rmse", "bias", "r", "std_mod", "std_obs", "nme", "kge", "n")


def create_run_directory(path: str | Path, overwrite: bool = False, resume: bool = False) -> Path:
    """Make the directory, with ``checkpoints/`` (empty, unless a run is resumed).

    Raises:
        InputError: it holds an earlier run (and neither ``overwrite`` nor ``resume`` is True), holds none to resume,
            or cannot be written.
    """
    path = Path(path)
    earlier = (path / "config.toml").exists()
    if earlier and not overwrite and not resume:
        raise InputError(
            f"{path}: holds an earlier run: choose another -o RUN_DIR, go on with --resume, or add --overwrite"
        )
    if resume and not earlier:
        raise InputError(f"{path}: holds no run to resume: leave out --resume, or give its directory with -o")
    try:
        if not resume and (path / "checkpoints").exists():
            shutil.rmtree(path / "checkpoints")
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another -o RUN_DIR") from error
    return path


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a temporary file beside ``path``, then rename it."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error}): free space or choose -o") from error


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file with a header line; None is empty, floats keep seven significant digits."""

    def cell(value: Any) -> Any:
        if value is None:
            return ""
        return f"{value:.7g}" if isinstance(value, float | np.floating) else value

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([cell(value) for value in row] for row in rows)

    write_whole(path, write)


def write_config(directory: Path, config: Config) -> None:
    """``config.toml``, resolved."""
    write_whole(directory / "config.toml", lambda part: part.write_text(config.to_toml(), encoding="utf-8"))


def parameter_rows(
    labels: Iterable[str], space: SearchSpace, values: np.ndarray, layout: Layout | None = None, unknowns=None
) -> list[tuple]:
    """Rows of parameters.csv for one group of sites.

    Args:
        values: ``[sites, parameters]``, means over a year where a parameter changes with it.
        layout, unknowns: with them, the coefficients of parameters that change with time get rows of their own.
    """
    rows = []
    for s, label in enumerate(labels):
        parts = [("constant", 0, 1)] * len(space.keys) if layout is None else layout.parts()
        for i, (key, (_, first, last)) in enumerate(zip(space.keys, parts, strict=True)):
            if not space.active[s, i]:
                continue
            info = PARAMETERS[key]
            rows.append((label, key, space.default[s, i], values[s, i], info.unit, space.lower[i], space.upper[i]))
            for u in range(first + 1, last):
                rows.append((label, layout.names[u], 0.0, unknowns[s, u], "-", None, None))
    return rows


def write_parameters(directory: Path, rows: list[tuple]) -> None:
    """``parameters.csv``."""
    columns = ("site", "name", "default", "calibrated", "unit", "lower", "upper")
    write_table(directory / "parameters.csv", columns, rows)


def write_courses(directory: Path, rows: list[tuple]) -> None:
    """``parameters_seasonal.csv``: parameters that change with time, by day of year."""
    write_table(directory / "parameters_seasonal.csv", ("site", "name", "day", "value", "default"), rows)


def write_metrics(directory: Path, rows: list[tuple[str, str, ScoreRow]]) -> None:
    """``metrics.csv`` from (site, stage, scores)."""
    write_scores(directory / "metrics.csv", rows)


def write_scores(path: Path, rows: list[tuple[str, str, ScoreRow]]) -> None:
    """A table of scores in the form of metrics.csv."""
    columns = ("site", "flux", "stage", "period", *METRIC_COLUMNS, "target", "step", "crmse")
    write_table(
        path,
        columns,
        (
            (site, row.flux, stage, row.period, *(getattr(row.scores, name) for name in METRIC_COLUMNS))
            + (row.target, row.step, row.scores.crmse)
            for site, stage, row in rows
        ),
    )


def write_losses(directory: Path, rows: list[EpochRow]) -> None:
    """``loss.csv``."""
    columns = ("epoch", "site", "loss", "record_loss", "gradient_norm", "clipped", "learning_rate", "validation_loss")
    write_table(
        directory / "loss.csv",
        columns,
        ([int(v) if isinstance(v, bool) else v for v in asdict(row).values()] for row in rows),
    )


def write_stop(directory: Path, details: dict) -> Path:
    """``stopped.json``: what training found when a number stopped being finite."""
    path = directory / "stopped.json"
    write_whole(path, lambda part: part.write_text(json.dumps(details, indent=2) + "\n", encoding="utf-8"))
    return path
