"""Pictures of learned parameters: where they lie between their bounds, and how they change over the year."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mdpl.report.style import FONT, site_style
from mdpl.runs.rows import CourseRow, ParameterRow

MONTH_STARTS = (1, 32, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335)
PANELS_PER_FIGURE = 4


def parameter_plot(rows: list[ParameterRow]) -> Figure:
    """Default (open) and calibrated (filled) value of every parameter and site, as a share of the allowed range.

    Args:
        rows: lines of parameters.csv that have bounds.
    """
    sites = tuple(dict.fromkeys(row.site for row in rows))
    names = tuple(dict.fromkeys(row.name for row in rows))
    lane = 0.8 / len(sites)
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(5.4, 1.3 + len(names) * max(0.27, 0.11 * len(sites) + 0.08)), layout="constrained")
        axes = figure.add_subplot()
        size = 5 if len(sites) <= 3 else 4
        for row in rows:
            style = site_style(sites.index(row.site))
            y = names.index(row.name) + (sites.index(row.site) - (len(sites) - 1) / 2) * lane
            before, after = row.share(row.default), row.share(row.calibrated)
            axes.plot([before, after], [y, y], color=style["color"], lw=1.1, zorder=2)
            axes.plot(before, y, ls="", ms=size, mfc="white", mec=style["color"], marker=style["marker"], zorder=3)
            axes.plot(
                after, y, ls="", ms=size, mew=0.5, mec="white", mfc=style["color"], marker=style["marker"], zorder=4
            )
        for i in range(len(names)):
            if i % 2:
                axes.axhspan(i - 0.5, i + 0.5, color="0.96", zorder=0)
        for bound in (0, 1):
            axes.axvline(bound, color="0.35", lw=1.0, zorder=1)
        axes.set(
            xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5), xlabel="Place between the bounds (0 lower, 1 upper)"
        )
        axes.set_yticks(range(len(names)), [name.split(".")[-1] for name in names], fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_title("Default (open) and calibrated (filled)")
        handles = [Line2D([], [], ls="", ms=7, label=site, **site_style(i)) for i, site in enumerate(sites)]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def seasonal_plots(rows: list[CourseRow], constant: list[ParameterRow]) -> list[Figure]:
    """The course over the year of every parameter that changes with the season, a few panels to a figure.

    Args:
        rows: lines of parameters_seasonal.csv.
        constant: the rows of ``parameter_plot``; their default is drawn dotted.
    """
    sites = tuple(dict.fromkeys(row.site for row in (*constant, *rows)))
    names = tuple(dict.fromkeys(row.name for row in rows))
    constants = {(row.site, row.name): row for row in constant}
    figures = []
    for first in range(0, len(names), PANELS_PER_FIGURE):
        shown = names[first : first + PANELS_PER_FIGURE]
        with matplotlib.rc_context(FONT):
            figure = Figure(figsize=(5.4, 1.9 * len(shown) + 0.8), layout="constrained")
            panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
            for axes, name in zip(panels, shown, strict=True):
                for i, site in enumerate(sites):
                    course = sorted((row.day, row.value) for row in rows if (row.site, row.name) == (site, name))
                    if not course:
                        continue
                    axes.plot(*np.array(course).T, color=site_style(i)["color"], lw=1.6, label=site)
                    if (site, name) in constants:
                        axes.axhline(constants[site, name].default, color=site_style(i)["color"], lw=0.9, ls=":")
                unit = next((row.unit for row in constant if row.name == name), "")
                axes.set_title(f"{name.split('.')[-1]} ({unit})" if unit not in ("", "-") else name.split(".")[-1])
                axes.set_xlim(1, 366)
                axes.grid(color="0.92")
                axes.spines[["top", "right"]].set_visible(False)
            panels[-1].set_xticks(MONTH_STARTS, list("JFMAMJJASOND"))
            panels[-1].set_xlabel("Month (dotted: default)")
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figures.append(figure)
    return figures
