"""Row 12: freezing and melting of soil water.

Equations: MATSIRO6, chapter "Soil" (phase change): what a layer lacks in heat below freezing
freezes its water, what it has above melts its ice, as far as either lasts.
Leaves out freezing-point depression (all water freezes at 0 degC).
"""

import jax.numpy as jnp

from jlsm.constants import FREEZING_POINT, LATENT_HEAT_FUSION, WATER_DENSITY


def freezing(temperature, moisture, ice, capacity, thickness):
    """Water frozen in each layer in this step, m3 m-3 (melting is negative).

    Args:
        temperature: after conduction, K.
        moisture, ice: total and frozen water, m3 m-3.
        capacity: J m-2 K-1.
        thickness: m.
    """
    possible = capacity * (FREEZING_POINT - temperature) / (LATENT_HEAT_FUSION * WATER_DENSITY * thickness)
    return jnp.clip(possible, -ice, moisture - ice)
