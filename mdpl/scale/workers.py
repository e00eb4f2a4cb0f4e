"""Tasks in processes of this machine, so many at a time, each with its share of the processor.

A process for each task: what goes wrong in one (a kill, too little memory) ends no other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdpl.scale.running import Status, TaskState, note_failure, status_of
from mdpl.scale.slurm import ENDED, death
from mdpl.scale.sweep_file import Sweep
from mdpl.scale.tasks import SweepTask

PROGRAM = (sys.executable, "-m", "mdpl.cli")
"""what runs a task"""
LOGS = "logs"
"""folder of a sweep for what its processes say"""


def task_command(sweep: Sweep, task: SweepTask, program: Sequence[str] = ()) -> tuple[str, ...]:
    """The command that runs one task, wherever it is started (``program``: by something else than ``PROGRAM``)."""
    places = (str(sweep.file.resolve()), "-o", str(sweep.folder.resolve()))
    return (*(program or PROGRAM), "sweep", *places, "--task", task.name)


@dataclass
class _Worker:
    """A process at work on a task."""

    task: SweepTask
    process: subprocess.Popen
    slot: int
    began: float


def run_here(
    sweep: Sweep,
    tasks: Sequence[SweepTask],
    jobs: int,
    report: Callable[[SweepTask, Status, float], None],
    program: Sequence[str] = (),
) -> None:
    """Run tasks in processes, ``jobs`` at a time; what each says goes to ``logs/<task>.log`` in the sweep's folder.

    Args:
        report: told of each task that has ended, with its status and its seconds.
        program: see ``task_command``.

    When it is interrupted, so are the processes, which save their checkpoints, and are waited for.
    """
    (sweep.folder / LOGS).mkdir(exist_ok=True)
    waiting, workers, slots = list(tasks), [], list(range(jobs))
    try:
        while waiting or workers:
            while waiting and slots:
                workers.append(_start(sweep, waiting.pop(0), slots.pop(0), jobs, program))
            time.sleep(0.05)
            for worker in [worker for worker in workers if worker.process.poll() is not None]:
                workers.remove(worker)
                slots.append(worker.slot)
                report(worker.task, _status(sweep, worker), time.monotonic() - worker.began)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.wait()


def _start(sweep: Sweep, task: SweepTask, slot: int, jobs: int, program: Sequence[str]) -> _Worker:
    command = task_command(sweep, task, program)
    with _log(sweep, task).open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | _device(slot, jobs)
        )
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = max(1, len(cores) // jobs)
        first = slot * share % len(cores)
        os.sched_setaffinity(process.pid, cores[first : first + share])  # its threads, yet to be made, inherit it
    return _Worker(task, process, slot, time.monotonic())


def _device(slot: int, jobs: int) -> dict[str, str]:
    """Of several GPUs that are named to this process, a worker's own; of one, a share of its memory."""
    devices = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    sharing = -(-jobs // max(1, len(devices)))
    chosen = {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {}
    if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        chosen["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / sharing:.3f}"
    return chosen


def _status(sweep: Sweep, worker: _Worker) -> Status:
    """How far a task is whose process has ended; one that died without a word is noted as failed."""
    status, code, log = status_of(worker.task), worker.process.returncode, _log(sweep, worker.task)
    if code in ENDED or status.state not in (TaskState.BEGUN, TaskState.MISSING):
        return status
    note_failure(worker.task, death(code) if code < 0 else f"exit code {code}: {last_line(log)} ({log})")
    return status_of(worker.task)


def _log(sweep: Sweep, task: SweepTask) -> Path:
    return sweep.folder / LOGS / f"{task.name}.log"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
