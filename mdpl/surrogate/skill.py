"""How well a surrogate imitates the model: R2 and RMSE on runs it has not seen, run through its own ``simulate``."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jlsm.forcing import stack_sites
from jlsm.parameters import default_parameters, replace_parameters
from mdpl.model_paths import at_columns
from mdpl.surrogate.network import Surrogate, SurrogateState
from mdpl.surrogate.runs import SURROGATE_FLUXES, Runs, record_pieces
from mdpl.towers.intervals import DAY
from mdpl.towers.load import Tower


def skill(
    surrogate: Surrogate, towers: list[Tower], runs: Runs, split: str, only_site: int | None = None
) -> list[dict]:
    """R2 (1 - mean square error / variance over all columns and steps) and RMSE, W m-2, per flux and step.

    ``r2_anomaly`` is the R2 of what parameters do: a run's flux minus the mean over the runs of the same site and time.
    That is what calibration's gradient follows, and weather explains none of it.
    """
    chosen = runs.chosen(split)
    if only_site is not None:
        chosen = chosen[runs.site[chosen] == only_site]
    sites = runs.site[chosen]
    per_day = round(DAY / float(towers[0].forcing.dt))
    length = runs.fluxes.shape[0]
    place = stack_sites([(t.forcing.window(0, 1), t.site) for t in towers])[1]
    params = at_columns(default_parameters(place), sites)
    params = replace_parameters(params, {k: jnp.asarray(runs.values[chosen, i]) for i, k in enumerate(runs.keys)})
    site = at_columns(place.numeric(), sites)
    first = runs.first_day[chosen] * per_day
    simulate = jax.jit(surrogate.simulate)
    burn_in = record_pieces(towers, sites, first - length, length)
    state: SurrogateState = surrogate.start(chosen.size, burn_in.Tair.dtype)
    _, state = simulate(params, burn_in, site, state)
    outputs, _ = simulate(params, record_pieces(towers, sites, first, length), site, state)
    rows = []
    together = np.unique(np.stack([sites, runs.first_day[chosen]]), axis=1, return_inverse=True)[1]
    for flux in surrogate.fluxes:
        truth = runs.fluxes[:, chosen, SURROGATE_FLUXES.index(flux)].astype(np.float64)
        answer = np.asarray(getattr(outputs, flux), np.float64)
        for step in ("half-hourly" if per_day == 48 else "hourly", "daily"):
            if step == "daily":
                truth, answer = (v.reshape(-1, per_day, chosen.size).mean(axis=1) for v in (truth, answer))
            square = float(np.mean((answer - truth) ** 2))
            rows.append(
                {"split": split, "flux": flux, "step": step, "r2": 1.0 - square / float(truth.var()),
                 "r2_anomaly": _anomaly_r2(answer, truth, together), "rmse": square**0.5, "runs": int(chosen.size)}
            )  # fmt: skip
    return rows


def _anomaly_r2(answer: np.ndarray, truth: np.ndarray, together: np.ndarray) -> float | None:
    """R2 of ``[steps, runs]`` minus the mean over runs of the same group; None where no group has two runs."""
    error, total = 0.0, 0.0
    for group in np.unique(together):
        a, t = (v[:, together == group] for v in (answer, truth))
        a, t = (v - v.mean(axis=1, keepdims=True) for v in (a, t))
        error, total = error + float(((a - t) ** 2).sum()), total + float((t**2).sum())
    return 1.0 - error / total if total > 0.0 else None


def card_text(surrogate: Surrogate) -> str:
    """The card as Markdown."""
    card = surrogate.card
    lines = [
        "# Surrogate card",
        "",
        f"Imitates jlsm's {', '.join(surrogate.fluxes)} at {', '.join(card['sites'])} for {len(surrogate.keys)} "
        f"parameters: {', '.join(surrogate.keys)}.",
        "",
        f"Learned from {card['training_runs']} runs; all runs together took {card['model_steps']:,} model steps in "
        f"{card['model_seconds']:.0f} s, fitting {card['steps']} steps in {card['training_seconds']:.0f} s.",
        "",
        "`draws`: unseen parameters, years of training; `year`: unseen parameters and an unseen year; `site`: a second "
        "network that never saw the named site, scored there on unseen parameters and an unseen year.",
        "",
        "`anomaly`: R2 of what parameters do, a run's flux minus the mean over the runs of the same site and time.",
        "",
        "| split | flux | step | R2 | R2 anomaly | RMSE W m-2 | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in card.get("scores", []):
        anomaly = "-" if row["r2_anomaly"] is None else f"{row['r2_anomaly']:.3f}"
        lines.append(
            f"| {row['split']} | {row['flux']} | {row['step']} | {row['r2']:.3f} | {anomaly} | "
            f"{row['rmse']:.2f} | {row['runs']} |"
        )
    return "\n".join(lines) + "\n"
