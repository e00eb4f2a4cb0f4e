"""Row 4: roughness of a canopy and bulk coefficients of its leaves and floor.

Equations: roughness after Watanabe (1994), as in MATSIRO6, chapter "Turbulence parameters";
Monin-Obukhov functions of Paulson (1970)/Dyer (1974) for unstable and Webb (1970) for stable air.
Departure: one Obukhov length, that of the whole surface, serves leaves and floor, which keeps
the leaves' share C_H - C_Hs positive. Leaves out the roughness sublayer and free convection.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import GRAVITY, REFERENCE_POTENTIAL_TEMPERATURE, VON_KARMAN
from jlsm.numerics import at_least, at_most, power
from jlsm.parameters import Snow, Soil, Vegetation
from jlsm.processes.vegetation import Canopy

HIGHEST_DISPLACEMENT = 0.5  # f_max: zero-plane displacement over reference height
MOST_UNSTABLE = -2.0  # lower limit of the stability parameter (free convection is left out; assumed)
MOST_STABLE = 1.0  # upper limit; reached only over very smooth ground, see _most_stable
STABLE_SLOPE = 5.0  # Webb (1970)
THINNEST_PROFILE = 0.3  # lower limit of ln(z/z0) - psi: a sensor inside the roughness sublayer


class Roughness(NamedTuple):
    """Neutral profiles between the surface and the reference height, per portion."""

    height: Float[Array, "2 ..."]  # z_a - d, m
    momentum: Float[Array, "2 ..."]  # ln((z_a - d) / z_0)
    heat: Float[Array, "2 ..."]  # ln((z_a - d) / z_T)
    floor_heat: Float[Array, "2 ..."]  # ln((z_a - d) / z_T-dagger)
    most_stable: Float[Array, "2 ..."]  # upper limit of the stability parameter


class BulkCoefficients(NamedTuple):
    """Bulk coefficients, dimensionless, per portion."""

    momentum: Array  # C_M
    floor: Array  # C_Hs
    leaves: Array  # C_Hc
    stability: Array  # zero where the stability parameter fits the buoyancy flux that it implies


def _most_stable(momentum):
    """Upper limit of the stability parameter: where the downward heat flux is largest.

    With a log-linear profile the flux at a given wind grows with cooling only up to
    ``zeta = ln(z/z0) / (2 STABLE_SLOPE)``; beyond, a colder surface would lose contact with the air, and the
    energy balance would have two or three solutions (the runaway cooling that Derbyshire (1999)
    describes). Holding the coefficients there makes the solution unique.
    """
    return jnp.minimum(momentum / (2.0 * STABLE_SLOPE), MOST_STABLE)


def roughness(vegetation: Vegetation, soil: Soil, snow: Snow, canopy: Canopy, reference_height) -> Roughness:
    """Roughness of both portions from leaf area, height, and the roughness of the floor."""
    flat = jnp.maximum(1.0 - canopy.snow_depth / soil.roughness_momentum, 0.0)  # 1 in the snow-free portion
    covered = canopy.snow_depth > 0.0
    floor_momentum = jnp.where(
        covered, jnp.maximum(flat * soil.roughness_momentum, snow.roughness_momentum), soil.roughness_momentum
    )
    floor_heat = jnp.where(covered, jnp.maximum(flat * soil.roughness_heat, snow.roughness_heat), soil.roughness_heat)

    # a canopy lower than its floor's roughness elements means nothing; without leaves the height drops out
    # (the second limit counts only where z_T is larger than z_0, which check_parameters refuses and a search may try)
    height = jnp.maximum(canopy.height, jnp.maximum(3.0 * floor_momentum, 2.0 * floor_heat))
    density = vegetation.leaf_drag_coefficient * canopy.leaf_area / (2.0 * VON_KARMAN**2)  # A+
    log_momentum = jnp.log(height / floor_momentum)
    log_heat = jnp.log(height / floor_heat)
    exp_density = jnp.exp(-density)
    above = -jnp.expm1(-density) / density  # (h - d) / h

    inverse_momentum = power(1.0 - exp_density + power(log_momentum, -1.0 / 0.45) * exp_density**2, 0.45)
    # log_heat is -ln(z_Ts / h)
    p1 = 0.0115 * jnp.exp(-0.1 * log_heat + 5.0 * jnp.exp(-0.22 * log_heat))  # ratio^0.1 exp(5 ratio^0.22)
    p2 = 0.55 * jnp.exp(-0.58 * jnp.exp(-0.35 * log_heat))
    # in logarithms and as the profile itself, not its inverse: a dense canopy's exp(density), and the square of a tiny
    # inverse, which a derivative divides by, leave the range of single precision
    shelter = p2 * (jnp.log(p1 * exp_density + density) + density - jnp.log(p1))
    floor = log_heat * jnp.exp(shelter)

    leaf_ratio = vegetation.leaf_heat_coefficient / vegetation.leaf_drag_coefficient  # F_T
    p3 = power(leaf_ratio + 0.084 * jnp.exp(-15.0 * leaf_ratio), 0.15)
    p4 = 2.0 * power(leaf_ratio, 1.1)
    dense = 0.5 * (jnp.sqrt(1.0 + 8.0 * leaf_ratio) - 1.0)  # C_T of an infinite canopy
    bare = jnp.log(inverse_momentum / (dense * log_heat)) - shelter  # C_T without leaf heat exchange, over dense
    product = dense * power(-jnp.expm1(-p3 * density) + jnp.exp(bare / 0.9 - p4 * density), 0.9)

    depth = height * above  # h - d
    displacement = jnp.minimum(height - depth + canopy.snow_depth, HIGHEST_DISPLACEMENT * reference_height)
    profile_height = jnp.maximum(reference_height - displacement, depth)
    log_above = jnp.log(profile_height / depth)
    momentum = log_above + 1.0 / inverse_momentum
    return Roughness(
        height=profile_height,
        momentum=momentum,
        heat=log_above + inverse_momentum / product,
        floor_heat=log_above + floor,
        most_stable=_most_stable(momentum),
    )


_ARCTANGENT = (  # Pade approximant [4/4] of arctan(t) / t in t^2, from the Taylor series, lowest power first
    (3828825.0, 6831825.0, 3738735.0, 638055.0, 16384.0),
    (3828825.0, 8108100.0, 5675670.0, 1455300.0, 99225.0),
)


@jax.custom_jvp
def _arctangent(t):
    """arctan(t) for 0 <= t <= 1/2, to the last digit of a double: half the angle, then a rational function.

    (The library's arctangent is a call per number on a CPU and keeps all around it from being vectorised.)
    """
    half = t / (1.0 + jnp.sqrt(1.0 + t * t))
    square = half * half  # below 0.056
    above, below = (functools.reduce(lambda sum, c: sum * square + c, reversed(series)) for series in _ARCTANGENT)
    return 2.0 * half * (above / below)


_arctangent.defjvps(lambda change, _, t: change / (1.0 + t * t))


def stability_functions(stability):
    """Integrated stability functions psi of momentum and heat (they are subtracted from the logarithm)."""
    unstable = stability < 0.0
    guarded = jnp.where(unstable, stability, -1.0)
    x_squared = jnp.sqrt(1.0 - 16.0 * guarded)
    x = jnp.sqrt(x_squared)
    psi_heat = 2.0 * jnp.log(0.5 * (1.0 + x_squared))
    psi_momentum = 2.0 * jnp.log(0.5 * (1.0 + x)) + 0.5 * psi_heat - 2.0 * _arctangent((x - 1.0) / (x + 1.0))
    stable = -STABLE_SLOPE * stability
    return jnp.where(unstable, psi_momentum, stable), jnp.where(unstable, psi_heat, stable)


def stability_per_buoyancy(rough: Roughness, wind) -> Float[Array, "2 ..."]:
    """Stability parameter per unit of (bulk coefficient times warmer surface), K-1, with neutral friction.

    Args:
        wind: m s-1.
    """
    neutral = VON_KARMAN / rough.momentum
    return rough.height * VON_KARMAN * GRAVITY / (REFERENCE_POTENTIAL_TEMPERATURE * neutral**3 * wind**2)


def bulk_coefficients(rough: Roughness, stability, floor_warmer, leaves_warmer, per_buoyancy) -> BulkCoefficients:
    """Bulk coefficients for a guess of the stability parameter, and how far that is from consistent.

    Args:
        stability: (z_a - d) over the Obukhov length, as a share of its limit on the stable (> 0) or
            unstable (< 0) side, so that its kinks lie at -1, 0 and 1.
        floor_warmer, leaves_warmer: surface minus air potential temperature, K.
        per_buoyancy: from ``stability_per_buoyancy``, K-1.
    """
    # beyond its limits the parameter still measures buoyancy, it only has no further effect: a solver
    # that comes back from there knows how far it is
    unit = jnp.where(stability > 0.0, rough.most_stable, -MOST_UNSTABLE)
    psi_momentum, psi_heat = stability_functions(unit * at_most(at_least(stability, -1.0), 1.0))
    momentum = VON_KARMAN / at_least(rough.momentum - psi_momentum, THINNEST_PROFILE)
    heat = VON_KARMAN / at_least(rough.heat - psi_heat, THINNEST_PROFILE)
    floor = VON_KARMAN / at_least(rough.floor_heat - psi_heat, THINNEST_PROFILE)
    floor_coefficient = momentum * floor
    # equal only where both profiles stand at their lower limit
    leaves_coefficient = momentum * at_least(heat - floor, 1e-6)
    buoyancy = floor_coefficient * floor_warmer + leaves_coefficient * leaves_warmer
    of_neutral = momentum * rough.momentum / VON_KARMAN
    return BulkCoefficients(
        momentum=momentum**2,
        floor=floor_coefficient,
        leaves=leaves_coefficient,
        # written so that its slope by the stability parameter is positive up to the limit and beyond
        stability=stability * of_neutral**3 + buoyancy / unit * per_buoyancy,
    )
