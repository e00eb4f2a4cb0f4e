"""Files as users of other tools bring them: other names, clocks, units and flags, each with its one right outcome.

Every file is twenty summer days of the embedded weather (synthetic, at the climate of US-ARM, UTC-6), changed in one
way. What the outcome must be follows from CF, ALMA and the conventions of the networks, not from what was read before.
"""

from __future__ import annotations

import functools
import re
import warnings
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import stack_sites
from jlsm.io import load_forcing
from jlsm.parameters import default_parameters
from jlsm.processes.solar import prepare_atmosphere
from mdpl.data.climate import site_climate
from mdpl.data.weather import generate_weather
from mdpl.towers.observations import load_observations

STEPS = 20 * 48
CLOCK = np.arange(STEPS) * 1800.0
START = "2001-07-01 00:00:00"
UNITS = {"Tair": "K", "Qair": "kg/kg", "Psurf": "Pa", "SWdown": "W/m2", "LWdown": "W/m2", "Wind": "m/s",
         "Precip": "kg/m2/s", "RH": "%", "VPD": "hPa"}  # fmt: skip
MIDNIGHT = np.datetime64("2001-07-01T00:00", "s")


@functools.cache
def weather() -> dict[str, np.ndarray]:
    year = generate_weather(site_climate("US-ARM"), 2001, 2001, seed=1)
    first = 181 * 48
    return {name: np.asarray(getattr(year, name), float)[first : first + STEPS] for name in UNITS}


def write_met(
    path: Path,
    *,
    series=(),
    drop=(),
    scalars=(),
    seconds=CLOCK,
    units=f"seconds since {START}",
    bounds=None,
    attributes=(),
) -> Path:
    """A Met file in PLUMBER2's form, changed as told: ``series`` is name -> (values, unit)."""
    rows = {name: (values, UNITS[name]) for name, values in weather().items()} | dict(series)
    numbers = {"latitude": 36.6, "longitude": -97.5, "elevation": 314.0, "reference_height": 10.0} | dict(scalars)
    with netCDF4.Dataset(path, "w") as file:
        for name, size in {"time": None, "y": 1, "x": 1, "bnds": 2}.items():
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": units, "calendar": "standard"})
        time[:] = seconds
        if bounds is not None:
            time.bounds = "time_bnds"
            file.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = bounds
        for name, (values, unit) in rows.items():
            if name not in drop:
                variable = file.createVariable(name, "f4", ("time", "y", "x"), fill_value=-9999.0)
                variable.units = unit
                variable[:] = np.asarray(values).reshape(-1, 1, 1)
        for name, value in numbers.items():
            if name not in drop:
                file.createVariable(name, "f4", ("y", "x"))[...] = value
        texts = {"site_code": "XX-Tst", "utc_offset_hours": -6.0, "IGBP_veg_short": "CRO", "soil_texture": "loam"}
        texts |= dict(attributes)
        file.setncatts({name: value for name, value in texts.items() if value is not None})
    return path


def write_flux(
    path: Path,
    fluxes: dict,
    *,
    units=f"days since {START}",
    days=None,
    calendar="standard",
    flag_attributes=(),
    attributes=(),
) -> Path:
    """A daily Flux file: name -> (values, unit)."""
    count = len(next(iter(fluxes.values()))[0])
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", count)
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": units, "calendar": calendar})
        time[:] = np.arange(count) if days is None else days
        for name, (values, unit) in fluxes.items():
            variable = file.createVariable(name, "f4", ("time",), fill_value=-9999.0)
            variable.units = unit
            variable[:] = values
            if name.endswith("_qc"):
                variable.setncatts(dict(flag_attributes))
        file.setncatts({"time_step": "daily mean"} | dict(attributes))
    return path


def first_step(path: Path, **options) -> np.datetime64:
    """The local standard time at which a Met file's first step begins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        forcing, _ = load_forcing(path, **options)
    return np.datetime64(int(forcing.day[0]), "D").astype("datetime64[s]") + int(forcing.second_of_day[0])


def repairs(path: Path, **options) -> str:
    """All warnings of a load."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RepairWarning)
        load_forcing(path, **options)
    return "\n".join(str(one.message) for one in caught)


def refusal(read, path: Path, **options) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        with pytest.raises(InputError) as caught:
            read(path, **options)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    return message


# ---- names ----------------------------------------------------------------------------------------


def moved(new: str, old: str, factor: float = 1.0, unit: str = "") -> dict:
    return {"drop": (old,), "series": {new: (weather()[old] * factor, unit or UNITS[old])}}


def test_a_plain_file_needs_no_repair_but_what_it_lacks(tmp_path):
    messages = repairs(write_met(tmp_path / "m.nc")).splitlines()
    assert [m.split(": ", 1)[1].split(" ")[0] for m in messages] == ["CO2air", "LAI"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (lambda: moved("Rainf", "Precip"), "Precip"),
        (lambda: moved("PSurf", "Psurf"), "Psurf"),
        (lambda: {"drop": ("latitude", "longitude"), "scalars": {"nav_lat": 36.6, "nav_lon": -97.5}}, "Tair"),
        (lambda: {"drop": ("reference_height",), "scalars": {"za": 10.0}}, "Tair"),
        (lambda: {"drop": ("latitude",), "attributes": {"latitude": 36.6}}, "Tair"),
    ],
)
def test_other_names(tmp_path, changes, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        forcing, site = load_forcing(write_met(tmp_path / "m.nc", **changes()))
    np.testing.assert_allclose(getattr(forcing, name), weather()[name], rtol=1e-6)
    assert float(site.latitude) == pytest.approx(36.6) and float(site.reference_height) == 10.0


def test_rain_and_snow_and_wind_from_their_parts(tmp_path):
    rain, wind = weather()["Precip"], weather()["Wind"]
    series = {"Rainf": (0.75 * rain, "mm/s"), "Snowf": (0.25 * rain, "kg m-2 s-1")}
    series |= {"Wind_E": (0.6 * wind, "m/s"), "Wind_N": (-0.8 * wind, "m s-1")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        forcing, _ = load_forcing(write_met(tmp_path / "m.nc", series=series, drop=("Precip", "Wind")))
    np.testing.assert_allclose(forcing.Precip, rain, rtol=1e-6)
    np.testing.assert_allclose(forcing.Wind, wind, rtol=1e-6)
    np.testing.assert_allclose(forcing.Snowf, 0.25 * rain, rtol=1e-6)


def test_a_phase_that_was_observed_is_used(tmp_path):
    """Snow in the heat of July, because the file says so; where it does not, wet-bulb temperature decides."""
    rain = weather()["Precip"] + 1e-4
    snow = np.where(np.arange(STEPS) < 10, 0.25 * rain, -9999.0)
    series = {"Precip": (rain, "kg m-2 s-1"), "Snowf": (snow, "kg m-2 s-1")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        forcing, place = load_forcing(write_met(tmp_path / "m.nc", series=series))
        plain, _ = load_forcing(write_met(tmp_path / "p.nc", series={"Precip": series["Precip"]}))
    air, other = (prepare_atmosphere(f, place, default_parameters(place).snow) for f in (forcing, plain))
    np.testing.assert_allclose(air.snow[:10], 0.25 * rain[:10], rtol=1e-6)
    np.testing.assert_allclose(air.rain[:10], 0.75 * rain[:10], rtol=1e-6)
    np.testing.assert_array_equal(air.snow[10:], other.snow[10:])
    stacked, _ = stack_sites([(forcing, place), (plain, place)])
    assert np.isnan(stacked.Snowf[:, 1]).all() and np.isfinite(stacked.Snowf[:10, 0]).all()
    assert forcing.window(0, 5).Snowf.shape == (5,)
    too_much = {"Precip": (weather()["Precip"], "kg m-2 s-1"), "Snowf": (np.full(STEPS, 1e-3), "kg m-2 s-1")}
    assert "more than all precipitation" in refusal(load_forcing, write_met(tmp_path / "w.nc", series=too_much))


@pytest.mark.parametrize("igbp", ["cro", "Croplands", "12", 12, "croplands"])
def test_vegetation_by_number_or_name(tmp_path, igbp):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        assert load_forcing(write_met(tmp_path / "m.nc", attributes={"IGBP_veg_short": igbp}))[1].igbp == "CRO"


def test_all_that_is_missing_is_named_at_once(tmp_path):
    path = write_met(
        tmp_path / "m.nc", drop=("Tair", "Wind", "Qair", "RH", "VPD", "latitude"), attributes={"IGBP_veg_short": None}
    )
    message = refusal(load_forcing, path)
    assert all(name in message for name in ("Tair", "Wind", "Qair", "latitude", "IGBP_veg_short"))


def test_all_gaps_are_named_at_once(tmp_path):
    holes = {
        name: (np.where(np.arange(STEPS) == step, -9999.0, weather()[name]), UNITS[name])
        for step, name in enumerate(("Tair", "Wind"), 5)
    }
    message = refusal(load_forcing, write_met(tmp_path / "m.nc", series=holes))
    assert "Tair is missing (NaN or fill value) at 2001-07-01T02:30" in message
    assert "Wind is missing (NaN or fill value) at 2001-07-01T03:00" in message


# ---- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"units": "seconds since 2001-07-01 06:00:00 UTC"},
        {"units": "seconds since 2001-07-01T06:00:00Z"},
        {"units": "seconds since 2001-07-01 00:00:00 -06:00"},
        {"units": "seconds since 2001-07-01 00:00 -6"},
        {"units": "hours since 2001-07-01 02 +0200", "seconds": CLOCK / 3600.0 + 6.0},
        {"units": "hours since 2001-07-01", "seconds": CLOCK / 3600.0},
        {"units": "days since 0001-01-01 00:00:0.0", "seconds": CLOCK / 86400.0 + 730668.0},
        {"seconds": CLOCK + 1800.0, "bounds": np.stack([CLOCK, CLOCK + 1800.0], 1)},
        {"seconds": CLOCK + 900.0, "bounds": np.stack([CLOCK, CLOCK + 1800.0], 1)},
    ],
)  # fmt: skip
def test_one_moment_written_in_many_ways(tmp_path, changes):
    assert first_step(write_met(tmp_path / "m.nc", **changes)) == MIDNIGHT


def test_the_reference_of_the_days_since_year_one():
    """CF's standard calendar is Julian before 1582: its day 1 of year 1 is two days before the proleptic one."""
    import cftime

    assert cftime.date2num(cftime.datetime(2001, 7, 1), "days since 0001-01-01", "standard") == 730668.0


@pytest.mark.parametrize("form", ["hours since 2001-07-01 06", "hours since 2001-07-01 06:00"])
def test_met_and_flux_read_one_clock(tmp_path, form):
    met = write_met(tmp_path / "m.nc", units=form, seconds=CLOCK / 3600.0)
    flux = write_flux(
        tmp_path / "f.nc",
        {"Qle": (np.ones(48), "W/m2")},
        units=form,
        days=np.arange(48) / 2.0,
        attributes={"time_step": "30 min"},
    )
    assert first_step(met, sun_check=False) == load_observations(flux).time.datetimes()[0]
    assert re.search(r"(5\.9|6\.[01]) hours later than the sun", refusal(load_forcing, met))


def test_half_a_day_off_is_refused_with_the_hours(tmp_path):
    path = write_met(tmp_path / "m.nc", units="seconds since 2001-07-01 12:00:00")
    assert re.search(r"(11\.9|12\.0) hours .* --no-sun-check", refusal(load_forcing, path))
    assert first_step(path, sun_check=False) == MIDNIGHT + np.timedelta64(12, "h")


def test_three_hours_off_says_so_and_an_offset_repairs_it(tmp_path):
    path = write_met(tmp_path / "m.nc", units="seconds since 2001-07-01 02:00:00")
    assert re.search(r"(1\.9|2\.[01]) hours later than the sun .*--utc-offset -4", repairs(path))
    assert "sun" not in repairs(path, utc_offset=-4.0)
    with pytest.raises(InputError, match="outside -14 to 14"):
        load_forcing(path, utc_offset=40.0)


def test_the_wrong_hemisphere(tmp_path):
    message = refusal(load_forcing, write_met(tmp_path / "m.nc", scalars={"latitude": -36.6}))
    assert "fits a latitude of 36.60" in message


def test_no_witness_is_said(tmp_path):
    lamp = {"SWdown": (np.full(STEPS, 200.0), "W/m2")}
    assert "not checked against the sun" in repairs(write_met(tmp_path / "m.nc", series=lamp))
    dark = write_met(tmp_path / "d.nc", series={"SWdown": (np.zeros(STEPS), "W/m2")}, scalars={"latitude": -80.0})
    assert "not checked against the sun" in repairs(dark)


def test_the_offset_comes_from_the_table_of_sites(tmp_path):
    unknown = {"utc_offset_hours": None}
    path = write_met(
        tmp_path / "m.nc", attributes=unknown | {"site_code": "US-ARM"}, units="seconds since 2001-07-01 06:00 UTC"
    )
    assert first_step(path) == MIDNIGHT
    zone = write_met(
        tmp_path / "z.nc", attributes=unknown | {"time_zone": "UTC-6"}, units="seconds since 2001-07-01 06:00 UTC"
    )
    assert first_step(zone) == MIDNIGHT
    wrong = write_met(tmp_path / "w.nc", attributes=unknown | {"time_zone": "yesterday"})
    assert "time_zone = 'yesterday' is no offset" in refusal(load_forcing, wrong)


@pytest.mark.parametrize(("seconds", "year"), [(CLOCK + 1e12, "year 3"), (CLOCK - 1e11, "year")])
def test_years_that_no_file_can_hold(tmp_path, seconds, year):
    assert year in refusal(load_forcing, write_met(tmp_path / "m.nc", seconds=seconds))


def test_bounds_that_contradict_their_stamps(tmp_path):
    path = write_met(tmp_path / "m.nc", bounds=np.stack([CLOCK + 3600.0, CLOCK + 5400.0], 1))
    assert "not within its bounds" in refusal(load_forcing, path)


# ---- units ----------------------------------------------------------------------------------------


def test_vapour_pressure_deficit(tmp_path):
    read = moved("VPD", "VPD", 0.1, "kPa") | {"drop": ("Qair", "RH")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        forcing, _ = load_forcing(write_met(tmp_path / "m.nc", **read))
    np.testing.assert_allclose(forcing.Qair, weather()["Qair"], rtol=0.02)
    wrong = moved("VPD", "VPD", 100.0, "hPa") | {"drop": ("Qair", "RH")}
    assert "looks like Pa" in refusal(load_forcing, write_met(tmp_path / "w.nc", **wrong))
    more = {"series": {"VPD": (np.full(STEPS, 70.0), "hPa")}, "drop": ("Qair", "RH")}
    assert "can hold" in refusal(load_forcing, write_met(tmp_path / "v.nc", **more))


def test_a_concentration_is_no_mole_fraction(tmp_path):
    path = write_met(tmp_path / "m.nc", series={"CO2air": (np.full(STEPS, 680.0), "mg/m3")})
    assert "CO2air has units 'mg/m3'" in refusal(load_forcing, path)


def test_twice_the_time(tmp_path):
    path = write_met(tmp_path / "m.nc", drop=("Tair",))
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("small", 2)
        file.createVariable("Tair", "f4", ("time", "time"))
    assert "Tair has more than one time dimension" in refusal(load_forcing, path)


GOOD = 60.0 + np.arange(20.0)
ZERO = {"Qle_qc": (np.zeros(20), "1")}


def test_energy_per_day_is_converted(tmp_path):
    with pytest.warns(RepairWarning, match="Qle converted from MJ m-2 d-1 to W m-2"):
        observed = load_observations(write_flux(tmp_path / "f.nc", {"Qle": (GOOD * 0.0864, "MJ m-2 d-1")} | ZERO))
    np.testing.assert_allclose(observed.fluxes["Qle"].values, GOOD, rtol=1e-5)


def test_water_is_no_energy(tmp_path):
    path = write_flux(tmp_path / "f.nc", {"Qle": (GOOD * 0.035, "mm/d")} | ZERO)
    assert "Qle has units 'mm/d'" in refusal(load_observations, path)


def test_an_optional_flux_in_an_unknown_unit_is_left_out_and_named(tmp_path):
    observed = load_observations(
        write_flux(tmp_path / "f.nc", {"Qle": (GOOD, "W/m2"), "GPP": (GOOD, "gC m-2 d-1")} | ZERO)
    )
    assert "GPP" not in observed.fluxes and any(note.startswith("GPP: left out") for note in observed.notes)


# ---- flags ----------------------------------------------------------------------------------------

SHARE = np.where(np.arange(20) % 5 == 0, 0.0, 0.95)
DAYS = {"Qle": (GOOD, "W/m2"), "Qh": (GOOD, "W/m2")}


PLUMBER2_FLAGS = "Measured: 0, Good-quality gapfilling: 1, Poor-quality gapfilling, or estimated: 3"
CF_FLAGS = {"flag_values": np.arange(4, dtype="i4"), "flag_meanings": "gap_filled measured poor missing"}


def counted(tmp_path, fluxes, **options):
    observed = load_observations(write_flux(tmp_path / "f.nc", fluxes, **options))
    assert any(note.startswith("Qle: ") for note in observed.notes), "what counts is noted"
    return {name: series.measured for name, series in observed.fluxes.items()}


def test_shares_measured(tmp_path):
    flags = {"Qle_qc": (SHARE, "1"), "Qh_qc": (np.linspace(0.0, 1.0, 20), "1")}
    measured = counted(tmp_path, DAYS | flags)
    assert measured["Qle"].tolist() == (SHARE > 0.5).tolist()
    assert measured["Qh"].tolist() == (np.linspace(0.0, 1.0, 20) >= 0.75).tolist()


@pytest.mark.parametrize(
    ("values", "attributes", "code", "steps"),
    [
        ([0, 1, 2, 3], {}, {}, [0]),
        ([0, 1, 2, 3], {"flag_meanings": PLUMBER2_FLAGS}, {}, [0]),
        ([0, 1, 2, 3], CF_FLAGS, {}, [1]),
        ([0, 1, 2, 3], {"flag_meanings": "0 as measured, 1 gap-filled, 3 missing or not measured"}, {}, [0]),
        ([0, 1, 10, 3], {}, {"source": "OzFlux"}, [0, 2]),
        ([0, 1, 10, 3], {}, {"QC_flag_descriptions": "Measured: 0, 10; Gap-filled: 1"}, [0, 2]),
        ([0, 1, 10, 3], {}, {}, [0]),
    ],
)  # fmt: skip
def test_codes_in_the_words_of_the_file(tmp_path, values, attributes, code, steps):
    fluxes = {"Qle": (GOOD[:4], "W/m2"), "Qle_qc": (np.array(values, float), "1")}
    measured = counted(tmp_path, fluxes, flag_attributes=attributes, attributes=code)
    assert np.flatnonzero(measured["Qle"]).tolist() == steps


@pytest.mark.parametrize(
    ("values", "attributes", "words"),
    [
        ([0, 1, 1, 0], {}, "may be codes"),
        ([0.5, 7.0, 1.0, 2.0], {}, "neither codes nor shares"),
        ([0, 1, 2, 0], {"flag_meanings": "bad: 0, worse: 1, poor gapfilling: 2"}, "no code means measured"),
    ],
)
def test_flags_that_cannot_be_understood(tmp_path, values, attributes, words):
    fluxes = {"Qle": (GOOD[:4], "W/m2"), "Qle_qc": (np.array(values, float), "1")}
    message = refusal(load_observations, write_flux(tmp_path / "f.nc", fluxes, flag_attributes=attributes))
    assert "Qle_qc" in message and words in message


def test_derived_fluxes_inherit_their_flags(tmp_path):
    codes = np.where(SHARE == 0.0, 2.0, 0.0)
    flags = {"Qle_qc": (codes, "1"), "Qh_qc": (np.where(np.arange(20) == 1, 3.0, 0.0), "1")}
    measured = counted(tmp_path, DAYS | {"Qle_cor": DAYS["Qle"], "Qh_cor": DAYS["Qh"]} | flags)
    expected = (SHARE > 0.0) & (np.arange(20) != 1)
    assert measured["Qle_cor"].tolist() == measured["Qh_cor"].tolist() == expected.tolist()


def test_daily_fluxes_of_callmip_with_their_uncertainty(tmp_path):
    fluxes = {"Qle_daily": (np.where(np.arange(20) == 3, 1e20, GOOD), "W/m2"), "Qle_uc_daily": (0.1 * GOOD, "W/m2")}
    observed = load_observations(write_flux(tmp_path / "f.nc", fluxes, attributes={"time_step": ""}))
    assert observed.step == "daily" and observed.fluxes["Qle"].measured.sum() == 19
    np.testing.assert_allclose(observed.fluxes["Qle"].uncertainty, 0.1 * GOOD, rtol=1e-6)


# ---- the clock of fluxes --------------------------------------------------------------------------


def test_another_calendar_is_named(tmp_path):
    path = write_flux(tmp_path / "f.nc", {"Qle": (GOOD, "W/m2")} | ZERO, calendar="noleap")
    assert "'noleap'" in refusal(load_observations, path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"days": np.arange(20) + 0.5},
        {"units": "days since 2001-07-01 06:00:00 UTC", "attributes": {"utc_offset_hours": -6.0}},
    ],
)
def test_days_run_from_midnight_to_midnight(tmp_path, options):
    observed = load_observations(write_flux(tmp_path / "f.nc", {"Qle": (GOOD, "W/m2")} | ZERO, **options))
    assert observed.time.datetimes()[0] == MIDNIGHT and (observed.second_of_day == 0).all()


def test_a_zone_needs_the_site(tmp_path):
    path = write_flux(tmp_path / "f.nc", {"Qle": (GOOD, "W/m2")} | ZERO, units="days since 2001-07-01 06:00:00 UTC")
    assert load_observations(path, utc_offset=-6.0).time.datetimes()[0] == MIDNIGHT
    assert "--utc-offset" in refusal(load_observations, path)
    assert "days must begin at midnight" in refusal(load_observations, path, utc_offset=1.0)


def test_missing_values_are_those_of_met_files(tmp_path):
    path = write_flux(tmp_path / "f.nc", {"Qle": (np.where(SHARE == 0.0, -999.0, GOOD), "W/m2")} | ZERO)
    assert load_observations(path).fluxes["Qle"].measured.tolist() == (SHARE > 0.0).tolist()
