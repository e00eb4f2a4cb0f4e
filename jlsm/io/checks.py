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
from jlsm.processes.humidity import saturation_over_water, specific_humidity


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
    remedy: str = ""
    """what to do where the units attribute is of something else"""
    suspects: tuple[Suspect, ...] = ()


_CELSIUS = "add 273.15 to get K"
_PER_STEP = "divide by the time step in s to get kg m-2 s-1"
_HECTOPASCAL = "multiply by 100 to get Pa"
_ENERGY = "an energy must be divided by the time step in s, and photons are no W m-2"

RULES: dict[str, Rule] = {
    "Tair": Rule("K", 180.0, 340.0, suspects=(Suspect(-90.0, 70.0, "degrees Celsius", _CELSIUS),)),
    "Qair": Rule(
        # the lower edge (1 mg/kg) is drier than any surface air and keeps vapour pressure positive
        "kg kg-1", 1e-6, 0.06, noise_below=1e-4,
        suspects=(Suspect(0.06, 60.0, "g/kg", "divide by 1000 to get kg kg-1"),),
    ),
    "Psurf": Rule(
        "Pa", 4e4, 1.1e5,
        suspects=(
            Suspect(400.0, 1100.0, "hPa", _HECTOPASCAL),
            Suspect(40.0, 110.0, "kPa", "multiply by 1000 to get Pa"),
        ),
    ),
    "SWdown": Rule(
        # thermal offsets of pyranometers reach about -10 W m-2 in clear nights
        "W m-2", 0.0, 1500.0, noise_below=10.0, remedy=_ENERGY,
        suspects=(
            Suspect(1500.0, 3000.0, "umol m-2 s-1 of photons", "give SWdown in W m-2"),
            Suspect(3000.0, 1e8, "J m-2 per time step", "divide by the time step in s to get W m-2"),
        ),
    ),
    "LWdown": Rule(
        "W m-2", 40.0, 700.0, remedy=_ENERGY,
        suspects=(Suspect(3000.0, 1e8, "J m-2 per time step", "divide by the time step in s to get W m-2"),),
    ),
    "Wind": Rule(
        # calm is legal; the noise is what packing into short integers leaves
        "m s-1", 0.0, 75.0, noise_below=1e-3,
        suspects=(Suspect(75.0, 300.0, "km/h", "divide by 3.6 to get m s-1"),),
    ),
    "Precip": Rule(
        # 0.1 kg m-2 s-1 is 360 mm in an hour: near the world record
        "kg m-2 s-1", 0.0, 0.1, noise_below=1e-5, remedy=f"an amount per time step: {_PER_STEP}",
        suspects=(Suspect(0.1, 1e4, "mm per time step, hour or day", "divide by the step's length in s"),),
    ),
    "CO2air": Rule(
        # calm nights over crops reach 1000 ppm
        "ppm", 150.0, 5000.0, remedy="a mole fraction is needed (a pressure divided by Psurf, times 1e6)",
        suspects=(
            Suspect(1e-5, 0.01, "mol/mol", "multiply by 1e6 to get ppm"),
            Suspect(10.0, 100.0, "Pa", "divide by Psurf and multiply by 1e6 to get ppm"),
        ),
    ),
    "LAI": Rule("m2 m-2", 0.0, 15.0, noise_below=0.05),
    "RH": Rule(
        # sensors and rounding give a little more than saturation
        "%", 0.0, 100.0, noise_below=1.0, noise_above=5.0,
        suspects=(Suspect(100.0, 1e4, "% labelled as a fraction", "correct the units attribute to %"),),
    ),
    "VPD": Rule(
        # desert air at 50 degrees lacks 120 hPa
        "hPa", 0.0, 120.0, noise_below=1.0,
        suspects=(Suspect(120.0, 12000.0, "Pa", "divide by 100 to get hPa, or correct the units attribute"),),
    ),
}  # fmt: skip
RULES["LAI_alternative"] = RULES["LAI"]


def missing_steps(name: str, values: np.ndarray, times: np.ndarray) -> str:
    """Where a variable that must be complete is not, in words; empty where it is."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return ""
    at = int(np.argmax(bad))
    return (
        f"{name} is missing (NaN or fill value) at {timestamp(times[at])} and {int(bad.sum())} of {bad.size} time steps"
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


def check_vapour_deficit(file: str, deficit: np.ndarray, temperature: np.ndarray, times: np.ndarray) -> None:
    """Raise InputError where more vapour is lacking (hPa) than air of this temperature (K) can hold."""
    most = saturation_over_water(temperature) / 100.0
    bad = deficit > most
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{file}: VPD = {deficit[at]:.4g} hPa at {timestamp(times[at])} ({int(bad.sum())} time steps) is more than "
            f"air of {temperature[at]:.1f} K can hold ({most[at]:.1f} hPa): correct VPD, Tair or their units"
        )


def check_saturation(
    file: str, humidity: np.ndarray, temperature: np.ndarray, pressure: np.ndarray, times: np.ndarray
) -> None:
    """Specific humidity (kg kg-1) against what air of this temperature (K) and pressure (Pa) holds at saturation.

    A wrong unit of one of the three shows here when each alone is in its range. At eleven towers' records no step
    exceeds saturation by 1 %.

    Raises:
        InputError: a fifth beyond saturation at more than one step in twenty.

    Warns:
        RepairWarning: a tenth beyond it at any step.
    """
    ratio = humidity / specific_humidity(saturation_over_water(temperature), pressure)
    beyond = int((ratio > 1.1).sum())
    if not beyond:
        return
    at = int(np.argmax(ratio))
    message = (
        f"{file}: Qair = {humidity[at]:.4g} kg kg-1 at {timestamp(times[at])} is {ratio[at]:.2f} times what air of "
        f"{temperature[at]:.1f} K and {pressure[at]:.0f} Pa holds, and {beyond} time steps are 10 % beyond that"
    )
    if np.mean(ratio > 1.2) > 0.05:
        raise InputError(f"{message}: correct Qair, Tair, Psurf or their units")
    warnings.warn(f"{message}: kept; correct Qair, Tair or Psurf", RepairWarning, stacklevel=3)


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
