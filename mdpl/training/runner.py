"""Forward runs of a group of sites, window by window through one compiled function (flat memory)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jlsm.forcing import Forcing
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters
from mdpl.config import Config
from mdpl.model_paths import Path as ModelPath
from mdpl.towers.intervals import interval_means
from mdpl.training.windows import Group

State = Any
"""whatever a path carries through time: a pytree whose arrays end in a column axis"""
Given = Parameters | Callable[[Forcing], Parameters]
"""parameters, or where they change with time a function that gives those of a forcing"""


class Runner:
    """Forward runs of one group."""

    def __init__(self, path: ModelPath, group: Group, config: Config):
        self.group = group
        self.site = group.site.numeric()
        self.spinup_years = config.spinup_years
        self._spin_up = path.spin_up
        self._simulate = jax.jit(path.simulate)

    def spin_up(self, params: Given, years: int | None = None) -> State:
        """The state at the start of the record (``years`` None: as the config says)."""
        forcing = self.group.forcing(0, min(tower.forcing.steps for tower in self.group.towers))
        years = self.spinup_years if years is None else years
        return self._spin_up(_at(params, forcing), forcing, self.site, years=years)

    def window(self, params: Given, index: int, state: State) -> tuple[Outputs, State]:
        """All sites through one window."""
        steps = self.group.steps
        forcing = self.group.forcing(index * steps, (index + 1) * steps)
        return self._simulate(_at(params, forcing), forcing, self.site, state)

    def year(self, params: Given, state: State) -> State:
        """The state after one more pass over the first year: deep soil follows the parameters."""
        for index in range(self.group.year):
            _, state = self.window(params, index, state)
        return state

    def interval_fluxes(self, outputs: Outputs) -> dict[str, np.ndarray]:
        """Means over the observed intervals of a window, ``[intervals, sites]``, of the fluxes in the loss."""
        group = self.group
        return {f: np.asarray(interval_means(getattr(outputs, f), group.ratio, group.offset)) for f in group.observed}

    def record(self, params: Given, windows: int, state: State) -> tuple[list[State], dict[str, np.ndarray]]:
        """Start state of each of the first ``windows`` windows, and flux means ``[windows, intervals, sites]``."""
        states, fluxes = [], []
        for index in range(windows):
            states.append(state)
            outputs, state = self.window(params, index, state)
            fluxes.append(self.interval_fluxes(outputs))
        return states, {flux: np.stack([means[flux] for means in fluxes]) for flux in fluxes[0]}

    def whole_record(self, params: Given) -> Outputs:
        """Spin-up and the run of the whole record, all sites, ``[time, ..., sites]`` (NumPy)."""
        state = self.spin_up(params)
        pieces = []
        for index in range(self.group.windows):
            outputs, state = self.window(params, index, state)
            pieces.append(jax.tree.map(np.asarray, outputs))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def _at(params: Given, forcing: Forcing) -> Parameters:
    return params if isinstance(params, Parameters) else params(forcing)
