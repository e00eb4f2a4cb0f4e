"""Tables with all the columns that the networks publish, and the tables of theirs that are something else."""

from __future__ import annotations

import warnings
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from jlsm.errors import RepairWarning
from jlsm.io import load_forcing
from tests.jlsm.network_columns import AMERIFLUX_BASE, FULLSET, ICOS_FLUXES, ICOS_METEO, SUBSET
from tests.jlsm.network_tables import (
    BIF,
    FLUX,
    HH,
    bif,
    convert,
    members,
    refusal,
    table,
    text,
    values,
    weather,
    write,
    zipped,
)


def dressed(columns: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    """A table with these columns in this order; those that are not given are missing at all times."""
    missing = np.full(len(columns["TIMESTAMP_START"]), -9999)
    return {name: columns.get(name, missing) for name in names}


def measured(names: list[str]) -> dict[str, np.ndarray]:
    """A table of what was measured, not filled: ``LE``, ``H``, ``TA``."""
    filled = table()
    same = {"LE": "LE_F_MDS", "H": "H_F_MDS", "TA": "TA_F", "SW_IN": "SW_IN_F", "LW_IN": "LW_IN_F"}
    return dressed(filled | {name: filled[other] for name, other in same.items()}, names)


@pytest.mark.parametrize(
    ("name", "minutes", "columns"),
    [
        ("FLX_US-XYz_FLUXNET2015_FULLSET_HH_2001-2001_1-4.csv", 30, FULLSET),
        ("FLX_US-XYz_FLUXNET2015_FULLSET_HH_2001-2001_beta-3.csv", 30, FULLSET),
        ("FLX_US-XYz_FLUXNET2015_SUBSET_HR_2001-2001_1-3.csv", 60, SUBSET),
        ("AMF_US-XYz_FLUXNET_FULLSET_HR_2001-2001_3-5.csv", 60, FULLSET),
        ("ICOSETC_US-XYz_FLUXNET_HH_L2.csv", 30, FULLSET),
        ("EUF_US-XYz_FLUXNET_FLUXMET_HH_2001-2001_v1.3_r1.csv", 30, FULLSET),
    ],
)
def test_whole_tables(tmp_path, name, minutes, columns):
    """Of the many columns that look alike (LE_CORR_25, NEE_VUT_50, LW_IN_JSB_F) the right ones are read."""
    whole = dressed(table(minutes), columns)
    for other, cells in whole.items():
        if (cells == -9999).all():
            whole[other] = np.full(cells.shape, 7777.0)  # a wrong one would show
    met, flux = convert(write(tmp_path / name, whole), tmp_path)
    for variable, expected in weather(minutes).items():
        if variable != "Qair" and (variable != "RH" or "RH" in columns):
            np.testing.assert_allclose(values(met, variable), expected, rtol=2e-7, err_msg=variable)
    written = netCDF4.Dataset(flux).variables
    for column, variable in FLUX.items():
        if column in columns and column in table():
            np.testing.assert_array_equal(values(flux, variable), np.float32(table(minutes)[column]), err_msg=variable)
        else:
            assert variable not in written
    assert ("Qle_cor_uc" in written) == ("LE_CORR_JOINTUNC" in columns)


def test_a_leap_year_has_its_day(tmp_path):
    days = 4
    first = np.datetime64("2004-02-27T00:00", "s")
    starts = first + np.arange(days * 48) * np.timedelta64(1800, "s")
    columns = {name: cells[: days * 48] for name, cells in table().items()}
    for stamp, shift in (("TIMESTAMP_START", 0), ("TIMESTAMP_END", 1800)):
        times = starts + np.timedelta64(shift, "s")
        columns[stamp] = np.array([str(t).replace("-", "").replace("T", "").replace(":", "")[:12] for t in times])
    path = write(tmp_path / HH, dressed(columns, FULLSET))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        met, _ = convert(path, tmp_path, sun_check=False)
        forcing, _ = load_forcing(met, sun_check=False)
    dates = np.asarray(forcing.day)[::48].astype("datetime64[D]").astype(str)
    assert list(dates) == ["2004-02-27", "2004-02-28", "2004-02-29", "2004-03-01"]


@pytest.mark.parametrize("how", ["missing", "absent"])
def test_longwave_that_oneflux_computed(tmp_path, how):
    """Towers without a pyrgeometer: LW_IN_F has no value, LW_IN_JSB_F has; it never counts as measured."""
    columns = dressed(table(), FULLSET)
    columns |= {"LW_IN_JSB_F": columns["LW_IN_F"], "LW_IN_JSB_F_QC": columns["LW_IN_F_QC"]}
    columns["LW_IN_F"] = columns["LW_IN_F_QC"] = np.full(len(columns["TA_F"]), -9999)
    if how == "absent":
        del columns["LW_IN_F"], columns["LW_IN_F_QC"]
    with pytest.warns(RepairWarning, match="LW_IN_F has no value: LWdown is LW_IN_JSB_F, computed, not measured"):
        met, _ = convert(write(tmp_path / HH, columns), tmp_path)
    np.testing.assert_allclose(values(met, "LWdown"), weather()["LWdown"], rtol=2e-7)
    assert set(values(met, "LWdown_qc")) == {1.0, 4.0}
    assert netCDF4.Dataset(met)["LWdown"].original_name == "LW_IN_JSB_F"
    del columns["LW_IN_JSB_F"]
    (tmp_path / "again").mkdir()
    words = refusal(write(tmp_path / "again" / HH, columns), tmp_path / "again")
    assert "LW_IN_F or LW_IN_JSB_F is missing" in words


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("AMF_US-XYz_BASE_HH_2-5_without_comments.csv", AMERIFLUX_BASE),
        ("ICOSETC_US-XYz_FLUXES_L2.csv", ICOS_FLUXES),
        ("ICOSETC_US-XYz_METEO_L2.csv", ICOS_METEO),
    ],
)
def test_tables_with_gaps_are_named_as_such(tmp_path, name, columns):
    """They share column names (NETRAD, USTAR, SW_OUT) with those of ONEFlux."""
    path = write(tmp_path / name, measured(columns))
    assert "has what was measured, with gaps, as AmeriFlux BASE" in refusal(path, tmp_path)
    beside = members() | {name: text(measured(columns))}
    met, _ = convert(zipped(tmp_path / "US-XYz.zip", beside), tmp_path, site=None)
    assert met.is_file(), "beside a table of ONEFlux they do no harm"


def test_fluxes_that_a_table_lacks_are_named(tmp_path):
    """As in FLUXNET-CH4, where they have other names."""
    other = {"LE_F_MDS": "LE_F", "H_F_MDS": "H_F", "LE_CORR": "LE_C", "H_CORR": "H_C"}
    columns = {other.get(name, name): cells for name, cells in table().items()}
    with pytest.warns(RepairWarning, match="LE_F_MDS and H_F_MDS without a value: the Flux file has no Qle and no Qh"):
        _, flux = convert(write(tmp_path / HH, columns), tmp_path)
    assert "Rnet" in netCDF4.Dataset(flux).variables


# ---- zips of zips and spreadsheets -----------------------------------------------------------------


def spreadsheet(path: Path) -> Path:
    return zipped(path, {"[Content_Types].xml": "", "xl/workbook.xml": ""})


def test_spreadsheets_are_named(tmp_path):
    book = spreadsheet(tmp_path / "FLX_AA-Flx_BIF_HH_20200501.xlsx")
    path = write(tmp_path / HH, table())
    assert "is a spreadsheet: save it as CSV" in refusal(path, tmp_path, site=None, bif=(book,))
    packed = zipped(tmp_path / "FLX_AA-Flx_BIF_ALL_20200501.zip", {book.name: book.read_bytes()})
    words = refusal(path, tmp_path, site=None, bif=(packed,))
    assert f"holds no .csv file, but {book.name}: save that as CSV" in words
    product = zipped(tmp_path / "US-XYz.zip", {book.name: book.read_bytes(), HH: text(table()), "README.txt": ""})
    with pytest.warns(RepairWarning, match=f"{book.name} is a spreadsheet and was not read: save it as CSV"):
        with pytest.raises(Exception, match="nothing tells latitude"):
            convert(product, tmp_path, site=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RepairWarning)
        convert(product, tmp_path)  # a site file tells all


def test_a_zip_of_zips(tmp_path):
    inner = zipped(tmp_path / "ICOSETC_BE-Bra_ARCHIVE_L2.zip", members()).read_bytes()
    path = zipped(tmp_path / "release.zip", {"a/ICOSETC_BE-Bra_ARCHIVE_L2.zip": inner, "b/other.zip": inner})
    words = refusal(path, tmp_path)
    assert "holds no .csv file, but a/ICOSETC_BE-Bra_ARCHIVE_L2.zip and 1 more: unpack it and convert those" in words


# ---- heights in BIF --------------------------------------------------------------------------------


def facts(*groups: dict[str, object]) -> str:
    """BIF with more groups of facts."""
    more = [
        f"US-XYz,{90 + number},GRP_X,{variable},{value}\n"
        for number, group in enumerate(groups)
        for variable, value in group.items()
    ]
    return BIF + "".join(more)


def number(tmp_path: Path, content: str, name: str) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        met, _ = convert(write(tmp_path / HH, table()), tmp_path, site=None, bif=bif(tmp_path, content))
    return float(netCDF4.Dataset(met)[name][0, 0])


def test_an_understory_is_not_the_canopy(tmp_path):
    """Measured later, and listed after the trees."""
    trees = {"HEIGHTC": 24, "HEIGHTC_STATISTIC": "Mean", "HEIGHTC_VEGTYPE": "Overstory", "HEIGHTC_DATE": 20050101}
    shrubs = trees | {"HEIGHTC": 0.6, "HEIGHTC_VEGTYPE": "Understory", "HEIGHTC_DATE": 20100101}
    assert number(tmp_path, facts(trees, shrubs), "canopy_height") == 24.0


def test_of_several_kinds_of_plants_at_one_date_the_highest(tmp_path):
    trees = {"HEIGHTC": 24, "HEIGHTC_STATISTIC": "Mean", "HEIGHTC_VEGTYPE": "Tree", "HEIGHTC_DATE": 20050101}
    assert number(tmp_path, facts(trees, trees | {"HEIGHTC": 3}), "canopy_height") == 24.0


def test_the_height_is_of_the_table_s_wind_not_of_a_profile(tmp_path):
    """ICOS's archive describes every sensor of its METEOSENS table beside the columns of the FLUXNET table."""
    wind = {"VAR_INFO_VARNAME": "WS_F", "VAR_INFO_HEIGHT": 41, "VAR_INFO_DATE": 20160101}
    low = {"VAR_INFO_VARNAME": "WS_1_5_1", "VAR_INFO_HEIGHT": 8, "VAR_INFO_DATE": 20190101}
    assert number(tmp_path, facts(wind, low), "reference_height") == 41.0
    (tmp_path / "b").mkdir()
    assert number(tmp_path / "b", facts(low), "reference_height") == 8.0
