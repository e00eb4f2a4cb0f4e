"""Row 2: the vegetation that stands above the snow.

Solves nothing: leaf area and height of both portions from the forcing's LAI and the snow depth.
Equations: MATSIRO6, chapter "Vegetation type parameters", with leaves down to the ground
(canopy bottom at 0). Leaves out a stem area index.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.parameters import Vegetation

SMALLEST_LEAF_AREA = 0.002
"""m2 m-2; a leafless canopy has no temperature, so it never quite vanishes. Lower than what files say of a bare field
(0.01, which is 0.003 at the lowest ``leaf_area_scale``): a default on this bound would have no derivative."""


class Canopy(NamedTuple):
    """Leaves above the ground or snow, per portion."""

    leaf_area: Float[Array, "2 ..."]  # m2 m-2
    height: Float[Array, "2 ..."]  # m above the soil or snow
    snow_depth: Float[Array, "2 ..."]  # m, 0 in the snow-free portion
    leaf_area_mean: Float[Array, "..."]  # m2 m-2, snow-free value: what intercepts rain


def canopy_above_snow(vegetation: Vegetation, lai, snow_depth) -> Canopy:
    """Leaf area and height of the snow-free (0) and snow-covered (1) portion.

    Args:
        lai: leaf area index of the forcing, m2 m-2.
        snow_depth: depth where there is snow, m.
    """
    leaf_area = lai * vegetation.leaf_area_scale
    height = vegetation.canopy_height
    above = jnp.maximum(height - snow_depth, 0.0)
    both = jnp.stack(jnp.broadcast_arrays(leaf_area, leaf_area * above / height))
    return Canopy(
        leaf_area=jnp.maximum(both, SMALLEST_LEAF_AREA),
        height=jnp.stack(jnp.broadcast_arrays(height, above)),
        snow_depth=jnp.stack(jnp.broadcast_arrays(jnp.zeros_like(snow_depth), snow_depth)),
        leaf_area_mean=jnp.maximum(leaf_area, SMALLEST_LEAF_AREA),
    )
