"""Row 8: snow cover, layers, melt, refreezing and the ageing of its albedo.

Equations: MATSIRO6, chapter "Snow" with SSNOWD off; ageing after Yang et al. (1997).
Departures: three layers always exist and fill one after the other, so that their masses are
continuous functions of the snow mass (MATSIRO6 splits them, with jumps); the
cover fraction grows linearly, not like a square root, over the first hundredths of a millimetre,
so that a first flake has a finite derivative; melting a cold layer first warms it; snow that falls
on warm ground melts by conduction, not at once. Leaves out liquid water held in snow,
compaction, dust, and SSNOWD.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import FREEZING_POINT, HEAT_CAPACITY_ICE, LATENT_HEAT_FUSION
from jlsm.numerics import running_total, total
from jlsm.parameters import Snow

FIRST_FLAKES = 0.01  # kg m-2: below it the cover fraction is linear in the mass
_NEGLIGIBLE_MASS = 1e-4  # kg m-2: a thinner layer keeps its old temperature (the heat goes to the soil)
AGEING_ENERGY = 5000.0  # K, f_ageT
LAYER_MASS = (20.0, 40.0)  # kg m-2 at which the first and second layer are full (eq. 8-7 at large mass)


class SnowCover(NamedTuple):
    """Geometry of the snow; a function of its mass alone."""

    fraction: Float[Array, "..."]  # A_Sn
    local_mass: Float[Array, "..."]  # kg m-2 where there is snow
    depth: Float[Array, "..."]  # m where there is snow
    layer_mass: Float[Array, "3 ..."]  # kg m-2 where there is snow


class SnowUpdate(NamedTuple):
    """Snow after the step and what it gives to the ground."""

    mass: Float[Array, "..."]  # kg m-2
    temperature: Float[Array, "3 ..."]  # K
    albedo: Float[Array, "2 ..."]
    water: Float[Array, "..."]  # kg m-2 s-1 out of the snow pack, grid mean
    heat: Float[Array, "..."]  # W m-2 to the soil that melt left over, grid mean
    melt: Float[Array, "..."]  # kg m-2 s-1
    refreeze: Float[Array, "..."]  # kg m-2 s-1
    advected: Float[Array, "..."]  # W m-2 brought by falling snow, less what sublimating ice took along


def snow_cover(mass: Float[Array, "..."], snow: Snow) -> SnowCover:
    """Cover fraction, depth and layer masses for a grid-mean snow mass in kg m-2.

    ``fraction * local_mass == mass`` always; an empty pack has a finite local mass and no area.
    """
    patchy = jnp.sqrt(snow.cover_mass * (mass + FIRST_FLAKES))
    local = jnp.maximum(patchy, mass)
    first = jnp.minimum(local, LAYER_MASS[0])
    second = jnp.clip(local - LAYER_MASS[0], 0.0, LAYER_MASS[1])
    third = jnp.maximum(local - LAYER_MASS[0] - LAYER_MASS[1], 0.0)
    return SnowCover(mass / local, local, local / snow.density, jnp.stack([first, second, third]))


def _remove_from_top(layers, amount):
    """Take ``amount`` from layers, top first; returns what each layer loses."""
    above = running_total(layers) - layers
    return jnp.clip(amount - above, 0.0, layers)


def _redistribute(old_mass, old_excess, new_mass):
    """Heat of new layers from that of old ones, by overlap in mass coordinates from the top."""
    old_base, new_base = running_total(old_mass), running_total(new_mass)
    top = jnp.maximum((new_base - new_mass)[:, None], (old_base - old_mass)[None])
    base = jnp.minimum(new_base[:, None], old_base[None])
    return total(jnp.swapaxes(jnp.maximum(base - top, 0.0) * old_excess[None], 0, 1))


def aged_albedo(albedo, snow: Snow, temperature, snowfall_mass, pack_mass, dt):
    """Snow albedo after ageing and renewal by snowfall, ``[2 bands, ...]``.

    Args:
        albedo: at the start of the step.
        temperature: of the uppermost layer, K.
        snowfall_mass: kg m-2 fallen in the step.
        pack_mass: kg m-2 at the end of the step.
    """
    fresh = jnp.stack([snow.fresh_albedo_vis, snow.fresh_albedo_nir])
    old = jnp.stack([snow.old_albedo_vis, snow.old_albedo_nir])
    aged = jnp.clip((albedo[0] - fresh[0]) / (old[0] - fresh[0]), 0.0, 0.999)
    age = aged / (1.0 - aged)
    rate = jnp.exp(AGEING_ENERGY * (1.0 / FREEZING_POINT - 1.0 / temperature))
    age = age + (rate + rate**10 + snow.dirt_ageing) * dt / snow.ageing_time
    albedo = fresh + age / (1.0 + age) * (old - fresh)
    # a pack thinner than the renewal mass is renewed in proportion to its own mass, and what is hardly
    # there is always fresh: the first flake on bare ground finds no old snow
    renewal = jnp.maximum(jnp.minimum(snow.renewal_mass, pack_mass), FIRST_FLAKES)
    share = jnp.minimum(snowfall_mass / renewal, 1.0)
    share = jnp.maximum(share, 1.0 - pack_mass / FIRST_FLAKES)
    return albedo + share * (fresh - albedo)


def update_snow(
    snow: Snow,
    cover: SnowCover,
    temperature,
    albedo,
    surface_melt,
    sublimation,
    rain,
    snowfall,
    snowfall_direct,
    snowfall_temperature,
    dt,
) -> SnowUpdate:
    """Mass, temperature and albedo of the snow at the end of the step.

    Args:
        cover: geometry at the start of the step.
        temperature: ``[3, ...]`` after heat conduction, K; above freezing means melt inside.
        surface_melt: W m-2 spent on melting, of the snow-covered portion.
        sublimation: kg m-2 s-1, of the snow-covered portion (frost is negative).
        rain, snowfall: kg m-2 s-1 below the canopy.
        snowfall_direct: kg m-2 s-1 of it that carries the temperature of falling snow; the rest
            (unloaded by leaves) arrives at the freezing point.
        snowfall_temperature: K.
    """
    area = cover.fraction
    mass = area * cover.layer_mass  # grid mean from here on
    excess = temperature - FREEZING_POINT
    inside = HEAT_CAPACITY_ICE * mass * jnp.maximum(excess, 0.0)
    excess = jnp.minimum(excess, 0.0)

    # sublimation, top layer first; frost joins the top layer at its temperature
    lost = _remove_from_top(mass, jnp.maximum(sublimation, 0.0) * area * dt)
    frost = jnp.maximum(-sublimation, 0.0) * area * dt
    mass = mass - lost
    mass = jnp.concatenate([mass[:1] + frost[None], mass[1:]])
    advected = -total(lost * excess) + frost * excess[0]

    # melt, top layer first; cold ice is warmed before it melts
    energy = surface_melt * area * dt + total(inside)
    cost = LATENT_HEAT_FUSION - HEAT_CAPACITY_ICE * excess
    melted = jnp.minimum(_remove_from_top(mass * cost, energy) / cost, mass)
    heat = jnp.maximum(energy - total(mass * cost), 0.0)
    mass = mass - melted
    melt = total(melted)

    # refreezing of melt water and rain on its way down
    water = melt + area * rain * dt
    limit = jnp.minimum(
        -HEAT_CAPACITY_ICE * excess * mass / LATENT_HEAT_FUSION, snow.refreeze_limit * dt / 1800.0 * mass
    )
    refrozen = _remove_from_top(limit, water)
    heat_content = HEAT_CAPACITY_ICE * mass * excess + LATENT_HEAT_FUSION * refrozen
    mass = mass + refrozen
    refreeze = total(refrozen)

    # snowfall on top
    fallen = snowfall * dt
    fallen_excess = jnp.minimum(snowfall_temperature - FREEZING_POINT, 0.0)
    brought = HEAT_CAPACITY_ICE * snowfall_direct * dt * fallen_excess
    advected = HEAT_CAPACITY_ICE * advected + brought
    mass = jnp.concatenate([mass[:1] + fallen[None], mass[1:]])
    heat_content = jnp.concatenate([heat_content[:1] + brought[None], heat_content[1:]])

    # new layers and their temperature
    new_total = total(mass)
    new_cover = snow_cover(new_total, snow)
    new_mass = new_cover.fraction * new_cover.layer_mass
    specific = heat_content / jnp.maximum(mass, _NEGLIGIBLE_MASS)  # J kg-1
    new_heat = _redistribute(mass, specific, new_mass)
    weight = HEAT_CAPACITY_ICE * (new_mass + _NEGLIGIBLE_MASS)
    new_excess = jnp.minimum((new_heat + HEAT_CAPACITY_ICE * _NEGLIGIBLE_MASS * excess) / weight, 0.0)
    left = total(heat_content) - total(HEAT_CAPACITY_ICE * new_mass * new_excess)

    return SnowUpdate(
        mass=new_total,
        temperature=FREEZING_POINT + new_excess,
        albedo=aged_albedo(albedo, snow, jnp.minimum(temperature[0], FREEZING_POINT), fallen, new_total, dt),
        water=(water - refreeze) / dt,
        heat=(heat + left) / dt,
        melt=melt / dt,
        refreeze=refreeze / dt,
        advected=advected / dt,
    )


def snow_layer_resistance(cover: SnowCover, snow: Snow) -> Float[Array, "3 ..."]:
    """Thermal resistance of half of each layer, m2 K W-1, bounded below so that empty layers conduct."""
    return jnp.maximum(0.5 * cover.layer_mass / (snow.density * snow.heat_conductivity), 1e-4)
