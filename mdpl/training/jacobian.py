"""Flux means of all training windows and their derivatives by numbers of the window's site, in one pass of the model.

All windows of all sites are columns, the numbers are directions (``jlsm.simulate_tangents``). The state at the start
of a window counts as given: what a number did to the soil before is not in its derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jlsm.errors import InputError
from jlsm.simulation.sensitivity import LANES
from mdpl.model_paths import ModelPath
from mdpl.towers.intervals import interval_means
from mdpl.training.problem import Task
from mdpl.training.windows import Columns

AT_ONCE = 64
"""columns of one run: what a core's cache holds"""


class ColumnNumbers(NamedTuple):
    """What stands behind the parameters of a column and is differentiated by."""

    count: int
    insert: Callable[..., Any]
    """``insert(params, numbers [columns, count], sites, forcing) -> Parameters`` with their values in place"""
    directions: Callable[..., dict[str, Float[Array, "..."]]]
    """``directions(numbers, sites, forcing, lanes)``: how each parameter changes with each number (last axis)"""


class WindowJacobian:
    """Runs the windows of one group of sites, with derivatives; compiled once."""

    def __init__(self, path: ModelPath, task: Task, numbers: ColumnNumbers, at_once: int = AT_ONCE):
        """Args: ``at_once``: most columns of one run.

        Raises:
            InputError: a path without tangents.
        """
        tangents = path.tangents
        if tangents is None:
            raise InputError(
                "this path has no tangents (ModelPath.tangents): optimiser = 'gauss-newton' and the Fisher "
                "information are made of them; 'adam' is not"
            )
        self.task = task
        blocks = -(-task.columns.site.size // at_once)
        self._size = -(-task.columns.site.size // blocks)
        self._run = jax.jit(_run_of(tangents, task, numbers))

    def __call__(
        self, values: Float[np.ndarray, "sites numbers"], states: list
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Flux means ``[intervals, columns]`` of ``task.columns``, and their derivatives
        ``[intervals, columns, numbers]``.

        Args:
            values: the numbers of the group's sites.
            states: at the starts of the windows.
        """
        whole = self.task.columns
        count = whole.site.size
        parts = []
        for first in range(0, count, self._size):
            at = np.minimum(np.arange(first, first + self._size), count - 1)  # the last one fills up
            columns = Columns(whole.site[at], whole.window[at])
            params, forcing, site, state, _, sites = self.task.batch(columns, states)
            parts.append(self._run(jnp.asarray(values, float)[columns.site], params, forcing, site, state, sites))

        def joined(which: int) -> dict[str, np.ndarray]:
            return {
                flux: np.concatenate([np.asarray(part[which][flux]) for part in parts], axis=1)[:, :count]
                for flux in self.task.group.observed
            }

        return joined(0), joined(1)


def _run_of(tangents: Callable[..., Any], task: Task, numbers: ColumnNumbers):
    group, lanes = task.group, -(-numbers.count // LANES) * LANES

    def run(values, params, forcing, site, state, sites):
        full = numbers.insert(params, values, sites, forcing)
        directions = numbers.directions(values, sites, forcing, lanes)
        outputs, _, slopes, _ = tangents(full, directions, forcing, site, state, fields=tuple(group.observed))

        def means(series: Any) -> dict[str, Array | np.ndarray]:
            return {f: interval_means(getattr(series, f), group.ratio, group.offset) for f in group.observed}

        return means(outputs), {flux: slope[..., : numbers.count] for flux, slope in means(slopes).items()}

    return run
