"""Row 5: photosynthesis and stomatal conductance, C3 and C4.

Solves nothing itself: gives the residual of the coupled system "assimilation = supply of CO2
through the stomata", whose root c_i is found with the energy balance. Equations: Farquhar et al.
(1980), Collatz et al. (1991, 1992) and Ball et al. (1988) in the form of SiB2 (Sellers et al.
1996) and MATSIRO6, chapter "Stomatal resistance"; c_i is solved, not iterated six times.
Leaves out sunlit and shaded leaves; light and Rubisco decline together down the canopy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import GAS_CONSTANT
from jlsm.numerics import at_least, at_most, decay_mean, smooth_minimum, total
from jlsm.parameters import Vegetation
from jlsm.processes.radiation import Radiation
from jlsm.processes.solar import Atmosphere
from jlsm.processes.vegetation import Canopy

OXYGEN = 20900.0  # Pa, partial pressure in SiB2
PHOTONS_PER_JOULE = 4.6  # umol J-1 of visible light (McCree 1981)
LIGHT_ADJUSTMENT = 1.0  # f_atn of MATSIRO6
CUTICULAR_CONDUCTANCE = 1e-6  # mol m-2 s-1: leaves never close entirely, so r_st stays finite
NEGLIGIBLE_ASSIMILATION = 1e-3  # umol m-2 s-1, scale of the smooth minimum
STRESS_SLOPE = 0.02  # m-1, of the soil moisture stress


class LeafEnvironment(NamedTuple):
    """What leaves see, apart from their temperature and the air's stability; per portion."""

    light: Float[Array, "2 ..."]  # umol m-2 s-1 absorbed per leaf area at the canopy top
    canopy_mean: Float[Array, "2 ..."]  # f_avr: canopy mean over canopy top
    stress: Float[Array, "..."]  # f_w, 0 (dry) to 1
    co2: Float[Array, "..."]  # umol mol-1 in the air
    vapour_pressure: Float[Array, "..."]  # Pa in the air
    pressure: Float[Array, "..."]  # Pa


def leaf_environment(vegetation: Vegetation, air: Atmosphere, canopy: Canopy, light: Radiation, stress):
    """What leaves see: light and soil moisture stress (from ``moisture_stress``) in the air of the step."""
    clumped = canopy.leaf_area / vegetation.vegetation_cover  # light sees leaves where they stand
    canopy_mean = canopy_mean_factor(light.attenuation, clumped)
    return LeafEnvironment(
        light=PHOTONS_PER_JOULE * light.canopy_visible / (canopy.leaf_area * canopy_mean),
        canopy_mean=canopy_mean,
        stress=stress,
        co2=air.co2,
        vapour_pressure=air.vapour_pressure,
        pressure=air.pressure,
    )


class Pathway(NamedTuple):
    """Parameters of the C3 or the C4 pathway."""

    vcmax: Array
    slope: Array
    intercept: Array
    quantum_efficiency: Array
    respiration: Array
    heat_limit: Array
    cold_limit: Array


def c3_pathway(v: Vegetation) -> Pathway:
    """The C3 parameters of the vegetation."""
    return Pathway(
        v.vcmax25,
        v.ball_berry_slope,
        v.ball_berry_intercept,
        v.quantum_efficiency,
        v.dark_respiration_fraction,
        v.high_temperature_limit,
        v.low_temperature_limit,
    )


def c4_pathway(v: Vegetation) -> Pathway:
    """The C4 parameters of the vegetation."""
    return Pathway(
        v.vcmax25_c4,
        v.ball_berry_slope_c4,
        v.ball_berry_intercept_c4,
        v.quantum_efficiency_c4,
        v.dark_respiration_fraction_c4,
        v.high_temperature_limit_c4,
        v.low_temperature_limit_c4,
    )


def moisture_stress(potential, root_fraction, critical_potential):
    """Soil moisture stress of the whole root zone and the share of uptake from each layer.

    Args:
        potential: matric potential ``[soil, ...]``, m.
        root_fraction: ``[soil, ...]``, sums to 1.
        critical_potential: psi_cr, m.

    Returns:
        (f_w, uptake share ``[soil, ...]`` that sums to 1).
    """
    weight = jax.nn.sigmoid(STRESS_SLOPE * (potential - critical_potential)) * root_fraction + 1e-12 * root_fraction
    stress = total(weight)
    return stress, weight / stress


def canopy_mean_factor(attenuation, leaf_area):
    """f_avr: mean over the canopy of a profile exp(-a L), relative to its top."""
    return decay_mean(LIGHT_ADJUSTMENT * attenuation * leaf_area)


class Limits(NamedTuple):
    """A pathway in its light, air and soil: all of photosynthesis that leaf temperature has no part in."""

    vcmax: Float[Array, "..."]  # umol m-2 s-1, soil moisture stress included
    light: Float[Array, "2 ..."]  # umol m-2 s-1 of CO2 that the light would fix
    respiration: Float[Array, "..."]  # umol m-2 s-1
    sink_per_ci: Float[Array, "..."]  # C4: umol m-2 s-1 Pa-1
    slope: Float[Array, "..."]
    floor: Float[Array, "..."]  # mol m-2 s-1, conductance without assimilation
    heat_limit: Float[Array, "..."]
    cold_limit: Float[Array, "..."]
    light_roundness: Float[Array, "..."]
    sink_roundness: Float[Array, "..."]
    co2: Float[Array, "..."]  # umol mol-1
    vapour_pressure: Float[Array, "..."]  # Pa
    co2_pressure: Float[Array, "..."]  # Pa of CO2 in the air


def limits(path: Pathway, light_coupling, sink_coupling, leaf: LeafEnvironment) -> Limits:
    """Prepare a pathway for ``gross_assimilation`` and ``stomatal_conductance``."""
    vcmax = path.vcmax * leaf.stress
    return Limits(
        vcmax=vcmax,
        light=leaf.light * path.quantum_efficiency,
        respiration=path.respiration * vcmax,
        sink_per_ci=vcmax * 2.0e4 / leaf.pressure,
        slope=path.slope,
        floor=path.intercept * leaf.stress + CUTICULAR_CONDUCTANCE,
        heat_limit=path.heat_limit,
        cold_limit=path.cold_limit,
        light_roundness=1.0 - light_coupling,
        sink_roundness=1.0 - sink_coupling,
        co2=leaf.co2,
        vapour_pressure=leaf.vapour_pressure,
        co2_pressure=1e-6 * leaf.pressure * leaf.co2,
    )


def gross_assimilation(c4: bool, limits: Limits, temperature, ci):
    """Gross assimilation and dark respiration at the canopy top, umol m-2 s-1.

    Args:
        temperature: leaf temperature, K.
        ci: CO2 partial pressure inside the leaf, Pa.
    """
    tens = (temperature - 298.0) / 10.0

    def power(base: float):  # base ** tens
        return jnp.exp(tens * math.log(base))

    hot = jax.nn.sigmoid((limits.heat_limit - temperature) * 0.3)
    cold = jax.nn.sigmoid((temperature - limits.cold_limit) * 0.2)
    respiration = power(2.0) * jax.nn.sigmoid(-1.3 * (temperature - 328.0)) * limits.respiration
    if c4:
        rubisco = power(2.1) * hot * cold * limits.vcmax
        light = limits.light
        per_ci = power(1.8) * limits.sink_per_ci
        sink = at_least(ci, 0.0) * per_ci
        below = at_most(ci, 0.0) * per_ci
    else:
        michaelis = 30.0 * power(2.1) + (30.0 * OXYGEN / 30000.0) * power(2.1 / 1.2)  # K_c (1 + O / K_o)
        compensation = (0.5 * OXYGEN / 2600.0) * power(1.0 / 0.57)
        excess = at_least(ci - compensation, 0.0)
        capacity = power(2.1) * hot * limits.vcmax
        rubisco = excess / (excess + compensation + michaelis) * capacity
        light = excess / (excess + 3.0 * compensation) * limits.light
        below = at_most(ci - compensation, 0.0) / (compensation + michaelis) * capacity
        sink = 0.5 * power(1.8) * cold * limits.vcmax
    both = smooth_minimum(rubisco, light, limits.light_roundness, NEGLIGIBLE_ASSIMILATION)
    # A straight line below the compensation point, met on the way to a solution, not at one: it makes the balance
    # of demand and supply concave, so that Newton's method cannot jump to and fro over the corner
    return smooth_minimum(both, sink, limits.sink_roundness, NEGLIGIBLE_ASSIMILATION) + below, respiration


def stomatal_conductance(limits: Limits, assimilation, leaf_conductance, leaf_vapour_pressure):
    """Stomatal conductance for water vapour and CO2 at the leaf surface, for a given assimilation.

    Closed form: the larger root of the quadratic that Ball-Berry and the vapour balance of the
    leaf surface give (MATSIRO6, eq. 100), multiplied by A_n so that darkness needs no division.

    Args:
        assimilation: net, mean of the canopy, umol m-2 s-1 per leaf area.
        leaf_conductance: leaf surface to air, mol m-2 s-1 per leaf area.
        leaf_vapour_pressure: saturation inside the leaf, Pa.

    Returns:
        (conductance in mol m-2 s-1 per leaf area, CO2 at the leaf surface in umol mol-1).
    """
    surface_co2 = limits.co2 - 1.4 * assimilation / leaf_conductance
    demand = at_least(assimilation, 0.0) / at_least(surface_co2, 10.0) * limits.slope
    humidity = at_most(limits.vapour_pressure / leaf_vapour_pressure, 1.0)
    linear = demand - leaf_conductance + limits.floor
    constant = leaf_conductance * (demand * humidity + limits.floor)
    half = 0.5 * (jnp.sqrt(linear * linear + 4.0 * constant) + jnp.abs(linear))
    conductance = jnp.where(linear > 0.0, half, constant / half)
    return conductance, surface_co2


def carbon_surplus(limits: Limits, share, assimilation, conductance, surface_co2):
    """What stomata let in beyond what leaves assimilate, umol m-2 s-1 per leaf area; zero at the solution.

    A product, not c_i = c_s - 1.6 A_n / g_s: where stomata are nearly shut that quotient drops from the air's c_i to
    far below zero within a sliver of assimilation, flat on both sides, and Newton's method would leap to and fro.

    Args:
        share: CO2 inside the leaf over that in the air, -.
        assimilation: net, that of this ``share``; conductance, surface_co2: from ``stomatal_conductance``.
    """
    return conductance * (surface_co2 - share * limits.co2) - 1.6 * assimilation


def molar_conductance(velocity, pressure, temperature):
    """Conductance in mol m-2 s-1 from m s-1."""
    return velocity * pressure / (GAS_CONSTANT * temperature)
