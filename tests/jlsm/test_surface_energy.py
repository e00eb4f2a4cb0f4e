"""The surface balance through the whole model: closed, melting at zero, dew at night, one step as an option."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.constants import FREEZING_POINT, LATENT_HEAT_FUSION, LATENT_HEAT_VAPORISATION
from jlsm.model import step
from jlsm.numerics import implicit_solve
from jlsm.processes import surface_energy
from jlsm.processes.solar import prepare_atmosphere
from tests.jlsm.columns import DT, make_forcing, make_parameters, make_site, make_state, run

SITE = make_site()


def test_the_balance_of_a_frost_free_surface_is_closed():
    params = make_parameters(vegetation_cover=np.linspace(0.1, 1.0, 32))
    forcing = make_forcing(295.0, wind=np.linspace(0.0, 15.0, 32), cloud=0.5, lai=np.linspace(0.0, 6.0, 32), rain=5.0)
    out, _ = run(params, forcing, SITE, make_state(params, 293.0, saturation=np.linspace(0.1, 1.0, 32)))
    assert out["SolverResidual"].max() < 1e-6
    np.testing.assert_allclose(out["Rnet"], out["Qle"] + out["Qh"] + out["Qg"], atol=1e-6)
    np.testing.assert_allclose(out["Qle"], LATENT_HEAT_VAPORISATION * out["Evap"], rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(out["Evap"], out["TVeg"] + out["ESoil"] + out["ECanop"], atol=1e-18)
    assert (out["Qle"].mean(axis=0) > 0.0).all() and (out["GPP"][20:28] >= 0.0).all()


def test_snow_melts_at_the_freezing_point_with_the_excess():
    params = make_parameters(canopy_height=0.06)
    forcing = make_forcing(np.linspace(276.0, 288.0, 32), swing=0.0, wind=5.0, cloud=1.0, lai=0.5, humidity=0.9)
    cold = FREEZING_POINT - 1e-3
    state = make_state(params, cold, snow_mass=200.0, snow_temperature=FREEZING_POINT, soil_ice=0.0)
    out, last = run(params, forcing, SITE, state)
    assert (out["SWE"][-1] < 200.0).all()
    full = out["SnowFrac"] == 1.0
    assert full[0].all()
    np.testing.assert_allclose(out["BaresoilT"][0], FREEZING_POINT, rtol=1e-14)
    # the pack is at zero throughout: all that goes into the ground melts snow, or warms a soil 1 mK colder
    np.testing.assert_allclose(out["Qsm"][0] * LATENT_HEAT_FUSION, out["Qg"][0], atol=0.1)
    assert (out["Qsm"][0] * LATENT_HEAT_FUSION > 10.0).all()
    assert (np.diff(out["SWE"][:40], axis=0) < 0.0).all()
    assert (np.asarray(last.snow_temperature) <= FREEZING_POINT).all()


def test_dew_falls_in_a_clear_humid_night():
    params = make_parameters()
    forcing = make_forcing(288.0, swing=4.0, humidity=1.0, wind=2.0, cloud=0.0, lai=3.0)
    out, _ = run(params, forcing, SITE, make_state(params, 286.0))
    night = slice(46, 54)
    assert (out["Rnet"][night] < -20.0).all() and (out["Qle"][night] < 0.0).all()
    assert (np.diff(out["CanopInt"][night], axis=0) > 0.0).all()
    assert (out["VegT"][night] < np.asarray(forcing.Tair)[night]).all()


def test_dry_soil_takes_up_no_vapour_from_unsaturated_air():
    params = make_parameters(vegetation_cover=0.05)
    forcing = make_forcing(300.0, swing=8.0, humidity=0.3, lai=0.0, wind=np.linspace(0.5, 10.0, 32))
    out, _ = run(params, forcing, SITE, make_state(params, 300.0, saturation=0.03))
    assert (out["ESoil"] > -1e-7).all()


def test_calm_clear_nights_stay_within_reason():
    params = make_parameters()
    forcing = make_forcing(np.linspace(240.0, 300.0, 32), swing=6.0, wind=0.0, cloud=0.0, lai=0.1, day=10950)
    out, _ = run(params, forcing, SITE, make_state(params, np.linspace(240.0, 300.0, 32)))
    difference = out["AvgSurfT"] - np.asarray(forcing.Tair)
    assert difference.min() > -20.0 and difference.max() < 40.0
    assert out["SolverResidual"].max() < 1e-6


def test_one_linearised_step_is_close_where_little_changes():
    """Where weather changes smoothly (and nothing melts) one Newton step is nearly the solution."""
    params = make_parameters()
    forcing = make_forcing(293.0, swing=2.0, wind=np.linspace(2.0, 8.0, 32), cloud=0.9, lai=2.0)
    state = make_state(params, 292.0)
    exact, _ = run(params, forcing, SITE, state)
    once, _ = run(params, forcing, SITE, state, solver="linearised")
    settled = slice(2, None)
    for name, limit in (("Qle", 6.0), ("Qh", 6.0)):
        difference = np.abs(once[name] - exact[name])[settled]
        assert difference.mean() < 0.3 * limit and difference.max() < 5 * limit, (
            name,
            difference.mean(),
            difference.max(),
        )
    # what it leaves unbalanced is in the ground: the budget closes all the same
    np.testing.assert_allclose(once["EnergyResidual"], 0.0, atol=1e-6)
    np.testing.assert_allclose(once["WaterResidual"], 0.0, atol=1e-9)
    assert once["SolverResidual"].max() > 1e-3  # it is another solver


def test_an_unknown_solver_is_refused():
    params = make_parameters()
    with pytest.raises(ValueError, match="converged.*linearised"):
        run(params, make_forcing(), SITE, make_state(params), solver="magic")


def test_fluxes_do_not_depend_on_where_the_iteration_starts():
    """The last step's surface temperatures are only a first guess."""
    params = make_parameters()
    forcing = make_forcing(np.linspace(255.0, 305.0, 32), lai=1.5)
    state = make_state(params, np.linspace(255.0, 300.0, 32))
    other = make_state(params, np.linspace(255.0, 300.0, 32), surface_temperature=300.0, canopy_temperature=255.0)
    a, b = run(params, forcing, SITE, state)[0], run(params, forcing, SITE, other)[0]
    for name in ("Qle", "Qh", "LWup", "GPP"):
        np.testing.assert_allclose(a[name], b[name], atol=1e-6, err_msg=name)
    assert DT == float(jnp.max(forcing.dt))


def test_the_structure_of_the_jacobian_is_what_the_solver_is_told(monkeypatch):
    """No equation depends on an unknown that ``depends`` leaves out, and on all it names in some column."""
    seen = {}

    def record(residual, options, start, operands, rows):
        seen.update(
            residual=residual, options=options, operands=operands, x=implicit_solve(residual, options, start, operands)
        )
        return seen["x"]

    monkeypatch.setattr(surface_energy, "implicit_solve", record)
    params = make_parameters(c4_fraction=0.4)
    state = make_state(params, np.linspace(265.0, 300.0, 32), canopy_water=0.1, snow_mass=np.linspace(0.0, 30.0, 32))
    forcing = make_forcing(np.linspace(262.0, 305.0, 32), lai=2.0).window(20, 21)
    air = jax.tree.map(lambda series: series[0], prepare_atmosphere(forcing, SITE, params.snow))
    step(params, state, air, SITE.reference_height, forcing.dt)

    slope = np.zeros((5, 5))
    for k in range(5):
        along = tuple(jnp.full_like(v, float(k == j)) for j, v in enumerate(seen["x"]))
        rows = jax.jvp(lambda x: seen["residual"](x, seen["operands"]), (seen["x"],), (along,))[1]
        slope[:, k] = [float(jnp.abs(row).max()) for row in rows]
    told = [[k in row for k in range(5)] for row in seen["options"].depends]
    np.testing.assert_array_equal(slope > 0.0, told)


def test_a_column_without_snow_does_not_feel_its_neighbours_snow():
    """The snow-covered portion is solved for where any column has snow: that, and having skipped it until the first
    snow falls at noon, changes nothing in a column without."""
    params, forcing = make_parameters(), make_forcing(273.0, rain=10.0, day=10600)
    odd = np.arange(32) % 2
    alone, last = run(params, forcing, SITE, make_state(params, 276.0))
    beside, end = run(params, forcing, SITE, make_state(params, 276.0, snow_mass=30.0 * odd))
    assert alone["SWE"][22].max() == 0.0 and alone["SWE"][-1].min() > 0.5 and beside["SWE"][:, 1].min() > 10.0
    for name in ("Qle", "Qh", "Qg", "Rnet", "SWE", "SnowT", "SoilTemp", "GPP", "Albedo", "SolverResidual"):
        np.testing.assert_allclose(beside[name][..., ::2], alone[name][..., ::2], rtol=1e-11, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(last.surface_temperature[:, ::2], end.surface_temperature[:, ::2], rtol=1e-11)
