"""The model on one page: ``step`` reads like the table of processes, ``simulate`` scans it.

| row | process | file in ``jlsm/processes`` |
|---|---|---|
| 1 | sun, bands, rain and snow (ahead of the loop) | solar.py |
| 2 | vegetation above the snow | vegetation.py |
| 3 | canopy radiation | radiation.py |
| 4 | roughness, bulk coefficients | turbulence.py |
| 5 | photosynthesis and stomata | stomata.py |
| 6 | energy balance of canopy and ground | surface_energy.py |
| 7 | canopy water | canopy_water.py |
| 8 | snow | snow.py |
| 9 | runoff | runoff.py |
| 10 | soil (and snow) heat | soil_heat.py |
| 11 | soil water | soil_water.py |
| 12 | soil freezing | soil_freezing.py |
| 13 | field management | management.py |
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jlsm._blocks import map_blocks, whole_vectors
from jlsm._layout import Constants, atmosphere_of, chunk_length, layout_of, split_series
from jlsm.budget import Step, diagnose
from jlsm.constants import LATENT_HEAT_FUSION, SOIL_LAYER_THICKNESS, WATER_DENSITY
from jlsm.forcing import Forcing, Site
from jlsm.numerics import add_compensated, ramp, total
from jlsm.numerics.implicit import SOLUTION, Unknowns
from jlsm.numerics.reverse import scan_chunks
from jlsm.numerics.scan import Scan, fetch_ahead
from jlsm.outputs import Outputs, pack, unpack
from jlsm.parameters import Parameters
from jlsm.processes import management as manage
from jlsm.processes import stomata
from jlsm.processes.canopy_water import canopy_water_balance
from jlsm.processes.radiation import canopy_radiation
from jlsm.processes.runoff import water_table
from jlsm.processes.snow import snow_cover, update_snow
from jlsm.processes.soil_freezing import freezing
from jlsm.processes.soil_heat import heat_column, temperature_change
from jlsm.processes.soil_water import confine, hydraulics, root_fractions, water_movement
from jlsm.processes.solar import Atmosphere
from jlsm.processes.surface_energy import ground_wetness, portions, solve_surface
from jlsm.processes.surface_fluxes import SurfaceInputs
from jlsm.processes.turbulence import roughness
from jlsm.processes.vegetation import canopy_above_snow
from jlsm.state import State, initial_state

TRAJECTORY_BYTES = 2**27
"""states of all steps that reverse mode keeps rather than works out again (see ``simulate``)"""
POND_FULL_COVER = 5.0  # kg m-2 of standing water that hide the soil surface


def step(
    params: Parameters,
    state: State,
    air: Atmosphere,
    reference_height,
    dt,
    solver: str = "converged",
    known: Unknowns | None = None,
) -> tuple[State, Step]:
    """One time step of all columns.

    Args:
        params: scalars per column (time series are sliced before they get here).
        state: at the start of the step.
        air: weather of the step, from ``prepare_atmosphere``.
        reference_height: m.
        dt: s.
        solver: "converged" or "linearised" (see ``solve_surface``).
        known: the solution of the surface balance, where this step was run before.

    Returns:
        The state at the end and everything the outputs are made of.
    """
    vegetation, soil, snow = params.vegetation, params.soil, params.snow
    thickness = jnp.asarray(SOIL_LAYER_THICKNESS, air.temperature.dtype)
    thickness = thickness.reshape((-1,) + (1,) * air.temperature.ndim)

    # 2-4 what the surface looks like: leaves above the snow, light, roughness
    cover = snow_cover(state.snow_mass, snow)
    pond_cover = ramp(state.ponded_water / POND_FULL_COVER)
    canopy = canopy_above_snow(vegetation, air.lai, cover.depth)
    light = canopy_radiation(vegetation, soil, air, canopy, state.snow_albedo, state.canopy_ice, pond_cover)
    rough = roughness(vegetation, soil, snow, canopy, reference_height)

    # 5 what limits stomata: light, soil water
    hydraulic = hydraulics(soil, state.soil_moisture, state.soil_ice)
    roots = root_fractions(vegetation.root_depth_scale, thickness)
    stress, uptake = stomata.moisture_stress(hydraulic.potential, roots, vegetation.critical_water_potential)
    clumped = canopy.leaf_area / vegetation.vegetation_cover  # light sees leaves where they stand
    canopy_mean = stomata.canopy_mean_factor(light.attenuation, clumped)
    leaf = stomata.LeafEnvironment(
        light=stomata.PHOTONS_PER_JOULE * light.canopy_visible / (canopy.leaf_area * canopy_mean),
        canopy_mean=canopy_mean,
        stress=stress,
        co2=air.co2,
        vapour_pressure=air.vapour_pressure,
        pressure=air.pressure,
    )

    # 6 energy balance of both portions, on top of the implicit heat conduction of snow and soil
    column = heat_column(
        soil, snow, cover, thickness, state.ground_temperature, state.soil_moisture, state.snow_temperature,
        state.ponded_water, dt,
    )  # fmt: skip
    humidity, resistance, frozen = ground_wetness(
        soil, state.soil_moisture[0], state.soil_ice[0], hydraulic.potential[0], state.ground_temperature[0], pond_cover
    )
    top_water = WATER_DENSITY * thickness[0] * state.soil_moisture[0]
    layer_liquid = WATER_DENSITY * thickness * (state.soil_moisture - state.soil_ice)
    surface = solve_surface(
        SurfaceInputs(
            air=air,
            vegetation=vegetation,
            rough=rough,
            leaf=leaf,
            leaf_area=canopy.leaf_area,
            shortwave_ground=light.ground,
            shortwave_canopy=light.canopy,
            longwave_transmissivity=light.longwave_transmissivity,
            emissivity=soil.emissivity,
            ground_humidity=portions(humidity, 1.0),
            ground_resistance=portions(resistance, 0.0),
            ground_frozen=portions(frozen, 1.0),
            ground_available=portions(top_water, cover.local_mass) / dt,
            root_available=0.5 * total(jnp.minimum(layer_liquid, uptake * 1e3)) / dt,
            conductance=column.conductance,
            conduction_reference=column.reference,
            snow_covered=portions(jnp.zeros_like(stress), 1.0),
            canopy_water=state.canopy_water,
            canopy_ice=state.canopy_ice,
            canopy_capacity=vegetation.canopy_water_capacity * canopy.leaf_area,
            dt=dt,
        ),
        state.surface_temperature,
        state.canopy_temperature,
        solver,
        known,
    )
    area = portions(1.0 - cover.fraction, cover.fraction)
    # whatever the iteration left unbalanced goes into the ground: energy closes by construction
    ground_heat = surface.conduction + surface.balance_ground + surface.balance_canopy
    snow_warming, soil_warming = temperature_change(column, ground_heat)

    # 7 canopy water
    on_leaves = canopy_water_balance(
        state.canopy_water,
        total(area * surface.canopy_ice),
        total(area * surface.evaporation_canopy),
        total(area * surface.canopy_frozen * surface.evaporation_canopy),
        air.rain,
        air.snow,
        canopy.leaf_area_mean,
        vegetation.canopy_water_capacity,
        dt,
    )

    # 8 snow
    pack = update_snow(
        snow,
        cover,
        state.snow_temperature + snow_warming,
        state.snow_albedo,
        surface.melt[1],
        surface.evaporation_ground[1],
        on_leaves.rain,
        on_leaves.snow,
        on_leaves.snow_direct,
        air.snow_temperature,
        dt,
    )

    # 13 field management adds water
    irrigated = manage.irrigation(params.management, soil, air.day_of_year, state.soil_moisture, roots)
    pond_target = manage.pond_target(params.management, air.day_of_year)
    supplied = manage.water_table_supply(params.management, soil, state.soil_moisture, thickness, dt)

    # 9 runoff and infiltration; ice sublimates and ponded water evaporates first
    evaporation_soil = area[0] * surface.evaporation_ground[0]
    sublimation_soil = frozen * evaporation_soil
    liquid_evaporation = (evaporation_soil - sublimation_soil) * dt
    # (where, not minimum: on a field without a pond both sides are 0, and a tie halves the derivative)
    from_pond = jnp.where(
        liquid_evaporation > state.ponded_water, state.ponded_water, jnp.maximum(liquid_evaporation, 0.0)
    )
    table = water_table(soil, params.site, hydraulic.potential, hydraulic.ice_share, thickness)
    incoming = (1.0 - cover.fraction) * on_leaves.rain + pack.water + irrigated
    flooded = ramp(pond_target)  # a kept pond takes all water and seeps slowly
    dry_area = 1.0 - table.saturated_area * (1.0 - flooded)
    saturation_excess = (1.0 - dry_area) * incoming
    standing = state.ponded_water - from_pond + (incoming - saturation_excess) * dt
    refill = jnp.where(pond_target > standing, pond_target - standing, 0.0)
    capacity = dry_area * WATER_DENSITY * soil.saturated_conductivity * (1.0 - hydraulic.ice_share[0])
    capacity = capacity + flooded * (jnp.minimum(params.management.percolation_rate, capacity) - capacity)
    infiltrated = jnp.where(standing + refill > capacity * dt, capacity * dt, standing + refill)
    standing = standing + refill - infiltrated

    # 11 soil water
    ice_lost = jnp.concatenate(
        [(sublimation_soil * dt / (WATER_DENSITY * thickness[0]))[None], jnp.zeros_like(state.soil_ice[1:])]
    )
    base_flow = jnp.minimum(table.layer_share * table.base_flow, 0.5 * layer_liquid / dt)
    transpiration = total(area * surface.transpiration)
    moved = water_movement(
        hydraulic,
        thickness,
        (infiltrated - (liquid_evaporation - from_pond)) / dt,
        uptake * transpiration + base_flow - supplied,
        dt,
    )
    ice = state.soil_ice - ice_lost
    mass = WATER_DENSITY * thickness
    proposed = (state.soil_moisture + moved - ice_lost) * mass
    confined, excess = confine(proposed, ice * mass, jnp.maximum(ice, soil.porosity) * mass)
    moisture, moisture_carry = add_compensated(
        state.soil_moisture, state.soil_moisture_carry, moved - ice_lost + (confined - proposed) / mass
    )
    standing = standing + excess
    pond = jnp.where(standing > pond_target, pond_target, jnp.where(standing > 0.0, standing, 0.0))
    surface_runoff = saturation_excess + (standing - pond) / dt

    # 10 and 12 soil temperature: conduction, heat left by melting snow, freezing
    left = (pack.heat * dt / column.soil_capacity[0])[None]
    soil_warming = jnp.concatenate([soil_warming[:1] + left, soil_warming[1:]])
    frozen_water = freezing(
        soil, state.ground_temperature + soil_warming, moisture, ice, column.soil_capacity, thickness
    )
    soil_warming = soil_warming + LATENT_HEAT_FUSION * WATER_DENSITY * thickness * frozen_water / column.soil_capacity
    temperature, temperature_carry = add_compensated(
        state.ground_temperature, state.ground_temperature_carry, soil_warming
    )

    new = State(
        surface_temperature=surface.ground_temperature,
        canopy_temperature=surface.canopy_temperature,
        ground_temperature=temperature,
        soil_moisture=moisture,
        soil_ice=ice + frozen_water,
        canopy_water=on_leaves.water,
        canopy_ice=on_leaves.ice,
        snow_mass=pack.mass,
        snow_temperature=pack.temperature,
        snow_albedo=pack.albedo,
        ponded_water=pond,
        ground_temperature_carry=temperature_carry,
        soil_moisture_carry=moisture_carry,
    )
    return new, Step(
        air=air,
        light=light,
        surface=surface,
        area=area,
        cover=cover,
        pack=pack,
        soil_capacity=column.soil_capacity,
        leaf_area=canopy.leaf_area_mean,
        evaporation_soil=evaporation_soil,
        sublimation_soil=sublimation_soil,
        transpiration=transpiration,
        surface_runoff=surface_runoff,
        base_flow=total(base_flow),
        irrigation=irrigated + refill / dt,
        water_table_flux=total(supplied),
        water_table_depth=table.depth,
    )


def one_step(constants: Constants, state: State, now, known: Unknowns | None = None, *, solver: str, fields):
    """(new state, packed outputs, solution of the surface balance)."""
    air, series, valid = now
    params = eqx.combine(series, constants.params)
    new, made = step(params, state, air, constants.site.reference_height, constants.dt, solver, known)
    if valid is not None:  # padding leaves the state as it was
        new = jax.tree.map(lambda a, b: jnp.where(valid, a, b), new, state)
    return new, pack(diagnose(state, new, made, params, constants.dt), fields), made.surface.unknowns


@partial(jax.jit, static_argnames=("chunk", "solver", "fields", "reverse", "keep"))
def _simulate(
    params: Parameters,
    forcing: Forcing,
    site: Site,
    state: State,
    *,
    chunk: int,
    solver: str,
    fields,
    reverse: bool,
    keep: bool,
):
    constants, inputs = layout_of(params, forcing, site, chunk)
    run = partial(_run_for_reverse_mode, keep) if reverse else _run
    state, packed = run(constants, state, inputs, partial(one_step, solver=solver, fields=fields))
    return unpack(packed.reshape(-1, *packed.shape[2:]), fields), state


def _run_for_reverse_mode(keep: bool, constants: Constants, state: State, inputs, one_step) -> tuple[State, Array]:
    """All chunks, with the hand-written reverse mode of ``scan_chunks``."""

    def known(constants, state, now, solution):
        return one_step(constants, state, now, solution)[:2]

    return scan_chunks(Scan(atmosphere_of, one_step, known), keep, constants, state, inputs)


def _run(constants: Constants, state: State, inputs, one_step) -> tuple[State, Array]:
    """All chunks, to be differentiated by JAX in any mode."""

    # reverse mode keeps the solution of the surface balance and works everything else out again: cheaper than
    # storing and fetching a thousand intermediate values of every step
    @partial(jax.checkpoint, prevent_cse=False, policy=jax.checkpoint_policies.save_only_these_names(SOLUTION))
    def stepped(carry, following):
        state, now = carry
        new, packed, _ = one_step(constants, state, now)
        return (new, following), packed

    @jax.checkpoint
    def one_chunk(state: State, rows):
        now = atmosphere_of(constants, rows)
        first, following = fetch_ahead(now)
        (state, _), packed = jax.lax.scan(stepped, (state, first), following)
        return state, packed

    return jax.lax.scan(one_chunk, state, inputs)


@partial(jax.jit, static_argnames=("size", "chunk", "solver", "fields", "reverse", "keep"))
def _simulate_blocks(params, forcing, site, state, *, size: int, **options):
    """``_simulate`` for ``size`` columns at a time, or for more of them than there are."""
    columns = forcing.Tair.shape[1:]
    series, constant = split_series(params, columns)
    run = partial(_simulate, **options)
    return map_blocks(run, size, columns[0], eqx.combine(series, constant), forcing, site, state)


def simulate(
    params: Parameters,
    forcing: Forcing,
    site: Site,
    state: State,
    *,
    solver: str = "converged",
    fields: tuple[str, ...] | None = None,
    chunk: int | None = None,
    columns_at_once: int | None = None,
    reverse: bool = False,
    trajectory_bytes: int = TRAJECTORY_BYTES,
) -> tuple[Outputs, State]:
    """Run the model over a record: a pure function, for ``jit``, ``grad``, ``jacfwd`` and ``vmap``.

    Args:
        params: scalars per column or, with a leading time axis, time series.
        forcing: ``[time]`` for one site, ``[time, columns]`` for several.
        site: one site or a stack of them.
        state: at the start; ``spin_up`` or ``initial_state`` give one.
        solver: "converged" (default) or "linearised" (MATSIRO6's single step).
        fields: names of the outputs wanted (the others come back as None); None gives all.
        chunk: time steps per checkpoint of reverse mode, a divisor of the number of steps; the
            default, near its square root, makes memory grow like the square root of time.
        columns_at_once: run so many of the columns of a ``[time, columns]`` record at a time (more than eight in
            whole vectors of 16), one block after the other; None takes all of them. Many columns run faster in blocks
            of about 128 on a CPU (its cache holds no more), and all at once on a GPU.
        reverse: run for reverse mode alone (``grad``, ``vjp``), whose derivative then takes a third of the
            time and two thirds of the compilation (docs/speed.md); forward mode (``jvp``, ``jacfwd``) and second
            derivatives raise TypeError.
        trajectory_bytes: with ``reverse``: where the states of all steps and columns need no more memory than this,
            they are kept; otherwise each chunk is run again. A kept trajectory saves one run per gradient.

    Returns:
        (Outputs ``[time, ...]``, the state after the last step). Where ``forcing.valid`` is False
        the outputs mean nothing and the state stands still.

    Raises:
        ValueError: ``chunk`` does not divide the number of steps; ``columns_at_once`` is not positive, or columns have
            several axes.
    """
    chunk = chunk_length(forcing.steps, chunk)
    trajectory = forcing.steps * sum(x.size * x.dtype.itemsize for x in map(jnp.asarray, jax.tree.leaves(state)))
    keep = reverse and trajectory <= trajectory_bytes
    options = dict(chunk=chunk, solver=solver, fields=fields, reverse=reverse, keep=keep)
    if columns_at_once is not None and (columns_at_once < 1 or forcing.Tair.ndim > 2):
        raise ValueError(
            f"columns_at_once={columns_at_once}: give a positive number, and columns on one axis "
            f"(they have shape {forcing.Tair.shape[1:]})"
        )
    if forcing.Tair.ndim == 2:
        columns = forcing.Tair.shape[1]
        size = whole_vectors(min(columns, columns_at_once or columns))
        if size != columns:
            return _simulate_blocks(params, forcing, site.numeric(), state, size=size, **options)
    return _simulate(params, forcing, site.numeric(), state, **options)


def _piece(params: Parameters, forcing: Forcing, start: int, stop: int, length: int) -> tuple[Parameters, Forcing]:
    """Steps ``start:stop`` of forcing and of time-varying parameters, padded to ``length`` and masked."""
    series, constant = split_series(params, forcing.Tair.shape[1:])
    steps = jnp.minimum(jnp.arange(start, start + length), stop - 1)
    valid = jnp.broadcast_to(
        (jnp.arange(start, start + length) < stop).reshape((-1,) + (1,) * (forcing.Tair.ndim - 1)),
        (length, *forcing.Tair.shape[1:]),
    )
    part = {name: jnp.asarray(getattr(forcing, name))[steps] for name in forcing.series()}
    part["valid"] = valid if forcing.valid is None else part["valid"] & valid
    return eqx.combine(jax.tree.map(lambda leaf: leaf[steps], series), constant), Forcing(**part, dt=forcing.dt)


def stream(
    params: Parameters, forcing: Forcing, site: Site, state: State, chunk_steps: int = 4320, solver: str = "converged"
) -> Iterator[tuple[slice, Outputs, State]]:
    """Run a long record in pieces, so that memory does not grow with its length.

    All pieces have one length (the last is padded and masked), so they share one compiled program:
    a run that is cut anywhere and continued from the state gives the same bits.

    Yields:
        (slice of time steps, Outputs of those steps, state after them).
    """
    # 48 fills vector registers of any width: every step takes the same path through them, wherever it stands
    chunk = 48 if chunk_steps % 48 == 0 else None
    for start in range(0, forcing.steps, chunk_steps):
        stop = min(start + chunk_steps, forcing.steps)
        now, part = _piece(params, forcing, start, stop, chunk_steps)
        out, state = simulate(now, part, site, state, solver=solver, chunk=chunk)
        yield slice(start, stop), jax.tree.map(lambda value, n=stop - start: value[:n], out), state


def spin_up(
    params: Parameters,
    forcing: Forcing,
    site: Site,
    years: float | int = 3,
    state: State | None = None,
    solver="converged",
) -> State:
    """State after running over the record, again and again, for about ``years`` years.

    The record's first year (all of it, if it is shorter) is repeated, whole passes only; a column
    of a stack that is padded within that year stands still while others go on.

    Args:
        years: length of the spin-up; 0 returns the start.
        state: where to start; None is a snow-free column at the mean air temperature.

    Returns:
        State. Differentiable like any run.
    """
    if state is None:
        state = initial_state(
            jnp.mean(forcing.Tair, axis=0), jnp.broadcast_to(params.soil.porosity, forcing.Tair.shape[1:])
        )
    year = round(365 * 86400 / float(jnp.min(forcing.dt)))  # a number of steps: call this outside jit
    first = forcing.window(0, min(year, forcing.steps))
    series, constant = split_series(params, forcing.Tair.shape[1:])
    now = eqx.combine(jax.tree.map(lambda leaf: leaf[: first.steps], series), constant)
    for _ in range(int(-(-years * year // first.steps))):
        _, state = simulate(now, first, site, state, fields=("Qle",), solver=solver)
    return state
