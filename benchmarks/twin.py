"""The twin experiment: a run on the embedded sites beside the noise floor, RMSE of the test year in W m-2.

    mdpl calibrate && python -m benchmarks.twin runs/five_crops_synthetic [--fisher]

The floor is the RMSE of the hidden truth against its own noisy observations, measured steps of the last year.
With ``--fisher`` also which parameters the training observations can tell (``mdpl.posterior.identifiability``, at the
hidden truth, errors as large as the noise floor), and how far from the truth those were found.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import netCDF4
import numpy as np

from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES
from mdpl.data import five_crops_synthetic
from mdpl.runs.directory import read_metrics, read_run
from mdpl.towers.observations import load_observations

TEST_YEAR = "2004-01-01"


def noise_floor(truth_file: Path, flux: str) -> float:
    """RMSE of the hidden truth against the observations."""
    observations = load_observations(Path(str(truth_file).replace("_Truth", "_Flux")))
    series = observations.target(flux, "raw")
    with netCDF4.Dataset(truth_file) as file:
        (name,) = [name for name in file.variables if name.startswith(flux)]
        truth = np.asarray(file[name][:].squeeze(), float)
    late = (observations.time.datetimes() >= np.datetime64(TEST_YEAR)) & series.measured
    return float(np.sqrt(np.mean((truth[late] - series.values[late]) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory of mdpl calibrate on the embedded sites")
    parser.add_argument("--fisher", action="store_true", help="identifiable parameters and how well they were found")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    rows = read_metrics(options.run / "metrics.csv")
    rmse = {(r.site, r.flux, r.stage): r.rmse for r in rows if (r.period, r.target) == ("test", "raw")}
    print("| site | flux | default | calibrated | floor | calibrated / floor |")
    print("|---|---|---:|---:|---:|---:|")
    for file in sorted(five_crops_synthetic().glob("*_Truth.nc")):
        site = file.name.split("_")[0]
        for flux in ("Qle", "Qh"):
            floor, calibrated = noise_floor(file, flux), rmse[site, flux, "calibrated"]
            numbers = (rmse[site, flux, "default"], calibrated, floor)
            print(f"| {site} | {flux} | {' | '.join(f'{v:.1f}' for v in numbers)} | {calibrated / floor:.2f} |")
    if options.fisher:
        print_identifiable(options.run)


def print_identifiable(run_directory: Path) -> None:
    """Per site: what the observations can tell, and by how much of the range the calibration missed it."""
    from mdpl.config import load_config
    from mdpl.data.truth import hidden_truth
    from mdpl.model_paths import lsm_path
    from mdpl.posterior.identifiability import IDENTIFIABLE, information
    from mdpl.towers.load import find_site_files, load_towers
    from mdpl.training.problem import Problem
    from mdpl.training.windows import group_towers
    from mdpl.unknowns.search_space import select_parameters

    config = load_config(run_directory / "config.toml")
    keys = select_parameters(config.parameters, config.exclude)
    towers = load_towers(find_site_files(config.data, config.sites), config.lai)
    calibrated = {(row.site, row.name): row.calibrated for row in read_run(run_directory).parameters}
    files = {file.name.split("_")[0]: file for file in five_crops_synthetic().glob("*_Truth.nc")}
    path, hidden = lsm_path(), hidden_truth()
    print(f"\nIdentifiable: standard deviation of the best estimate at most {IDENTIFIABLE:.0%} of the range.\n")
    print("| site | parameter | deviation, % of range | default - truth | found - truth |")
    print("|---|---|---:|---:|---:|")
    count = within = near = 0
    for task in Problem(path, group_towers(towers, config), keys, config).tasks:
        space = task.space
        truth = [
            [hidden[site].get(key, space.default[s, i]) for i, key in enumerate(space.keys)]
            for s, site in enumerate(task.group.labels)
        ]
        noise = {f: np.array([noise_floor(files[site], f) for site in task.group.labels]) for f in config.fluxes}
        told = information(path, task, np.array(truth), noise)
        deviations, identifiable = told.deviations(), told.identifiable()
        for s, site in enumerate(told.labels):
            for i in np.argsort(deviations[s]):
                if not identifiable[s, i]:
                    continue
                span, key = space.upper[i] - space.lower[i], told.keys[i]
                before = (space.default[s, i] - truth[s][i]) / span
                after = (calibrated[site, key] - truth[s][i]) / span
                count, within, near = count + 1, within + (abs(after) <= 0.1), near + (abs(before) <= 0.1)
                print(f"| {site} | {key} | {deviations[s, i]:.1%} | {before:+.1%} | {after:+.1%} |")
            others = [k for i, k in enumerate(told.keys) if told.active[s, i] and not identifiable[s, i]]
            print(f"| {site} | not identifiable: {', '.join(k.split('.')[1] for k in others)} | | | |")
    print(
        f"\n{within} of {count} identifiable parameters found within 10 % of their range; the defaults of {near} are."
    )


if __name__ == "__main__":
    main()
