"""When a loss or gradient stops being finite: where, when, and with which parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mdpl.model_paths import PathState
from mdpl.training.problem import Problem, Task
from mdpl.training.runner import RunParameters
from mdpl.training.windows import Columns


class NonFiniteError(FloatingPointError):
    """A loss or gradient stopped being finite; ``details`` says where and with which parameters."""

    def __init__(self, message: str, details: dict):
        super().__init__(message)
        self.details = details


class Attempt(NamedTuple):
    """What was tried when it happened."""

    epoch: int
    losses: Float[np.ndarray, "sites"]
    gradient: Float[np.ndarray, "sites unknowns"]
    unknowns: Float[np.ndarray, "sites unknowns"]
    states: list[list[PathState]]
    """at the starts of the windows, per group"""
    columns: list[Columns]
    """the windows that ran, per group"""


def non_finite_error(problem: Problem, attempt: Attempt) -> NonFiniteError:
    """The error for the first site concerned, after its windows were run again to find the first bad step."""
    bad = ~(np.isfinite(attempt.losses) & np.isfinite(attempt.gradient).all(axis=1))
    row = int(np.argmax(bad))
    which = next(i for i, task in enumerate(problem.tasks) if row < task.rows.stop)
    task, states, columns = problem.tasks[which], attempt.states[which], attempt.columns[which]
    group, s, loss = task.group, row - task.rows.start, float(attempt.losses[row])
    windows = sorted(set(columns.window[columns.site == s].tolist()))
    when, flux = _first_non_finite(task, problem.parameters(task, attempt.unknowns), states, windows, s)
    slopes = zip(problem.layout.names, attempt.gradient[row], strict=True)
    bad_gradients = [name for name, slope in slopes if not np.isfinite(slope)]
    if when:
        place = f"{flux} is not finite from {when}"
    else:
        starts = ", ".join(str(group.window_start_time(window, s)) for window in windows)
        place = f"the run is finite, the gradient is not (windows from {starts}; by {', '.join(bad_gradients)})"
    values = dict(zip(problem.layout.keys, problem.mean_values(attempt.unknowns)[row].tolist(), strict=True))
    words = ", ".join(f"{key.split('.')[1]}={value:.4g}" for key, value in values.items())
    label = group.labels[s]
    return NonFiniteError(
        f"site {label}, epoch {attempt.epoch}: loss {loss:g}: {place}; parameters {words}",
        {"site": label, "epoch": attempt.epoch, "time": when, "flux": flux, "parameters": values,
         "bad_gradients": bad_gradients},
    )  # fmt: skip


def _first_non_finite(
    task: Task, params: RunParameters, states: list[PathState], windows: list[int], s: int
) -> tuple[str | None, str | None]:
    """(time, flux) of the first step of a site's windows that is not finite; (None, None) where all are."""
    group = task.group
    for window in windows:
        outputs, _ = task.runner.window(params, window, states[window])
        for flux in group.observed:
            broken = ~np.isfinite(np.asarray(getattr(outputs, flux))[:, s])
            if broken.any():
                seconds = int(np.argmax(broken)) * int(group.dt[s])
                return str(group.window_start_time(window, s) + np.timedelta64(seconds, "s")), flux
    return None, None
