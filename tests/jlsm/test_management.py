"""Field management: off means nothing, on means what was asked for, and its water is named."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from jlsm.constants import SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.processes.management import in_season, irrigation, pond_target, water_table_supply
from jlsm.processes.soil_water import root_fractions
from tests.jlsm.columns import DT, make_forcing, make_parameters, make_site, make_state, run, unit_cube

THICKNESS = jnp.asarray(SOIL_LAYER_THICKNESS)[:, None]
DAYS = jnp.arange(1.0, 367.0)


def test_off_is_exactly_nothing():
    params = make_parameters()
    out, last = run(params, make_forcing(), make_site(), make_state(params, saturation=0.2))
    for name in ("Irrig", "WaterTableFlux", "Pond"):
        np.testing.assert_array_equal(out[name], 0.0)
    np.testing.assert_array_equal(last.ponded_water, 0.0)


@pytest.mark.parametrize("start, end, inside, outside", [(121, 273, 200, 10), (300, 60, 10, 200), (1, 366, 180, None)])
def test_seasons_may_span_the_new_year(start, end, inside, outside):
    season = np.asarray(in_season(DAYS, float(start), float(end)))
    assert season[inside - 1] == 1.0 and season[start - 1] == 1.0 and season[end - 1] == 1.0
    if outside:
        assert season[outside - 1] == 0.0
        length = (end - start) % 366
        np.testing.assert_allclose(season.sum(), length + 1 + 4, atol=1.1)  # edges of five days on both sides
    assert np.abs(np.diff(season)).max() <= 0.2 + 1e-12
    assert abs(season[0] - season[-1]) <= 0.2 + 1e-12


@given(unit_cube(5))
def test_irrigation_stays_between_nothing_and_its_rate(u):
    params = make_parameters(
        irrigation_rate=5e-3 * u[:, 0], irrigation_trigger=u[:, 1], irrigation_target=u[:, 2],
        irrigation_start=1.0, irrigation_end=366.0,
    )  # fmt: skip
    moisture = jnp.broadcast_to(params.soil.porosity * u[:, 3], (6, 32))
    roots = root_fractions(params.vegetation.root_depth_scale, THICKNESS)
    rate = np.asarray(irrigation(params.management, params.soil, jnp.full((32,), 1.0 + 364 * u[0, 4]), moisture, roots))
    assert (rate >= 0.0).all() and (rate <= 5e-3 * u[:, 0] + 1e-18).all()
    np.testing.assert_array_equal(rate[u[:, 3] > u[:, 2] + 1e-9], 0.0)


def test_irrigation_lifts_the_root_zone_to_its_target():
    params = make_parameters(
        irrigation_rate=2e-3, irrigation_trigger=0.5, irrigation_target=0.7, irrigation_start=1.0, irrigation_end=366.0,
        root_depth_scale=0.1,
    )  # fmt: skip
    site, state = make_site(), make_state(params, saturation=0.3)
    roots = np.asarray(root_fractions(params.vegetation.root_depth_scale, THICKNESS))
    given_water = 0.0
    for _ in range(10):  # twenty days without rain
        out, state = run(params, make_forcing(humidity=0.4), site, state)
        given_water = given_water + out["Irrig"].sum(axis=0) * DT
        np.testing.assert_allclose(out["WaterResidual"], 0.0, atol=1e-9)
    saturation = (roots * np.asarray(state.soil_moisture)).sum(axis=0) / np.asarray(params.soil.porosity)
    # demand goes to zero as the target comes near: evaporation and drainage keep it a little below
    assert (saturation > 0.6).all() and (saturation <= 0.7).all()
    assert (given_water > 30.0).all()


def test_a_pond_is_kept_at_its_depth_and_drained_after_its_season():
    depth = np.linspace(10.0, 100.0, 32)
    # day 10760 is day of year 169
    params = make_parameters(pond_depth=depth, pond_start=100.0, pond_end=200.0)
    site, state = make_site(), make_state(params, saturation=1.0)
    out, state = run(params, make_forcing(rain=30.0), site, state)
    # it is topped up before the step's water seeps away (percolation_rate, 3e-5 kg m-2 s-1)
    np.testing.assert_allclose(out["Pond"], np.broadcast_to(depth, out["Pond"].shape), atol=3e-5 * DT + 1e-9)
    np.testing.assert_allclose(out["WaterResidual"], 0.0, atol=1e-9)
    np.testing.assert_allclose(out["Irrig"][0] * DT, depth, rtol=0.2)  # filled in the first step
    assert (out["Irrig"][1:].sum(axis=0) * DT < 40.0).all()  # then only what evaporates and seeps
    out, state = run(params, make_forcing(day=10760 + 60), site, state)
    np.testing.assert_array_equal(out["Pond"], 0.0)
    np.testing.assert_array_equal(out["Irrig"], 0.0)
    np.testing.assert_allclose(out["WaterResidual"], 0.0, atol=1e-9)


def test_pond_target_follows_the_season():
    params = make_parameters(pond_depth=80.0, pond_start=150.0, pond_end=250.0)
    target = np.asarray([pond_target(params.management, jnp.full((32,), d))[0] for d in (100.0, 147.5, 200.0, 300.0)])
    np.testing.assert_allclose(target, [0.0, 40.0, 80.0, 0.0])


@given(unit_cube(8))
def test_a_water_table_never_overfills(u):
    params = make_parameters(water_table_depth=0.2 + 13.8 * u[:, 0], water_table_conductance=1e-5 * u[:, 1])
    moisture = params.soil.porosity * jnp.asarray(u[:, 2:].T)
    supply = water_table_supply(params.management, params.soil, moisture, THICKNESS, 86400.0)
    after = np.asarray(moisture + supply * 86400.0 / (WATER_DENSITY * THICKNESS))
    assert (np.asarray(supply) >= 0.0).all()
    assert (after <= np.asarray(params.soil.porosity) + 1e-12).all()
    above = np.cumsum(SOIL_LAYER_THICKNESS)[:, None] <= np.asarray(params.management.water_table_depth)
    np.testing.assert_array_equal(np.asarray(supply)[above], 0.0)


def test_a_water_table_wets_the_ground_below_it():
    params = make_parameters(water_table_depth=np.linspace(0.5, 3.0, 32), water_table_conductance=1e-5)
    out, state = run(params, make_forcing(), make_site(), make_state(params, saturation=0.6))
    assert (out["WaterTableFlux"] > 0.0).all()
    np.testing.assert_allclose(out["WaterResidual"], 0.0, atol=1e-9)
    saturation = np.asarray(state.soil_moisture) / np.asarray(params.soil.porosity)
    assert (saturation[-1] > 0.85).all()
