"""The embedded data set: files that the readers take, hidden parameters, error and gaps, and the cache."""

import warnings

import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest

import jlsm
from jlsm.errors import InputError
from jlsm.forcing import METEOROLOGY, stack_sites
from jlsm.parameters import PARAMETERS, PFT_PARAMETERS, default_parameters, get_parameter, replace_parameters
from mdpl.data import flux_tower, synthetic
from mdpl.data.climate import FIVE_CROPS, site_climate
from mdpl.data.flux_tower import ERRORS, SHORT_GAP, observe
from mdpl.data.pairs import FLUX_LONG_NAMES, synthetic_forcing, synthetic_site
from mdpl.data.truth import STRONG, STRONG_SHARE, WEAK, hidden_truth
from mdpl.data.weather import generate_weather
from mdpl.towers.load import find_site_files
from mdpl.towers.observations import load_observations

YEARS = (2001, 2001)


def fake_model(params, forcing, site, report):
    """Fluxes in proportion to sun and vcmax25."""
    sun = np.asarray(forcing.SWdown)
    share = np.asarray(params.vegetation.vcmax25) / 300.0
    report("fake", len(sun), len(sun))
    net = 0.7 * sun - 40.0
    return {"Rnet": net, "Qle": share * net, "Qh": 0.9 * (1 - share) * net, "Qg": 0.1 * (1 - share) * net}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One synthetic year, made by the fake model."""
    folder = tmp_path_factory.mktemp("synthetic")
    written = synthetic.write_synthetic(folder, years=YEARS, model=fake_model)
    assert sorted(written) == sorted(folder.iterdir()), "nothing half-written is left"
    return folder


def truth_of(folder, code):
    with netCDF4.Dataset(folder / f"{code}-syn_2001-2001_synthetic_Truth.nc") as file:
        return {name: np.asarray(file[f"{name}_true"][:, 0, 0], float) for name in FLUX_LONG_NAMES}


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_the_readers_take_the_files_without_a_warning(folder, code):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (files,) = find_site_files(folder, (f"{code}-syn",))
        forcing, site = jlsm.load_forcing(files.met)
        alternative, _ = jlsm.load_forcing(files.met, lai="LAI_alternative")
        observations = load_observations(files.flux)
    assert (site.code, site.igbp) == (f"{code}-syn", "CRO")
    expected = synthetic_site(code)
    for name in ("latitude", "longitude", "elevation", "reference_height", "canopy_height", "utc_offset"):
        np.testing.assert_allclose(getattr(site, name), getattr(expected, name), rtol=1e-6)
    assert forcing.steps == 365 * 48 and float(forcing.dt) == 1800.0
    assert observations.step == "half-hourly" and set(observations.fluxes) == set(FLUX_LONG_NAMES)
    assert all("count as measured" in note for note in observations.notes)
    assert np.asarray(alternative.LAI).mean() == pytest.approx(np.asarray(forcing.LAI).mean(), rel=0.01)


def test_the_model_was_driven_by_what_the_file_says(folder):
    weather = generate_weather(site_climate("DE-Seh"), *YEARS, seed=synthetic.SEED)
    driven = synthetic_forcing("DE-Seh", weather)
    read, _ = jlsm.load_forcing(folder / "DE-Seh-syn_2001-2001_synthetic_Met.nc")
    for name in (*METEOROLOGY, "day", "second_of_day"):
        np.testing.assert_array_equal(np.asarray(getattr(driven, name)), np.asarray(getattr(read, name)), err_msg=name)


def test_every_file_says_that_it_is_synthetic_and_carries_the_truth_only_where_fluxes_are(folder):
    hidden = hidden_truth()
    assert len(list(folder.iterdir())) == 15
    for path in folder.iterdir():
        with netCDF4.Dataset(path) as file:
            assert file.title.startswith("SYNTHETIC") and "SYNTHETIC" in file.comment
            told = {name: file.getncattr(name) for name in file.ncattrs() if name.startswith("truth_")}
        values = hidden[path.name.split("_")[0]]
        expected = (
            {} if path.name.endswith("_Met.nc") else {f"truth_{k.replace('.', '_')}": v for k, v in values.items()}
        )
        assert told == expected


def test_the_hidden_parameters_differ_from_the_defaults_within_bounds():
    truth = hidden_truth()
    assert list(truth) == [f"{code}-syn" for code in FIVE_CROPS]
    assert truth == hidden_truth()
    for code in FIVE_CROPS:
        params = default_parameters(synthetic_site(code))
        for key, value in truth[f"{code}-syn"].items():
            info = PARAMETERS[key]
            default = float(get_parameter(params, key))
            assert info.calibratable and info.lower < value < info.upper
            assert value != default
            if key in STRONG:
                logarithmic = info.lower > 0 and info.upper / info.lower > 20
                ends = np.log([info.lower, info.upper, default, value]) if logarithmic else None
                lower, upper, here, moved = ends if logarithmic else (info.lower, info.upper, default, value)
                share = abs(moved - here) / (upper - lower)
                assert STRONG_SHARE[0] - 1e-4 <= share <= STRONG_SHARE[1] + 1e-4, key
    assert set(STRONG) | set(WEAK) <= set(PFT_PARAMETERS)
    left = set(PFT_PARAMETERS) - set(STRONG) - set(WEAK)
    assert all("c4" in key or key == "vegetation.canopy_height" for key in left), "and nothing else keeps its default"
    assert len({tuple(values.values()) for values in truth.values()}) == 5, "every site has its own"


def test_the_error_is_laplace_and_grows_with_the_flux(folder):
    for code in FIVE_CROPS:
        true, seen = truth_of(folder, code), load_observations(folder / f"{code}-syn_2001-2001_synthetic_Flux.nc")
        for name, model in ERRORS.items():
            measured = seen.fluxes[name].measured
            flux = true[name][measured]
            unit = (seen.fluxes[name].values[measured] - flux) / model.deviation(flux)
            n = measured.sum()
            # variance of the mean is 1/n; of the standard deviation (kurtosis - 1) / 4n: 5/4n Laplace, 1/2n normal
            assert abs(unit.mean()) < 4.0 / np.sqrt(n)
            assert abs(unit.std() - 1.0) < 4.0 * np.sqrt((1.25 if model.laplace else 0.5) / n)
            # the mean size tells the distributions apart: sqrt(1/2) of the deviation, or sqrt(2/pi)
            size = np.sqrt(0.5) if model.laplace else np.sqrt(2.0 / np.pi)
            assert abs(np.abs(unit).mean() - size) < 4.0 * np.sqrt((1.0 - size**2) / n)


def test_gaps_come_with_calm_nights_rain_and_failures():
    weather = generate_weather(site_climate("DE-Geb"), 2001, 2004, seed=5)
    steps = weather.Wind.size
    flat = {name: np.full(steps, 50.0) for name in FLUX_LONG_NAMES}
    values, flags = observe(flat, weather.Wind, weather.Precip, weather.SWdown, np.random.default_rng(0))
    for name in FLUX_LONG_NAMES:
        assert set(np.unique(flags[name])) <= {0, 1, 3}
        np.testing.assert_array_equal(np.isnan(values[name]), flags[name] == 3)
    night = weather.SWdown <= 0.0
    calm = night & (weather.Wind < np.quantile(weather.Wind[night], 0.35))
    measured = {name: flags[name] == 0 for name in FLUX_LONG_NAMES}
    for name in ("Qle", "Qh"):
        assert 0.55 < measured[name].mean() < 0.85, "as at real towers"
        assert measured[name][calm].mean() < 0.25 < 0.8 < measured[name][~night & (weather.Precip == 0)].mean()
        # interpolated steps come in runs of at most SHORT_GAP
        edges = np.diff(np.concatenate([[0], (flags[name] == 1).astype(int), [0]]))
        lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        assert lengths.size and lengths.max() <= SHORT_GAP
    rain = (weather.Precip > 0.0) & ~night
    assert measured["Qle"][rain].mean() < 0.15 < 0.35 < measured["Qh"][rain].mean()
    assert measured["Rnet"].mean() > 0.85
    together = ~measured["Rnet"] & ~measured["Qg"] & ~measured["Qh"]
    assert together.sum() > 0.5 * (~measured["Rnet"]).sum(), "failures take everything"


def test_the_noise_floor_is_that_of_the_error_model(folder):
    true = truth_of(folder, "US-ARM")["Qle"]
    seen = load_observations(folder / "US-ARM-syn_2001-2001_synthetic_Flux.nc").fluxes["Qle"]
    error = (seen.values - true)[seen.measured]
    expected = np.sqrt(np.mean(ERRORS["Qle"].deviation(true[seen.measured]) ** 2))
    assert np.sqrt(np.mean(error**2)) == pytest.approx(expected, rel=0.05)


def test_the_set_is_made_once_and_again_when_incomplete(tmp_path, monkeypatch):
    calls = []

    def counting(params, forcing, site, report):
        calls.append(forcing.steps)
        return fake_model(params, forcing, site, report)

    monkeypatch.setenv("MDPL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(synthetic, "lsm_fluxes", counting)
    heard = []
    folder = synthetic.five_crops_synthetic(lambda text, done, total: heard.append(text))
    assert synthetic.is_complete(folder) and calls == [4 * 365 * 48 + 48]
    assert {"synthetic weather", "writing synthetic sites"} <= set(heard)
    assert synthetic.five_crops_synthetic() == folder and len(calls) == 1
    kept = (folder / f"{synthetic.record_names()[0]}_Flux.nc").read_bytes()
    (folder / f"{synthetic.record_names()[1]}_Met.nc").unlink()
    assert synthetic.five_crops_synthetic() == folder and len(calls) == 2
    assert synthetic.is_complete(folder)
    again = load_observations(folder / f"{synthetic.record_names()[0]}_Flux.nc")
    (tmp_path / "first.nc").write_bytes(kept)
    np.testing.assert_array_equal(
        load_observations(tmp_path / "first.nc").fluxes["Qle"].values, again.fluxes["Qle"].values
    )
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name], "nothing temporary is left"
    copies = synthetic.copy_synthetic(folder, tmp_path / "mine")
    assert len(copies) == 15 and synthetic.is_complete(tmp_path / "mine")


def test_a_model_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(params, forcing, site, report):
        fluxes = {name: np.zeros((forcing.steps, 5)) for name in FLUX_LONG_NAMES}
        fluxes["Qh"][7, 2] = np.nan
        return fluxes

    monkeypatch.setenv("MDPL_CACHE", str(tmp_path))
    monkeypatch.setattr(synthetic, "lsm_fluxes", broken)
    with pytest.raises(FloatingPointError, match="DE-Seh-syn: Qh is not finite at step 7"):
        synthetic.five_crops_synthetic()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MDPL_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="MDPL_CACHE"):
        synthetic.five_crops_synthetic()


def test_a_short_gap_needs_a_value_on_either_side():
    missing = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1], bool)
    np.testing.assert_array_equal(np.flatnonzero(flux_tower._short_gaps(missing)), [2, 3])


@pytest.mark.slow
def test_the_land_surface_model_makes_the_fluxes(monkeypatch):
    """A few days of all sites with the hidden parameters: finite, closed, and those of ``simulate``."""
    monkeypatch.setattr(synthetic, "SPINUP_YEARS", 1)
    pairs = []
    for code in FIVE_CROPS:
        weather = generate_weather(site_climate(code), *YEARS, seed=synthetic.SEED)
        pairs.append((synthetic_forcing(code, weather).window(48 * 180, 48 * 184), synthetic_site(code)))
    forcing, site = stack_sites(pairs)
    truth = hidden_truth()
    values = {key: jnp.asarray([truth[f"{code}-syn"][key] for code in FIVE_CROPS]) for key in (*STRONG, *WEAK)}
    params = replace_parameters(default_parameters(site), values)
    fluxes = synthetic.lsm_fluxes(params, forcing, site, lambda text, done, total: None)
    assert all(fluxes[name].shape == (192, 5) and np.isfinite(fluxes[name]).all() for name in FLUX_LONG_NAMES)
    gap = fluxes["Rnet"] - fluxes["Qle"] - fluxes["Qh"] - fluxes["Qg"]
    np.testing.assert_allclose(gap, 0.0, atol=1.0)
    assert fluxes["Qle"].mean() > 20.0, "fields in July evaporate"
    untouched = synthetic.lsm_fluxes(default_parameters(site), forcing, site, lambda text, done, total: None)
    assert (np.abs(untouched["Qle"] - fluxes["Qle"]).mean(axis=0) > 1.0).all(), "the truth is not the default"
