"""What other models reach at the same towers: the tables and series of ``$MDPL_DATA/reference``.

Noah-MP 5.2 ran with the very forcing of our Met files. JULES-GL9 and ecLand cy50r1 ran with PLUMBER2's half-hourly
files: their scores are half-hourly, over their own years. At the towers of which only daily fluxes are at hand they are
compared by monthly means instead. Sources and caveats: the README beside the files.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from mdpl.scores.metrics import scores
from mdpl.towers.observations import Observations

FLUXES = ("Qle", "Qh")
MONTHLY_COLUMNS = {"JULES-GL9": "jules_gl9_Wm2", "ecLand-cy50r1": "ecland_cy50r1_Wm2"}
EMPIRICAL = ("1lin", "3km27", "lstm")
LEAST_SHARE = 0.5
"""a month counts where at least this share of its steps was measured"""
TOLERANCE = 1.05
"""as good as the best: an RMSE of at most this many times its"""


def rows(data: Path, table: str) -> list[dict[str, str]]:
    """The lines of one table of the reference folder."""
    with open(data / "reference" / table, newline="") as file:
        return list(csv.DictReader(file))


def published_scores(data: Path) -> dict[tuple[str, str], dict[str, dict]]:
    """Half-hourly scores of JULES and ecLand by (site, flux) and model, with the years they cover."""
    table: dict[tuple[str, str], dict[str, dict]] = {}
    for row in rows(data, "plumber2_published_metrics.csv"):
        score = {name: float(row[name]) for name in ("rmse", "bias", "r")}
        table.setdefault((row["site"], row["variable"]), {})[row["model"]] = score | {"period": row["period"]}
    return table


def published_months(data: Path) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Monthly means at PLUMBER2's measured half-hours, W m-2: (site, flux) -> month -> ``observed`` and each model."""
    table: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows(data, "plumber2_crop_model_monthly.csv"):
        columns = {"observed": "obs_Wm2", **MONTHLY_COLUMNS}
        values = {name: float(row[column]) for name, column in columns.items() if row[column]}
        if len(values) == len(columns):
            table.setdefault((row["site"], row["variable"]), {})[row["month"]] = values
    return table


def noahmp_series(data: Path, met: Path, observations: Observations) -> dict[str, np.ndarray] | None:
    """Noah-MP's fluxes at the observation's steps (W m-2), None where there is no run for this Met file.

    Its own table of scores (``noahmp_metrics.csv``) is not used: flags have changed since, at CN-Cng the Qh of two
    months. From the series both models are scored at the same steps.

    Raises:
        ValueError: the run is on another clock than the observations.
    """
    import xarray as xr

    site, years = met.name.split("_")[:2]
    daily = "_daily" if observations.step == "daily" else ""
    path = data / "reference" / "noahmp" / f"{site}_{years}_NoahMP52{daily}.nc"
    if not path.exists():
        return None
    with xr.open_dataset(path) as dataset:
        times = dataset["time"].values.astype("datetime64[s]")
        if not np.array_equal(times, observations.time.datetimes().astype("datetime64[s]")):
            raise ValueError(f"{path}: its time steps are not those of {observations.file}")
        return {flux: dataset[flux].values.ravel().astype(np.float64) for flux in ("Qle", "Qh", "Rnet", "Qg")}


def monthly_scores(
    observations: Observations,
    flux: str,
    usable: np.ndarray,
    models: dict[str, np.ndarray],
    published: dict[str, dict[str, float]],
) -> dict | None:
    """Scores of monthly means over the months that every model and both observed series have.

    Each model is compared with the observed mean of its own sampling: ours and Noah-MP's at this file's measured
    steps, JULES' and ecLand's at PLUMBER2's measured half-hours. How far the two observed series are apart
    is scored too (``other observations``): the two samplings, measured days or half-hours, differ by that much.

    Args:
        observations: this tower's.
        flux: Qle or Qh.
        usable: which steps count.
        models: ours and Noah-MP's series at the observation's steps, W m-2.
        published: month -> model -> mean, from ``published_months``.

    Returns:
        {"months", "first", "last", "models": {name: {rmse, bias, r}}}, None where fewer than three months are common.
    """
    month = observations.time.datetimes().astype("datetime64[M]")
    in_month = {}
    for name in sorted(published):
        steps = month == np.datetime64(name, "M")
        if steps.any() and usable[steps].mean() >= LEAST_SHARE:
            in_month[name] = steps & usable
    if len(in_month) < 3:
        return None

    def means(values: np.ndarray) -> np.ndarray:
        return np.array([values[steps].mean() for steps in in_month.values()])

    ours = means(observations.fluxes[flux].values)
    theirs = {name: np.array([published[m][name] for m in in_month]) for name in ("observed", *MONTHLY_COLUMNS)}
    pairs = {name: (means(values), ours) for name, values in models.items()}
    pairs |= {name: (theirs[name], theirs["observed"]) for name in MONTHLY_COLUMNS}
    pairs["other observations"] = (theirs["observed"], ours)
    return {
        "months": len(in_month),
        "first": min(in_month),
        "last": max(in_month),
        "models": {
            name: {key: getattr(scores(model, observed), key) for key in ("rmse", "bias", "r")}
            for name, (model, observed) in pairs.items()
        },
    }


def summary(results: list[dict], data: Path) -> list[dict]:
    """One row per tower and step compared: RMSE of Qle and Qh of jlsm, Noah-MP and the best published model."""
    published = published_scores(data)
    table = []
    for result in results:
        if "scores" not in result:
            continue
        site, step = result["site"], result["step"]
        own_step = {"site": site, "step": step}
        months = {"site": site, "step": "monthly"}
        for flux in FLUXES:
            if flux not in result["scores"]:
                continue
            others = published.get((site, flux), {}) if step == "half-hourly" else {}
            same_years = all(score["period"] == result["file"].split("_")[1] for score in others.values())
            others = {f"{model} {score['period']}": score["rmse"] for model, score in others.items()}
            noahmp = result["noahmp_scores"].get(flux, {}).get("rmse")
            own_step[flux] = _compared(result["scores"][flux]["rmse"], noahmp, others, same_years)
            monthly = result["monthly"].get(flux)
            if monthly is not None:
                rmse = {name: score["rmse"] for name, score in monthly["models"].items()}
                others = {name: rmse[name] for name in MONTHLY_COLUMNS}
                months[flux] = _compared(rmse["jlsm"], rmse.get("Noah-MP"), others, True)
        table += [row for row in (own_step, months) if any(flux in row for flux in FLUXES)]
    return table


def _compared(jlsm: float, noahmp: float | None, published: dict[str, float], same_years: bool) -> dict:
    """RMSE of all, and whether ours is within 5 % of the best other that ran the same years (None: there is none)."""
    best = min(published, key=published.get, default=None)
    others = [value for value in (noahmp, *(published.values() if same_years else ())) if value is not None]
    return {
        "jlsm": jlsm,
        "noahmp": noahmp,
        "published": published.get(best),
        "published_model": best,
        "published_same_years": same_years if published else None,
        "within_5_percent": jlsm <= TOLERANCE * min(others) if others else None,
    }


def markdown(table: list[dict]) -> str:
    """The summary as a Markdown table."""

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f}"

    lines = ["| site | step |" + "".join(f" {f} jlsm | Noah-MP | best published | within 5 % |" for f in FLUXES)]
    lines.append("|---|---|" + "---:|---:|---|---|" * len(FLUXES))
    for row in table:
        line = f"| {row['site']} | {row['step']} |"
        for flux in FLUXES:
            cell = row.get(flux)
            if cell is None:
                line += " – | – | – | – |"
                continue
            best = number(cell["published"])
            if cell["published_model"]:
                best += f" ({cell['published_model']})" + ("" if cell["published_same_years"] else " *")
            verdict = {True: "yes", False: "no", None: "–"}[cell["within_5_percent"]]
            line += f" {number(cell['jlsm'])} | {number(cell['noahmp'])} | {best} | {verdict} |"
        lines.append(line)
    return "\n".join(lines)


def empirical_notes(data: Path, sites: list[str]) -> list[str]:
    """RMSE of empirical models by site: fitted to the site's early years, scored on its late ones."""
    found: dict[tuple[str, str, str], float] = {}
    periods: dict[str, str] = {}
    for table in ("empirical_metrics.csv", "empirical_daily_metrics.csv"):
        for row in rows(data, table):
            if row["split"] == "A":
                found[row["site"], row["model"], row["flux"]] = float(row["rmse"])
                periods[row["site"]] = row["test"]
    notes = []
    for site in (site for site in sites if site in periods):
        models = [
            f"{model} " + "/".join(f"{found[site, model, flux]:.0f}" for flux in FLUXES)
            for model in EMPIRICAL
            if all((site, model, flux) in found for flux in FLUXES)
        ]
        notes.append(f"{site} ({periods[site]}): {', '.join(models)}")
    return notes
