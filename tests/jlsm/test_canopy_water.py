"""Water on leaves: conservation, limits, and drip against an integrated rate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from scipy.integrate import solve_ivp

from jlsm.processes.canopy_water import DRIP_GROWTH, DRIP_RATE, CanopyExchange, LeafWater, canopy_water_balance
from tests.jlsm.columns import unit_cube

DT = 1800.0


def balance(
    water=0.1, frozen=0.0, evaporation=0.0, frozen_evaporation=0.0, rain=0.0, snow=0.0, lai=2.0, per_leaf=0.2, dt=DT
):
    leaves = LeafWater(water, frozen * water)
    exchange = CanopyExchange(evaporation, frozen_evaporation, rain, snow)
    return canopy_water_balance(*jax.tree.map(jnp.asarray, (leaves, exchange, lai, per_leaf, dt)))


@given(unit_cube(8))
def test_water_and_ice_are_conserved(u):
    lai, per_leaf = 0.01 + 8.0 * u[:, 0], 0.02 + u[:, 1]
    water, frozen = per_leaf * lai * u[:, 2], u[:, 3]
    # leaves evaporate at most what they hold; dew may be any amount
    evaporation = np.where(u[:, 4] > 0.5, u[:, 5], -u[:, 5]) * water / DT
    rain, snow = 300.0 / 86400 * u[:, 6], 300.0 / 86400 * u[:, 7]
    after = balance(water, frozen, evaporation, frozen * evaporation, rain, snow, lai, per_leaf)
    gained = (rain + snow - evaporation) * DT - np.asarray(after.rain + after.snow) * DT
    np.testing.assert_allclose(np.asarray(after.water) - water, gained, atol=1e-13)
    frozen_gained = (snow - frozen * evaporation - np.asarray(after.snow)) * DT
    np.testing.assert_allclose(np.asarray(after.ice) - frozen * water, frozen_gained, atol=1e-12)
    for part in (after.water, after.ice, after.rain, after.snow, after.snow_direct):
        assert np.min(part) >= -1e-15
    assert (np.asarray(after.water) <= per_leaf * lai + 1e-15).all()
    assert (np.asarray(after.ice) <= np.asarray(after.water) + 1e-15).all()
    assert (np.asarray(after.snow_direct) <= np.asarray(after.snow) + 1e-18).all()


def test_sparse_leaves_catch_their_share():
    after = balance(water=0.0, rain=1e-4, lai=0.25, per_leaf=5.0)  # room for all of it
    np.testing.assert_allclose(after.water, 0.25 * 1e-4 * DT, rtol=1e-3)  # the rest is drip
    np.testing.assert_allclose(after.rain, 0.75e-4, rtol=1e-3)


def test_a_full_canopy_lets_everything_through():
    after = balance(water=0.4, rain=1e-3)
    np.testing.assert_allclose(after.rain, 1e-3, rtol=1e-3)  # beside the drip of the full store


def test_drip_is_the_integral_of_its_rate():
    for held in (0.0, 0.5, 2.0, 4.0):
        after = balance(water=held, lai=8.0, per_leaf=1.0)
        rate = solve_ivp(lambda _, w: -DRIP_RATE * np.exp(DRIP_GROWTH * w), (0, DT), [held], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(after.water, max(rate.y[0, -1], 0.0), rtol=1e-8, atol=1e-12)


def test_derivatives_of_an_empty_canopy_are_finite():
    slopes = jax.grad(lambda w, r, s: balance(water=w, rain=r, snow=s).water, argnums=(0, 1, 2))(
        *map(jnp.asarray, (0.0, 0.0, 0.0))
    )
    assert np.isfinite(slopes).all()
