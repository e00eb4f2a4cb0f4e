"""The weather generator keeps the climate it is given, and the laws of the sky.

Monthly means of the generated weather are compared with the table in units of their sampling error, which follows
from the table's own standard deviation s and autocorrelation r: s sqrt((1 + r) / (1 - r) / n) for n days.
"""

import zlib

import numpy as np
import pytest

from jlsm.constants import STEFAN_BOLTZMANN
from mdpl.data.climate import FIVE_CROPS, WET_DAY, month_and_day, site_climate
from mdpl.data.crops import ROTATIONS, leaf_area, mean_leaf_area
from mdpl.data.daily_weather import LIMITS, daily_weather
from mdpl.data.make_climate import daily_statistics
from mdpl.data.sky import STEP, STEPS_PER_DAY
from mdpl.data.synthetic import FIRST_YEAR, LAST_YEAR, SEED
from mdpl.data.weather import CLEAREST, course_through_days, generate_weather

# One of 60 numbers of a normal distribution lies beyond 4 once in 260 such tests; the seeds are fixed.
FARTHEST = 4.0
# The root mean square of 60 of them is 1 +- 0.09; autocorrelations of the table are themselves uncertain.
SPREAD = 1.3


@pytest.fixture(scope="module")
def years_of_days():
    """40 years of daily weather per site."""
    days = np.arange("1961-01-01", "2001-01-01", dtype="datetime64[D]").astype(int)
    return {
        code: daily_weather(site_climate(code), days, np.random.default_rng(zlib.crc32(code.encode())))
        for code in FIVE_CROPS
    }


@pytest.fixture(scope="module")
def weather():
    """The weather of the embedded data set."""
    return {code: generate_weather(site_climate(code), FIRST_YEAR, LAST_YEAR, SEED) for code in FIVE_CROPS}


def in_sampling_errors(means, climate, name, count):
    """Distance of monthly means from the table's."""
    # Longwave radiation is a slow part, the warmth of the air, and a fast one, cloud. For the mean of a month the slow
    # part's memory counts, which the autocorrelation of their sum from one day to the next understates.
    memory = np.clip(climate["tair_lag1" if name == "lwdown" else f"{name}_lag1"], 0.0, 0.95)
    error = climate[f"{name}_std"] * np.sqrt((1.0 + memory) / (1.0 - memory) / count)
    return (means - climate[f"{name}_mean"]) / error


def monthly(values, days):
    month, _ = month_and_day(days)
    return np.array([values[month == m].mean() for m in range(12)]), np.bincount(month, minlength=12)


def autocorrelation(values, days):
    """Of one day with the next, per calendar month, as in the table."""
    month, _ = month_and_day(days)
    result = []
    for m in range(12):
        anomaly = values - values[month == m].mean()
        pairs = (month[1:] == m) & (month[:-1] == m)
        result.append((anomaly[1:] * anomaly[:-1])[pairs].mean() / values[month == m].var())
    return np.array(result)


def check(scores):
    scores = np.concatenate(scores)
    assert np.abs(scores).max() < FARTHEST
    assert np.sqrt(np.mean(scores**2)) < SPREAD


@pytest.mark.parametrize("name", ["tair", "clearness", "saturation", "wind", "psurf"])
def test_forty_years_have_the_monthly_means_of_the_table(years_of_days, name):
    scores = []
    for code, daily in years_of_days.items():
        means, count = monthly(getattr(daily, name), daily.days)
        scores.append(in_sampling_errors(means, site_climate(code), name, count))
    check(scores)


@pytest.mark.parametrize("name", ["tair", "clearness", "saturation", "wind", "psurf"])
def test_forty_years_have_the_scatter_of_the_table(years_of_days, name):
    ratios = []
    for code, daily in years_of_days.items():
        month, _ = month_and_day(daily.days)
        values = getattr(daily, name)
        ratios.append([values[month == m].std() / site_climate(code)[f"{name}_std"][m] for m in range(12)])
    # The table's deviations come from 90 to 310 days with a memory of about a week, so from some 15 to 45 independent
    # ones: 1 / sqrt(2 n) is 10 to 18 % for one month, 2 % for all sixty together.
    ratios = np.array(ratios)
    assert abs(ratios.mean() - 1.0) < 0.04
    assert np.abs(ratios - 1.0).max() < 0.4


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_temperature_remembers_as_long_as_in_the_table(years_of_days, code):
    daily, climate = years_of_days[code], site_climate(code)
    month, _ = month_and_day(daily.days)
    here = autocorrelation(daily.tair, daily.days)
    expected = climate["tair_lag1"]
    error = np.sqrt((1.0 - expected**2) * (1.0 / climate["days"] + 1.0 / np.bincount(month))).mean() / np.sqrt(12.0)
    # correlations are pooled over the year, so only the year's mean is kept
    assert abs(np.mean(here) - expected.mean()) < 3.0 * error


def test_rain_is_as_frequent_and_as_much_as_in_the_table(years_of_days):
    frequency, amounts = [], []
    for code, daily in years_of_days.items():
        climate = site_climate(code)
        wet = daily.rain > WET_DAY
        month, _ = month_and_day(daily.days)
        after_wet = np.concatenate([[False], wet[:-1]])
        for name, condition in (("wet_after_wet", after_wet), ("wet_after_dry", ~after_wet)):
            for m in range(12):
                chosen = (month == m) & condition
                p = climate[name][m]
                frequency.append((wet[chosen].mean() - p) / np.sqrt(p * (1.0 - p) / chosen.sum()))
        for m in range(12):
            chosen = wet & (month == m)
            error = climate["amount_std"][m] / np.sqrt(chosen.sum())
            amounts.append((daily.rain[chosen].mean() - climate["amount_mean"][m]) / error)
        assert (daily.rain[~wet] == 0.0).all()
    check([np.array(frequency)])
    check([np.array(amounts)])


@pytest.mark.parametrize(
    ("name", "series"),
    [("tair", "Tair"), ("swdown", "SWdown"), ("lwdown", "LWdown"), ("rh", "RH"), ("wind", "Wind"), ("psurf", "Psurf")],
)
def test_the_embedded_years_have_the_monthly_means_of_the_towers(weather, name, series):
    scores = []
    for code, made in weather.items():
        daily = getattr(made, series).reshape(-1, STEPS_PER_DAY).mean(axis=1)
        means, count = monthly(daily, made.days)
        scores.append(in_sampling_errors(means, site_climate(code), name, count))
    check(scores)


def test_the_tables_own_script_finds_the_climate_again():
    """Hours included: generated half-hours go through the code that made the table from the towers."""
    climate = site_climate("DE-Geb")
    made = generate_weather(climate, 1971, 1990, seed=3)
    series = {
        name: getattr(made, name) for name in ("Tair", "Precip", "SWdown", "LWdown", "Wind", "Psurf", "Qair", "RH")
    }
    table = daily_statistics(series, climate.scalars, made.days)
    names = ("tair", "swdown", "lwdown", "rh", "wind", "psurf")
    check([in_sampling_errors(table[f"{name}_mean"], climate, name, table["days"]) for name in names])
    # the course of the air between the days adds to the range of a day: most in winter, when the sun adds least
    assert (table["range_mean"] > 0.9 * climate["range_mean"]).all()
    assert (table["range_mean"] < climate["range_mean"] + 1.3).all()
    np.testing.assert_allclose(table["correlation"], climate.correlation, atol=0.1)
    np.testing.assert_allclose(table["memory"], climate.memory, atol=0.05)


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_the_sky_obeys_its_laws(weather, code):
    made = weather[code]
    assert made.RH.max() <= 100.0 and made.RH.min() > 0.0 and made.VPD.min() >= 0.0
    night = made.potential == 0.0
    assert 0.3 < night.mean() < 0.6
    assert (made.SWdown[night] == 0.0).all()
    assert (made.SWdown >= 0.0).all() and (made.SWdown <= CLEAREST * made.potential * (1.0 + 1e-9)).all()
    emissivity = made.LWdown / (STEFAN_BOLTZMANN * made.Tair**4)
    assert 0.5 < emissivity.min() and emissivity.max() <= 1.02 + 1e-9
    assert made.Wind.min() > 0.0 and made.Precip.min() >= 0.0
    # in half an hour: a warm front at its fastest, the clear morning, a shower
    assert np.abs(np.diff(made.Tair)).max() < 3.0
    assert np.abs(np.diff(made.LWdown)).max() < 15.0
    assert np.abs(np.diff(made.RH)).max() < 25.0
    assert np.abs(np.diff(made.Psurf)).max() < 200.0


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_hours_add_up_to_their_days(weather, code):
    made = weather[code]

    def by_day(values):
        return values.reshape(-1, STEPS_PER_DAY)

    np.testing.assert_allclose(by_day(made.Tair).mean(axis=1), made.daily.tair, rtol=1e-12)
    np.testing.assert_allclose(by_day(made.Precip).sum(axis=1) * STEP, made.daily.rain, rtol=1e-9)
    np.testing.assert_allclose(by_day(made.Wind).mean(axis=1), made.daily.wind, rtol=1e-9)
    np.testing.assert_allclose(by_day(made.Psurf).mean(axis=1), made.daily.psurf, rtol=1e-12)
    expected = made.daily.clearness * by_day(made.potential).mean(axis=1)
    np.testing.assert_allclose(by_day(made.SWdown).mean(axis=1), expected, rtol=1e-9)


def test_days_stay_within_limits(years_of_days):
    for daily in years_of_days.values():
        for name, (lower, upper) in LIMITS.items():
            assert (getattr(daily, name) >= lower).all() and (getattr(daily, name) <= upper).all()


def test_a_course_through_days_keeps_their_means_and_has_no_step_at_midnight():
    daily = np.array([1.0, 4.0, -2.0, 0.0])
    course = course_through_days(daily)
    np.testing.assert_allclose(course.mean(axis=1), daily, atol=1e-14)
    slopes = np.abs(np.diff(course.ravel()))
    at_midnight = slopes[STEPS_PER_DAY - 1 :: STEPS_PER_DAY]
    assert at_midnight.max() <= slopes.max() + 1e-12


def test_it_does_not_pour_in_full_sun(weather):
    for code, made in weather.items():
        high = made.potential > 600.0
        in_rain = made.Precip[high] > 0.2 / STEP
        clearness = made.SWdown[high] / made.potential[high]
        assert clearness[in_rain].mean() < 0.6 * clearness[~in_rain].mean(), code
        assert np.quantile(clearness[in_rain], 0.9) < 0.6, code


def test_it_snows_where_it_is_cold(weather):
    cold = {code: made.Precip[made.Tair < 273.15].sum() / made.Precip.sum() for code, made in weather.items()}
    assert cold["DE-Kli"] > 0.08, "a quarter of the year's days at 478 m in Saxony are near or below freezing"
    assert cold["IT-BCi"] < 0.02, "the plain of the Sele has no winter to speak of"


def test_the_seed_decides_everything():
    climate = site_climate("DE-Kli")
    first, again, other = (generate_weather(climate, 2001, 2001, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.Tair, again.Tair)
    np.testing.assert_array_equal(first.Precip, again.Precip)
    assert not np.array_equal(first.Precip, other.Precip)
    assert first.Tair.size == 365 * STEPS_PER_DAY
    elsewhere = generate_weather(site_climate("DE-Geb"), 2001, 2001, 1)
    assert abs(np.corrcoef(first.daily.wind, elsewhere.daily.wind)[0, 1]) < 0.4, "sites do not share their chance"


@pytest.mark.parametrize("code", FIVE_CROPS)
def test_fields_grow_ripen_and_are_harvested(code):
    days = np.arange("2001-01-01", "2005-01-01", dtype="datetime64[D]").astype(int)
    leaves = leaf_area(code, days)
    assert 0.0 < leaves.min() < 0.4 and 2.5 < leaves.max() < 6.0
    assert np.abs(np.diff(leaves)).max() < 0.3, "leaves do not come or go in a day"
    year = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int)
    assert all(leaves[year == y].max() > 2.5 for y in np.unique(year)), "a crop every year"
    cycle = mean_leaf_area(code, days)
    assert abs(cycle.mean() - leaves.mean()) < 0.01
    np.testing.assert_array_equal(cycle[:365], cycle[365:730])
    assert len(ROTATIONS[code]) > 1 or np.allclose(leaves[:365], leaves[365:730], atol=0.05)
