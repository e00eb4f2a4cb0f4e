"""Row 9: snow cover, layers, melt, refreezing and the ageing of its albedo.

Equations: MATSIRO6, chapter "Snow" with SSNOWD off; ageing after Yang et al. (1997).
Departures: three layers always exist and fill one after the other, so that their masses are
continuous functions of the snow mass (MATSIRO6 splits them, with jumps); the
cover fraction grows linearly, not like a square root, over the first hundredths of a millimetre,
so that a first flake has a finite derivative; melting a cold layer first warms it; snow that falls
on warm ground melts by conduction, not at once. Leaves out liquid water held in snow,
compaction, dust, and SSNOWD.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import FREEZING_POINT, HEAT_CAPACITY_ICE, LATENT_HEAT_FUSION
from jlsm.parameters import Snow

FIRST_FLAKES = 0.01  # kg m-2: below it the cover fraction is linear in the mass
_NEGLIGIBLE_MASS = 1e-4  # kg m-2: a thinner layer takes the temperature of falling snow (the heat goes to the soil)
AGEING_ENERGY = 5000.0  # K, f_ageT
LAYER_MASS = (20.0, 40.0)  # kg m-2 at which the first and second layer are full (eq. 8-7 at large mass)


class SnowCover(NamedTuple):
    """Geometry of the snow; a function of its mass alone."""

    fraction: Float[Array, "..."]  # A_Sn
    local_mass: Float[Array, "..."]  # kg m-2 where there is snow
    depth: Float[Array, "..."]  # m where there is snow
    layer_mass: Float[Array, "3 ..."]  # kg m-2 where there is snow


class SnowSurface(NamedTuple):
    """What the snow is like before it melts, refreezes and is snowed on."""

    temperature: Float[Array, "3 ..."]  # K after heat conduction; above freezing means melt inside
    albedo: Float[Array, "2 ..."]  # at the start of the step


class SnowExchange(NamedTuple):
    """What snow takes up and gives off in a step, below the canopy."""

    surface_melt: Float[Array, "..."]  # W m-2 spent on melting, of the snow-covered portion
    sublimation: Float[Array, "..."]  # kg m-2 s-1, of the snow-covered portion (frost is negative)
    rain: Float[Array, "..."]  # kg m-2 s-1
    snowfall: Float[Array, "..."]  # kg m-2 s-1
    snowfall_direct: Float[Array, "..."]  # kg m-2 s-1 of it that never touched a leaf: as cold as falling snow
    snowfall_temperature: Float[Array, "..."]  # K of falling snow; what leaves unload arrives at the freezing point


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


Layers = tuple[Float[Array, "..."], ...]  # one array per layer, from the top: plain arithmetic to a compiler


def _remove_from_top(layers: Layers, amount) -> Layers:
    """Take ``amount`` from layers, top first; returns what each layer loses."""
    lost, above = [], jnp.zeros_like(layers[0])
    for layer in layers:
        lost.append(jnp.clip(amount - above, 0.0, layer))
        above = above + layer
    return tuple(lost)


def _redistribute(old_mass: Layers, old_excess: Layers, new_mass: Layers) -> Layers:
    """Heat of new layers from that of old ones, by overlap in mass coordinates from the top."""
    heat, new_top = [], jnp.zeros_like(new_mass[0])
    for new in new_mass:
        layer_heat, old_top = jnp.zeros_like(new), jnp.zeros_like(new)
        for old, excess in zip(old_mass, old_excess, strict=True):
            overlap = jnp.minimum(new_top + new, old_top + old) - jnp.maximum(new_top, old_top)
            layer_heat = layer_heat + jnp.maximum(overlap, 0.0) * excess
            old_top = old_top + old
        heat.append(layer_heat)
        new_top = new_top + new
    return tuple(heat)


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
    aged = jnp.clip((albedo[0] - fresh[0]) / jnp.minimum(old[0] - fresh[0], -1e-6), 0.0, 0.999)
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


def update_snow(snow: Snow, cover: SnowCover, surface: SnowSurface, exchange: SnowExchange, dt) -> SnowUpdate:
    """Mass, temperature and albedo of the snow at the end of the step.

    Args:
        cover: geometry at the start of the step.
        surface: temperature and albedo.
        exchange: heat, vapour, rain and snow that come and go.
        dt: s.
    """
    temperature, albedo = surface
    surface_melt, sublimation, rain, snowfall, snowfall_direct, snowfall_temperature = exchange
    # Per area of snow until snowfall joins in: what melts of a pack that is hardly there (melt or mass, whichever is
    # less) is then a choice between finite numbers, and its derivative right at no snow at all.
    mass = tuple(cover.layer_mass)
    excess = tuple(layer - FREEZING_POINT for layer in temperature)
    energy = surface_melt * dt + HEAT_CAPACITY_ICE * sum(
        m * jnp.maximum(e, 0.0) for m, e in zip(mass, excess, strict=True)
    )
    excess = tuple(jnp.minimum(e, 0.0) for e in excess)

    # sublimation, top layer first; frost joins the top layer at its temperature
    lost = _remove_from_top(mass, jnp.maximum(sublimation, 0.0) * dt)
    frost = jnp.maximum(-sublimation, 0.0) * dt
    mass = tuple(m - gone for m, gone in zip(mass, lost, strict=True))
    mass = (mass[0] + frost, *mass[1:])
    advected = frost * excess[0] - sum(gone * e for gone, e in zip(lost, excess, strict=True))

    # melt, top layer first; cold ice is warmed before it melts
    cost = tuple(LATENT_HEAT_FUSION - HEAT_CAPACITY_ICE * e for e in excess)
    whole = tuple(m * c for m, c in zip(mass, cost, strict=True))
    spent = _remove_from_top(whole, energy)
    melted = tuple(jnp.minimum(e / c, m) for e, c, m in zip(spent, cost, mass, strict=True))
    heat = jnp.maximum(energy - sum(whole), 0.0)
    mass = tuple(m - gone for m, gone in zip(mass, melted, strict=True))
    melt = sum(melted)

    # refreezing of melt water and rain on its way down
    water = melt + rain * dt
    limit = tuple(
        jnp.minimum(-HEAT_CAPACITY_ICE / LATENT_HEAT_FUSION * e * m, snow.refreeze_limit * (dt / 1800.0) * m)
        for e, m in zip(excess, mass, strict=True)
    )
    refrozen = _remove_from_top(limit, water)
    heat_content = tuple(
        HEAT_CAPACITY_ICE * m * e + LATENT_HEAT_FUSION * r for m, e, r in zip(mass, excess, refrozen, strict=True)
    )
    mass = tuple(m + r for m, r in zip(mass, refrozen, strict=True))
    refreeze = sum(refrozen)

    # grid mean from here on
    area = cover.fraction
    mass, heat_content = (tuple(area * layer for layer in layers) for layers in (mass, heat_content))
    melt, refreeze, water, heat, advected = (area * amount for amount in (melt, refreeze, water, heat, advected))

    # snowfall on top
    fallen = snowfall * dt
    fallen_excess = jnp.minimum(snowfall_temperature - FREEZING_POINT, 0.0)
    brought = HEAT_CAPACITY_ICE * snowfall_direct * dt * fallen_excess
    advected = HEAT_CAPACITY_ICE * advected + brought
    mass = (mass[0] + fallen, *mass[1:])
    heat_content = (heat_content[0] + brought, *heat_content[1:])

    # new layers and their temperature
    new_total = reduce(jnp.add, mass)
    new_cover = snow_cover(new_total, snow)
    new_mass = tuple(new_cover.fraction * layer for layer in new_cover.layer_mass)
    specific = tuple(h / jnp.maximum(m, _NEGLIGIBLE_MASS) for h, m in zip(heat_content, mass, strict=True))  # J kg-1
    new_heat = _redistribute(mass, specific, new_mass)
    new_excess = tuple(
        jnp.minimum((h / HEAT_CAPACITY_ICE + _NEGLIGIBLE_MASS * fallen_excess) / (m + _NEGLIGIBLE_MASS), 0.0)
        for h, m in zip(new_heat, new_mass, strict=True)
    )
    left = sum(h - HEAT_CAPACITY_ICE * m * e for h, m, e in zip(heat_content, new_mass, new_excess, strict=True))

    # flakes on bare ground have not aged
    top = jnp.where(area > 0.0, jnp.minimum(temperature[0], FREEZING_POINT), snowfall_temperature)
    return SnowUpdate(
        mass=new_total,
        temperature=FREEZING_POINT + jnp.stack(new_excess),
        albedo=aged_albedo(albedo, snow, top, fallen, new_total, dt),
        water=(water - refreeze) / dt,
        heat=(heat + left) / dt,
        melt=melt / dt,
        refreeze=refreeze / dt,
        advected=advected / dt,
    )


def snow_layer_resistance(cover: SnowCover, snow: Snow) -> Float[Array, "3 ..."]:
    """Thermal resistance of half of each layer, m2 K W-1, bounded below so that empty layers conduct."""
    return jnp.maximum(0.5 * cover.layer_mass / (snow.density * snow.heat_conductivity), 1e-4)
