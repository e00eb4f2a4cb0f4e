"""Which windows an optimiser step sees: drawn without replacement, every batch of the same shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mdpl.training.problem import Task
from mdpl.training.windows import Columns


def steps_per_epoch(tasks: list[Task], windows_per_step: int) -> int:
    """Steps in which every window of the site with most windows comes once; 1 where a step takes all windows (0)."""
    if windows_per_step == 0:
        return 1
    most = max(int(np.bincount(task.columns.site).max()) for task in tasks)
    return -(-most // windows_per_step)


def epoch_batches(tasks: list[Task], windows_per_step: int, rng: np.random.Generator) -> Iterator[list[Columns]]:
    """The batches of an epoch (columns per group); all have the same shape, so nothing recompiles."""
    if windows_per_step == 0:
        yield [task.columns for task in tasks]
        return
    steps = steps_per_epoch(tasks, windows_per_step)
    orders = [[_order(task, s, steps, windows_per_step, rng) for s in range(len(task.group.towers))] for task in tasks]
    for step in range(steps):
        yield [
            Columns(
                np.concatenate([np.full(order.shape[1], s) for s, order in enumerate(of_group)]),
                np.concatenate([order[step] for order in of_group]),
            )
            for of_group in orders
        ]


def _order(task: Task, s: int, steps: int, windows_per_step: int, rng: np.random.Generator) -> np.ndarray:
    windows = rng.permutation(task.columns.window[task.columns.site == s])
    return np.resize(windows, (steps, min(windows_per_step, windows.size)))
