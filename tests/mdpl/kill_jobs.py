"""What test_kills.py starts, kills and starves: the commands with stand-ins for the models, in a process of its own.

``python -m tests.mdpl.kill_jobs calibrate FOLDER BYTES`` or ``... run FOLDER BYTES``; no file grows beyond so many
bytes (any, where it is empty). Prints "ready" when all is imported.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from pathlib import Path

from mdpl.calibration import Calibration, calibrate
from mdpl.config import Config
from tests.mdpl.fakes import FAKE_PATH, make_tower

TRUTH = {"vegetation.vcmax25": 60.0, "vegetation.leaf_area_scale": 1.5}
CONFIG = Config(parameters=tuple(TRUTH), epochs=12, window_days=120, windows_per_step=1, refresh_every=2, hidden=8,
                loss={"mse": 1.0})  # fmt: skip
MET, RESULT, STATE = "m.nc", "o.nc", "s.nc"


def calibration(folder: Path, resume: bool = False) -> Calibration:
    """A small calibration of one site into a folder."""
    towers = [make_tower(TRUTH, days=365)]
    return calibrate(dataclasses.replace(CONFIG, output=str(folder)), path=FAKE_PATH, towers=towers, resume=resume)


def model_run(folder: Path) -> None:
    """``jlsm run`` of the Met file in a folder, with a stand-in that writes four steps at a time."""
    import jlsm
    from jlsm.command_line.app import app
    from tests.jlsm.builders import fake_model

    model = fake_model(chunk=4)
    stream = model.stream

    def slow_stream(*arguments):
        for piece in stream(*arguments):
            time.sleep(0.02)
            yield piece

    model.stream = slow_stream
    sys.modules["jlsm.simulation"] = jlsm.simulation = model
    paths = {name: str(folder / name) for name in (MET, RESULT, STATE)}
    app(["run", paths[MET], "-o", paths[RESULT], "--save-state", paths[STATE], "--precision", "float64"])


def main() -> None:
    """Run the job named on the command line."""
    import jax

    from jlsm.command_line.front_door import one_line_errors

    jax.config.update("jax_enable_x64", True)
    job, folder = sys.argv[1], Path(sys.argv[2])
    if sys.argv[3]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
    print("ready", flush=True)
    if job == "calibrate":
        with one_line_errors("stopped: go on with --resume"):
            calibration(folder)
    else:
        model_run(folder)


if __name__ == "__main__":
    main()
