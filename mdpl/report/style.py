"""One look for all pictures: readable sizes, and colours that colour-blind readers tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mdpl.files import write_whole

DPI = 150
OBSERVED, DEFAULT, CALIBRATED = "#000000", "#D55E00", "#0072B2"
SITE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D00")
"""Okabe & Ito (2008) without its yellow, which vanishes on white"""
SITE_MARKERS = "osD^vPXh"
FLUX_NAMES = {"Qle": "Latent heat flux", "Qh": "Sensible heat flux", "Rnet": "Net radiation", "Qg": "Ground heat flux"}
FONT: dict[Any, Any] = {
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
}


def site_style(index: int) -> dict[str, Any]:
    """Colour and marker of the site with this place in the list."""
    return {"color": SITE_COLOURS[index % len(SITE_COLOURS)], "marker": SITE_MARKERS[index % len(SITE_MARKERS)]}


def save(figure: Figure, path: Path) -> None:
    """Write a PNG that appears under its name only when complete."""
    write_whole(path, lambda part: figure.savefig(part, dpi=DPI, bbox_inches="tight", facecolor="white", format="png"))
