"""Adam over the training windows, an epoch at a time.

A step runs the windows of all sites as columns (one batch per group of sites with one clock), takes each site's loss
and its gradient by that site's unknowns, and gives it to the learner: all of it in one compiled function. A gradient
treats the windows' start states as given, so it holds what parameters do *within* a window. Every ``refresh_every``
epochs a forward run of the record with the current parameters renews these states.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdpl.runs.rows import EpochRow
from mdpl.scores.losses import prior_penalty
from mdpl.towers.intervals import interval_means
from mdpl.training.batches import epoch_batches, steps_per_epoch
from mdpl.training.gradient import losses_and_gradient, mode_of
from mdpl.training.learners import Learner, make_learner, schedule_of
from mdpl.training.problem import Batch, Problem
from mdpl.training.record import RecordRuns
from mdpl.training.state import TrainingState
from mdpl.training.stops import Attempt, non_finite_error


class AdamEpochs:
    """Passes over the training windows (an ``Optimiser``)."""

    def __init__(self, problem: Problem, runs: RecordRuns, learner: Learner | None = None):
        """Args: ``learner``: where unknowns come from; None: the one that the config names."""
        self.problem, self._runs = problem, runs
        config = problem.config
        self._steps = steps_per_epoch(problem.tasks, config.windows_per_step)
        self._schedule = schedule_of(config, self._steps)
        self.learner: Learner = learner or make_learner(config, problem.groups, problem.layout, self._schedule)
        self.traces = 0
        self.step = jax.jit(self._training_step)
        self.unknowns = jax.jit(self.learner.unknowns)

    def initial(self) -> tuple[Any, Any]:
        """(weights, moments) of the learner."""
        return self.learner.initial()

    def refreshes(self, epoch: int) -> bool:
        """Every ``refresh_every`` epochs and after the last."""
        config = self.problem.config
        return epoch % config.refresh_every == 0 or epoch == config.epochs

    def epoch(self, now: TrainingState) -> TrainingState:
        """One pass over the training windows; a refresh where one is due."""
        problem, epoch, weights, moments = self.problem, now.epoch + 1, now.weights, now.moments
        rng = np.random.default_rng()
        rng.bit_generator.state = now.draws
        losses, norms = [], []
        for columns in epoch_batches(problem.tasks, problem.config.windows_per_step, rng):
            every = zip(problem.tasks, columns, now.states, strict=True)
            batches = [task.batch(of_group, states) for task, of_group, states in every]
            previous = weights
            weights, moments, loss, gradient, norm = self.step(previous, moments, batches)
            loss, gradient = np.asarray(loss), np.asarray(gradient)
            if not (np.isfinite(loss).all() and np.isfinite(gradient).all()):
                unknowns = np.asarray(self.unknowns(previous))
                raise non_finite_error(problem, Attempt(epoch, loss, gradient, unknowns, now.states, columns))
            losses.append(loss)
            norms.append(np.asarray(norm))
        draws = dict(rng.bit_generator.state)
        now = dataclasses.replace(now, epoch=epoch, weights=weights, moments=moments, draws=draws)
        record = validation = None
        if self.refreshes(epoch):
            now, record, validation = self._refreshed(now)
        rows = self._rows(epoch, np.mean(losses, axis=0), np.max(norms, axis=0), record, validation)
        return dataclasses.replace(now, rows=[*now.rows, *rows])

    def _refreshed(self, now: TrainingState) -> tuple[TrainingState, np.ndarray, np.ndarray | None]:
        """The state after a run of the record, which judges the weights, and the losses of that run."""
        unknowns = np.asarray(self.unknowns(now.weights))
        params = self.problem.all_parameters(unknowns)
        starts = self._runs.followed(params, now.starts)
        run = self._runs(params, starts, now.epoch, unknowns)
        now = dataclasses.replace(now, starts=starts, states=run.states)
        return now.better(unknowns, run.judged, self.learner.per_site), run.train, run.validation

    def _rows(self, epoch: int, loss, norm, record, validation) -> list[EpochRow]:
        rate = float(np.asarray(self._schedule(epoch * self._steps - 1)))
        clip_norm = self.problem.config.clip_norm
        return [
            EpochRow(
                epoch=epoch,
                site=label,
                loss=float(loss[s]),
                record_loss=None if record is None else float(record[s]),
                gradient_norm=float(norm[s]),
                clipped=bool(norm[s] > clip_norm),
                learning_rate=rate,
                validation_loss=None if validation is None else float(validation[s]),
            )
            for s, label in enumerate(self.problem.labels)
        ]

    def _training_step(self, weights: Any, moments: Any, batches: list[Batch]):
        """(weights, moments, losses, gradient by unknowns, its norms) of one step."""
        self.traces += 1
        problem, config = self.problem, self.problem.config
        unknowns, pullback = jax.vjp(self.learner.unknowns, weights)
        mode = mode_of(config.gradient, unknowns, sum(batch.sites.size for batch in batches))
        simulate = problem.path.differentiated(mode)

        def losses_of(unknowns: Float[Array, "sites unknowns"]) -> Float[Array, "sites"]:
            losses = []
            for task, (params, forcing, site, state, targets, sites) in zip(problem.tasks, batches, strict=True):
                of_group, group = unknowns[task.rows], task.group
                full = problem.layout.insert(params, task.space, of_group[sites], sites, forcing)
                outputs, _ = simulate(full, forcing, site, state, fields=tuple(targets))
                model = {f: interval_means(getattr(outputs, f), group.ratio, group.offset) for f in targets}
                losses.append(problem.losses(len(group.towers), model, targets, sites))
            return jnp.concatenate(losses) + config.prior * prior_penalty(unknowns, problem.active)

        losses, gradient = losses_and_gradient(losses_of, unknowns, mode)
        weights, moments, norms = self.learner.update(weights, moments, gradient, pullback)
        return weights, moments, losses, gradient, norms
