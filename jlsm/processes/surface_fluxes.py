"""Row 7: the fluxes of a surface whose temperatures, assimilation and stability are given.

Equations: MATSIRO6, chapter "Surface energy balance". What the five unknowns have no part in is prepared
once (``conditions``): inside the iteration it would be computed once for every derivative taken.
Departures: heat conduction uses the temperature that the first layer will have at the end of the step;
leaves evaporate intercepted water with the exact decay of their wet share over the step; freezing and
melting of water on leaves is part of the leaves' own balance; soil takes up vapour only below the dew point.
Leaves out heat storage in the canopy.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import (
    FREEZING_POINT,
    HEAT_CAPACITY_AIR,
    LATENT_HEAT_FUSION,
    LATENT_HEAT_VAPORISATION,
    STEFAN_BOLTZMANN,
)
from jlsm.numerics import at_least, at_most, decay_mean, ramp
from jlsm.parameters import Vegetation
from jlsm.processes.humidity import saturation_vapour_pressure, specific_humidity
from jlsm.processes.radiation import Radiation
from jlsm.processes.soil_heat import HeatColumn
from jlsm.processes.solar import Atmosphere
from jlsm.processes.stomata import (
    LeafEnvironment,
    Limits,
    c3_pathway,
    c4_pathway,
    carbon_surplus,
    gross_assimilation,
    limits,
    molar_conductance,
    stomatal_conductance,
)
from jlsm.processes.turbulence import Roughness, bulk_coefficients, stability_per_buoyancy
from jlsm.processes.vegetation import Canopy

MELT_CONDUCTANCE = 100.0  # W m-2 K-1, slope of the melt branch; any positive value gives the same melt
FREEZING_RANGE = 1.0  # K over which water on leaves freezes: a ramp in place of a step
_NO_MELT = 1e3  # K above air: a portion without snow never reaches its melt branch


class Ground(NamedTuple):
    """What the ground or snow of both portions offers to evaporation, radiation and melt."""

    emissivity: Float[Array, "..."]
    humidity: Float[Array, "2 ..."]  # h_soil; 1 over snow
    resistance: Float[Array, "2 ..."]  # r_soil, s m-1; 0 over snow
    frozen: Float[Array, "2 ..."]  # share of its evaporation that is ice
    available: Float[Array, "2 ..."]  # kg m-2 s-1: most it can lose in the step
    snow_covered: Float[Array, "2 ..."]  # 0 or 1: which portion has a melt branch


class SurfaceStores(NamedTuple):
    """Water that leaves can give off."""

    root_available: Float[Array, "..."]  # kg m-2 s-1: most that roots can take up in the step
    canopy_water: Float[Array, "..."]  # kg m-2 on leaves
    canopy_ice: Float[Array, "..."]  # kg m-2 on leaves


class SurfaceInputs(NamedTuple):
    """Everything the balance depends on."""

    air: Atmosphere
    vegetation: Vegetation
    canopy: Canopy
    light: Radiation
    rough: Roughness
    leaf: LeafEnvironment
    ground: Ground
    column: HeatColumn
    stores: SurfaceStores
    dt: Float[Array, "..."]  # s


class Conditions(NamedTuple):
    """What stays as it is while the balance is solved; ``[2, ...]`` or one value for both portions."""

    reference: Array  # K, air temperature brought down to the surface
    pressure: Array  # Pa
    humidity: Array  # kg kg-1
    wind: Array  # m s-1
    density: Array  # kg m-3 of air
    heat_capacity: Array  # J m-3 K-1 of air
    rough: Roughness
    per_buoyancy: Array  # K-1
    ceiling: Array  # K above air at which snow melts
    c3: Limits
    c4: Limits
    canopy_mean: Array  # f_avr
    c3_share: Array
    c4_share: Array
    moles_per_leaf: Array  # mol m-3 per leaf area
    leaf_per_mole: Array  # its inverse
    leaf_area: Array  # m2 m-2
    ground_humidity: Array
    ground_resistance: Array  # s m-1
    ground_available: Array  # kg m-2 s-1
    ground_latent_heat: Array  # J kg-1
    root_available: Array  # kg m-2 s-1
    wetness: Array  # wet share of the leaves at the start of the step
    drying_time: Array  # s m2 kg-1
    canopy_water: Array  # kg m-2
    canopy_ice: Array  # kg m-2
    exposed: Array  # share of it that takes part in this step
    fusion_rate: Array  # W m-2 per kg m-2 frozen in the step
    emission: Array  # W m-2 K-4
    clear: Array  # longwave transmissivity of the leaves
    opaque: Array  # 1 - clear
    ground_gain: Array  # W m-2 of radiation from above
    canopy_gain: Array  # W m-2 of radiation from above
    longwave_reflected: Array  # W m-2
    conductance: Array  # W m-2 K-1
    conduction_reference: Array  # K
    c3_capacity: Array  # umol m-2 s-1: the size of what leaves can assimilate
    c4_capacity: Array
    ground_stiffness: Array  # W m-2 K-1: about what a degree changes the ground's balance by
    canopy_stiffness: Array  # W m-2 K-1: the leaves'


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
    residual: tuple[Array, ...]  # of the five equations that are solved
    unknowns: tuple[Array, ...]  # where all this was evaluated


class VapourFluxes(NamedTuple):
    """Water given to the air below the snow and from leaves, grid mean, kg m-2 s-1."""

    soil: Array  # liquid and ice
    soil_ice: Array
    transpiration: Array
    canopy: Array  # of water on leaves, liquid and ice
    canopy_ice: Array


def conditions(s: SurfaceInputs) -> Conditions:
    """Everything in the balance that does not depend on its unknowns."""
    air, vegetation, leaf, ground, stores = s.air, s.vegetation, s.leaf, s.ground, s.stores
    leaf_area, clear, conductance = s.canopy.leaf_area, s.light.longwave_transmissivity, s.column.conductance
    capacity = vegetation.canopy_water_capacity * leaf_area
    joins = (vegetation.light_coupling, vegetation.sink_coupling)
    moles = molar_conductance(1.0, air.pressure, air.potential_temperature)  # mol m-2 s-1 of a conductance of 1 m s-1
    emission = ground.emissivity * STEFAN_BOLTZMANN
    incoming = ground.emissivity * air.longwave
    opaque = 1.0 - clear
    heat_capacity = HEAT_CAPACITY_AIR * air.density
    per_buoyancy = stability_per_buoyancy(s.rough, air.wind)
    # response of both balances to their own temperature, in neutral air and without evaporation
    neutral = bulk_coefficients(s.rough, jnp.zeros_like(conductance), 0.0, 0.0, per_buoyancy)
    exchange = heat_capacity * air.wind
    radiative = 4.0 * emission * air.temperature**3
    c3 = limits(c3_pathway(vegetation), *joins, leaf)
    c4 = limits(c4_pathway(vegetation), *joins, leaf)
    return Conditions(
        reference=air.potential_temperature,
        pressure=air.pressure,
        humidity=air.humidity,
        wind=air.wind,
        density=air.density,
        heat_capacity=heat_capacity,
        rough=s.rough,
        per_buoyancy=per_buoyancy,
        # snow does not warm above freezing
        ceiling=jnp.where(ground.snow_covered > 0.0, FREEZING_POINT - air.potential_temperature, _NO_MELT),
        c3=c3,
        c4=c4,
        canopy_mean=leaf.canopy_mean,
        c3_share=1.0 - vegetation.c4_fraction,
        c4_share=vegetation.c4_fraction,
        moles_per_leaf=moles / leaf_area,
        leaf_per_mole=leaf_area / moles,
        leaf_area=leaf_area,
        ground_humidity=ground.humidity,
        ground_resistance=ground.resistance,
        ground_available=ground.available,
        ground_latent_heat=LATENT_HEAT_VAPORISATION + ground.frozen * LATENT_HEAT_FUSION,
        root_available=stores.root_available,
        wetness=jnp.minimum(stores.canopy_water, capacity) / capacity,
        drying_time=s.dt / capacity,
        canopy_water=stores.canopy_water,
        canopy_ice=stores.canopy_ice,
        # water beyond what the leaves above the snow can hold (most of it, where they are buried) keeps its phase
        exposed=jnp.minimum(capacity / jnp.maximum(stores.canopy_water, capacity), 1.0),
        fusion_rate=LATENT_HEAT_FUSION / s.dt,
        emission=emission,
        clear=clear,
        opaque=opaque,
        ground_gain=s.light.ground + clear * incoming,
        canopy_gain=s.light.canopy + opaque * incoming,
        longwave_reflected=(1.0 - ground.emissivity) * air.longwave,
        conductance=conductance,
        conduction_reference=s.column.reference,
        c3_capacity=leaf.canopy_mean * (c3.vcmax + 1.0),
        c4_capacity=leaf.canopy_mean * (c4.vcmax + 1.0),
        ground_stiffness=conductance + radiative + exchange * neutral.floor,
        canopy_stiffness=2.0 * opaque * radiative + exchange * neutral.leaves,
    )


def _carbon(c4: bool, path: Limits, share, temperature, vapour_pressure, per_leaf, canopy_mean):
    """(gross assimilation at the canopy top, stomatal conductance, surplus of CO2) of one pathway."""
    gross, dark = gross_assimilation(c4, path, temperature, share * path.co2_pressure)
    net = (gross - dark) * canopy_mean
    conductance, surface_co2 = stomatal_conductance(path, net, per_leaf, vapour_pressure)
    return gross, conductance, carbon_surplus(path, share, net, conductance, surface_co2)


def surface_fluxes(unknowns: tuple[Float[Array, "..."], ...], c: Conditions) -> SurfaceFluxes:
    """All fluxes for given unknowns (of both portions, or of one), and what each equation leaves.

    Every product begins with something that depends on the unknowns: see the head of this file.
    """
    share_c3, share_c4, leaves_warmer, ground_unbounded, stability = unknowns

    # beyond the ceiling the unknown measures melt
    floor_warmer = at_most(ground_unbounded, c.ceiling)
    melt = MELT_CONDUCTANCE * at_least(ground_unbounded - c.ceiling, 0.0)
    ground_temperature = floor_warmer + c.reference
    canopy_temperature = leaves_warmer + c.reference

    bulk = bulk_coefficients(c.rough, stability, floor_warmer, leaves_warmer, c.per_buoyancy)
    floor_velocity = bulk.floor * c.wind
    leaf_velocity = bulk.leaves * c.wind
    sensible_ground = floor_velocity * c.heat_capacity * floor_warmer
    sensible_canopy = leaf_velocity * c.heat_capacity * leaves_warmer

    # photosynthesis and stomata
    pressure_canopy = saturation_vapour_pressure(canopy_temperature)
    per_leaf = leaf_velocity * c.moles_per_leaf
    leaves = (canopy_temperature, pressure_canopy, per_leaf, c.canopy_mean)
    gross_c3, conductance_c3, surplus_c3 = _carbon(False, c.c3, share_c3, *leaves)
    gross_c4, conductance_c4, surplus_c4 = _carbon(True, c.c4, share_c4, *leaves)
    stomatal_velocity = (conductance_c3 * c.c3_share + conductance_c4 * c.c4_share) * c.leaf_per_mole

    # ground evaporation; dew meets no soil resistance, and forms only on ground below the dew point: dry
    # soil would otherwise draw vapour from the air at the full turbulent rate
    humidity_ground = specific_humidity(saturation_vapour_pressure(ground_temperature), c.pressure)
    evaporating = at_least(humidity_ground * c.ground_humidity - c.humidity, 0.0)
    condensing = at_most(humidity_ground - c.humidity, 0.0)
    damped = floor_velocity / (1.0 + floor_velocity * c.ground_resistance)
    evaporation_ground = (damped * evaporating + floor_velocity * condensing) * c.density
    evaporation_ground = at_most(evaporation_ground, c.ground_available)
    latent_ground = evaporation_ground * c.ground_latent_heat

    # leaves: the wet share dries out over the step, the rest transpires; dew wets all of them
    humidity_canopy = specific_humidity(pressure_canopy, c.pressure)
    potential = leaf_velocity * (humidity_canopy - c.humidity) * c.density
    drying = at_least(potential, 0.0)
    wet = decay_mean(drying * c.drying_time) * c.wetness
    evaporation_canopy = wet * drying + at_most(potential, 0.0)
    transpiration = (1.0 - wet) * drying * (stomatal_velocity / (leaf_velocity + stomatal_velocity))
    transpiration = at_most(transpiration, c.root_available)
    frozen = ramp((FREEZING_POINT - canopy_temperature) / FREEZING_RANGE)
    latent_canopy = (
        LATENT_HEAT_VAPORISATION * transpiration
        + (LATENT_HEAT_VAPORISATION + frozen * LATENT_HEAT_FUSION) * evaporation_canopy
    )
    newly_frozen = (frozen * c.canopy_water - c.canopy_ice) * c.exposed
    canopy_freezing = newly_frozen * c.fusion_rate

    # longwave radiation
    emitted_ground = ground_temperature**4 * c.emission
    emitted_canopy = canopy_temperature**4 * c.emission
    through = emitted_canopy * c.opaque
    longwave_up = emitted_ground * c.clear + through + c.longwave_reflected

    conduction = (ground_temperature - c.conduction_reference) * c.conductance
    # what is left over, as the kelvins it amounts to (and, of assimilation, as a share of the capacity)
    warming_ground = (
        through - emitted_ground + c.ground_gain - sensible_ground - latent_ground - conduction - melt
    ) / c.ground_stiffness
    warming_canopy = (
        emitted_ground * c.opaque - 2.0 * through + c.canopy_gain - sensible_canopy - latent_canopy + canopy_freezing
    ) / c.canopy_stiffness

    # below zero only by what the iteration leaves
    gross = at_least(gross_c3 * c.c3_share + gross_c4 * c.c4_share, 0.0)
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
        canopy_ice=newly_frozen + c.canopy_ice,
        canopy_freezing=canopy_freezing,
        gross_assimilation=gross * c.canopy_mean * c.leaf_area,
        friction_velocity=jnp.sqrt(bulk.momentum) * c.wind,
        balance_ground=warming_ground * c.ground_stiffness,
        balance_canopy=warming_canopy * c.canopy_stiffness,
        residual=(
            surplus_c3 / c.c3_capacity,
            surplus_c4 / c.c4_capacity,
            warming_canopy,
            warming_ground,
            bulk.stability,
        ),
        unknowns=unknowns,
    )
