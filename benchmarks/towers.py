"""Every real tower, whole record, default parameters: finite, closed budgets, skill beside Noah-MP.

    python -m benchmarks.towers [--data ../shared/data] [--precision float32|float64] [--sites A,B] [-o OUT.json]

The whole record is run twice (the first pass is spin-up). Scores follow Noah-MP's table: measured steps
(qc 0) only, at the observation's own step, the first three months (half-hourly records) or the first year
(daily ones) left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np


def first_scored_day(name: str, start: np.datetime64) -> np.datetime64:
    """First day that counts, as in ``reference/noahmp_metrics.csv``."""
    if name == "daily":
        return np.datetime64(f"{start.astype('datetime64[Y]').astype(int) + 1971}-01-01")
    return start.astype("datetime64[M]") + np.timedelta64(3, "M")


def run_tower(met: Path, dtype: str) -> dict:
    """Run one Met file; returns budgets, finiteness and scores."""
    import jax
    import jax.numpy as jnp

    import jlsm
    from mdpl.metrics import scores
    from mdpl.observations import load_observations, to_observed_interval

    forcing, site = jlsm.load_forcing(met)
    params = jlsm.default_parameters(site)
    state = jlsm.initial_state(jnp.mean(forcing.Tair), params.soil.porosity)
    result: dict = {"file": met.name, "steps": forcing.steps, "precision": dtype}
    begin = time.perf_counter()
    for _ in range(2):
        pieces = []
        for _, piece, after in jlsm.stream(params, forcing, site, state):
            pieces.append(jax.tree.map(np.asarray, piece))
            latest = after
        state = latest
        out = jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)
    result["seconds_two_passes"] = round(time.perf_counter() - begin, 1)
    result["finite"] = bool(all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((out, state))))
    days = forcing.steps * float(forcing.dt) / 86400
    result["energy_residual_max"] = float(np.abs(out.EnergyResidual).max())
    result["energy_residual_mean"] = float(out.EnergyResidual.mean(dtype=np.float64))
    result["water_residual_max"] = float(np.abs(out.WaterResidual).max())
    result["water_residual_per_year"] = float(out.WaterResidual.sum(dtype=np.float64) / days * 365.25)
    result["solver_residual_max"] = float(out.SolverResidual.max())
    result["solver_residual_over_0.1"] = int((out.SolverResidual > 0.1).sum())
    for name in ("Rainf", "Snowf", "Evap", "ESoil", "TVeg", "ECanop", "Qs", "Qsb"):
        result[f"{name}_mm_per_year"] = float(getattr(out, name).mean(dtype=np.float64) * 86400 * 365.25)
    flux_file = Path(str(met).replace("_Met.nc", "_Flux.nc"))
    if not flux_file.exists():
        return result
    observations = load_observations(flux_file)
    first = first_scored_day(observations.step, np.datetime64(int(observations.day[0]), "D"))
    late = observations.day.astype("datetime64[D]") >= first
    result["scores"] = {}
    for flux in ("Qle", "Qh", "Rnet", "Qg"):
        for target in ("raw", "corrected"):
            series = observations.target(flux, target)
            if series is None or (target == "corrected" and flux not in ("Qle", "Qh")):
                continue
            means, covered = to_observed_interval(getattr(out, flux), forcing, observations)
            mask = np.asarray(series.measured) & np.asarray(covered) & late
            name = flux if target == "raw" else f"{flux}_cor"
            result["scores"][name] = scores(np.asarray(means), np.asarray(series.values), mask)._asdict()
    return result


def reference_scores(data: Path) -> dict:
    """Noah-MP's scores by (site, variable)."""
    import csv

    with open(data / "reference" / "noahmp_metrics.csv") as file:
        return {(row["site"], row["variable"]): row for row in csv.DictReader(file) if row["start"] != ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("MDPL_DATA", "../shared/data"))
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--sites", default="")
    parser.add_argument("-o", "--output", default="")
    options = parser.parse_args()
    import jax

    jax.config.update("jax_enable_x64", options.precision == "float64")
    data = Path(options.data)
    wanted = [name for name in options.sites.split(",") if name]
    noah = reference_scores(data)
    results = []
    for met in sorted([*data.glob("plumber2/*_Met.nc"), *data.glob("plumber2_daily/*_Met.nc")]):
        if wanted and not any(met.name.startswith(name) for name in wanted):
            continue
        result = run_tower(met, options.precision)
        results.append(result)
        print(
            f"{met.name}: {result['steps']} steps in {result['seconds_two_passes']} s (two passes), "
            f"finite {result['finite']}, energy max {result['energy_residual_max']:.2g} W m-2, "
            f"water max {result['water_residual_max']:.2g} kg m-2 ({result['water_residual_per_year']:.2g} per year), "
            f"solver max {result['solver_residual_max']:.2g} ({result['solver_residual_over_0.1']} steps over 0.1)",
            flush=True,
        )
        water = [key for key in result if key.endswith("_mm_per_year")]
        print("  mm/yr: " + ", ".join(f"{key.split('_')[0]} {result[key]:.0f}" for key in water))
        for name, score in result.get("scores", {}).items():
            row = noah.get((met.name.split("_")[0], name))
            beside = (
                f" | Noah-MP {float(row['rmse']):6.1f} {float(row['bias']):6.1f} {float(row['r']):6.3f}" if row else ""
            )
            print(
                f"  {name:8s} rmse {score['rmse']:6.1f} bias {score['bias']:6.1f} r {score['r']:6.3f}{beside}",
                flush=True,
            )
    if options.output:
        temporary = Path(options.output + ".part")
        temporary.write_text(json.dumps(results, indent=1))
        temporary.rename(options.output)


if __name__ == "__main__":
    main()
