"""TOPMODEL runoff: limits, continuity, and what the whole model does with rain."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jlsm.constants import SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.processes.runoff import REFERENCE_DEPTH, water_table
from jlsm.processes.soil_water import hydraulics
from tests.jlsm.columns import make_parameters, single

PARAMS = single(make_parameters())
THICKNESS = jnp.asarray(SOIL_LAYER_THICKNESS)


def table(saturation, ice_share=0.0, params=PARAMS):
    """Water table of a column with the given saturation of its layers."""
    saturation = jnp.broadcast_to(jnp.asarray(saturation, float), (6,))
    hydraulic = hydraulics(params.soil, saturation * params.soil.porosity, jnp.zeros(6))
    return water_table(params.soil, params.site, hydraulic.potential, jnp.full((6,), ice_share), THICKNESS)


def test_a_full_column_has_its_table_at_the_surface():
    full = table(1.0)
    np.testing.assert_allclose(full.depth, 0.0, atol=1e-12)
    np.testing.assert_allclose(full.saturated_area, 1.0 - np.exp(-1.0), rtol=1e-12)  # f z = 1 at the divide
    f, slope, length = (float(getattr(PARAMS.site, n)) for n in ("conductivity_decay", "slope", "slope_length"))
    surface = float(PARAMS.soil.saturated_conductivity) * np.exp(f * REFERENCE_DEPTH)
    np.testing.assert_allclose(full.base_flow, WATER_DENSITY * surface * slope / (f * length) * np.e, rtol=1e-12)


def test_a_dry_column_has_no_runoff():
    dry = table(0.2)
    np.testing.assert_allclose(dry.depth, sum(SOIL_LAYER_THICKNESS), rtol=1e-12)
    assert float(dry.saturated_area) == 0.0
    assert 0.0 <= float(dry.base_flow) < 1e-15


def test_the_table_rises_continuously_as_layers_fill():
    steps = 4001
    depths, flows = [], []
    for layer in range(5, -1, -1):  # fill from below, one layer after the other
        filling = np.full((steps, 6), 0.5)
        filling[:, layer + 1 :] = 1.0
        filling[:, layer] = np.linspace(0.5, 1.0, steps)
        result = jax.vmap(table)(jnp.asarray(filling))
        depths.append(np.asarray(result.depth))
        flows.append(np.asarray(result.base_flow))
        np.testing.assert_allclose(np.asarray(result.layer_share).sum(axis=1), 1.0, rtol=1e-12)
        assert (np.asarray(result.layer_share) >= 0.0).all()
    depths, flows = np.concatenate(depths), np.concatenate(flows)
    assert (np.diff(depths) <= 1e-12).all() and (np.diff(flows) >= -1e-15).all()
    # psi is steep near saturation: a four-thousandth of the pores lifts the table a few millimetres
    assert np.abs(np.diff(depths)).max() < 0.02
    # the first filled layer's suction of psi_s = 0.48 m stands above layers thinner than that
    assert depths[-1] < 1e-9


def test_frozen_ground_gives_no_base_flow():
    np.testing.assert_allclose(table(1.0, ice_share=1.0).base_flow, 0.0, atol=1e-18)
    np.testing.assert_allclose(table(1.0, ice_share=0.5).base_flow, 0.5 * table(1.0).base_flow, rtol=1e-12)


def test_a_layer_above_counts_only_if_all_below_are_full():
    perched = table([1.0, 1.0, 0.5, 1.0, 1.0, 0.5])
    np.testing.assert_allclose(perched.depth, sum(SOIL_LAYER_THICKNESS), rtol=1e-9)
