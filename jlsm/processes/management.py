"""Row 10: field management - irrigation, ponding, a prescribed water table. Off by default.

What people add is a named term of the water budget. Irrigation is proportional to how far the
root zone falls short of its target, which is what a farmer's schedule does on average and has a
derivative; seasons begin and end over five days for the same reason.
Source: demand-driven irrigation as in Pokhrel et al. (2012); the rest is assumed bookkeeping.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import WATER_DENSITY
from jlsm.numerics import ramp, running_total, total
from jlsm.parameters import Management, Soil

SEASON_EDGE = 5.0  # days over which a season begins or ends


def in_season(day_of_year, start, end) -> Float[Array, "..."]:
    """1 within [start, end], 0 outside, with linear edges; a season may span the new year."""
    length = jnp.mod(end - start, 366.0)
    since = jnp.mod(day_of_year - start + SEASON_EDGE, 366.0)

    def trapezoid(since):
        return jnp.minimum(ramp(since / SEASON_EDGE), ramp((length + 2.0 * SEASON_EDGE - since) / SEASON_EDGE))

    # the edges of a season that lasts nearly all year overlap
    return jnp.maximum(trapezoid(since), trapezoid(since + 366.0))


def irrigation(management: Management, soil: Soil, day_of_year, moisture, root_fraction) -> Float[Array, "..."]:
    """Irrigation rate, kg m-2 s-1: full rate at the trigger saturation, none at the target."""
    saturation = total(root_fraction * moisture) / soil.porosity
    span = jnp.maximum(management.irrigation_target - management.irrigation_trigger, 0.01)
    demand = ramp((management.irrigation_target - saturation) / span)
    season = in_season(day_of_year, management.irrigation_start, management.irrigation_end)
    return management.irrigation_rate * demand * season


def pond_target(management: Management, day_of_year) -> Float[Array, "..."]:
    """Depth of standing water kept on the field today, kg m-2."""
    return management.pond_depth * in_season(day_of_year, management.pond_start, management.pond_end)


def water_table_supply(management: Management, soil: Soil, moisture, thickness, dt) -> Float[Array, "soil ..."]:
    """Water that a prescribed water table gives to the layers below it, kg m-2 s-1."""
    base = running_total(jnp.asarray(thickness))
    below = jnp.clip((base - management.water_table_depth) / thickness, 0.0, 1.0)
    room = jnp.maximum(soil.porosity - moisture, 0.0) * thickness * WATER_DENSITY
    # exact relaxation over the step, so a large conductance cannot overfill
    return below * room * -jnp.expm1(-management.water_table_conductance * dt) / dt
