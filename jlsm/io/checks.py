"""What a forcing variable may hold: unit, plausible range, noise that is repaired, and how to tell a wrong unit.

One table, ``RULES``; the reader applies it to every variable. The ranges are wider than PLUMBER2's own quality
limits (Ukkola et al. 2022, ESSD 14, 449): they catch wrong units and broken records, not extreme weather.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from jlsm.constants import DAY
from jlsm.errors import InputError, RepairWarning
from jlsm.io.time_axis import timestamp


class Suspect(NamedTuple):
    """A wrong unit that values in ``[lower, upper]`` give away."""

    lower: float
    upper: float
    unit: str
    remedy: str


class Rule(NamedTuple):
    """How one variable is checked. Values within ``noise`` outside the range are moved to its edge and counted."""

    unit: str
    lower: float
    upper: float
    noise_below: float = 0.0
    noise_above: float = 0.0
    wrong_units: dict[str, str] = {}
    suspects: tuple[Suspect, ...] = ()


_CELSIUS = "add 273.15 to get K"
_RADIATION_UNITS = {
    "j/m2": "divide by the time step in s to get W m-2",
    "jm-2": "divide by the time step in s to get W m-2",
    "mj/m2": "multiply by 1e6 and divide by the time step in s to get W m-2",
    "mjm-2": "multiply by 1e6 and divide by the time step in s to get W m-2",
    "mj/m2/d": "divide by 0.0864 to get W m-2 (and give sub-daily values)",
    "mj/m2/day": "divide by 0.0864 to get W m-2 (and give sub-daily values)",
    "mjm-2d-1": "divide by 0.0864 to get W m-2 (and give sub-daily values)",
    "mjm-2day-1": "divide by 0.0864 to get W m-2 (and give sub-daily values)",
    "kw/m2": "multiply by 1000 to get W m-2",
    "kwm-2": "multiply by 1000 to get W m-2",
    "umol/m2/s": "this is photon flux: give SWdown in W m-2",
    "umolm-2s-1": "this is photon flux: give SWdown in W m-2",
}
_PER_STEP = "divide by the time step in s to get kg m-2 s-1"
_PER_HOUR = "divide by 3600 to get kg m-2 s-1"
_PER_DAY = "divide by 86400 to get kg m-2 s-1"
_HECTOPASCAL = "multiply by 100 to get Pa"

_CELSIUS_NAMES = (
    "c", "degc", "deg_c", "celsius", "degreec", "degreesc", "degreecelsius", "degreescelsius", "degree_celsius",
    "degrees_celsius", "degree_c", "degrees_c", "centigrade",
)  # fmt: skip
_FAHRENHEIT_NAMES = ("f", "degf", "deg_f", "fahrenheit", "degreesf", "degrees_fahrenheit")

RULES: dict[str, Rule] = {
    "Tair": Rule(
        "K", 180.0, 340.0,
        wrong_units={**dict.fromkeys(_CELSIUS_NAMES, _CELSIUS), **dict.fromkeys(_FAHRENHEIT_NAMES, "convert it to K")},
        suspects=(Suspect(-90.0, 70.0, "degrees Celsius", _CELSIUS),),
    ),
    "Qair": Rule(
        # the lower edge (1 mg/kg) is drier than any surface air and keeps vapour pressure positive
        "kg kg-1", 1e-6, 0.06, noise_below=1e-4,
        wrong_units=dict.fromkeys(("g/kg", "gkg-1", "g.kg-1"), "divide by 1000 to get kg kg-1")
        | {"%": "convert it to specific humidity in kg kg-1"},
        suspects=(Suspect(0.06, 60.0, "g/kg", "divide by 1000 to get kg kg-1"),),
    ),
    "Psurf": Rule(
        "Pa", 4e4, 1.1e5,
        wrong_units=dict.fromkeys(("hpa", "mb", "mbar", "millibar", "millibars"), _HECTOPASCAL)
        | {"kpa": "multiply by 1000 to get Pa", "bar": "multiply by 1e5 to get Pa", "atm": "convert it to Pa"},
        suspects=(
            Suspect(400.0, 1100.0, "hPa", _HECTOPASCAL),
            Suspect(40.0, 110.0, "kPa", "multiply by 1000 to get Pa"),
        ),
    ),
    "SWdown": Rule(
        # thermal offsets of pyranometers reach about -10 W m-2 in clear nights
        "W m-2", 0.0, 1500.0, noise_below=10.0, wrong_units=_RADIATION_UNITS,
        suspects=(
            Suspect(1500.0, 3000.0, "umol m-2 s-1 of photons", "give SWdown in W m-2"),
            Suspect(3000.0, 1e8, "J m-2 per time step", "divide by the time step in s to get W m-2"),
        ),
    ),
    "LWdown": Rule(
        "W m-2", 40.0, 700.0, wrong_units=_RADIATION_UNITS,
        suspects=(Suspect(3000.0, 1e8, "J m-2 per time step", "divide by the time step in s to get W m-2"),),
    ),
    "Wind": Rule(
        # calm is legal; the noise is what packing into short integers leaves
        "m s-1", 0.0, 75.0, noise_below=1e-3,
        wrong_units={"km/h": "divide by 3.6 to get m s-1", "kmh-1": "divide by 3.6 to get m s-1",
                     "kph": "divide by 3.6 to get m s-1", "mph": "multiply by 0.447 to get m s-1",
                     "knots": "multiply by 0.5144 to get m s-1", "knot": "multiply by 0.5144 to get m s-1",
                     "kt": "multiply by 0.5144 to get m s-1", "cm/s": "divide by 100 to get m s-1"},
        suspects=(Suspect(75.0, 300.0, "km/h", "divide by 3.6 to get m s-1"),),
    ),
    "Precip": Rule(
        # 0.1 kg m-2 s-1 is 360 mm in an hour: near the world record
        "kg m-2 s-1", 0.0, 0.1, noise_below=1e-5,
        wrong_units={"mm": _PER_STEP, "kg/m2": _PER_STEP, "kgm-2": _PER_STEP, "mm/step": _PER_STEP,
                     "mm/30min": _PER_STEP, "mm/timestep": _PER_STEP, "mm/h": _PER_HOUR, "mm/hr": _PER_HOUR,
                     "mm/hour": _PER_HOUR, "mmh-1": _PER_HOUR, "mmhr-1": _PER_HOUR, "mm/d": _PER_DAY,
                     "mm/day": _PER_DAY, "mmd-1": _PER_DAY, "mmday-1": _PER_DAY,
                     "m": "multiply by 1000 and divide by the time step in s to get kg m-2 s-1",
                     "m/s": "multiply by 1000 to get kg m-2 s-1", "ms-1": "multiply by 1000 to get kg m-2 s-1"},
        suspects=(Suspect(0.1, 1e4, "mm per time step, hour or day", "divide by the step's length in s"),),
    ),
    "CO2air": Rule(
        # calm nights over crops reach 1000 ppm
        "ppm", 150.0, 5000.0,
        wrong_units={"mol/mol": "multiply by 1e6 to get ppm", "molmol-1": "multiply by 1e6 to get ppm",
                     "pa": "divide by Psurf and multiply by 1e6 to get ppm"},
        suspects=(
            Suspect(1e-5, 0.01, "mol/mol", "multiply by 1e6 to get ppm"),
            Suspect(10.0, 100.0, "Pa", "divide by Psurf and multiply by 1e6 to get ppm"),
        ),
    ),
    "LAI": Rule("m2 m-2", 0.0, 15.0, noise_below=0.05),
    "RH": Rule(
        # sensors and rounding give a little more than saturation
        "%", 0.0, 100.0, noise_below=1.0, noise_above=5.0,
        wrong_units=dict.fromkeys(("fraction", "kg/kg", "kgkg-1"), "multiply a fraction by 100 to get %"),
    ),
}  # fmt: skip
RULES["LAI_alternative"] = RULES["LAI"]


def plain_unit(unit: str) -> str:
    """A units attribute without what spelling varies: case, blanks, ``^``, ``**`` and the degree sign."""
    return unit.strip().lower().replace("°", "deg").replace(" ", "").replace("**", "").replace("^", "")


def check_unit(file: str, name: str, unit: str) -> None:
    """Raise InputError where the units attribute says that the values need converting."""
    remedy = RULES[name].wrong_units.get(plain_unit(unit))
    if remedy:
        raise InputError(f"{file}: {name} has units {unit!r}, expected {RULES[name].unit!r}: {remedy}")


def first_missing(file: str, name: str, values: np.ndarray, times: np.ndarray) -> None:
    """Raise InputError at the first missing value of a variable that must be complete."""
    bad = ~np.isfinite(values)
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{file}: {name} is missing (NaN or fill value) at {timestamp(times[at])} and {int(bad.sum())} of "
            f"{bad.size} time steps: fill the gaps, or choose a period without them (start, stop)"
        )


def check_range(file: str, name: str, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The values with noise repaired and counted (RepairWarning); NaN passes.

    Raises:
        InputError: a value beyond range and noise, with its time and, where the value tells, the unit it must have.
    """
    rule = RULES[name]
    bad = (values < rule.lower - rule.noise_below) | (values > rule.upper + rule.noise_above)
    if bad.any():
        at = int(np.argmax(bad))
        value = float(values[at])
        where = f"{file}: {name} = {value:.6g} at {timestamp(times[at])}"
        for suspect in rule.suspects:
            if suspect.lower <= value <= suspect.upper:
                raise InputError(f"{where} looks like {suspect.unit}, expected {rule.unit}: {suspect.remedy}")
        raise InputError(
            f"{where} is outside {rule.lower:g} to {rule.upper:g} {rule.unit} ({int(bad.sum())} time steps): "
            f"correct the value or its units"
        )
    for side, outside, edge in (
        ("below", values < rule.lower, rule.lower),
        ("above", values > rule.upper, rule.upper),
    ):
        if outside.any():
            worst = float(np.nanmin(values) if side == "below" else np.nanmax(values))
            warnings.warn(
                f"{file}: {name} {side} {edge:g} {rule.unit} at {int(outside.sum())} time steps (first "
                f"{timestamp(times[int(np.argmax(outside))])}, worst {worst:.4g}): set to {edge:g}",
                RepairWarning,
                stacklevel=2,
            )
    return np.clip(values, rule.lower, rule.upper)


def check_relative_humidity(file: str, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Relative humidity in %, checked as ``check_range`` does, and refused where the whole record is a fraction."""
    if np.isfinite(values).any() and np.nanmax(values) <= 1.5:
        at = int(np.argmax(np.isfinite(values)))
        raise InputError(
            f"{file}: RH = {values[at]:.4g} at {timestamp(times[at])} and never above 1.5 looks like a fraction, "
            f"expected %: multiply by 100"
        )
    return check_range(file, "RH", values, times)


def check_amounts(file: str, series: dict[str, np.ndarray], times: np.ndarray, dt: float, latitude: float) -> None:
    """Wrong units that no single value betrays: too much rain in the mean, or a sun that never shines.

    Raises:
        InputError: mean Precip above 12 m a year (the wettest place on Earth, Mawsynram), or SWdown that stays
            below 20 W m-2 for ten days outside the polar regions.
    """
    days = times.size * dt / DAY
    mean = float(series["Precip"].mean())
    if days >= 30 and mean * 365.25 * DAY > 12000.0:
        raise InputError(
            f"{file}: Precip from {timestamp(times[0])} on has a mean of {mean:.3g} kg m-2 s-1, "
            f"{mean * 365.25 * 86.4:.0f} m a year: it looks like mm per time step or hour; {_PER_STEP}"
        )
    brightest = float(series["SWdown"].max())
    if days >= 10 and abs(latitude) < 60.0 and brightest < 20.0:
        raise InputError(
            f"{file}: SWdown from {timestamp(times[0])} on never exceeds {brightest:.3g} W m-2: it looks like kW m-2 "
            f"or MJ m-2; convert it to W m-2"
        )
