"""Pictures of a calibration: Taylor diagrams, the loss, and mean seasonal and diurnal cycles."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mdpl.report.style import CALIBRATED, DEFAULT, FLUX_NAMES, FONT, OBSERVED, save, site_style
from mdpl.report.tables import by_stage
from mdpl.report.taylor import TaylorPair, taylor_diagram
from mdpl.runs.claim import STAGES, cycles_file
from mdpl.runs.rows import EpochRow
from mdpl.scores.evaluation import MetricRow
from mdpl.towers.intervals import DAY, Alignment, TimeAxis, align, means_at, model_time
from mdpl.towers.observations import Observations
from mdpl.towers.split import Split
from mdpl.training.judging import Judgement
from mdpl.training.windows import Group

MONTHS = "JFMAMJJASOND"
CYCLE_FLUXES = ("Qle", "Qh")


def draw_run(directory: Path, groups: list[Group], judgement: Judgement, losses: list[EpochRow]) -> None:
    """All pictures of a run directory.

    Args:
        directory: the run directory.
        groups: the sites.
        judgement: scores and fluxes of the default and the calibrated parameters.
        losses: rows of loss.csv.
    """
    metrics = judgement.metrics
    for flux in CYCLE_FLUXES:
        pairs = taylor_pairs(metrics, flux, period="test", target="raw")
        if pairs:
            steps = sorted({row.step for row in metrics})
            caption = f"test period, {' and '.join(steps)}, uncorrected observations"
            save(taylor_diagram(pairs, flux, caption), directory / f"taylor_{flux}.png")
    save(loss_curve(losses), directory / "loss.png")
    for tower, split in (pair for group in groups for pair in zip(group.towers, group.splits, strict=True)):
        runs = {stage: judgement.fluxes[tower.label, stage] for stage in STAGES}
        cycles = draw_cycles(tower.label, tower.observations, model_time(tower.forcing), split, runs)
        save(cycles, directory / cycles_file(tower.label))


def taylor_pairs(metrics: list[MetricRow], flux: str, period: str, target: str) -> list[TaylorPair]:
    """Default and calibrated scores of every site that has both."""
    return [
        TaylorPair(site, *(stages[stage] for stage in STAGES))
        for site, stages in by_stage(metrics, flux, period, target).items()
        if all(stage in stages and stages[stage].n > 0 for stage in STAGES)
    ]


def loss_curve(rows: list[EpochRow]) -> Figure:
    """Loss by epoch and site: lines from the training windows, dots from the continuous run of the training years."""
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for index, site in enumerate(dict.fromkeys(row.site for row in rows)):
            style = site_style(index)
            of_site = [row for row in rows if row.site == site]
            axes.plot([r.epoch for r in of_site], [r.loss for r in of_site], color=style["color"], lw=1.5, label=site)
            run = [r for r in of_site if r.record_loss is not None]
            axes.plot([r.epoch for r in run], np.array([r.record_loss for r in run], float), ls="", ms=5, **style)
        axes.set(xlabel="Epoch", ylabel="Loss (training years)", title="Windows (line), continuous record (dots)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        # sites start in different places, so the legend goes where no line is
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_cycles(
    label: str,
    observations: Observations,
    time: TimeAxis,
    split: Split,
    runs: dict[str, dict[str, np.ndarray]],
    narrow: bool = False,
) -> Figure:
    """Mean cycles of Qle and Qh, observed and modelled.

    Means over the measured steps of the test period; over all scored steps where the test period misses months.

    Args:
        label: the site.
        observations: what was measured, ``[obs_time]``.
        time: the runs' time axis.
        split: which observed steps count.
        runs: stage -> flux -> ``[time]``, W m-2.
        narrow: panels one below the other, for small screens, instead of side by side; where the observations are
            too coarse for a diurnal cycle, the models' own is drawn.
    """
    fluxes = [flux for flux in CYCLE_FLUXES if flux in observations.fluxes]
    month = observations.time.datetimes().astype("datetime64[M]").astype(int) % 12
    whole_year = np.unique(month[split.test]).size == 12
    period = split.test if whole_year else split.test | split.train
    alignment = align(time, observations.time, where=observations.file)
    resolved = observations.time.length < DAY / 4
    diurnal = resolved or narrow
    columns = 2 if diurnal and not narrow else 1
    panels = [(flux, cycle) for flux in fluxes for cycle in (("month", "hour") if diurnal else ("month",))]
    if narrow:
        panels.sort(key=lambda panel: panel[1], reverse=True)
    rows = max(1, len(panels) // columns)
    with matplotlib.rc_context(FONT):
        size = (5.4 if columns == 1 else 9.0, (2.2 if narrow else 2.7) * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (flux, cycle) in zip(grid.ravel(), panels, strict=False):
            series = observations.fluxes[flux]
            used = period & series.measured & alignment.covered
            lines = [("observed", series.values, OBSERVED, "-")]
            for (stage, run), colour in zip(runs.items(), (DEFAULT, CALIBRATED), strict=False):
                means = np.asarray(means_at(run[flux], alignment)[0])
                lines.append((stage, means, colour, "--" if stage == "default" else "-"))
            if cycle == "month":
                _cycle(axes, lines, used, month, range(12), 0.0)
            elif resolved:
                hour = observations.second_of_day / 3600.0
                _cycle(axes, lines, used, hour, np.unique(hour), observations.time.length / 7200.0)
            else:
                model_lines = [(stage, runs[stage][flux], colour, mark) for stage, _, colour, mark in lines[1:]]
                steps = _model_steps(used, alignment, time)
                hour = time.start % DAY / 3600.0
                _cycle(axes, model_lines, steps, hour, np.unique(hour), time.length / 7200.0)
                axes.set_title("models only: the observations do not resolve the day", fontsize=9, color="0.3")
            _cycle_axes(axes, flux, cycle, labelled=cycle == "month" or narrow)
        words = "test period" if whole_year else "train and test period"
        figure.suptitle(f"{label}: mean cycles, {words}, measured steps", fontsize=11)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _cycle(axes, lines, used: np.ndarray, key: np.ndarray, bins, shift: float) -> None:
    """Means of each line over the used steps whose key is the bin."""
    for label, values, colour, mark in lines:
        mean = [values[used & (key == b)].mean() if (used & (key == b)).any() else np.nan for b in bins]
        # dots for the few monthly means, a plain line for the many of a day
        marker = "o" if label == "observed" and len(bins) == 12 else ""
        axes.plot(np.asarray(bins) + shift, mean, mark, marker=marker, color=colour, lw=1.6, ms=4, label=label)


def _model_steps(used: np.ndarray, alignment: Alignment, time: TimeAxis) -> np.ndarray:
    """The model steps that make up the used observed intervals."""
    steps = np.zeros(time.start.shape, bool)
    steps[(alignment.first[used][:, None] + np.arange(alignment.ratio)).ravel()] = True
    return steps


def _cycle_axes(axes, flux: str, cycle: str, labelled: bool) -> None:
    axes.axhline(0, color="0.7", lw=0.8, zorder=0)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    if labelled:
        axes.set_ylabel(f"{FLUX_NAMES[flux]}\n{flux}, W m$^{{-2}}$")
    if cycle == "month":
        axes.set_xticks(range(12), list(MONTHS))
        axes.set_xlabel("Month")
    else:
        axes.set_xticks(range(0, 25, 3))
        axes.set_xlabel("Hour of day (local standard time)")
