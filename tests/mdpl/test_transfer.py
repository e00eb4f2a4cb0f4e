"""Leave-one-site-out: the held-out site's fluxes are never trained on, and its table is written."""

from __future__ import annotations

import csv
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.config import Config
from mdpl.scale.transfer import transfer
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


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="two sites or more, 1 given"):
        transfer(QUICK, path=FAKE_PATH, towers=[make_tower(TRUTH, days=365)])
    with pytest.raises(InputError, match="only the network's parameters"):
        transfer(dataclasses.replace(QUICK, learner="direct"), path=FAKE_PATH, towers=[])
