"""The prognostic state of a column: what must be known to go on from one time step to the next."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jlsm.constants import FREEZING_POINT, SNOW_LAYERS, SOIL_LAYER_THICKNESS, SURFACE_PORTIONS
from jlsm.describe import field_table, quantity

_TEMPERATURES = (150.0, 400.0)
"""K: no land surface is or was colder or warmer"""


class State(eqx.Module):
    """All prognostic variables (SI units); layers lead, columns trail.

    Portion 0 is snow-free, portion 1 snow-covered ground. Snow cover fraction and layer masses are
    functions of ``snow_mass`` (``jlsm.processes.snow``), so they are not state. The ranges beside the units are what a
    saved state is believed in.
    """

    surface_temperature: Float[Array, "2 ..."] = quantity("K", *_TEMPERATURES)
    """ground surface (forest floor) temperature T_s of both portions, K (diagnostic start value)"""
    canopy_temperature: Float[Array, "2 ..."] = quantity("K", *_TEMPERATURES)
    """leaf temperature T_c of both portions, K (diagnostic start value)"""
    ground_temperature: Float[Array, "soil ..."] = quantity("K", *_TEMPERATURES)
    """soil temperature T_g, K"""
    soil_moisture: Float[Array, "soil ..."] = quantity("m3 m-3", 0.0, 1.0)
    """soil water, liquid + frozen, w, m3 m-3"""
    soil_ice: Float[Array, "soil ..."] = quantity("m3 m-3", 0.0, 1.0)
    """frozen soil water w_i, m3 m-3 of liquid equivalent"""
    canopy_water: Float[Array, "..."] = quantity("kg m-2", 0.0, 1e3)
    """water on leaves, liquid + frozen, kg m-2"""
    canopy_ice: Float[Array, "..."] = quantity("kg m-2", 0.0, 1e3)
    """frozen part of the water on leaves, kg m-2"""
    snow_mass: Float[Array, "..."] = quantity("kg m-2", 0.0, 1e6)
    """snow water equivalent of the grid mean, kg m-2"""
    snow_temperature: Float[Array, "3 ..."] = quantity("K", *_TEMPERATURES)
    """snow layer temperature, K"""
    snow_albedo: Float[Array, "2 ..."] = quantity("-", 0.0, 1.0)
    """albedo of the snow surface, visible and near infrared, -"""
    ponded_water: Float[Array, "..."] = quantity("kg m-2", 0.0, 1e5)
    """water standing on the field (field management), kg m-2"""
    ground_temperature_carry: Float[Array, "soil ..."] = quantity("K", -1.0, 1.0)
    """what rounding left out of ``ground_temperature`` (compensated summation), K"""
    soil_moisture_carry: Float[Array, "soil ..."] = quantity("m3 m-3", -1e-2, 1e-2)
    """what rounding left out of ``soil_moisture``, m3 m-3"""

    def __repr__(self) -> str:
        return field_table(self)


def initial_state(temperature: Float[Array, "..."], porosity: Float[Array, "..."], saturation: float = 0.75) -> State:
    """A snow-free column at one temperature and one degree of saturation, the start of a spin-up.

    Args:
        temperature: soil temperature, K, shape of the columns (the mean air temperature is a good choice).
        porosity: soil porosity, m3 m-3, shape of the columns.
        saturation: soil water over porosity, -.
    """
    temperature, porosity = jnp.broadcast_arrays(jnp.asarray(temperature, float), jnp.asarray(porosity, float))

    def layers(value: Array, count: int) -> Array:
        return jnp.broadcast_to(value, (count, *temperature.shape))

    soil = len(SOIL_LAYER_THICKNESS)
    zero = jnp.zeros_like(temperature)
    cold = jnp.minimum(temperature, FREEZING_POINT)
    return State(
        surface_temperature=layers(temperature, SURFACE_PORTIONS),
        canopy_temperature=layers(temperature, SURFACE_PORTIONS),
        ground_temperature=layers(temperature, soil),
        soil_moisture=layers(saturation * porosity, soil),
        soil_ice=layers(zero, soil),
        canopy_water=zero,
        canopy_ice=zero,
        snow_mass=zero,
        snow_temperature=layers(cold, SNOW_LAYERS),
        snow_albedo=jnp.stack([zero + 0.9, zero + 0.7]),
        ponded_water=zero,
        ground_temperature_carry=layers(zero, soil),
        soil_moisture_carry=layers(zero, soil),
    )


def with_soil_moisture(
    state: State,
    depths: Float[Array | np.ndarray, "points"],
    values: Float[Array | np.ndarray, "points"],
    porosity: Float[Array, "..."],
) -> State:
    """The state with observed soil moisture in place of its own, at most the pores; as much of it frozen as fits.

    Args:
        state: of one column or a stack.
        depths: m, increasing. Layers take the value at their middle, linear in between, the ends held beyond.
        values: m3 m-3.
        porosity: m3 m-3, shape of the columns.
    """
    thickness = np.asarray(SOIL_LAYER_THICKNESS)
    middles = np.cumsum(thickness) - 0.5 * thickness
    profile = jnp.interp(jnp.asarray(middles), jnp.asarray(depths), jnp.asarray(values)).astype(
        state.soil_moisture.dtype
    )
    moisture = jnp.minimum(profile.reshape(-1, *[1] * (state.soil_moisture.ndim - 1)), porosity)
    moisture = jnp.broadcast_to(moisture, state.soil_moisture.shape)
    return eqx.tree_at(
        lambda s: (s.soil_moisture, s.soil_ice, s.soil_moisture_carry),
        state,
        (moisture, jnp.minimum(state.soil_ice, moisture), jnp.zeros_like(state.soil_moisture_carry)),
    )
