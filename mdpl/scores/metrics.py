"""The scores of a flux: how far a model is from what was measured.

Definitions (m model, o observed, over the n steps in the mask, sigma the population standard deviation):
RMSE = sqrt(mean((m - o)^2)); bias = mean(m - o); R = Pearson correlation;
centred RMSE = sqrt(mean(((m - mean m) - (o - mean o))^2)), given over sigma_o (Taylor 2001);
NME = sum|m - o| / sum|o - mean o|; KGE = 1 - sqrt((R - 1)^2 + (sigma_m / sigma_o - 1)^2 + (mean m / mean o - 1)^2)
(Gupta et al. 2009, doi:10.1016/j.jhydrol.2009.08.003). A score that is undefined (no step, constant series,
zero mean in KGE) is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Scores(NamedTuple):
    """Scores of one flux, units of the flux unless named otherwise."""

    rmse: float
    """root mean square error"""
    bias: float
    """mean bias error, model minus observed"""
    r: float
    """correlation, -"""
    std_mod: float
    """standard deviation of the model at the compared steps"""
    std_obs: float
    """standard deviation of the observations"""
    crmse: float
    """centred RMSE over std_obs, -: the distance from the reference point of a Taylor diagram"""
    nme: float
    """normalised mean error, -"""
    kge: float
    """Kling-Gupta efficiency, -"""
    n: int
    """steps compared"""


def scores(
    model: Float[np.ndarray, "time"], observed: Float[np.ndarray, "time"], mask: Bool[np.ndarray, "time"] | None = None
) -> Scores:
    """All scores of ``model`` against ``observed`` where ``mask`` is True (everywhere when None).

    Computed in float64. Raises ValueError where shapes differ.
    """
    model, observed = np.asarray(model, np.float64), np.asarray(observed, np.float64)
    mask = np.ones(observed.shape, bool) if mask is None else np.asarray(mask, bool)
    if not model.shape == observed.shape == mask.shape:
        raise ValueError(f"shapes differ: model {model.shape}, observed {observed.shape}, mask {mask.shape}")
    m, o = model[mask], observed[mask]
    if m.size == 0:
        return Scores(*(np.nan,) * 8, n=0)
    m_anomaly, o_anomaly = m - m.mean(), o - o.mean()
    std_mod, std_obs = _std(m), _std(o)
    r = _ratio(np.mean(m_anomaly * o_anomaly), std_mod * std_obs)
    r = float(np.clip(r, -1.0, 1.0))  # rounding can step over 1; NaN stays NaN
    spread, level = _ratio(std_mod, std_obs), _ratio(m.mean(), o.mean())
    kge = 1.0 - np.sqrt((r - 1.0) ** 2 + (spread - 1.0) ** 2 + (level - 1.0) ** 2)
    return Scores(
        rmse=float(np.sqrt(np.mean((m - o) ** 2))),
        bias=float(np.mean(m - o)),
        r=r,
        std_mod=std_mod,
        std_obs=std_obs,
        crmse=_ratio(float(np.sqrt(np.mean((m_anomaly - o_anomaly) ** 2))), std_obs),
        nme=_ratio(float(np.sum(np.abs(m - o))), float(np.sum(np.abs(o_anomaly)))),
        kge=float(kge),
        n=int(m.size),
    )


def _std(values: np.ndarray) -> float:
    # a constant series has no spread; its mean may round, so ask the values and not the anomalies
    return 0.0 if values.min() == values.max() else float(values.std())


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator != 0.0 else float("nan")
