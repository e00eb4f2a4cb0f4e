"""Row 6: energy balance of canopy and ground, with stability, stomata and melt solved together.

Solves, for the snow-free and the snow-covered portion at once, five coupled equations: energy
balance of the ground, of the leaves, the Obukhov length, and assimilation of both photosynthetic
pathways. Equations: MATSIRO6, chapter "Surface energy balance".
Departures: the balance is converged (MATSIRO6 takes one linearised step); heat conduction uses
the temperature that the first layer will have at the end of the step; leaves evaporate
intercepted water with the exact decay of their wet share over the step; freezing and melting of
water on leaves is part of the leaves' own balance; soil takes up vapour only below the dew point.
Leaves out heat storage in the canopy.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import (
    FREEZING_POINT,
    GAS_CONSTANT_VAPOUR,
    GRAVITY,
    HEAT_CAPACITY_AIR,
    LATENT_HEAT_FUSION,
    LATENT_HEAT_VAPORISATION,
    STEFAN_BOLTZMANN,
)
from jlsm.numerics import decay_mean, implicit_solve, ramp
from jlsm.numerics.implicit import NewtonOptions, newton_step
from jlsm.parameters import Soil, Vegetation
from jlsm.processes.humidity import saturation_vapour_pressure, specific_humidity
from jlsm.processes.solar import Atmosphere
from jlsm.processes.stomata import (
    LeafEnvironment,
    c3_pathway,
    c4_pathway,
    gross_assimilation,
    molar_conductance,
    stomatal_conductance,
)
from jlsm.processes.turbulence import Roughness, bulk_coefficients

MELT_CONDUCTANCE = 100.0  # W m-2 K-1, slope of the melt branch; any positive value gives the same melt
FREEZING_RANGE = 1.0  # K over which water on leaves freezes: a ramp in place of a step
_NO_MELT = 1e3  # K above air: a portion without snow never reaches its melt branch

# Unknowns, fastest first: A_n of C3 and of C4 (umol m-2 s-1), leaf and ground departure from air (K),
# and, last because it is the one to be bracketed, the stability parameter as a share of its limit
_OPTIONS = NewtonOptions(
    lower=(-50.0, -50.0, -80.0, -80.0, -5e3),
    upper=(150.0, 150.0, 80.0, 120.0, 5e3),
    largest_step=(20.0, 20.0, 8.0, 12.0, 50.0),
    scale=(5.0, 5.0, 20.0, 20.0, 0.5),
)


class SurfaceInputs(NamedTuple):
    """Everything the balance depends on. Portion-wise fields are ``[2, ...]``."""

    air: Atmosphere
    vegetation: Vegetation
    rough: Roughness
    leaf: LeafEnvironment
    leaf_area: Float[Array, "2 ..."]
    shortwave_ground: Float[Array, "2 ..."]  # W m-2
    shortwave_canopy: Float[Array, "2 ..."]  # W m-2
    longwave_transmissivity: Float[Array, "2 ..."]
    emissivity: Float[Array, "..."]
    ground_humidity: Float[Array, "2 ..."]  # h_soil; 1 over snow
    ground_resistance: Float[Array, "2 ..."]  # r_soil, s m-1; 0 over snow
    ground_frozen: Float[Array, "2 ..."]  # share of ground evaporation that is ice
    ground_available: Float[Array, "2 ..."]  # kg m-2 s-1: most the ground can lose in the step
    root_available: Float[Array, "..."]  # kg m-2 s-1: most that roots can take up in the step
    conductance: Float[Array, "2 ..."]  # W m-2 K-1 into the ground, implicit response included
    conduction_reference: Float[Array, "2 ..."]  # K, first layer's end temperature without surface flux
    snow_covered: Float[Array, "2 ..."]  # 0 or 1: which portion has a melt branch
    canopy_water: Float[Array, "..."]  # kg m-2
    canopy_ice: Float[Array, "..."]  # kg m-2
    canopy_capacity: Float[Array, "2 ..."]  # kg m-2
    dt: Float[Array, "..."]  # s


class SurfaceFluxes(NamedTuple):
    """Fluxes of both portions, ``[2, ...]``; turbulent fluxes up, radiation and conduction down."""

    ground_temperature: Array  # K, T_s
    canopy_temperature: Array  # K, T_c
    sensible_ground: Array  # W m-2
    sensible_canopy: Array  # W m-2
    evaporation_ground: Array  # kg m-2 s-1
    transpiration: Array  # kg m-2 s-1
    evaporation_canopy: Array  # kg m-2 s-1
    latent_ground: Array  # W m-2
    latent_canopy: Array  # W m-2
    longwave_up: Array  # W m-2
    conduction: Array  # W m-2 into the ground or snow
    melt: Array  # W m-2 spent on melting at the surface
    canopy_frozen: Array  # frozen share of what evaporates from wet leaves
    canopy_ice: Array  # kg m-2 on leaves after freezing or melting
    canopy_freezing: Array  # W m-2 released by water freezing on leaves
    gross_assimilation: Array  # umol m-2 s-1 per ground area
    friction_velocity: Array  # m s-1
    balance_ground: Array  # W m-2 left over
    balance_canopy: Array  # W m-2 left over
    residual: Array  # [5, 2, ...] of the system that is solved


def surface_fluxes(unknowns: Float[Array, "5 2 ..."], s: SurfaceInputs) -> SurfaceFluxes:
    """All fluxes for given unknowns, and what each equation leaves."""
    assimilation_c3, assimilation_c4, leaves_warmer, ground_unbounded, stability = unknowns
    air, vegetation = s.air, s.vegetation
    reference = air.potential_temperature

    # snow does not warm above freezing: beyond it the unknown measures melt
    ceiling = jnp.where(s.snow_covered > 0.0, FREEZING_POINT - reference, _NO_MELT)
    floor_warmer = jnp.minimum(ground_unbounded, ceiling)
    melt = MELT_CONDUCTANCE * jnp.maximum(ground_unbounded - ceiling, 0.0)
    ground_temperature = reference + floor_warmer
    canopy_temperature = reference + leaves_warmer

    bulk = bulk_coefficients(s.rough, stability, floor_warmer, leaves_warmer, air.wind)
    floor_velocity = bulk.floor * air.wind
    leaf_velocity = bulk.leaves * air.wind
    heat = HEAT_CAPACITY_AIR * air.density
    sensible_ground = heat * floor_velocity * floor_warmer
    sensible_canopy = heat * leaf_velocity * leaves_warmer

    # photosynthesis and stomata
    pressure_canopy = saturation_vapour_pressure(canopy_temperature)
    moles = molar_conductance(1.0, air.pressure, reference)  # mol m-2 s-1 of a conductance of 1 m s-1
    per_leaf = leaf_velocity * moles / s.leaf_area
    c3, c4 = c3_pathway(vegetation), c4_pathway(vegetation)
    conductance_c3, ci_c3 = stomatal_conductance(c3, s.leaf, assimilation_c3, per_leaf, pressure_canopy)
    conductance_c4, ci_c4 = stomatal_conductance(c4, s.leaf, assimilation_c4, per_leaf, pressure_canopy)
    joins = (vegetation.light_coupling, vegetation.sink_coupling)
    gross_c3, dark_c3 = gross_assimilation(False, c3, *joins, s.leaf, canopy_temperature, ci_c3)
    gross_c4, dark_c4 = gross_assimilation(True, c4, *joins, s.leaf, canopy_temperature, ci_c4)
    share = vegetation.c4_fraction
    stomatal = (1.0 - share) * conductance_c3 + share * conductance_c4
    stomatal_velocity = stomatal * s.leaf_area / moles

    # ground evaporation; dew meets no soil resistance, and forms only on ground below the dew point: dry
    # soil would otherwise draw vapour from the air at the full turbulent rate
    humidity_ground = specific_humidity(saturation_vapour_pressure(ground_temperature), air.pressure)
    evaporating = jnp.maximum(s.ground_humidity * humidity_ground - air.humidity, 0.0)
    condensing = jnp.minimum(humidity_ground - air.humidity, 0.0)
    damped = floor_velocity / (1.0 + s.ground_resistance * floor_velocity)
    evaporation_ground = jnp.minimum(
        air.density * (damped * evaporating + floor_velocity * condensing), s.ground_available
    )
    latent_ground = (LATENT_HEAT_VAPORISATION + s.ground_frozen * LATENT_HEAT_FUSION) * evaporation_ground

    # leaves: the wet share dries out over the step, the rest transpires; dew wets all of them
    humidity_canopy = specific_humidity(pressure_canopy, air.pressure)
    deficit_canopy = humidity_canopy - air.humidity
    potential = air.density * leaf_velocity * deficit_canopy
    drying = jnp.maximum(potential, 0.0)
    stored = jnp.minimum(s.canopy_water, s.canopy_capacity)
    wet = stored / s.canopy_capacity * decay_mean(drying * s.dt / s.canopy_capacity)
    evaporation_canopy = wet * drying + jnp.minimum(potential, 0.0)
    transpiration = (1.0 - wet) * drying * stomatal_velocity / (leaf_velocity + stomatal_velocity)
    transpiration = jnp.minimum(transpiration, s.root_available)
    frozen = ramp((FREEZING_POINT - canopy_temperature) / FREEZING_RANGE)
    latent_canopy = (
        LATENT_HEAT_VAPORISATION * transpiration
        + (LATENT_HEAT_VAPORISATION + frozen * LATENT_HEAT_FUSION) * evaporation_canopy
    )
    # water beyond what the leaves above the snow can hold (most of it, where they are buried) keeps its phase
    exposed = jnp.minimum(s.canopy_capacity / jnp.maximum(s.canopy_water, s.canopy_capacity), 1.0)
    canopy_ice = s.canopy_ice + exposed * (frozen * s.canopy_water - s.canopy_ice)
    canopy_freezing = LATENT_HEAT_FUSION * (canopy_ice - s.canopy_ice) / s.dt

    # longwave radiation
    opaque = 1.0 - s.longwave_transmissivity
    emitted_ground = s.emissivity * STEFAN_BOLTZMANN * ground_temperature**4
    emitted_canopy = s.emissivity * STEFAN_BOLTZMANN * canopy_temperature**4
    incoming = s.emissivity * air.longwave
    longwave_ground = incoming * s.longwave_transmissivity - emitted_ground + opaque * emitted_canopy
    longwave_canopy = opaque * (incoming + emitted_ground - 2.0 * emitted_canopy)
    longwave_up = (
        s.longwave_transmissivity * emitted_ground + opaque * emitted_canopy + (1.0 - s.emissivity) * air.longwave
    )

    conduction = s.conductance * (ground_temperature - s.conduction_reference)
    balance_ground = s.shortwave_ground + longwave_ground - sensible_ground - latent_ground - conduction - melt
    balance_canopy = s.shortwave_canopy + longwave_canopy - sensible_canopy - latent_canopy + canopy_freezing

    residual = jnp.stack(
        [
            s.leaf.canopy_mean * (gross_c3 - dark_c3) - assimilation_c3,
            s.leaf.canopy_mean * (gross_c4 - dark_c4) - assimilation_c4,
            balance_canopy,
            balance_ground,
            bulk.stability,
        ]
    )
    gross = (1.0 - share) * gross_c3 + share * gross_c4
    return SurfaceFluxes(
        ground_temperature=ground_temperature,
        canopy_temperature=canopy_temperature,
        sensible_ground=sensible_ground,
        sensible_canopy=sensible_canopy,
        evaporation_ground=evaporation_ground,
        transpiration=transpiration,
        evaporation_canopy=evaporation_canopy,
        latent_ground=latent_ground,
        latent_canopy=latent_canopy,
        longwave_up=longwave_up,
        conduction=conduction,
        melt=melt,
        canopy_frozen=frozen,
        canopy_ice=canopy_ice,
        canopy_freezing=canopy_freezing,
        gross_assimilation=gross * s.leaf.canopy_mean * s.leaf_area,
        friction_velocity=jnp.sqrt(bulk.momentum) * air.wind,
        balance_ground=balance_ground,
        balance_canopy=balance_canopy,
        residual=residual,
    )


def ground_wetness(soil: Soil, soil_moisture, soil_ice, potential, temperature, pond_cover):
    """What bare, partly frozen, partly flooded ground offers to evaporation.

    Args:
        soil_moisture, soil_ice, potential, temperature: of the uppermost layer.
        pond_cover: share of the ground under water.

    Returns:
        (relative humidity h_soil, resistance r_soil in s m-1, frozen share of the evaporation).
    """
    saturation = jnp.clip(soil_moisture / soil.porosity, 0.0, 1.0)
    resistance = soil.soil_evaporation_a1 * (1.0 - saturation) / (soil.soil_evaporation_a2 + saturation)
    # Philip (1957): the gas constant is that of water vapour
    humidity = jnp.exp(potential * GRAVITY / (GAS_CONSTANT_VAPOUR * temperature))
    frozen = jnp.clip(soil_ice / jnp.maximum(soil_moisture, 1e-6), 0.0, 1.0)
    # the vapour over the frozen part of the pore water is that over ice, whatever suction the rest is under
    humidity = humidity + frozen * (1.0 - humidity)
    dry = 1.0 - pond_cover
    return 1.0 - dry * (1.0 - humidity), dry * resistance, dry * frozen


def portions(bare, snow_covered):
    """Stack a value of the snow-free and of the snow-covered portion."""
    return jnp.stack(jnp.broadcast_arrays(bare, snow_covered))


def _residual(unknowns, inputs: SurfaceInputs):
    return surface_fluxes(unknowns, inputs).residual


def first_guess(inputs: SurfaceInputs, ground_temperature, canopy_temperature) -> Float[Array, "5 2 ..."]:
    """Start of the iteration from the last step's temperatures, near-neutral air and open stomata."""
    air, vegetation, leaf = inputs.air, inputs.vegetation, inputs.leaf
    joins = (vegetation.light_coupling, vegetation.sink_coupling)

    def open_stomata(c4: bool, path, share_of_air):
        ci = share_of_air * leaf.co2 * 1e-6 * leaf.pressure
        gross, dark = gross_assimilation(c4, path, *joins, leaf, canopy_temperature, ci)
        return leaf.canopy_mean * (gross - dark)

    leaves_warmer = jnp.clip(canopy_temperature - air.potential_temperature, -10.0, 10.0)
    floor_warmer = jnp.clip(ground_temperature - air.potential_temperature, -20.0, 30.0)
    # the buoyancy of neutral coefficients: half of it is a fair guess on both sides
    neutral = jnp.zeros_like(ground_temperature)
    stability = -0.5 * bulk_coefficients(inputs.rough, neutral, floor_warmer, leaves_warmer, air.wind).stability
    return jnp.stack(
        [
            open_stomata(False, c3_pathway(vegetation), 0.7),
            open_stomata(True, c4_pathway(vegetation), 0.4),
            leaves_warmer,
            floor_warmer,
            stability,
        ]
    )


def solve_surface(inputs: SurfaceInputs, ground_temperature, canopy_temperature, solver: str) -> SurfaceFluxes:
    """Fluxes of both portions at the solution of the coupled balance.

    Args:
        inputs: what the balance depends on.
        ground_temperature, canopy_temperature: ``[2, ...]`` of the last step (only the start of the
            iteration when ``solver`` is "converged").
        solver: "converged", or "linearised": one Newton step from the last step's temperatures, as
            MATSIRO6 does; what it leaves unbalanced is handed to the ground like any remainder.

    Returns:
        SurfaceFluxes; ``balance_ground`` and ``balance_canopy`` are what the iteration left.
    """
    start = first_guess(inputs, ground_temperature, canopy_temperature)
    if solver == "converged":
        solution = implicit_solve(_residual, _OPTIONS, start, inputs)
    elif solver == "linearised":
        solution = newton_step(_residual, _OPTIONS, start, inputs)
    else:
        raise ValueError(f"solver must be 'converged' or 'linearised', not {solver!r}")
    return surface_fluxes(solution, inputs)
