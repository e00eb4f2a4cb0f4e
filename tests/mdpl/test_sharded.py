"""Trainings whose columns are shared out over devices, against the same on one."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import jlsm
from jlsm.errors import InputError
from mdpl import cli
from mdpl.calibration import calibrate
from mdpl.cli import _mesh
from mdpl.model_paths import sharded
from mdpl.surrogate.network import surrogate_path
from mdpl.training.problem import Problem
from mdpl.training.trainer import Trainer
from mdpl.training.windows import group_towers
from tests.jlsm.test_devices import MESSAGES, largest_difference, messages
from tests.mdpl.fakes import FAKE_PATH
from tests.mdpl.test_calibrate import QUICK, quick
from tests.mdpl.test_gauss_newton import KEYS, two_towers
from tests.mdpl.test_surrogate import two_sites, untrained  # noqa: F401 (a fixture)


def trainer_of(path, **settings) -> Trainer:
    config = dataclasses.replace(QUICK, **settings)
    return Trainer(Problem(path, group_towers(two_towers(), config), KEYS, config))


@pytest.mark.parametrize("optimiser", ["adam", "gauss-newton"])
def test_a_training_on_eight_devices_is_that_on_one(optimiser):
    settings = {"optimiser": optimiser, "epochs": 3}
    on_one, on_eight = (
        [row.loss for row in trainer_of(path, **settings).train().rows]
        for path in (FAKE_PATH, sharded(FAKE_PATH, jlsm.column_mesh()))
    )
    assert len(on_one) > 3
    np.testing.assert_allclose(on_eight, on_one, rtol=2e-4)  # float32


def test_devices_speak_when_losses_are_summed_and_never_in_the_time_loop():
    trainer = trainer_of(sharded(FAKE_PATH, jlsm.column_mesh()), windows_per_step=0)
    (task,) = trainer.problem.tasks
    states = [task.runner.spin_up(task.default)] * (task.group.last_training_window() + 1)
    batch = task.batch(task.columns, states)
    program = trainer.optimiser.step.lower(*trainer.optimiser.initial(), [batch]).compile()
    assert messages(program), "the losses of a site whose windows lie on several devices are one sum"
    computations = program.as_text().split("\n\n")
    loops = [text for text in computations if "region" in text[:60] or "body" in text[:60]]
    assert loops and not any(message in loop for loop in loops for message in MESSAGES)


def test_a_surrogate_on_eight_devices(untrained):  # noqa: F811
    params, forcing, site = two_sites()
    alone, shared = surrogate_path(untrained), sharded(surrogate_path(untrained), jlsm.column_mesh())
    start = alone.spin_up(params, forcing, site, years=0.02)
    assert largest_difference(start, shared.spin_up(params, forcing, site, years=0.02)) < 1e-12
    one, eight = (path.simulate(params, forcing, site, start, fields=("Qle", "Qh")) for path in (alone, shared))
    assert largest_difference(one, eight) < 1e-12
    assert eight[0].Qg is None and jax.tree.structure(one) == jax.tree.structure(eight)


def test_a_calibration_over_devices(tmp_path):
    """Through the front door, its report and all."""
    runs = [
        calibrate(quick(tmp_path / name, epochs=2), path=FAKE_PATH, towers=two_towers(), mesh=mesh)
        for name, mesh in (("one", None), ("eight", jlsm.column_mesh()))
    ]
    one, eight = ([row.calibrated for row in run.parameters] for run in runs)
    np.testing.assert_allclose(eight, one, rtol=1e-4)
    assert (runs[1].directory / "report.html").is_file()


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr(cli, "cores", lambda: 2)
    with pytest.raises(InputError, match=r"--devices 3: there are 2 \(cpu\): give a smaller number"):
        _mesh(3)
    monkeypatch.setattr(cli, "cores", lambda: 8)
    assert _mesh(1) is None and _mesh(0).size == 8 and _mesh(3).size == 3
