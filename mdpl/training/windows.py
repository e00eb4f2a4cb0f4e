"""Sites side by side, cut into windows: the shape in which training sees its data.

A record is long (ten years are 175,000 half hours) and reverse mode through all of it would be slow and blind,
so a record is cut into windows of equal length (a year, by default) on a grid that begins at its first
step. Training runs the windows that hold scored observations as columns of one batch. Each window starts from the
state a forward run of the whole record had there.

Sites whose clocks agree (model step, observed interval, offset) form a group that shares compiled code;
a training step holds all groups.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlsm.errors import InputError
from jlsm.forcing import Forcing, Site, stack_sites
from mdpl.config import Config
from mdpl.model_paths import PathState
from mdpl.scores.losses import Target
from mdpl.towers.intervals import DAY, TimeAxis, align, model_time
from mdpl.towers.load import Tower
from mdpl.towers.split import Split, split_by_time


class Columns(NamedTuple):
    """A batch of windows: column ``c`` is window ``window[c]`` of site ``site[c]``."""

    site: np.ndarray
    window: np.ndarray


class Group(NamedTuple):
    """Sites that run side by side."""

    towers: tuple[Tower, ...]
    splits: tuple[Split, ...]
    series: dict[str, np.ndarray]
    """forcing ``[windows * steps, sites]``; a record that ends earlier goes on with its own beginning, unscored"""
    dt: np.ndarray
    """model step ``[sites]``, s"""
    site: Site
    """``[sites]``, with its texts"""
    steps: int
    """model steps in a window"""
    windows: int
    """windows that cover the longest record"""
    ratio: int
    """model steps per observed interval"""
    offset: int
    """steps before the first observed interval of a window"""
    observed: dict[str, np.ndarray]
    """flux -> targets ``[intervals, sites, windows]``, 0 where not scored"""
    weight: dict[str, np.ndarray]
    """flux -> 1 where a target is scored in training, same shape"""
    validation: dict[str, np.ndarray]
    """flux -> 1 where a target is scored in validation, same shape"""
    sigma: dict[str, np.ndarray]
    """flux -> standard deviation of the training targets ``[sites]``"""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the sites."""
        return tuple(tower.label for tower in self.towers)

    @property
    def year(self) -> int:
        """Windows that make a year, about; all of a shorter record."""
        return min(self.windows, max(1, round(365 * DAY / (self.steps * float(self.dt.min())))))

    def training_columns(self) -> Columns:
        """Every window that holds an observation scored in training."""
        return self._scored(self.weight)

    def validation_columns(self) -> Columns:
        """Every window that holds an observation scored in validation."""
        return self._scored(self.validation)

    @staticmethod
    def _scored(weights: dict[str, np.ndarray]) -> Columns:
        site, window = np.nonzero(np.sum([weight.sum(axis=0) for weight in weights.values()], axis=0) > 0)
        return Columns(site, window)

    def last_training_window(self) -> int:
        """Index of the last window that training or validation scores."""
        both = (self.training_columns(), self.validation_columns())
        return int(max(columns.window.max(initial=0) for columns in both))

    def forcing(self, start: int, stop: int) -> Forcing:
        """The forcing of all sites over the steps ``start:stop``."""
        return self._forcing({name: values[start:stop] for name, values in self.series.items()}, self.dt)

    def window_forcing(self, columns: Columns) -> Forcing:
        """The forcing of a batch, ``[steps, columns]``."""

        def cut(series: np.ndarray) -> np.ndarray:
            windows = series.reshape(self.windows, self.steps, -1)
            return np.ascontiguousarray(windows[columns.window, :, columns.site].T)

        return self._forcing({name: cut(values) for name, values in self.series.items()}, self.dt[columns.site])

    @staticmethod
    def _forcing(series: dict[str, np.ndarray], dt: np.ndarray) -> Forcing:
        return Forcing(**{name: jnp.asarray(values) for name, values in series.items()}, dt=jnp.asarray(dt))

    def targets(self, columns: Columns, validation: bool = False) -> dict[str, Target]:
        """What the flux means ``[intervals, columns]`` of a batch are compared with, in training or in validation."""
        weights = self.validation if validation else self.weight
        return {
            flux: Target(
                jnp.asarray(self.observed[flux][:, columns.site, columns.window]),
                jnp.asarray(weights[flux][:, columns.site, columns.window]),
                jnp.asarray(self.sigma[flux]),
            )
            for flux in self.observed
        }

    def window_start_time(self, window: int, site: int) -> np.datetime64:
        """When a window starts."""
        seconds = np.int64(model_time(self.towers[site].forcing).start[0] + window * self.steps * int(self.dt[site]))
        return seconds.astype("datetime64[s]")


def start_states(states: list[PathState], columns: Columns) -> PathState:
    """The state at the start of each column's window; ``states[w]`` holds all sites at the start of window w."""
    return jax.tree.map(
        lambda *leaves: jnp.asarray(np.stack([leaves[w][..., s] for s, w in zip(*columns, strict=True)], axis=-1)),
        *[jax.tree.map(np.asarray, state) for state in states],
    )


def group_towers(towers: list[Tower], config: Config) -> list[Group]:
    """Sites with one clock together, in order of appearance.

    Raises:
        InputError: a site without the fluxes of the loss or without scored training steps; time steps that do not fit.
    """
    members: dict[tuple[int, int, int], list[Tower]] = {}
    for tower in towers:
        times = model_time(tower.forcing)
        alignment = align(times, tower.observations.time, where=tower.observations.file)
        offset = int(alignment.first[alignment.covered][0]) % alignment.ratio
        members.setdefault((times.length, alignment.ratio, offset), []).append(tower)
    return [_group(tuple(group), clock, config) for clock, group in members.items()]


def _group(towers: tuple[Tower, ...], clock: tuple[int, int, int], config: Config) -> Group:
    step, ratio, offset = clock
    steps = config.window_days * DAY // step
    steps = -(-steps // ratio) * ratio  # whole observed intervals, so that every window has the same pattern
    windows = max(-(-tower.forcing.steps // steps) for tower in towers)
    stacked, site = stack_sites([(_cycled(tower.forcing, windows * steps), tower.site) for tower in towers])
    series = {name: np.asarray(getattr(stacked, name)) for name in stacked.series()}
    splits, targets = [], []
    for tower in towers:
        split = split_by_time(
            tower.observations.time,
            model_time(tower.forcing),
            **config.split_years,
            where=tower.observations.file,
        )
        splits.append(split)
        targets.append(_targets(tower, split, model_time(tower.forcing), steps, windows, ratio, offset, config))
    dtype = np.asarray(stacked.Tair).dtype
    stack = {
        part: {flux: np.stack([t[flux][i] for t in targets], axis=-1).astype(dtype) for flux in config.fluxes}
        for i, part in enumerate(("observed", "weight", "validation", "sigma"))
    }
    for part in ("observed", "weight", "validation"):  # [window, interval, site] -> [interval, site, window]
        stack[part] = {flux: np.moveaxis(values, 0, -1) for flux, values in stack[part].items()}
    return Group(towers, tuple(splits), series, np.asarray(stacked.dt), site, steps, windows, ratio, offset, **stack)


def _cycled(forcing: Forcing, steps: int) -> Forcing:
    """``steps`` steps: past its end a record goes on with its own beginning (plausible weather, never scored)."""
    index = np.arange(steps) % forcing.steps
    return Forcing(**{name: jnp.asarray(getattr(forcing, name))[index] for name in forcing.series()}, dt=forcing.dt)


def _targets(
    tower: Tower, split: Split, times: TimeAxis, steps: int, windows: int, ratio: int, offset: int, config: Config
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Targets, weights in training and in validation ``[windows, intervals]``, the training targets' std, per flux."""
    observations = tower.observations
    first = align(times, observations.time, where=observations.file).first
    intervals = (steps - offset) // ratio
    window, within = np.divmod(first, steps)
    slot, rest = np.divmod(within - offset, ratio)
    # an interval that straddles two windows (only where records do not start with an interval) is not scored
    usable = (rest == 0) & (slot >= 0) & (slot < intervals) & (window >= 0) & (window < windows)
    result = {}
    for flux in config.fluxes:
        series = observations.target(flux, config.target)
        if series is None:
            raise InputError(
                f"{observations.file}: {flux}: no measured {config.target} values: choose another target or leave "
                f"{flux} out of 'fluxes'"
            )
        scored = split.train & series.measured & usable
        count = int(scored.sum())
        sigma = float(series.values[scored].std()) if count else 0.0
        if count < 2 or sigma == 0.0:
            raise InputError(
                f"{observations.file}: {flux}: {count} measured step(s) to train on ({split.words}): "
                "another site, target or split is needed"
            )
        validated = np.zeros_like(scored) if split.validation is None else split.validation & series.measured & usable
        if split.validation is not None and not validated.any():
            raise InputError(
                f"{observations.file}: {flux}: no measured step in validation ({split.words}): lower validation_years"
            )
        observed, weight, validation = np.zeros((3, windows, intervals))
        placed = scored | validated
        observed[window[placed], slot[placed]] = series.values[placed]
        weight[window[scored], slot[scored]] = 1.0
        validation[window[validated], slot[validated]] = 1.0
        result[flux] = (observed, weight, validation, np.float64(sigma))
    return result
