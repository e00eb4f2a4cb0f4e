"""The Taylor diagram (Taylor 2001, doi:10.1029/2000JD900719): spread, correlation and centred error in one point.

Radius is the model's standard deviation over the observed one, angle is arccos of the correlation, so the distance from
the reference point (1 on the baseline) is the centred RMSE over the observed standard deviation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mdpl.report.style import FLUX_NAMES, FONT, site_style
from mdpl.scores.metrics import Scores

CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class TaylorPair(NamedTuple):
    """A site before and after."""

    site: str
    default: Scores
    calibrated: Scores


def taylor_diagram(pairs: list[TaylorPair], flux: str, caption: str = "") -> Figure:
    """Default (open) to calibrated (filled) of every site, one arrow each.

    Args:
        pairs: sites; those with undefined correlation or spread are named under the title instead of drawn.
        flux: ALMA name, for the title.
        caption: period, target and step, under the title.
    """
    drawable = [pair for pair in pairs if _drawable(pair.default) and _drawable(pair.calibrated)]
    left_out = [pair.site for pair in pairs if pair not in drawable]
    points = [_place(scores) for pair in drawable for scores in (pair.default, pair.calibrated)]
    widest = max([1.5, *(1.12 * radius for _, radius in points)])
    half = any(angle > np.pi / 2 for angle, _ in points)

    with matplotlib.rc_context(FONT):
        # narrow enough to be read on a phone: the legend stands below
        figure = Figure(figsize=(7.4 if half else 5.2, 5.0 if half else 5.6))
        axes: Any = figure.add_subplot(projection="polar")  # PolarAxes, which add_subplot does not say
        axes.set_thetamin(0)
        axes.set_thetamax(180 if half else 90)
        axes.set_ylim(0, widest)
        _grid(axes, widest, half, points)
        for index, pair in enumerate(drawable):
            _pair(axes, pair, index)
        _legend(axes, drawable, half)
        title = f"{FLUX_NAMES.get(flux, flux)} ({flux})"
        lines = [caption] if caption else []
        lines += [f"not drawn (no correlation): {', '.join(left_out)}"] if left_out else []
        place = (0.0, 1.36 * widest) if half else (0.5 * widest, 1.2 * widest)
        _words(axes, "\n".join([title, *lines]), *place, fontsize=11)
    return figure


def _drawable(scores: Scores) -> bool:
    return bool(np.isfinite(scores.r) and scores.std_obs > 0)


def _place(scores: Scores) -> tuple[float, float]:
    return float(np.arccos(scores.r)), scores.std_mod / scores.std_obs


def _grid(axes, widest: float, half: bool, points: list[tuple[float, float]]) -> None:
    axes.grid(False)
    correlations = sorted({*CORRELATIONS, *(-c for c in CORRELATIONS)} if half else CORRELATIONS)
    if half:
        correlations = [c for c in correlations if abs(c) not in (0.7, 0.99)]
    angles = np.arccos(correlations)
    axes.set_xticks(angles, [f"{c:g}" for c in correlations])
    axes.tick_params(axis="x", pad=3)
    for angle in angles:
        axes.plot([angle, angle], [0, widest], color="0.88", lw=0.6, zorder=0)
    radii = np.arange(0, widest + 1e-9, _spacing(widest))
    axes.set_yticks(radii, [f"{r:g}" for r in radii])
    axes.set_rlabel_position(0)
    arc = np.linspace(0, np.pi if half else np.pi / 2, 200)
    for radius in radii[1:]:
        reference = abs(radius - 1) < 1e-9
        axes.plot(arc, np.full_like(arc, radius), color="0.35" if reference else "0.88",
                  lw=1.1 if reference else 0.6, ls="--" if reference else "-", zorder=1)  # fmt: skip
    axes.plot(0, 1, marker="*", ms=15, color="black", clip_on=False, zorder=6)
    _error_contours(axes, widest, half, points)
    _words(
        axes,
        "Correlation R",
        *((0.0, 1.2 * widest) if half else (0.707 * 1.2 * widest, 0.707 * 1.2 * widest)),
        rotation=0.0 if half else -45.0,
    )
    _words(
        axes,
        "Standard deviation, model / observed",
        *((0.0, -0.16 * widest) if half else (0.5 * widest, -0.11 * widest)),
    )


def _spacing(widest: float) -> float:
    """Between circles: six or so, at round numbers."""
    return 0.25 if widest <= 2 else 0.5 if widest <= 4 else float(np.ceil(widest / 6))


def _words(axes, text: str, x: float, y: float, rotation: float = 0.0, **style) -> None:
    """Text at Cartesian coordinates of the diagram (polar axes know only angle and radius)."""
    style = {"ha": "center", "va": "center", "fontsize": 10} | style
    axes.text(np.arctan2(y, x), np.hypot(x, y), text, rotation=rotation, clip_on=False, **style)


def _error_contours(axes, widest: float, half: bool, points: list[tuple[float, float]]) -> None:
    """Circles of equal centred RMSE around the reference point, labelled where the data leave room."""
    angle, radius = np.meshgrid(np.linspace(0, np.pi if half else np.pi / 2, 241), np.linspace(0, widest, 241))
    distance = np.sqrt(np.maximum(1 + radius**2 - 2 * radius * np.cos(angle), 0))
    levels = np.arange(1, 7) * _spacing(widest)
    axes.contour(angle, radius, distance, levels=levels, colors="#5B8C5A", linewidths=0.8, linestyles=":")
    occupied = np.array([[r * np.cos(a), r * np.sin(a)] for a, r in points]).reshape(-1, 2)
    box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85}
    for level in levels:
        turn = np.radians(np.arange(30, 151, 5))
        x, y = 1 + level * np.cos(turn), level * np.sin(turn)
        inside = (np.hypot(x, y) < 0.94 * widest) & (y > 0.06 * widest) & (half | (x > 0.06 * widest))
        if not inside.any():
            continue
        x, y = x[inside], y[inside]
        room = np.hypot(x[:, None] - occupied[:, 0], y[:, None] - occupied[:, 1]).min(axis=1, initial=0.15 * widest)
        # enough room is enough: beyond it, the place nearest to straight above the reference point wins
        best = int(np.argmax(room - 0.01 * widest * np.abs(x - 1)))
        _words(axes, f"{level:g}", x[best], y[best], color="#3F6B3E", fontsize=8, bbox=box, zorder=2)


def _pair(axes, pair: TaylorPair, index: int) -> None:
    style = site_style(index)
    before, after = _place(pair.default), _place(pair.calibrated)
    arrow = {"arrowstyle": "-|>", "color": style["color"], "lw": 1.3, "shrinkA": 5, "shrinkB": 5, "mutation_scale": 11}
    axes.annotate("", xy=after, xytext=before, arrowprops=arrow, zorder=4)
    axes.plot(*before, ms=8, mfc="white", mec=style["color"], mew=1.5, ls="", marker=style["marker"], zorder=5)
    axes.plot(*after, ms=9, mfc=style["color"], mec="white", mew=0.7, ls="", marker=style["marker"], zorder=5)


def _legend(axes, pairs: list[TaylorPair], half: bool) -> None:
    handles = [Line2D([], [], ls="", ms=8, label=pair.site, **site_style(i)) for i, pair in enumerate(pairs)]
    handles += [
        Line2D([], [], ls="", marker="o", ms=8, mfc="white", mec="0.3", mew=1.5, label="default"),
        Line2D([], [], ls="", marker="o", ms=8, color="0.3", label="calibrated"),
        Line2D([], [], ls="", marker="*", ms=12, color="black", label="observed"),
        Line2D([], [], ls=":", color="#5B8C5A", label="centred RMSE / σ observed"),
    ]
    below = (0.5, 0.02) if half else (0.5, -0.12)
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=below, frameon=False, ncols=3, columnspacing=1.2)
