"""Row 13: movement of soil water.

Solves Richards' equation for six layers, implicit in potential and conductivity (one linearised
step); what a layer can not hold is moved afterwards (``soil_limits.py``).
Equations: MATSIRO6, chapter "Soil" (moisture movement), hydraulics of Clapp & Hornberger (1978).
Departures: suction drives water through the integral of the conductivity between two layers, gravity
through the conductivity of the upper one, both implicit (MATSIRO6 takes the wetter layer's
conductivity for both, explicit, which over layers of metres lifts ten times too much water into a dry
root zone and can empty a layer in one step); below a potential
of -1e4 m the retention curve goes on along its tangent, so it is finite in dry and frozen soil.
Leaves out vapour transport and macropores.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import WATER_DENSITY
from jlsm.numerics import running_total, solve_tridiagonal, total
from jlsm.parameters import Soil

DRIEST_POTENTIAL = 1e4  # m of suction (pF 6, air dry): beyond it the curve is its tangent


class Hydraulics(NamedTuple):
    """Potential and conductivity of each layer, ``[soil, ...]``."""

    saturation: Array  # W, of the pore space that ice leaves
    potential: Array  # psi, m
    potential_slope: Array  # d psi / d w, m
    matric_flux_potential: Array  # integral of K over psi, m2 s-1
    conductivity: Array  # m s-1
    conductivity_slope: Array  # d K / d w, m s-1
    ice_share: Array  # frozen water over porosity


def hydraulics(soil: Soil, moisture: Float[Array, "soil ..."], ice: Float[Array, "soil ..."]) -> Hydraulics:
    """Matric potential and conductivity with their slopes, finite for any water content.

    Args:
        moisture, ice: total and frozen water, m3 m-3.
    """
    b = soil.clapp_hornberger_b
    # ice may fill all pores; a sliver of pore space keeps the saturation defined
    pores = jnp.maximum(soil.porosity - ice, 0.01 * soil.porosity)
    saturation = jnp.clip((moisture - ice) / pores, 0.0, 1.0)
    driest = jnp.exp(-jnp.log(DRIEST_POTENTIAL / -soil.saturated_potential) / b)
    held = jnp.maximum(saturation, driest)
    logarithm = jnp.log(held)
    on_curve = soil.saturated_potential * jnp.exp(-b * logarithm)
    slope = -b * on_curve / held
    potential = on_curve + slope * jnp.minimum(saturation - driest, 0.0)
    conductivity = soil.saturated_conductivity * jnp.exp((2.0 * b + 3.0) * logarithm)
    # integral of K d psi = -b psi_s K_s W^(b+3) / (b+3), along the tangent where it is dry
    matric = b / (b + 3.0) * -on_curve * conductivity + conductivity * slope * jnp.minimum(saturation - driest, 0.0)
    ice_share = jnp.clip(ice / soil.porosity, 0.0, 1.0)
    return Hydraulics(
        saturation=saturation,
        potential=potential,
        potential_slope=slope / pores,
        matric_flux_potential=matric,
        conductivity=conductivity,
        conductivity_slope=(2.0 * b + 3.0) * conductivity / (held * pores),
        ice_share=ice_share,
    )


def _interface_flux(hydraulic: Hydraulics, distance):
    """Downward flux between layers, m s-1, and its slopes by the water of the upper and lower layer.

    Suction acts through the integral of the conductivity over the potential between the layers
    (the matric flux potential), gravity with the conductivity of the upper layer; a flux is zero
    at hydrostatic equilibrium and K at unit gradient. All three branches join continuously, the
    slope by the upper layer is never negative and that by the lower never positive.
    """
    potential, slope, k = hydraulic.potential, hydraulic.potential_slope, hydraulic.conductivity
    matric, k_slope = hydraulic.matric_flux_potential, hydraulic.conductivity_slope
    impeded = (1.0 - hydraulic.ice_share[:-1]) * (1.0 - hydraulic.ice_share[1:])
    drop = potential[:-1] - potential[1:]  # > 0: the upper layer is wetter
    matric_drop = matric[:-1] - matric[1:]
    matric_upper, matric_lower = k[:-1] * slope[:-1], k[1:] * slope[1:]  # d matric / d w
    wetting = drop >= 0.0
    rising = drop < -distance

    down = matric_drop / distance + k[:-1]
    sinking = k[:-1] * (1.0 + drop / distance)
    steep = jnp.where(rising, drop, -distance)  # guarded: elsewhere the branch is not taken
    share = 1.0 / distance + 1.0 / steep
    up = matric_drop * share

    flux = jnp.where(wetting, down, jnp.where(rising, up, sinking))
    by_upper = jnp.where(
        wetting,
        matric_upper / distance + k_slope[:-1],
        jnp.where(
            rising,
            matric_upper * share - matric_drop / steep**2 * slope[:-1],
            k[:-1] * slope[:-1] / distance + k_slope[:-1] * (1.0 + drop / distance),
        ),
    )
    by_lower = jnp.where(
        wetting,
        -matric_lower / distance,
        jnp.where(rising, -matric_lower * share + matric_drop / steep**2 * slope[1:], -k[:-1] * slope[1:] / distance),
    )
    return impeded * flux, impeded * by_upper, impeded * by_lower


def water_movement(hydraulic: Hydraulics, thickness, infiltration, sink, dt) -> Float[Array, "soil ..."]:
    """Change of soil water by Richards' equation, m3 m-3; conserves water to round-off.

    Args:
        thickness: ``[soil, 1...]``, m.
        infiltration: water entering at the top less evaporation leaving there, kg m-2 s-1.
        sink: water taken from each layer, ``[soil, ...]``, kg m-2 s-1.
        dt: s.

    Returns:
        Change per layer; the new content may exceed porosity (see ``soil_limits.confine``).
    """
    distance = 0.5 * (thickness[:-1] + thickness[1:])
    flux, by_upper, by_lower = _interface_flux(hydraulic, distance)

    zero = jnp.zeros_like(flux[:1])
    above = jnp.concatenate([zero, flux])
    below = jnp.concatenate([flux, zero])
    enters = jnp.concatenate([(infiltration / WATER_DENSITY)[None], jnp.zeros_like(flux)])
    lower = -jnp.concatenate([zero, by_upper])
    upper = jnp.concatenate([by_lower, zero])
    diagonal = thickness / dt + jnp.concatenate([by_upper, zero]) - jnp.concatenate([zero, by_lower])
    change = solve_tridiagonal(lower, diagonal, upper, above - below + enters - sink / WATER_DENSITY)
    # water moves as fluxes, so that rounding in the solve cannot create or destroy it
    flux = flux + by_upper * change[:-1] + by_lower * change[1:]
    above = jnp.concatenate([zero, flux])
    below = jnp.concatenate([flux, zero])
    return (above - below + enters - sink / WATER_DENSITY) * dt / thickness


def root_fractions(depth_scale, thickness: Float[Array, "soil ..."]) -> Float[Array, "soil ..."]:
    """Share of roots in each layer for an exponential profile with e-folding depth ``depth_scale`` (m)."""
    base = running_total(thickness)
    share = jnp.exp(-(base - thickness) / depth_scale) - jnp.exp(-base / depth_scale)
    return share / total(share)
