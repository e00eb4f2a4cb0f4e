"""What tells a converted table its site: the zip it came in, BIF, a site file, the sun."""

from __future__ import annotations

import warnings

import netCDF4
import pytest

from jlsm.errors import RepairWarning
from jlsm.io import load_forcing
from mdpl.towers.observations import load_observations
from tests.jlsm.network_tables import (
    BIF,
    HH,
    RECORD,
    SITE_FILE,
    bif,
    convert,
    members,
    refusal,
    site_file,
    table,
    write,
    zipped,
)


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
