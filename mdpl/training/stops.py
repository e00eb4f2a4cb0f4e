"""When a loss or gradient stops being finite: where, when, and with which parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdpl.training.runner import Given, Runner
from mdpl.training.windows import Columns


class NonFiniteError(ArithmeticError):
    """A loss or gradient stopped being finite; ``details`` says where and with which parameters."""

    def __init__(self, message: str, details: dict):
        super().__init__(message)
        self.details = details


def non_finite_error(
    runner: Runner,
    params: Given,
    states: list,
    columns: Columns,
    s: int,
    *,
    epoch: int,
    loss: float,
    named_values: Callable[[], dict[str, float]],
    bad_unknowns: list[str],
) -> NonFiniteError:
    """The error for site ``s`` of a group, after its windows were run again to find the first bad step.

    Args:
        runner, params, states, columns: the group's runs, parameters then, windows' start states and batch.
        named_values: the site's parameter values by key.
        bad_unknowns: names of the unknowns whose gradient is not finite.
    """
    group = runner.group
    label = group.labels[s]
    when, flux = _first_non_finite(runner, params, states, columns, s)
    if when:
        place = f"{flux} is not finite from {when}"
    else:
        windows = columns.window[columns.site == s].tolist()
        starts = ", ".join(str(group.window_start_time(window, s)) for window in windows)
        place = f"the run is finite, the gradient is not (windows from {starts}; by {', '.join(bad_unknowns)})"
    parameters = named_values()
    named = ", ".join(f"{key.split('.')[1]}={value:.4g}" for key, value in parameters.items())
    return NonFiniteError(
        f"site {label}, epoch {epoch}: loss {loss:g}: {place}; parameters {named}",
        {"site": label, "epoch": epoch, "time": when, "flux": flux, "parameters": parameters,
         "bad_gradients": bad_unknowns},
    )  # fmt: skip


def _first_non_finite(runner: Runner, params: Given, states: list, columns: Columns, s: int):
    group = runner.group
    for window in sorted(set(columns.window[columns.site == s].tolist())):
        outputs, _ = runner.window(params, window, states[window])
        for flux in group.observed:
            broken = ~np.isfinite(np.asarray(getattr(outputs, flux))[:, s])
            if broken.any():
                seconds = int(np.argmax(broken)) * int(group.dt[s])
                return str(group.window_start_time(window, s) + np.timedelta64(seconds, "s")), flux
    return None, None
