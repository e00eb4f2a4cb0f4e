"""One task: begun, gone on with from its checkpoint, or left alone because it is done or another process has it."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from jlsm.errors import InputError
from jlsm.files import reason_of
from mdpl.calibration import CalibrationProgress, calibrate
from mdpl.config import load_config
from mdpl.files import AtWorkError, at_work, locked, write_rows, write_text
from mdpl.files.mark import check_recorded, read_mark, record
from mdpl.model_paths import ModelPath, lsm_path
from mdpl.runs.claim import (
    CALIBRATION,
    CONFIG_FILE,
    FAILURES,
    METRICS_FILE,
    REPORT_FILE,
    TRANSFERRED_FILE,
    check_claim,
)
from mdpl.runs.directory import read_metrics
from mdpl.scale.plan import changed_setting
from mdpl.scale.tasks import SweepTask
from mdpl.scores.evaluation import MetricRow
from mdpl.towers.load import Tower, find_site_files, load_towers
from mdpl.training.judging import Judgement
from mdpl.training.runner import Runner
from mdpl.training.windows import group_towers
from mdpl.unknowns.generator import load_generator


class TaskState(StrEnum):
    """How far a task is."""

    MISSING = "missing"
    BEGUN = "begun"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


class Status(NamedTuple):
    """How far a task is, and a line about it: who runs it, or why it failed."""

    state: TaskState
    note: str = ""


# ---- how far it is --------------------------------------------------------------------------------


def status_of(task: SweepTask) -> Status:
    """How far a task is, from what lies on disk."""
    directory, failure = task.directory, failure_file(task)
    holder = at_work(directory)
    if holder:
        return Status(TaskState.RUNNING, holder)
    if is_done(task):
        return Status(TaskState.DONE)
    if failure.is_file():
        return Status(TaskState.FAILED, failure.read_text(encoding="utf-8").strip())
    return Status(TaskState.BEGUN if (directory / CONFIG_FILE).is_file() else TaskState.MISSING)


def is_done(task: SweepTask) -> bool:
    """Whether all that a task writes is there, and is of the task."""
    return _is_written(task, TRANSFERRED_FILE if task.without else REPORT_FILE) and not _other_settings(task)


def _is_written(task: SweepTask, name: str) -> bool:
    try:
        mark = read_mark(task.directory)
    except InputError:  # another program's mark, or damaged: running the task says so
        return False
    return mark is not None and mark.kind == CALIBRATION and name in mark.files


def task_rows(task: SweepTask) -> list[MetricRow]:
    """Scores of a task that is done. Raises InputError: a table is not as the task left it."""
    names = [METRICS_FILE, *([TRANSFERRED_FILE] if task.without else [])]
    check_recorded(task.directory, names)
    return [row for name in names for row in read_metrics(task.directory / name)]


# ---- getting there --------------------------------------------------------------------------------


def run_task(
    task: SweepTask,
    *,
    path: ModelPath | None = None,
    towers: list[Tower] | None = None,
    progress: CalibrationProgress | None = None,
) -> Status:
    """Do what is left of a task.

    Args:
        path: the model; the LSM when None.
        towers: in memory, that of ``task.without`` among them, instead of the config's data.
        progress: callbacks of the calibration.

    Returns:
        DONE, or RUNNING where another process has it, which is then left alone.

    Raises:
        InputError, NonFiniteError: as ``calibrate``; the directory holds a calibration with other settings. The
            reason is then in the sweep's folder ``failures`` too.
    """
    failure, directory = failure_file(task), task.directory
    holder = at_work(directory, watch=True)
    if holder:
        return Status(TaskState.RUNNING, holder)
    try:
        if not is_done(task):
            failure.unlink(missing_ok=True)
            other = _other_settings(task)
            if other:
                raise InputError(f"{directory}: holds a calibration with {other}: choose another folder (-o)")
            check_claim(directory, CALIBRATION, resume=(directory / CONFIG_FILE).is_file())
            directory.mkdir(parents=True, exist_ok=True)
            with locked(directory):
                _finish(task, path or lsm_path(), towers, progress)
        failure.unlink(missing_ok=True)
        return Status(TaskState.DONE)
    except AtWorkError as error:
        return Status(TaskState.RUNNING, str(error))
    except Exception as error:
        note_failure(task, reason_of(error))
        with suppress(OSError):  # not there, or with something in it
            directory.rmdir()
        raise


def note_failure(task: SweepTask, reason: str) -> None:
    """Leave a line of why a task failed in the sweep's folder."""
    failure = failure_file(task)
    failure.parent.mkdir(parents=True, exist_ok=True)
    write_text(failure, " ".join(reason.split()) + "\n")


def failure_file(task: SweepTask) -> Path:
    """Where the line goes of why a task failed."""
    return task.directory.parent / FAILURES / f"{task.name}.txt"


def _other_settings(task: SweepTask) -> str:
    """A setting in which the calibration in a task's directory is not that of the task; empty: none."""
    file = task.directory / CONFIG_FILE
    if not file.is_file():
        return ""
    besides = ("output", *(name for name in ("data", "sites") if not getattr(task.config, name)))
    try:
        return changed_setting(load_config(file), task.config, besides)
    except InputError as error:
        return f"damaged settings ({error})"


def _finish(task: SweepTask, path: ModelPath, towers: list[Tower] | None, progress: CalibrationProgress | None) -> None:
    """The calibration, unless it is done, and the scores at the site that was left out."""
    directory = task.directory
    if not _is_written(task, REPORT_FILE):
        others = None if towers is None else [tower for tower in towers if tower.label != task.without]
        resume = (directory / CONFIG_FILE).is_file()
        calibrate(task.config, path=path, towers=others, progress=progress, resume=resume)
    if task.without and not _is_written(task, TRANSFERRED_FILE):
        if towers is None:
            files = find_site_files(load_config(directory / CONFIG_FILE).data, (task.without,))
            towers = load_towers(files, task.config.lai, sun_check=task.config.sun_check == "refuse")
        (tower,) = (tower for tower in towers if tower.label == task.without or len(towers) == 1)
        write_rows(directory / TRANSFERRED_FILE, MetricRow, _judged(tower, task, path))
        record(directory, [TRANSFERRED_FILE])


def _judged(tower: Tower, task: SweepTask, path: ModelPath) -> list[MetricRow]:
    """The held-out tower with its default parameters and with those of the task's generator."""
    (group,) = group_towers([tower], task.config)
    default = path.default_parameters(group.site)
    generator = load_generator(task.directory)
    unknowns = generator.unknowns([tower], list(group.splits))
    runner, judgement = Runner(path, group, task.config.spinup_years), Judgement()
    judgement.add(runner, "default", default)
    judgement.add(runner, "transferred", lambda forcing: generator.parameters(default, unknowns, forcing))
    return judgement.metrics
