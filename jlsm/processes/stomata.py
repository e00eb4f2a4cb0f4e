"""Row 5: photosynthesis and stomatal conductance, C3 and C4.

Solves nothing itself: gives the residual of the coupled system "assimilation = supply of CO2
through the stomata", whose root is found with the energy balance. Equations: Farquhar et al.
(1980), Collatz et al. (1991, 1992) and Ball et al. (1988) in the form of SiB2 (Sellers et al.
1996) and MATSIRO6, chapter "Stomatal resistance"; c_i is solved, not iterated six times.
Leaves out sunlit and shaded leaves; light and Rubisco decline together down the canopy.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import GAS_CONSTANT
from jlsm.numerics import decay_mean, smooth_minimum
from jlsm.parameters import Vegetation

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
    total = jnp.sum(weight, axis=0)
    return total, weight / total


def canopy_mean_factor(attenuation, leaf_area):
    """f_avr: mean over the canopy of a profile exp(-a L), relative to its top."""
    return decay_mean(LIGHT_ADJUSTMENT * attenuation * leaf_area)


def _temperature_response(temperature):
    tens = (temperature - 298.0) / 10.0
    return (lambda base: jnp.exp(jnp.log(base) * tens)), tens


def gross_assimilation(c4: bool, path: Pathway, light_coupling, sink_coupling, leaf: LeafEnvironment, temperature, ci):
    """Gross assimilation and dark respiration at the canopy top, umol m-2 s-1.

    Args:
        temperature: leaf temperature, K.
        ci: CO2 partial pressure inside the leaf, Pa.
    """
    power, _ = _temperature_response(temperature)
    hot = jax.nn.sigmoid(-0.3 * (temperature - path.heat_limit))
    cold = jax.nn.sigmoid(-0.2 * (path.cold_limit - temperature))
    respiration_hot = jax.nn.sigmoid(-1.3 * (temperature - 328.0))
    vcmax = path.vcmax * leaf.stress
    respiration = path.respiration * vcmax * power(2.0) * respiration_hot
    light = leaf.light * path.quantum_efficiency
    if c4:
        rubisco = vcmax * power(2.1) * hot * cold
        sink = vcmax * power(1.8) * 2.0e4 * jnp.maximum(ci, 0.0) / leaf.pressure
    else:
        michaelis = 30.0 * power(2.1) * (1.0 + OXYGEN / (30000.0 * power(1.2)))
        compensation = 0.5 * OXYGEN / (2600.0 * power(0.57))
        excess = jnp.maximum(ci - compensation, 0.0)
        rubisco = vcmax * power(2.1) * hot * excess / (excess + compensation + michaelis)
        light = light * excess / (excess + 3.0 * compensation)
        sink = 0.5 * vcmax * power(1.8) * cold
    both = smooth_minimum(rubisco, light, light_coupling, NEGLIGIBLE_ASSIMILATION)
    return smooth_minimum(both, sink, sink_coupling, NEGLIGIBLE_ASSIMILATION), respiration


def stomatal_conductance(path: Pathway, leaf: LeafEnvironment, assimilation, leaf_conductance, leaf_vapour_pressure):
    """Stomatal conductance for water vapour and CO2 pressure inside the leaf, for a given assimilation.

    Closed form: the larger root of the quadratic that Ball-Berry and the vapour balance of the
    leaf surface give (MATSIRO6, eq. 100), multiplied by A_n so that darkness needs no division.

    Args:
        assimilation: net, mean of the canopy, umol m-2 s-1 per leaf area.
        leaf_conductance: leaf surface to air, mol m-2 s-1 per leaf area.
        leaf_vapour_pressure: saturation inside the leaf, Pa.

    Returns:
        (conductance in mol m-2 s-1 per leaf area, c_i in Pa).
    """
    surface_co2 = jnp.maximum(leaf.co2 - 1.4 * assimilation / leaf_conductance, 10.0)
    demand = path.slope * jnp.maximum(assimilation, 0.0) / surface_co2
    floor = path.intercept * leaf.stress + CUTICULAR_CONDUCTANCE
    humidity = jnp.minimum(leaf.vapour_pressure / leaf_vapour_pressure, 1.0)
    linear = floor + demand - leaf_conductance
    constant = leaf_conductance * (floor + demand * humidity)
    half = 0.5 * (jnp.sqrt(linear**2 + 4.0 * constant) + jnp.abs(linear))
    conductance = jnp.where(linear > 0.0, half, constant / half)
    ci = (surface_co2 - 1.6 * assimilation / conductance) * 1e-6 * leaf.pressure
    return conductance, ci


def molar_conductance(velocity, pressure, temperature):
    """Conductance in mol m-2 s-1 from m s-1."""
    return velocity * pressure / (GAS_CONSTANT * temperature)
