"""The Gauss-Newton method with a fake model whose truth is known, and its equations against the loss itself."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.calibration import CalibrationProgress, calibrate
from mdpl.scores.losses import prior_penalty
from mdpl.towers.intervals import interval_means
from mdpl.training.gauss_newton import Equations
from mdpl.training.jacobian import AT_ONCE
from mdpl.training.problem import Problem
from mdpl.training.trainer import Trainer
from mdpl.training.windows import group_towers
from mdpl.unknowns.search_space import select_parameters
from tests.mdpl.fakes import FAKE_PATH, make_tower
from tests.mdpl.test_calibrate import QUICK, TRUTH, table

NEWTON = dataclasses.replace(QUICK, optimiser="gauss-newton", epochs=8)
KEYS = select_parameters(tuple(TRUTH))


def two_towers(**kwargs):
    return [
        make_tower(TRUTH, **kwargs),
        make_tower({**TRUTH, "vegetation.vcmax25": 150.0}, days=3 * 365, code="XX-Two", seed=3, **kwargs),
    ]


def trainer_of(config, towers=None, forms=None) -> Trainer:
    return Trainer(Problem(FAKE_PATH, group_towers(towers or two_towers(), config), KEYS, config, forms))


def test_it_finds_the_truth_in_a_few_iterations(tmp_path):
    calibration = calibrate(
        dataclasses.replace(NEWTON, output=str(tmp_path / "run")), path=FAKE_PATH, towers=two_towers()
    )
    found = {
        (row["site"], row["name"]): float(row["calibrated"]) for row in table(calibration.directory / "parameters.csv")
    }
    for site, vcmax in (("XX-Toy", 60.0), ("XX-Two", 150.0)):
        for name, truth in {**TRUTH, "vegetation.vcmax25": vcmax}.items():
            np.testing.assert_allclose(found[site, name], truth, rtol=2e-3)
    losses = [float(row["loss"]) for row in table(calibration.directory / "loss.csv") if row["site"] == "XX-Toy"]
    assert all(after <= before for before, after in zip(losses, losses[1:], strict=False))
    assert losses[-1] < 1e-4 * losses[0]


@pytest.mark.parametrize("forms", [{}, {"vegetation.vcmax25": "phenology"}, {"vegetation.vcmax25": "seasonal"}])
def test_the_gradient_is_that_of_the_loss(forms):
    """Also with a loss that is no sum of squares, a prior, and parameters that change with time."""
    config = dataclasses.replace(NEWTON, loss={"mse": 1.0, "correlation": 0.5}, prior=0.1, window_days=16)
    trainer = trainer_of(config, two_towers(noise=20.0), forms)
    problem, newton = trainer.problem, trainer.optimiser
    (task,) = problem.tasks
    assert task.columns.site.size > AT_ONCE and task.columns.site.size % AT_ONCE, (
        "several blocks, the last one not full"
    )
    rng = np.random.default_rng(0)
    unknowns = rng.normal(0.0, 0.3, (2, problem.layout.size)).astype(np.float32)
    start = task.runner.spin_up(task.default)
    states, _ = task.runner.record(problem.parameters(task, unknowns), task.group.last_training_window() + 1, start)
    equations = newton.equations(newton.jacobians[0], unknowns, states)
    batch = task.batch(task.columns, states)

    def loss(unknowns):
        params, forcing, site, state, targets, sites = batch
        full = problem.layout.insert(params, task.space, unknowns[sites], sites, forcing)
        outputs, _ = FAKE_PATH.simulate(full, forcing, site, state)
        model = {f: interval_means(getattr(outputs, f), task.group.ratio, task.group.offset) for f in targets}
        return (problem.losses(2, model, targets, sites) + 0.1 * prior_penalty(unknowns, problem.active)).sum()

    np.testing.assert_allclose(equations.gradient, jax.grad(loss)(jnp.asarray(unknowns)), rtol=2e-4, atol=1e-6)


def test_the_curvature_is_that_of_squared_error():
    """Where the model is linear in an unknown and the fit is perfect, the second derivative is J^T W J."""
    towers = two_towers(gaps=0.0)
    trainer = trainer_of(NEWTON, towers)
    problem, newton = trainer.problem, trainer.optimiser
    (task,) = problem.tasks
    truth = np.array([[60.0, 0.4, 1.5], [150.0, 0.4, 1.5]])
    share = (truth - task.space.lower) / (task.space.upper - task.space.lower)
    default = (task.space.default - task.space.lower) / (task.space.upper - task.space.lower)
    unknowns = (np.log(share / (1 - share)) - np.log(default / (1 - default))).astype(np.float32)
    start = task.runner.spin_up(task.default)
    states, _ = task.runner.record(problem.parameters(task, unknowns), task.group.last_training_window() + 1, start)
    curvature = newton.equations(newton.jacobians[0], unknowns, states).curvature

    def loss(unknowns):
        run = trainer.runs([problem.parameters(task, unknowns)], [start], 0, unknowns)
        return np.asarray(run.train, np.float64)

    step, at = 0.05, KEYS.index("vegetation.leaf_reflectance_nir")  # Qh answers at once, nothing remembers it
    moved = np.eye(len(KEYS), dtype=np.float32)[at] * step
    second = (loss(unknowns + moved) + loss(unknowns - moved) - 2.0 * loss(unknowns)) / step**2
    np.testing.assert_allclose(curvature[:, at, at], second, rtol=0.02)


def test_a_step_solves_the_damped_equations_and_leaves_idle_unknowns():
    trainer = trainer_of(NEWTON)
    curvature = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    equations = Equations(np.array([[1.0, -1.0, 5.0]] * 2), np.stack([curvature] * 2))
    active = np.array([[True, True, True], [True, False, True]])
    steps = trainer.optimiser.step(equations, active, np.array([0.0, 0.5]))
    np.testing.assert_allclose(curvature[:2, :2] @ steps[0, :2], [-1.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(steps[1], [-1.0 / 6.0, 0.0, 0.0])
    assert steps[0, 2] == 0.0  # nothing depends on it


def test_a_site_keeps_a_step_only_if_its_record_got_better():
    trainer = trainer_of(NEWTON)
    better, damping = trainer.optimiser.judge(np.array([1.0, 1.0]), np.array([3.0, 3.0]), np.array([2.0, 4.0]))
    assert better.tolist() == [True, False]
    assert damping[0] < 1.0 < damping[1]


def test_a_path_without_tangents_is_refused():
    groups = group_towers(two_towers(), NEWTON)
    with pytest.raises(InputError, match="tangents"):
        Trainer(Problem(FAKE_PATH._replace(tangents=None), groups, KEYS, NEWTON))


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    whole = calibrate(
        dataclasses.replace(NEWTON, epochs=4, output=str(tmp_path / "a")), path=FAKE_PATH, towers=two_towers()
    )
    half = dataclasses.replace(NEWTON, epochs=4, output=str(tmp_path / "b"))

    def interrupt(epoch, epochs, losses):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(half, path=FAKE_PATH, towers=two_towers(), progress=CalibrationProgress(epoch=interrupt))
    resumed = calibrate(half, path=FAKE_PATH, towers=two_towers(), resume=True)
    np.testing.assert_array_equal(resumed.trained.unknowns, whole.trained.unknowns)


@pytest.mark.parametrize("change", [{"learner": "network"}, {"path": "surrogate"}])
def test_it_needs_single_sites_and_the_model(change):
    with pytest.raises(InputError, match="gauss-newton"):
        dataclasses.replace(NEWTON, **change).check()
