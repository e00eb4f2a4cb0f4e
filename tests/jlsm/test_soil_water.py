"""Richards' equation against steady flow, hydrostatics and an independent integration; limits and conservation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from scipy.integrate import solve_ivp

from jlsm.constants import SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.processes.soil_water import hydraulics, root_fractions, water_movement
from tests.jlsm.columns import make_parameters, single, unit_cube

PARAMS = make_parameters()
SOIL = single(PARAMS.soil)
THICKNESS = jnp.asarray(SOIL_LAYER_THICKNESS)


def properties(moisture, ice=None):
    moisture = jnp.asarray(moisture)
    return hydraulics(SOIL, moisture, jnp.zeros_like(moisture) if ice is None else jnp.asarray(ice))


def moisture_of_conductivity(conductivity):
    b = float(SOIL.clapp_hornberger_b)
    return float(SOIL.porosity) * (conductivity / float(SOIL.saturated_conductivity)) ** (1 / (2 * b + 3))


def drain(moisture, infiltration, thickness, dt, steps):
    """March with free drainage (unit gradient) out of the lowest layer; all contents on the way."""

    def body(moisture, _):
        hydraulic = properties(moisture)
        leaves = jnp.zeros_like(moisture).at[-1].set(WATER_DENSITY * hydraulic.conductivity[-1])
        moisture = moisture + water_movement(hydraulic, thickness, jnp.asarray(infiltration), leaves, dt)
        return moisture, moisture

    return np.asarray(jax.lax.scan(body, jnp.asarray(moisture), length=steps)[1])


def test_clapp_hornberger_curves():
    saturation = np.array([0.2, 0.5, 0.9, 1.0])
    curves = properties(saturation * float(SOIL.porosity))
    b = float(SOIL.clapp_hornberger_b)
    np.testing.assert_allclose(curves.potential, float(SOIL.saturated_potential) * saturation**-b, rtol=1e-12)
    np.testing.assert_allclose(
        curves.conductivity, float(SOIL.saturated_conductivity) * saturation ** (2 * b + 3), rtol=1e-12
    )


@given(unit_cube(2))
def test_slopes_are_those_of_the_curves(u):
    moisture = 0.001 + 0.44 * u[:, 0]
    ice = 0.9 * moisture * u[:, 1]
    step = 1e-7
    middle, up, down = (properties(moisture + s, ice) for s in (0.0, step, -step))
    for name in ("potential", "conductivity"):
        slope = (np.asarray(getattr(up, name)) - np.asarray(getattr(down, name))) / (2 * step)
        got = np.asarray(getattr(middle, f"{name}_slope"))
        inside = (np.asarray(up.saturation) < 1.0) & (np.asarray(down.saturation) > 0.0)
        # in air-dry soil the conductivity is constant by the tangent rule, about 1e-35 m s-1: no slope to compare
        dry = np.asarray(middle.potential) < -0.9e4
        keep = inside & ~dry
        np.testing.assert_allclose(got[keep], slope[keep], rtol=2e-4, atol=1e-13)
    assert np.isfinite(middle.potential).all()


def test_steady_unsaturated_flow_has_unit_gradient():
    flux = 2e-7  # m s-1, 17 mm per day
    wet = moisture_of_conductivity(flux)
    thickness = jnp.full((20,), 0.1)
    steady = jnp.full((20,), wet)
    leaves = jnp.zeros(20).at[-1].set(WATER_DENSITY * flux)
    change = water_movement(properties(steady), thickness, jnp.asarray(WATER_DENSITY * flux), leaves, 1800.0)
    np.testing.assert_allclose(change, 0.0, atol=1e-15)
    # and any other start ends there
    for start in (0.6 * wet, 1.3 * wet):
        after = drain(jnp.full((20,), start), WATER_DENSITY * flux, thickness, 1800.0, 48 * 200)
        np.testing.assert_allclose(properties(after[-1]).conductivity, flux, rtol=1e-6)


def test_free_drainage_dries_every_layer_all_the_time():
    after = drain(jnp.full((6,), 0.9 * float(SOIL.porosity)), 0.0, THICKNESS, 1800.0, 48 * 100)
    assert (np.diff(after, axis=0) <= 1e-16).all()
    assert (after > 0.0).all() and (np.diff(after[-1]) >= -1e-12).all()  # wetter below


def test_hydrostatic_equilibrium_has_no_flux():
    middle = np.cumsum(SOIL_LAYER_THICKNESS) - 0.5 * np.array(SOIL_LAYER_THICKNESS)
    potential = middle - 25.0  # a water table at 25 m
    moisture = float(SOIL.porosity) * (potential / float(SOIL.saturated_potential)) ** (
        -1.0 / float(SOIL.clapp_hornberger_b)
    )
    change = water_movement(properties(moisture), THICKNESS, jnp.asarray(0.0), jnp.zeros(6), 86400.0)
    np.testing.assert_allclose(change, 0.0, atol=1e-14)


@given(unit_cube(16))
def test_movement_conserves_water(u):
    """Frozen, near saturation, bone dry, with rain and with roots, in steps up to a day."""
    porosity = np.asarray(PARAMS.soil.porosity)
    moisture = porosity * np.clip(1.02 * u[:, :6].T, 1e-4, 1.0)
    ice = moisture * np.where(u[:, 6:12].T > 0.5, u[:, 6:12].T, 0.0)
    dt = 60.0 + 86340.0 * u[:, 12]
    rain, roots = 5e-3 * u[:, 13] - 1e-4 * u[:, 14], 2e-4 * u[:, 15] * np.ones((6, 1)) / 6
    change = water_movement(
        hydraulics(PARAMS.soil, jnp.asarray(moisture), jnp.asarray(ice)), THICKNESS[:, None], jnp.asarray(rain),
        jnp.asarray(roots), jnp.asarray(dt),
    )  # fmt: skip
    gained = WATER_DENSITY * (THICKNESS[:, None] * change).sum(axis=0)
    came = dt * (rain - roots.sum(axis=0))
    scale = np.abs(WATER_DENSITY * np.asarray(THICKNESS)[:, None] * np.asarray(change)).max(axis=0)
    np.testing.assert_allclose(gained, came, atol=1e-13 * max(scale.max(), 1.0) * 10)
    assert np.isfinite(change).all()


def infiltrate(thickness, dt, hours=6.0, rain=1e-3):
    """Water gained by each layer of dry soil under steady rain, m."""
    thickness = jnp.asarray(thickness)
    start = jnp.full(thickness.shape, 0.3 * float(SOIL.porosity))
    nothing = jnp.zeros_like(thickness)

    def body(moisture, _):
        return moisture + water_movement(properties(moisture), thickness, jnp.asarray(rain), nothing, dt), None

    return np.asarray(thickness * (jax.lax.scan(body, start, length=int(hours * 3600 / dt))[0] - start))


def test_infiltration_against_an_independent_integration():
    """Richards' equation on layers of 1 cm, written out again with mean conductivities and integrated by scipy."""
    b, w_sat = float(SOIL.clapp_hornberger_b), float(SOIL.porosity)
    k_sat, psi_sat = float(SOIL.saturated_conductivity), float(SOIL.saturated_potential)
    thickness = np.full(60, 0.01)
    rain, hours = 1e-3, 6.0

    def rate(_, w):
        potential, conductivity = psi_sat * (w / w_sat) ** -b, k_sat * (w / w_sat) ** (2 * b + 3)
        flux = 0.5 * (conductivity[:-1] + conductivity[1:]) * (np.diff(-potential) / 0.01 + 1.0)
        return (np.concatenate([[rain / WATER_DENSITY], flux]) - np.concatenate([flux, [0.0]])) / 0.01

    start = np.full(60, 0.3 * w_sat)
    solution = solve_ivp(rate, (0.0, hours * 3600), start, method="BDF", rtol=1e-8, atol=1e-11)
    exact, fallen = thickness * (solution.y[:, -1] - start), rain / WATER_DENSITY * hours * 3600
    np.testing.assert_allclose(exact.sum(), fallen, rtol=1e-6)
    # how interfaces conduct differs, at the front by half a layer: a few hundredths of what fell
    assert np.abs(infiltrate(thickness, 5.0) - exact).sum() < 0.05 * fallen


def test_infiltration_in_half_hours():
    fine, coarse = (infiltrate(SOIL_LAYER_THICKNESS, dt) for dt in (5.0, 1800.0))
    np.testing.assert_allclose(coarse.sum(), fine.sum(), rtol=1e-10)
    assert np.abs(coarse - fine).max() < 0.1 * fine.sum()


def test_roots_follow_an_exponential():
    thickness = THICKNESS[:, None]
    share = np.asarray(root_fractions(jnp.asarray([0.1, 0.3, 3.0]), thickness))
    np.testing.assert_allclose(share.sum(axis=0), 1.0, rtol=1e-14)
    np.testing.assert_allclose(share[:2, 1].sum(), 1 - np.exp(-0.25 / 0.3), rtol=1e-6)
    slopes = jax.jacfwd(lambda d: root_fractions(d, thickness))(jnp.asarray([0.03, 0.3, 3.0]))
    assert np.isfinite(slopes).all()
