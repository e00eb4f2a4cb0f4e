"""The model on one page: ``step`` reads like the table of processes, ``jlsm.simulation`` scans it.

| row | process | file in ``jlsm/processes`` |
|---|---|---|
| 1 | sun, bands, rain and snow (ahead of the loop) | solar.py |
| 2 | vegetation above the snow | vegetation.py |
| 3 | canopy radiation | radiation.py |
| 4 | roughness, bulk coefficients | turbulence.py |
| 5 | photosynthesis and stomata | stomata.py |
| 6 | soil and snow heat | soil_heat.py |
| 7 | energy balance of canopy and ground | surface_energy.py |
| 8 | canopy water | canopy_water.py |
| 9 | snow | snow.py |
| 10 | field management | management.py |
| 11 | runoff | runoff.py |
| 12 | infiltration and ponding | infiltration.py |
| 13 | soil water | soil_water.py, soil_limits.py |
| 14 | soil freezing | soil_freezing.py |
"""

from __future__ import annotations

from jlsm.budget import Step
from jlsm.numerics import add_compensated, total
from jlsm.parameters import Parameters
from jlsm.processes.canopy_water import CanopyExchange, LeafWater, canopy_water_balance
from jlsm.processes.infiltration import Arrival, Pond, infiltration, pond_and_runoff, pond_cover
from jlsm.processes.management import irrigation, pond_target, water_table_supply
from jlsm.processes.radiation import canopy_radiation
from jlsm.processes.runoff import water_table
from jlsm.processes.snow import SnowExchange, SnowSurface, snow_cover, update_snow
from jlsm.processes.soil_freezing import freezing, warming_by_freezing
from jlsm.processes.soil_heat import SoilLayers, add_surface_heat, heat_column, layer_thickness, temperature_change
from jlsm.processes.soil_limits import LayerWater, limited_base_flow, liquid_mass, root_supply, settle
from jlsm.processes.soil_water import hydraulics, root_fractions, water_movement
from jlsm.processes.solar import Atmosphere
from jlsm.processes.stomata import leaf_environment, moisture_stress
from jlsm.processes.surface_energy import (
    ground_surface,
    occupied_portions,
    portions,
    solve_surface,
    vapour_fluxes,
    where_covered,
)  # fmt: skip
from jlsm.processes.surface_fluxes import SurfaceInputs, SurfaceStores
from jlsm.processes.turbulence import roughness
from jlsm.processes.vegetation import canopy_above_snow
from jlsm.state import State


def step(
    params: Parameters, state: State, air: Atmosphere, reference_height, dt, solver="converged", solution=None,
    differentiated=False,
) -> tuple[State, Step]:  # fmt: skip
    """One time step of all columns: the state at its end, and everything the outputs are made of.

    Args:
        params: scalars per column (time series are sliced before they get here).
        state: at the start of the step.
        air: weather of the step, from ``prepare_atmosphere`` (row 1).
        reference_height: m.
        dt: s.
        solver: "converged" or "linearised" (see ``solve_surface``).
        solution: of the surface balance (its ``unknowns``), where this step was run before.
        differentiated: solve the balance over snow even where there is none, as a derivative by its mass needs (JAX's
            own derivatives see to that themselves).
    """
    vegetation, soil, snow, management = params.vegetation, params.soil, params.snow, params.management
    thickness = layer_thickness(air.temperature)

    # 2 to 4: what the surface looks like
    cover = snow_cover(state.snow_mass, snow)
    pond = pond_cover(state.ponded_water)
    canopy = canopy_above_snow(vegetation, air.lai, cover.depth)
    light = canopy_radiation(vegetation, soil, air, canopy, state.snow_albedo, state.canopy_ice, pond)
    rough = roughness(vegetation, soil, snow, canopy, reference_height)

    # 5: what limits stomata, light and soil water
    hydraulic = hydraulics(soil, state.soil_moisture, state.soil_ice)
    roots = root_fractions(vegetation.root_depth_scale, thickness)
    stress, uptake = moisture_stress(hydraulic.potential, roots, vegetation.critical_water_potential)
    leaf = leaf_environment(vegetation, air, canopy, light, stress)

    # 6 and 7: heat conduction in snow and soil, and on top of it the energy balance of both portions
    layers = SoilLayers(thickness, state.ground_temperature, state.soil_moisture, state.soil_ice, state.ponded_water)
    column = heat_column(soil, snow, cover, layers, state.snow_temperature, dt)
    ground = ground_surface(soil, layers, hydraulic.potential, cover.local_mass, pond, dt)
    liquid = liquid_mass(state.soil_moisture, state.soil_ice, thickness)
    stores = SurfaceStores(root_supply(liquid, uptake, dt), state.canopy_water, state.canopy_ice)
    inputs = SurfaceInputs(air, vegetation, canopy, light, rough, leaf, ground, column, stores, dt)
    wanted = 2 if differentiated else occupied_portions(cover)
    surface = solve_surface(inputs, state.surface_temperature, state.canopy_temperature, solver, solution, wanted)
    # whatever the iteration left unbalanced goes into the ground: energy closes by construction
    ground_heat = surface.conduction + surface.balance_ground + surface.balance_canopy
    snow_warming, soil_warming = temperature_change(column, ground_heat)
    area = portions(1.0 - cover.fraction, cover.fraction)
    vapour = vapour_fluxes(surface, ground, area)

    # 8: canopy water
    wet = LeafWater(state.canopy_water, total(area * surface.canopy_ice))
    exchange = CanopyExchange(vapour.canopy, vapour.canopy_ice, air.rain, air.snow)
    leaves = canopy_water_balance(wet, exchange, canopy.leaf_area_mean, vegetation.canopy_water_capacity, dt)

    # 9: snow
    below_leaves = (leaves.rain, leaves.snow, leaves.snow_direct, air.snow_temperature)
    exchange = SnowExchange(surface.melt[1], surface.evaporation_ground[1], *below_leaves)
    warmed = SnowSurface(state.snow_temperature + snow_warming, state.snow_albedo)
    pack = update_snow(snow, cover, warmed, exchange, dt)

    # 10: field management adds water
    irrigated = irrigation(management, soil, air.day_of_year, state.soil_moisture, roots)
    target = pond_target(management, air.day_of_year)
    supplied = water_table_supply(management, soil, state.soil_moisture, thickness, dt)

    # 11 and 12: runoff and infiltration; ice sublimates and ponded water evaporates first
    table = water_table(soil, params.site, hydraulic.potential, hydraulic.ice_share, thickness)
    incoming = (1.0 - cover.fraction) * leaves.rain + pack.water + irrigated
    arrival = Arrival(incoming, (vapour.soil - vapour.soil_ice) * dt)
    entry = infiltration(
        soil, management, Pond(state.ponded_water, target), arrival, table.saturated_area, hydraulic.ice_share[0], dt
    )

    # 13: soil water
    base_flow = limited_base_flow(table.layer_share * table.base_flow, liquid, dt)
    sink = uptake * vapour.transpiration + base_flow - supplied
    moved = water_movement(hydraulic, thickness, entry.into_soil, sink, dt)
    water = LayerWater(state.soil_moisture, state.soil_moisture_carry, state.soil_ice)
    water, overflow = settle(soil, water, moved, vapour.soil_ice, thickness, dt)
    ponded, surface_runoff = pond_and_runoff(entry, overflow, target, dt)

    # 14: freezing, at the temperature after conduction and with the heat that melting snow left
    soil_warming = add_surface_heat(column, soil_warming, pack.heat, dt)
    temperature = state.ground_temperature + soil_warming
    frozen = freezing(soil, temperature, water.moisture, water.ice, column.soil_capacity, thickness)
    soil_warming = soil_warming + warming_by_freezing(frozen, column.soil_capacity, thickness)
    temperature, carry = add_compensated(state.ground_temperature, state.ground_temperature_carry, soil_warming)

    new = State(
        surface_temperature=where_covered(cover, surface.ground_temperature),
        canopy_temperature=where_covered(cover, surface.canopy_temperature),
        ground_temperature=temperature, ground_temperature_carry=carry,
        soil_moisture=water.moisture, soil_moisture_carry=water.carry, soil_ice=water.ice + frozen,
        canopy_water=leaves.water, canopy_ice=leaves.ice, ponded_water=ponded,
        snow_mass=pack.mass, snow_temperature=pack.temperature, snow_albedo=pack.albedo,
    )  # fmt: skip
    return new, Step(
        air=air, canopy=canopy, light=light, surface=surface, area=area, vapour=vapour, cover=cover, pack=pack,
        column=column, table=table, surface_runoff=surface_runoff, base_flow=total(base_flow),
        irrigation=irrigated + entry.refill / dt, water_table_flux=total(supplied),
    )  # fmt: skip
