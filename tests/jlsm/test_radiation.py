"""The two-stream solution against a matrix exponential, its limits, and the energy of light."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from scipy.linalg import expm

from jlsm.processes.radiation import DIFFUSIVITY, LEAF_PROJECTION, canopy_radiation, two_stream
from jlsm.processes.solar import prepare_atmosphere
from jlsm.processes.vegetation import canopy_above_snow
from tests.jlsm.columns import make_forcing, make_parameters, make_site, unit_cube


def by_matrix_exponential(leaf_area, reflectance, transmittance, cosine, ground_direct, ground_diffuse, beam):
    """Albedo and ground absorption of the two-stream equations, integrated as a boundary value problem.

    The unknowns at depth L are (direct beam, diffuse down, diffuse up); Watanabe & Ohtani (1995).
    """
    r, t = 0.75 * reflectance + 0.25 * transmittance, 0.75 * transmittance + 0.25 * reflectance
    f, d, sec = LEAF_PROJECTION, DIFFUSIVITY, 1.0 / cosine
    rates = f * np.array([[-sec, 0.0, 0.0], [t * sec, -d * (1 - t), d * r], [-r * sec, -d * r, d * (1 - t)]])
    through = expm(rates * leaf_area)
    top = np.array([beam, 1.0 - beam, 0.0])
    known = through @ top
    # the upward stream at the top is what makes the ground reflect what it should
    unit = through @ np.array([0.0, 0.0, 1.0])
    missing = ground_direct * known[0] + ground_diffuse * known[1] - known[2]
    albedo = missing / (unit[2] - ground_diffuse * unit[1])
    bottom = known + albedo * unit
    return albedo, (1 - ground_direct) * bottom[0] + (1 - ground_diffuse) * bottom[1]


@given(unit_cube(6))
def test_two_stream_against_the_boundary_value_problem(u):
    # the matrix exponential itself loses digits in deep canopies: L up to 5
    leaf_area, cosine = 0.01 + 5.0 * u[:, 0], 0.05 + 0.95 * u[:, 3]
    reflectance, transmittance = 0.02 + 0.63 * u[:, 1], 0.005 + 0.3 * u[:, 2]
    ground_direct, ground_diffuse = 0.9 * u[:, 4], 0.9 * u[:, 5]
    direct, diffuse, _ = two_stream(
        *map(jnp.asarray, (leaf_area, reflectance, transmittance, cosine, ground_direct, ground_diffuse))
    )
    loss, back = 1 - (0.75 * transmittance + 0.25 * reflectance), 0.75 * reflectance + 0.25 * transmittance
    pole = np.abs(DIFFUSIVITY**2 * (loss**2 - back**2) * cosine**2 - 1.0) < 2e-3  # bridged there, see below
    for k in range(leaf_area.size):
        column = (leaf_area[k], reflectance[k], transmittance[k], cosine[k], ground_direct[k], ground_diffuse[k])
        for got, beam in ((direct, 1.0), (diffuse, 0.0)):
            expected = by_matrix_exponential(*column, beam)
            tolerance = 3e-3 if pole[k] and beam else 1e-7
            np.testing.assert_allclose((got.albedo[k], got.ground[k]), expected, atol=tolerance, err_msg=str(column))


def test_black_leaves_are_beers_law():
    leaf_area, cosine = jnp.linspace(0.0, 8.0, 9), jnp.asarray(0.6)
    direct, diffuse, extinction = two_stream(leaf_area, jnp.asarray(0.0), jnp.asarray(0.0), cosine, 0.2, 0.3)
    beam, decay = np.exp(-0.5 * leaf_area / 0.6), np.exp(-0.5 * DIFFUSIVITY * leaf_area)
    np.testing.assert_allclose(direct.ground, 0.8 * beam, rtol=1e-12)
    np.testing.assert_allclose(direct.albedo, 0.2 * beam * decay, rtol=1e-12)
    np.testing.assert_allclose(diffuse.ground, 0.7 * decay, rtol=1e-12)
    np.testing.assert_allclose(diffuse.albedo, 0.3 * decay**2, rtol=1e-12)
    np.testing.assert_allclose(extinction, 0.5 * DIFFUSIVITY, rtol=1e-12)


def test_no_leaves_show_the_ground():
    direct, diffuse, _ = two_stream(jnp.asarray(0.0), 0.5, 0.2, jnp.linspace(0.02, 1.0, 20), 0.2, 0.3)
    np.testing.assert_allclose(direct.albedo, 0.2, rtol=1e-11)
    np.testing.assert_allclose(direct.ground, 0.8, rtol=1e-11)
    np.testing.assert_allclose((diffuse.albedo, diffuse.ground), (0.3, 0.7), rtol=1e-12)


@pytest.mark.parametrize("ground", [0.0, 0.9])
def test_a_deep_canopy_hides_the_ground(ground):
    direct, diffuse, extinction = two_stream(jnp.asarray(80.0), 0.58, 0.25, jnp.asarray(0.7), ground, ground)
    reflectance, transmittance = 0.75 * 0.58 + 0.25 * 0.25, 0.75 * 0.25 + 0.25 * 0.58
    loss = 1.0 - transmittance
    rho = reflectance / (loss + np.sqrt(loss**2 - reflectance**2))
    np.testing.assert_allclose(diffuse.albedo, rho, rtol=1e-10)
    assert float(diffuse.ground) < 1e-8 and float(direct.ground) < 1e-8
    np.testing.assert_allclose(extinction, 0.5 * DIFFUSIVITY * np.sqrt(loss**2 - reflectance**2), rtol=1e-12)


def test_the_removable_pole_is_bridged():
    """Where beam and diffuse light decay alike the formula is 0/0."""
    reflectance, transmittance = 0.105, 0.07
    back, forth = 0.75 * reflectance + 0.25 * transmittance, 0.75 * transmittance + 0.25 * reflectance
    at = 1.0 / (DIFFUSIVITY * np.sqrt((1 - forth) ** 2 - back**2))
    cosine = jnp.asarray(at) * (1.0 + jnp.linspace(-5e-3, 5e-3, 4001))

    def both(cosine):
        direct, _, _ = two_stream(2.0, reflectance, transmittance, cosine, 0.1, 0.1)
        return jnp.stack([direct.albedo, direct.ground])

    values, slopes = both(cosine), jax.vmap(jax.jacfwd(both))(cosine)
    assert np.isfinite(values).all() and np.isfinite(slopes).all()
    # the bridge is 2e-3 wide (relative, of the squared secant): that much the light may jump, no more
    assert np.abs(np.diff(values, axis=1)).max() < 2e-3
    for k in (0, 2000, -1):
        exact = by_matrix_exponential(2.0, reflectance, transmittance, float(cosine[k]), 0.1, 0.1, 1.0)
        np.testing.assert_allclose(values[:, k], exact, atol=1e-3)


@given(unit_cube(9))
def test_light_is_neither_made_nor_lost(u):
    forcing = make_forcing(cloud=u[:, 0], latitude=60.0 * u[:, 1], steps=48)
    params = make_parameters(
        canopy_height=0.05 + 20.0 * u[:, 2],
        vegetation_cover=0.05 + 0.95 * u[:, 3],
        leaf_reflectance_nir=0.2 + 0.45 * u[:, 4],
        leaf_transmittance_nir=0.05 + 0.25 * u[:, 5],
    )
    air = prepare_atmosphere(forcing, make_site(60.0 * u[:, 1]), params.snow)
    canopy = canopy_above_snow(params.vegetation, jnp.asarray(8.0 * u[:, 6]), jnp.asarray(2.0 * u[:, 7]))
    air = jax.tree.map(lambda series: series[21], air)
    albedo = jnp.asarray(np.stack([0.95 * u[:, 8], 0.8 * u[:, 8]]))
    light = canopy_radiation(
        params.vegetation, params.soil, air, canopy, albedo, jnp.asarray(u[:, 0]), jnp.asarray(u[:, 1])
    )
    total = np.asarray(air.direct + air.diffuse)
    np.testing.assert_allclose(light.ground + light.canopy + light.upward, np.stack([total, total]), atol=1e-10)
    for part in (light.ground, light.canopy, light.upward):
        assert np.min(part) > -1e-9 * total.max()
    assert np.all(np.asarray(light.canopy_visible) <= np.asarray(light.canopy) + 1e-9)
    assert np.all((np.asarray(light.longwave_transmissivity) > 0) & (np.asarray(light.longwave_transmissivity) <= 1))
