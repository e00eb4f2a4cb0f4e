"""Which parameters the observations can tell: Fisher information of the loss, by exact derivatives of the model.

The flux means over the observed intervals are differentiated with respect to every searched parameter, measured in
shares of its range: the columns of a batch are windows times parameters, each with its own tangent, in one
forward-mode run. With independent errors of standard deviation sigma the information is ``J^T J / sigma^2``; its
inverse, with a flat prior over the range added, holds the variances that a best possible estimate has (Cramer-Rao).
A parameter whose standard deviation stays near the prior's is not seen by the observations at all.

As in training, the state at the start of a window counts as given: what a parameter did to the soil before is not
counted, so slow parameters (root depth) look less certain than a whole record would make them.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mdpl.intervals import interval_means
from mdpl.paths import Path as ModelPath
from mdpl.training_state import Task
from mdpl.windows import Columns, at_columns, start_states

PRIOR = 12.0**-0.5
"""standard deviation of a flat distribution over the range, in shares of it"""
IDENTIFIABLE = 0.05
"""standard deviation up to which a parameter counts as identifiable: 95 % within a tenth of the range"""


class Information(NamedTuple):
    """What a group's training observations tell about its parameters."""

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    fisher: Float[np.ndarray, "sites n n"]
    """Fisher information by shares of the range"""
    active: np.ndarray
    """``[sites, n]``: False where a site does not have the parameter"""

    def deviations(self) -> Float[np.ndarray, "sites n"]:
        """Standard deviation of the best estimate, in shares of the range; at most the prior's."""
        whole = self.fisher + np.eye(len(self.keys)) / PRIOR**2
        return np.sqrt(np.stack([np.diag(np.linalg.inv(own)) for own in whole]))

    def identifiable(self) -> np.ndarray:
        """``[sites, n]``: which parameters the observations tell."""
        return self.active & (self.deviations() <= IDENTIFIABLE)


def information(
    path: ModelPath, task: Task, values: Float[np.ndarray, "sites n"], noise: dict[str, np.ndarray], at_once: int = 160
) -> Information:
    """Fisher information of a group's training observations about its searched parameters.

    Args:
        path: the model.
        task: one group of ``Trainer.tasks``; its parameters are constant in time.
        values: the parameters at which to differentiate.
        noise: flux -> standard deviation of the observations' errors ``[sites]``, W m-2.
        at_once: columns of one run.
    """
    group, space = task.group, task.space
    params = space.insert(task.default, jnp.asarray(values))
    states, _ = task.runner.record(params, group.last_training_window() + 1, task.runner.spin_up(params))
    spans = space.upper - space.lower
    count, windows = len(space.keys), task.columns
    jobs = [(c, i) for c in range(windows.site.size) for i in range(count) if space.active[windows.site[c], i]]
    run = jax.jit(partial(_tangents, path, space, group))
    found = {flux: np.zeros((count, *group.observed[flux].shape[:1], windows.site.size)) for flux in group.observed}
    at_once = min(at_once, len(jobs))
    for start in range(0, len(jobs), at_once):
        # the last run is filled up with its own first jobs: one shape, one compiled program
        part = [jobs[(start + k) if start + k < len(jobs) else k] for k in range(at_once)]
        column, which = (np.array(numbers) for numbers in zip(*part, strict=True))
        chosen = Columns(windows.site[column], windows.window[column])
        direction = np.zeros((at_once, count))
        direction[np.arange(at_once), which] = spans[which]
        slopes = run(
            at_columns(task.default, chosen.site),
            jnp.asarray(values[chosen.site], float),
            jnp.asarray(direction, float),
            group.window_forcing(chosen),
            at_columns(task.runner.site, chosen.site),
            start_states(states, chosen),
        )
        for flux, slope in slopes.items():
            found[flux][which, :, column] = np.asarray(slope, float).T
    fisher = np.zeros((len(group.towers), count, count))
    for flux, slopes in found.items():
        weight = np.asarray(group.targets(windows)[flux].weight)
        for c, s in enumerate(windows.site):
            own = slopes[:, :, c] * np.sqrt(weight[:, c]) / noise[flux][s]
            fisher[s] += own @ own.T
    return Information(group.labels, space.keys, fisher, space.active)


def _tangents(path, space, group, default, values, direction, forcing, site, state):
    """Derivative of each column's flux means along its own direction."""

    def fluxes(values):
        outputs, _ = path.simulate(space.insert(default, values), forcing, site, state, fields=tuple(group.observed))
        return {f: interval_means(getattr(outputs, f), group.ratio, group.offset) for f in group.observed}

    return jax.jvp(fluxes, (values,), (direction,))[1]
