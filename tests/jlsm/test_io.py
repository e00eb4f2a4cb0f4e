"""Files in and out: what is read, repaired and filled, and what is written."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from jlsm import io
from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import METEOROLOGY, stack_sites
from jlsm.io.gap_filling import mauna_loa_co2
from jlsm.outputs import output_fields
from jlsm.parameters import PARAMETERS, default_parameters, get_parameter, replace_parameters
from tests.jlsm.builders import DATA, fake_outputs, fake_state, met_series, real_met_files, write_met


def read_quietly(path: Path, **options):
    """``load_forcing`` that fails on any repair."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RepairWarning)
        # the builder's records are too short for the sun to tell, and no tower's file names its soil
        warnings.filterwarnings("ignore", ".*clock was not checked.*: the record has fewer than 5 days")
        warnings.filterwarnings("ignore", ".*soil texture is unknown: loam assumed")
        return io.load_forcing(path, **options)


# ---- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [1800.0, 3600.0])
@pytest.mark.parametrize("cells", [True, False])
@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_a_met_file_is_read_as_it_is(tmp_path, dt, cells, form):
    path = write_met(tmp_path / "m.nc", dt=dt, cells=cells, form=form)
    forcing, site = read_quietly(path)
    for name in METEOROLOGY:
        np.testing.assert_array_equal(getattr(forcing, name), met_series(96, dt)[name].astype(np.float32))
    assert forcing.Tair.dtype == jnp.zeros(()).dtype
    assert float(forcing.dt) == dt
    assert (site.code, site.name, site.igbp, site.soil_texture) == ("XX-Tst", "Testfield", "CRO", "loam")
    assert float(site.utc_offset) == 1.0


def test_the_leap_day_is_a_day(tmp_path):
    forcing, _ = read_quietly(write_met(tmp_path / "m.nc", steps=48 * 3))
    days = np.asarray(forcing.day)[::48].astype("datetime64[D]").astype(str)
    assert list(days) == ["2004-02-28", "2004-02-29", "2004-03-01"]
    assert list(np.asarray(forcing.second_of_day)[:3]) == [0, 1800, 3600]


def test_start_and_stop_choose_steps(tmp_path):
    path = write_met(tmp_path / "m.nc", steps=48 * 3)
    forcing, _ = read_quietly(path, start="2004-02-29", stop="2004-02-29T06:00")
    assert forcing.steps == 12 and int(forcing.day[0]) == np.datetime64("2004-02-29", "D").astype(int)


def test_other_time_units(tmp_path):
    path = write_met(tmp_path / "m.nc", time=np.arange(96) / 48.0, time_units="days since 2004-02-28")
    forcing, _ = read_quietly(path)
    assert float(forcing.dt) == 1800.0 and int(forcing.second_of_day[47]) == 47 * 1800


def test_missing_co2_is_mauna_loa(tmp_path):
    with pytest.warns(RepairWarning, match=r"CO2air is missing at 96 of 96.*377\.7"):
        forcing, _ = io.load_forcing(write_met(tmp_path / "m.nc", replace={"CO2air": None}))
    assert float(forcing.CO2air[0]) == pytest.approx(377.70)
    holes = np.full(96, 390.0)
    holes[10:13] = -9999.0
    with pytest.warns(RepairWarning, match=r"CO2air is missing at 3 of 96 .*first 2004-02-28T05:00"):
        forcing, _ = io.load_forcing(write_met(tmp_path / "h.nc", replace={"CO2air": holes}))
    assert float(forcing.CO2air[9]) == 390.0 and float(forcing.CO2air[10]) == pytest.approx(377.70)


def test_mauna_loa_ends_are_held():
    years = np.array(["1900-01-01", "1998-06-01", "2100-01-01"], "datetime64[s]")
    np.testing.assert_allclose(mauna_loa_co2(years), [315.98, 366.84, 424.61])


def test_missing_lai(tmp_path):
    with pytest.warns(RepairWarning, match="LAI is absent: filled with the assumed seasonal course of CRO"):
        forcing, _ = io.load_forcing(write_met(tmp_path / "m.nc", replace={"LAI": None}))
    assert 0.2 <= float(forcing.LAI.min()) and float(forcing.LAI.max()) <= 3.5
    with pytest.warns(RepairWarning, match="LAI is absent: LAI_alternative used"):
        forcing, _ = io.load_forcing(
            write_met(tmp_path / "a.nc", replace={"LAI": None, "LAI_alternative": np.full(96, 1.5)})
        )
    assert float(forcing.LAI[0]) == 1.5
    holes = np.linspace(1.0, 2.0, 96)
    holes[4:6] = np.nan
    with pytest.warns(RepairWarning, match="LAI is missing at 2 of 96 time steps .*interpolated"):
        forcing, _ = io.load_forcing(write_met(tmp_path / "h.nc", replace={"LAI": holes}))
    np.testing.assert_allclose(forcing.LAI, np.linspace(1.0, 2.0, 96), rtol=1e-6)


def test_lai_alternative_is_chosen(tmp_path):
    path = write_met(tmp_path / "m.nc", replace={"LAI_alternative": np.full(96, 5.0)})
    assert float(read_quietly(path, lai="LAI_alternative")[0].LAI[0]) == 5.0
    assert float(read_quietly(path)[0].LAI[0]) == 2.5


@pytest.mark.parametrize("source", ["RH", "VPD"])
def test_humidity_is_derived_where_absent(tmp_path, source):
    other = "VPD" if source == "RH" else "RH"
    with pytest.warns(RepairWarning, match=f"Qair is absent: derived from {source}"):
        forcing, _ = io.load_forcing(write_met(tmp_path / "m.nc", replace={"Qair": None, other: None}))
    assert 0.003 < float(forcing.Qair.mean()) < 0.009


@pytest.mark.parametrize(
    ("name", "noise", "edge"),
    [("SWdown", -4.0, 0.0), ("Precip", -1e-7, 0.0), ("Qair", -1e-5, 1e-6), ("RH", 101.0, 100.0), ("LAI", -0.01, 0.0)],
)
def test_small_noise_is_repaired_and_counted(tmp_path, name, noise, edge):
    values = met_series(96, 1800.0)[name]
    values[[3, 7]] = noise
    with pytest.warns(RepairWarning, match=f"{name} .* at 2 time steps .first 2004-02-28T01:30.*set to {edge:g}"):
        forcing, _ = io.load_forcing(write_met(tmp_path / "m.nc", replace={name: values}))
    if name != "RH":
        assert float(getattr(forcing, name)[3]) == pytest.approx(edge)


def test_calm_is_legal(tmp_path):
    assert float(read_quietly(write_met(tmp_path / "m.nc", replace={"Wind": np.zeros(96)}))[0].Wind.max()) == 0.0


def test_site_defaults(tmp_path):
    path = write_met(tmp_path / "AB-Cde_2004_Met.nc", attributes={"site_code": None, "utc_offset_hours": None})
    with pytest.warns(RepairWarning, match=r"utc_offset_hours is absent: \+1 h taken from longitude 10.90"):
        _, site = io.load_forcing(path)
    assert site.code == "AB-Cde" and float(site.utc_offset) == 1.0
    path = write_met(tmp_path / "m.nc", scalars={"canopy_height": None, "longitude": 262.5}, igbp="cvm")
    _, site = read_quietly(path)
    assert np.isnan(float(site.canopy_height)) and float(site.longitude) == -97.5 and site.igbp == "CNM"
    with pytest.warns(RepairWarning, match="reference_height 6 m is not above the canopy .8 m.: kept; correct"):
        io.load_forcing(write_met(tmp_path / "h.nc", scalars={"canopy_height": 8.0}))


@pytest.mark.parametrize("path", real_met_files() or [None], ids=lambda path: path.name if path else "absent")
def test_real_towers_are_read_unchanged(path):
    if path is None:
        pytest.skip(f"no real towers at {DATA}: set MDPL_DATA")
    forcing, site = read_quietly(path)
    assert float(forcing.dt) == 1800.0 and forcing.steps % 48 == 0
    with xr.open_dataset(path, decode_times=False) as raw:
        for name in METEOROLOGY:
            np.testing.assert_array_equal(getattr(forcing, name), raw[name].values.reshape(-1))
        assert site.code == raw.attrs["site_code"]
    with xr.open_dataset(path) as raw:
        first = np.datetime64(int(forcing.day[-1]), "D") + np.timedelta64(int(forcing.second_of_day[-1]), "s")
        assert first == raw.time.values[-1].astype("datetime64[s]")
    assert default_parameters(site).vegetation.vcmax25 > 0


# ---- results ----------------------------------------------------------------------------------------------------


@pytest.fixture
def case(tmp_path):
    forcing, site = io.load_forcing(write_met(tmp_path / "m.nc", origin="2004-12-31 00:00:00"))
    return forcing, site, fake_outputs(forcing), default_parameters(site)


def test_dataset_has_alma_names_and_cf_attributes(case):
    forcing, site, out, params = case
    dataset = io.to_dataset(out, forcing, site, params)
    assert set(output_fields()) <= set(dataset.data_vars)
    assert dataset.Qle.dims == ("time", "y", "x") and dataset.SoilMoist.dims == ("time", "soil_layer", "y", "x")
    np.testing.assert_array_equal(dataset.SoilTemp.values[:, :, 0, 0], out.SoilTemp)
    assert dataset.attrs["Conventions"] == "CF-1.8" and dataset.attrs["site_code"] == "XX-Tst"
    assert dataset.Albedo.attrs["units"] == "1"
    assert dataset.attrs["parameter_vegetation_vcmax25"] == np.float32(params.vegetation.vcmax25)
    for name in output_fields():
        assert {"units", "long_name", "cell_methods"} <= set(dataset[name].attrs)
    attributes = {name: dataset[name].attrs for name in output_fields()}
    methods = {name: (own["cell_methods"], own.get("comment")) for name, own in attributes.items()}
    assert methods["Qle"] == ("time: mean", None) and methods["WaterResidual"] == ("time: sum", None)
    assert methods["SWE"] == methods["SoilTemp"] == ("time: point", "value at the end of the interval")
    assert methods["WaterTableD"] == ("time: point", "value at the start of the interval")
    assert str(dataset.time.values[0])[:16] == "2004-12-31T00:00"
    assert (dataset.time_bnds[:, 1] - dataset.time_bnds[:, 0] == np.timedelta64(1800, "s")).all()
    np.testing.assert_allclose(dataset.soil_layer[:2], [0.025, 0.15])


def test_outputs_that_were_not_asked_for_are_left_out(case):
    forcing, site, out, _ = case
    few = eqx.tree_at(lambda o: (o.Qg, o.SoilTemp), out, (None, None))
    names = set(io.to_dataset(few, forcing, site).data_vars)
    assert "Qle" in names and not {"Qg", "SoilTemp"} & names


def test_written_file_is_what_was_given(case, tmp_path):
    forcing, site, out, params = case
    series = jnp.linspace(50.0, 60.0, forcing.steps)
    params = replace_parameters(params, {"vcmax25": series})
    dataset = io.to_dataset(out, forcing, site, params)
    io.write_dataset(dataset, tmp_path / "o.nc")
    with xr.open_dataset(tmp_path / "o.nc") as again:
        xr.testing.assert_equal(again, dataset)
        assert again.Qle.dtype == out.Qle.dtype
        assert again.parameter_vegetation_vcmax25.dims == ("time", "y", "x")
    with netCDF4.Dataset(tmp_path / "o.nc") as raw:
        assert raw["time"].units == "seconds since 2004-01-01 00:00:00"
        assert raw["time"][0] == 365 * 86400.0 and raw["time_bnds"][-1, 1] - raw["time"][-1] == 1800.0
        assert set(raw["Qle"].coordinates.split()) == {"latitude", "longitude"}
        assert raw["latitude"][...].shape == (1, 1)
        assert raw["time_bnds"].dimensions == ("time", "bnds") and raw.Conventions == "CF-1.8"
    assert not list(tmp_path.glob(".*"))


def test_chunks_make_the_same_file(case, tmp_path):
    forcing, site, out, params = case
    io.write_dataset(io.to_dataset(out, forcing, site, params), tmp_path / "whole.nc")
    windows = [forcing.window(i, min(i + 17, 96)) for i in range(0, 96, 17)]
    io.write_dataset((io.to_dataset(fake_outputs(w), w, site, params) for w in windows), tmp_path / "chunks.nc")
    with xr.open_dataset(tmp_path / "whole.nc") as whole, xr.open_dataset(tmp_path / "chunks.nc") as chunks:
        xr.testing.assert_identical(whole, chunks)


def test_a_missing_value_is_written_as_fill(case, tmp_path):
    forcing, site, out, _ = case
    out = dataclasses.replace(out, WaterTableD=out.WaterTableD.at[3].set(jnp.nan))
    halves = [(forcing.window(48, 96), 48), (forcing.window(0, 48), 0)]
    cut = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 48], out) for _, i in halves]
    io.write_dataset((io.to_dataset(o, w, site) for o, (w, _) in zip(cut, halves, strict=True)), tmp_path / "o.nc")
    with netCDF4.Dataset(tmp_path / "o.nc") as raw:
        assert raw["WaterTableD"][51, 0, 0] is np.ma.masked and raw["WaterTableD"][:].mask.sum() == 1


def test_a_stack_gives_one_dataset_per_site_without_padding(tmp_path):
    long = io.load_forcing(write_met(tmp_path / "l.nc", dt=3600.0))
    short = io.load_forcing(write_met(tmp_path / "s.nc", steps=48, attributes={"site_code": "XX-Two"}))
    forcing, sites = stack_sites([long, short])
    out, params = fake_outputs(forcing), default_parameters(sites)
    for column, (own, site) in enumerate([long, short]):
        dataset = io.to_dataset(out, forcing, sites, params, column=column)
        alone = io.to_dataset(fake_outputs(own), own, site, default_parameters(site))
        xr.testing.assert_identical(dataset, alone)
    with pytest.raises(ValueError, match="column=i"):
        io.to_dataset(out, forcing, sites)


def test_failure_leaves_the_old_file(case, tmp_path):
    forcing, site, out, _ = case
    target = tmp_path / "o.nc"
    target.write_text("precious")

    def chunks():
        yield io.to_dataset(out, forcing, site)
        raise KeyError("a fault in mid-run")

    with pytest.raises(KeyError):
        io.write_dataset(chunks(), target, overwrite=True)
    assert target.read_text() == "precious" and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("where", ["no/such/folder/o.nc", ".", "m.nc/o.nc", "o" * 300])
def test_paths_that_cannot_be_written(case, tmp_path, where):
    forcing, site, out, _ = case
    with pytest.raises(InputError, match="cannot be written"):
        io.write_dataset(io.to_dataset(out, forcing, site), tmp_path / where)


def test_cdo_reads_the_file(case, tmp_path):
    if shutil.which("cdo") is None:
        pytest.skip("cdo is not installed")
    forcing, site, out, params = case
    io.write_dataset(io.to_dataset(out, forcing, site, params), tmp_path / "o.nc")
    text = subprocess.run(
        ["cdo", "-s", "outputtab,date,time,lon,lat,value", "-daymean", "-selname,Qle", tmp_path / "o.nc"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not text.stderr
    date, _, longitude, latitude, value = text.stdout.splitlines()[1].split()
    assert (date, float(longitude), float(latitude)) == ("2004-12-31", 10.9, 51.1)
    assert float(value) == pytest.approx(float(out.Qle[:48].mean()), rel=1e-5)


# ---- states -----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(numbers=st.lists(st.floats(150.0, 400.0, width=32), min_size=3, max_size=3))
def test_a_state_comes_back_bit_for_bit(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("state") / "s.nc"
    values = jnp.asarray(numbers)
    state = dataclasses.replace(fake_state(), snow_temperature=values, snow_mass=values[0] / 3)
    io.save_state(state, path)
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(io.load_state(path)), strict=True):
        assert one.dtype == two.dtype
        assert one.shape == two.shape and np.asarray(one).tobytes() == np.asarray(two).tobytes()


def test_a_stack_of_states(tmp_path):
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=-1), fake_state(280.0), fake_state(285.0))
    io.save_state(state, tmp_path / "s.nc")
    assert io.load_state(tmp_path / "s.nc").ground_temperature.shape == (6, 2)


def test_a_state_knows_site_and_time(tmp_path):
    path = tmp_path / "s.nc"
    forcing, site = io.load_forcing(write_met(tmp_path / "m.nc"))
    first, second = forcing.window(0, 50), forcing.window(50, 96)
    io.save_state(fake_state(), path, site, first)
    with netCDF4.Dataset(path) as dataset:
        assert (dataset.site_code, dataset.time) == ("XX-Tst", "2004-02-29T01:00")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = io.load_state(path, site, second)
        io.load_state(path)  # nothing to compare with
    np.testing.assert_array_equal(state.ground_temperature, fake_state().ground_temperature)
    with pytest.warns(RepairWarning, match="belongs to 2004-02-29T01:00, the run starts at 2004-02-28T00:00"):
        io.load_state(path, site, first)
    with pytest.warns(RepairWarning, match="is a state of site XX-Tst, the run is at XX-Two"):
        io.load_state(path, dataclasses.replace(site, code="XX-Two"), second)
    io.save_state(fake_state(), path)  # as files were before: no site, no time, nothing to say
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        io.load_state(path, site, first)


def test_a_stack_of_states_has_a_site_and_a_time_each(tmp_path):
    pairs = [
        io.load_forcing(write_met(tmp_path / "l.nc", dt=3600.0)),
        io.load_forcing(write_met(tmp_path / "s.nc", steps=48, attributes={"site_code": "XX-Two"})),
    ]
    forcing, sites = stack_sites(pairs)
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=-1), fake_state(280.0), fake_state(285.0))
    io.save_state(state, tmp_path / "state.nc", sites, forcing)
    with netCDF4.Dataset(tmp_path / "state.nc") as dataset:
        assert (dataset.site_code, dataset.time) == ("XX-Tst,XX-Two", "2004-03-03T00:00,2004-02-29T00:00")
    with pytest.warns(RepairWarning, match="the run starts at 2004-02-28T00:00,2004-02-28T00:00"):
        io.load_state(tmp_path / "state.nc", sites, forcing)


def test_states_that_are_none(tmp_path):
    path = tmp_path / "s.nc"
    with pytest.raises(InputError, match="no such file"):
        io.load_state(path)
    write_met(path)
    with pytest.raises(InputError, match="is not a jlsm state"):
        io.load_state(path)
    path.write_text("text")
    with pytest.raises(InputError, match="cannot be read as NetCDF"):
        io.load_state(path)
    io.save_state(fake_state(), path, overwrite=True)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.renameVariable("soil_ice", "six_layers")
        dataset.createDimension("five", 5)
        dataset.createVariable("soil_ice", "f4", ("five",))[:] = 0.0
    with pytest.raises(InputError, match=r"soil_ice has shape \(5,\), expected \(6,\)"):
        io.load_state(path)
    with pytest.raises(InputError, match="snow_mass is not finite"):
        io.save_state(dataclasses.replace(fake_state(), snow_mass=jnp.asarray(jnp.nan)), path, overwrite=True)
    io.save_state(fake_state(), path, overwrite=True)
    with netCDF4.Dataset(path, "a") as dataset:
        dataset.renameVariable("snow_mass", "other")
    with pytest.raises(InputError, match="snow_mass is missing"):
        io.load_state(path)


def test_a_wider_state_is_refused_in_a_narrow_run(tmp_path):
    with jax.enable_x64(True):
        io.save_state(fake_state(), tmp_path / "s.nc")
        assert io.load_state(tmp_path / "s.nc").snow_mass.dtype == np.float64
    with jax.enable_x64(False), pytest.raises(InputError, match="run with --precision float64"):
        io.load_state(tmp_path / "s.nc")


# ---- parameter files --------------------------------------------------------------------------------------------


def test_parameters_are_read(case, tmp_path):
    forcing, _, _, params = case
    path = tmp_path / "p.toml"
    path.write_text(f"vcmax25 = 80\n[soil]\nporosity = 0.5\n[vegetation]\ncanopy_height = {[0.5] * forcing.steps}\n")
    got = io.read_parameters(path, params, steps=forcing.steps)
    assert float(got.vegetation.vcmax25) == 80.0 and float(got.soil.porosity) == 0.5
    assert got.vegetation.canopy_height.shape == (forcing.steps,)
    assert float(got.vegetation.root_depth_scale) == float(params.vegetation.root_depth_scale)


@pytest.mark.parametrize("x64", [False, True])
def test_parameters_come_back_bit_for_bit(tmp_path, x64):
    with jax.enable_x64(x64):
        _, site = io.load_forcing(write_met(tmp_path / "m.nc"))
        defaults = default_parameters(site)
        params = replace_parameters(defaults, {"vcmax25": 100.0 / 3.0, "leaf_area_scale": jnp.linspace(0.5, 1.1, 4)})
        io.write_parameters(params, tmp_path / "p.toml")
        again = io.read_parameters(tmp_path / "p.toml", defaults)
        for key in PARAMETERS:
            np.testing.assert_array_equal(get_parameter(params, key), get_parameter(again, key))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vcmax = 80.0", r"unknown parameter 'vcmax'.*did you mean vcmax25"),
        ("[plants]\nvcmax25 = 80.0", r"unknown table \[plants\]"),
        ("[vegetation]\nporosity = 0.4", "unknown parameter 'vegetation.porosity'"),
        ("vcmax25 = '80'", "vegetation.vcmax25 = '80' is not a number"),
        ("vcmax25 = true", "vegetation.vcmax25 = True is not a number"),
        ("vcmax25 = 5000.0", "vegetation.vcmax25 = 5000 umol m-2 s-1 is outside its bounds"),
        ("vcmax25 = nan", "vegetation.vcmax25 = nan"),
        ("vcmax25 = [80.0, 81.0]", "vegetation.vcmax25 has shape"),
        ("vcmax25 = []", "vegetation.vcmax25 is an empty list"),
        ("vcmax25 = [[80.0], [81.0, 82.0]]", "vegetation.vcmax25 is a list of uneven length"),
        ("vcmax25 = 80.0\n[vegetation]\nvcmax25 = 70.0", "vegetation.vcmax25 is given twice"),
        ("vcmax25 80.0", "is not valid TOML"),
        ("albedo_vis = 1" + "0" * 400, "a number too large"),
    ],
)
def test_bad_parameter_files(case, tmp_path, text, message):
    forcing, _, _, params = case
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        io.read_parameters(tmp_path / "p.toml", params, steps=forcing.steps)
    assert str(caught.value).startswith(str(tmp_path / "p.toml")) and "\n" not in str(caught.value)


def test_absent_parameter_file(case, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        io.read_parameters(tmp_path / "p.toml", case[3])
