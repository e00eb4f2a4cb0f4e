"""Water on the ground: nothing lost between pond, soil and runoff, and each limit where it belongs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given

from jlsm.constants import WATER_DENSITY
from jlsm.processes.infiltration import Arrival, Pond, infiltration, pond_and_runoff, pond_cover
from tests.jlsm.columns import make_parameters, unit_cube

PARAMS = make_parameters()
DT = 1800.0


def enter(water=0.0, target=0.0, incoming=0.0, evaporation=0.0, saturated_area=0.0, ice_share=0.0, percolation=0.0):
    """``infiltration`` with numbers for arrays."""
    management = dataclasses.replace(PARAMS.management, percolation_rate=jnp.asarray(percolation))
    pond, arrival = Pond(water, target), Arrival(incoming, evaporation)
    return infiltration(
        PARAMS.soil, management, *jax.tree.map(jnp.asarray, (pond, arrival, saturated_area, ice_share, DT))
    )


@given(unit_cube(8))
def test_water_is_conserved(u):
    water, target = np.where(u[:, 0] < 0.3, 0.0, 100.0 * u[:, 0]), np.where(u[:, 1] < 0.3, 0.0, 100.0 * u[:, 1])
    incoming, evaporation = 0.01 * u[:, 2] ** 2, 2.0 * (u[:, 3] - 0.3)
    entry = enter(water, target, incoming, evaporation, u[:, 4], u[:, 5], 1e-4 * u[:, 6])
    overflow = 5.0 * u[:, 7]
    pond, runoff = pond_and_runoff(entry, jnp.asarray(overflow), jnp.asarray(target), jnp.asarray(DT))
    came = incoming * DT + np.asarray(entry.refill) + overflow - evaporation
    left = np.asarray(pond) - water + np.asarray(entry.into_soil + runoff) * DT
    np.testing.assert_allclose(left, came, atol=1e-11)
    assert (np.asarray(pond) >= 0.0).all() and (np.asarray(pond) <= target).all()
    assert (np.asarray(runoff) >= -1e-15).all()


def test_soil_takes_what_it_conducts_and_the_rest_stands():
    capacity = WATER_DENSITY * np.asarray(PARAMS.soil.saturated_conductivity)
    heavy = enter(incoming=2.0 * capacity, ice_share=0.25)
    np.testing.assert_allclose(heavy.into_soil, 0.75 * capacity, rtol=1e-12)
    np.testing.assert_allclose(heavy.standing, 1.25 * capacity * DT, rtol=1e-12)
    light = enter(incoming=0.5 * capacity, saturated_area=0.2)
    np.testing.assert_allclose(light.saturation_excess, 0.1 * capacity, rtol=1e-12)
    np.testing.assert_allclose(light.into_soil, 0.4 * capacity, rtol=1e-12)


def test_a_pond_evaporates_first_and_is_filled_up():
    entry = enter(water=10.0, target=20.0, evaporation=3.0, percolation=0.0, saturated_area=0.9)
    np.testing.assert_allclose(entry.into_soil, 0.0, atol=1e-18)
    np.testing.assert_allclose(entry.refill, 13.0, rtol=1e-12)
    np.testing.assert_allclose(entry.standing, 20.0, rtol=1e-12)
    assert (np.asarray(entry.saturation_excess) == 0.0).all()


def test_evaporation_from_a_field_without_a_pond_is_the_soils():
    slope = jax.grad(lambda evaporation: enter(evaporation=evaporation).into_soil.sum())(1e-3)
    np.testing.assert_allclose(slope, -np.size(PARAMS.soil.porosity) / DT, rtol=1e-12)


def test_cover_grows_with_depth():
    np.testing.assert_allclose(pond_cover(jnp.asarray([0.0, 2.5, 5.0, 50.0])), [0.0, 0.5, 1.0, 1.0])
