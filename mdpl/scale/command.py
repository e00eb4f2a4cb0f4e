"""``mdpl sweep``: many calibrations of one file, here, by a scheduler's array, or through Slurm.

Heavy imports stand inside, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jlsm.command_line.front_door import one_line_errors, prepare_jax
from jlsm.errors import InputError
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES

if TYPE_CHECKING:
    from mdpl.scale.running import Status
    from mdpl.scale.sweep_file import Sweep
    from mdpl.scale.tasks import SweepTask

AUTO = "auto"
SCHEDULERS = {
    "SLURM_ARRAY_TASK_ID": 0,
    "PBS_ARRAY_INDEX": 0,
    "PBS_ARRAYID": 0,
    "JOB_COMPLETION_INDEX": 0,
    "SGE_TASK_ID": 1,
    "LSB_JOBINDEX": 1,
}
"""variable in which a scheduler (Slurm, PBS, Torque, Kubernetes, Grid Engine, LSF) puts a job's number -> its first"""
_SLURM = "Of --slurm; or in the table slurm of the file."


@one_line_errors("stopped: run the same command again to go on")
def sweep_command(
    sweep_file: Annotated[Path, typer.Argument(metavar="SWEEP.toml", help="Settings, and what varies.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder; default runs/<name of file>.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print number, name and state of each task.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Write and print the table of what is done.")] = False,
    task: Annotated[
        str | None, typer.Option(help="Run one: a number from 0, a name, or auto (the scheduler's array index).")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Tasks at a time on this machine.")] = 1,
    slurm: Annotated[bool, typer.Option("--slurm", help="Submit what is not done as a Slurm array.")] = False,
    partition: Annotated[str | None, typer.Option(help=_SLURM)] = None,
    time: Annotated[str | None, typer.Option(help=f"Limit of a job, 1:30:00. {_SLURM}")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help=f"Per job. {_SLURM}")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help=f"Per job. {_SLURM}")] = None,
    mem: Annotated[str | None, typer.Option(help=f"Per job, 8G. {_SLURM}")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove an earlier sweep there first.")] = False,
) -> None:
    """Run many calibrations: what is done is left alone, what was begun goes on, what is missing starts."""
    values = {"partition": partition, "time": time, "gpus": gpus, "cpus": cpus, "mem": mem}
    options = {key: value for key, value in values.items() if value is not None}
    if list_ + table + (task is not None) + slurm > 1:
        raise InputError("--list, --table, --task and --slurm are different things: give one of them")
    if options and not slurm:
        raise InputError(f"--{next(iter(options))} is an option of --slurm: give that too")
    if overwrite and (list_ or table or task is not None):
        raise InputError("--overwrite begins a sweep again, --list, --table and --task do not: give one of them")
    if task is not None:
        prepare_jax(loop_bytes=GRADIENT_LOOP_BYTES)
    from mdpl.runs.claim import PLAN_FILE
    from mdpl.scale.plan import open_folder
    from mdpl.scale.slurm import slurm_options
    from mdpl.scale.sweep_file import read_sweep
    from mdpl.scale.tasks import check_sites

    sweep = read_sweep(sweep_file, output)
    if list_:
        _list(sweep)
        return
    slurm_options(options, "command line")
    if table and not (sweep.folder / PLAN_FILE).is_file():
        raise InputError(f"{sweep.folder}: holds no sweep: run it first, or give its folder with -o")
    if not table:
        check_sites(sweep.tasks)
    open_folder(sweep, overwrite)
    if task is not None:
        _run_one(sweep, sweep.task(array_index(os.environ) if task == AUTO else task))
    elif slurm:
        _submit(sweep, sweep.slurm | options)
    elif table:
        _table(sweep)
    else:
        _run_all(sweep, jobs)


def array_index(environment: Mapping[str, str]) -> str:
    """A job's number in its array, from 0, as its scheduler says it. Raises InputError: none does."""
    for name, first in SCHEDULERS.items():
        text = environment.get(name, "")
        if text.isdigit() and int(text) >= first:  # Grid Engine writes "undefined", LSF 0, where there is no array
            return str(int(text) - first)
    raise InputError(f"--task auto: no scheduler's array here ({', '.join(SCHEDULERS)}): give --task NUMBER")


def _list(sweep: Sweep) -> None:
    from mdpl.scale.running import status_of

    width = max(len(task.name) for task in sweep.tasks)
    for number, task in enumerate(sweep.tasks):
        state, note = status_of(task)
        typer.echo(f"{number:4d}  {task.name:{width}s}  {state}{': ' if note else ''}{note}")


def _run_one(sweep: Sweep, task: SweepTask) -> None:
    from mdpl.calibration import CalibrationProgress
    from mdpl.scale.running import TaskState, run_task, status_of
    from mdpl.scale.sweep_table import sweep_rows, write_table

    def epoch(number: int, epochs: int, losses: dict[str, float]) -> None:
        _tell(f"{task.name}: epoch {number} of {epochs}, loss {sum(losses.values()) / len(losses):.4f}")

    status = run_task(task, progress=CalibrationProgress(lambda text: _tell(f"{task.name}: {text}"), epoch))
    _tell(_line(task, status))
    if all(status_of(other).state in (TaskState.DONE, TaskState.FAILED) for other in sweep.tasks):  # the last one
        write_table(sweep, sweep_rows(sweep))


def _run_all(sweep: Sweep, jobs: int) -> None:
    from mdpl.scale.running import TaskState, status_of
    from mdpl.scale.workers import run_here

    before = [(task, status_of(task)) for task in sweep.tasks]
    todo = [task for task, status in before if status.state not in (TaskState.DONE, TaskState.RUNNING)]
    ended = Counter(status.state for _, status in before)
    _tell(f"{len(sweep.tasks)} tasks, {ended[TaskState.DONE]} done, {len(todo)} to do")
    for task, status in before:
        if status.state is TaskState.RUNNING:
            _tell(_line(task, status))
    count = 0

    def report(task: SweepTask, status: Status, seconds: float) -> None:
        nonlocal count
        count += 1
        _tell(f"{count} of {len(todo)}: {_line(task, status)} ({seconds:.0f} s)")

    run_here(sweep, todo, jobs, report)
    _table(sweep)


def _submit(sweep: Sweep, options: dict) -> None:
    from mdpl.scale.running import TaskState, failure_file, status_of
    from mdpl.scale.slurm import Job, submit
    from mdpl.scale.workers import LOGS, task_command

    statuses = {task.name: status_of(task) for task in sweep.tasks}
    todo = [task for task in sweep.tasks if statuses[task.name].state not in (TaskState.DONE, TaskState.RUNNING)]
    if not todo:
        _tell("every task is done or running")
        return
    folder = sweep.folder.resolve() / LOGS / "slurm"
    work = [Job(task_command(sweep, task), failure_file(task).resolve()) for task in todo]
    jobs = submit(work, folder, options)
    for task, job in zip(todo, jobs, strict=True):
        typer.echo(f"{job.job_id}  {task.name}")
    _tell(f"submitted {len(jobs)} of {len(sweep.tasks)} tasks; what they say: {folder}; --list and --table show more")


def _table(sweep: Sweep) -> None:
    """Write and print the table; ends with exit code 1 where a task has failed."""
    from mdpl.report.terminal import console, table
    from mdpl.runs.claim import SWEEP_FILE
    from mdpl.scale.running import TaskState, status_of
    from mdpl.scale.sweep_table import summary_lines, summary_names, sweep_rows, write_table

    statuses = [(task, status_of(task)) for task in sweep.tasks]
    states = Counter(status.state for _, status in statuses)
    rows = sweep_rows(sweep)
    if rows:
        write_table(sweep, rows)
        terminal = console()
        terminal.print("test period, uncorrected observations, median over seeds (range)", highlight=False)
        names = summary_names(sweep)
        terminal.print(table(names, summary_lines(sweep, rows), words=len(names) - 5))
        terminal.print(f"wrote {sweep.folder / SWEEP_FILE}", highlight=False, soft_wrap=True)
    _tell(", ".join(f"{states[state]} {state}" for state in TaskState if states[state]))
    failed = [(task, status) for task, status in statuses if status.state is TaskState.FAILED]
    for task, status in failed:
        _tell(_line(task, status))
    if failed:
        raise typer.Exit(1)


def _line(task: SweepTask, status: Status) -> str:
    words = {"running": "left alone"}.get(status.state, status.state)
    return f"{task.name}: {words}{': ' if status.note else ''}{status.note}"


def _tell(text: str) -> None:
    typer.echo(text, err=True)
