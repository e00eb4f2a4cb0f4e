"""Units as they are written in tower files, and the conversions between them.

``UNITS`` is the list of what is understood, in any case; whatever is not in it is refused rather than guessed. pint
(loaded only where something must be converted) does the algebra.
"""

from __future__ import annotations

import functools
import re

import numpy as np

UNITS: dict[str, str] = {
    "w": "watt", "watt": "watt", "watts": "watt", "kw": "kilowatt", "mw": "megawatt",
    "j": "joule", "kj": "kilojoule", "mj": "megajoule",
    "m": "meter", "meter": "meter", "meters": "meter", "metre": "meter", "metres": "meter",
    "cm": "centimeter", "mm": "millimeter", "km": "kilometer", "ft": "foot", "in": "inch",
    "inch": "inch", "mile": "mile", "miles": "mile",
    "kg": "kilogram", "g": "gram", "mg": "milligram",
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "hour": "hour",
    "d": "day", "day": "day",
    "pa": "pascal", "hpa": "hectopascal", "kpa": "kilopascal", "mb": "millibar", "mbar": "millibar",
    "millibar": "millibar", "millibars": "millibar", "bar": "bar", "atm": "atmosphere", "mmhg": "mmHg",
    "k": "kelvin", "kelvin": "kelvin", "c": "degC", "degc": "degC", "celsius": "degC", "degreec": "degC",
    "degreesc": "degC", "degreecelsius": "degC", "degreescelsius": "degC", "centigrade": "degC",
    "f": "degF", "degf": "degF", "fahrenheit": "degF", "degreesf": "degF", "degreesfahrenheit": "degF",
    "mol": "mole", "mmol": "millimole", "umol": "micromole", "µmol": "micromole", "μmol": "micromole",
    "mole": "mole", "ppm": "ppm", "ppmv": "ppm", "%": "percent", "percent": "percent",
    "1": "dimensionless", "-": "dimensionless", "none": "dimensionless", "fraction": "dimensionless",
    "knot": "knot", "knots": "knot", "kt": "knot", "kn": "knot",
}  # fmt: skip
"""Spelling in lower case, and the name of the unit in pint."""

_WHOLE = {"mph": "mile/h", "kph": "km/h", "w/m2": "w m-2", "ppmv": "ppm", "umolco2mol-1": "ppm"}
"""Spellings that are not products of units."""

_DEGREES = re.compile(r"(?:(?:decimal\s*)?deg(?:ree)?s?|°)?\s*(n|north|e|east|s|south|w|west)?(?:\s*\(.*\))?")
"""units of latitude and longitude; ``plain`` has taken the underscore of degrees_north away"""
_ABOVE = re.compile(r"\s*(?:a\.?\s?[sg]\.?\s?l\.?|above\b.*)$", re.IGNORECASE)
"""what some files add to metres: m a.s.l."""

_FACTOR = re.compile(r"([a-zµμ%]+|1(?![0-9])|-(?![0-9]))(?:\^|\*\*)?([+-]?\d+)?")
_NUMBER = re.compile(r"(\d+)(?=[a-z])")


def plain(unit: str) -> str:
    """A units attribute without what spelling varies: case, blanks around it, the degree sign, underscores."""
    text = unit.strip().lower().replace("°", "deg").replace("º", "deg").replace("_", "").replace("−", "-")
    text = re.sub(r"\bdeg(?:ree)?s?\s+(?=c|f)", "deg", text)
    return _WHOLE.get(text.replace(" ", ""), text)


def _parsed(unit: str) -> tuple[float, str] | None:
    """A number and the unit for pint, ``kilogram**1*meter**-2``; None where a part of it is not in ``UNITS``."""
    factor, parts, sign = 1.0, [], 1
    for piece in re.split(r"([/\s.·*]+)", (plain(unit) or "1").replace("**", "^")):
        if re.fullmatch(r"[/\s.·*]+", piece):
            sign = -1 if "/" in piece else 1
            continue
        number = _NUMBER.match(piece)  # mm/30min
        match = _FACTOR.fullmatch(piece[number.end() :] if number else piece)
        if not match or match[1] not in UNITS:
            return None
        factor *= float(number[1]) ** sign if number else 1.0
        parts.append(f"{UNITS[match[1]]}**{sign * int(match[2] or 1)}")
    return factor, "*".join(parts)


class UnitError(ValueError):
    """A unit that is not understood, or that measures something else."""


def convert(values: np.ndarray, unit: str, expected: str) -> np.ndarray:
    """The values in the unit ``expected``.

    A depth of water per time counts as its mass per area (1000 kg m-3).

    Raises:
        UnitError: ``unit`` is not in ``UNITS``, or not convertible.

    Example:
        >>> convert(np.array([20.0]), "degC", "K")
        array([293.15])
    """
    if same(unit, expected):
        return values
    source, target = _parsed(unit), _parsed(expected)
    if source is None or target is None:
        raise UnitError("a unit that is not known here")
    registry, error_of_pint = _registry()
    if source[1] in ("degC**1", "degF**1") and expected == "K":  # a scale with a zero of its own
        return registry.Quantity(values, source[1].removesuffix("**1")).to("kelvin").magnitude
    try:
        one = registry.Quantity(source[0], source[1])
        wanted = registry.Quantity(1.0, target[1])
        if one.check("[length]/[time]") and wanted.check("[mass]/[length]**2/[time]"):
            one = one * registry.Quantity(1000.0, "kilogram/meter**3")
        return values * one.to(wanted.units).magnitude
    except error_of_pint as error:
        raise UnitError("a unit of something else") from error


def convert_place(value: float, unit: str, expected: str) -> float:
    """A number of a site: a length in m, or degrees that count to the north and to the east.

    Raises:
        UnitError: ``unit`` is none of a length, or of latitude or longitude.

    Example:
        >>> convert_place(300.0, "cm", "m"), convert_place(35.0, "degrees_south", "degrees_north")
        (3.0, -35.0)
    """
    if not unit.strip():
        return value
    if expected == "m":
        return float(convert(np.asarray([value]), _ABOVE.sub("", unit), "m")[0])
    match = _DEGREES.fullmatch(plain(unit).replace("degn", "deg n"))
    if match is None:
        raise UnitError("a unit that is not known here")
    side = (match[1] or expected.removeprefix("degrees_"))[0]
    if side not in ("ns" if expected == "degrees_north" else "ew"):
        raise UnitError("a unit of something else")
    return -value if side in "sw" else value


def same(unit: str, expected: str) -> bool:
    """Whether two spellings are of one unit, without conversion: ``W/m2`` and ``W m-2``."""
    return _parsed(unit) == _parsed(expected) is not None


@functools.cache
def _registry():
    """pint's table of units, made when first needed (it takes half a second), and the base of its errors."""
    import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True), pint.PintError
