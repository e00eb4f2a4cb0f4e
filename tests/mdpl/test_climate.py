"""The climate table: what it says is consistent, and it is what the script computes from the towers' record."""

import tomllib
from importlib.resources import files

import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.data import make_climate
from mdpl.data.climate import (
    FIVE_CROPS,
    SHAPE_PROBABILITIES,
    VARIABLES,
    five_crops_climate,
    month_and_day,
    site_climate,
    yearly_course,
)

YEAR = np.arange("2001-01-01", "2002-01-01", dtype="datetime64[D]").astype(int)


def test_a_yearly_course_keeps_the_monthly_means_and_does_not_jump():
    monthly = site_climate("US-ARM")["tair_mean"]
    course = yearly_course(monthly, YEAR)
    month, _ = month_and_day(YEAR)
    np.testing.assert_allclose([course[month == m].mean() for m in range(12)], monthly, rtol=1e-12)
    # between the middles of two months the course is a straight line: it changes least evenly where it is steepest
    knots = np.abs(np.diff(course))
    assert max(knots.max(), abs(course[0] - course[-1])) < 2.0 * np.abs(np.diff(monthly)).max() / 30.0


def test_the_calendar_knows_leap_years():
    days = np.array(["2004-02-29", "2004-12-31", "2001-12-31"], "datetime64[D]").astype(int)
    month, position = month_and_day(days)
    assert month.tolist() == [1, 11, 11]
    np.testing.assert_allclose(position, [59.5 / 366, 365.5 / 366, 364.5 / 365])


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_the_table_is_complete_and_plausible(code):
    climate = five_crops_climate()[code]
    for name, values in climate.monthly.items():
        assert values.shape == (12,) and np.isfinite(values).all(), name
    assert (climate["wet_after_wet"] > climate["wet_after_dry"]).all(), "rain persists"
    assert (climate["clearness_mean_dry"] > climate["clearness_mean_wet"]).all()
    assert climate.correlation.shape == (len(VARIABLES), len(VARIABLES))
    np.testing.assert_allclose(np.diag(climate.correlation), 1.0, atol=1e-5)
    assert (climate.memory > 0.2).all() and (climate.memory < 0.95).all()


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_wet_days_are_as_frequent_as_the_markov_chain_makes_them(code):
    climate = site_climate(code)
    wet, dry = climate["wet_after_wet"], climate["wet_after_dry"]
    in_the_long_run = dry / (1.0 - wet + dry)
    memory = wet - dry
    frequency = climate["wet_frequency"]
    error = np.sqrt(frequency * (1.0 - frequency) * (1.0 + memory) / (1.0 - memory) / climate["days"])
    # a month also starts as the month before ended: far less than its sampling error
    assert (np.abs(in_the_long_run - frequency) < 2.0 * error).all()


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_shapes_have_zero_mean_and_unit_variance(code):
    fine = (np.arange(20000) + 0.5) / 20000.0
    for name, quantiles in site_climate(code).shapes.items():
        values = np.interp(fine, SHAPE_PROBABILITIES, quantiles)
        assert (np.diff(quantiles) >= 0.0).all(), name
        # six digits are written
        assert abs(values.mean()) < 1e-5 and abs(values.std() - 1.0) < 1e-5, name


def test_the_shipped_table_is_what_the_script_computes(shared_data):
    (file,) = (shared_data / "plumber2_daily").glob("DE-Seh_*_Met.nc")
    computed = make_climate.site_table(file)
    shipped = tomllib.loads(files("mdpl.data").joinpath("five_crops_climate.toml").read_text(encoding="utf-8"))
    assert set(shipped) == set(FIVE_CROPS)
    assert set(shipped["DE-Seh"]) == set(computed)
    for name, value in computed.items():
        if isinstance(value, str):
            assert shipped["DE-Seh"][name] == value
        else:  # six digits are written
            np.testing.assert_allclose(shipped["DE-Seh"][name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_an_unknown_site_is_named():
    with pytest.raises(InputError, match="XX-Nix.*DE-Geb"):
        site_climate("XX-Nix")
