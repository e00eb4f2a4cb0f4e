"""From the model's time steps to the intervals of the observations.

A tower may report half hours while the model runs half hours, or days while the model runs half hours.
The model's mean over each observed interval is what gets compared, so this file knows when both clocks
tick (``TimeAxis``) and takes the mean as a plain, differentiable JAX operation.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jlsm.constants import DAY
from jlsm.errors import InputError
from jlsm.forcing import Forcing

SeriesArray = Array | np.ndarray
"""JAX inside the loss, NumPy for scores: means work on both"""


class TimeAxis(NamedTuple):
    """Start of every interval and their common length, local standard time."""

    start: Int[np.ndarray, "time"]
    """seconds since 1970-01-01 00:00 of the interval's start"""
    length: int
    """length of an interval, s"""

    @property
    def stop(self) -> int:
        """End of the last interval, seconds since 1970-01-01."""
        return int(self.start[-1]) + self.length

    def datetimes(self) -> np.ndarray:
        """The starts as ``datetime64[s]``."""
        return self.start.astype("datetime64[s]")


class Alignment(NamedTuple):
    """Which model steps make up each observed interval."""

    first: Int[np.ndarray, "obs_time"]
    """index of the interval's first model step (may lie outside the run: see ``covered``)"""
    ratio: int
    """model steps per observed interval"""
    covered: Bool[np.ndarray, "obs_time"]
    """True where the run holds every step of the interval"""


def model_time(forcing: Forcing) -> TimeAxis:
    """The time axis of a single site's forcing (``[time]``)."""
    start = np.asarray(forcing.day, dtype=np.int64) * DAY + np.asarray(forcing.second_of_day, dtype=np.int64)
    if start.ndim != 1:
        raise ValueError(f"model_time takes the forcing of a single site, not columns {start.shape[1:]}")
    return TimeAxis(start, int(round(float(forcing.dt))))


def align(model: TimeAxis | Forcing, observed: TimeAxis, where: str = "observations") -> Alignment:
    """Match observed intervals to model steps.

    Args:
        model: the run's time axis, or the forcing that holds it. Regular: each step starts where the last ended.
        observed: the observations' time axis; it may start, end or have gaps where it likes.
        where: file or site named in an error.

    Raises:
        InputError: an observed interval that is no whole number of model steps, starts between two
            steps, or no interval at all inside the run.
    """
    model = model_time(model) if isinstance(model, Forcing) else model
    ratio, rest = divmod(observed.length, model.length)
    if ratio == 0 or rest:
        raise InputError(
            f"{where}: time: observed intervals of {observed.length} s are no whole number of model steps of "
            f"{model.length} s: average the observations to a multiple of the forcing's step"
        )
    first, offset = np.divmod(observed.start - int(model.start[0]), model.length)
    if offset.any():
        when = observed.datetimes()[np.argmax(offset != 0)]
        raise InputError(
            f"{where}: time {when}: the observed interval starts between two model steps of {model.length} s: "
            "give forcing and fluxes on the same clock (local standard time, stamp at the interval's start)"
        )
    covered = (first >= 0) & (first + ratio <= model.start.shape[0])
    if not covered.any():
        raise InputError(
            f"{where}: time: observations {_span(observed)} and model run {_span(model)} do not overlap: "
            "pair the Flux file with the Met file of the same years"
        )
    return Alignment(first.astype(np.int64), int(ratio), covered)


def _span(axis: TimeAxis) -> str:
    return f"{axis.datetimes()[0]} to {np.int64(axis.stop).astype('datetime64[s]')}"


def interval_means(
    series: Float[SeriesArray, "time ..."], ratio: int, offset: int = 0
) -> Float[SeriesArray, "intervals ..."]:
    """Means over consecutive runs of ``ratio`` steps, from step ``offset`` to the last whole run."""
    count = (series.shape[0] - offset) // ratio
    whole = series[offset : offset + count * ratio]
    return whole if ratio == 1 else whole.reshape(count, ratio, *series.shape[1:]).mean(axis=1)


def means_at(
    series: Float[SeriesArray, "time ..."], alignment: Alignment
) -> tuple[Float[SeriesArray, "obs_time ..."], Bool[np.ndarray, "obs_time"]]:
    """The model's mean over each observed interval, and whether the run covers the interval.

    Args:
        series: a model flux, ``[time]`` or ``[time, columns]`` where all columns share one clock.
        alignment: from ``align``.

    Returns:
        Means ``[obs_time, ...]`` (0 where not covered) and the mask ``covered [obs_time]``.
    """
    first, ratio, covered = alignment
    offset = int(first[covered][0]) % ratio
    means = interval_means(series, ratio, offset)
    slot = np.clip((first - offset) // ratio, 0, means.shape[0] - 1)
    if np.array_equal(slot, np.arange(means.shape[0])) and covered.all():
        return means, covered
    shape = (-1,) + (1,) * (means.ndim - 1)
    where = np.where if isinstance(means, np.ndarray) else jnp.where  # NumPy in, NumPy out: scores keep float64
    return where(covered.reshape(shape), means[slot], 0.0), covered
