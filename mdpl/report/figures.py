"""The pictures of a report, drawn from a run directory and put into the page itself."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from jlsm.errors import InputError
from mdpl.report.parameter_plots import parameter_plot, seasonal_plots
from mdpl.report.plots import CYCLE_FLUXES, draw_cycles, loss_curve, taylor_pairs
from mdpl.report.style import FLUX_NAMES
from mdpl.report.taylor import taylor_diagram
from mdpl.runs.directory import STAGES, Run
from mdpl.scores.evaluation import load_model_fluxes
from mdpl.towers.load import find_site_files, site_labels
from mdpl.towers.observations import Observations, load_observations
from mdpl.towers.split import Split, split_by_time


class Picture(NamedTuple):
    """One figure of the page."""

    source: str
    """data URI"""
    alt: str


class Observed(NamedTuple):
    """What was measured at a site of the run, where its data can still be found."""

    observations: Observations
    split: Split
    runs: dict[str, dict[str, np.ndarray]]
    """stage -> flux -> ``[time]``, W m-2"""
    figure: Figure
    """mean cycles"""


def picture(figure: Figure, alt: str) -> Picture:
    """A figure as an SVG inside the page: sharp at any size, the same bytes for the same numbers."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "mdpl", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", facecolor="white", metadata={"Date": None})
    return Picture("data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), alt)


def taylor_pictures(run: Run) -> list[Picture]:
    """Taylor diagrams of Qh and Qle, test period, uncorrected observations."""
    pictures = []
    for flux in ("Qh", "Qle"):
        pairs = taylor_pairs(run.metrics, flux, period="test", target="raw")
        if pairs:
            steps = " and ".join(sorted({row.step for row in run.metrics if row.step}))
            figure = taylor_diagram(pairs, flux, f"test period, {steps}, uncorrected observations")
            moves = "; ".join(f"{p.site} R {p.default.r:.2f} to {p.calibrated.r:.2f}" for p in pairs)
            pictures.append(picture(figure, f"Taylor diagram, {FLUX_NAMES[flux]}: {moves}"))
    return pictures


def loss_picture(run: Run) -> Picture:
    """The loss by epoch."""
    return picture(loss_curve(run.losses), "Loss by epoch and site")


def parameter_pictures(run: Run) -> list[Picture]:
    """Default and calibrated values between their bounds, then seasonal courses where there are any."""
    pictures = [picture(parameter_plot(run.parameters), "Default and calibrated parameters between their bounds")]
    for figure in seasonal_plots(run.courses, run.parameters):
        pictures.append(picture(figure, "Seasonal course of calibrated parameters"))
    return pictures


def observed_sites(run: Run) -> tuple[dict[str, Observed], dict[str, str]]:
    """Sites whose observations are still where config.toml says, and why the others have none.

    Raises:
        InputError: a model file of the run directory that is missing or broken.
    """
    runs = {}
    for site in run.sites:
        loaded = {stage: load_model_fluxes(run.model_file(site, stage)) for stage in STAGES}
        runs[site] = ({stage: fluxes for stage, (fluxes, _) in loaded.items()}, loaded["default"][1])
    observed, missing = {}, {}
    if not run.config.data:
        return {}, dict.fromkeys(run.sites, "config.toml names no data folder")
    try:
        files = find_site_files(run.config.data, run.config.sites)
    except InputError as error:
        # the run directory travels further than its data; scores and model files are in it all the same
        return {}, dict.fromkeys(run.sites, str(error))
    labelled = dict(zip(site_labels(files), files, strict=True))
    for site in run.sites:
        if site not in labelled:
            missing[site] = f"{run.config.data}: no record of {site}"
            continue
        observations = load_observations(labelled[site].flux)
        stages, time = runs[site]
        split = split_by_time(
            observations.time,
            time,
            **run.config.split_years,
            where=observations.file,
        )
        figure = draw_cycles(site, observations, time, split, stages, narrow=True)
        observed[site] = Observed(observations, split, stages, figure)
    return observed, missing


def closure(observations: Observations) -> tuple[float, int] | None:
    """Energy-balance closure, sum of Qle + Qh over sum of Rnet - Qg, and the steps where all four are measured."""
    names = (*CYCLE_FLUXES, "Rnet", "Qg")
    if any(name not in observations.fluxes for name in names):
        return None
    series = [observations.fluxes[name] for name in names]
    measured = np.logical_and.reduce([one.measured for one in series])
    latent, sensible, net, ground = (one.values[measured].sum() for one in series)
    if not measured.any() or net - ground <= 0:
        return None
    return float((latent + sensible) / (net - ground)), int(measured.sum())
