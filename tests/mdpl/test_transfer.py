"""Leave-one-site-out: the held-out site's fluxes are never trained on, and its table is written."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.config import Config
from mdpl.files import read_rows, write_text
from mdpl.files.mark import record
from mdpl.runs.claim import CALIBRATION, REPORT_FILE, claimed
from mdpl.runs.directory import write_config
from mdpl.scale.transfer import transfer
from mdpl.scores.evaluation import MetricRow
from mdpl.unknowns.generator import load_generator
from tests.mdpl.fakes import FAKE_PATH, make_tower

TRUTH = {"vegetation.vcmax25": 60.0}
QUICK = Config(parameters=tuple(TRUTH), epochs=8, learning_rate=0.02, window_days=120, hidden=8, refresh_every=4,
               windows_per_step=0, loss={"mse": 1.0})  # fmt: skip


@pytest.mark.slow
def test_leave_one_out(tmp_path):
    towers = [make_tower(TRUTH, days=365, code=f"XX-{name}", seed=i) for i, name in enumerate(("One", "Two", "Six"))]
    found = transfer(dataclasses.replace(QUICK, output=str(tmp_path / "a")), path=FAKE_PATH, towers=towers)
    rmse = {(row.site, row.stage): row.rmse for row in found if (row.flux, row.period) == ("Qle", "test")}
    for tower in towers:
        assert rmse[tower.label, "transferred"] < 0.9 * rmse[tower.label, "default"], "all sites share one truth"
    with (tmp_path / "a" / "transfer.csv").open(newline="") as stream:
        assert {row["stage"] for row in csv.DictReader(stream)} == {"default", "transferred"}
    # the held-out fluxes change nothing in what was learned without them
    for flux in towers[0].observations.fluxes.values():
        flux.values[:] = np.where(flux.measured, flux.values + 100.0, flux.values)
    transfer(dataclasses.replace(QUICK, output=str(tmp_path / "b")), path=FAKE_PATH, towers=towers)
    before, after = (load_generator(tmp_path / run / "without_XX-One").weights for run in "ab")
    assert all(jnp.array_equal(before[name], after[name]) for name in before)


@pytest.fixture
def quick(monkeypatch):
    """Calibrations that are done at once, noted as they begin; those named in ``fails`` fail."""
    begun, fails = [], set()

    def calibrate(config, *, towers, resume=False, **kwargs):
        begun.append(Path(config.output).name)
        if begun[-1] in fails:
            raise InputError("a bad tower")
        with claimed(config.output, CALIBRATION, config.sites, resume=resume) as directory:
            write_config(directory, config)
            write_text(directory / REPORT_FILE, "")
            record(directory, [REPORT_FILE])

    def judged(tower, task, path):
        return [MetricRow(tower.label, "Qle", stage, "test", *[1.0] * 7, 9) for stage in ("default", "transferred")]

    monkeypatch.setattr("mdpl.scale.running.calibrate", calibrate)
    monkeypatch.setattr("mdpl.scale.running._judged", judged)
    return begun, fails


def test_a_site_that_fails_stops_no_other_and_resume_does_the_rest(tmp_path, quick):
    begun, fails = quick
    towers = [make_tower(TRUTH, days=10, code=f"XX-{name}") for name in ("One", "Two", "Six")]
    config = dataclasses.replace(QUICK, output=str(tmp_path / "t"))
    fails.add("without_XX-Two")
    with pytest.raises(InputError, match="a bad tower"):
        transfer(config, path=FAKE_PATH, towers=towers)
    assert begun == ["without_XX-One", "without_XX-Two", "without_XX-Six"]
    assert not (tmp_path / "t" / "transfer.csv").exists()
    fails.clear()
    rows = transfer(config, path=FAKE_PATH, towers=towers, resume=True)
    assert begun[3:] == ["without_XX-Two"]
    assert [(row.site, row.stage) for row in rows] == [
        (site, stage) for site in ("XX-One", "XX-Two", "XX-Six") for stage in ("default", "transferred")
    ]
    assert [(row.site, row.rmse) for row in read_rows(tmp_path / "t" / "transfer.csv", MetricRow)] == [
        (row.site, row.rmse) for row in rows
    ]
    with pytest.raises(InputError, match=r"no run to resume"):
        transfer(dataclasses.replace(config, output=str(tmp_path / "new")), towers=towers, resume=True)


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="two sites or more, 1 given"):
        transfer(QUICK, path=FAKE_PATH, towers=[make_tower(TRUTH, days=365)])
    with pytest.raises(InputError, match="only the network's parameters"):
        transfer(dataclasses.replace(QUICK, learner="direct"), path=FAKE_PATH, towers=[])
