"""Tables of FLUXNET, AmeriFlux and ICOS (ONEFlux) become Met and Flux files: names, units, flags, clock, site.

Every table is twenty summer days of the embedded weather (synthetic, at the climate of US-ARM, UTC-6), written the way
the networks write theirs and changed in one way.
"""

from __future__ import annotations

import functools
import gzip
import io
import warnings
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from typer.testing import CliRunner

from jlsm.command_line.app import app
from jlsm.command_line.convert import ConvertOptions, convert_tables, tower_contents
from jlsm.errors import InputError, RepairWarning
from jlsm.io import load_forcing, packed
from jlsm.processes.humidity import saturation_over_water, specific_humidity
from mdpl.data.climate import site_climate
from mdpl.data.weather import generate_weather
from mdpl.towers.flags import Flags, measured_steps
from mdpl.towers.load import find_site_files, load_towers
from mdpl.towers.observations import load_observations

DAYS = 20
FIRST = np.datetime64("2001-07-01T00:00", "s")
SITE_FILE = """latitude = 36.6
longitude = -97.5
elevation = 314
reference_height = 10.0
canopy_height = 0.5
utc_offset_hours = -6
igbp = "CRO"
soil_texture = "loam"
"""
BIF = """SITE_ID,GROUP_ID,VARIABLE_GROUP,VARIABLE,DATAVALUE
US-XYz,1,GRP_HEADER,SITE_NAME,"A field, synthetic"
US-XYz,2,GRP_LOCATION,LOCATION_LAT,36.6
US-XYz,2,GRP_LOCATION,LOCATION_LONG,-97.5
US-XYz,2,GRP_LOCATION,LOCATION_ELEV,314
US-XYz,3,GRP_UTC_OFFSET,UTC_OFFSET,-6
US-XYz,4,GRP_IGBP,IGBP,CRO
US-XYz,5,GRP_HEIGHTC,HEIGHTC,0.5
US-XYz,5,GRP_HEIGHTC,HEIGHTC_STATISTIC,Mean
US-XYz,5,GRP_HEIGHTC,HEIGHTC_DATE,20010701
US-XYz,6,GRP_HEIGHTC,HEIGHTC,0.2
US-XYz,6,GRP_HEIGHTC,HEIGHTC_STATISTIC,Standard Deviation
US-XYz,6,GRP_HEIGHTC,HEIGHTC_DATE,20020701
US-XYz,7,GRP_INST,INST_HEIGHT,-0.1
US-XYz,7,GRP_INST,INST_MODEL,SWC-TDR
US-XYz,8,GRP_INST,INST_HEIGHT,10.0
US-XYz,8,GRP_INST,INST_MODEL,SA-Gill Windmaster
"""
HH = "AMF_US-XYz_FLUXNET_FULLSET_HH_2001-2001_3-5.csv"
RECORD = "US-XYz_2001-2001_AMF-FLUXNET"
MET = {"TA_F": "Tair", "VPD_F": "VPD", "PA_F": "Psurf", "SW_IN_F": "SWdown", "LW_IN_F": "LWdown", "WS_F": "Wind",
       "P_F": "Precip", "CO2_F_MDS": "CO2air", "RH": "RH"}  # fmt: skip
FLUX = {"LE_F_MDS": "Qle", "H_F_MDS": "Qh", "G_F_MDS": "Qg", "NETRAD": "Rnet", "LE_CORR": "Qle_cor",
        "H_CORR": "Qh_cor", "NEE_VUT_REF": "NEE", "GPP_NT_VUT_REF": "GPP", "SW_OUT": "SWup", "LW_OUT": "LWup",
        "USTAR": "Ustar", "LE_RANDUNC": "Qle_uc", "H_RANDUNC": "Qh_uc"}  # fmt: skip


@functools.cache
def weather(minutes: int = 30) -> dict[str, np.ndarray]:
    """Met variables as they must come out, ``[time]``."""
    year = generate_weather(site_climate("US-ARM"), 2001, 2001, seed=1)
    window = slice(181 * 48, (181 + DAYS) * 48)
    names = (*MET.values(), "Qair")
    series = {name: np.asarray(getattr(year, name), float)[window] for name in names if name != "CO2air"}
    series["CO2air"] = 370.0 + np.sin(np.arange(DAYS * 48) / 7.0)
    per_step = minutes // 30
    return {name: values.reshape(-1, per_step).mean(axis=1) for name, values in series.items()}


def fluxes(steps: int) -> dict[str, np.ndarray]:
    """Columns of fluxes, each its own curve."""
    curve = np.sin(np.arange(steps) * 2.0 * np.pi / 48.0)
    return {name: np.round(10.0 * (place + 1) * (1.2 + curve), 4) for place, name in enumerate(FLUX)}


def codes(steps: int, count: int = 4) -> np.ndarray:
    return np.arange(steps) % count


def table(minutes: int = 30) -> dict[str, np.ndarray]:
    """A half-hourly or hourly table: column -> values, as the networks give them."""
    series = weather(minutes)
    starts = FIRST + np.arange(series["Tair"].size) * np.timedelta64(minutes * 60, "s")
    columns = {"TIMESTAMP_START": stamps(starts), "TIMESTAMP_END": stamps(starts + np.timedelta64(minutes * 60, "s"))}
    columns |= {
        "TA_F": series["Tair"] - 273.15,
        "SW_IN_F": series["SWdown"],
        "LW_IN_F": series["LWdown"],
        "VPD_F": series["VPD"],
        "PA_F": series["Psurf"] / 1000.0,
        "P_F": series["Precip"] * minutes * 60.0,
        "WS_F": series["Wind"],
        "CO2_F_MDS": series["CO2air"],
        "RH": series["RH"],
    }
    steps = starts.size
    for name in ("TA_F", "SW_IN_F", "LW_IN_F", "VPD_F", "PA_F", "P_F", "WS_F"):
        columns[f"{name}_QC"] = codes(steps, 3)
    columns |= fluxes(steps)
    for name in ("LE_F_MDS", "H_F_MDS", "G_F_MDS", "NEE_VUT_REF", "CO2_F_MDS"):
        columns[f"{name}_QC"] = codes(steps)
    columns["TS_F_MDS_1"] = series["Tair"] - 275.0
    return {name: np.array(cells) for name, cells in columns.items()}


def daily_table(shares: np.ndarray) -> dict[str, np.ndarray]:
    columns = {"TIMESTAMP": stamps(FIRST + np.arange(DAYS) * np.timedelta64(1, "D"), 8), "TA_F": np.full(DAYS, 20.0)}
    columns |= fluxes(DAYS)
    names = ("LE_F_MDS", "H_F_MDS", "G_F_MDS", "NEE_VUT_REF", "NETRAD", "USTAR")
    return columns | {f"{name}_QC": shares for name in names}


def stamps(times: np.ndarray, digits: int = 12) -> np.ndarray:
    return np.array(["".join(c for c in str(time) if c.isdigit())[:digits] for time in times])


def text(columns: dict[str, np.ndarray], separator: str = ",", end: str = "\n") -> str:
    rows = [separator.join(columns)]
    rows += [separator.join(str(value) for value in row) for row in zip(*columns.values(), strict=True)]
    return end.join(rows) + end


def write(path: Path, columns: dict[str, np.ndarray], **options) -> Path:
    path.write_text(text(columns, **options), newline="")
    return path


def site_file(tmp_path: Path, content: str = SITE_FILE) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(content)
    return path


def convert(paths, tmp_path: Path, **options) -> list[Path]:
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True, parents=True)
    if "site" not in options:
        options["site"] = site_file(tmp_path)
    options = {"folder": folder} | options
    return convert_tables(paths if isinstance(paths, list) else [paths], ConvertOptions(**options))


def refusal(path: Path, tmp_path: Path, **options) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        with pytest.raises(InputError) as caught:
            convert(path, tmp_path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message
    assert not any(tmp_path.glob("out/*")) and not any(tmp_path.glob("out/.*")), "nothing is written"
    return message


def values(path: Path, name: str) -> np.ndarray:
    with netCDF4.Dataset(path) as file:
        return np.ma.filled(file[name][:].astype("f8"), np.nan).reshape(-1)


# ---- what comes out --------------------------------------------------------------------------------


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


def test_the_pair_is_read_back(tmp_path):
    met, flux = convert(write(tmp_path / HH, table()), tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RepairWarning)
        (tower,) = load_towers(find_site_files(tmp_path / "out"))
    assert [str(one.message).split(": ")[1] for one in caught] == ["LAI is absent"], "everything else is in the pair"
    assert tower.label == "US-XYz" and tower.site.igbp == "CRO" and float(tower.site.utc_offset) == -6
    np.testing.assert_allclose(tower.forcing.Qair, weather()["Qair"], rtol=2e-3, atol=1e-6)
    assert tower.forcing.steps == DAYS * 48 and int(tower.forcing.second_of_day[0]) == 0
    observed = tower.observations
    expected = codes(DAYS * 48) == 0
    for name in ("Qle", "Qh", "Qg", "NEE", "GPP", "Qle_cor", "Qh_cor"):
        assert observed.fluxes[name].measured.tolist() == expected.tolist(), name
    assert observed.fluxes["Rnet"].measured.all()
    np.testing.assert_array_equal(observed.fluxes["Qle"].uncertainty, np.float32(table()["LE_RANDUNC"]))
    assert observed.fluxes["Rnet"].uncertainty is None


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


@pytest.mark.parametrize("shares", [np.linspace(0.0, 1.0, DAYS), (np.arange(DAYS) % 3 > 0).astype(float)])
def test_a_daily_table_gives_shares(tmp_path, shares, capsys):
    path = write(tmp_path / "FLX_US-XYz_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv", daily_table(shares))
    (flux,) = convert(path, tmp_path)
    assert flux.name == "US-XYz_2001-2001_FLUXNET2015_Flux.nc"
    observed = load_observations(flux)
    assert observed.step == "daily" and observed.time.datetimes()[0] == FIRST
    for name in ("Qle", "Qle_cor", "Rnet", "NEE"):
        assert observed.fluxes[name].measured.tolist() == (shares >= 0.75).tolist(), name
    carbon = daily_table(shares)["NEE_VUT_REF"] * 1e6 / 12.011 / 86400.0
    np.testing.assert_allclose(values(flux, "NEE"), carbon, rtol=1e-6)


def test_shares_that_say_so_are_never_ambiguous():
    flags = Flags("Qle_qc", np.array([0.0, 1.0, 1.0, np.nan]), {}, kind="share measured")
    assert measured_steps(flags, daily=True)[0].tolist() == [False, True, True, False]
    with pytest.raises(InputError, match="flag_kind"):
        measured_steps(flags._replace(kind=""), daily=True)
    with pytest.raises(InputError, match="neither codes nor shares"):
        measured_steps(flags._replace(values=np.array([0.0, 2.0])), daily=True)


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


def test_flags_without_a_value_are_announced(tmp_path):
    """As in real tables of towers whose energy fluxes were not processed; what was measured cannot be known then."""
    columns = table() | {"LE_F_MDS_QC": np.full(DAYS * 48, -9999)}
    with pytest.warns(RepairWarning, match="LE_F_MDS_QC has no value: Qle is written, and nothing of it counts"):
        _, flux = convert(write(tmp_path / HH, columns), tmp_path)
    observed = load_observations(flux)
    assert "Qle" not in observed.fluxes and "Qh" in observed.fluxes


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


# ---- zips and BIF ----------------------------------------------------------------------------------


def zipped(path: Path, members: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def members() -> dict[str, str]:
    """What a network ships: several resolutions, ERA alone, metadata."""
    weekly = {"TIMESTAMP_START": ["20010701"], "TIMESTAMP_END": ["20010707"], "TA_F": [20.0], "LE_F_MDS": [50.0]}
    monthly = {"TIMESTAMP": ["200107"], "TA_F": [20.0], "LE_F_MDS": [50.0]}
    era = {"TIMESTAMP_START": ["200107010000"], "TIMESTAMP_END": ["200107010030"], "TA_ERA": [20.0]}
    heights = "SITE_ID,GROUP_ID,VARIABLE_GROUP,VARIABLE,DATAVALUE\n"
    heights += "".join(
        f"US-XYz,{group},GRP_VAR_INFO,{variable},{value}\n"
        for group, name, height in ((1, "TA_F", 2.0), (2, "WS_F", 9.0), (3, "SWC_F_MDS_1", -0.1))
        for variable, value in (("VAR_INFO_VARNAME", name), ("VAR_INFO_HEIGHT", height), ("VAR_INFO_DATE", 2001))
    )
    return {
        "README.txt": "nothing",
        "AMF_US-XYz_FLUXNET_FLUXMET_DD_2001-2001_v1.3_r1.csv": text(daily_table(np.linspace(0.0, 1.0, DAYS))),
        "AMF_US-XYz_FLUXNET_FLUXMET_WW_2001-2001_v1.3_r1.csv": text(weekly),
        "AMF_US-XYz_FLUXNET_FLUXMET_MM_2001-2001_v1.3_r1.csv": text(monthly),
        "AMF_US-XYz_FLUXNET_ERA5_HH_2001-2001_v1.3_r1.csv": text(era),
        "folder/AMF_US-XYz_FLUXNET_FLUXMET_HH_2001-2001_v1.3_r1.csv": text(table()),
        "AMF_US-XYz_FLUXNET_BIF_2001-2001_v1.3_r1.csv": BIF,
        "AMF_US-XYz_FLUXNET_BIFVARINFO_HH_2001-2001_v1.3_r1.csv": heights,
    }


def test_a_zip_needs_nothing_beside_it(tmp_path):
    path = zipped(tmp_path / "AMF_US-XYz_FLUXNET_2001-2001_v1.3_r1.zip", members())  # as of 2025
    met, flux = convert(path, tmp_path, site=None)
    assert met.name == f"{RECORD}_Met.nc"
    with netCDF4.Dataset(met) as file:
        numbers = {name: float(file[name][0, 0]) for name in ("latitude", "longitude", "elevation", "canopy_height")}
        assert numbers == pytest.approx({"latitude": 36.6, "longitude": -97.5, "elevation": 314, "canopy_height": 0.5})
        assert float(file["reference_height"][0, 0]) == 9.0, "of the wind, not of the thermometer"
        assert file.site_name == "A field, synthetic" and file.utc_offset_hours == -6
    assert load_observations(flux).step == "half-hourly"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        assert load_forcing(met)[1].igbp == "CRO"


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("FLX_US-XYz_FLUXNET2015_SUBSET_HH_2001-2001_1-4.csv", "US-XYz_2001-2001_FLUXNET2015"),
        ("ICOSETC_BE-Bra_FLUXNET_HH_L2.csv", "BE-Bra_2001-2001_ICOSETC-FLUXNET"),
        ("EUF_ES-LJu_FLUXNET_FLUXMET_HH_2001-2001_v1.3_r1.csv", "ES-LJu_2001-2001_EUF-FLUXNET"),
        ("mytower.csv", "mytower_2001-2001_ONEFlux"),
    ],
)
def test_names_of_files_label_the_pair(tmp_path, name, record):
    met, flux = convert(write(tmp_path / name, table()), tmp_path)
    assert (met.name, flux.name) == (f"{record}_Met.nc", f"{record}_Flux.nc")


def test_nothing_of_a_zip_is_unpacked_to_disk(tmp_path):
    content = {f"../../{name}": cells for name, cells in members().items()}
    (tmp_path / "a" / "b").mkdir(parents=True)
    convert(zipped(tmp_path / "a" / "b" / "US-XYz.zip", content), tmp_path, site=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def bif(tmp_path: Path, content: str = BIF, encoding: str = "utf-8") -> tuple[Path]:
    path = tmp_path / "bif.csv"
    path.write_bytes(content.encode(encoding))
    return (path,)


def test_a_bif_file_beside_the_table(tmp_path):
    """The site file goes first; a table whose name tells nothing is of the BIF's site."""
    few = site_file(tmp_path, "reference_height = 7.0\n")
    path = write(tmp_path / "tower.csv", table())
    met, _ = convert(path, tmp_path, site=few, bif=bif(tmp_path, BIF.replace("A field", "Ein Fähnchen"), "latin-1"))
    assert met.name == "US-XYz_2001-2001_ONEFlux_Met.nc"
    assert float(netCDF4.Dataset(met)["reference_height"][0, 0]) == 7.0


def test_a_bif_file_that_a_spreadsheet_saved(tmp_path):
    few = BIF.replace('"A field, synthetic"', "A field").replace(",", ";") + ";;;;\n"
    met, _ = convert(write(tmp_path / HH, table()), tmp_path, site=None, bif=bif(tmp_path, few, "cp1252"))
    assert float(netCDF4.Dataset(met)["latitude"][0, 0]) == pytest.approx(36.6)


def test_the_last_of_several_values(tmp_path):
    more = BIF + "US-XYz,9,GRP_HEIGHTC,HEIGHTC,0.9\nUS-XYz,9,GRP_HEIGHTC,HEIGHTC_DATE,200008\n"
    more += "US-XYz,9,GRP_HEIGHTC,HEIGHTC_STATISTIC,Mean\n"
    with pytest.warns(RepairWarning, match="HEIGHTC has 2 values: the last is taken, 0.5 of 20010701"):
        met, _ = convert(write(tmp_path / HH, table()), tmp_path, site=None, bif=bif(tmp_path, more))
    assert float(netCDF4.Dataset(met)["canopy_height"][0, 0]) == 0.5


def test_a_bif_file_of_many_sites(tmp_path):
    many = BIF + "US-Abc,1,GRP_LOCATION,LOCATION_LAT,10.0\n"
    met, _ = convert(write(tmp_path / HH, table()), tmp_path, site=None, bif=bif(tmp_path, many))
    assert float(netCDF4.Dataset(met)["latitude"][0, 0]) == pytest.approx(36.6)
    other = write(tmp_path / HH.replace("US-XYz", "US-Qqq"), table())
    message = refusal(other, tmp_path / "b", site=None, bif=bif(tmp_path, many))
    assert "holds US-Abc, US-XYz, not US-Qqq" in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("LOCATION_LAT,36.6", "LOCATION_LAT,366", "LOCATION_LAT = '366' is no number from -90 to 90"),
        ("UTC_OFFSET,-6", "UTC_OFFSET,CST", "UTC_OFFSET = 'CST' is no number"),
        ("GROUP_ID,", "GROUP,", "has no columns SITE_ID, GROUP_ID"),
        ("SITE_ID,", "PK\x03\x04", "bif.csv"),
        ("US-XYz", "../US-XYz", "SITE_ID = '../US-XYz' is no code"),
    ],
)
def test_a_bif_file_that_is_wrong(tmp_path, old, new, words):
    path = write(tmp_path / "tower.csv", table())
    assert words in refusal(path, tmp_path, site=None, bif=bif(tmp_path, BIF.replace(old, new)))


def test_all_that_is_missing_is_named_at_once(tmp_path):
    columns = {name: cells for name, cells in table().items() if name not in ("PA_F", "WS_F")}
    message = refusal(write(tmp_path / "tower.csv", columns), tmp_path, site=None)
    for words in ("PA_F, WS_F are missing", "latitude", "reference_height = 6.0", 'igbp = "CRO"', "--bif", "--site"):
        assert words in message


def test_the_clock_of_a_plumber2_site_is_known(tmp_path):
    partly = site_file(tmp_path, SITE_FILE.replace("utc_offset_hours = -6\n", ""))
    met, _ = convert(write(tmp_path / HH.replace("US-XYz", "US-ARM"), table()), tmp_path, site=partly)
    assert netCDF4.Dataset(met).utc_offset_hours == -6
    (tmp_path / "other").mkdir()
    path = write(tmp_path / "other" / HH, table())
    assert "nothing tells utc_offset_hours" in refusal(path, tmp_path / "other", site=partly)


def test_the_sun_is_asked(tmp_path):
    path = write(tmp_path / HH, table())
    message = refusal(path, tmp_path, utc_offset=2.0)
    assert "hours" in message and "--utc-offset -6" in message
    met, _ = convert(path, tmp_path, utc_offset=2.0, sun_check=False)
    assert netCDF4.Dataset(met).utc_offset_hours == 2.0


# ---- tables that cannot be converted ---------------------------------------------------------------


def changed(name: str, row: int, value: object) -> dict[str, np.ndarray]:
    columns = table()
    columns[name] = columns[name].astype(object)
    columns[name][row] = value
    return columns


def without_row(row: int) -> dict[str, np.ndarray]:
    return {name: np.delete(cells, row) for name, cells in table().items()}


def repeated(row: int) -> dict[str, np.ndarray]:
    return {name: np.insert(cells, row, cells[row]) for name, cells in table().items()}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (lambda: changed("TA_F", 7, "warm"), "TA_F = 'warm' at 200107010330 (1 rows) is no number"),
        (lambda: changed("TA_F", 7, "true"), "TA_F = 'true' at 200107010330"),
        (lambda: changed("TA_F", 7, '"20,5"'), "save the table with decimal points"),
        (lambda: changed("TA_F", 7, "20,5"), "row 8 has more cells than the first line has names"),
        (lambda: changed("TS_F_MDS_1", 7, "soil"), ""),
        (lambda: without_row(10), "time goes from 2001-07-01T04:30 to 2001-07-01T05:30"),
        (lambda: repeated(10), "time 2001-07-01T05:00 is duplicated"),
        (lambda: changed("TIMESTAMP_START", 3, "2.00107E+11"), "a spreadsheet has rounded it"),
        (lambda: changed("TIMESTAMP_START", 3, ""), "TIMESTAMP_START is missing where there should be YYYYMMDDhhmm"),
        (lambda: changed("TIMESTAMP_START", 3, "200107321130"), "is a time that does not exist"),
        (lambda: changed("TIMESTAMP_START", 3, "200102290000"), "is a time that does not exist"),
        (lambda: changed("TIMESTAMP_END", 3, "200107010130"), "is not 30 minutes later"),
        (lambda: changed("LE_F_MDS_QC", 3, "7"), "LE_F_MDS_QC = 7 at 2001-07-01T01:30"),
        (lambda: changed("PA_F", 3, "970.0"), "Psurf = 970000 at 2001-07-01T01:30"),
        (lambda: table() | {"TA_F": weather()["Tair"]}, "Tair = "),
        (lambda: table() | {"SW_IN_F": np.roll(table()["SW_IN_F"], 16)}, "than the sun"),
        (lambda: table() | {"VPD_F": np.full(DAYS * 48, -9999.0)}, "VPD_F is missing"),
        (lambda: {name: cells[:0] for name, cells in table().items()}, "has no rows"),
        (lambda: {name: cells[:1] for name, cells in table().items()}, "at least two"),
        (lambda: {"TIMESTAMP_START": table()["TIMESTAMP_START"], "TA_ERA": table()["TA_F"]}, "has none of TA_F"),
        (lambda: {"year": codes(9), "TA_F": codes(9)}, "no column TIMESTAMP_START"),
        (lambda: {"TIMESTAMP": ["200107"], "LE_F_MDS": [1.0]}, "is a monthly table"),
        (lambda: daily_table(np.linspace(0.0, 100.0, DAYS)), "shares from 0 to 1"),
        (lambda: {n: np.delete(c, 4) for n, c in daily_table(np.ones(DAYS)).items()}, "in a daily table"),
        (lambda: {"TIMESTAMP": stamps(FIRST + np.arange(3) * np.timedelta64(1, "D"), 8), "TA_F": codes(3)}, "no value"),
    ],
)  # fmt: skip
def test_tables_that_are_wrong(tmp_path, columns, words):
    path = write(tmp_path / HH, columns())
    if not words:  # a column that is not needed
        assert len(convert(path, tmp_path)) == 2
        return
    message = refusal(path, tmp_path)
    assert words in message and HH in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: text(table(), separator=";").encode(), "separated by semicolons"),
        (lambda: text(table(), separator="\t").encode(), "separated by tabs"),
        (lambda: text(table()).encode("utf-16"), "UTF-16"),
        (lambda: b"\x89HDF\r\n\x1a\n", "is NetCDF"),
        (lambda: b"\x00" * 100, "is no table"),
        (lambda: b"TIMESTAMP_START," * 100_000, "is no table"),
        (lambda: b"", "no column TIMESTAMP_START"),
        (lambda: b"# Site: US-XYz\n# Version: 2-5\n" + text(table()).encode(), "as AmeriFlux BASE does"),
        (lambda: text(table()).encode()[:-40], "its last row ends early"),
        (lambda: text(table()).replace(",RH,", ",TA_F,").encode(), "column TA_F occurs twice"),
        (lambda: text(table()).encode() + b'"', "cannot be read as a table"),
        (lambda: text(table()).encode() + b"200107210000" + b",1" * 99, "row 961 has more cells than the first line"),
        (lambda: gzip.compress(text(table()).encode())[:20_000], "cannot be read as a table"),
        (lambda: gzip.compress(text(table()).encode())[:-9] + b"123456789", "cannot be read as a table"),
        (lambda: io.BytesIO(b"PK\x03\x04" + bytes(range(256)) * 9).getvalue(), "cannot be read as a table"),
    ],
)  # fmt: skip
def test_files_that_are_damaged_or_something_else(tmp_path, content, words):
    path = tmp_path / HH
    path.write_bytes(content())
    assert words in refusal(path, tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_ends_of_lines_and_byte_order_marks_do_not_matter(tmp_path, end, encoding):
    path = tmp_path / HH
    path.write_text(text(table(), end=end).removesuffix(end), encoding=encoding, newline="")
    met, _ = convert(path, tmp_path)
    np.testing.assert_allclose(values(met, "Tair"), weather()["Tair"], rtol=2e-7)


def damaged_zip(path: Path) -> Path:
    content = bytearray(zipped(path, members()).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\x00" * 2000
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (damaged_zip, "cannot be read as a table"),
        (lambda path: zipped(path, {"README.txt": "nothing"}), "holds no .csv file"),
        (lambda path: zipped(path, {"a.csv": "nothing", "b.csv": "no,thing"}), "none of its 2 tables"),
        (lambda path: zipped(path, {"[Content_Types].xml": "", "xl/workbook.xml": ""}), "is a spreadsheet"),
        (lambda path: zipped(path, members() | {HH.replace("XYz", "Abc"): text(table())}), "tables of US-Abc, US-XYz"),
    ],
)
def test_zips_that_cannot_be_converted(tmp_path, archive, words):
    assert words in refusal(archive(tmp_path / "US-XYz.zip"), tmp_path)


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    """The limit holds for what a zip declares, and for what comes out."""
    content = text(table()).encode()
    monkeypatch.setattr(packed, "LARGEST_UNPACKED", 50_000)
    for name, data in ((HH + ".gz", gzip.compress(content)), (HH, content)):
        path = tmp_path / name
        path.write_bytes(data)
        assert "holds more than" in refusal(path, tmp_path)
    assert "holds more than" in refusal(zipped(tmp_path / "US-XYz.zip", members()), tmp_path)


PIECES = (
    b"\x00",
    b'"',
    b",",
    b"\n",
    b"\r",
    b";",
    b"\xff\xfe",
    b"\xc3",
    b"nan",
    b"inf",
    b"1e999",
    b"9" * 30,
    b"true",
    b"text",
)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with a few bytes changed, lost, doubled or put in."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place, length = rng.integers(len(data)), int(rng.choice([1, 8, 100, 5000]))
        kind = rng.integers(5)
        if kind == 0:
            data[place] = rng.integers(256)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = PIECES[rng.integers(len(PIECES))]
        elif kind == 3:
            data[place : place + length] = rng.bytes(min(length, 100))
        else:
            data[place:place] = data[place : place + length]
    return bytes(data) or b" "


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_in_one_line_or_harmless(tmp_path, seed):
    rng = np.random.default_rng(seed)
    half = {name: cells[: 6 * 48] for name, cells in table().items()}
    content = text(half).encode()
    daily = "FLX_US-XYz_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv"
    zipped(tmp_path / "a.zip", members() | {"folder/AMF_US-XYz_FLUXNET_FLUXMET_HH_2001-2001_v1.3_r1.csv": content})
    files = {HH: content, f"{HH}.gz": gzip.compress(content), "US-XYz.zip": (tmp_path / "a.zip").read_bytes()}
    files |= {"bif.csv": BIF.encode(), daily: text(daily_table(np.linspace(0.0, 1.0, DAYS))).encode()}
    whole, site = write(tmp_path / "whole.csv", half), site_file(tmp_path)
    outcomes = []
    for _ in range(60):
        name = list(files)[rng.integers(len(files))]
        path = tmp_path / name
        path.write_bytes(mutated(files[name], rng))
        options = ConvertOptions(bif=(path,)) if name == "bif.csv" else ConvertOptions(site=site)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RepairWarning)
            try:
                results = tower_contents(whole if name == "bif.csv" else path, options)
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 2000
                outcomes.append("refused")
                continue
        for result in results.values():
            assert not any(np.isinf(series.values).any() for series in result.series.values())
        outcomes.append("read")
    assert {"read", "refused"} == set(outcomes)


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


# ---- the readers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HH, HH + ".gz", "US-XYz.zip"])
@pytest.mark.parametrize("read", [load_forcing, load_observations])
def test_readers_of_netcdf_point_to_the_command(tmp_path, name, read):
    path = tmp_path / name
    content = text(table()).encode()
    if name.endswith("zip"):
        zipped(path, members())
    else:
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError, match=f"'jlsm convert {name}' makes a Met and a Flux file") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_gzipped_netcdf(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    plain = dict(zip(("Met", "Flux"), convert(write(tmp_path / HH, table()), tmp_path), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        (before,) = load_towers(find_site_files(folder))
        for kind, path in plain.items():
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
            (pair,) = find_site_files(folder, ("US-XYz",))
            assert pair.record == RECORD and (pair.met.name.endswith(".gz"), pair.flux.name.endswith(".gz")) == (
                True,
                kind == "Flux",
            )
            (tower,) = load_towers([pair])
            np.testing.assert_array_equal(tower.forcing.Tair, before.forcing.Tair)
            np.testing.assert_array_equal(
                tower.observations.fluxes["Qle"].values, before.observations.fluxes["Qle"].values
            )
    met = folder / f"{RECORD}_Met.nc.gz"
    met.write_bytes(met.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read as NetCDF"):
        load_forcing(met)
    met.write_bytes(gzip.compress(b"\x89HDF" + b"\x00" * 1_000_000))
    with pytest.raises(InputError, match="cannot be read as NetCDF"):
        load_forcing(met)
    monkeypatch.setattr(packed, "LARGEST_UNPACKED", 50_000)
    with pytest.raises(InputError, match="holds more than"):
        load_forcing(met)
