"""Row 11: runoff by a simplified TOPMODEL.

Gives the water table, the saturated share of the ground and base flow; infiltration excess and
overflow follow from what the soil takes. Equations: MATSIRO6, chapter "Runoff" (Beven & Kirkby
1979; Stieglitz et al. 1997). Departures: the water table rises continuously through a layer as it
saturates (MATSIRO6 searches the lowest unsaturated layer, a staircase); all rain is stratiform.
Leaves out water tables perched on frozen soil and the snow-fed wetland store.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import WATER_DENSITY
from jlsm.numerics import total
from jlsm.parameters import Soil, Topography

REFERENCE_DEPTH = 2.0  # m: depth at which K_s is that of the soil table (Hirabayashi 2004, in MATSIRO6)


class WaterTable(NamedTuple):
    """Where the ground is saturated, and what flows off below it."""

    depth: Float[Array, "..."]  # m
    saturated_area: Float[Array, "..."]  # A_sat
    base_flow: Float[Array, "..."]  # kg m-2 s-1
    layer_share: Float[Array, "soil ..."]  # from which layers base flow is taken; sums to 1


def water_table(soil: Soil, topography: Topography, potential, ice_share, thickness) -> WaterTable:
    """Water table and base flow from the matric potential of the layers.

    A layer counts as saturated from its base up to the height at which hydrostatic equilibrium
    with its potential would put the water table; a layer above counts only if all below are full.

    Args:
        potential: ``[soil, ...]``, m.
        ice_share: frozen water over porosity, ``[soil, ...]``.
        thickness: ``[soil, 1...]``, m.
    """
    suction = soil.saturated_potential - potential  # m, 0 at saturation
    full = jnp.clip(1.0 - suction / thickness, 0.0, 1.0)
    rows = [full[-1]]
    for k in range(full.shape[0] - 2, -1, -1):
        rows.insert(0, full[k] * rows[0])
    connected = jnp.stack(rows)
    below_full = jnp.concatenate([connected[1:], jnp.ones_like(connected[:1])])
    depth = total(thickness * (1.0 - connected))
    share = below_full - connected  # 1 in the lowest unsaturated layer
    share = jnp.concatenate([share[:1] + connected[:1], share[1:]])

    f = topography.conductivity_decay
    head = 1.0 - f * depth
    saturated_area = jnp.maximum(-jnp.expm1(-jnp.maximum(head, 0.0)), 0.0)
    at_reference = soil.saturated_conductivity * jnp.exp(REFERENCE_DEPTH * f)
    unfrozen = total(share * (1.0 - ice_share))
    base_flow = (
        WATER_DENSITY * at_reference * topography.slope / (f * topography.slope_length) * jnp.exp(head) * unfrozen
    )
    return WaterTable(depth, saturated_area, base_flow, share)
