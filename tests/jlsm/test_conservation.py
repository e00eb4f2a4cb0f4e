"""Energy and water close, and everything stays finite, in weather no tower has seen."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings

from jlsm.outputs import Outputs
from jlsm.simulation import simulate
from tests.jlsm.columns import (
    DT,
    KNOBS,
    STEPS,
    as_float32,
    make_forcing,
    make_parameters,
    make_site,
    make_state,
    optimised,
    run,
    scenarios,
    unit_cube,
)

# per step: the limits. At float32 a store of 5000 kg m-2 is known to 2e-4.
ENERGY = {"float64": 1e-6, "float32": 0.05}
WATER = {"float64": 1e-9, "float32": 1e-3}


def assert_sound(out, last, precision, porosity):
    for name, values in out.items():
        assert np.isfinite(values).all(), f"{name} in columns {np.unique(np.argwhere(~np.isfinite(values))[:, -1])}"
    for name, values in vars(last).items():
        assert np.isfinite(values).all(), name
    for name, limit in (("EnergyResidual", ENERGY), ("WaterResidual", WATER)):
        worst = np.abs(out[name]).max(axis=0)
        assert worst.max() < limit[precision], f"{name} {worst.max():.2e} in column {worst.argmax()}"
    tiny = 1e-12 if precision == "float64" else 1e-5
    for name in ("SWE", "CanopInt", "Pond", "Qs", "Qsb", "Rainf", "Snowf", "Irrig", "GPP", "Qsm"):
        assert out[name].min() >= -tiny, name
    assert out["SnowFrac"].min() >= -tiny and out["SnowFrac"].max() <= 1.0 + tiny
    assert (out["SWup"] >= -1e-3).all() and (out["SWnet"] >= -1e-3).all()
    moisture, ice = np.asarray(last.soil_moisture), np.asarray(last.soil_ice)
    assert (ice >= -tiny).all() and (moisture >= ice - tiny).all()
    assert (moisture <= np.maximum(porosity, ice) + tiny).all()
    assert np.abs(out["SoilTemp"] - 273.0).max() < 80.0


@settings(max_examples=20)
@given(unit_cube(KNOBS))
def test_random_extremes_in_float64(u):
    params, forcing, site, state = scenarios(u)
    assert_sound(*run(params, forcing, site, state), "float64", np.asarray(params.soil.porosity))


@settings(max_examples=20)
@given(unit_cube(KNOBS))
def test_random_extremes_in_float32(u):
    params, forcing, site, state = as_float32(scenarios(u))
    out, last = run(params, forcing, site, state)
    assert {v.dtype for v in out.values()} == {np.dtype(np.float32)}
    assert {v.dtype for v in vars(last).values()} == {np.dtype(np.float32)}
    assert_sound(out, last, "float32", np.asarray(params.soil.porosity))


def test_the_surface_balance_converges_in_random_extremes():
    """In every one of 640 extreme columns, over 96 steps each."""
    unsettled = []
    for seed in range(20):
        unit = np.random.default_rng(seed).beta(0.5, 0.5, (32, KNOBS))  # corners of the cube are likely
        out, _ = run(*scenarios(unit))
        worst = out["SolverResidual"].max(axis=0)
        unsettled += [f"seed {seed} column {c}: {worst[c]:.1e} W m-2" for c in np.flatnonzero(worst > 1e-6)]
    assert not unsettled, unsettled


def stored(state, params):
    """kg m-2 of all water in a column."""
    thickness = np.array([0.05, 0.2, 0.75, 1.0, 2.0, 10.0])[:, None]
    soil = 1000.0 * (thickness * (np.asarray(state.soil_moisture) + np.asarray(state.soil_moisture_carry))).sum(axis=0)
    return soil + sum(np.asarray(getattr(state, n)) for n in ("snow_mass", "canopy_water", "ponded_water"))


def test_water_of_two_days_adds_up_without_the_models_own_residual():
    params = make_parameters(
        water_table_conductance=1e-6, irrigation_rate=1e-4, irrigation_start=1.0, irrigation_end=366.0
    )
    state = make_state(params, temperature=np.linspace(255.0, 300.0, 32), saturation=np.linspace(0.2, 1.0, 32))
    forcing = make_forcing(temperature=np.linspace(258.0, 303.0, 32), rain=40.0, day=10700)
    out, last = run(params, forcing, make_site(), state)
    came = (
        np.asarray(forcing.Precip) + out["Irrig"] + out["WaterTableFlux"] - out["Evap"] - out["Qs"] - out["Qsb"]
    ).sum(axis=0)
    np.testing.assert_allclose(stored(last, params) - stored(state, params), came * DT, atol=1e-9)


@pytest.mark.slow
def test_float32_does_not_drift_over_ten_years():
    """Ten times a year of 366 days, in pieces of two days: the stores stay what the fluxes say."""
    columns, years, pairs = 8, 10, 183
    params, site = make_parameters(columns=columns), make_site(columns=columns)
    state = make_state(params, temperature=283.0, saturation=np.linspace(0.4, 0.9, columns))
    params32, site32, state = as_float32((params, site.numeric(), state))
    year = []
    for pair in range(pairs):
        season = -np.cos(2 * np.pi * (2 * pair % 365.25) / 365.25)
        rain = np.linspace(0.0, 15.0, columns) * (pair % 3 == 0)
        weather = make_forcing(
            283.0 + 15.0 * season, rain=rain, day=10957 + 2 * pair, lai=2.0 + season, columns=columns
        )
        year.append(as_float32(weather))
    start, came, energy = stored(state, params).astype(np.float64), 0.0, 0.0
    simulated = optimised(partial(simulate, fields=("Evap", "Qs", "Qsb", "EnergyResidual")))
    for forcing in year * years:
        out, state = simulated(params32, forcing, site32, state)
        gone = sum(np.asarray(flux, float) for flux in (out.Evap, out.Qs, out.Qsb))
        came = came + (np.asarray(forcing.Precip) - gone).sum(axis=0) * DT
        energy = energy + np.asarray(out.EnergyResidual, float).sum(axis=0) / (STEPS * pairs * years)
    # 1e-3 kg m-2 per step would be 175 kg m-2 in ten years, were it a drift
    np.testing.assert_allclose(stored(state, params) - start, came, atol=0.5)
    assert np.abs(energy).max() < 1e-3  # W m-2, mean of ten years


def test_outputs_are_all_there():
    out, _ = run(*scenarios(np.full((32, KNOBS), 0.5)))
    assert set(out) == {field.name for field in dataclasses.fields(Outputs)}
    assert {v.shape[0] for v in out.values()} == {96}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(make_parameters()))
