"""Row 8: water on leaves - interception, drip, freezing.

Equations: MATSIRO6, chapter "Canopy Water Balance"; gravity drip after Rutter et al. (1975),
integrated exactly over the step. Departures: all precipitation is stratiform (towers do not tell
convective rain); the frozen part is a store of its own, and its phase change is in the leaves'
energy balance. Leaves out wind unloading of intercepted snow.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

DRIP_RATE = 1.14e-8  # kg m-2 s-1, D_1 of Rutter et al. (1975): 1.14e-11 m s-1
DRIP_GROWTH = 3.7  # (kg m-2)-1, D_2: 3.7e3 m-1


class LeafWater(NamedTuple):
    """Water on leaves at the start of the step."""

    water: Float[Array, "..."]  # kg m-2, liquid + frozen
    ice: Float[Array, "..."]  # kg m-2, after this step's phase change (mean of the portions)


class CanopyExchange(NamedTuple):
    """What leaves take up and give off, kg m-2 s-1."""

    evaporation: Float[Array, "..."]  # of water on leaves, its frozen part included; dew is negative
    evaporation_frozen: Float[Array, "..."]  # its frozen part
    rain: Float[Array, "..."]  # above the canopy
    snow: Float[Array, "..."]  # above the canopy


class CanopyWater(NamedTuple):
    """Water on leaves after the step and what fell through."""

    water: Float[Array, "..."]  # kg m-2, liquid + frozen
    ice: Float[Array, "..."]  # kg m-2
    rain: Float[Array, "..."]  # kg m-2 s-1 liquid to the ground
    snow: Float[Array, "..."]  # kg m-2 s-1 frozen to the ground
    snow_direct: Float[Array, "..."]  # kg m-2 s-1 of it that never touched a leaf


def canopy_water_balance(leaves: LeafWater, exchange: CanopyExchange, leaf_area, capacity_per_leaf, dt) -> CanopyWater:
    """Water on leaves at the end of the step.

    Args:
        leaves: water on them at the start.
        exchange: evaporation, rain and snow.
        leaf_area: m2 m-2, snow-free value.
        capacity_per_leaf: kg m-2 per unit leaf area.
        dt: s.
    """
    evaporation, evaporation_frozen, rain, snow = exchange
    capacity = capacity_per_leaf * leaf_area
    caught = jnp.minimum(leaf_area, 1.0)
    # leaves never evaporate more than they hold (surface_energy), so both stay at or above zero
    full = leaves.water - evaporation * dt + caught * (rain + snow) * dt
    ice = jnp.minimum(leaves.ice - evaporation_frozen * dt + caught * snow * dt, full)
    held = jnp.minimum(full, capacity)
    # d(held)/dt = -D_1 exp(D_2 held), integrated over the step
    held = jnp.maximum(-jnp.log(jnp.exp(-DRIP_GROWTH * held) + DRIP_RATE * DRIP_GROWTH * dt) / DRIP_GROWTH, 0.0)
    drip = full - held
    share = held / jnp.maximum(full, 1e-12)  # that stays on leaves
    drip_ice = ice * (1.0 - share)
    snow_direct = (1.0 - caught) * snow
    return CanopyWater(
        water=held,
        ice=ice * share,
        rain=(1.0 - caught) * rain + (drip - drip_ice) / dt,
        snow=snow_direct + drip_ice / dt,
        snow_direct=snow_direct,
    )
