"""Forward runs of a group of sites, window by window through one compiled function (flat memory)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from jlsm.forcing import Forcing
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters
from mdpl.model_paths import ModelPath, PathState
from mdpl.towers.intervals import interval_means
from mdpl.training.windows import Group

RunParameters = Parameters | Callable[[Forcing], Parameters]
"""parameters, or where they change with time a function that gives those of a forcing"""


class Runner:
    """Forward runs of one group."""

    def __init__(self, path: ModelPath, group: Group, spinup_years: int):
        self.group = group
        self.site = group.site.numeric()
        self.spinup_years = spinup_years
        self._spin_up = path.spin_up
        self._simulate = jax.jit(path.simulate)

    def spin_up(self, params: RunParameters, years: int | None = None) -> PathState:
        """The state at the start of the record (``years`` None: as the runner was told)."""
        forcing = self.group.forcing(0, min(tower.forcing.steps for tower in self.group.towers))
        years = self.spinup_years if years is None else years
        return self._spin_up(_at(params, forcing), forcing, self.site, years=years)

    def window(self, params: RunParameters, index: int, state: PathState) -> tuple[Outputs, PathState]:
        """All sites through one window."""
        steps = self.group.steps
        forcing = self.group.forcing(index * steps, (index + 1) * steps)
        return self._simulate(_at(params, forcing), forcing, self.site, state)

    def year(self, params: RunParameters, state: PathState) -> PathState:
        """The state after one more pass over the first year: deep soil follows the parameters."""
        for index in range(self.group.year):
            _, state = self.window(params, index, state)
        return state

    def interval_fluxes(self, outputs: Outputs) -> dict[str, np.ndarray]:
        """Means over the observed intervals of a window, ``[intervals, sites]``, of the fluxes in the loss."""
        group = self.group
        return {f: np.asarray(interval_means(getattr(outputs, f), group.ratio, group.offset)) for f in group.observed}

    def record(
        self, params: RunParameters, windows: int, state: PathState
    ) -> tuple[list[PathState], dict[str, np.ndarray]]:
        """Start state of each of the first ``windows`` windows, and flux means ``[windows, intervals, sites]``."""
        states, fluxes = [], []
        for index in range(windows):
            states.append(state)
            outputs, state = self.window(params, index, state)
            fluxes.append(self.interval_fluxes(outputs))
        return states, {flux: np.stack([means[flux] for means in fluxes]) for flux in fluxes[0]}

    def whole_record(self, params: RunParameters) -> Outputs:
        """Spin-up and the run of the whole record, all sites, ``[time, ..., sites]`` (NumPy)."""
        state = self.spin_up(params)
        pieces = []
        for index in range(self.group.windows):
            outputs, state = self.window(params, index, state)
            pieces.append(jax.tree.map(np.asarray, outputs))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def _at(params: RunParameters, forcing: Forcing) -> Parameters:
    return params if isinstance(params, Parameters) else params(forcing)
