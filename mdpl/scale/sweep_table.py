"""One table over all tasks of a sweep (``sweep.csv``), and in print the medians and ranges over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from mdpl.files import locked, write_rows
from mdpl.files.mark import record
from mdpl.runs.claim import SWEEP_FILE
from mdpl.scale.plan import PATIENCE
from mdpl.scale.running import is_done, task_rows
from mdpl.scale.sweep_file import Sweep
from mdpl.scale.tasks import SweepTask, label
from mdpl.scores.evaluation import MetricRow

_SEED = "seed"
_CLASH = {"target": "target_fitted"}
"""settings that have the name of a column of scores"""
TaskRow = tuple[SweepTask, MetricRow]


def sweep_rows(sweep: Sweep) -> list[TaskRow]:
    """Scores of the tasks that are done. Raises InputError: a table is not as its task left it."""
    return [(task, row) for task in sweep.tasks if is_done(task) for row in task_rows(task)]


def write_table(sweep: Sweep, rows: Iterable[TaskRow]) -> None:
    """``sweep.csv``: a line for each line of each task's scores, with the task and the settings in which tasks differ.

    Raises:
        InputError: it cannot be written.
    """
    settings, scores = sweep.varied, [field.name for field in dataclasses.fields(MetricRow)]
    names = ["task", *(_CLASH.get(name, name) for name in settings), "without", *scores]
    kind = dataclasses.make_dataclass("SweepRow", names)

    def line(task: SweepTask, row: MetricRow) -> Any:
        values = (label(getattr(task.config, name)) for name in settings)
        return kind(task.name, *values, task.without, *(getattr(row, name) for name in scores))

    with locked(sweep.folder, PATIENCE):
        write_rows(sweep.folder / SWEEP_FILE, kind, [line(task, row) for task, row in rows])
        record(sweep.folder, [SWEEP_FILE])


def summary_names(sweep: Sweep) -> tuple[str, ...]:
    """Columns of ``summary_lines``."""
    return (*_groups(sweep), "site", "flux", "RMSE default", "then", "R default", "then", "runs")


def summary_lines(sweep: Sweep, rows: Iterable[TaskRow]) -> list[tuple[str, ...]]:
    """Test scores against uncorrected observations, default and calibrated (at a site left out: transferred).

    Tasks that differ only in their seed share a line: median, and range where there are several.
    """
    table: dict[tuple[str, ...], dict[str, list[MetricRow]]] = {}
    for task, row in rows:
        if (row.period, row.target) != ("test", "raw") or not row.n or (task.without and row.site != task.without):
            continue
        key = (*(label(getattr(task.config, name)) for name in _groups(sweep)), row.site, row.flux)
        table.setdefault(key, {}).setdefault("default" if row.stage == "default" else "then", []).append(row)
    return [
        (*key, *(middle(stages.get(stage, []), name, digits) for name, digits in (("rmse", 1), ("r", 3))
                 for stage in ("default", "then")), str(len(stages.get("then", []))))
        for key, stages in table.items()
    ]  # fmt: skip


def middle(rows: list[MetricRow], name: str, digits: int) -> str:
    """Median of a score, with its range where it is not the same everywhere."""
    values = [getattr(row, name) for row in rows]
    if not values:
        return "-"
    low, high, median = (f"{value:.{digits}f}" for value in (min(values), max(values), np.median(values)))
    return median if low == high else f"{median} ({low} to {high})"


def _groups(sweep: Sweep) -> tuple[str, ...]:
    return tuple(name for name in sweep.varied if name != _SEED)
