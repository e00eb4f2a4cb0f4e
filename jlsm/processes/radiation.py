"""Row 3: shortwave radiation absorbed by leaves and ground; longwave transmissivity.

Solves the two-stream equations of a uniform canopy analytically, per band, for direct and
diffuse light. Equations: Watanabe & Ohtani (1995) as in MATSIRO6, chapter "Radiation
parameters", divided by their growing exponential so that dense canopies and black leaves are
regular. Snow and ice on leaves brighten them by their mass (MATSIRO6 switches on leaf temperature).
Leaves out clumping other than the vegetation cover f_V.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.parameters import Soil, Vegetation
from jlsm.processes.solar import VISIBLE_SHARE, Atmosphere
from jlsm.processes.vegetation import Canopy

LEAF_PROJECTION = 0.5  # F, randomly oriented leaves
DIFFUSIVITY = 1.6616  # d_f = sec(53 degrees)
COS_DIFFUSE_SNOW = 0.6428  # cos(50 degrees): incidence of diffuse light on snow
WATER_ALBEDO = 0.08  # ponded water, both bands (Briegleb et al. 1986, overhead sun to diffuse: 0.06-0.1)


class TwoStream(NamedTuple):
    """Fractions of the light above a canopy."""

    albedo: Array  # reflected by canopy and ground
    ground: Array  # absorbed by the ground


class Radiation(NamedTuple):
    """Absorbed shortwave radiation and the canopy's longwave transmissivity, per portion."""

    ground: Float[Array, "2 ..."]  # W m-2 absorbed by the ground
    canopy: Float[Array, "2 ..."]  # W m-2 absorbed by leaves
    canopy_visible: Float[Array, "2 ..."]  # W m-2 of visible light absorbed by leaves
    upward: Float[Array, "2 ..."]  # W m-2 reflected
    longwave_transmissivity: Float[Array, "2 ..."]  # -
    attenuation: Float[Array, "2 ..."]  # a: extinction of visible diffuse light per leaf area


def two_stream(leaf_area, reflectance, transmittance, cos_zenith, ground_direct, ground_diffuse):
    """Albedo and ground absorption of a canopy for direct and for diffuse light from above.

    Args:
        leaf_area: leaf area index.
        reflectance, transmittance: of leaves, -.
        cos_zenith: of the direct beam, > 0.
        ground_direct, ground_diffuse: albedo of the ground.

    Returns:
        (direct TwoStream, diffuse TwoStream, a): a is the extinction coefficient of diffuse light.
    """
    # part of the reflected light goes forward (Watanabe, in MATSIRO6)
    reflectance, transmittance = 0.75 * reflectance + 0.25 * transmittance, 0.75 * transmittance + 0.25 * reflectance
    sec = 1.0 / cos_zenith
    loss = 1.0 - transmittance
    root = jnp.sqrt(loss**2 - reflectance**2)
    extinction = LEAF_PROJECTION * DIFFUSIVITY * root
    rho = reflectance / (loss + root)  # A_2 of the description; A_1 = 1 / A_2

    # C_3 and C_4 have a removable pole where the beam and the diffuse light decay alike: a sun that stands
    # too near is moved aside, everywhere in the formula, by at most a thousandth of its secant
    decay_squared = (DIFFUSIVITY * root) ** 2
    near = jnp.abs(decay_squared - sec**2) < 2e-3 * sec**2
    away = jnp.sqrt(jnp.where(decay_squared < sec**2, 1.0 + 2e-3, 1.0 - 2e-3))
    sec = jnp.where(near, sec * away, sec)
    pole = decay_squared - sec**2
    c3 = sec * (transmittance * sec + DIFFUSIVITY * (transmittance * loss + reflectance**2)) / pole
    c4 = reflectance * (DIFFUSIVITY - sec) * sec / pole

    decay = jnp.exp(-extinction * leaf_area)
    beam = jnp.exp(-LEAF_PROJECTION * sec * leaf_area)
    denominator = (1.0 - rho * ground_diffuse) - (rho - ground_diffuse) * rho * decay**2
    albedo_diffuse = (rho * (1.0 - rho * ground_diffuse) - (rho - ground_diffuse) * decay**2) / denominator
    through_diffuse = (1.0 - rho**2) * (1.0 - ground_diffuse) * decay / denominator

    source = c3 * ground_diffuse + ground_direct - c4
    albedo_direct = c4 - c3 * albedo_diffuse + (1.0 - rho**2) * source * decay * beam / denominator
    through_direct = -c3 * through_diffuse + beam * (
        c3 - c4 + 1.0 - source * (1.0 - rho) * (1.0 + rho * decay**2) / denominator
    )
    return TwoStream(albedo_direct, through_direct), TwoStream(albedo_diffuse, through_diffuse), extinction


def ground_albedo(soil: Soil, snow_albedo, pond_cover, cos_zenith):
    """Albedo of the ground below the canopy, ``[band, portion, ...]`` for direct and for diffuse light."""
    bare = jnp.stack([soil.albedo_vis, soil.albedo_nir])
    bare = jnp.broadcast_to(bare + pond_cover * (WATER_ALBEDO - bare), snow_albedo.shape)

    def tilted(cosine):  # snow reflects more at grazing incidence
        return snow_albedo + (1.0 - snow_albedo) * 0.4 * (1.0 - cosine) ** 5

    direct = jnp.stack([bare, tilted(cos_zenith)], axis=1)
    diffuse = jnp.stack([bare, tilted(COS_DIFFUSE_SNOW)], axis=1)
    return direct, diffuse


def canopy_radiation(
    vegetation: Vegetation, soil: Soil, air: Atmosphere, canopy: Canopy, snow_albedo, canopy_ice, pond_cover
) -> Radiation:
    """Shortwave radiation absorbed by leaves and ground in both portions.

    Args:
        snow_albedo: ``[2 bands, ...]``.
        canopy_ice: frozen water on leaves, kg m-2.
        pond_cover: share of the ground under ponded water, -.
    """
    cover = vegetation.vegetation_cover
    reflectance = jnp.stack([vegetation.leaf_reflectance_vis, vegetation.leaf_reflectance_nir])
    transmittance = jnp.stack([vegetation.leaf_transmittance_vis, vegetation.leaf_transmittance_nir])
    iced = jnp.minimum(canopy_ice / (vegetation.canopy_water_capacity * canopy.leaf_area_mean), 1.0)
    snow_transmittance = jnp.minimum(0.5 * (1.0 - snow_albedo), transmittance)
    reflectance = reflectance + iced * (snow_albedo - reflectance)
    transmittance = transmittance + iced * (snow_transmittance - transmittance)

    ground_direct, ground_diffuse = ground_albedo(soil, snow_albedo, pond_cover, air.cos_zenith)
    direct, diffuse, extinction = two_stream(
        canopy.leaf_area / cover,
        reflectance[:, None],
        transmittance[:, None],
        air.cos_zenith,
        ground_direct,
        ground_diffuse,
    )

    # the uncovered share of the ground takes the light unfiltered
    def mix(streams: TwoStream, bare):
        return streams.albedo * cover + (1.0 - cover) * bare, streams.ground * cover + (1.0 - cover) * (1.0 - bare)

    albedo_direct, through_direct = mix(direct, ground_direct)
    albedo_diffuse, through_diffuse = mix(diffuse, ground_diffuse)
    visible, infrared = VISIBLE_SHARE, 1.0 - VISIBLE_SHARE

    def bands(for_direct, for_diffuse):
        both = for_direct * air.direct + for_diffuse * air.diffuse  # [band, portion, ...]
        return visible * both[0], infrared * both[1]

    upward = bands(albedo_direct, albedo_diffuse)
    ground = bands(through_direct, through_diffuse)
    total = air.direct + air.diffuse
    canopy_visible = visible * total - upward[0] - ground[0]
    return Radiation(
        ground=ground[0] + ground[1],
        canopy=canopy_visible + infrared * total - upward[1] - ground[1],
        canopy_visible=canopy_visible,
        upward=upward[0] + upward[1],
        longwave_transmissivity=cover * jnp.exp(-LEAF_PROJECTION * DIFFUSIVITY * canopy.leaf_area / cover)
        + 1.0
        - cover,
        attenuation=jnp.broadcast_to(extinction[0], canopy.leaf_area.shape),
    )
