"""Snow: mass and energy of any pack, continuity in its mass, albedo, cover."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from jlsm.constants import FREEZING_POINT, HEAT_CAPACITY_ICE, LATENT_HEAT_FUSION
from jlsm.processes.snow import SnowExchange, SnowSurface, aged_albedo, snow_cover, update_snow
from tests.jlsm.columns import make_parameters, unit_cube

SNOW = make_parameters().snow
DT = 1800.0


def heat_of(temperature, cover):
    """J m-2 relative to ice at the freezing point."""
    return HEAT_CAPACITY_ICE * np.sum(cover.fraction * cover.layer_mass * (temperature - FREEZING_POINT), axis=0)


@given(unit_cube(11))
def test_mass_and_energy_are_conserved(u):
    mass = np.where(u[:, 0] < 0.1, 0.0, 400.0 * u[:, 0] ** 4)
    cover = snow_cover(jnp.asarray(mass), SNOW)
    # after conduction a layer may be far below or somewhat above freezing
    temperature = FREEZING_POINT - 40.0 * u[:, 1:4].T + 8.0 * u[:, 4]
    melt = 500.0 * u[:, 5] ** 2
    # the surface balance sublimates at most what there is
    limit = np.asarray(cover.local_mass) / DT
    sublimation = np.where(u[:, 6] > 0.3, np.minimum(3e-3 * u[:, 6] ** 4, limit), -1e-4 * u[:, 6])
    rain, snowfall = 3e-3 * u[:, 7] ** 2, 3e-3 * u[:, 8] ** 2
    direct, falling = snowfall * u[:, 9], FREEZING_POINT - 30.0 * u[:, 10]
    surface = SnowSurface(temperature, np.stack([np.full(32, 0.8), np.full(32, 0.5)]))
    exchange = SnowExchange(melt, sublimation, rain, snowfall, direct, falling)
    after = update_snow(SNOW, cover, *jax.tree.map(jnp.asarray, (surface, exchange)), jnp.asarray(DT))
    fraction = np.asarray(cover.fraction)

    gained = (snowfall + fraction * (rain - sublimation)) * DT - np.asarray(after.water) * DT
    np.testing.assert_allclose(np.asarray(after.mass) - mass, gained, atol=1e-11)
    # ice holds -L_f per kilogram; all of the ice that came or went, and the heat that crossed
    new_cover = snow_cover(after.mass, SNOW)
    before_heat, after_heat = heat_of(temperature, cover), heat_of(np.asarray(after.temperature), new_cover)
    frozen = np.asarray(after.mass) - mass - (snowfall - fraction * sublimation) * DT  # refrozen less melted
    crossed = (melt * fraction + np.asarray(after.advected - after.heat)) * DT
    np.testing.assert_allclose(after_heat - before_heat - LATENT_HEAT_FUSION * frozen, crossed, atol=1e-5)
    np.testing.assert_allclose(np.asarray(after.refreeze - after.melt) * DT, frozen, atol=1e-11)

    assert (np.asarray(after.mass) >= -1e-12).all() and (np.asarray(after.water) >= -1e-15).all()
    assert (np.asarray(after.temperature) <= FREEZING_POINT).all()
    assert (np.asarray(after.temperature) >= 150.0).all()
    old, fresh = (0.65, 0.2), (0.9, 0.7)
    for band in range(2):
        assert (np.asarray(after.albedo[band]) <= fresh[band]).all() and (
            np.asarray(after.albedo[band]) >= old[band]
        ).all()


def test_cover_and_layers_are_continuous_in_mass():
    mass = jnp.concatenate([jnp.linspace(0.0, 0.1, 1001), jnp.linspace(0.101, 200.0, 40_001)])
    snow = jax.tree.map(lambda leaf: leaf[0], SNOW)
    cover = snow_cover(mass, snow)
    np.testing.assert_allclose(cover.fraction * cover.local_mass, mass, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(cover.layer_mass.sum(axis=0), cover.local_mass, rtol=1e-14)
    assert (np.diff(cover.fraction) >= -1e-15).all() and cover.fraction[0] == 0.0
    assert abs(float(cover.fraction[-1]) - 1.0) < 1e-15
    # what a layer has of the grid mean grows no faster than the snow that falls: no merge, no split
    held = cover.fraction * cover.layer_mass
    growth = np.diff(held, axis=1) / np.diff(mass)
    assert growth.min() > -0.1 and growth.max() < 1.1


@pytest.mark.parametrize("mass", [0.0, 1e-12, 1e-6])
def test_a_first_flake_has_finite_derivatives(mass):
    snow = jax.tree.map(lambda leaf: leaf[0], SNOW)

    def after(mass, snowfall, melt):
        surface = SnowSurface(jnp.full((3,), 272.0), jnp.asarray([0.9, 0.7]))
        nothing = jnp.asarray(0.0)
        exchange = SnowExchange(melt, nothing, nothing, snowfall, snowfall, jnp.asarray(270.0))
        pack = update_snow(snow, snow_cover(mass, snow), surface, exchange, jnp.asarray(DT))
        cover = snow_cover(pack.mass, snow)
        return pack.mass + pack.water + pack.heat + cover.fraction + pack.albedo.sum() + pack.temperature.sum()

    for snowfall in (0.0, 1e-9, 1e-4):
        slopes = jax.grad(after, argnums=(0, 1, 2))(*map(jnp.asarray, (mass, snowfall, 0.0)))
        assert np.isfinite(slopes).all(), snowfall


def test_melt_takes_the_energy_it_needs():
    mass = jnp.full((32,), 50.0)
    cover = snow_cover(mass, SNOW)
    zero = jnp.zeros(32)
    at_freezing = SnowSurface(jnp.full((3, 32), FREEZING_POINT), jnp.full((2, 32), 0.7))

    def melting(energy):
        return update_snow(SNOW, cover, at_freezing, SnowExchange(zero + energy, *[zero] * 4, zero + 270.0), DT)

    after = melting(100.0)
    np.testing.assert_allclose(after.melt * DT, 100.0 * DT / LATENT_HEAT_FUSION * cover.fraction, rtol=1e-12)
    # far more than there is snow: all melts, the rest of the heat goes to the soil
    after = melting(2e4)
    np.testing.assert_allclose(after.mass, 0.0, atol=1e-12)
    np.testing.assert_allclose(after.heat * DT, 2e4 * DT * cover.fraction - LATENT_HEAT_FUSION * mass, rtol=1e-9)


def test_albedo_ages_faster_when_warm_and_is_renewed():
    fresh = jnp.broadcast_to(jnp.asarray([0.9, 0.7])[:, None], (2, 32))
    pack = jnp.full((32,), 50.0)

    def after_days(temperature, days):
        albedo = fresh
        for _ in range(days):
            albedo = aged_albedo(albedo, SNOW, jnp.full((32,), temperature), jnp.zeros(32), pack, 86400.0)
        return float(albedo[0, 0])

    assert 0.9 > after_days(255.0, 5) > after_days(FREEZING_POINT, 5) > 0.65
    old = jnp.broadcast_to(jnp.asarray([0.65, 0.2])[:, None], (2, 32))
    renewed = aged_albedo(old, SNOW, jnp.full((32,), 270.0), jnp.full((32,), 20.0), pack, DT)
    np.testing.assert_allclose(renewed, fresh, rtol=1e-12)
