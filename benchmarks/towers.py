"""Every real tower, whole record, default parameters: finite, closed budgets, skill beside other models.

    python -m benchmarks.towers [--data DIR] [--precision float32|float64] [--passes 2] [--sites A,B] \\
        [-o OUT.json]

The whole record is run ``--passes`` times (all but the last are spin-up). Scores: measured steps (qc 0) only, at the
observation's own step, the first three months (half-hourly records) or the first year (daily ones) left out, Noah-MP at
the same steps. JULES and ecLand stand beside them (``benchmarks.reference``): their published half-hourly scores at
half-hourly towers, monthly means over the same months wherever their months are published.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import reference
from benchmarks.data import data_folder, met_files
from benchmarks.results import result_file, write_json
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import FORWARD_LOOP_BYTES


def first_scored_day(step: str, start: np.datetime64) -> np.datetime64:
    """First day that counts, as in ``reference/noahmp_metrics.csv``: a year (daily records) or three months in."""
    if step == "daily":
        return np.datetime64(f"{start.astype('datetime64[Y]').astype(int) + 1971}-01-01")
    month = start.astype("datetime64[M]")
    return (month + 3).astype("datetime64[D]") + (start - month.astype("datetime64[D]"))


def run_tower(met: Path, dtype: str, passes: int) -> tuple[dict, object, object]:
    """Run one Met file ``passes`` times: budgets and finiteness of the last pass, its outputs, the forcing."""
    import jax
    import jax.numpy as jnp

    import jlsm

    forcing, site = jlsm.load_forcing(met)
    params = jlsm.default_parameters(site)
    state = jlsm.initial_state(jnp.mean(forcing.Tair), params.soil.porosity)
    result: dict = {"file": met.name, "site": met.name.split("_")[0], "steps": forcing.steps, "precision": dtype}
    begin = time.perf_counter()
    for _ in range(passes):
        pieces = []
        for _, piece, after in jlsm.stream(params, forcing, site, state):
            pieces.append(jax.tree.map(np.asarray, piece))
            latest = after
        state = latest
        out = jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)
    result |= {"passes": passes, "seconds": round(time.perf_counter() - begin, 1)}
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
    return result, out, forcing


def score_tower(data: Path, met: Path, out, forcing) -> dict:
    """Scores of a run beside the observations, at their step and by month; empty where the tower has no Flux file."""
    from mdpl.scores.metrics import scores
    from mdpl.towers.observations import load_observations, to_observed_interval

    flux_file = Path(str(met).replace("_Met.nc", "_Flux.nc"))
    if not flux_file.exists():
        return {}
    observations = load_observations(flux_file)
    first = first_scored_day(observations.step, np.datetime64(int(observations.day[0]), "D"))
    late = observations.day.astype("datetime64[D]") >= first
    months = reference.published_months(data)
    noahmp = reference.noahmp_series(data, met, observations)
    result: dict = {"step": observations.step, "scores": {}, "noahmp_scores": {}, "monthly": {}}
    site = met.name.split("_")[0]
    for flux in ("Qle", "Qh", "Rnet", "Qg"):
        means, covered = to_observed_interval(getattr(out, flux), forcing, observations)
        for target in ("raw", "corrected"):
            series = observations.target(flux, target)
            if series is None or (target == "corrected" and flux not in ("Qle", "Qh")):
                continue
            mask = np.asarray(series.measured) & np.asarray(covered) & late
            name = flux if target == "raw" else f"{flux}_cor"
            result["scores"][name] = scores(np.asarray(means), series.values, mask)._asdict()
            if noahmp:
                result["noahmp_scores"][name] = scores(noahmp[flux], series.values, mask)._asdict()
            if name in reference.FLUXES and (site, name) in months:
                models = {"jlsm": np.asarray(means)} | ({"Noah-MP": noahmp[name]} if noahmp else {})
                monthly = reference.monthly_scores(observations, name, mask, models, months[site, name])
                if monthly is not None:
                    result["monthly"][name] = monthly
    return result


def print_tower(result: dict, published: dict) -> None:
    """What a tower gave, other models beside it."""
    print(
        f"{result['file']}: {result['steps']} steps in {result['seconds']} s ({result['passes']} passes), "
        f"finite {result['finite']}, energy max {result['energy_residual_max']:.2g} W m-2, "
        f"water max {result['water_residual_max']:.2g} kg m-2 ({result['water_residual_per_year']:.2g} per year), "
        f"solver max {result['solver_residual_max']:.2g} ({result['solver_residual_over_0.1']} steps over 0.1)"
    )
    water = [key for key in result if key.endswith("_mm_per_year")]
    print("  mm/yr: " + ", ".join(f"{key.split('_')[0]} {result[key]:.0f}" for key in water))

    def numbers(score: dict) -> str:
        return f"{score['rmse']:6.1f} {score['bias']:6.1f} {score['r']:6.3f}"

    for name, score in result.get("scores", {}).items():
        others = {"Noah-MP": result["noahmp_scores"][name]} if name in result["noahmp_scores"] else {}
        if result["step"] == "half-hourly":  # theirs are half-hourly: never beside a daily score
            table = published.get((result["site"], name), {})
            others |= {f"{model} {other['period']}": other for model, other in table.items()}
        beside = "".join(f" | {model} {numbers(other)}" for model, other in others.items())
        print(f"  {name:8s} rmse, bias, r {numbers(score)}{beside}")
    for name, monthly in result.get("monthly", {}).items():
        beside = " | ".join(f"{model} {numbers(score)}" for model, score in monthly["models"].items())
        print(f"  {name:8s} {monthly['months']} months {monthly['first']}..{monthly['last']}: {beside}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of real towers; default: $MDPL_DATA")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--passes", type=int, default=2, help="times the record is run; the last is scored")
    parser.add_argument("--sites", default="")
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    if options.passes < 1:
        parser.error("--passes must be at least 1")
    prefer_cpu_flags(FORWARD_LOOP_BYTES)
    import jax

    jax.config.update("jax_enable_x64", options.precision == "float64")
    data = data_folder(options.data)
    wanted = [name for name in options.sites.split(",") if name]
    published = reference.published_scores(data)
    results = []
    for met in met_files(data):
        if wanted and not any(met.name.startswith(name) for name in wanted):
            continue
        result, out, forcing = run_tower(met, options.precision, options.passes)
        results.append(result | score_tower(data, met, out, forcing))
        print_tower(results[-1], published)
    if not results:
        parser.error(f"no Met file of {options.sites or 'any site'} below {data}")
    table = reference.summary(results, data)
    notes = reference.empirical_notes(data, [result["site"] for result in results])
    print("\nRMSE, W m-2, against uncorrected fluxes\n\n" + reference.markdown(table))
    print("\nPublished scores of other years than ours are marked * and not counted among the best.")
    if notes:
        print("\nEmpirical models, for orientation (fitted to the site, test period), RMSE Qle/Qh:", *notes, sep="\n  ")
    if options.output:
        content = {"benchmark": "towers", "runs": results, "summary": table, "empirical": notes}
        write_json(options.output, content)


if __name__ == "__main__":
    main()
