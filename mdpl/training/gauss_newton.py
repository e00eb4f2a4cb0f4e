"""Second-order calibration of single sites: the Gauss-Newton method with Levenberg's and Marquardt's damping.

An epoch is one iteration. The Jacobian J of all training flux means by a site's unknowns comes from
``mdpl.training.jacobian``. With ``g`` the exact gradient of whatever loss the config names, and ``H = J^T W J``, where
``W`` is the second derivative of the squared error over sigma_obs squared, times the total weight, the step solves

    (H + damping * diag(H)) step = -g        (Levenberg 1944; Marquardt 1963, doi:10.1137/0111030).

Then the record runs with the new unknowns. Each site keeps its step if the loss of *its* continuous record fell, and
its damping shrinks; else it stays, and its damping grows. The record starts from the spun-up state of the default and
one more pass over its first year, as in ``mdpl.baselines``: one function of the parameters judges all trials. As in
all training here the start state of a window counts as given while differentiating; what is accepted is judged by the
record itself.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdpl.model_paths import PathState
from mdpl.runs.rows import EpochRow
from mdpl.scores.losses import prior_penalty
from mdpl.training.jacobian import ColumnNumbers, WindowJacobian
from mdpl.training.problem import Problem
from mdpl.training.record import RecordRun, RecordRuns
from mdpl.training.state import TrainingState
from mdpl.training.stops import Attempt, non_finite_error
from mdpl.unknowns.search_space import SearchSpace
from mdpl.unknowns.time_varying import UnknownsLayout

FIRST_DAMPING, SMALLEST_DAMPING, LARGEST_DAMPING = 2.0**-7, 2.0**-20, 2.0**27
SHRINK, GROW = 0.25, 8.0
"""all powers of two: a checkpoint in single precision holds them exactly"""
LONGEST = 2.0
"""longest change of one unknown in one step (on the sigmoid's scale 2 leads from the middle to 88 % of the range)"""


class Equations(NamedTuple):
    """The normal equations of one group."""

    gradient: Float[np.ndarray, "sites unknowns"]
    curvature: Float[np.ndarray, "sites unknowns unknowns"]


class GaussNewton:
    """Damped Gauss-Newton iterations of single sites (an ``Optimiser``): weights are unknowns, moments the damping."""

    traces = 0

    def __init__(self, problem: Problem, runs: RecordRuns):
        self.problem, self._runs = problem, runs
        self.jacobians = [
            WindowJacobian(problem.path, task, _unknowns_of(problem.layout, task.space)) for task in problem.tasks
        ]
        """one per group of sites"""

    def initial(self) -> tuple[Float[Array, "sites unknowns"], Float[np.ndarray, "sites"]]:
        """(unknowns, damping) before the first iteration."""
        sites = len(self.problem.labels)
        dtype = np.result_type(*(group.series["Tair"] for group in self.problem.groups))
        return jnp.zeros((sites, self.problem.layout.size), dtype), np.full(sites, FIRST_DAMPING)

    def unknowns(self, weights: Float[Any, "sites unknowns"]) -> Float[Any, "sites unknowns"]:
        """The weights themselves."""
        return weights

    def refreshes(self, epoch: int) -> bool:
        """After every iteration."""
        return True

    # ---- the equations -------------------------------------------------------------------------------

    def equations(
        self, jacobian_of: WindowJacobian, unknowns: Float[np.ndarray, "sites unknowns"], states: list[PathState]
    ) -> Equations:
        """Gradient and curvature of each site's loss over its training windows (by one of ``jacobians``)."""
        problem, task = self.problem, jacobian_of.task
        config, group = problem.config, task.group
        means, jacobian = jacobian_of(unknowns, states)
        targets, sites = group.targets(task.columns), jnp.asarray(task.columns.site)
        count = len(group.towers)

        def summed(means):
            return problem.losses(count, means, targets, sites).sum()

        slopes = jax.grad(summed)({flux: jnp.asarray(values) for flux, values in means.items()})
        active = problem.active[task.rows]
        of_prior = jax.grad(lambda u: config.prior * prior_penalty(u, active).sum())(jnp.asarray(unknowns))
        gradient = np.asarray(of_prior, np.float64)
        size = problem.layout.size
        curvature = np.zeros((count, size, size))
        total_weight = sum(config.loss.values()) / sum(config.fluxes.values())
        for flux, share in config.fluxes.items():
            weight = np.asarray(targets[flux].weight, np.float64)
            scored = np.bincount(task.columns.site, weights=weight.sum(axis=0), minlength=count)
            for column, s in enumerate(task.columns.site):
                rows = jacobian[flux][:, column].astype(np.float64)
                gradient[s] += rows.T @ np.asarray(slopes[flux][:, column], np.float64)
                second = (
                    2.0 * share * total_weight * weight[:, column] / (scored[s] * float(targets[flux].sigma[s]) ** 2)
                )
                curvature[s] += (rows * second[:, None]).T @ rows
        number = np.maximum(active.sum(axis=1), 1)
        curvature += np.einsum("su,uv->suv", 2.0 * config.prior * active / number[:, None], np.eye(size))
        return Equations(gradient, curvature)

    def step(
        self, equations: Equations, active: np.ndarray, damping: np.ndarray
    ) -> Float[np.ndarray, "sites unknowns"]:
        """The damped step of each site; unknowns that are not active, or that nothing depends on, stay."""
        steps = np.zeros_like(equations.gradient)
        for s, (gradient, curvature) in enumerate(zip(*equations, strict=True)):
            diagonal = np.diag(curvature)
            use = active[s] & (diagonal > 0)
            if not use.any():
                continue
            # what hardly matters is damped as if it mattered a millionth of what matters most
            damped = damping[s] * np.diag(np.maximum(diagonal[use], 1e-6 * diagonal.max()))
            steps[s, use] = -np.linalg.solve(curvature[np.ix_(use, use)] + damped, gradient[use])
        return np.clip(steps, -LONGEST, LONGEST)

    # ---- one iteration -------------------------------------------------------------------------------

    def trial(
        self, unknowns: np.ndarray, damping: np.ndarray, states: list[list[PathState]]
    ) -> tuple[Float[np.ndarray, "sites unknowns"], Float[np.ndarray, "sites unknowns"]]:
        """(unknowns to try, gradient) of all sites."""
        tried, gradient = np.array(unknowns), np.zeros(unknowns.shape)
        for jacobian_of, group_states in zip(self.jacobians, states, strict=True):
            rows = jacobian_of.task.rows
            equations = self.equations(jacobian_of, unknowns[rows], group_states)
            tried[rows] += self.step(equations, self.problem.active[rows], damping[rows])
            gradient[rows] = equations.gradient
        return tried, gradient

    def judge(self, damping: np.ndarray, current: np.ndarray, tried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(which sites take their step, their next damping), from the losses of the record before and after."""
        better = tried < current
        return better, np.clip(damping * np.where(better, SHRINK, GROW), SMALLEST_DAMPING, LARGEST_DAMPING)

    def epoch(self, now: TrainingState) -> TrainingState:
        """One iteration: a step, and a run of the record that judges it."""
        problem, epoch = self.problem, now.epoch + 1
        unknowns, damping = np.asarray(now.weights), np.asarray(now.moments)
        current = np.array([row.loss for row in now.rows[-len(problem.labels) :]])
        tried, gradient = self.trial(unknowns, damping, now.states)
        if not np.isfinite(gradient).all():
            columns = [task.columns for task in problem.tasks]
            raise non_finite_error(problem, Attempt(epoch, current, gradient, unknowns, now.states, columns))
        params = problem.all_parameters(tried)
        # always from the default's spun-up state: every trial is judged by the same function
        run = self._runs(params, self._runs.followed(params, now.starts), epoch, tried)
        better, damping = self.judge(damping, current, run.train)
        by_group = [better[task.rows] for task in problem.tasks]
        states = [
            [where_better(sites, *pair) for pair in zip(new, old, strict=True)]
            for sites, new, old in zip(by_group, run.states, now.states, strict=True)
        ]
        weights = jnp.asarray(np.where(better[:, None], tried, unknowns))
        now = dataclasses.replace(now, epoch=epoch, weights=weights, moments=damping, states=states)
        now = now.better(tried, run.judged, per_site=True)
        rows = self._rows(epoch, np.where(better, run.train, current), np.linalg.norm(gradient, axis=1), run)
        return dataclasses.replace(now, rows=[*now.rows, *rows])

    def _rows(self, epoch: int, losses: np.ndarray, norms: np.ndarray, run: RecordRun) -> list[EpochRow]:
        return [
            EpochRow(
                epoch=epoch,
                site=label,
                loss=float(losses[s]),
                record_loss=float(run.train[s]),
                gradient_norm=float(norms[s]),
                clipped=False,
                learning_rate=0.0,
                validation_loss=None if run.validation is None else float(run.validation[s]),
            )
            for s, label in enumerate(self.problem.labels)
        ]


def _unknowns_of(layout: UnknownsLayout, space: SearchSpace) -> ColumnNumbers:
    def insert(params, unknowns, sites, forcing):
        return layout.insert(params, space, unknowns, sites, forcing)

    return ColumnNumbers(layout.size, insert, partial(layout.directions, space))


def where_better(better: np.ndarray, new: Any, old: Any) -> Any:
    """Pytrees that end in the site axis: the new one at the sites that are better with it."""
    return jax.tree.map(lambda a, b: jnp.where(better, a, b) if jnp.ndim(a) else a, new, old)
