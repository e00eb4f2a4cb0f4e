"""Every way a Met file can be wrong ends in one line that names file, variable, time and remedy, and in no output."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jlsm import io
from jlsm.errors import InputError, RepairWarning
from jlsm.io.met import REQUIRED
from tests.jlsm.builders import UNITS, met_series, write_met

STEPS = 96


def time_of(step: int, dt: float = 1800.0) -> str:
    """The time stamp of a step as messages write it."""
    start = np.datetime64("2004-02-28T00:00", "s")
    return str((start + np.timedelta64(int(step * dt), "s")).astype("datetime64[m]"))


def refusal(path: Path, **options) -> str:
    """The message with which a file is refused: one line, opening with the file's path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        with pytest.raises(InputError) as caught:
            io.load_forcing(path, **options)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{path}: ")
    assert ":" in message.removeprefix(f"{path}: "), "no remedy"
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One folder for the many small files of the property tests."""
    return tmp_path_factory.mktemp("met")


def property_test(function):
    """Settings of the property tests: files are slow, the folder is shared on purpose."""
    return settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])(
        function
    )


# ---- the file ---------------------------------------------------------------------------------------------------


def test_no_such_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.nc")


def test_a_folder(tmp_path):
    assert "is not a file" in refusal(tmp_path)


@property_test
@given(content=st.binary(max_size=400))
@example(content=b"PK\x03\x04")
@example(content=b"\x1f\x8b")
@example(content=b"\x89HDF")
def test_anything_else_than_netcdf(folder, content):
    """Hypothesis also tries constants of the source, such as the first bytes of a zip."""
    path = folder / "junk.nc"
    path.write_bytes(content)
    words = "is a table, not NetCDF" if content.startswith(b"PK\x03\x04") else "cannot be read as NetCDF"
    assert words in refusal(path)


@property_test
@given(share=st.floats(0.0, 0.97), form=st.sampled_from(["NETCDF4", "NETCDF3_CLASSIC"]))
def test_a_truncated_file(folder, share, form):
    path = write_met(folder / "cut.nc", form=form)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


# ---- time -------------------------------------------------------------------------------------------------------


@property_test
@given(step=st.integers(1, STEPS - 1), kind=st.sampled_from(["duplicate", "back", "gap", "missing"]))
def test_a_faulty_time_axis(folder, step, kind):
    time = np.arange(STEPS) * 1800.0
    if kind == "duplicate":
        time[step:] -= 1800.0
    elif kind == "back":
        time[step] = -3600.0
    elif kind == "gap":
        time[step:] += 3600.0
    else:
        time[step] = np.nan
    message = refusal(write_met(folder / "time.nc", time=time))
    assert ": time " in message
    assert (f"at step {step}" if kind != "gap" else f"from {time_of(step - 1)}") in message


def test_a_gap_outside_the_period_does_not_matter(tmp_path):
    time = np.arange(STEPS) * 1800.0
    time[60:] += 7200.0
    path = write_met(tmp_path / "m.nc", time=time)
    assert io.load_forcing(path, stop="2004-02-29")[0].steps == 48


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time_units": "fortnights since 2004-01-01"}, "cannot be decoded"),
        ({"time_units": "Greenwich"}, "cannot be decoded"),
        ({"time_units": "seconds since 2004-02-31 00:00:00"}, "does not exist"),
        ({"calendar": "noleap"}, "calendar 'noleap'"),
        ({"calendar": "360_day"}, "calendar '360_day'"),
        ({"steps": 0}, "no steps"),
        ({"steps": 1}, "at least two"),
        ({"dt": 86400.0}, "steps of 86400 s"),
    ],
)
def test_time_that_means_nothing(tmp_path, change, words):
    assert words in refusal(write_met(tmp_path / "m.nc", **change))


@pytest.mark.parametrize(("start", "stop"), [("2010", None), (None, "1999"), ("2004-02-29", "2004-02-29")])
def test_a_period_outside_the_record(tmp_path, start, stop):
    assert "no step from" in refusal(write_met(tmp_path / "m.nc"), start=start, stop=stop)


@pytest.mark.parametrize("text", ["yesterday", "NaT", "2004-13-01", "29.2.2004"])
def test_a_date_that_is_none(tmp_path, text):
    with pytest.raises(InputError, match="is not a date"):
        io.load_forcing(write_met(tmp_path / "m.nc"), start=text)


# ---- variables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_variable(tmp_path, name):
    assert f"variable {name} " in refusal(write_met(tmp_path / "m.nc", replace={name: None}))


def test_no_humidity_at_all(tmp_path):
    without = {"Qair": None, "RH": None, "VPD": None}
    assert "variable Qair " in refusal(write_met(tmp_path / "m.nc", replace=without))


@property_test
@given(
    name=st.sampled_from([*REQUIRED, "Qair"]),
    step=st.integers(0, STEPS - 1),
    hole=st.sampled_from([np.nan, -9999.0, 1e20, np.inf]),
)
def test_a_hole(folder, name, step, hole):
    values = met_series(STEPS, 1800.0)[name]
    values[step] = hole
    message = refusal(write_met(folder / "hole.nc", replace={name: values}))
    assert f": {name} is missing" in message and f"at {time_of(step)} " in message


def test_fill_values_without_the_attribute(tmp_path):
    import netCDF4

    path = write_met(tmp_path / "m.nc")
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.renameVariable("Wind", "old")
        wind = dataset.createVariable("Wind", "f4", ("time",))
        wind[:] = 3.0
        wind[7] = -9999.0
    assert f"Wind is missing (NaN or fill value) at {time_of(7)}" in refusal(path)


@property_test
@given(
    case=st.sampled_from(
        [
            ("Tair", lambda x: x - 273.15, "degrees Celsius"),
            ("Qair", lambda x: x * 1000.0, "g/kg"),
            ("Psurf", lambda x: x / 100.0, "hPa"),
            ("Psurf", lambda x: x / 1000.0, "kPa"),
            ("Precip", lambda x: x * 1800.0, "mm per time step"),
            ("Precip", lambda x: x * 86400.0, "mm per time step, hour or day"),
            ("CO2air", lambda x: x * 1e-6, "mol/mol"),
            ("SWdown", lambda x: x * 1800.0, "J m-2"),
            ("LWdown", lambda x: x * 1800.0, "J m-2"),
            ("RH", lambda x: x / 100.0, "fraction"),
        ]
    ),
    dt=st.sampled_from([1800.0, 3600.0]),
)
def test_wrong_units_by_range(folder, case, dt):
    name, convert, words = case
    message = refusal(write_met(folder / "unit.nc", dt=dt, replace={name: convert(met_series(STEPS, dt)[name])}))
    assert f": {name} = " in message and words in message and " at 2004-02-2" in message


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Tair", "furlong"),
        ("Precip", "mm"),
        ("Precip", "kg m-2"),
        ("SWdown", "umol m-2 s-1"),
        ("SWdown", "MJ m-2"),
        ("CO2air", "mg/m3"),
        ("CO2air", "Pa"),
        ("Wind", "K"),
    ],
)
def test_units_of_something_else(tmp_path, name, unit):
    message = refusal(write_met(tmp_path / "m.nc", units={name: unit}))
    assert f"{name} has units '{unit}', a unit " in message and "expected" in message


@pytest.mark.parametrize(
    ("name", "unit", "back"),
    [
        ("Tair", "degC", lambda x: x - 273.15),
        ("Tair", "°C", lambda x: x - 273.15),
        ("Tair", "degF", lambda x: (x - 273.15) * 1.8 + 32.0),
        ("Qair", "g kg-1", lambda x: x * 1e3),
        ("Psurf", "hPa", lambda x: x / 100.0),
        ("Psurf", "kPa", lambda x: x / 1000.0),
        ("Precip", "mm/day", lambda x: x * 86400.0),
        ("Precip", "mm/30min", lambda x: x * 1800.0),
        ("Precip", "in/h", lambda x: x * 3600.0 / 25.4),
        ("Wind", "km/h", lambda x: x * 3.6),
        ("Wind", "ft/s", lambda x: x / 0.3048),
        ("SWdown", "MJ m-2 d-1", lambda x: x * 0.0864),
        ("CO2air", "mol mol-1", lambda x: x * 1e-6),
        ("RH", "fraction", lambda x: x / 100.0),
    ],
)
def test_other_units_are_converted_and_announced(tmp_path, name, unit, back):
    values = np.maximum(met_series(STEPS, 1800.0)[name], 0.0)
    path = write_met(
        tmp_path / "m.nc",
        units={name: unit},
        replace={name: back(values), "Wind": np.ones(STEPS)} | {name: back(values)},
    )
    with pytest.warns(RepairWarning, match=f"{name} converted from .* to "):
        forcing, _ = io.load_forcing(path)
    if name != "RH":
        np.testing.assert_allclose(getattr(forcing, name), values, rtol=3e-6)


def test_a_labelled_unit_that_the_values_contradict(tmp_path):
    """Values in K labelled as degrees Celsius, Pa as hPa: converted, they are out of range."""
    assert "outside" in refusal(write_met(tmp_path / "m.nc", units={"Tair": "degC"}))
    assert "Psurf" in refusal(write_met(tmp_path / "p.nc", units={"Psurf": "hPa"}))
    assert "% labelled as a fraction" in refusal(write_met(tmp_path / "r.nc", units={"RH": "fraction"}))


@pytest.mark.parametrize("unit", ["kg m-2 s-1", "kg/m^2/s", "mm/s", "kg m**-2 s**-1", ""])
def test_other_spellings_of_right_units(tmp_path, unit):
    assert io.load_forcing(write_met(tmp_path / "m.nc", units={"Precip": unit}))[0].steps == STEPS


@property_test
@given(
    case=st.sampled_from(
        [
            ("Tair", 400.0),
            ("Tair", 100.0),
            ("Qair", -0.002),
            ("Psurf", 2e5),
            ("SWdown", -50.0),
            ("SWdown", 1700.0),
            ("LWdown", -5.0),
            ("LWdown", 900.0),
            ("Wind", -1.0),
            ("Wind", 120.0),
            ("Precip", -1e-3),
            ("Precip", 0.5),
            ("LAI", -1.0),
            ("LAI", 40.0),
            ("CO2air", -5.0),
            ("RH", 140.0),
        ]
    ),
    step=st.integers(0, STEPS - 1),
)
def test_one_impossible_value(folder, case, step):
    name, value = case
    values = met_series(STEPS, 1800.0)[name]
    values[step] = value
    message = refusal(write_met(folder / "value.nc", replace={name: values}))
    assert f": {name} = {value:g} at {time_of(step)}" in message


def test_units_that_no_single_value_betrays(tmp_path):
    steps = 48 * 40
    wet = np.full(steps, 0.05)
    assert "Precip from 2004" in refusal(write_met(tmp_path / "p.nc", steps=steps, replace={"Precip": wet}))
    dim = met_series(steps, 1800.0)["SWdown"] / 1000.0
    assert "kW m-2" in refusal(write_met(tmp_path / "s.nc", steps=steps, replace={"SWdown": dim}))
    polar = write_met(tmp_path / "n.nc", steps=steps, replace={"SWdown": 0.0 * dim}, scalars={"latitude": 78.0})
    assert io.load_forcing(polar)[0].steps == steps


def test_several_cells(tmp_path):
    assert "one site" in refusal(write_met(tmp_path / "m.nc", width=2))


def test_text_where_numbers_belong(tmp_path):
    import netCDF4

    path = write_met(tmp_path / "m.nc")
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.renameVariable("Wind", "old")
        dataset.createVariable("Wind", "S1", ("time",))
    assert "Wind holds text" in refusal(path)


def test_no_alternative_lai(tmp_path):
    assert "LAI_alternative" in refusal(write_met(tmp_path / "m.nc"), lai="LAI_alternative")
    with pytest.raises(InputError, match="'lai' is unknown"):
        io.load_forcing(write_met(tmp_path / "m.nc"), lai="lai")


# ---- the site ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latitude", 91.0),
        ("latitude", -500.0),
        ("longitude", 400.0),
        ("reference_height", 0.0),
        ("reference_height", -2.0),
        ("canopy_height", -1.0),
        ("elevation", 2e4),
    ],
)
def test_an_impossible_site(tmp_path, name, value):
    assert f": {name} = {value:g} is outside" in refusal(write_met(tmp_path / "m.nc", scalars={name: value}))


@pytest.mark.parametrize("name", ["latitude", "longitude", "reference_height"])
def test_a_site_without(tmp_path, name):
    assert f"variable {name} " in refusal(write_met(tmp_path / "m.nc", scalars={name: None}))


@pytest.mark.parametrize("igbp", [None, ""])
def test_a_site_without_vegetation_class(tmp_path, igbp):
    assert "IGBP_veg_short" in refusal(write_met(tmp_path / "m.nc", igbp=igbp))


@pytest.mark.parametrize("offset", ["one hour", 30.0])
def test_an_impossible_clock(tmp_path, offset):
    assert "utc_offset_hours" in refusal(write_met(tmp_path / "m.nc", attributes={"utc_offset_hours": offset}))


def test_the_builder_covers_every_variable():
    assert set(met_series(4, 1800.0)) == set(UNITS)
