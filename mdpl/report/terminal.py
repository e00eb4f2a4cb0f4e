"""Tables of scores for a terminal, narrow enough for 80 columns."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.table import Table

from mdpl.scores.evaluation import MetricRow


def console() -> Console:
    """Standard output; in a pipe or a file wide enough that no number is cut."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=140)


def table(names: tuple[str, ...], rows: list[tuple[str, ...]], words: int) -> Table:
    """A narrow table; the first ``words`` columns hold text."""
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate(names):
        result.add_column(name, justify="left" if i < words else "right", no_wrap=True)
    for row in rows:
        result.add_row(*row)
    return result


def calibration_table(metrics: list[MetricRow]) -> Table:
    """Test scores against uncorrected observations, default and calibrated."""
    cells = []
    for (site, flux), (before, after) in _pairs(metrics, "default", "calibrated").items():
        changes = (("rmse", 1), ("bias", 1), ("r", 3), ("nme", 3))
        changed = (f"{getattr(before, k):.{d}f} → {getattr(after, k):.{d}f}" for k, d in changes)
        cells.append((site, flux, *changed, str(after.n)))
    return table(("site", "flux", "RMSE W m-2", "bias W m-2", "R", "NME", "n"), cells, words=2)


def transfer_table(metrics: list[MetricRow]) -> Table:
    """Test scores against uncorrected observations, default and transferred."""
    names = ("site", "flux", "RMSE default", "transferred", "R default", "transferred")
    pairs = _pairs(metrics, "default", "transferred")
    cells = [
        (site, flux, f"{a.rmse:.1f}", f"{b.rmse:.1f}", f"{a.r:.3f}", f"{b.r:.3f}")
        for (site, flux), (a, b) in pairs.items()
    ]
    return table(names, cells, words=2)


def score_table(rows: list[MetricRow]) -> Table:
    """All scores, a line per flux."""
    names = ("flux", "RMSE", "bias", "R", "STD mod", "STD obs", "cRMSE/σ", "NME", "KGE", "n")
    digits = {"rmse": 2, "bias": 2, "r": 3, "std_mod": 2, "std_obs": 2, "crmse": 3, "nme": 3, "kge": 3}
    cells = [
        (
            row.flux if row.target == "raw" else f"{row.flux}_cor",
            *(f"{getattr(row, name):.{d}f}" for name, d in digits.items()),
            str(row.n),
        )
        for row in rows
    ]
    return table(names, cells, words=1)


def plain_scores(row: MetricRow) -> dict[str, str | float | int | None]:
    """A row for JSON: flux, target, step and scores, None where a score is undefined."""
    labels = {"flux": row.flux, "target": row.target, "step": row.step}
    numbers = row.scores._asdict().items()
    return labels | {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in numbers}


def _pairs(metrics: list[MetricRow], *stages: str) -> dict[tuple[str, str], tuple[MetricRow, ...]]:
    """(site, flux) -> test rows of the stages, where all are scored."""
    rows = {(r.site, r.flux, r.stage): r for r in metrics if (r.period, r.target) == ("test", "raw") and r.n}
    keys = dict.fromkeys((r.site, r.flux) for r in rows.values())
    return {key: tuple(rows[*key, s] for s in stages) for key in keys if all((*key, s) in rows for s in stages)}
