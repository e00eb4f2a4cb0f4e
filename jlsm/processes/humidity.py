"""Humidity: saturation over water and ice, and the measures of vapour in the air.

Equations: Magnus form with the coefficients of WMO-No. 8 (2018), annex 4.B (Sonntag 1990): water above and ice below
the freezing point. Against Murphy & Koop (2005), doi:10.1256/qj.04.94, water is 0.3 % low at 25 degC and 0.2 % high at
-10 degC, ice within 0.1 %. Leaves out the enhancement factor of moist air (0.4 %).
NumPy arrays give NumPy arrays in double precision: reading files needs no formulas of its own.
"""

from jlsm.constants import (
    FREEZING_POINT,
    GAS_CONSTANT_VAPOUR,
    HEAT_CAPACITY_AIR,
    LATENT_HEAT_VAPORISATION,
    VAPOUR_TO_AIR_MASS,
)
from jlsm.numerics import at_least, at_most
from jlsm.numerics.namespace import namespace_of


def saturation_vapour_pressure(temperature):
    """Saturation vapour pressure, Pa, at a temperature in K; over ice below freezing."""
    xp = namespace_of(temperature)
    celsius = temperature - FREEZING_POINT
    frozen = celsius < 0.0
    slope = xp.where(frozen, 22.46, 17.62)
    offset = xp.where(frozen, 272.62, 243.12)
    # below -150 degC the formula means nothing; the bound keeps a stray Newton iterate finite
    celsius = at_most(at_least(celsius, -150.0), 150.0)
    return 611.2 * xp.exp(slope * celsius / (offset + celsius))


def saturation_over_water(temperature):
    """Saturation vapour pressure over (supercooled) water, Pa, at a temperature in K."""
    celsius = temperature - FREEZING_POINT
    return 611.2 * namespace_of(temperature).exp(17.62 * celsius / (243.12 + celsius))


def specific_humidity(vapour_pressure, pressure):
    """Specific humidity, kg kg-1, from vapour pressure and pressure in Pa.

    It is 1 where water boils. A surface hotter than that, met on the way to a solution, goes on in proportion to its
    vapour pressure: the formula has a pole at 2.6 times the pressure and is negative beyond.
    """
    dry = at_least(pressure - (1.0 - VAPOUR_TO_AIR_MASS) * vapour_pressure, VAPOUR_TO_AIR_MASS * pressure)
    return VAPOUR_TO_AIR_MASS * vapour_pressure / dry


def vapour_pressure(humidity, pressure):
    """Vapour pressure, Pa, from specific humidity (kg kg-1) and pressure (Pa)."""
    return humidity * pressure / (VAPOUR_TO_AIR_MASS + (1.0 - VAPOUR_TO_AIR_MASS) * humidity)


def relative_humidity(humidity, temperature, pressure):
    """Vapour pressure over its saturation value over water, -, as stations report it below freezing too.

    Args:
        humidity: specific, kg kg-1.
        temperature: K.
        pressure: Pa.
    """
    return vapour_pressure(humidity, pressure) / saturation_over_water(temperature)


def vapour_pressure_deficit(humidity, temperature, pressure):
    """What the air lacks to saturation over water, Pa; negative in fog. Arguments as of ``relative_humidity``."""
    return saturation_over_water(temperature) - vapour_pressure(humidity, pressure)


def wet_bulb_temperature(temperature, humidity, pressure):
    """Wet-bulb temperature, K, by three Newton steps on the psychrometric equation.

    ``cp (T - Tw) = Lv (q*(Tw) - q)``; the error stays below 0.01 K where rain turns to snow (it
    reaches 0.3 K at 50 degC in air of 1 % humidity, where nothing depends on it).
    """
    ratio = LATENT_HEAT_VAPORISATION / HEAT_CAPACITY_AIR
    wet_bulb = temperature
    for _ in range(3):
        saturation = specific_humidity(saturation_vapour_pressure(wet_bulb), pressure)
        # Clausius-Clapeyron slope, d ln q*/dT = Lv / (Rv T^2)
        slope = saturation * LATENT_HEAT_VAPORISATION / (GAS_CONSTANT_VAPOUR * wet_bulb**2)
        wet_bulb = wet_bulb - (wet_bulb - temperature + ratio * (saturation - humidity)) / (1.0 + ratio * slope)
    return wet_bulb
