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

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mdpl.scores.losses import prior_penalty
from mdpl.training.jacobian import Numbers, WindowJacobian
from mdpl.unknowns.search_space import SearchSpace
from mdpl.unknowns.time_varying import Layout

if TYPE_CHECKING:
    from mdpl.training.trainer import Trainer

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
    """Normal equations of a trainer's groups, and what one iteration does with them."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.jacobians = [
            WindowJacobian(trainer.path, task, _unknowns_of(trainer.layout, task.space)) for task in trainer.tasks
        ]
        """one per group of sites"""

    # ---- the equations -------------------------------------------------------------------------------

    def equations(
        self, differentiated: WindowJacobian, unknowns: Float[np.ndarray, "sites unknowns"], states: list
    ) -> Equations:
        """Gradient and curvature of each site's loss over its training windows (one of ``jacobians``)."""
        config, task = self.trainer.config, differentiated.task
        group = task.group
        means, jacobian = differentiated(unknowns, states)
        targets, sites = group.targets(task.columns), jnp.asarray(task.columns.site)
        count = len(group.towers)

        def summed(means):
            return self.trainer.losses(count, means, targets, sites).sum()

        slopes = jax.grad(summed)({flux: jnp.asarray(values) for flux, values in means.items()})
        active = self.trainer.active[task.rows]
        of_prior = jax.grad(lambda u: config.prior * prior_penalty(u, active).sum())(jnp.asarray(unknowns))
        gradient = np.asarray(of_prior, np.float64)
        size = self.trainer.layout.size
        curvature = np.zeros((count, size, size))
        total_weight = sum(config.loss.values()) / sum(config.fluxes.values())
        for flux, share in config.fluxes.items():
            weight = np.asarray(targets[flux].weight, np.float64)
            scored = np.bincount(task.columns.site, weights=weight.sum(axis=0), minlength=count)
            for column, s in enumerate(task.columns.site):
                own = jacobian[flux][:, column].astype(np.float64)
                gradient[s] += own.T @ np.asarray(slopes[flux][:, column], np.float64)
                second = (
                    2.0 * share * total_weight * weight[:, column] / (scored[s] * float(targets[flux].sigma[s]) ** 2)
                )
                curvature[s] += (own * second[:, None]).T @ own
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
            own = curvature[np.ix_(use, use)]
            # what hardly matters is damped as if it mattered a millionth of what matters most
            own = own + damping[s] * np.diag(np.maximum(diagonal[use], 1e-6 * diagonal.max()))
            steps[s, use] = -np.linalg.solve(own, gradient[use])
        return np.clip(steps, -LONGEST, LONGEST)

    # ---- one iteration -------------------------------------------------------------------------------

    def first(self) -> Float[np.ndarray, "sites"]:
        """Damping of the first iteration."""
        return np.full(len(self.trainer.labels), FIRST_DAMPING)

    def iterate(
        self, weights: np.ndarray, damping: np.ndarray, states: list[list]
    ) -> tuple[Float[np.ndarray, "sites unknowns"], Float[np.ndarray, "sites unknowns"]]:
        """(unknowns to try, gradient) of all sites."""
        trial, gradient = np.array(weights), np.zeros(weights.shape)
        for differentiated, own_states in zip(self.jacobians, states, strict=True):
            rows = differentiated.task.rows
            equations = self.equations(differentiated, weights[rows], own_states)
            trial[rows] += self.step(equations, self.trainer.active[rows], damping[rows])
            gradient[rows] = equations.gradient
        return trial, gradient

    def judge(self, damping: np.ndarray, current: np.ndarray, tried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(which sites keep their step, their next damping), from the losses of the record before and after."""
        better = tried < current
        return better, np.clip(damping * np.where(better, SHRINK, GROW), SMALLEST_DAMPING, LARGEST_DAMPING)


def _unknowns_of(layout: Layout, space: SearchSpace) -> Numbers:
    def insert(params, unknowns, sites, forcing):
        return layout.insert(params, space, unknowns, sites, forcing)

    return Numbers(layout.size, insert, partial(layout.directions, space))


def kept(better: np.ndarray, new: Any, old: Any) -> Any:
    """Pytrees that end in the site axis: the new one where a step is kept."""
    return jax.tree.map(lambda a, b: jnp.where(better, a, b) if jnp.ndim(a) else a, new, old)
