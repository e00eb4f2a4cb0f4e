"""Tables as FLUXNET, AmeriFlux and ICOS publish them (ONEFlux), and what their tests share.

Every table is twenty summer days of the embedded weather (synthetic, at the climate of US-ARM, UTC-6), written the way
the networks write theirs; a test changes it in one way.
"""

from __future__ import annotations

import functools
import warnings
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from jlsm.command_line.convert import ConvertOptions, convert_tables
from jlsm.errors import InputError, RepairWarning
from mdpl.data.climate import site_climate
from mdpl.data.weather import generate_weather

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


def bif(tmp_path: Path, content: str = BIF, encoding: str = "utf-8") -> tuple[Path]:
    path = tmp_path / "bif.csv"
    path.write_bytes(content.encode(encoding))
    return (path,)


def without_row(row: int) -> dict[str, np.ndarray]:
    return {name: np.delete(cells, row) for name, cells in table().items()}
