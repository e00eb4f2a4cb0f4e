"""Bulk coefficients against logarithmic profiles, integrated flux-gradient relations and a root finder."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from scipy.integrate import quad
from scipy.optimize import brentq

from jlsm.constants import GRAVITY, REFERENCE_POTENTIAL_TEMPERATURE, VON_KARMAN
from jlsm.processes.turbulence import bulk_coefficients, roughness, stability_functions, stability_per_buoyancy
from jlsm.processes.vegetation import Canopy, canopy_above_snow
from tests.jlsm.columns import make_parameters, unit_cube


def rough_surface(lai=2.0, height=1.0, snow_depth=0.0, reference=10.0, **values):
    params = make_parameters(canopy_height=height, **values)
    shape = params.soil.porosity.shape
    canopy = canopy_above_snow(params.vegetation, jnp.broadcast_to(lai, shape), jnp.broadcast_to(snow_depth, shape))
    return params, roughness(params.vegetation, params.soil, params.snow, canopy, jnp.asarray(reference))


def test_bare_ground_has_the_neutral_log_profile():
    params = make_parameters()
    bare = jnp.full((2, 32), 1e-9)
    canopy = Canopy(bare, jnp.full((2, 32), 1.0), jnp.zeros((2, 32)), bare[0])
    rough = roughness(params.vegetation, params.soil, params.snow, canopy, jnp.asarray(10.0))
    bulk = bulk_coefficients(rough, jnp.zeros((2, 32)), 0.0, 0.0, stability_per_buoyancy(rough, 3.0))
    momentum, heat = np.log(10.0 / params.soil.roughness_momentum), np.log(10.0 / params.soil.roughness_heat)
    np.testing.assert_allclose(bulk.momentum[0], VON_KARMAN**2 / momentum**2, rtol=1e-6)
    np.testing.assert_allclose(bulk.floor[0], VON_KARMAN**2 / (momentum * heat), rtol=1e-6)
    assert (np.asarray(bulk.leaves) < 1e-3 * np.asarray(bulk.floor)).all()  # the height drops out as well


def test_zero_stability_fits_equal_temperatures():
    _, rough = rough_surface()
    bulk = bulk_coefficients(rough, jnp.zeros((2, 32)), 0.0, 0.0, stability_per_buoyancy(rough, 3.0))
    np.testing.assert_array_equal(bulk.stability, 0.0)


@given(unit_cube(9))
def test_coefficients_are_positive_for_any_canopy(u):
    height = 0.05 * 800.0 ** u[:, 0]
    _, rough = rough_surface(
        lai=10.0 * u[:, 1],
        height=height,
        snow_depth=3.0 * u[:, 2],
        reference=1.05 * height + 1.0 + 30.0 * u[:, 3],
        leaf_drag_coefficient=0.02 + 0.58 * u[:, 4],
        leaf_heat_coefficient=0.005 + 0.195 * u[:, 5],
    )
    stability = jnp.asarray(np.where(u[:, 6] > 0.5, 1.0, -1.0) * 10.0 ** (4.0 * u[:, 7] - 2.0))
    scale = stability_per_buoyancy(rough, jnp.asarray(0.5 + 40.0 * u[:, 8]))
    bulk = bulk_coefficients(rough, jnp.broadcast_to(stability, (2, 32)), 5.0, 3.0, scale)
    for name in ("momentum", "floor", "leaves"):
        values = np.asarray(getattr(bulk, name))
        assert np.isfinite(values).all() and (values > 0.0).all(), name  # C_Hc = C_H - C_Hs > 0
    assert (np.asarray(rough.height) > 0.0).all()


def test_stable_air_exchanges_less_and_unstable_air_more():
    _, rough = rough_surface()
    stability = np.array([-0.9, -0.2, -0.01, 0.0, 0.01, 0.1, 0.3])
    for name in ("momentum", "floor"):
        values = [
            float(
                getattr(
                    bulk_coefficients(rough, jnp.full((2, 32), s), 0.0, 0.0, stability_per_buoyancy(rough, 3.0)), name
                )[0, 0]
            )
            for s in stability
        ]
        assert (np.diff(values) < 0.0).all(), name


@pytest.mark.parametrize("stability", [-2.0, -0.3, -1e-3, 1e-3, 0.4, 1.0])
def test_stability_functions_integrate_the_flux_gradient_relations(stability):
    """psi = integral of (1 - phi) / zeta; Dyer (1974) with 16 and exponents 1/4, 1/2; Webb (1970) with 5."""

    def integral(phi):
        return quad(lambda z: (1.0 - phi(z)) / z, 0.0, stability, epsabs=1e-12)[0]

    momentum, heat = stability_functions(jnp.asarray(stability))
    if stability < 0:
        np.testing.assert_allclose(momentum, integral(lambda z: (1 - 16 * z) ** -0.25), rtol=1e-8)
        np.testing.assert_allclose(heat, integral(lambda z: (1 - 16 * z) ** -0.5), rtol=1e-8)
    else:
        np.testing.assert_allclose((momentum, heat), [-5.0 * stability] * 2, rtol=1e-12)


def test_stability_functions_are_smooth_through_neutral_air():
    slopes = jax.vmap(jax.jacfwd(lambda z: jnp.stack(stability_functions(z))))(jnp.asarray([-1e-9, 0.0, 1e-9]))
    assert np.isfinite(slopes).all()
    # Dyer's slopes at neutral are 4 and 8, Webb's 5 (psi = -5 zeta): a known kink of the functions
    np.testing.assert_allclose(slopes[0], [-4.0, -8.0], rtol=1e-6)
    np.testing.assert_allclose(slopes[2], [-5.0, -5.0], rtol=1e-6)


@pytest.mark.parametrize(
    "floor, leaves, wind", [(15.0, 3.0, 2.0), (0.5, 0.2, 8.0), (-0.5, -0.2, 5.0), (-0.3, 0.4, 6.0)]
)
def test_consistent_coefficients_belong_to_their_own_obukhov_length(floor, leaves, wind):
    """At the root the profiles are those of z/L, with L recomputed from the fluxes they give."""
    _, rough = rough_surface()

    def bulk(stability):
        return bulk_coefficients(
            rough, jnp.full((2, 32), stability), floor, leaves, stability_per_buoyancy(rough, wind)
        )

    solution = bulk(brentq(lambda s: float(bulk(s).stability[0, 0]), -100.0, 100.0, xtol=1e-14))
    friction = np.sqrt(float(solution.momentum[0, 0])) * wind
    kinematic = (float(solution.floor[0, 0]) * floor + float(solution.leaves[0, 0]) * leaves) * wind  # K m s-1
    obukhov = -REFERENCE_POTENTIAL_TEMPERATURE * friction**3 / (VON_KARMAN * GRAVITY * kinematic)
    psi_momentum, psi_heat = stability_functions(rough.height[0, 0] / obukhov)
    momentum = VON_KARMAN / (rough.momentum - psi_momentum)
    np.testing.assert_allclose(solution.momentum[0, 0], momentum[0, 0] ** 2, rtol=1e-9)
    for got, profile in ((solution.floor, rough.floor_heat), (solution.floor + solution.leaves, rough.heat)):
        expected = momentum * VON_KARMAN / (profile - psi_heat)
        np.testing.assert_allclose(got[0, 0], expected[0, 0], rtol=1e-9)
