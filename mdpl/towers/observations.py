"""Flux-tower observations: what was measured, when, and over which interval.

Reads PLUMBER2-style Flux files (ALMA names, Ukkola et al. 2022, doi:10.5194/essd-14-449-2022) and CalLMIP's daily
ones, half-hourly, hourly or daily. Only steps flagged as measured count (``mdpl.towers.flags``); how many do is noted
for every variable.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from jlsm.errors import InputError
from jlsm.forcing import Forcing
from jlsm.io.tower_file import TowerFile, open_tower_file
from mdpl.towers.flags import Flags, measured_steps, parse_meanings
from mdpl.towers.intervals import DAY, SeriesArray, TimeAxis, align, means_at

SCORED_FLUXES = ("Qle", "Qh", "Rnet", "Qg")
"""fluxes that are scored, W m-2"""
CORRECTED = {"Qle": "Qle_cor", "Qh": "Qh_cor"}
"""energy-balance-corrected counterparts, scored beside the raw fluxes where a file has them"""
TARGETS = ("raw", "corrected")
"""observations as measured, or corrected for energy-balance closure"""
OPTIONAL = {
    "NEE": "umol m-2 s-1", "GPP": "umol m-2 s-1", "AvgSurfT": "K", "SWup": "W m-2", "LWup": "W m-2", "Ustar": "m s-1",
}  # fmt: skip
"""read where present, not needed, with their units"""
DERIVED_FROM = {"Qle_cor": ("Qle", "Qh"), "Qh_cor": ("Qle", "Qh")}
"""variables whose value rests on others: without flags of their own they are measured where those are"""
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
    uncertainty: Float[np.ndarray, "obs_time"] | None = None
    """standard deviation of the random error as the file has it (``Qle_uc``; CalLMIP's
    ``Qle_uc_daily``), NaN where it has none"""

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


def load_observations(path: str | os.PathLike, utc_offset: float | None = None) -> Observations:
    """Read a PLUMBER2-style or CalLMIP Flux file.

    Args:
        path: NetCDF file with any of Qle, Qh, Rnet, Qg (W m-2), optionally ``Qle_cor``, ``Qh_cor``, NEE, GPP,
            AvgSurfT, SWup, LWup, Ustar, each with ``<var>_qc`` and a standard deviation ``<var>_uc``; CalLMIP's names
            end in ``_daily`` and have ``<var>_uc_daily``. Time stamps are at the START of the averaging interval (or
            have bounds), in local standard time (or with a zone in their units). Days run from midnight to midnight;
            stamps at every noon are moved there.
        utc_offset: hours by which the site's clock is ahead of UTC, for times with a zone; None takes what the file
            says.

    Returns:
        Observations. Variables without any measured value are left out and named in ``notes``.

    Raises:
        InputError: file missing or not NetCDF, no flux variable, nothing measured, irregular or
            duplicated time, a unit or flags that are not understood, a measured energy flux beyond +-3000 W m-2.
    """
    with open_tower_file(path, "Flux") as file:
        daily_names = tuple(f"{name}_daily" for name in SCORED_FLUXES)
        if file.first((*SCORED_FLUXES, *daily_names)) is None:
            raise InputError(f"{path}: none of {', '.join(SCORED_FLUXES)} in the file: give a PLUMBER2 *_Flux.nc file")
        notes: list[str] = []
        time = _time_axis(file, utc_offset, notes)
        fluxes = {}
        for name in (*SCORED_FLUXES, *CORRECTED.values(), *OPTIONAL):
            series = _flux(file, name, time, notes)
            if series is not None:
                fluxes[name] = series
        if not any(name in fluxes for name in SCORED_FLUXES):
            present = ", ".join(name for name in SCORED_FLUXES if file.first((name, f"{name}_daily")))
            raise InputError(
                f"{path}: {present}: no step is measured in the whole record ({'; '.join(notes)}): use another site or "
                f"set the flags"
            )
    return Observations(str(path), time, fluxes, tuple(notes))


def _time_axis(file: TowerFile, utc_offset: float | None, notes: list[str]) -> TimeAxis:
    """The clock of a Flux file; it may have gaps, of whole steps."""
    code = str(file.attributes().get("site_code", ""))
    stamps = file.times(file.utc_offset(code) if utc_offset is None else utc_offset)
    start = stamps.astype(np.int64)
    if start.size < 2:
        raise InputError(f"{file.name}: time: only {start.size} step(s): give a record of at least two")
    steps = np.diff(start)
    if (steps <= 0).any():
        when = stamps[1 + int(np.argmax(steps <= 0))]
        raise InputError(f"{file.name}: time {when}: not later than the step before it: sort and remove duplicates")
    daily = "daily" in str(file.attributes().get("time_step", "")).lower()
    daily |= file.first(tuple(f"{name}_daily" for name in SCORED_FLUXES)) is not None
    length = DAY if daily else int(steps.min())
    if (steps % length).any():
        at = int(np.argmax(steps % length != 0))
        raise InputError(
            f"{file.name}: time {stamps[at + 1]}: {steps[at]} s after the step before it, no multiple of the file's "
            f"step of {length} s: put the record on a regular time axis"
        )
    if length == DAY:
        start = _from_midnight(file, start, stamps, notes)
    return TimeAxis(start, length)


def _from_midnight(file: TowerFile, start: np.ndarray, stamps: np.ndarray, notes: list[str]) -> np.ndarray:
    """Days that begin at midnight; a stamp at noon is the middle of its day."""
    second = int(start[0] % DAY)
    if second == DAY // 2:
        notes.append("days stamped at noon run from midnight to midnight")
        return start - DAY // 2
    if second:
        raise InputError(
            f"{file.name}: time {stamps[0]}: days must begin at midnight of local standard time: correct the stamps, "
            f"or give time bounds"
        )
    return start


def _flux(file: TowerFile, name: str, time: TimeAxis, notes: list[str]) -> FluxSeries | None:
    """One variable, None where it is absent or nothing of it was measured; what counts is noted."""
    present = file.first((name, f"{name}_daily"))
    if present is None:
        return None
    unit = OPTIONAL.get(name, "W m-2")
    try:
        values = file.quantity(present, unit)
    except InputError as error:
        if name not in OPTIONAL:
            raise
        notes.append(f"{name}: left out ({str(error).removeprefix(f'{file.name}: ')})")
        return None
    finite = np.isfinite(values)
    flagged, rule = _measured(file, present, time.length >= DAY)
    measured = finite if flagged is None else finite & flagged
    if not measured.any():
        notes.append(f"{name}: nothing measured, left out")
        return None
    if flagged is None:
        notes.append(f"{name}: no {name}_qc, all {int(measured.sum())} finite steps count as measured")
    else:
        notes.append(f"{name}: {int(measured.sum())} of {measured.size} steps count as measured ({rule})")
    if name not in OPTIONAL:
        wild = measured & (np.abs(values) > LARGEST_FLUX)
        if wild.any():
            at = int(np.argmax(wild))
            raise InputError(
                f"{file.name}: {name} at {time.datetimes()[at]}: {values[at]:g} W m-2 flagged as measured "
                f"({int(wild.sum())} such steps): check unit and fill value, or flag it (qc 3)"
            )
    return FluxSeries(np.where(finite, values, 0.0), measured, unit, _uncertainty(file, present, unit, notes))


def _uncertainty(file: TowerFile, variable: str, unit: str, notes: list[str]) -> np.ndarray | None:
    """``Qle_uc`` of ``Qle``, ``Qle_uc_daily`` of ``Qle_daily``; None, and noted, where it cannot be read."""
    name = f"{variable}_uc" if not variable.endswith("_daily") else f"{variable.removesuffix('_daily')}_uc_daily"
    if name not in file:
        return None
    try:
        spread = file.quantity(name, unit)
    except InputError as error:
        notes.append(f"{name}: left out ({str(error).removeprefix(f'{file.name}: ')})")
        return None
    none = (spread <= 0.0) | (spread > LARGEST_FLUX)
    if none.any():
        notes.append(f"{name}: {int(none.sum())} values are no standard deviations ({spread[none][0]:g}), left out")
    return np.where(none, np.nan, spread)


def _measured(file: TowerFile, variable: str, daily: bool) -> tuple[np.ndarray | None, str]:
    """Where the flags of a variable, or of those it derives from, say measured; None where there are none."""
    sources = [variable] if f"{variable}_qc" in file else list(DERIVED_FROM.get(variable, ()))
    masks, rules = [], []
    for source in sources:
        if f"{source}_qc" in file:
            try:
                mask, rule = measured_steps(_flags(file, f"{source}_qc"), daily=daily)
            except InputError as error:
                raise InputError(f"{file.name}: {error}") from error
            masks.append(mask)
            rules.append(rule)
    if not masks:
        return None, ""
    return np.logical_and.reduce(masks), " and ".join(rules)


def _flags(file: TowerFile, name: str) -> Flags:
    attributes = file.attributes()
    meanings = parse_meanings(file.attribute(name, "flag_meanings"), file.values_attribute(name, "flag_values"))
    if not meanings:
        meanings = parse_meanings(str(attributes.get("QC_flag_descriptions", "")))
    words = " ".join(
        str(attributes.get(key, "")) for key in ("source", "site_code", "title", "Fluxnet_dataset_version")
    )
    ozflux = "ozflux" in (words + file.name).lower()
    return Flags(name, file.series(name), meanings, ozflux, file.attribute(name, "flag_kind"))


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
