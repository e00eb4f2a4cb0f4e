"""From Met file to result file: what ``jlsm run`` does, as one function."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from jlsm import io, simulation
from jlsm.budget import Unsettled, unsettled_steps
from jlsm.constants import SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.errors import InputError, RepairWarning, UnsettledWarning
from jlsm.forcing import Forcing, Site
from jlsm.io.site_file import read_site_changes
from jlsm.outputs import Outputs, output_fields
from jlsm.parameters import Parameters, default_parameters
from jlsm.state import State, with_soil_moisture

DEFAULT_SPINUP_YEARS = 3


@dataclass(frozen=True)
class RunOptions:
    """How ``run_file`` runs the model.

    Attributes:
        parameters: TOML file whose values replace the defaults of the site's classes.
        spinup_years: years run over the record's beginning first; None is 3, or 0 when ``state`` is set.
        state: saved state to start from; a RepairWarning says where it is of another site, or (without spin-up) of
            another time than the start of the record, or has more water than this soil's pores.
        save_state: file for the state at the end.
        lai, start, stop, site_file, utc_offset, sun_check: as in ``load_forcing``.
        overwrite: replace what lies where the result and the state go, whatever it is.
    """

    parameters: Path | None = None
    spinup_years: int | None = None
    state: Path | None = None
    save_state: Path | None = None
    lai: str = "LAI"
    start: str | None = None
    stop: str | None = None
    site_file: Path | None = None
    utc_offset: float | None = None
    sun_check: bool = True
    overwrite: bool = False


def run_file(
    met: Path,
    result: Path,
    options: RunOptions = RunOptions(),
    report: Callable[[str, int, int | None], object] = lambda text, done, total: None,
) -> int:
    """Run the model over a Met file and write its result, whole or not at all, in flat memory.

    Args:
        met: PLUMBER2 Met file.
        result: NetCDF file to write.
        report: called with (what is going on, steps done, steps in all or None).

    Returns:
        The number of time steps written. An UnsettledWarning says where the surface balance was not settled.

    Raises:
        InputError: bad input, or a path that cannot be written.
        FloatingPointError: the model gave a value that is not finite.
    """
    state = options.state
    forcing, site = read_site(met, options)
    params = default_parameters(site)
    if options.parameters is not None:
        params = io.read_parameters(options.parameters, params, steps=forcing.steps)
    years = DEFAULT_SPINUP_YEARS if state is None else 0
    if options.spinup_years is not None:
        years = options.spinup_years
    # a state that is spun up further need not be of the time at which the record starts
    now = io.load_state(state, site, forcing if years == 0 else None) if state is not None else None
    if now is not None and now.canopy_water.ndim:
        raise InputError(f"{state}: is the state of {now.canopy_water.size} columns: give the state of one site")
    if now is not None:
        _warn_of_excess(state, now, params)
    name = str(site.code or met.name)
    history = f"jlsm run {met.name}, spin-up of {years} years" + (f" from {state.name}" if state else "")
    unsettled = Unsettled()
    with io.OutputWriter(result, {"history": history}, options.overwrite) as writer:
        if now is None or years > 0:
            report(f"{name}: compile, spin up", 0, None)
            now = simulation.spin_up(params, forcing, site, years=years, state=now)
        observed = read_site_changes(options.site_file).soil_moisture if options.site_file else None
        if observed is not None:
            depths, values = map(np.asarray, observed)
            now = with_soil_moisture(now, depths, values, params.soil.porosity.reshape(-1)[0])
        report(name, 0, forcing.steps)
        for steps, out, reached in simulation.stream(params, forcing, site, now):
            window = forcing.window(steps.start, steps.stop)
            check_finite(name, out, window)
            unsettled = unsettled.joined(unsettled_steps(out, window))
            writer.append(io.to_dataset(out, window, site, _parameters_window(params, steps)))
            now = reached
            report(name, steps.stop, forcing.steps)
    if unsettled.steps:
        warnings.warn(f"{name}: {unsettled.line()}", UnsettledWarning, stacklevel=2)
    if options.save_state is not None:  # outside: the result stays, whatever is wrong with the state
        description = f"{name} after step {forcing.steps} of {met.name}"
        io.save_state(now, options.save_state, site, forcing, description=description, overwrite=options.overwrite)
    return forcing.steps


def _warn_of_excess(file: Path | None, state: State, params: Parameters) -> None:
    """Say where a state has more water than the pores of this soil hold: a state of another soil, perhaps."""
    pores = float(np.max(params.soil.porosity))
    above = np.maximum(np.asarray(state.soil_moisture, float) - pores, 0.0)
    excess = float(np.sum(above * np.asarray(SOIL_LAYER_THICKNESS))) * WATER_DENSITY
    if excess > 1.0:  # kg m-2
        warnings.warn(
            f"{file}: soil moisture of up to {pores + above.max():.3f} m3 m-3 is more than the pores of this soil hold "
            f"({pores:.3f}): {excess:.0f} kg m-2 will run off; spin up, or give a state of this soil",
            RepairWarning,
            stacklevel=3,
        )


def read_site(met: Path, options: RunOptions) -> tuple[Forcing, Site]:
    """A Met file as the options say. Raises InputError."""
    return io.load_forcing(
        met,
        lai=options.lai,
        start=options.start,
        stop=options.stop,
        site_file=options.site_file,
        utc_offset=options.utc_offset,
        sun_check=options.sun_check,
    )


def _parameters_window(params: Parameters, steps: slice) -> Parameters:
    """The parameters of some steps of a single site: time series are cut, constants stay."""
    return jax.tree.map(lambda leaf: leaf[steps] if leaf.ndim else leaf, params)


def check_finite(name: str, out: Outputs, forcing: Forcing) -> None:
    """Raise FloatingPointError at the first output that is not finite."""
    for field in output_fields():
        values = np.asarray(getattr(out, field))
        bad = ~np.isfinite(values).reshape(values.shape[0], -1).all(axis=1)
        if bad.any():
            at = int(np.argmax(bad))
            time = np.datetime64(int(forcing.day[at]), "D") + np.timedelta64(int(forcing.second_of_day[at]), "s")
            raise FloatingPointError(
                f"{name}: {field} is not finite at {time.astype('datetime64[m]')}: please report it with the Met file"
            )
