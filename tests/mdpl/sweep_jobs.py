"""``mdpl`` with stand-ins for the land surface model and the pictures: what sweeps' processes and jobs run in tests.

``python -m tests.mdpl.sweep_jobs sweep SWEEP.toml ... --task NAME`` is that command. Beside SWEEP.toml each process
leaves a line in ``starts``, and one in ``epochs`` for each epoch that it has done; while a file ``slow`` lies there,
epochs take longer, so that there is time to interrupt one.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.jlsm.builders import met_series, write_met
from tests.mdpl.fakes import write_flux

PROGRAM = (sys.executable, "-m", "tests.mdpl.sweep_jobs")
REPOSITORY = Path(__file__).parents[2]
EPOCHS = 6
SETTINGS = f"""
[settings]
data = "data"
parameters = ["vegetation.vcmax25"]
learner = "direct"
loss = {{ mse = 1.0 }}
epochs = {EPOCHS}
window_days = 120
windows_per_step = 1
refresh_every = 1
warmup_years = 0
spinup_years = 1
sun_check = "ignore"
"""


def write_towers(folder: Path, codes: tuple[str, ...] = ("XX-One", "XX-Two")) -> None:
    """A year of three-hourly weather and daily fluxes at sites that answer to the stand-in."""
    folder.mkdir()
    steps, dt = 365 * 8, 10800.0
    for number, code in enumerate(codes):
        season = 0.6 - 0.4 * np.cos(2 * np.pi * np.arange(steps) / steps)
        cloud = np.repeat(np.random.default_rng(number).uniform(0.4, 1.0, 365), 8)
        sun = met_series(steps, dt)["SWdown"] * season * cloud
        write_met(folder / f"{code}_2001_Met.nc", steps=steps, dt=dt, origin="2001-01-01 00:00:00",
                  replace={"SWdown": sun}, attributes={"site_code": code})  # fmt: skip
        daily = sun.reshape(-1, 8).mean(1)
        fluxes = {"Qle": 0.2 * daily, "Qh": 0.3 * daily}
        write_flux(folder / f"{code}_2001_Flux.nc", fluxes, step=86400)


def write_sweep(folder: Path, text: str, above: str = "", settings: str = SETTINGS) -> Path:
    """A sweep file with the settings of these tests; ``above`` stands before all tables, ``text`` after them."""
    path = folder / "sweep.toml"
    path.write_text(f"{above}\n{settings}\n{text}\n")
    return path


def log_of(folder: Path, name: str) -> Counter:
    """Lines of ``starts`` or ``epochs``, and how often each stands there."""
    file = folder / name
    return Counter(file.read_text().splitlines()) if file.is_file() else Counter()


def main() -> None:
    """The command, with the stand-ins."""
    import mdpl.calibration
    import mdpl.report.page
    import mdpl.report.plots
    import mdpl.scale.running
    from mdpl.cli import app
    from mdpl.files import write_text
    from mdpl.files.mark import record
    from mdpl.runs.claim import REPORT_FILE
    from mdpl.training.adam import AdamEpochs
    from tests.mdpl.fakes import FAKE_PATH

    beside, name, epoch = Path(sys.argv[2]).parent, sys.argv[-1], AdamEpochs.epoch

    def note(file: str, text: str) -> None:
        with (beside / file).open("a") as stream:
            stream.write(text + "\n")

    def noted_epoch(self, now):
        if (beside / "slow").exists():
            time.sleep(1.0)
        after = epoch(self, now)
        note("epochs", f"{name} {after.epoch}")
        return after

    def page(directory: Path) -> None:
        write_text(directory / REPORT_FILE, "<html></html>")
        record(directory, [REPORT_FILE])

    mdpl.calibration.lsm_path = mdpl.scale.running.lsm_path = lambda: FAKE_PATH
    mdpl.report.plots.draw_run, mdpl.report.page.write_report = lambda *arguments: None, page
    AdamEpochs.epoch = noted_epoch
    note("starts", name)
    if (beside / f"{name}.dies").exists():
        os.kill(os.getpid(), 9)
    app()


if __name__ == "__main__":
    main()
