"""Row 13: what a soil layer can hold and what it can give.

Solves nothing. Roots and base flow take at most half of a layer's liquid water in a step; ice that sublimates leaves
the uppermost layer beside Richards' equation; afterwards surplus and shortage are handed from layer to layer, first
down, then up, and out at the top, as MATSIRO6 does (chapter "Soil", moisture movement). Departure: a shortage is moved
like a surplus (MATSIRO6 limits transpiration instead). Leaves out swelling and cracks.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import WATER_DENSITY
from jlsm.numerics import add_compensated, total
from jlsm.parameters import Soil

LARGEST_SHARE = 0.5  # of a layer's liquid water that leaves it in one step


class LayerWater(NamedTuple):
    """Water of the soil layers, ``[soil, ...]``, m3 m-3."""

    moisture: Float[Array, "soil ..."]  # liquid and frozen
    carry: Float[Array, "soil ..."]  # what rounding left out of it
    ice: Float[Array, "soil ..."]


def liquid_mass(moisture, ice, thickness) -> Float[Array, "soil ..."]:
    """Liquid water of each layer, kg m-2."""
    return WATER_DENSITY * thickness * (moisture - ice)


def root_supply(liquid: Float[Array, "soil ..."], uptake, dt) -> Float[Array, "..."]:
    """Most that roots can take up in the step, kg m-2 s-1.

    Args:
        liquid: kg m-2 per layer.
        uptake: share of each layer, sums to 1; it takes no more than a metre of water for each share of one.
        dt: s.
    """
    return LARGEST_SHARE * total(jnp.minimum(liquid, uptake * 1e3)) / dt


def limited_base_flow(base_flow: Float[Array, "soil ..."], liquid, dt) -> Float[Array, "soil ..."]:
    """Base flow of each layer, kg m-2 s-1, where it has that much water (kg m-2)."""
    return jnp.minimum(base_flow, LARGEST_SHARE * liquid / dt)


def settle(
    soil: Soil, water: LayerWater, moved: Float[Array, "soil ..."], sublimated, thickness, dt
) -> tuple[LayerWater, Float[Array, "..."]]:
    """Water of the layers after movement and sublimation, each within its limits.

    Args:
        soil: its porosity is the limit (or the ice that is there already).
        water: at the start of the step.
        moved: change by Richards' equation, m3 m-3.
        sublimated: ice lost by the uppermost layer, kg m-2 s-1.
        thickness: ``[soil, 1...]``, m.
        dt: s.

    Returns:
        (water of the layers, what found no room, kg m-2; negative: a shortage of the whole column).
    """
    ice_lost = jnp.concatenate(
        [(sublimated * dt / (WATER_DENSITY * thickness[0]))[None], jnp.zeros_like(water.ice[1:])]
    )
    ice = water.ice - ice_lost
    mass = WATER_DENSITY * thickness
    proposed = (water.moisture + moved - ice_lost) * mass
    confined, overflow = confine(proposed, ice * mass, jnp.maximum(ice, soil.porosity) * mass)
    moisture, carry = add_compensated(water.moisture, water.carry, moved - ice_lost + (confined - proposed) / mass)
    return LayerWater(moisture, carry, ice), overflow


def confine(
    water: Float[Array, "soil ..."], least: Float[Array, "soil ..."], most: Float[Array, "soil ..."]
) -> tuple[Float[Array, "soil ..."], Float[Array, "..."]]:
    """Move water between layers so that each lies within its limits; conserves the total.

    Args:
        water: ``[soil, ...]``, kg m-2 per layer.
        least, most: limits, kg m-2 per layer.

    Returns:
        (water within limits, excess that found no room, kg m-2; negative: a shortage of the whole column).
    """
    layers = list(water)
    last = len(layers) - 1
    for k in range(last):  # downward: surplus and shortage are handed to the layer below
        inside = jnp.clip(layers[k], least[k], most[k])
        layers[k + 1] = layers[k + 1] + (layers[k] - inside)
        layers[k] = inside
    for k in range(last, 0, -1):  # upward
        inside = jnp.clip(layers[k], least[k], most[k])
        layers[k - 1] = layers[k - 1] + (layers[k] - inside)
        layers[k] = inside
    inside = jnp.clip(layers[0], least[0], most[0])
    excess = layers[0] - inside
    layers[0] = inside
    return jnp.stack(layers), excess
