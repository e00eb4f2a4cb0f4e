"""Tasks as a Slurm array, by submitit; one that loses its machine is requeued and goes on from its checkpoint.

Importing this imports neither jax nor submitit: a job of the array starts the task as a process of its own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jlsm.errors import InputError

RESTARTS = 100
"""so often a task that ran into its time limit goes on"""
ENDED = (0, 130, 143, -signal.SIGINT, -signal.SIGTERM)
"""exit codes of a task that is done or was asked to stop"""
NOTICE = 120
"""s before the time limit, in which a task saves its checkpoint"""
SLURM_OPTIONS: dict[str, tuple[type, str]] = {
    "partition": (str, "slurm_partition"),
    "account": (str, "slurm_account"),
    "qos": (str, "slurm_qos"),
    "constraint": (str, "slurm_constraint"),
    "time": (str, "timeout_min"),
    "cpus": (int, "cpus_per_task"),
    "gpus": (int, "gpus_per_node"),
    "mem": (str, "slurm_mem"),
    "parallel": (int, "slurm_array_parallelism"),
    "setup": (list, "slurm_setup"),
}
"""key of [slurm] -> its type, and submitit's name"""
DEFAULTS = {"time": "4:00:00"}
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>\d\d)(?::(?P<seconds>\d\d))?")


def slurm_options(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The options of [slurm] or the command line, checked. Raises InputError: unknown key, wrong type or form."""
    words = {str: "a text", int: "a whole number of 1 or more", list: "a list of shell commands"}
    for key, value in values.items():
        if key not in SLURM_OPTIONS:
            raise InputError(f"{where}: slurm: unknown key {key!r}: use some of {', '.join(SLURM_OPTIONS)}")
        kind, _ = SLURM_OPTIONS[key]
        right = isinstance(value, kind) and not isinstance(value, bool)
        if isinstance(value, list):
            right = right and all(isinstance(line, str) for line in value)
        elif isinstance(value, int):
            right = right and value >= 1
        if not right:
            raise InputError(f"{where}: slurm: {key} = {value!r}: must be {words[kind]}")
    if "time" in values:
        minutes(values["time"], where)
    return values


def minutes(text: str, where: str = "--time") -> int:
    """Minutes of a time as Slurm writes it: ``90``, ``1:30:00``, ``2-00:00:00``. Raises InputError."""
    match = _TIME.fullmatch(text)
    if text.isdigit() and int(text):
        return int(text)
    if match is None:
        raise InputError(f"{where}: slurm: time = {text!r}: write minutes (90), H:MM:SS (1:30:00) or D-HH:MM:SS")
    days, hours, rest, seconds = (int(match[part] or 0) for part in ("days", "hours", "minutes", "seconds"))
    return max(1, (days * 24 + hours) * 60 + rest + (seconds > 0))


@dataclass
class Job:
    """What a job of the array runs: the command of one task, in a process of its own that can be asked to stop."""

    command: tuple[str, ...]
    failure: Path | None = None
    """where a line goes if its process dies without a word"""
    process: subprocess.Popen | None = field(default=None, repr=False)

    def __call__(self) -> None:
        """Run to the end. Raises RuntimeError: exit code other than 0."""
        # Slurm sends its notice to all processes of a job; this one answers, by SIGTERM to that one
        ignore = partial(signal.signal, signal.SIGUSR2, signal.SIG_IGN)
        self.process = subprocess.Popen(self.command, preexec_fn=ignore)
        _await_end(self.process)
        code = self.process.wait()
        if code < 0 and code not in ENDED and self.failure is not None:
            from mdpl.files import write_text

            self.failure.parent.mkdir(exist_ok=True)
            write_text(self.failure, death(code) + "\n")
        if code:
            raise RuntimeError(f"exit code {code}: {' '.join(self.command)}")

    def checkpoint(self) -> Any:
        """Called by submitit before a time limit or preemption: the task saves its checkpoint, the job is requeued."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.terminate()
            _await_end(self.process)
        return DelayedSubmission(Job(self.command, self.failure))


def _await_end(process: subprocess.Popen) -> None:
    """Wait for a process to end, in a signal's handler too: there ``Popen.wait`` would wait for its own lock."""
    with suppress(ChildProcessError):  # it is gone
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def death(code: int) -> str:
    """What to say of a process that died of a signal."""
    name = signal.Signals(-code).name
    return f"its process died of {name} (9 may be too little memory): it goes on from its checkpoint when run again"


def submit(jobs: Iterable[Job], folder: Path, options: dict[str, Any], cluster: str = "slurm") -> list[Any]:
    """Submit the jobs of one array.

    Args:
        jobs: one for each task.
        folder: for scripts and logs; made if it is not there.
        options: see ``SLURM_OPTIONS``.
        cluster: ``slurm``, or ``local`` to run them as processes of this machine.

    Returns:
        submitit's jobs.

    Raises:
        InputError: no submitit, no Slurm, or Slurm refuses the job.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError as error:
        raise InputError("--slurm needs submitit: pip install 'jlsm-mdpl[slurm]'") from error
    values = {SLURM_OPTIONS[key][1]: value for key, value in (DEFAULTS | options).items()}
    values["timeout_min"] = minutes(values["timeout_min"])
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=RESTARTS)
        executor.update_parameters(
            name="mdpl-sweep",
            slurm_signal_delay_s=NOTICE,
            slurm_additional_parameters={"requeue": True},
            **values,
        )
        with executor.batch():  # one array
            return [executor.submit(job) for job in jobs]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise InputError(f"--slurm: Slurm refuses the jobs: {_reason(error)}") from error
    except RuntimeError as error:
        raise InputError(
            f"--slurm: no Slurm here ({error}): use --jobs N on this machine, or --task in another scheduler's array"
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("sbatch:", "srun:"))]
    return " ".join(told or lines[-1:])[:300]
