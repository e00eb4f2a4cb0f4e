"""Fisher information against a model whose derivatives are known on paper, and against real noise."""

from __future__ import annotations

import numpy as np
import pytest

from jlsm.parameters import PARAMETERS
from mdpl.config import Config
from mdpl.posterior.identifiability import PRIOR, information
from mdpl.training.problem import Problem
from mdpl.training.windows import group_towers
from tests.mdpl.fakes import FAKE_PATH, make_tower

KEYS = ("vegetation.leaf_area_scale", "vegetation.leaf_reflectance_nir", "vegetation.canopy_height")


@pytest.fixture(scope="module")
def told():
    """Information of one synthetic year about two parameters that act and one that does not."""
    config = Config(parameters=KEYS, window_days=120, fluxes={"Qh": 1.0})
    tower = make_tower({"vegetation.leaf_area_scale": 1.3}, days=365)
    (task,) = Problem(FAKE_PATH, group_towers([tower], config), KEYS, config).tasks
    return task, information(FAKE_PATH, task, task.space.default, {"Qh": np.array([10.0])}, at_once=4)


def test_the_information_is_that_of_the_formula(told):
    """Qh = SWdown (1 - rho) / 2 + 20 (s - 1): slopes 20 and -SWdown / 2 at every step."""
    task, found = told
    group = task.group
    weight = group.weight["Qh"][:, 0, :]  # [intervals, windows]
    sun = group.series["SWdown"][: group.windows * group.steps, 0].reshape(group.windows, -1, group.ratio).mean(-1).T
    span = [PARAMETERS[key].upper - PARAMETERS[key].lower for key in KEYS]
    slopes = np.stack([np.full_like(sun, 20.0) * span[0], -0.5 * sun * span[1], np.zeros_like(sun)])
    expected = np.einsum("iab,jab,ab->ij", slopes, slopes, weight) / 10.0**2
    np.testing.assert_allclose(found.fisher[0], expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_a_parameter_without_effect_is_as_uncertain_as_before(told):
    _, found = told
    deviation = found.deviations()[0]
    assert deviation[2] == pytest.approx(PRIOR)
    np.testing.assert_array_equal(found.identifiable(), [[True, True, False]])
