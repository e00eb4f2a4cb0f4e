"""What soil layers hold and give: limits, and not a gram lost."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from hypothesis import given

from jlsm.constants import SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.processes import soil_limits
from tests.jlsm.columns import make_parameters, unit_cube

SOIL = make_parameters().soil
THICKNESS = jnp.asarray(SOIL_LAYER_THICKNESS)[:, None]


@given(unit_cube(18))
def test_confine_keeps_limits_and_total(u):
    mass = WATER_DENSITY * np.array(SOIL_LAYER_THICKNESS)[:, None]
    least, most = 0.2 * u[:, :6].T * mass, (0.2 + 0.4 * u[:, 6:12].T) * mass
    water = (1.6 * u[:, 12:].T - 0.4) * mass  # from far below the limits to far above
    inside, excess = soil_limits.confine(*map(jnp.asarray, (water, least, most)))
    inside, excess = np.asarray(inside), np.asarray(excess)
    np.testing.assert_allclose(inside.sum(axis=0) + excess, water.sum(axis=0), rtol=1e-13, atol=1e-10)
    assert (inside >= least - 1e-12).all() and (inside <= most + 1e-12).all()
    # an excess only where everything is full, a shortage only where everything is at its least
    np.testing.assert_allclose(inside[:, excess > 1e-9], most[:, excess > 1e-9], atol=1e-9)
    np.testing.assert_allclose(inside[:, excess < -1e-9], least[:, excess < -1e-9], atol=1e-9)
    untouched = ((water >= least) & (water <= most)).all(axis=0)
    np.testing.assert_array_equal(inside[:, untouched], water[:, untouched])


@given(unit_cube(19))
def test_settled_layers_hold_what_there_was(u):
    """Moved water and sublimated ice are accounted for; ice stays within the pores' water."""
    porosity = np.asarray(SOIL.porosity)
    moisture = porosity * u[:, :6].T
    ice = moisture * np.linspace(0.2, 0.9, 6)[:, None]
    moved = 0.1 * (u[:, 6:12].T - 0.5)
    sublimated = u[:, 18] * ice[0] * WATER_DENSITY * SOIL_LAYER_THICKNESS[0] / 1800.0
    water = soil_limits.LayerWater(*map(jnp.asarray, (moisture, 1e-14 * u[:, 12:18].T, ice)))
    moved, sublimated = jnp.asarray(moved), jnp.asarray(sublimated)
    after, overflow = soil_limits.settle(SOIL, water, moved, sublimated, THICKNESS, jnp.asarray(1800.0))

    def mass(layers):
        return WATER_DENSITY * (np.asarray(THICKNESS) * layers).sum(axis=0)

    gained = mass(after.moisture + after.carry - water.moisture - water.carry)
    np.testing.assert_allclose(gained + overflow, mass(moved) - sublimated * 1800.0, atol=1e-10)
    np.testing.assert_allclose(mass(after.ice - ice), -sublimated * 1800.0, atol=1e-10)
    full = np.asarray(overflow) >= 0.0
    assert (np.asarray(after.moisture - after.ice) >= -1e-12)[:, full].all()
    assert (np.asarray(after.moisture) <= np.maximum(porosity, ice) + 1e-12).all()


def test_roots_and_base_flow_take_half_of_a_layer_at_most():
    liquid = soil_limits.liquid_mass(jnp.full((6, 1), 0.3), jnp.full((6, 1), 0.1), THICKNESS)
    np.testing.assert_allclose(liquid, 200.0 * THICKNESS, rtol=1e-12)
    everywhere = jnp.full((6, 1), 3.0)  # more than any layer holds
    np.testing.assert_allclose(soil_limits.root_supply(liquid, everywhere, 10.0), 0.05 * liquid.sum(), rtol=1e-12)
    shallow = soil_limits.root_supply(liquid, everywhere.at[5].set(0.0), 10.0)
    np.testing.assert_allclose(shallow, 0.05 * liquid[:5].sum(), rtol=1e-12)
    flow = soil_limits.limited_base_flow(jnp.full((6, 1), 1e3), liquid, 10.0)
    np.testing.assert_allclose(flow, 0.05 * liquid, rtol=1e-12)
