"""Stated defaults for what a tower file may lack: CO2, leaf area index, humidity, utc offset.

Every filling is announced by a RepairWarning, so that no run rests on an invented value in silence.
"""

from __future__ import annotations

import warnings

import numpy as np

from jlsm.constants import DAY
from jlsm.errors import InputError, RepairWarning
from jlsm.io.time_axis import timestamp
from jlsm.processes.humidity import saturation_over_water, specific_humidity

_MAUNA_LOA_FIRST_YEAR = 1959
_MAUNA_LOA = (
    315.98, 316.91, 317.64, 318.45, 318.99, 319.62, 320.04, 321.37, 322.18, 323.05, 324.62,
    325.68, 326.32, 327.46, 329.68, 330.19, 331.13, 332.03, 333.84, 335.41, 336.84,
    338.76, 340.12, 341.48, 343.15, 344.87, 346.35, 347.61, 349.31, 351.69, 353.20,
    354.45, 355.70, 356.54, 357.21, 358.96, 360.97, 362.74, 363.88, 366.84, 368.54,
    369.71, 371.32, 373.45, 375.98, 377.70, 379.98, 382.09, 384.02, 385.83, 387.64,
    390.10, 391.85, 394.06, 396.74, 398.81, 401.01, 404.41, 406.76, 408.72, 411.65,
    414.21, 416.41, 418.53, 421.08, 424.61,
)  # fmt: skip
"""Mauna Loa annual mean CO2 from 1959, ppm: Lan & Keeling, NOAA GML, gml.noaa.gov/ccgg/trends."""

_SEASONAL_LAI = {
    "ENF": (2.5, 4.0), "EBF": (4.5, 5.0), "DNF": (0.5, 4.0), "DBF": (0.5, 5.0), "MF": (1.5, 4.5),
    "CSH": (0.8, 1.5), "OSH": (0.4, 1.0), "WSA": (1.0, 2.5), "SAV": (0.7, 2.0), "GRA": (0.5, 2.5),
    "WET": (0.5, 3.0), "CRO": (0.2, 3.5), "URB": (0.3, 1.0), "CNM": (0.5, 3.0), "SNO": (0.0, 0.01),
    "BSV": (0.05, 0.2), "WAT": (0.0, 0.01),
}  # fmt: skip
"""Winter and summer leaf area index by IGBP class, m2 m-2: assumed, round numbers near the class means that global
field compilations and satellite products report; they only serve where a file has no LAI at all."""


def mauna_loa_co2(times: np.ndarray) -> np.ndarray:
    """Annual mean CO2 at Mauna Loa for each time, ppm; years outside the table take its nearest end."""
    years = times.astype("datetime64[Y]").astype(int) + 1970
    return np.asarray(_MAUNA_LOA)[np.clip(years - _MAUNA_LOA_FIRST_YEAR, 0, len(_MAUNA_LOA) - 1)]


def fill_co2(file: str, values: np.ndarray | None, times: np.ndarray) -> np.ndarray:
    """CO2, ppm, with every missing step (or the whole series) taken from Mauna Loa."""
    values = np.full(times.size, np.nan) if values is None else values
    missing = ~np.isfinite(values)
    if missing.any():
        default = mauna_loa_co2(times)
        _warn(
            f"{file}: CO2air is missing at {int(missing.sum())} of {missing.size} time steps (first "
            f"{timestamp(times[int(np.argmax(missing))])}): filled with the Mauna Loa annual mean "
            f"({default[missing].min():.1f} to {default[missing].max():.1f} ppm, NOAA GML)"
        )
        values = np.where(missing, default, values)
    return values


def fill_lai(
    file: str, name: str, values: np.ndarray | None, times: np.ndarray, igbp: str, latitude: float
) -> np.ndarray:
    """Leaf area index, m2 m-2: gaps interpolated in time; a seasonal default of the class where there is none.

    The default is a cosine between the class's winter and summer value, highest in mid-July in the north and
    mid-January in the south.
    """
    if values is None or not np.isfinite(values).any():
        if igbp not in _SEASONAL_LAI:
            raise InputError(f"{file}: LAI is absent and IGBP class {igbp!r} has no default: add LAI to the file")
        winter, summer = _SEASONAL_LAI[igbp]
        day_of_year = (times - times.astype("datetime64[Y]")).astype("timedelta64[s]").astype(float) / DAY
        peak = 196.0 if latitude >= 0.0 else 15.0
        summerness = 0.5 + 0.5 * np.cos(2.0 * np.pi * (day_of_year - peak) / 365.25)
        _warn(
            f"{file}: LAI is absent: filled with the assumed seasonal course of {igbp}, {winter:g} (winter) to "
            f"{summer:g} (summer) m2 m-2; add LAI to the file for a result that means something"
        )
        return winter + (summer - winter) * summerness
    missing = ~np.isfinite(values)
    if missing.any():
        _warn(
            f"{file}: {name} is missing at {int(missing.sum())} of {missing.size} time steps (first "
            f"{timestamp(times[int(np.argmax(missing))])}): interpolated in time"
        )
        steps = np.arange(values.size)
        values = np.where(missing, np.interp(steps, steps[~missing], values[~missing]), values)
    return values


def monthly_course(values: tuple[float, ...], times: np.ndarray) -> np.ndarray:
    """A course through twelve monthly values, set at the middle of each month and linear in between."""
    months = times.astype("datetime64[M]")
    length = ((months + 1).astype("datetime64[s]") - months.astype("datetime64[s]")).astype(float)
    place = months.astype(int) % 12 + (times - months).astype("timedelta64[s]").astype(float) / length - 0.5
    return np.interp(place, np.arange(-1, 13), [values[-1], *values, values[0]])


def fill_humidity(
    file: str, source: str, values: np.ndarray, temperature: np.ndarray, pressure: np.ndarray
) -> np.ndarray:
    """Specific humidity, kg kg-1, from ``source`` = ``RH`` (%) or ``VPD`` (hPa)."""
    saturation = saturation_over_water(temperature)
    vapour = values / 100.0 * saturation if source == "RH" else saturation - 100.0 * values
    _warn(f"{file}: Qair is absent: derived from {source}, Tair and Psurf (saturation over water, WMO-No. 8)")
    return np.maximum(specific_humidity(vapour, pressure), 1e-6)


def solar_utc_offset(file: str, longitude: float) -> float:
    """The whole hours nearest to the sun's clock, for files that do not say theirs."""
    offset = float(np.round(longitude / 15.0))
    _warn(
        f"{file}: global attribute utc_offset_hours is absent: {offset:+g} h taken from longitude {longitude:.2f}; "
        f"add the attribute if the site keeps another standard time"
    )
    return offset


def _warn(message: str) -> None:
    warnings.warn(message, RepairWarning, stacklevel=3)
