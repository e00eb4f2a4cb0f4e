"""Scoring a run: model output against tower fluxes, at the observations' own step."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from jlsm.errors import InputError
from mdpl.scores.metrics import Scores, scores
from mdpl.towers.intervals import TimeAxis, align, means_at
from mdpl.towers.observations import CORRECTED, SCORED_FLUXES, TARGETS, Observations, load_observations
from mdpl.towers.place import check_same_place, place_of


@dataclass(frozen=True)
class MetricRow:
    """Scores of one flux against one target over one period: one line of metrics.csv (units of the flux)."""

    site: str
    flux: str
    stage: str
    """which run: ``default``, ``calibrated``, ``surrogate`` (its own claim), ``transferred``, or a baseline's name"""
    period: str
    """``train``, ``validation``, ``test`` or ``all``"""
    rmse: float
    bias: float
    r: float
    std_mod: float
    std_obs: float
    nme: float
    kge: float
    n: int
    target: str = "raw"
    """``raw`` or ``corrected`` (for energy-balance closure)"""
    step: str = ""
    """interval of the comparison: daily, half-hourly, ..."""
    crmse: float | None = None
    """centred RMSE over std_obs, -"""

    @property
    def scores(self) -> Scores:
        """The numbers alone (see ``mdpl.scores.metrics``)."""
        return Scores(**{name: getattr(self, name) for name in Scores._fields})

    @classmethod
    def of_scores(cls, scores: Scores, **labels: str) -> MetricRow:
        """A row from scores and the texts that say what they are of."""
        return cls(**labels, **scores._asdict())


def score_fluxes(
    model: dict[str, Float[np.ndarray, "time"]],
    model_time: TimeAxis,
    observations: Observations,
    periods: dict[str, Bool[np.ndarray, "obs_time"]] | None = None,
    site: str = "",
    stage: str = "",
) -> list[MetricRow]:
    """Scores of every flux that both sides have, raw and corrected, per period.

    Args:
        model: ALMA name -> series at the model's step (W m-2, Qg into the ground).
        model_time: the run's time axis.
        observations: what was measured.
        periods: name -> mask over the observed intervals; everything measured, as ``all``, when None.
        site, stage: how the rows are labelled.

    Raises:
        InputError: time steps that do not fit; no flux in common.
    """
    alignment = align(model_time, observations.time, where=observations.file)
    periods = {"all": np.ones(observations.time.start.shape, bool)} if periods is None else periods
    rows = []
    for flux in (flux for flux in SCORED_FLUXES if flux in model):
        means, covered = means_at(np.asarray(model[flux], np.float64), alignment)
        for target in TARGETS if flux in CORRECTED else TARGETS[:1]:
            series = observations.target(flux, target)
            if series is None:
                continue
            for period, mask in periods.items():
                compared = scores(np.asarray(means), series.values, mask & covered & series.measured)
                labels = dict(flux=flux, target=target, period=period, step=observations.step)
                rows.append(MetricRow.of_scores(compared, site=site, stage=stage, **labels))
    if not rows:
        raise InputError(
            f"{observations.file}: no flux in common: the model has {', '.join(model) or 'none'} and the observations "
            f"{', '.join(observations.fluxes)}; {', '.join(SCORED_FLUXES)} are scored"
        )
    return rows


def load_model_fluxes(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], TimeAxis]:
    """Qle, Qh, Rnet, Qg and the time axis of an ALMA NetCDF file (any model's).

    Raises:
        InputError: file missing or unreadable, no flux, more than one column, irregular time, NaN.
    """
    import xarray as xr

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file: give the NetCDF output of `jlsm run`")
    try:
        dataset = xr.open_dataset(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable NetCDF file ({reason}): run the model again") from error
    with dataset:
        if "time" not in dataset.variables or not np.issubdtype(dataset["time"].dtype, np.datetime64):
            raise InputError(f"{path}: time: no variable with units 'seconds since ...': give an ALMA output file")
        start = np.round(dataset["time"].values.astype("datetime64[ms]").astype(np.int64) / 1000.0).astype(np.int64)
        steps = np.diff(start)
        if steps.size == 0 or (steps != steps[0]).any() or steps[0] <= 0:
            raise InputError(f"{path}: time: steps are not equal: give the output of one continuous run")
        model = {}
        for name in (name for name in SCORED_FLUXES if name in dataset.variables):
            values = np.asarray(dataset[name].values, np.float64)
            if values.size != start.size:
                raise InputError(
                    f"{path}: {name}: {values.size} values for {start.size} steps: give a single-site file"
                )
            model[name] = values.ravel()
            if not np.isfinite(model[name]).all():
                when = start[np.argmax(~np.isfinite(model[name]))].astype("datetime64[s]")
                raise InputError(f"{path}: {name} at {when}: not finite: the run is broken or masked, run it again")
    if not model:
        raise InputError(f"{path}: none of {', '.join(SCORED_FLUXES)} in the file: give an ALMA output file")
    return model, TimeAxis(start, int(steps[0]))


def evaluate_file(
    model_file: str | os.PathLike, flux_file: str | os.PathLike, first: str = "", last: str = ""
) -> tuple[list[MetricRow], tuple[str, ...]]:
    """Scores of a model output file against a Flux file, and the notes on the observations.

    Args:
        model_file: ALMA NetCDF output.
        flux_file: PLUMBER2-style Flux file.
        first, last: ISO dates (inclusive) that limit the compared steps; empty for no limit.

    Raises:
        InputError: a file that cannot be read, files of different towers, no measured step of the run.
    """
    model, model_time = load_model_fluxes(model_file)
    observations = load_observations(flux_file)
    check_same_place(place_of(model_file, "model output"), place_of(flux_file, "Flux"))
    times = observations.time.datetimes()
    mask = np.ones(times.shape, bool)
    try:
        if first:
            mask &= times >= np.datetime64(first, "s")
        if last:
            mask &= times < np.datetime64(last, "D") + np.timedelta64(1, "D")
    except ValueError as error:
        raise InputError(f"date {first or last!r}: not an ISO date such as 2005-01-31") from error
    rows = score_fluxes(model, model_time, observations, {"all": mask})
    if not any(row.n for row in rows):
        span = f"{first or 'start'} to {last or 'end'}"
        raise InputError(f"{flux_file}: time {span}: no measured step of the run: widen the dates")
    return rows, observations.notes
