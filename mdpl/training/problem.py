"""What is fitted: sites in groups, the unknowns of each, and how unknowns become parameters and losses.

Everything that trains, searches or judges starts from a ``Problem``; nothing in it changes while it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jlsm.forcing import Forcing, Site
from jlsm.parameters import Parameters
from mdpl.config import Config
from mdpl.model_paths import ModelPath, PathState, at_columns
from mdpl.scores.losses import Compared, Pool, Target, total_loss
from mdpl.towers.features import leaf_area_course
from mdpl.training.runner import Runner, RunParameters
from mdpl.training.windows import Columns, Group, start_states
from mdpl.unknowns.search_space import SearchSpace, search_spaces
from mdpl.unknowns.time_varying import course, unknowns_layout


class Batch(NamedTuple):
    """Windows side by side, ready to run."""

    params: Parameters
    """the default's"""
    forcing: Forcing
    site: Site
    state: PathState
    """at the windows' starts"""
    targets: dict[str, Target]
    sites: Array
    """site of each column"""


class Task(NamedTuple):
    """One group of sites."""

    group: Group
    space: SearchSpace
    default: Parameters
    runner: Runner
    columns: Columns
    """every window that is trained on"""
    rows: slice
    """which of all sites these are"""

    def batch(self, columns: Columns, states: list[PathState]) -> Batch:
        """What a step runs; ``states`` are those at the starts of the group's windows."""
        params, site = (at_columns(tree, columns.site) for tree in (self.default, self.runner.site))
        forcing, targets = self.group.window_forcing(columns), self.group.targets(columns)
        return Batch(params, forcing, site, start_states(states, columns), targets, jnp.asarray(columns.site))


class Problem:
    """Sites, unknowns and losses of one calibration through one path."""

    def __init__(
        self,
        path: ModelPath,
        groups: list[Group],
        keys: tuple[str, ...],
        config: Config,
        forms: dict[str, str] | None = None,
    ):
        """Args: ``keys`` to search; ``forms`` of those that change with time (full keys, see ``time_varying``)."""
        self.config, self.path = config, path
        defaults = [path.default_parameters(group.site) for group in groups]
        spaces = search_spaces(keys, [(d, len(group.towers)) for d, group in zip(defaults, groups, strict=True)])
        self.layout = unknowns_layout(spaces[0].keys, forms or {}, config.harmonics)
        self.tasks: list[Task] = []
        first = 0
        for group, space, default in zip(groups, spaces, defaults, strict=True):
            rows = slice(first, first + len(group.towers))
            runner = Runner(path, group, config.spinup_years)
            self.tasks.append(Task(group, space, default, runner, group.training_columns(), rows))
            first = rows.stop
        self.labels = tuple(label for group in groups for label in group.labels)
        self.active = np.concatenate([self.layout.active(space) for space in spaces])

    @property
    def groups(self) -> list[Group]:
        """The groups of sites."""
        return [task.group for task in self.tasks]

    def losses(
        self, sites: int, model: Mapping[str, Array | np.ndarray], targets: dict[str, Target], site_of_column: Array
    ) -> Float[Array, "sites"]:
        """Loss per site of flux means ``[intervals, columns]`` against their targets."""
        compared = {flux: Compared(jnp.asarray(model[flux]), *target) for flux, target in targets.items()}
        return total_loss(compared, self.config.loss, self.config.fluxes, Pool(site_of_column, sites))

    def parameters(self, task: Task, unknowns: Float[np.ndarray, "sites unknowns"]) -> RunParameters:
        """Parameters of a group's sites from all sites' unknowns."""
        of_group, sites = jnp.asarray(unknowns[task.rows]), np.arange(len(task.group.towers))
        if self.layout.varies:
            return lambda forcing: self.layout.insert(task.default, task.space, of_group, sites, forcing)
        return self.layout.insert(task.default, task.space, of_group, sites, task.group.forcing(0, 1))

    def all_parameters(self, unknowns: Float[np.ndarray, "sites unknowns"]) -> list[RunParameters]:
        """Parameters of every group."""
        return [self.parameters(task, unknowns) for task in self.tasks]

    def courses(self, task: Task, unknowns: Float[np.ndarray, "sites unknowns"]) -> Float[np.ndarray, "365 sites n"]:
        """Every parameter by day of year."""
        lai = [leaf_area_course(*pair) for pair in zip(task.group.towers, task.group.splits, strict=True)]
        return course(self.layout, task.space, unknowns[task.rows], np.stack(lai, axis=1))

    def mean_values(self, unknowns: Float[np.ndarray, "sites unknowns"]) -> Float[np.ndarray, "sites parameters"]:
        """Parameter values, as means over a year where they change with it."""
        if self.layout.varies:
            return np.concatenate([self.courses(task, unknowns).mean(axis=0) for task in self.tasks])
        return np.concatenate([np.asarray(task.space.values(jnp.asarray(unknowns[task.rows]))) for task in self.tasks])
