"""The recipes of CONTRIBUTING.md, each followed once: a loss, a learner, an optimiser, a model path, a baseline."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mdpl.baselines.empirical import EMPIRICAL_MODELS, EmpiricalModel, fit_sites
from mdpl.calibration import calibrate
from mdpl.config import Config
from mdpl.runs.rows import EpochRow
from mdpl.scores.losses import LOSSES
from mdpl.training.adam import AdamEpochs
from mdpl.training.learners import DirectLearner
from mdpl.training.problem import Problem
from mdpl.training.trainer import Trainer
from mdpl.training.windows import group_towers
from tests.mdpl.fakes import FAKE_PATH, make_tower

TRUTH = {"vegetation.vcmax25": 60.0}
CONFIG = Config(parameters=tuple(TRUTH), learner="direct", epochs=3, window_days=120, refresh_every=1,
                windows_per_step=0, learning_rate=0.2, loss={"mse": 1.0})  # fmt: skip


@pytest.fixture(scope="module")
def tower():
    return make_tower(TRUTH, days=365)


def problem_of(tower) -> Problem:
    return Problem(FAKE_PATH, group_towers([tower], CONFIG), tuple(TRUTH), CONFIG)


def test_a_loss(tower, monkeypatch):
    def absolute_bias(data, pool):
        scored = data.weight > 0
        total = pool.total(jnp.where(scored, data.model - data.observed, 0.0))
        return jnp.abs(total) / jnp.maximum(pool.total(data.weight), 1.0) / data.sigma

    monkeypatch.setitem(LOSSES, "bias", absolute_bias)
    config = dataclasses.replace(CONFIG, loss={"bias": 1.0}).check()
    problem = Problem(FAKE_PATH, group_towers([tower], config), tuple(TRUTH), config)
    losses = [row.loss for row in Trainer(problem).train().rows]
    assert losses[0] > losses[-1] > 0.0


def test_a_learner(tower):
    """Plain gradient descent in place of Adam."""

    def steepest(problem, runs):
        return AdamEpochs(problem, runs, DirectLearner(1, problem.layout.size, optax.sgd(0.5)))

    trained = Trainer(problem_of(tower), steepest).train()
    assert trained.best_epoch[0] > 0 and abs(trained.values[0, 0] - 60.0) < 5.0, "from 100, the default"


class Halving:
    """An optimiser that goes half a unit down in every unknown, as long as the record gets better."""

    traces = 0

    def __init__(self, problem, runs):
        self.problem, self.runs = problem, runs

    def initial(self):
        return np.zeros((len(self.problem.labels), self.problem.layout.size), np.float32), ()

    def unknowns(self, weights):
        return weights

    def refreshes(self, epoch):
        return True

    def epoch(self, now):
        tried = np.asarray(now.best_weights) - 0.5
        run = self.runs(self.problem.all_parameters(tried), now.starts, now.epoch + 1, tried)
        now = dataclasses.replace(now, epoch=now.epoch + 1, weights=tried, states=run.states)
        now = now.better(tried, run.judged, per_site=True)
        rows = [EpochRow(now.epoch, label, float(run.train[s]), float(run.train[s]), 0.0, False, 0.0)
                for s, label in enumerate(self.problem.labels)]  # fmt: skip
        return dataclasses.replace(now, rows=[*now.rows, *rows])


def test_an_optimiser(tower):
    trained = Trainer(problem_of(tower), Halving).train()
    assert trained.last_epoch == 3 and trained.unknowns[0, 0] in (-0.5, -1.0, -1.5)


def test_a_model_path(tower, tmp_path):
    """A path with half the fake's Qle is trained through and judged by."""

    def simulate(params, forcing, site, state, fields=None):
        outputs, state = FAKE_PATH.simulate(params, forcing, site, state)
        return dataclasses.replace(outputs, Qle=0.5 * outputs.Qle), state

    path = FAKE_PATH._replace(simulate=simulate, tangents=None)
    calibration = calibrate(dataclasses.replace(CONFIG, output=str(tmp_path / "run")), path=path, towers=[tower])
    by_stage = {row.stage: row for row in calibration.metrics if (row.flux, row.period) == ("Qle", "test")}
    assert by_stage["calibrated"].rmse < by_stage["default"].rmse


def test_a_baseline(tower, monkeypatch):
    def mean(tower, observed, train, seed):
        return np.full(observed.shape, observed[train].mean())

    monkeypatch.setitem(EMPIRICAL_MODELS, "mean", EmpiricalModel(mean))
    rows = fit_sites([tower], Config(), ("mean",))
    assert {row.stage for row in rows} == {"mean"}
    (train,) = [row for row in rows if (row.flux, row.period) == ("Qle", "train")]
    assert train.nme == pytest.approx(1.0) and train.bias == pytest.approx(0.0, abs=1e-9)
