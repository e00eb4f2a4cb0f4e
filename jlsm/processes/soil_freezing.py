"""Row 14: freezing and melting of soil water.

Solves, per layer, temperature and ice together, so that the heat of fusion warms the layer and the water
that stays liquid is what the pores hold at that temperature: Niu & Yang (2006), J. Hydrometeorol. 7, 937,
eq. 3, with the retention curve of Clapp & Hornberger (1978).
Departure: in MATSIRO6 (chapter "Soil", phase change) all water freezes at 0 degC, as here for suction -> 0.
Leaves out: ice and water have one heat capacity and one heat conductivity; solutes; freezing of a pond.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import FREEZING_POINT, GRAVITY, LATENT_HEAT_FUSION, WATER_DENSITY
from jlsm.parameters import Soil

_DEPRESSION = GRAVITY * FREEZING_POINT / LATENT_HEAT_FUSION  # K per metre of suction (Clausius-Clapeyron)
_STEPS = 2  # of Halley's method; from this start they leave less than 5e-6 m3 m-3 (see the tests)


def liquid_limit(soil: Soil, temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """Most water that stays liquid, m3 m-3: ``porosity (depression / entry depression)^(-1/b)``, porosity above it.

    Niu & Yang (2006), eq. 3. Where they divide by the temperature, this divides by 273.15 K: the suction
    is 1.8 % smaller at -5 degC, the water 0.3 % more.

    Args:
        temperature: K.
    """
    entry = _DEPRESSION * -soil.saturated_potential
    depression = jnp.maximum(FREEZING_POINT - temperature, entry)
    return soil.porosity * jnp.exp(-jnp.log(depression / entry) / soil.clapp_hornberger_b)


def freezing(
    soil: Soil,
    temperature: Float[Array, "soil ..."],
    moisture: Float[Array, "soil ..."],
    ice: Float[Array, "soil ..."],
    capacity: Float[Array, "soil ..."],
    thickness: Float[Array, "soil ..."],
) -> Float[Array, "soil ..."]:
    """Water frozen in each layer in this step, m3 m-3 (melting is negative).

    The heat of fusion has to warm the same layer: ``latent heat * density * thickness * frozen / capacity``.
    Afterwards ``ice = max(moisture - liquid_limit(temperature), 0)`` holds at the new temperature. Taking the
    limit at the temperature after conduction instead would freeze too much and melt it again in the next step.

    Args:
        soil: parameters, shape of the columns.
        temperature: after conduction, before any change of phase, K.
        moisture, ice: total and frozen water, m3 m-3.
        capacity: J m-2 K-1.
        thickness: m.
    """
    porosity, b = soil.porosity, soil.clapp_hornberger_b
    # In units of the porosity: with all the cold spent on freezing at 0 degC, ``cold`` would be left liquid.
    # The layer is at depression entry * liquid^-b instead, and the heat that holds is water not yet frozen:
    # liquid - share liquid^-b = cold. The left side rises and is concave, so there is one root.
    per_kelvin = capacity / (LATENT_HEAT_FUSION * WATER_DENSITY * thickness * porosity)
    cold = (moisture - ice) / porosity + per_kelvin * (temperature - FREEZING_POINT)
    log_share = jnp.log(per_kelvin * (_DEPRESSION * -soil.saturated_potential))
    balanced = jnp.exp(log_share / (b + 1.0))  # the root for cold = 0
    # from the side where Halley's denominator is positive for any b >= 1: the larger of both terms alone
    below = jnp.exp((log_share - jnp.log(balanced + jnp.maximum(-cold, 0.0))) / b)
    liquid = jnp.maximum(cold, below)
    for _ in range(_STEPS):
        held = jnp.exp(log_share - b * jnp.log(liquid))
        slope = b * held / liquid
        miss = liquid - held - cold
        rise = 1.0 + slope
        # second derivative: -(b + 1) slope / liquid
        liquid = liquid - 2.0 * miss * rise / (2.0 * rise * rise + miss * (b + 1.0) * slope / liquid)
    # a root above the layer's water means that nothing is frozen
    return jnp.maximum(moisture - porosity * liquid, 0.0) - ice


def warming_by_freezing(frozen: Float[Array, "soil ..."], capacity, thickness) -> Float[Array, "soil ..."]:
    """What the heat of fusion of newly frozen water (m3 m-3) warms each layer by, K; see ``freezing``."""
    return LATENT_HEAT_FUSION * WATER_DENSITY * thickness * frozen / capacity
