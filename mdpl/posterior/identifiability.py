"""Which parameters the observations can tell: Fisher information of the loss, by exact derivatives of the model.

The flux means over the observed intervals are differentiated with respect to every searched parameter, measured in
shares of its range (``mdpl.training.jacobian``). With independent errors of standard deviation sigma the information is
``J^T J / sigma^2``; its inverse, with a flat prior over the range added, holds the variances that a best possible
estimate has (Cramer-Rao). A parameter whose standard deviation stays near the prior's is not seen by the observations
at all.

As in training, the state at the start of a window counts as given: what a parameter did to the soil before is not
counted, so slow parameters (root depth) look less certain than a whole record would make them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mdpl.model_paths import ModelPath
from mdpl.training.jacobian import AT_ONCE, ColumnNumbers, WindowJacobian
from mdpl.training.problem import Task
from mdpl.unknowns.search_space import SearchSpace

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
        return np.sqrt(np.stack([np.diag(np.linalg.inv(of_site)) for of_site in whole]))

    def identifiable(self) -> np.ndarray:
        """``[sites, n]``: which parameters the observations tell."""
        return self.active & (self.deviations() <= IDENTIFIABLE)


def information(
    path: ModelPath,
    task: Task,
    values: Float[np.ndarray, "sites n"],
    noise: dict[str, np.ndarray],
    at_once: int = AT_ONCE,
) -> Information:
    """Fisher information of a group's training observations about its searched parameters.

    Args:
        path: the model.
        task: one group of ``Problem.tasks``; its parameters are constant in time.
        values: the parameters at which to differentiate.
        noise: flux -> standard deviation of the observations' errors ``[sites]``, W m-2.
        at_once: columns of one run.

    Raises:
        InputError: a path without tangents.
    """
    group, space = task.group, task.space
    params = space.insert(task.default, jnp.asarray(values))
    states, _ = task.runner.record(params, group.last_training_window() + 1, task.runner.spin_up(params))
    _, jacobian = WindowJacobian(path, task, _shares_of(space), at_once)(values, states)
    weights = {flux: np.asarray(target.weight) for flux, target in group.targets(task.columns).items()}
    fisher = np.zeros((len(group.towers), len(space.keys), len(space.keys)))
    for column, s in enumerate(task.columns.site):
        for flux, slopes in jacobian.items():
            rows = slopes[:, column] * np.sqrt(weights[flux][:, column, None]) * space.active[s] / noise[flux][s]
            fisher[s] += rows.T @ rows
    return Information(group.labels, space.keys, fisher, space.active)


def _shares_of(space: SearchSpace) -> ColumnNumbers:
    """The parameters themselves, differentiated by shares of their range."""
    spans = space.upper - space.lower

    def insert(params, values, sites, forcing):
        return space.insert(params, values)

    def directions(values, sites, forcing, lanes):
        shape = (*values.shape[:1], lanes)
        return {
            key: jnp.broadcast_to(spans[i] * jnp.eye(1, lanes, i, dtype=values.dtype)[0], shape)
            for i, key in enumerate(space.keys)
        }

    return ColumnNumbers(len(space.keys), insert, directions)
