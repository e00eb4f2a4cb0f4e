"""Config files, parameter selection and finding towers: what users get wrong, and what they should read then."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS, PFT_PARAMETERS, default_parameters, get_parameter, replace_parameters
from mdpl.config import Config, config_from_dict, load_config
from mdpl.towers.load import find_site_files
from mdpl.unknowns.search_space import C4_PARAMETERS, EDGE, bounded, declared_forms, search_space, select_parameters
from tests.mdpl.fakes import make_site


def stacked(params, sites=1):
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (sites,)), params)


def test_the_configs_in_examples_are_good():
    found = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))
    assert found
    for path in found:
        config = load_config(path).check()
        keys = select_parameters(config.parameters, config.exclude)
        assert set(declared_forms(config.time_varying, keys)) == set(config.time_varying), path


def test_config_survives_a_round_trip(tmp_path):
    config = Config(sites=("DE-Geb",), loss={"mse": 1.0, "correlation": 0.5}, epochs=3, data="/somewhere")
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert load_config(path) == config


def test_relative_data_is_relative_to_the_file(tmp_path):
    (tmp_path / "config.toml").write_text('data = "towers"\nepochs = 2\nlearning_rate = 1\n')
    config = load_config(tmp_path / "config.toml")
    assert config.data == str(tmp_path / "towers") and config.learning_rate == 1.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, "unknown key 'epoch': did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs = 'many': must be a whole number"),
        ({"epochs": True}, "must be a whole number"),
        ({"sites": "DE-Geb"}, "must be a list of texts"),
        ({"fluxes": {"Qle": "x"}}, "must be a table of numbers"),
        ({"target": "bowen"}, "use one of raw, corrected"),
        ({"loss": {"mae": 1.0}}, "use one of mse, rmse, huber, nse, kge, correlation"),
        ({"fluxes": {"NEE": 1.0}}, "use one of Qle, Qh, Rnet, Qg"),
        ({"fluxes": {"Qle": 0.0}}, "no positive weight"),
        ({"loss": {"mse": -1.0}}, "must be 0 or more"),
        ({"path": "magic"}, "use one of lsm, surrogate"),
        ({"refresh_every": 0}, "must be 1 or more"),
        ({"learning_rate": 0.0}, "must be above 0"),
        ({"learner": "forest"}, "use one of network, direct"),
        ({"encoder": "cnn"}, "use one of gru, lstm, tcn, transformer"),
        ({"encoder": "transformer", "hidden": 30}, "multiple of 4"),
        ({"schedule": "step"}, "use one of cosine, constant"),
        ({"epochs": 3, "warmup_epochs": 3}, "must be fewer than epochs"),
        ({"prior": -1.0}, "must be 0 or more"),
        ({"patience": -1}, "must be 0 or more"),
        ({"time_varying": {"vcmax25": "weekly"}}, "use one of constant, seasonal, phenology"),
        ({"time_varying": {"vcmax25": 1}}, "must be a table of texts"),
        ({"test_years": 0}, "must be 1 or more, or left out"),
    ],
)
def test_bad_configs_say_what_to_do(values, words):
    with pytest.raises(InputError) as error:
        config_from_dict(values).check()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_config(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(InputError, match="not valid TOML"):
        load_config(tmp_path / "bad.toml")


# ---- parameters ------------------------------------------------------------------------------------


def test_selection():
    assert select_parameters(("pft",)) == PFT_PARAMETERS
    assert select_parameters(("vcmax25", "soil.albedo_*")) == (
        "vegetation.vcmax25", "soil.albedo_vis", "soil.albedo_nir"
    )  # fmt: skip
    assert "vegetation.canopy_height" not in select_parameters(("pft",), exclude=("canopy_height",))


def test_declared_forms():
    keys = select_parameters(("vcmax25", "ball_berry_slope"))
    assert declared_forms({"vcmax25": "seasonal"}, keys) == {"vegetation.vcmax25": "seasonal"}
    with pytest.raises(InputError, match="not among the searched parameters"):
        declared_forms({"canopy_height": "seasonal"}, keys)
    with pytest.raises(InputError, match="unknown parameter 'vcmax'"):
        declared_forms({"vcmax": "seasonal"}, keys)


@pytest.mark.parametrize(
    ("patterns", "exclude", "words"),
    [
        (("vcmax",), (), "unknown parameter 'vcmax'"),
        (("soil.heat_capacity",), (), "not calibratable"),
        (("roughness_momentum",), (), "not calibratable|ambiguous"),
        (("vcmax25",), ("vcmax25",), "nothing left to calibrate"),
    ],
)
def test_bad_selection(patterns, exclude, words):
    with pytest.raises(InputError, match=words):
        select_parameters(patterns, exclude)


def test_c4_parameters_only_where_c4_plants_grow():
    params = stacked(default_parameters(make_site()), 2)
    params = replace_parameters(params, {"vegetation.c4_fraction": jnp.array([0.0, 0.5])})
    space = search_space(PFT_PARAMETERS, params, 2)
    c4 = np.array([key in C4_PARAMETERS for key in space.keys])
    assert not space.active[0, c4].any() and space.active[1].all()
    moved = np.asarray(space.values(jnp.asarray(space.start() + 3.0)))
    np.testing.assert_allclose(moved[0, c4], space.default[0, c4], rtol=1e-6)

    none = search_space(PFT_PARAMETERS, replace_parameters(params, {"c4_fraction": jnp.zeros(2)}), 2)
    assert not set(none.keys) & set(C4_PARAMETERS)


def test_offset_zero_is_the_default_to_the_last_bit():
    """In both precisions, compiled or not, on a bound or not; and every parameter can move from there."""
    params = stacked(default_parameters(make_site()))
    space = search_space(PFT_PARAMETERS, params, 1)
    assert (space.default == space.upper).any() and (space.default > space.lower).all()
    for dtype in (jnp.float32, jnp.float64):
        start = jnp.asarray(space.start(), dtype)
        for values in (space.values(start), jax.jit(space.values)(start)):
            inserted = space.insert(params, values)
            for key in space.keys:
                assert get_parameter(inserted, key)[0] == get_parameter(params, key)[0], key
    slope = jax.vmap(jax.grad(lambda u, *rest: bounded(u, *rest)))(
        jnp.zeros(len(space.keys)), space.default[0], space.lower, space.upper
    )
    assert (slope > 0.009 * (space.upper - space.lower)).all()


@pytest.mark.parametrize("default", [0.0, 0.001, 0.3, 1.0])
def test_offsets_follow_a_sigmoid_and_reach_the_range(default):
    offsets = jnp.linspace(-12, 12, 401)
    values = bounded(offsets, default, 0.0, 1.0)
    assert (values >= 0).all() and (values <= 1).all()
    share = np.clip(default, EDGE, 1 - EDGE)
    inner = (offsets < 0) if default == 1.0 else (offsets > 0)
    sigmoid = 1 / (1 + np.exp(-(offsets + np.log(share / (1 - share)))))
    np.testing.assert_allclose(values[inner], (default + sigmoid - share)[inner], atol=1e-12)
    assert values.max() - values.min() > 1 - 2 * EDGE
    # beyond a bound the value comes back: the slope says so, there is no dead zone
    slope = jax.vmap(jax.grad(bounded), (0, None, None, None))(offsets[190:211], default, 0.0, 1.0)
    assert (jnp.abs(slope) > 0.005).all()


@settings(deadline=None)  # the first call compiles
@given(st.floats(-50, 50))
def test_no_step_leaves_the_bounds(shift):
    params = stacked(default_parameters(make_site()))
    space = search_space(("vegetation.vcmax25", "vegetation.canopy_height"), params, 1)
    values = space.values(jnp.asarray(space.start() + shift, jnp.float32))
    inserted = space.insert(params, values)
    for i, key in enumerate(space.keys):
        info = PARAMETERS[key]
        assert info.lower <= float(values[0, i]) <= info.upper
        assert get_parameter(inserted, key)[0] == values[0, i]


# ---- towers in a folder ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name in ("US-Bo1_1998-1998_NOAA_Met", "US-Bo1_1998-1998_NOAA_Flux", "US-Bo1_2001-2001_HRLDAS_Met",
                 "DE-Geb_2001-2010_X_Met", "DE-Geb_2001-2010_X_Flux"):  # fmt: skip
        (tmp_path / f"{name}.nc").touch()
    return tmp_path


def test_finding_pairs(folder):
    assert [pair.code for pair in find_site_files(folder)] == ["DE-Geb", "US-Bo1"]
    assert [pair.record for pair in find_site_files(folder, ("US-Bo1_1998",))] == ["US-Bo1_1998-1998_NOAA"]
    assert [pair.code for pair in find_site_files(folder, ("DE-Geb",))] == ["DE-Geb"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (("US-Bo1",), r"2 records \(US-Bo1_1998-1998_NOAA, US-Bo1_2001-2001_HRLDAS\): choose with --sites US-Bo1_1998"),
        (("US-Bo1_2001",), "forcing but no fluxes"),
        (("XX-Abc",), "no Met file of site 'XX-Abc': the folder has DE-Geb, US-Bo1"),
    ],
)
def test_pairs_that_cannot_be_found(folder, wanted, words):
    with pytest.raises(InputError, match=words):
        find_site_files(folder, wanted)


def test_folders_without_towers(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_site_files(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no \*_Met.nc file"):
        find_site_files(tmp_path)
