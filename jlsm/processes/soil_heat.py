"""Row 6: heat conduction through snow and soil, one implicit solve for both.

Solves the heat equation of three snow and six soil layers together, backward in time, with the
surface fluxes of both portions as unknown right-hand sides: the surface balance sees how the
first layer will respond within the step, and afterwards the temperatures follow without a second
solve. Equations: MATSIRO6, chapters "Snow" and "Soil" (heat conduction), with zero flux at the bottom.
Leaves out heat carried by moving water (a layer's water has the layer's temperature).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import HEAT_CAPACITY_ICE, HEAT_CAPACITY_WATER, SNOW_LAYERS, SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.numerics import shift, solve_tridiagonal
from jlsm.parameters import Snow, Soil
from jlsm.processes.snow import SnowCover, snow_layer_resistance

WET_FACTOR, WET_SCALE = 6.0, 0.25  # f_kg (-) and w_kg (m3 m-3) of the heat conductivity


class SoilLayers(NamedTuple):
    """Soil layers at the start of the step, ``[soil, ...]``, and what stands on them."""

    thickness: Float[Array, "soil ..."]  # m
    temperature: Float[Array, "soil ..."]  # K
    moisture: Float[Array, "soil ..."]  # m3 m-3, liquid and frozen
    ice: Float[Array, "soil ..."]  # m3 m-3
    pond: Float[Array, "..."]  # kg m-2 of standing water; it shares the first layer's temperature


class HeatColumn(NamedTuple):
    """Linear response of the snow-soil column to the two surface heat fluxes.

    ``temperature change = base + per_bare * G_bare + per_snow * G_snow`` for the nine layers
    (snow first), with G in W m-2 of the own portion, positive down.
    """

    base: Float[Array, "9 ..."]  # K
    per_bare: Float[Array, "9 ..."]  # K per W m-2
    per_snow: Float[Array, "9 ..."]  # K per W m-2
    conductance: Float[Array, "2 ..."]  # W m-2 K-1, surface to first layer, implicit response included
    reference: Float[Array, "2 ..."]  # K, first layer's end temperature without surface flux
    soil_capacity: Float[Array, "soil ..."]  # J m-2 K-1


def layer_thickness(columns: Float[Array, "..."]) -> Float[Array, "soil ..."]:
    """Thickness of the soil layers, ``[soil, 1...]``, m, in the precision and for the axes of ``columns``."""
    return jnp.asarray(SOIL_LAYER_THICKNESS, columns.dtype).reshape((-1,) + (1,) * columns.ndim)


def soil_heat_conductivity(soil: Soil, moisture: Float[Array, "soil ..."]) -> Float[Array, "soil ..."]:
    """Heat conductivity of each layer, W m-1 K-1 (MATSIRO6: k_g0 [1 + 6 tanh(w / 0.25)])."""
    return soil.heat_conductivity * (1.0 + WET_FACTOR * jnp.tanh(moisture / WET_SCALE))


def soil_heat_capacity(soil: Soil, moisture, thickness) -> Float[Array, "soil ..."]:
    """Heat capacity of each layer with its water, J m-2 K-1 (ice counts as water, as in MATSIRO6)."""
    return (soil.heat_capacity + WATER_DENSITY * HEAT_CAPACITY_WATER * moisture) * thickness


def heat_column(
    soil: Soil, snow: Snow, cover: SnowCover, layers: SoilLayers, snow_temperature: Float[Array, "3 ..."], dt
) -> HeatColumn:
    """Prepare the heat conduction of one step.

    Args:
        cover: geometry of the snow.
        layers: the soil.
        snow_temperature: K.
        dt: s.
    """
    thickness, soil_temperature, moisture, _, pond = layers
    capacity = soil_heat_capacity(soil, moisture, thickness)
    capacity = jnp.concatenate([capacity[:1] + HEAT_CAPACITY_WATER * pond[None], capacity[1:]])
    half = 0.5 * thickness / soil_heat_conductivity(soil, moisture)
    snow_half = snow_layer_resistance(cover, snow)

    resistance = jnp.concatenate([snow_half, half])
    between = 1.0 / (resistance[:-1] + resistance[1:])  # W m-2 K-1 across the eight inner interfaces
    temperature = jnp.concatenate([snow_temperature, soil_temperature])
    heat_capacity = jnp.concatenate([HEAT_CAPACITY_ICE * cover.layer_mass, capacity]) / dt

    # seen from the snow the interface with the soil is whole; the soil has it on the covered share only
    area = cover.fraction[None]
    from_above = jnp.concatenate(
        [between[: SNOW_LAYERS - 1], between[SNOW_LAYERS - 1 : SNOW_LAYERS] * area, between[SNOW_LAYERS:]]
    )
    zero = jnp.zeros_like(between[:1])
    lower = -jnp.concatenate([zero, from_above])  # coupling of layer k to k-1
    upper = -jnp.concatenate([between, zero])  # coupling of layer k to k+1
    diagonal = heat_capacity - lower - upper
    flux = -lower * (shift(temperature, 1) - temperature) - upper * (shift(temperature, -1) - temperature)

    layer = jnp.arange(resistance.shape[0]).reshape((-1,) + (1,) * (resistance.ndim - 1))
    into_snow = jnp.where(layer == 0, jnp.ones_like(area), 0.0)
    into_soil = jnp.where(layer == SNOW_LAYERS, 1.0 - area, 0.0)
    sides = jnp.stack([flux, into_soil, into_snow], axis=1)
    response = solve_tridiagonal(lower[:, None], diagonal[:, None], upper[:, None], sides)
    base, per_bare, per_snow = response[:, 0], response[:, 1], response[:, 2]

    # T_first_end = reference + gain * G and G = (T_s - T_first_end) / half resistance
    gain = jnp.stack([per_bare[SNOW_LAYERS], per_snow[0]])
    first_half = jnp.stack(jnp.broadcast_arrays(half[0], snow_half[0]))
    reference = jnp.stack([temperature[SNOW_LAYERS] + base[SNOW_LAYERS], temperature[0] + base[0]])
    return HeatColumn(base, per_bare, per_snow, 1.0 / (first_half + gain), reference, capacity)


def temperature_change(column: HeatColumn, ground_heat: Float[Array, "2 ..."]) -> tuple[Array, Array]:
    """Change of snow and soil temperature, K, for the heat flux into each portion, W m-2."""
    change = column.base + column.per_bare * ground_heat[0] + column.per_snow * ground_heat[1]
    return change[:SNOW_LAYERS], change[SNOW_LAYERS:]


def add_surface_heat(column: HeatColumn, warming: Float[Array, "soil ..."], heat, dt) -> Float[Array, "soil ..."]:
    """Warming of the soil layers, K, with heat (W m-2) that the uppermost one takes up beside conduction."""
    left = (heat * dt / column.soil_capacity[0])[None]
    return jnp.concatenate([warming[:1] + left, warming[1:]])
