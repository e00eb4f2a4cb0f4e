"""The synthetic record as files: PLUMBER2-style Met, Flux and Truth NetCDF, and as jlsm's Forcing and Site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mdpl.data.climate import site_climate
from mdpl.data.crops import leaf_area, mean_leaf_area
from mdpl.data.sky import STEP, STEPS_PER_DAY
from mdpl.data.weather import Weather

_FILL_VALUE = -9999.0
FLUX_LONG_NAMES = {
    "Qle": "latent heat flux",
    "Qh": "sensible heat flux",
    "Rnet": "net radiation",
    "Qg": "ground heat flux",
}
_MET = {
    "Tair": ("K", "air temperature"),
    "Qair": ("kg/kg", "specific humidity"),
    "Psurf": ("Pa", "surface pressure"),
    "SWdown": ("W/m2", "downward shortwave radiation"),
    "LWdown": ("W/m2", "downward longwave radiation"),
    "Wind": ("m/s", "wind speed"),
    "Precip": ("kg/m2/s", "precipitation (rain + snow)"),
    "VPD": ("hPa", "vapour pressure deficit"),
    "RH": ("%", "relative humidity"),
    "CO2air": ("ppm", "CO2 mole fraction (annual mean of Mauna Loa)"),
    "LAI": ("m2/m2", "leaf area index of an assumed crop calendar"),
    "LAI_alternative": ("m2/m2", "mean seasonal cycle of LAI"),
}
SYNTHETIC_COMMENT = (
    "SYNTHETIC, not measured. Weather from a stochastic generator with the monthly statistics of {tower}; fluxes "
    "from the land surface model jlsm with hidden parameters, plus random error and gaps as at flux towers"
)


def met_series(code: str, weather: Weather) -> dict[str, np.ndarray]:
    """Every series of the Met file, ``[time]``, as stored (float32)."""
    from jlsm.io.gap_filling import mauna_loa_co2

    days = np.repeat(weather.days, STEPS_PER_DAY).astype("datetime64[D]")
    # values at the middle of each day, linear in between: leaves do not grow at midnight
    clock = np.arange(days.size) / STEPS_PER_DAY - 0.5
    leaves = {
        "LAI": np.interp(clock, np.arange(weather.days.size), leaf_area(code, weather.days)),
        "LAI_alternative": np.interp(clock, np.arange(weather.days.size), mean_leaf_area(code, weather.days)),
    }
    series = {name: getattr(weather, name) for name in _MET if hasattr(weather, name)}
    series |= leaves | {"CO2air": mauna_loa_co2(days)}
    return {name: np.asarray(series[name], np.float32) for name in _MET}


def synthetic_site(code: str):
    """jlsm's Site of ``<code>-syn``."""
    import jax.numpy as jnp

    from jlsm.forcing import Site

    climate = site_climate(code)
    scalars: dict[str, Any] = {name: jnp.asarray(value, float) for name, value in climate.scalars.items()}
    return Site(**scalars, code=f"{code}-syn", name=f"{climate.texts['name']} (synthetic)", igbp=climate.texts["igbp"])


def synthetic_forcing(code: str, weather: Weather):
    """jlsm's Forcing, the same numbers that ``load_forcing`` reads back from the Met file."""
    import jax.numpy as jnp

    from jlsm.forcing import METEOROLOGY, Forcing

    series = met_series(code, weather)
    seconds = np.tile(np.arange(STEPS_PER_DAY) * STEP, weather.days.size)
    return Forcing(
        **{name: jnp.asarray(series[name], float) for name in METEOROLOGY},
        day=jnp.asarray(np.repeat(weather.days, STEPS_PER_DAY), jnp.int32),
        second_of_day=jnp.asarray(seconds, jnp.int32),
        dt=jnp.asarray(float(STEP)),
    )


def write_met(path: Path, code: str, weather: Weather, attributes: dict[str, str]) -> None:
    """The Met file."""
    series = met_series(code, weather)
    rows = {name: (*_MET[name], values, np.full(values.size, 3, np.int8)) for name, values in series.items()}
    _write(path, code, weather.days, rows, attributes)


def write_flux(path: Path, code: str, days: np.ndarray, values: dict, flags: dict, attributes: dict[str, str]) -> None:
    """The Flux file: values ``[time]`` (NaN where missing) and their qc flags."""
    rows = {name: ("W/m2", FLUX_LONG_NAMES[name], values[name], flags[name]) for name in FLUX_LONG_NAMES}
    _write(path, code, days, rows, attributes)


def write_truth(path: Path, code: str, days: np.ndarray, fluxes: dict, attributes: dict[str, str]) -> None:
    """The fluxes without error and gaps, ``<flux>_true``: for tests and reports, never for calibration."""
    rows = {
        f"{name}_true": ("W/m2", f"{text} without error", fluxes[name], None) for name, text in FLUX_LONG_NAMES.items()
    }
    _write(path, code, days, rows, attributes)


def _write(path: Path, code: str, days: np.ndarray, rows: dict, attributes: dict[str, str]) -> None:
    """PLUMBER2's layout: dimensions time, y, x; scalars of the site; flags as ``<name>_qc``."""
    import netCDF4

    try:
        with netCDF4.Dataset(path, "w") as file:
            _fill_file(file, code, days, rows, attributes)
    except RuntimeError as error:  # the NetCDF library's word for a full disk
        raise OSError(f"NetCDF: {error}") from error


def _fill_file(file, code: str, days: np.ndarray, rows: dict, attributes: dict[str, str]) -> None:
    climate = site_climate(code)
    for name, size in {"time": days.size * STEPS_PER_DAY, "y": 1, "x": 1, "nchar": 200}.items():
        file.createDimension(name, size)
    time = file.createVariable("time", "f8", ("time",), zlib=True)
    time.units = f"seconds since {np.datetime64(int(days[0]), 'D')} 00:00:00"
    time.calendar = "standard"
    time.time_zone = f"local standard time, UTC{climate.scalars['utc_offset']:+g} h; start of each interval"
    time[:] = np.arange(days.size * STEPS_PER_DAY) * float(STEP)
    for name in ("latitude", "longitude", "elevation", "reference_height", "canopy_height"):
        variable = file.createVariable(name, "f4", ("y", "x"))
        variable.units = {"latitude": "degrees_north", "longitude": "degrees_east"}.get(name, "m")
        variable[:] = climate.scalars[name]
    for name, text in {"IGBP_veg_short": climate.texts["igbp"], "IGBP_veg_long": "Croplands"}.items():
        file.createVariable(name, "S1", ("nchar",))[:] = np.array(list(text.ljust(200)), "S1")
    for name, (unit, long_name, values, flags) in rows.items():
        variable = file.createVariable(name, "f4", ("time", "y", "x"), zlib=True, complevel=2, fill_value=_FILL_VALUE)
        variable.setncatts({"units": unit, "long_name": f"{long_name}, SYNTHETIC"})
        variable[:, 0, 0] = np.where(np.isfinite(values), values, _FILL_VALUE).astype("f4")
        if flags is not None:
            flag = file.createVariable(f"{name}_qc", "i1", ("time", "y", "x"), zlib=True)
            flag.flag_meanings = "0 as measured, 1 gap-filled by interpolation, 3 missing or not measured"
            flag[:, 0, 0] = flags
    file.setncatts({
        "title": f"SYNTHETIC {code}-syn",
        "site_code": f"{code}-syn",
        "site_name": f"{climate.texts['name']} (synthetic)",
        "utc_offset_hours": climate.scalars["utc_offset"],
        "soil_texture": "loam",  # of the model that made the fluxes
        "time_step": "30 min",
        "comment": SYNTHETIC_COMMENT.format(tower=code),
        **attributes,
    })  # fmt: skip
