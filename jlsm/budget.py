"""Outputs of a step and the residuals of its energy and water budgets.

The residuals are computed from the change of the stores, not from the fluxes that caused it, so
they would show a process that creates or loses energy or water.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jlsm.constants import (
    FREEZING_POINT,
    HEAT_CAPACITY_ICE,
    LATENT_HEAT_FUSION,
    STEFAN_BOLTZMANN,
    WATER_DENSITY,
)
from jlsm.forcing import Forcing
from jlsm.numerics import total
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters
from jlsm.processes.radiation import Radiation
from jlsm.processes.runoff import WaterTable
from jlsm.processes.snow import SnowCover, SnowUpdate, snow_cover
from jlsm.processes.soil_heat import HeatColumn, layer_thickness
from jlsm.processes.solar import Atmosphere
from jlsm.processes.surface_fluxes import SurfaceFluxes, VapourFluxes
from jlsm.processes.vegetation import Canopy
from jlsm.state import State

UNSETTLED = 1.0
"""W m-2 that the iteration left in the surface balance (``SolverResidual``) from which a step is not settled"""


class Unsettled(NamedTuple):
    """The steps of a run whose surface balance is not settled."""

    steps: int = 0
    """of all columns together"""
    of: int = 0
    """steps in all"""
    worst: float = 0.0
    """W m-2"""
    time: np.datetime64 | None = None
    """start of the worst step, local standard time"""
    column: int | None = None
    """column of the worst step; None for a single site"""

    def joined(self, other: Unsettled) -> Unsettled:
        """Both stretches of a run together."""
        return (self if self.worst >= other.worst else other)._replace(
            steps=self.steps + other.steps, of=self.of + other.of
        )

    def line(self) -> str:
        """One line for the user; empty where every step is settled."""
        if not self.steps:
            return ""
        where = "" if self.column is None else f" in column {self.column}"
        return (
            f"the surface balance is not settled in {self.steps} of {self.of} steps (worst {self.worst:.3g} W m-2 at "
            f"{self.time}{where}): what is missing went into the ground; SolverResidual has it for every step"
        )


def unsettled_steps(out: Outputs, forcing: Forcing) -> Unsettled:
    """Which steps of a run did not settle: how many, how much, where to look.

    A single step is marked by ``out.SolverResidual > UNSETTLED``.

    Args:
        out: with ``SolverResidual``.
        forcing: of the same steps.

    Raises:
        ValueError: ``SolverResidual`` is not among the outputs.
    """
    if out.SolverResidual is None:
        raise ValueError("these outputs have no SolverResidual: add it to fields")
    residual = np.asarray(out.SolverResidual)
    counted = np.ones(residual.shape, bool) if forcing.valid is None else np.asarray(forcing.valid)
    bad = counted & ~(residual <= UNSETTLED)
    if not bad.any():
        return Unsettled(of=int(counted.sum()))
    at = np.unravel_index(np.argmax(np.where(bad, residual, 0.0)), residual.shape)
    day, second = (int(np.asarray(clock)[at]) for clock in (forcing.day, forcing.second_of_day))
    time = np.datetime64(day, "D") + np.timedelta64(second, "s")
    column = int(at[1]) if residual.ndim > 1 else None
    return Unsettled(int(bad.sum()), int(counted.sum()), float(residual[at]), time.astype("datetime64[m]"), column)


class Step(NamedTuple):
    """What one time step computed; raw material of the outputs."""

    air: Atmosphere
    canopy: Canopy
    light: Radiation
    surface: SurfaceFluxes
    area: Array  # [2, ...] share of both portions
    vapour: VapourFluxes
    cover: SnowCover  # at the start of the step
    pack: SnowUpdate
    column: HeatColumn
    table: WaterTable
    surface_runoff: Array  # kg m-2 s-1, as the following
    base_flow: Array
    irrigation: Array  # what fills a pond up included
    water_table_flux: Array


def _snow_heat(state: State, cover: SnowCover) -> Array:
    """Heat of the snow pack relative to ice at the freezing point, J m-2."""
    excess = state.snow_temperature - FREEZING_POINT
    return HEAT_CAPACITY_ICE * cover.fraction * total(cover.layer_mass * excess)


def _heat_gain(old: State, new: State, computed: Step, params: Parameters, ice_gain: Array) -> Array:
    """Growth of the heat stored in soil, snow and leaves, J m-2, against liquid water.

    Args:
        ice_gain: growth of all ice, kg m-2.
    """
    warming = (new.ground_temperature - old.ground_temperature) + (
        new.ground_temperature_carry - old.ground_temperature_carry
    )
    return (
        total(computed.column.soil_capacity * warming)
        + _snow_heat(new, snow_cover(new.snow_mass, params.snow))
        - _snow_heat(old, computed.cover)
        - LATENT_HEAT_FUSION * ice_gain
    )


def _water_gain(old: State, new: State, thickness: Array) -> Array:
    """Growth of all water, kg m-2."""
    wetting = (new.soil_moisture - old.soil_moisture) + (new.soil_moisture_carry - old.soil_moisture_carry)
    return (
        total(thickness * wetting) * WATER_DENSITY
        + (new.snow_mass - old.snow_mass)
        + (new.canopy_water - old.canopy_water)
        + (new.ponded_water - old.ponded_water)
    )


def _ice_gain(old: State, new: State, thickness: Array) -> Array:
    """Growth of all ice, kg m-2."""
    frozen = total(thickness * (new.soil_ice - old.soil_ice)) * WATER_DENSITY
    return frozen + (new.snow_mass - old.snow_mass) + (new.canopy_ice - old.canopy_ice)


def diagnose(old: State, new: State, computed: Step, params: Parameters, dt) -> Outputs:
    """All outputs of a step, budget residuals included.

    Args:
        old, new: state before and after.
        computed: by ``step``.
        params: parameters of the step.
        dt: s.
    """
    surface, area, air, pack, vapour = computed.surface, computed.area, computed.air, computed.pack, computed.vapour
    thickness = layer_thickness(new.snow_mass)

    def mean(values):
        return total(area * values)

    shortwave_up = mean(computed.light.upward)
    longwave_up = mean(surface.longwave_up)
    shortwave = air.direct + air.diffuse
    shortwave_net = shortwave - shortwave_up
    longwave_net = air.longwave - longwave_up
    latent = mean(surface.latent_ground + surface.latent_canopy)
    sensible = mean(surface.sensible_ground + surface.sensible_canopy)
    residual_solver = mean(jnp.abs(surface.balance_ground) + jnp.abs(surface.balance_canopy))
    ground = mean(surface.conduction + surface.melt + surface.balance_ground + surface.balance_canopy)
    sublimation = area[1] * surface.evaporation_ground[1]
    evaporation = vapour.soil + vapour.transpiration + vapour.canopy + sublimation
    new_cover = snow_cover(new.snow_mass, params.snow)

    ice_gain = _ice_gain(old, new, thickness)
    ice_sublimated = sublimation + vapour.soil_ice + vapour.canopy_ice
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
    water_in = (
        air.rain
        + air.snow
        + computed.irrigation
        + computed.water_table_flux
        - evaporation
        - computed.surface_runoff
        - computed.base_flow
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
        TVeg=vapour.transpiration,
        ESoil=vapour.soil,
        ECanop=vapour.canopy,
        SubSnow=sublimation,
        Rainf=air.rain,
        Snowf=air.snow,
        Qs=computed.surface_runoff,
        Qsb=computed.base_flow,
        Qsm=pack.melt,
        Irrig=computed.irrigation,
        WaterTableFlux=computed.water_table_flux,
        GPP=mean(surface.gross_assimilation),
        AvgSurfT=jnp.sqrt(jnp.sqrt(longwave_up / STEFAN_BOLTZMANN)),
        VegT=mean(surface.canopy_temperature),
        BaresoilT=mean(surface.ground_temperature),
        Albedo=shortwave_up / jnp.maximum(shortwave, 1e-3),
        LAI=computed.canopy.leaf_area_mean,
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
        WaterTableD=computed.table.depth,
        EnergyResidual=heat_in - _heat_gain(old, new, computed, params, ice_gain) / dt,
        WaterResidual=water_in * dt - _water_gain(old, new, thickness),
        SolverResidual=residual_solver,
    )
