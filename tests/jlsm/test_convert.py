"""Tables of FLUXNET, AmeriFlux and ICOS (ONEFlux) become Met and Flux files: names, units, flags; and the command."""

from __future__ import annotations

import gzip

import netCDF4
import numpy as np
import pytest
from typer.testing import CliRunner

from jlsm.command_line.app import app
from jlsm.errors import InputError, RepairWarning
from jlsm.io import load_forcing
from jlsm.processes.humidity import saturation_over_water, specific_humidity
from mdpl.towers.observations import load_observations
from tests.jlsm.network_tables import (
    DAYS,
    FLUX,
    HH,
    RECORD,
    SITE_FILE,
    codes,
    convert,
    daily_table,
    refusal,
    site_file,
    table,
    text,
    values,
    weather,
    without_row,
    write,
)


@pytest.mark.parametrize(("minutes", "kind"), [(30, "HH"), (60, "HR"), (60, "HH")])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_every_variable_unit_and_flag(tmp_path, minutes, kind, suffix):
    path = tmp_path / (HH.replace("_HH_", f"_{kind}_").removesuffix(".csv") + suffix)
    columns = table(minutes)
    content = text(columns).encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    met, flux = convert(path, tmp_path)
    assert [file.name for file in (met, flux)] == [f"{RECORD}_Met.nc", f"{RECORD}_Flux.nc"]
    for name, expected in weather(minutes).items():
        if name != "Qair":
            np.testing.assert_allclose(values(met, name), expected, rtol=2e-7, err_msg=name)
    series = weather(minutes)
    vapour = saturation_over_water(series["Tair"]) - 100.0 * series["VPD"]
    np.testing.assert_allclose(values(met, "Qair"), specific_humidity(vapour, series["Psurf"]), rtol=2e-7)
    for column, name in FLUX.items():
        np.testing.assert_array_equal(values(flux, name), np.float32(columns[column]), err_msg=name)
    steps = len(columns["TA_F"])
    era = np.array([0, 1, 4])[codes(steps, 3)]
    for name in ("Tair", "Qair", "SWdown", "Precip"):
        np.testing.assert_array_equal(values(met, f"{name}_qc"), era, err_msg=name)
    for file, name in ((met, "CO2air"), (flux, "Qle"), (flux, "GPP"), (flux, "NEE")):
        np.testing.assert_array_equal(values(file, f"{name}_qc"), codes(steps), err_msg=name)
    assert (values(flux, "Rnet_qc") == 0).all() and (values(met, "RH_qc") == 0).all()
    with netCDF4.Dataset(met) as file:
        assert file["Tair_qc"].flag_meanings.split()[0] == "measured" and file["Precip"].units == "kg m-2 s-1"
        assert file.utc_offset_hours == -6 and file.time_step == f"{minutes} min"
        assert "Qle_cor_qc" not in netCDF4.Dataset(flux).variables


def test_monthly_leaf_area_of_the_site_file(tmp_path):
    months = SITE_FILE + f"lai_monthly = {[float(month) for month in range(1, 13)]}\n"
    met, _ = convert(write(tmp_path / HH, table()), tmp_path, site=site_file(tmp_path, months))
    leaves = load_forcing(met)[0].LAI
    assert 6.4 < float(leaves[0]) < float(leaves[-1]) < 7.5


def test_a_subset_with_fewer_columns(tmp_path):
    columns = {name: cells for name, cells in table().items() if name not in ("RH", "GPP_NT_VUT_REF", "TS_F_MDS_1")}
    met, flux = convert(write(tmp_path / HH.replace("FULLSET", "SUBSET"), columns), tmp_path)
    assert "RH" not in netCDF4.Dataset(met).variables and "GPP" not in netCDF4.Dataset(flux).variables
    load_observations(flux)


def test_a_table_without_fluxes_gives_a_met_file(tmp_path):
    columns = {name: cells for name, cells in table().items() if name not in FLUX}
    with pytest.warns(RepairWarning, match="no Flux file"):
        (met,) = convert(write(tmp_path / HH, columns), tmp_path)
    assert met.name.endswith("_Met.nc")


def test_missing_values_stay_missing(tmp_path):
    columns = table()
    columns["LE_F_MDS"][5] = -9999.0
    columns["LE_F_MDS_QC"][5:7] = -9999
    columns["CO2_F_MDS"][3] = -9999.0
    with pytest.warns(RepairWarning, match="Tair is missing .* at 2001-07-01T01:00 and 1 of 960"):
        columns["TA_F"][2] = -9999.0
        met, flux = convert(write(tmp_path / HH, columns), tmp_path)
    assert np.flatnonzero(np.isnan(values(flux, "Qle"))).tolist() == [5]
    assert np.flatnonzero(np.isnan(values(flux, "Qle_qc"))).tolist() == [5, 6]
    assert np.flatnonzero(np.isnan(values(met, "CO2air"))).tolist() == [3]
    assert np.isnan(values(met, "Tair")[2]) and np.isnan(values(met, "Qair")[2])
    with pytest.raises(InputError, match="Tair is missing"):
        load_forcing(met)


def test_optional_variables_that_are_no_good_are_left_out(tmp_path):
    columns = table() | {"RH": np.full(DAYS * 48, 130.0)}
    with pytest.warns(RepairWarning, match="RH = 130 .* left out"):
        met, _ = convert(write(tmp_path / HH, columns), tmp_path)
    assert "RH" not in netCDF4.Dataset(met).variables


def test_air_a_little_drier_than_dry(tmp_path):
    columns = table()
    saturation = saturation_over_water(weather()["Tair"]) / 100.0
    columns["VPD_F"][4] = saturation[4] + 0.5
    with pytest.warns(RepairWarning, match="VPD_F exceeds saturation at 1 time steps"):
        met, _ = convert(write(tmp_path / HH, columns), tmp_path)
    assert values(met, "Qair")[4] == np.float32(1e-6)
    columns["VPD_F"][4] = saturation[4] + 5.0
    (tmp_path / "again").mkdir()
    assert "can hold" in refusal(write(tmp_path / "again" / HH, columns), tmp_path / "again")


# ---- the command -----------------------------------------------------------------------------------


def command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_says_what_it_wrote(tmp_path):
    path, site = write(tmp_path / HH, table()), site_file(tmp_path)
    code, out, err = command(path, "--site", site, "-o", tmp_path)
    assert code == 0 and err == ""
    met, flux = out.splitlines()
    assert met.startswith(f"{tmp_path / RECORD}_Met.nc: 960 steps of 30 min from 2001-07-01T00:00; measured: Tair 33 %")
    assert "Qle 25 %" in flux and "Rnet 100 %" in flux
    before = {file: file.read_bytes() for file in tmp_path.glob("*.nc")}
    code, out, err = command(path, "--site", site, "-o", tmp_path)
    assert (code, out) == (2, "") and "exists already: give --overwrite" in err and len(err.splitlines()) == 1
    assert before == {file: file.read_bytes() for file in tmp_path.glob("*.nc")}
    assert command(path, "--site", site, "-o", tmp_path, "--overwrite")[0] == 0
    assert not list(tmp_path.glob(".*"))


def test_one_bad_table_does_not_stop_the_others(tmp_path):
    good, site = write(tmp_path / HH, table()), site_file(tmp_path)
    bad = write(tmp_path / HH.replace("FULLSET", "SUBSET"), without_row(3))
    code, out, err = command(bad, good, "--site", site, "-o", tmp_path)
    assert code == 2 and len(out.splitlines()) == 2 and "time goes from" in err
    (tmp_path / "new").mkdir()
    code, out, err = command(good, good, "--site", site, "-o", tmp_path / "new", "--overwrite")
    assert code == 2 and "once more" in err and len(out.splitlines()) == 2
    other = write(tmp_path / HH.replace("XYz", "Abc"), table())
    assert "is of one site" in command(good, other, "--site", site, "-o", tmp_path)[2]


def test_the_daily_table_says_that_there_is_no_met_file(tmp_path):
    path = write(tmp_path / "FLX_US-XYz_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv", daily_table(np.full(DAYS, 0.5)))
    code, out, _ = command(path, "-o", tmp_path)
    assert code == 0 and "20 days" in out and "Qle 50 %" in out and "no Met file" in out


def test_a_folder_that_is_not_there(tmp_path):
    path, site = write(tmp_path / HH, table()), site_file(tmp_path)
    code, _, err = command(path, "--site", site, "-o", tmp_path / "none")
    assert code == 2 and "there is no folder" in err
    code, _, err = command(path, "--site", site, "-o", site)
    assert code == 2 and "there is no folder" in err
    assert command(tmp_path / "no.csv")[2].endswith("no such file: check the path\n")


def test_a_pair_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """The disk fills up while the second file is written."""
    from jlsm.io import tower_writer

    fill = tower_writer._fill

    def full(file, contents):
        if "Rnet" in contents.series:
            raise RuntimeError("NetCDF: HDF error")
        fill(file, contents)

    monkeypatch.setattr(tower_writer, "_fill", full)
    assert "cannot be written" in refusal(write(tmp_path / HH, table()), tmp_path)
