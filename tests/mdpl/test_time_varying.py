"""Parameters that change through the year: basis, default at zero, derivative, and a course that is found again."""

from __future__ import annotations

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.parameters import PARAMETERS, default_parameters, get_parameter, replace_parameters
from mdpl.calibration import calibrate
from mdpl.config import Config
from mdpl.towers.intervals import DAY, TimeAxis, interval_means, model_time
from mdpl.towers.observations import FluxSeries, Observations
from mdpl.unknowns.search_space import search_space
from mdpl.unknowns.time_varying import UnknownsLayout, basis, course
from tests.mdpl.fakes import FAKE_PATH, fake_simulate, fake_spin_up, make_forcing, make_site, make_tower

KEYS = ("vegetation.vcmax25", "vegetation.leaf_reflectance_nir", "vegetation.leaf_area_scale")
LAYOUT = UnknownsLayout(KEYS, ("seasonal", "constant", "phenology"), harmonics=2)


def parts():
    site = make_site()
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2,)), default_parameters(site))
    forcing = make_forcing(60)
    weather = {name: jnp.stack([getattr(forcing, name)] * 2, axis=1) for name in forcing.series()}
    lai = jnp.linspace(0.0, 6.0, forcing.steps)[:, None] * jnp.ones(2)
    return params, dataclasses.replace(forcing, **(weather | {"LAI": lai}), dt=jnp.full(2, 3600.0))


def test_names_and_sizes():
    assert LAYOUT.names == (
        "vegetation.vcmax25", "vegetation.vcmax25.cos1", "vegetation.vcmax25.sin1", "vegetation.vcmax25.cos2",
        "vegetation.vcmax25.sin2", "vegetation.leaf_reflectance_nir", "vegetation.leaf_area_scale",
        "vegetation.leaf_area_scale.lai",
    )  # fmt: skip
    assert LAYOUT.size == 8 and LAYOUT.parts()[-1] == ("phenology", 6, 8)


def test_zero_unknowns_are_the_default_at_all_times():
    params, forcing = parts()
    space = search_space(KEYS, params, 2)
    found = LAYOUT.insert(params, space, jnp.zeros((2, 8)), np.arange(2), forcing)
    assert get_parameter(found, "vcmax25").shape == forcing.Tair.shape
    for key in PARAMETERS:
        assert (get_parameter(found, key) == get_parameter(params, key)).all(), key


def test_seasonal_basis_follows_the_calendar():
    day = jnp.asarray([[np.datetime64("2009-01-01").astype(int)], [np.datetime64("2009-07-02").astype(int)]], jnp.int32)
    cosine, sine = basis("seasonal", day, jnp.zeros((2, 1)), 1)
    np.testing.assert_allclose(cosine[:, 0], [1.0, -1.0], atol=0.01)
    np.testing.assert_allclose(sine[:, 0], [0.0, 0.0], atol=0.02)  # within a day of the solstices of the basis


def test_derivative_by_every_unknown():
    params, forcing = parts()
    space = search_space(KEYS, params, 2)
    state = fake_spin_up(params, forcing, None)
    start = 0.3 * jax.random.normal(jax.random.key(0), (2, 8))

    def loss(unknowns):
        full = LAYOUT.insert(params, space, unknowns, np.arange(2), forcing)
        outputs, _ = fake_simulate(full, forcing, None, state)
        return (outputs.Qle**2).mean() / 1e3 + (outputs.Qh**2).mean() / 1e3

    slope = jax.grad(loss)(start)
    assert (slope != 0).all(), "every coefficient acts"
    for s, u in np.ndindex(start.shape):
        step = jnp.zeros_like(start).at[s, u].set(1e-5)
        central = (loss(start + step) - loss(start - step)) / 2e-5
        assert slope[s, u] == pytest.approx(float(central), rel=1e-5, abs=1e-9)


@pytest.mark.slow
def test_a_seasonal_course_is_learned(tmp_path):
    """vcmax25 of the truth swings between summer and winter; a constant can not follow, a harmonic does."""
    blank = make_tower({}, days=3 * 365, gaps=0.0)
    params = replace_parameters(default_parameters(blank.site), {"vegetation.leaf_reflectance_nir": 0.4})
    phase = 2 * np.pi * np.asarray(blank.forcing.day) / 365.2425
    truth = 90.0 - 40.0 * np.cos(phase)
    params = replace_parameters(params, {"vcmax25": jnp.asarray(truth)})
    outputs, _ = fake_simulate(params, blank.forcing, blank.site, fake_spin_up(params, blank.forcing, blank.site))
    axis = model_time(blank.forcing)
    fluxes = {f: FluxSeries(np.asarray(interval_means(getattr(outputs, f), 24), float), np.ones(3 * 365, bool))
              for f in ("Qle", "Qh", "Rnet", "Qg")}  # fmt: skip
    tower = dataclasses.replace(blank, observations=Observations("x", TimeAxis(axis.start[::24], DAY), fluxes))
    config = Config(parameters=KEYS[:2], learner="direct", learning_rate=0.2, epochs=80, refresh_every=40)
    runs = {}
    for name, forms in (("constant", {}), ("seasonal", {"vcmax25": "seasonal"})):
        own = dataclasses.replace(config, output=str(tmp_path / name), time_varying=forms)
        runs[name] = calibrate(own, path=FAKE_PATH, towers=[tower])
        assert runs[name].trained.traces == 1
    rmse = {
        name: next(r.rmse for r in run.metrics if (r.stage, r.flux, r.period) == ("calibrated", "Qle", "test"))
        for name, run in runs.items()
    }  # fmt: skip
    assert rmse["seasonal"] < 0.3 * rmse["constant"]
    with (tmp_path / "seasonal" / "parameters_seasonal.csv").open(newline="") as stream:
        found = [float(row["value"]) for row in csv.DictReader(stream)]
    assert len(found) == 365
    np.testing.assert_allclose(found, 90.0 - 40.0 * np.cos(2 * np.pi * np.arange(365) / 365.2425), atol=8.0)
    with (tmp_path / "seasonal" / "parameters.csv").open(newline="") as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    assert float(rows["vegetation.vcmax25"]["calibrated"]) == pytest.approx(np.mean(found), rel=1e-5)
    assert float(rows["vegetation.vcmax25.cos1"]["calibrated"]) < -0.3
    assert not (tmp_path / "constant" / "parameters_seasonal.csv").exists()


def test_course_by_leaf_area():
    params, _ = parts()
    space = search_space(KEYS, params, 2)
    unknowns = np.zeros((2, 8))
    unknowns[:, 7] = 1.0
    lai = np.stack([np.zeros(365), np.full(365, 3.0)], axis=1)
    found = course(LAYOUT, space, unknowns, lai)
    assert found.shape == (365, 2, 3)
    assert (found[:, 0, 2] < 1.0).all() and (found[:, 1, 2] == 1.0).all(), "the default stands at LAI 3"
