"""The numbers of a report: relative changes over sites, scores side by side, the surrogate's gap."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mdpl.runs.directory import STAGES
from mdpl.scores.evaluation import MetricRow
from mdpl.scores.metrics import Scores

HEADLINE_FLUXES = ("Qh", "Qle")
WEAK_CORRELATION = 0.1
"""default R below which a relative change of R says little"""


class Change(NamedTuple):
    """The paper's Δ of one flux: mean over sites of (calibrated - default) / default."""

    flux: str
    period: str
    target: str
    rmse: float
    """-, negative is better"""
    r: float
    """-, positive is better"""
    std: float
    """-, of the model's standard deviation; neither sign is better by itself"""
    spread: tuple[float, float]
    """mean over sites of std_mod / std_obs, default and calibrated: 1 is the observations' spread"""
    improved: int
    """sites whose RMSE fell"""
    sites: int
    doubtful: tuple[str, ...]
    """sites whose default R is so small that its relative change means little"""


def changes(metrics: list[MetricRow], period: str, target: str) -> list[Change]:
    """Δ of RMSE, R and STD for Qh and Qle (EVALUATION.md).

    Normalised RMSE and STD are those divided by the observations' standard deviation, which is the same before and
    after, so that their relative changes are those of RMSE and STD.
    """
    rows = []
    for flux in HEADLINE_FLUXES:
        pairs = {
            site: pair
            for site, pair in by_stage(metrics, flux, period, target).items()
            if all(stage in pair and pair[stage].n > 0 for stage in STAGES)
        }
        if not pairs:
            continue
        before, after = ([pair[stage] for pair in pairs.values()] for stage in STAGES)
        rows.append(
            Change(
                flux,
                period,
                target,
                **{key: _mean_change(before, after, name) for key, name in _CHANGED.items()},
                spread=(_mean_spread(before), _mean_spread(after)),
                improved=sum(b.rmse > a.rmse for b, a in zip(before, after, strict=True)),
                sites=len(pairs),
                doubtful=tuple(site for site, pair in pairs.items() if not pair["default"].r > WEAK_CORRELATION),
            )
        )
    return rows


_CHANGED = {"rmse": "rmse", "r": "r", "std": "std_mod"}


def _mean_change(before: list[Scores], after: list[Scores], name: str) -> float:
    b, a = (np.array([getattr(scores, name) for scores in side]) for side in (before, after))
    # NaN at one site (no correlation) makes the mean NaN: said, not averaged away
    return float(np.mean((a - b) / b)) if (b != 0).all() else math.nan


def _mean_spread(side: list[Scores]) -> float:
    return float(np.mean([scores.std_mod / scores.std_obs if scores.std_obs else math.nan for scores in side]))


def by_stage(metrics: list[MetricRow], flux: str, period: str, target: str) -> dict[str, dict[str, Scores]]:
    """site -> stage -> scores of one flux, period and target."""
    sites: dict[str, dict[str, Scores]] = {}
    for row in metrics:
        if (row.flux, row.period, row.target) == (flux, period, target):
            sites.setdefault(row.site, {})[row.stage] = row.scores
    return sites


class ScoreLine(NamedTuple):
    """One line of the table of scores."""

    site: str
    flux: str
    stage: str
    scores: Scores
    first: bool
    """True where a new site and flux begins"""


def score_lines(metrics: list[MetricRow], period: str, target: str) -> list[ScoreLine]:
    """Scores of all sites, fluxes and stages, sites and fluxes together; empty rows (n = 0) left out."""
    fluxes = dict.fromkeys((*HEADLINE_FLUXES, *(row.flux for row in metrics)))
    lines = []
    for site in dict.fromkeys(row.site for row in metrics):
        for flux in fluxes:
            stages = by_stage(metrics, flux, period, target).get(site, {})
            filled = [(stage, scores) for stage, scores in stages.items() if scores.n > 0]
            lines += [ScoreLine(site, flux, stage, scores, i == 0) for i, (stage, scores) in enumerate(filled)]
    return lines


class Gap(NamedTuple):
    """What the surrogate promised and what the LSM gives with the same parameters."""

    site: str
    flux: str
    period: str
    claimed: float
    """RMSE of the surrogate, W m-2"""
    reached: float
    """RMSE of the LSM, W m-2"""
    default: float
    """RMSE of the LSM before, W m-2"""

    @property
    def kept(self) -> float:
        """Share of the promised gain that the LSM keeps, -; NaN where nothing was promised."""
        promised = self.default - self.claimed
        return (self.default - self.reached) / promised if promised > 0 else math.nan


def surrogate_gaps(metrics: list[MetricRow], target: str = "raw") -> list[Gap]:
    """Surrogate against LSM for every site and flux with a row of stage ``surrogate``."""
    gaps = []
    for period in dict.fromkeys(row.period for row in metrics if row.stage == "surrogate"):
        for flux in HEADLINE_FLUXES:
            for site, stages in by_stage(metrics, flux, period, target).items():
                if {"surrogate", *STAGES} <= set(stages):
                    numbers = (stages[stage].rmse for stage in ("surrogate", "calibrated", "default"))
                    gaps.append(Gap(site, flux, period, *numbers))
    return gaps
