"""Saturation humidity over water and ice.

Equations: Magnus form with the coefficients of WMO-No. 8 (2018), annex 4.B: water above and
ice below the freezing point. Leaves out the enhancement factor of moist air (0.4 %).
"""

import jax.numpy as jnp

from jlsm.constants import FREEZING_POINT, VAPOUR_TO_AIR_MASS
from jlsm.numerics import at_least, at_most


def saturation_vapour_pressure(temperature):
    """Saturation vapour pressure, Pa, at a temperature in K; over ice below freezing."""
    celsius = temperature - FREEZING_POINT
    frozen = celsius < 0.0
    slope = jnp.where(frozen, 22.46, 17.62)
    offset = jnp.where(frozen, 272.62, 243.12)
    # below -150 degC the formula means nothing; the bound keeps a stray Newton iterate finite
    celsius = at_most(at_least(celsius, -150.0), 150.0)
    return 611.2 * jnp.exp(slope * celsius / (offset + celsius))


def saturation_over_water(temperature):
    """Saturation vapour pressure over (supercooled) water, Pa, at a temperature in K."""
    celsius = temperature - FREEZING_POINT
    return 611.2 * jnp.exp(17.62 * celsius / (243.12 + celsius))


def specific_humidity(vapour_pressure, pressure):
    """Specific humidity, kg kg-1, from vapour pressure and pressure in Pa."""
    return VAPOUR_TO_AIR_MASS * vapour_pressure / (pressure - (1.0 - VAPOUR_TO_AIR_MASS) * vapour_pressure)


def vapour_pressure(humidity, pressure):
    """Vapour pressure, Pa, from specific humidity (kg kg-1) and pressure (Pa)."""
    return humidity * pressure / (VAPOUR_TO_AIR_MASS + (1.0 - VAPOUR_TO_AIR_MASS) * humidity)


def wet_bulb_temperature(temperature, humidity, pressure):
    """Wet-bulb temperature, K, by three Newton steps on the psychrometric equation.

    ``cp (T - Tw) = Lv (q*(Tw) - q)``; the error stays below 0.01 K where rain turns to snow (it
    reaches 0.3 K at 50 degC in air of 1 % humidity, where nothing depends on it).
    """
    from jlsm.constants import HEAT_CAPACITY_AIR, LATENT_HEAT_VAPORISATION

    ratio = LATENT_HEAT_VAPORISATION / HEAT_CAPACITY_AIR
    wet_bulb = temperature
    for _ in range(3):
        saturation = specific_humidity(saturation_vapour_pressure(wet_bulb), pressure)
        # Clausius-Clapeyron slope, d ln q*/dT = Lv / (Rv T^2)
        slope = saturation * LATENT_HEAT_VAPORISATION / (461.5 * wet_bulb**2)
        wet_bulb = wet_bulb - (wet_bulb - temperature + ratio * (saturation - humidity)) / (1.0 + ratio * slope)
    return wet_bulb
