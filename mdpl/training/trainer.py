"""The training loop: epochs of an optimiser, the best parameters chosen by the record, checkpoints in between.

Epoch 0 is the default model, exactly, unless other weights are given. The parameters with the lowest loss of the
continuous record on the validation years (without such: on the training years), the default included, are the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdpl.runs.rows import EpochRow
from mdpl.training.adam import AdamEpochs
from mdpl.training.checkpoints import Checkpoints
from mdpl.training.gauss_newton import GaussNewton
from mdpl.training.optimisers import Optimiser
from mdpl.training.problem import Problem
from mdpl.training.record import RecordRuns
from mdpl.training.resume import restore_checkpoint, save_checkpoint
from mdpl.training.state import Trained, TrainingState

SAVE_EVERY = 60.0
"""seconds after which an epoch is saved even without a refresh"""
OPTIMISERS: dict[str, Callable[[Problem, RecordRuns], Optimiser]] = {"adam": AdamEpochs, "gauss-newton": GaussNewton}
"""by the name a config uses"""
EpochReport = Callable[[int, dict[str, float]], None]
"""called with the epoch and the losses by site"""


class Trainer:
    """Fits the parameters of a problem's sites."""

    def __init__(self, problem: Problem, optimiser: Callable[[Problem, RecordRuns], Optimiser] | None = None):
        """Args: ``optimiser``: makes one for the problem; None: that of ``OPTIMISERS`` which the config names."""
        self.problem = problem
        self.runs = RecordRuns(problem)
        self.optimiser: Optimiser = (optimiser or OPTIMISERS[problem.config.optimiser])(problem, self.runs)

    def train(
        self,
        on_epoch: EpochReport = lambda epoch, losses: None,
        checkpoints: Checkpoints | None = None,
        resume: bool = False,
        start: Any = None,
    ) -> Trained:
        """Run all epochs.

        Args:
            on_epoch: called after each.
            checkpoints: where to save, at every refresh, once a minute, and when interrupted.
            resume: go on from the newest checkpoint; from the beginning where there is none.
            start: weights of the optimiser to begin with (another path's ``Trained.weights``), which epoch 0 then
                scores; None: those of the default parameters.

        Raises:
            NonFiniteError: at the first loss or gradient that is not finite.
            InputError: a checkpoint of other settings or data, or that cannot be read or written.
        """
        checkpoint = checkpoints.latest() if resume and checkpoints is not None else None
        if checkpoint is None:
            now, saved = self._begin(start), None
        else:
            now = restore_checkpoint(self.problem, self.optimiser, *checkpoint)
            saved = now.epoch
        saved_at = time.monotonic()
        try:
            self._report(now, on_epoch)
            while not self._ended(now):
                now = self.optimiser.epoch(now)
                due = self.optimiser.refreshes(now.epoch) or time.monotonic() > saved_at + SAVE_EVERY
                if checkpoints is not None and due:
                    save_checkpoint(checkpoints, self.problem, now)
                    saved, saved_at = now.epoch, time.monotonic()
                self._report(now, on_epoch)
        except KeyboardInterrupt:
            if checkpoints is not None and saved != now.epoch:
                save_checkpoint(checkpoints, self.problem, now)
            raise
        return Trained(
            labels=self.problem.labels,
            values=self.problem.mean_values(now.best_unknowns),
            unknowns=now.best_unknowns,
            weights=now.best_weights,
            rows=now.rows,
            best_epoch=now.best_epoch,
            last_epoch=now.epoch,
            traces=self.optimiser.traces,
        )

    def _begin(self, start: Any) -> TrainingState:
        """Epoch 0."""
        problem = self.problem
        weights, moments = self.optimiser.initial()
        params: list = [task.default for task in problem.tasks]
        if start is not None:
            weights = jax.tree.map(jnp.asarray, start)
            params = problem.all_parameters(np.asarray(self.optimiser.unknowns(weights)))
        unknowns = np.asarray(self.optimiser.unknowns(weights))
        starts = [task.runner.spin_up(of_group) for task, of_group in zip(problem.tasks, params, strict=True)]
        run = self.runs(params, starts, 0, unknowns)
        rows = [
            EpochRow(
                epoch=0,
                site=label,
                loss=float(run.train[s]),
                record_loss=float(run.train[s]),
                gradient_norm=0.0,
                clipped=False,
                learning_rate=0.0,
                validation_loss=None if run.validation is None else float(run.validation[s]),
            )
            for s, label in enumerate(problem.labels)
        ]
        return TrainingState(
            epoch=0,
            weights=weights,
            moments=moments,
            starts=starts,
            states=run.states,
            best_unknowns=unknowns,
            best_weights=weights,
            best_loss=run.judged,
            best_epoch=np.zeros(len(problem.labels), int),
            stale=0,
            draws=dict(np.random.default_rng(problem.config.seed).bit_generator.state),
            rows=rows,
        )

    def _ended(self, now: TrainingState) -> bool:
        """After the last epoch, or when the loss has not become better for long."""
        config = self.problem.config
        return now.epoch >= config.epochs or 0 < config.patience <= now.stale

    def _report(self, now: TrainingState, on_epoch: EpochReport) -> None:
        on_epoch(now.epoch, {row.site: row.loss for row in now.rows[-len(self.problem.labels) :]})
