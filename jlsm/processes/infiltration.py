"""Row 12: water on the ground - what ponds, what enters the soil, what runs off.

Solves nothing: water that reaches the ground, less what falls on saturated ground and what evaporates from a pond,
enters the soil as fast as it conducts; the rest stands, up to the pond that is kept on the field, and leaves.
Equations: MATSIRO6, chapter "Runoff", for the whole column instead of by area. Departures: standing water exists
only where field management keeps a pond; frozen soil takes in as much less as its pores are full of ice.
Leaves out a surface store of its own (1 mm in MATSIRO6), runoff between columns, freezing of a pond.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import WATER_DENSITY
from jlsm.numerics import ramp
from jlsm.parameters import Management, Soil

POND_FULL_COVER = 5.0  # kg m-2 of standing water that hide the soil surface


class Pond(NamedTuple):
    """Water standing on the field."""

    water: Float[Array, "..."]  # kg m-2 at the start of the step
    target: Float[Array, "..."]  # kg m-2 that management keeps there


class Arrival(NamedTuple):
    """Water that comes to the ground and goes from it."""

    incoming: Float[Array, "..."]  # kg m-2 s-1 that reach the ground
    evaporation: Float[Array, "..."]  # kg m-2 of liquid that evaporates from pond and soil in the step


class Infiltration(NamedTuple):
    """Where the water that reaches the ground went."""

    standing: Float[Array, "..."]  # kg m-2 left on the ground
    into_soil: Float[Array, "..."]  # kg m-2 s-1 that enters the soil, less what the soil evaporates
    refill: Float[Array, "..."]  # kg m-2 with which management filled the pond up
    saturation_excess: Float[Array, "..."]  # kg m-2 s-1 that fell on saturated ground and left


def pond_cover(water: Float[Array, "..."]) -> Float[Array, "..."]:
    """Share of the ground under standing water (kg m-2)."""
    return ramp(water / POND_FULL_COVER)


def infiltration(
    soil: Soil, management: Management, pond: Pond, arrival: Arrival, saturated_area, ice_share, dt
) -> Infiltration:
    """Divide the water of one step between pond, soil and runoff; the pond evaporates first.

    Args:
        saturated_area: share of the ground that takes no water.
        ice_share: frozen water over porosity in the uppermost layer.
        dt: s.
    """
    incoming, evaporation = arrival
    # (where, not minimum: on a field without a pond both sides are 0, and a tie halves the derivative)
    from_pond = jnp.where(evaporation > pond.water, pond.water, jnp.maximum(evaporation, 0.0))
    flooded = ramp(pond.target)  # a kept pond takes all water and seeps slowly
    dry_area = 1.0 - saturated_area * (1.0 - flooded)
    saturation_excess = (1.0 - dry_area) * incoming
    standing = pond.water - from_pond + (incoming - saturation_excess) * dt
    refill = jnp.where(pond.target > standing, pond.target - standing, 0.0)
    capacity = dry_area * WATER_DENSITY * soil.saturated_conductivity * (1.0 - ice_share)
    capacity = capacity + flooded * (jnp.minimum(management.percolation_rate, capacity) - capacity)
    infiltrated = jnp.where(standing + refill > capacity * dt, capacity * dt, standing + refill)
    return Infiltration(
        standing=standing + refill - infiltrated,
        into_soil=(infiltrated - (evaporation - from_pond)) / dt,
        refill=refill,
        saturation_excess=saturation_excess,
    )


def pond_and_runoff(entry: Infiltration, overflow, target, dt) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """(standing water at the end of the step, kg m-2; surface runoff, kg m-2 s-1).

    Args:
        entry: from ``infiltration``.
        overflow: water that found no room in the soil, kg m-2.
        target: pond that management keeps, kg m-2.
        dt: s.
    """
    standing = entry.standing + overflow
    pond = jnp.where(standing > target, target, jnp.where(standing > 0.0, standing, 0.0))
    return pond, entry.saturation_excess + (standing - pond) / dt
