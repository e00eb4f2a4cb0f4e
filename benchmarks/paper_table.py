"""The paper's table of one or several runs (seeds): change of RMSE, R and STD, default to calibrated, test period.

    for seed in 0 1 2; do
        mdpl calibrate --data $MDPL_DATA/plumber2_daily --epochs 8 --seed $seed -o runs/real_$seed
    done
    python -m benchmarks.paper_table runs/real_0 runs/real_1 runs/real_2 [--baselines baselines.csv]

A change is (calibrated - default) / default, its mean over sites as in the paper (there: five cropland sites,
RMSE Qh -10.3 %, Qle -20.0 %, R Qh +3.0 %, Qle -4.8 %); over several runs median and range. STD is compared with the
observed one: the change of |STD - observed STD|. ``--baselines`` is what ``mdpl baselines`` wrote (same split).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mdpl.runs.directory import read_metrics
from mdpl.scores.evaluation import MetricRow

Table = dict[tuple[str, str, str], MetricRow]
"""(site, flux, stage) -> scores"""


def test_scores(path: Path, target: str) -> Table:
    """Scores of the test period of a metrics.csv."""
    rows = read_metrics(path)
    return {(row.site, row.flux, row.stage): row for row in rows if (row.period, row.target) == ("test", target)}


def spread(values: Iterable[float], form: str) -> str:
    """Median, and the range where there are several."""
    numbers = np.array(list(values))
    text = format(float(np.median(numbers)), form)
    return text if numbers.size == 1 else f"{text} ({numbers.min():{form}} to {numbers.max():{form}})"


def changes(table: Table, flux: str, stage: str) -> dict[str, float]:
    """Mean over sites of the relative change of each score."""
    sites = sorted({site for site, f, s in table if f == flux and s == stage})
    pairs = [(table[site, flux, "default"], table[site, flux, stage]) for site in sites]
    off = lambda scores: abs(scores.std_mod - scores.std_obs)  # noqa: E731
    return {
        "RMSE": float(np.mean([(b.rmse - a.rmse) / a.rmse for a, b in pairs])),
        "R": float(np.mean([(b.r - a.r) / a.r for a, b in pairs])),
        "distance of STD": float(np.mean([off(b) for _, b in pairs]) / np.mean([off(a) for a, _ in pairs]) - 1.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories of mdpl calibrate: seeds of one experiment")
    parser.add_argument("--baselines", type=Path, help="table of mdpl baselines")
    parser.add_argument("--target", default="raw", choices=("raw", "corrected"))
    options = parser.parse_args()
    tables = [test_scores(run / "metrics.csv", options.target) for run in options.runs]
    base = test_scores(options.baselines, options.target) if options.baselines else {}
    models = ("1lin", "3km27", "lstm") if base else ()
    print(
        "| site | flux | RMSE default | calibrated | R default | calibrated |" + "".join(f" {m} RMSE |" for m in models)
    )
    print("|---|---|---:|---|---:|---|" + "---|" * len(models))
    for site, flux in sorted({(site, flux) for site, flux, _ in tables[0]}):
        default = tables[0][site, flux, "default"]
        found = [table[site, flux, "calibrated"] for table in tables]
        line = f"| {site} | {flux} | {default.rmse:.1f} | {spread((s.rmse for s in found), '.1f')} | {default.r:.3f} |"
        line += f" {spread((s.r for s in found), '.3f')} |"
        for model in models:
            others = (
                scores.rmse for key, scores in base.items() if key[:2] == (site, flux) and key[2].startswith(model)
            )
            line += f" {spread(others, '.1f')} |"
        print(line)
    stages = [stage for stage in ("calibrated", "surrogate") if any(key[2] == stage for key in tables[0])]
    print("\n| mean over sites | flux | RMSE | R | distance of STD from the observed |\n|---|---|---|---|---|")
    for stage in stages:
        name = "calibrated, by the LSM" if stage == "calibrated" else "the surrogate's own claim"
        for flux in sorted({flux for _, flux, _ in tables[0]}):
            found = [changes(table, flux, stage) for table in tables]
            cells = " | ".join(spread((one[name] for one in found), "+.1%") for name in found[0])
            print(f"| {name} | {flux} | {cells} |")


if __name__ == "__main__":
    main()
