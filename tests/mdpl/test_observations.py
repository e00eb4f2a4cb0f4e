"""Flux files, their flags, and the model's mean over each observed interval."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.towers.intervals import DAY, TimeAxis, align, model_time
from mdpl.towers.observations import Observations, load_observations, to_observed_interval
from tests.jlsm.builders import DATA
from tests.mdpl.fakes import make_forcing, write_flux

HOUR = 3600


def observed(start: str, count: int, length: int = DAY) -> Observations:
    first = np.datetime64(start, "s").astype(np.int64)
    return Observations("XX_Flux.nc", TimeAxis(first + length * np.arange(count), length), {})


# ---- reading ---------------------------------------------------------------------------------------


def test_flags_fill_values_and_corrected_fluxes(tmp_path):
    values = np.array([10.0, 20.0, 30.0, -9999.0, 50.0])
    path = write_flux(
        tmp_path / "XX_Flux.nc",
        {"Qle": values, "Qh": values + 1, "Qle_cor": values * 1.2},
        {"Qle": [0, 1, 0, 0, 0], "Qle_cor": [0, 0, 0, 0, 3]},
    )
    found = load_observations(path)
    assert found.step == "half-hourly" and found.time.length == 1800
    assert found.fluxes["Qle"].measured.tolist() == [True, False, True, False, True]
    assert np.isfinite(found.fluxes["Qle"].values).all()
    assert found.fluxes["Qle"].observed()[2] == 30.0 and np.isnan(found.fluxes["Qle"].observed()[3])
    assert found.target("Qle", "corrected").measured.tolist() == [True, True, True, False, False]
    assert found.target("Qh", "corrected") is None
    assert found.fluxes["Qh"].measured.sum() == 4
    assert any("no Qh_qc, all 4 finite steps" in note for note in found.notes)
    assert found.second_of_day.tolist() == [0, 1800, 3600, 5400, 7200]


def test_daily_file_by_its_attribute(tmp_path):
    path = write_flux(tmp_path / "XX_Flux.nc", {"Qle": np.ones(3)}, step=DAY, time_step="daily mean")
    found = load_observations(path)
    assert found.step == "daily" and found.time.length == DAY
    assert found.day.tolist() == [11323, 11324, 11325]


def test_all_masked_flux_is_left_out_and_named(tmp_path):
    path = write_flux(tmp_path / "XX_Flux.nc", {"Qle": np.ones(3), "Qh": np.ones(3)}, {"Qh": [3, 3, 3]})
    found = load_observations(path)
    assert "Qh" not in found.fluxes and "Qh: nothing measured, left out" in found.notes


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("not NetCDF"), "cannot be read as NetCDF"),
        (lambda path: write_flux(path, {"GPP": np.ones(3)}), "none of Qle, Qh, Rnet, Qg"),
        (lambda path: write_flux(path, {"Qle": np.full(3, -9999.0)}), "Qle: no step is measured"),
        (lambda path: write_flux(path, {"Qle": np.ones(3)}, start=np.array([0, 1800, 1800])), "2001-01-01T00:30:00"),
        (lambda path: write_flux(path, {"Qle": np.ones(4)}, start=np.array([0, 1800, 3600, 6000])), "no multiple"),
        (lambda path: write_flux(path, {"Qle": np.array([1.0, 1e5, 1.0])}), "Qle at 2001-01-01T00:30:00"),
    ],
)
def test_bad_files_say_what_is_wrong_in_one_line(tmp_path, write, words):
    path = tmp_path / "XX_Flux.nc"
    write(path)
    with pytest.raises(InputError) as error:
        load_observations(path)
    assert words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


# ---- intervals -------------------------------------------------------------------------------------


def test_daily_means_of_hours():
    forcing = make_forcing(days=3)
    values = jnp.arange(72.0)
    means, covered = to_observed_interval(values, forcing, observed("2001-01-01", 3))
    np.testing.assert_allclose(means, [11.5, 35.5, 59.5])
    assert covered.all()


def test_identity_where_the_steps_agree():
    values = jnp.arange(48.0)
    means, covered = to_observed_interval(values, make_forcing(days=2), observed("2001-01-01", 48, HOUR))
    np.testing.assert_array_equal(means, values)
    assert covered.all()


@pytest.mark.parametrize(("start", "count", "inside"), [("2000-12-30", 4, [2, 3]), ("2001-01-02", 5, [0, 1])])
def test_records_that_start_or_end_elsewhere(start, count, inside):
    forcing = make_forcing(days=3)
    means, covered = to_observed_interval(jnp.arange(72.0), forcing, observed(start, count))
    assert np.flatnonzero(covered).tolist() == inside
    days = [int(d) - 11323 for d in observed(start, count).day[covered]]
    np.testing.assert_allclose(np.asarray(means)[covered], [11.5 + 24 * d for d in days])
    assert (np.asarray(means)[~covered] == 0).all()


def test_a_run_that_begins_at_noon():
    axis = model_time(make_forcing(days=4))
    later = TimeAxis(axis.start[12:], axis.length)
    means, covered = to_observed_interval(np.arange(12.0, 96.0), later, observed("2001-01-01", 4))
    assert covered.tolist() == [False, True, True, True]
    np.testing.assert_allclose(means, [0.0, 35.5, 59.5, 83.5])


def test_gaps_in_the_observations():
    some = observed("2001-01-01", 3)
    gappy = Observations("XX", TimeAxis(some.time.start[[0, 2]], DAY), {})
    means, _ = to_observed_interval(jnp.arange(72.0), make_forcing(days=3), gappy)
    np.testing.assert_allclose(means, [11.5, 59.5])


def test_columns_and_derivative():
    forcing = make_forcing(days=2)
    values = jnp.stack([jnp.arange(48.0), -jnp.arange(48.0)], axis=1)
    means, _ = to_observed_interval(values, forcing, observed("2001-01-01", 2))
    np.testing.assert_allclose(means[:, 1], [-11.5, -35.5])
    slope = jax.grad(lambda v: to_observed_interval(v, forcing, observed("2001-01-01", 2))[0][1, 0])(values)
    np.testing.assert_allclose(slope[24:, 0], 1 / 24)
    assert (slope[:24] == 0).all() and (slope[:, 1] == 0).all()


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (observed("2001-01-01", 3, 5400), "no whole number of model steps"),
        (observed("2001-01-01T00:30", 3, HOUR), "starts between two model steps"),
        (observed("2011-01-01", 3), "do not overlap"),
    ],
)
def test_time_steps_that_do_not_fit(axis, words):
    with pytest.raises(InputError, match=words):
        align(make_forcing(days=3), axis.time, where="XX_Flux.nc")


# ---- real files ------------------------------------------------------------------------------------


def real_flux_files():
    return sorted(DATA.glob("plumber2*/*_Flux.nc"))


@pytest.mark.skipif(not real_flux_files(), reason=f"no real towers at {DATA}: set MDPL_DATA")
def test_every_real_flux_file_reads():
    for path in real_flux_files():
        found = load_observations(path)
        assert found.step == ("daily" if "plumber2_daily" in str(path) else "half-hourly")
        assert found.fluxes["Qle"].measured.mean() > 0.5, path
        assert abs(found.fluxes["Qh"].values[found.fluxes["Qh"].measured].mean()) < 100, path
