"""Gradient-free calibration with the fake model, whose truth is known."""

from __future__ import annotations

import dataclasses
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.baselines.gradient_free import METHODS, RecordLoss, gradient_free
from mdpl.config import Config
from mdpl.training.problem import Problem
from mdpl.training.record import RecordRuns
from mdpl.training.windows import group_towers
from tests.mdpl.fakes import FAKE_PATH, fake_simulate, make_tower

TRUTH = {"vegetation.vcmax25": 60.0, "vegetation.leaf_reflectance_nir": 0.4}
CONFIG = Config(parameters=tuple(TRUTH), window_days=120, epochs=0)


def problem(*codes: str, path=FAKE_PATH, keys=tuple(TRUTH)):
    """The problem of some sites that share a clock, and its one task."""
    towers = [make_tower({**TRUTH, "vegetation.vcmax25": 60.0 + 60.0 * i}, days=365, code=code, seed=i)
              for i, code in enumerate(codes)]  # fmt: skip
    search = Problem(path, group_towers(towers, CONFIG), keys, CONFIG)
    return search, search.tasks[0]


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_truth_at_every_site(method):
    seen = []
    arguments = problem("XX-Toy", "XX-Two")
    found = gradient_free(*arguments, method, budget=400, progress=lambda runs, losses: seen.append((runs, losses)))
    space = arguments[1].space
    for s, vcmax in enumerate((60.0, 120.0)):
        error = np.abs(found.values[s] - [vcmax, 0.4]) / (space.upper - space.lower)
        assert (error < 0.03).all(), (s, found.values)
    for s, site in enumerate(("XX-Toy", "XX-Two")):
        losses = [row.loss for row in found.history if row.site == site]
        assert losses == sorted(losses, reverse=True) and losses[-1] == found.losses[s] < 0.01 * losses[0]
    assert [runs for runs, _ in seen] == sorted({row.model_run_equivalents for row in found.history})
    assert seen[-1][0] <= 400 and found.traces == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "differential evolution"]


def test_the_loss_is_that_of_training():
    """The default's loss is epoch 0 of the trainer; another candidate's is the trainer's after a pass over year one."""
    search, task = problem("XX-Toy", "XX-Two")
    space, default, runner = task.space, task.default, task.runner
    objective, runs = RecordLoss(search, task, members=3), RecordRuns(search)
    unmoved, start = np.zeros_like(space.default), runner.spin_up(default)
    by_training = runs([default], [start], 0, unmoved).train
    mine = objective(np.broadcast_to(space.default, (3, *space.default.shape)), exact_start=True)
    np.testing.assert_allclose(mine, np.tile(by_training, (3, 1)), rtol=1e-6)

    other = np.array([[80.0, 0.3], [40.0, 0.5]])
    params = space.insert(default, jnp.asarray(other, jnp.float32))
    by_training = runs([params], [runner.year(params, start)], 1, unmoved).train
    mine = objective(np.stack([space.default, other, space.default]))
    np.testing.assert_allclose(mine[1], by_training, rtol=1e-5)
    assert (mine[0] != mine[1]).all() and (mine[0] == mine[2]).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_repeats_and_another_differs(method):
    arguments = problem("XX-Toy")
    first, again, other = (gradient_free(*arguments, method, budget=30, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.values, again.values)
    assert first.history == again.history
    assert (first.values != other.values).any()


def test_budget_is_kept():
    arguments = problem("XX-Toy")
    small, large = (gradient_free(*arguments, "cma", budget=budget) for budget in (7, 26))
    assert [row.model_run_equivalents for row in small.history] == [1, 7]
    assert [row.model_run_equivalents for row in large.history] == [1, 7, 13, 19, 25]


def test_one_parameter_is_enough():
    arguments = problem("XX-Toy", keys=("vegetation.vcmax25",))
    found = gradient_free(*arguments, "cma", budget=60)
    assert found.losses[0] < found.history[0].loss


def test_the_default_stays_where_nothing_beats_it():
    search = Problem(FAKE_PATH, group_towers([make_tower({}, days=365)], CONFIG), tuple(TRUTH), CONFIG)
    found = gradient_free(search, search.tasks[0], "cma", budget=20)
    np.testing.assert_array_equal(found.values, search.tasks[0].space.default)


def test_a_run_that_is_not_finite_loses():
    def fragile(params, forcing, site, state, fields=None):
        outputs, state = fake_simulate(params, forcing, site, state)
        broken = jnp.where(params.vegetation.vcmax25 > 105.0, jnp.nan, 0.0)
        return dataclasses.replace(outputs, Qle=outputs.Qle + broken), state

    found = gradient_free(*problem("XX-Toy", path=FAKE_PATH._replace(simulate=fragile)), "cma", budget=40)
    assert np.isfinite(found.losses).all() and found.values[0, 0] <= 105.0


def test_mistakes():
    arguments = problem("XX-Toy")
    with pytest.raises(InputError, match="'sce': use one of cma, de"):
        gradient_free(*arguments, "sce")
    with pytest.raises(InputError, match="cma needs 7 model runs or more"):
        gradient_free(*arguments, "cma", budget=5)
