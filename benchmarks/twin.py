"""The twin experiment: a run on the embedded sites beside the noise floor, RMSE of the test year in W m-2.

    mdpl calibrate && python -m benchmarks.twin runs/five_crops_synthetic

The floor is the RMSE of the hidden truth against its own noisy observations, measured steps of the last year.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import netCDF4
import numpy as np

from mdpl.data import five_crops_synthetic
from mdpl.observations import load_observations

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
    options = parser.parse_args()
    with (options.run / "metrics.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["period"] == "test" and row["target"] == "raw"]
    rmse = {(row["site"], row["flux"], row["stage"]): float(row["rmse"]) for row in rows}
    print("| site | flux | default | calibrated | floor | calibrated / floor |")
    print("|---|---|---:|---:|---:|---:|")
    for file in sorted(five_crops_synthetic().glob("*_Truth.nc")):
        site = file.name.split("_")[0]
        for flux in ("Qle", "Qh"):
            floor, found = noise_floor(file, flux), rmse[site, flux, "calibrated"]
            numbers = (rmse[site, flux, "default"], found, floor)
            print(f"| {site} | {flux} | {' | '.join(f'{v:.1f}' for v in numbers)} | {found / floor:.2f} |")


if __name__ == "__main__":
    main()
