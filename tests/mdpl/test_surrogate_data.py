"""The runs a surrogate learns from."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.constants import SOIL_LAYER_THICKNESS
from jlsm.errors import InputError
from jlsm.forcing import stack_sites
from jlsm.parameters import PARAMETERS, default_parameters, get_parameter, replace_parameters
from mdpl.surrogate.network import MEMORY_ITEMS
from mdpl.surrogate.runs import SURROGATE_FLUXES, DataSettings, draw_values, load_runs, make_runs
from tests.mdpl.fakes import FAKE_PATH, fake_simulate, make_site, make_tower

KEYS = ("vegetation.vcmax25", "vegetation.leaf_reflectance_nir", "vegetation.c4_fraction")
SMALL = DataSettings(draws=6, unseen_draws=2, year_days=20, burn_in_passes=1, batch=5)


@pytest.fixture(scope="module")
def towers():
    return [make_tower({}, days=days, code=f"XX-{days}", seed=days) for days in (70, 100)]


@pytest.fixture(scope="module")
def runs(towers):
    return make_runs(FAKE_PATH, towers, KEYS, SMALL)


def test_draws_stay_in_bounds_and_spread_around_the_default():
    site = stack_sites([(t.forcing, t.site) for t in [make_tower({}, days=2)]])[1]
    keys, values = draw_values(KEYS, default_parameters(site), 1, 64, 1.25, seed=0)
    assert keys == KEYS[:2], "no C4 plants here"
    for i, key in enumerate(keys):
        info = PARAMETERS[key]
        default = float(get_parameter(default_parameters(site), key)[0])
        assert ((values[..., i] > info.lower) & (values[..., i] < info.upper)).all()
        assert values[..., i].std() > 0.1 * (info.upper - info.lower)
        assert values[0, 0, i] == pytest.approx(default, rel=1e-6), "the first draw is where calibration starts"
        assert np.median(values[..., i]) == pytest.approx(default, abs=0.05 * (info.upper - info.lower))
    again = draw_values(KEYS, default_parameters(site), 1, 64, 1.25, seed=0)[1]
    np.testing.assert_array_equal(values, again)
    assert (draw_values(KEYS, default_parameters(site), 1, 64, 1.25, seed=1)[1][1:] != values[1:]).all()


def test_splits_do_not_share_draws_or_the_last_year(runs, towers):
    last = np.array([t.forcing.steps // (20 * 24) - 1 for t in towers]) * 20
    train, draws, year = (runs.chosen(name) for name in ("train", "draws", "year"))
    assert (runs.first_day[train] < last[runs.site[train]]).all()
    assert (runs.first_day[draws] < last[runs.site[draws]]).all()
    assert (runs.first_day[year] == last[runs.site[year]]).all()
    unseen = {tuple(v) for v in runs.values[np.concatenate([draws, year])]}
    assert unseen.isdisjoint(tuple(v) for v in runs.values[train])
    assert (train.size, draws.size, year.size) == (12, 4, 4)


def test_a_run_is_the_teacher_with_its_parameters(runs, towers):
    """Also the runs of the last, filled-up batch."""
    for r in (0, runs.site.size - 1):
        tower, first = towers[runs.site[r]], int(runs.first_day[r]) * 24
        params = replace_parameters(default_parameters(make_site()), dict(zip(runs.keys, runs.values[r], strict=True)))
        state = FAKE_PATH.spin_up(params, tower.forcing, tower.site)
        porosity = default_parameters(make_site()).soil.porosity
        state = dataclasses.replace(state, soil_moisture=jnp.full_like(state.soil_moisture, 0.75 * porosity))
        for start in (first - 480, first):
            outputs, state = fake_simulate(params, tower.forcing.window(start, start + 480), tower.site, state)
        truth = np.stack([np.asarray(getattr(outputs, flux)) for flux in SURROGATE_FLUXES], axis=-1)
        # half precision keeps eleven bits
        np.testing.assert_allclose(runs.fluxes[:, r].astype(float), truth, rtol=2.0**-10, atol=1e-3)


def test_memory_is_the_stores_at_the_end_of_days(towers):
    def remembering(params, forcing, site, state, fields=None):
        outputs, state = fake_simulate(params, forcing, site, state, fields)
        step = jnp.arange(forcing.steps, dtype=jnp.float32)[:, None, None]
        layers = jnp.asarray(SOIL_LAYER_THICKNESS)[:, None] * jnp.arange(1.0, 7.0)[:, None]
        soil = jnp.broadcast_to(layers, (*outputs.SoilMoist.shape[1:],)) + 0.0 * step
        return dataclasses.replace(outputs, SoilMoist=soil, SoilTemp=273.15 + 0.0 * soil + step,
                                   SWE=jnp.expm1(outputs.SWE + 0.01 * step[..., 0])), state  # fmt: skip

    runs = make_runs(FAKE_PATH._replace(simulate=remembering), towers, KEYS, SMALL)
    assert runs.memory.shape == (20, runs.site.size, MEMORY_ITEMS)
    evening = np.arange(20) * 24 + 23
    for layer in range(6):
        np.testing.assert_allclose(runs.memory[..., layer], layer + 1, rtol=1e-3)
        np.testing.assert_allclose(runs.memory[:, 0, 6 + layer], evening, rtol=1e-3)
    np.testing.assert_allclose(runs.memory[:, -1, -1], 0.01 * evening, rtol=2e-3)


def test_cache_is_used_and_keyed_by_content(towers, tmp_path):
    calls = []

    def counted(*args, **kwargs):
        jax.debug.callback(lambda: calls.append(1))
        return fake_simulate(*args, **kwargs)

    path = FAKE_PATH._replace(simulate=counted)
    first = make_runs(path, towers, KEYS, SMALL, tmp_path)
    jax.effects_barrier()
    ran = len(calls)
    second = make_runs(path, towers, KEYS, SMALL, tmp_path)
    jax.effects_barrier()
    assert ran > 0 and len(calls) == ran
    np.testing.assert_array_equal(first.fluxes, second.fluxes)
    assert second.keys == first.keys
    make_runs(path, towers[:1], KEYS, SMALL, tmp_path)
    assert len(list(tmp_path.glob("runs_*.npz"))) == 2
    file = next(tmp_path.glob("runs_*.npz"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="delete it"):
        load_runs(file)


def test_short_records_and_mixed_steps_are_refused(towers):
    with pytest.raises(InputError, match="three pieces"):
        make_runs(FAKE_PATH, [make_tower({}, days=50)], KEYS, SMALL)
    with pytest.raises(InputError, match="time steps differ"):
        make_runs(FAKE_PATH, [*towers, make_tower({}, days=70, dt=1800)], KEYS, SMALL)
