"""Outputs of a step and the residuals of its energy and water budgets.

The residuals are computed from the change of the stores, not from the fluxes that caused it, so
they would show a process that creates or loses energy or water.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from jlsm.constants import (
    FREEZING_POINT,
    HEAT_CAPACITY_ICE,
    LATENT_HEAT_FUSION,
    SOIL_LAYER_THICKNESS,
    STEFAN_BOLTZMANN,
    WATER_DENSITY,
)
from jlsm.numerics import total
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters
from jlsm.processes.radiation import Radiation
from jlsm.processes.snow import SnowCover, SnowUpdate, snow_cover
from jlsm.processes.solar import Atmosphere
from jlsm.processes.surface_fluxes import SurfaceFluxes
from jlsm.state import State


class Step(NamedTuple):
    """What one time step computed; raw material of the outputs."""

    air: Atmosphere
    light: Radiation
    surface: SurfaceFluxes
    area: Array  # [2, ...] share of both portions
    cover: SnowCover  # at the start of the step
    pack: SnowUpdate
    soil_capacity: Array  # J m-2 K-1
    leaf_area: Array
    evaporation_soil: Array  # kg m-2 s-1, grid mean
    sublimation_soil: Array  # its frozen part
    transpiration: Array
    surface_runoff: Array
    base_flow: Array
    irrigation: Array
    water_table_flux: Array
    water_table_depth: Array


def _thickness(like: Array) -> Array:
    return jnp.asarray(SOIL_LAYER_THICKNESS, like.dtype).reshape((-1,) + (1,) * (like.ndim - 1))


def _snow_heat(state: State, cover: SnowCover) -> Array:
    """Heat of the snow pack relative to ice at the freezing point, J m-2."""
    excess = state.snow_temperature - FREEZING_POINT
    return HEAT_CAPACITY_ICE * cover.fraction * total(cover.layer_mass * excess)


def diagnose(old: State, new: State, made: Step, params: Parameters, dt) -> Outputs:
    """All outputs of a step, budget residuals included.

    Args:
        old, new: state before and after.
        made: what ``step`` computed.
        params: parameters of the step.
        dt: s.
    """
    surface, area, air, pack = made.surface, made.area, made.air, made.pack
    thickness = _thickness(new.ground_temperature)

    def mean(values):
        return total(area * values)

    shortwave_up = mean(made.light.upward)
    longwave_up = mean(surface.longwave_up)
    shortwave = air.direct + air.diffuse
    shortwave_net = shortwave - shortwave_up
    longwave_net = air.longwave - longwave_up
    latent = mean(surface.latent_ground + surface.latent_canopy)
    sensible = mean(surface.sensible_ground + surface.sensible_canopy)
    residual_solver = mean(jnp.abs(surface.balance_ground) + jnp.abs(surface.balance_canopy))
    ground = mean(surface.conduction + surface.melt + surface.balance_ground + surface.balance_canopy)
    evaporation_canopy = mean(surface.evaporation_canopy)
    sublimation = area[1] * surface.evaporation_ground[1]
    evaporation = made.evaporation_soil + made.transpiration + evaporation_canopy + sublimation
    new_cover = snow_cover(new.snow_mass, params.snow)

    warming = (new.ground_temperature - old.ground_temperature) + (
        new.ground_temperature_carry - old.ground_temperature_carry
    )
    frozen = total(thickness * (new.soil_ice - old.soil_ice)) * WATER_DENSITY
    ice_gain = frozen + (new.snow_mass - old.snow_mass) + (new.canopy_ice - old.canopy_ice)
    heat_gain = (
        total(made.soil_capacity * warming)
        + _snow_heat(new, new_cover)
        - _snow_heat(old, made.cover)
        - LATENT_HEAT_FUSION * ice_gain
    )
    ice_sublimated = sublimation + made.sublimation_soil + mean(surface.canopy_frozen * surface.evaporation_canopy)
    # enthalpy counts from liquid water: falling snow lacks its heat of fusion, and the heat of fusion
    # in the latent heat of sublimation leaves with ice that lacked it
    heat_in = (
        shortwave_net
        + longwave_net
        - sensible
        - latent
        + LATENT_HEAT_FUSION * (ice_sublimated - air.snow)
        + pack.advected
    )
    wetting = (new.soil_moisture - old.soil_moisture) + (new.soil_moisture_carry - old.soil_moisture_carry)
    water_gain = (
        total(thickness * wetting) * WATER_DENSITY
        + (new.snow_mass - old.snow_mass)
        + (new.canopy_water - old.canopy_water)
        + (new.ponded_water - old.ponded_water)
    )
    water_in = (
        air.rain
        + air.snow
        + made.irrigation
        + made.water_table_flux
        - evaporation
        - made.surface_runoff
        - made.base_flow
    )
    fusion = -LATENT_HEAT_FUSION * (ice_gain / dt + ice_sublimated - air.snow)

    return Outputs(
        Qle=latent,
        Qh=sensible,
        Qg=ground,
        Rnet=shortwave_net + longwave_net,
        SWnet=shortwave_net,
        LWnet=longwave_net,
        SWup=shortwave_up,
        LWup=longwave_up,
        Qf=fusion,
        Qa=pack.advected,
        Evap=evaporation,
        TVeg=made.transpiration,
        ESoil=made.evaporation_soil,
        ECanop=evaporation_canopy,
        SubSnow=sublimation,
        Rainf=air.rain,
        Snowf=air.snow,
        Qs=made.surface_runoff,
        Qsb=made.base_flow,
        Qsm=pack.melt,
        Irrig=made.irrigation,
        WaterTableFlux=made.water_table_flux,
        GPP=mean(surface.gross_assimilation),
        AvgSurfT=jnp.sqrt(jnp.sqrt(longwave_up / STEFAN_BOLTZMANN)),
        VegT=mean(surface.canopy_temperature),
        BaresoilT=mean(surface.ground_temperature),
        Albedo=shortwave_up / jnp.maximum(shortwave, 1e-3),
        LAI=made.leaf_area,
        Ustar=mean(surface.friction_velocity),
        SoilTemp=new.ground_temperature,
        SoilMoist=new.soil_moisture * thickness * WATER_DENSITY,
        SoilIce=new.soil_ice * thickness * WATER_DENSITY,
        SWE=new.snow_mass,
        SnowDepth=new.snow_mass / params.snow.density,
        SnowFrac=new_cover.fraction,
        SnowT=new.snow_temperature,
        CanopInt=new.canopy_water,
        Pond=new.ponded_water,
        WaterTableD=made.water_table_depth,
        EnergyResidual=heat_in - heat_gain / dt,
        WaterResidual=water_in * dt - water_gain,
        SolverResidual=residual_solver,
    )
