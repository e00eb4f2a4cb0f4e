"""Checkpoints: a training that is killed goes on to the same bits, and spoiled or foreign checkpoints are refused."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jlsm.errors import InputError, RepairWarning
from mdpl.calibration import CalibrationProgress, calibrate
from mdpl.config import Config
from mdpl.training.checkpoints import Checkpoints
from tests.mdpl.fakes import FAKE_PATH, make_tower

TRUTH = {"vegetation.vcmax25": 60.0, "vegetation.leaf_area_scale": 1.5}
QUICK = Config(parameters=tuple(TRUTH), epochs=9, window_days=120, windows_per_step=1, refresh_every=2, hidden=8,
               loss={"mse": 1.0})  # fmt: skip


def towers():
    return [make_tower(TRUTH, days=365)]


def run(folder, *, interrupt=None, resume=False, overwrite=False, sites=None, **changes):
    def epoch(number, epochs, losses):
        if number == interrupt:
            raise KeyboardInterrupt

    config = dataclasses.replace(QUICK, output=str(folder), **changes)
    progress = CalibrationProgress(epoch=epoch)
    return calibrate(
        config, path=FAKE_PATH, towers=sites or towers(), progress=progress, resume=resume, overwrite=overwrite
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return {
        learner: run(tmp_path_factory.mktemp("whole") / "run", learner=learner) for learner in ("network", "direct")
    }


@pytest.mark.parametrize(("learner", "epoch"), [("network", 5), ("network", 8), ("direct", 3)])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, whole, learner, epoch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", interrupt=epoch, learner=learner)
    assert not (tmp_path / "run" / "metrics.csv").exists()
    resumed = run(tmp_path / "run", resume=True, learner=learner)
    for name in ("values", "unknowns", "best_epoch"):
        np.testing.assert_array_equal(getattr(resumed.trained, name), getattr(whole[learner].trained, name))
    assert resumed.trained.rows == whole[learner].trained.rows
    for name in ("parameters.csv", "loss.csv", "metrics.csv"):
        assert (resumed.directory / name).read_bytes() == (whole[learner].directory / name).read_bytes()


@pytest.mark.slow
def test_kill_9_and_resume(tmp_path, whole):
    """A process of its own, killed without warning while it trains."""
    script = (
        "import jax; jax.config.update('jax_enable_x64', True)\n"
        "import time; from pathlib import Path\n"
        "from mdpl.calibration import CalibrationProgress, calibrate\n"
        "from tests.mdpl import test_resume as t; from tests.mdpl.fakes import FAKE_PATH\n"
        "import dataclasses, sys\n"
        "def epoch(n, epochs, losses):\n"
        "    Path(sys.argv[1] + '.epoch').write_text(str(n))\n"
        "    if n == 7: time.sleep(60)\n"
        "config = dataclasses.replace(t.QUICK, output=sys.argv[1])\n"
        "calibrate(config, path=FAKE_PATH, towers=t.towers(), progress=CalibrationProgress(epoch=epoch))\n"
    )
    root = Path(__file__).parents[2]
    folder = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], cwd=root, env=environment)
    mark = Path(f"{folder}.epoch")
    while process.poll() is None and not (mark.exists() and mark.read_text() == "7"):
        time.sleep(0.05)
    assert process.poll() is None, "it must not have ended by itself"
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = run(folder, resume=True)
    np.testing.assert_array_equal(resumed.trained.unknowns, whole["network"].trained.unknowns)
    assert resumed.trained.rows == whole["network"].trained.rows


@pytest.fixture
def interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", interrupt=7)
    return tmp_path / "run"


def test_other_settings_or_data_are_refused(interrupted):
    with pytest.raises(InputError, match=r"config: seed = 3 differs from the checkpoint's 0"):
        run(interrupted, resume=True, seed=3)
    with pytest.raises(InputError, match="forcing or observations have changed"):
        run(interrupted, resume=True, sites=[make_tower({**TRUTH, "vegetation.vcmax25": 61.0}, days=365)])
    (tower,) = towers()
    for changes in ({"soil_texture": "sand"}, {"latitude": tower.site.latitude + 1.0}):
        moved = dataclasses.replace(tower, site=dataclasses.replace(tower.site, **changes))
        with pytest.raises(InputError, match="a site's place, soil or vegetation has changed since"):
            run(interrupted, resume=True, sites=[moved])


def spoil(step: Path) -> None:
    file = step / "state" / "state.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))


def test_a_spoiled_checkpoint_falls_back_to_the_one_before(interrupted, whole):
    steps = sorted((interrupted / "checkpoints").iterdir(), key=lambda path: int(path.name))
    assert [step.name for step in steps] == ["4", "6", "7"]
    spoil(steps[-1])
    with pytest.warns(RepairWarning, match="checkpoint is not readable"):
        resumed = run(interrupted, resume=True)
    np.testing.assert_array_equal(resumed.trained.unknowns, whole["network"].trained.unknowns)


def test_all_checkpoints_spoiled(interrupted):
    for step in (interrupted / "checkpoints").iterdir():
        spoil(step)
    with pytest.warns(RepairWarning), pytest.raises(InputError, match="no readable checkpoint of 3"):
        run(interrupted, resume=True)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(InputError, match="holds no run to resume"):
        run(tmp_path / "run", resume=True)


def test_disk_full(tmp_path, monkeypatch):
    real = Checkpoints.__init__

    def full(self, folder, run):
        real(self, folder, run)

        def save(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(self._manager, "save", save)

    monkeypatch.setattr(Checkpoints, "__init__", full)
    with pytest.raises(InputError, match="checkpoint of epoch 2 cannot be written .*No space left"):
        run(tmp_path / "run")


def test_early_stopping_on_validation_years(tmp_path):
    sites = [make_tower(TRUTH, days=4 * 365, noise=20.0)]
    stopped = run(tmp_path / "run", sites=sites, validation_years=1, patience=1, epochs=200, learner="direct",
                  learning_rate=1.0, windows_per_step=0, schedule="constant")  # fmt: skip
    trained = stopped.trained
    assert trained.last_epoch < 200 and any("stopped early after epoch" in note for note in stopped.notes)
    judged = {row.epoch: row.validation_loss for row in trained.rows if row.validation_loss is not None}
    assert trained.best_epoch[0] == min(judged, key=judged.get), "chosen by validation"
    assert {row.period for row in stopped.metrics} == {"train", "validation", "test"}


def test_validation_needs_years(tmp_path):
    with pytest.raises(InputError, match="split by months: set validation_years = 0"):
        run(tmp_path / "run", validation_years=1)
