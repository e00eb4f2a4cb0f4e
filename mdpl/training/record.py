"""Forward runs of the record with the parameters of the moment: start states of the windows, and losses that judge.

Every refresh runs each group's record up to the last window that is scored. The loss of this continuous run, not that
of the windows, decides which epoch is kept: on the validation years where there are any, else on the training years.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mdpl.model_paths import PathState
from mdpl.training.problem import Problem
from mdpl.training.runner import RunParameters
from mdpl.training.stops import Attempt, non_finite_error


class RecordRun(NamedTuple):
    """What a run of the record gives."""

    states: list[list[PathState]]
    """at the starts of the windows, per group"""
    train: np.ndarray
    """loss of each site's training years"""
    validation: np.ndarray | None
    """loss of its validation years, None without such"""

    @property
    def judged(self) -> np.ndarray:
        """The loss by which an epoch is chosen."""
        return self.train if self.validation is None else self.validation


class RecordRuns:
    """Runs of all groups' records; the loss is compiled once."""

    def __init__(self, problem: Problem):
        self._problem = problem
        self._losses = jax.jit(problem.losses, static_argnums=0)

    def __call__(
        self, params: list[RunParameters], starts: list[PathState], epoch: int, unknowns: np.ndarray
    ) -> RecordRun:
        """Run the records.

        Args:
            params: of each group.
            starts: states at the starts of the records.
            epoch, unknowns: what the parameters came from, for an error.

        Raises:
            NonFiniteError: a loss that is not finite.
        """
        problem = self._problem
        states, train, validation = [], [], []
        for task, own_params, start in zip(problem.tasks, params, starts, strict=True):
            group = task.group
            group_states, means = task.runner.record(own_params, group.last_training_window() + 1, start)
            states.append(group_states)
            train.append(self._loss(group, task.columns, means, False))
            if problem.config.validation_years:
                validation.append(self._loss(group, group.validation_columns(), means, True))
        run = RecordRun(states, np.concatenate(train), np.concatenate(validation) if validation else None)
        scored = run.train if run.validation is None else run.train + run.validation
        if not np.isfinite(scored).all():
            columns = [task.columns for task in problem.tasks]
            attempt = Attempt(epoch, scored, np.zeros_like(unknowns), unknowns, states, columns)
            raise non_finite_error(problem, attempt)
        return run

    def _loss(self, group, columns, means, validation: bool) -> np.ndarray:
        model = {flux: jnp.asarray(m[columns.window, :, columns.site].T) for flux, m in means.items()}
        targets = group.targets(columns, validation)
        return np.asarray(self._losses(len(group.towers), model, targets, jnp.asarray(columns.site)))

    def followed(self, params: list[RunParameters], starts: list[PathState]) -> list[PathState]:
        """The states at the starts of the records after another year: deep soil follows the parameters."""
        return [task.runner.year(*pair) for task, *pair in zip(self._problem.tasks, params, starts, strict=True)]
