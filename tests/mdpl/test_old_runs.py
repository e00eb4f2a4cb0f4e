"""What version 0.1.0 left behind: tables and checkpoints are read, a network's weights are refused in one line."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from jlsm.errors import InputError, RepairWarning
from mdpl.calibration import CalibrationProgress, calibrate
from mdpl.config import Config, load_config
from mdpl.files.mark import MARK_FILE
from mdpl.report.page import write_report
from mdpl.runs.directory import read_run
from mdpl.training import resume
from mdpl.unknowns.generator import GENERATOR_FILE, load_generator
from tests.mdpl.checkpoint_files import as_0_1_0
from tests.mdpl.fakes import FAKE_PATH, make_tower

TRUTH = {"vegetation.vcmax25": 60.0}
QUICK = Config(parameters=tuple(TRUTH), epochs=2, window_days=120, windows_per_step=1, refresh_every=1, hidden=8,
               loss={"mse": 1.0})  # fmt: skip
NOT_GIVEN = {"learning_rate": -1.0, "test_years": -1}
"""how 0.1.0 wrote what was not given"""


def old_settings(problem):
    return json.loads(json.dumps({k: v for k, v in vars(problem.config).items() if k != "output"} | NOT_GIVEN))


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    """A run interrupted after its first epoch, its checkpoint and config in the words of 0.1.0."""
    folder = tmp_path_factory.mktemp("old") / "run"
    config = dataclasses.replace(QUICK, output=str(folder))

    def interrupt(epoch, epochs, losses):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume, "_settings", old_settings)
        calibrate(config, path=FAKE_PATH, towers=[make_tower(TRUTH, days=365)],
                  progress=CalibrationProgress(epoch=interrupt))  # fmt: skip
    text = (folder / "config.toml").read_text()
    assert "learning_rate" not in text and "test_years" not in text, "what is not given is not written"
    lines = "".join(f"{key} = {value}\n" for key, value in NOT_GIVEN.items())
    (folder / "config.toml").write_text(lines + text)
    (folder / MARK_FILE).unlink()  # directories had no mark
    as_0_1_0(folder / "checkpoints")
    return folder


def test_settings_of_0_1_0_mean_what_they_meant(old_run):
    config = load_config(old_run / "config.toml")
    assert config.learning_rate is None and config.test_years is None


def test_its_checkpoints_and_tables_are_read(old_run):
    config = load_config(old_run / "config.toml")
    tower = make_tower(TRUTH, days=365)
    with pytest.warns(RepairWarning, match="checkpoint of an earlier version"):
        resumed = calibrate(config, path=FAKE_PATH, towers=[tower], resume=True)
    (old_run / MARK_FILE).unlink()
    whole = calibrate(dataclasses.replace(QUICK, output=f"{old_run}-whole"), path=FAKE_PATH, towers=[tower])
    np.testing.assert_array_equal(resumed.trained.unknowns, whole.trained.unknowns)
    table = (old_run / "metrics.csv").read_text().splitlines()
    (old_run / "metrics.csv").write_text("\n".join(line.rpartition(",")[0] for line in table) + "\n")
    run = read_run(old_run)  # its first tables had no centred RMSE
    assert all(
        row.crmse == pytest.approx(new.crmse, rel=1e-4) for row, new in zip(run.metrics, whole.metrics, strict=True)
    )
    assert write_report(old_run).is_file()


def test_its_networks_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / GENERATOR_FILE, shape=json.dumps({"encoder": "gru"}), head=np.zeros(3))
    with pytest.raises(InputError, match=r"generator.npz: not a readable file .*older version.*train again") as error:
        load_generator(tmp_path)
    assert "\n" not in str(error.value)
