"""Flux-tower observations: what was measured, when, and over which interval.

Reads PLUMBER2-style Flux files (ALMA names, Ukkola et al. 2022, doi:10.5194/essd-14-449-2022), half-hourly,
hourly or daily. Only steps flagged as measured (``<var>_qc == 0``) count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from jlsm.errors import InputError
from jlsm.forcing import Forcing
from mdpl.towers.intervals import DAY, SeriesArray, TimeAxis, align, means_at

SCORED_FLUXES = ("Qle", "Qh", "Rnet", "Qg")
"""fluxes that are scored, W m-2"""
CORRECTED = {"Qle": "Qle_cor", "Qh": "Qh_cor"}
"""energy-balance-corrected counterparts, scored beside the raw fluxes where a file has them"""
TARGETS = ("raw", "corrected")
"""observations as measured, or corrected for energy-balance closure"""
OPTIONAL = ("NEE", "GPP", "AvgSurfT", "SWup", "LWup", "Ustar")
"""read where present, not needed"""
MISSING_VALUE = -9990.0
"""values at or below this are FLUXNET's missing value (-9999), whether or not the file declares it"""
LARGEST_FLUX = 3000.0
"""W m-2; a *measured* energy flux beyond this is a wrong unit or an undeclared fill value"""


@dataclass(frozen=True)
class FluxSeries:
    """One observed variable."""

    values: Float[np.ndarray, "obs_time"]
    """observed means; 0 where nothing was observed, so that masked arithmetic stays finite"""
    measured: Bool[np.ndarray, "obs_time"]
    """True where the value was measured (qc 0, or finite in a file without flags)"""
    unit: str = "W m-2"

    def observed(self) -> Float[np.ndarray, "obs_time"]:
        """The values with NaN where not measured, for plots."""
        return np.where(self.measured, self.values, np.nan)


@dataclass(frozen=True)
class Observations:
    """All observed fluxes of one site on one clock."""

    file: str
    time: TimeAxis
    fluxes: dict[str, FluxSeries]
    notes: tuple[str, ...] = field(default=())
    """what a reader should know, e.g. that a file carries no flags"""

    @property
    def day(self) -> np.ndarray:
        """Days since 1970-01-01 of each interval's start."""
        return self.time.start // DAY

    @property
    def second_of_day(self) -> np.ndarray:
        """Seconds since local midnight of each interval's start."""
        return self.time.start % DAY

    @property
    def step(self) -> str:
        """The interval in words: ``daily``, ``half-hourly``, ``hourly`` or ``N s``."""
        return {DAY: "daily", 1800: "half-hourly", 3600: "hourly"}.get(self.time.length, f"{self.time.length} s")

    def target(self, flux: str, target: str) -> FluxSeries | None:
        """The series to compare ``flux`` with: ``target`` is ``raw`` or ``corrected``; None where absent.

        Only Qle and Qh are ever corrected for energy-balance closure; Rnet and Qg are their own targets.
        """
        name = CORRECTED.get(flux, flux) if target == "corrected" else flux
        return self.fluxes.get(name)


def load_observations(path: str | os.PathLike) -> Observations:
    """Read a PLUMBER2-style Flux file.

    Args:
        path: NetCDF file with any of Qle, Qh, Rnet, Qg (W m-2), optionally ``Qle_cor``, ``Qh_cor``, NEE, GPP,
            AvgSurfT, SWup, LWup, Ustar, each with ``<var>_qc`` (0 = measured); time stamps at the START of
            the averaging interval, local standard time. A file whose attribute ``time_step`` is
            ``daily mean`` holds local days.

    Returns:
        Observations. Variables without any measured value are left out and named in ``notes``.

    Raises:
        InputError: file missing or not NetCDF, no flux variable, nothing measured, irregular or
            duplicated time, a measured energy flux beyond +-3000 W m-2.
    """
    import xarray as xr

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file: give a PLUMBER2 *_Flux.nc file")
    try:
        dataset = xr.open_dataset(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable NetCDF file ({reason}): download it again") from error
    with dataset:
        if "time" not in dataset.variables or not np.issubdtype(dataset["time"].dtype, np.datetime64):
            raise InputError(f"{path}: time: no variable with units 'seconds since ...': give a PLUMBER2 Flux file")
        time = _time_axis(path, dataset)
        fluxes, notes = {}, []
        wanted = (*SCORED_FLUXES, *CORRECTED.values(), *OPTIONAL)
        for name in (name for name in wanted if name in dataset.variables):
            series, unflagged = _flux(path, dataset, name, time)
            if series is None:
                notes.append(f"{name}: nothing measured, left out")
                continue
            fluxes[name] = series
            if unflagged:
                notes.append(f"{name}: no {name}_qc, all {int(series.measured.sum())} finite steps count as measured")
        if not any(name in dataset.variables for name in SCORED_FLUXES):
            raise InputError(f"{path}: none of {', '.join(SCORED_FLUXES)} in the file: give a PLUMBER2 *_Flux.nc file")
        if not any(name in fluxes for name in SCORED_FLUXES):
            present = ", ".join(name for name in SCORED_FLUXES if name in dataset.variables)
            raise InputError(
                f"{path}: {present}: no step is measured (qc 0) in the whole record: use another site or set the flags"
            )
    return Observations(str(path), time, fluxes, tuple(notes))


def _time_axis(path: Path, dataset) -> TimeAxis:
    stamps = dataset["time"].values.ravel()
    # float seconds in some files are off by microseconds: round, don't truncate
    start = np.round(stamps.astype("datetime64[ms]").astype(np.int64) / 1000.0).astype(np.int64)
    if start.size < 2:
        raise InputError(f"{path}: time: only {start.size} step(s): give a record of at least two")
    steps = np.diff(start)
    if (steps <= 0).any():
        when = stamps[1 + int(np.argmax(steps <= 0))].astype("datetime64[s]")
        raise InputError(f"{path}: time {when}: not later than the step before it: sort and remove duplicates")
    daily = "daily" in str(dataset.attrs.get("time_step", "")).lower()
    length = DAY if daily else int(steps.min())
    if (steps % length).any():
        at = int(np.argmax(steps % length != 0))
        when = stamps[at + 1].astype("datetime64[s]")
        raise InputError(
            f"{path}: time {when}: {steps[at]} s after the step before it, no multiple of the file's step of "
            f"{length} s: put the record on a regular time axis"
        )
    return TimeAxis(start, length)


def _flux(path: Path, dataset, name: str, time: TimeAxis) -> tuple[FluxSeries | None, bool]:
    values = _column(path, dataset, name, time)
    present = np.isfinite(values) & (values > MISSING_VALUE)
    unflagged = f"{name}_qc" not in dataset.variables
    measured = present if unflagged else present & (_column(path, dataset, f"{name}_qc", time) == 0)
    if not measured.any():
        return None, unflagged
    if name in (*SCORED_FLUXES, *CORRECTED.values()):
        wild = measured & (np.abs(values) > LARGEST_FLUX)
        if wild.any():
            at = int(np.argmax(wild))
            raise InputError(
                f"{path}: {name} at {time.datetimes()[at]}: {values[at]:g} W m-2 flagged as measured "
                f"({int(wild.sum())} such steps): check unit and fill value, or flag it (qc 3)"
            )
    unit = str(dataset[name].attrs.get("units", "")).replace("W/m2", "W m-2")
    return FluxSeries(np.where(present, values, 0.0), measured, unit), unflagged


def _column(path: Path, dataset, name: str, time: TimeAxis) -> np.ndarray:
    values = np.asarray(dataset[name].values, dtype=np.float64)
    if values.size != time.start.size:
        raise InputError(
            f"{path}: {name}: shape {values.shape} for {time.start.size} time steps: give a single-site file"
        )
    return values.ravel()


def to_observed_interval(
    model_series: Float[SeriesArray, "time ..."], forcing: Forcing | TimeAxis, observations: Observations
) -> tuple[Float[SeriesArray, "obs_time ..."], Bool[np.ndarray, "obs_time"]]:
    """The model's mean over each observed interval (differentiable in ``model_series``).

    Args:
        model_series: a flux at the model's step, ``[time]`` or ``[time, columns]`` on one clock.
        forcing: the run's forcing or its TimeAxis.
        observations: the observations to match; they may start or end before or after the run.

    Returns:
        Means ``[obs_time, ...]`` and ``covered [obs_time]``: False (and mean 0) where the run does not
        hold the whole interval.

    Raises:
        InputError: time steps that do not fit, or no overlap (see ``mdpl.towers.intervals.align``).
    """
    return means_at(model_series, align(forcing, observations.time, where=observations.file))
