"""Weather that no tower has seen and yet could be, a climate for each column, with parameters from anywhere in bounds.

Unlike ``tests.jlsm.columns.scenarios`` (a smooth day at a corner of the weather's range) these are records: seasons,
fronts, cloud, gusts and storms follow each other as they do outside, only more violently.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from jlsm.budget import diagnose
from jlsm.constants import FREEZING_POINT, STEFAN_BOLTZMANN
from jlsm.forcing import Forcing, Site
from jlsm.model import step
from jlsm.parameters import PARAMETERS, RELATIONS, Parameters, default_parameters, replace_parameters
from jlsm.processes.humidity import saturation_over_water, specific_humidity
from jlsm.processes.soil_freezing import liquid_limit
from jlsm.processes.solar import Atmosphere, mean_cos_zenith
from jlsm.simulation.layout import atmosphere_of, run_layout
from jlsm.state import State, initial_state

CORNER = 0.15  # chance of a parameter to lie on its lower bound, and on its upper bound


def _red_noise(rng: np.random.Generator, steps: int, columns: int, memory) -> np.ndarray:
    """Normal noise of unit variance that forgets itself in ``memory`` steps."""
    keep = np.exp(-1.0 / np.asarray(memory, float))
    fresh = rng.standard_normal((steps, columns)) * np.sqrt(1.0 - keep**2)
    value, values = rng.standard_normal(columns), []
    for row in fresh:
        value = keep * value + row
        values.append(value)
    return np.stack(values)


def climates(seed: int, columns: int, steps: int, *, wild: bool = False) -> tuple[Parameters, Forcing, Site, State]:
    """Columns of extreme, physically consistent weather with random parameters.

    Args:
        seed: of the random numbers.
        wild: weather that jumps from step to step, each variable by itself, which no place on earth has.

    Returns:
        (params, forcing, site, state), in the precision that JAX is set to.
    """
    rng = np.random.default_rng(seed)

    def between(low, high):
        return rng.uniform(low, high, columns)

    dt = np.where(rng.random(columns) < 0.3, 3600.0, 1800.0)
    latitude, elevation = between(-80.0, 82.0), np.where(rng.random(columns) < 0.2, between(2500.0, 5500.0), 500.0)
    pressure = (
        101325.0 * (1.0 - 2.25577e-5 * elevation) ** 5.2559 * (1.0 + 0.015 * _red_noise(rng, steps, columns, 100))
    )
    first = np.round(between(10957, 11322)).astype(int)
    clock = np.arange(steps)[:, None] * dt
    day, second = first + (clock // 86400).astype(int), (clock % 86400).astype(int)
    none = np.zeros(columns)
    cosine, lit, sun = mean_cos_zenith(day, second, dt, latitude, none, none)
    top = sun * cosine * lit

    # clear to overcast in hours; the dry and the wet have more of one
    cloud = expit(2.0 * _red_noise(rng, steps, columns, 20) + between(-3.0, 3.0))
    season = -np.sign(latitude) * np.cos(2.0 * np.pi * (day - 15) / 365.25)
    mean = 30.0 - 0.62 * np.abs(latitude) + between(-10.0, 10.0) - 0.0055 * elevation
    swing, front = between(0.05, 0.35) * np.abs(latitude), between(1.0, 8.0)
    hour = (second + 0.5 * dt) / 3600.0
    daily = between(1.0, 11.0) * (1.0 - 0.7 * cloud) * np.cos((hour - 15.0) * np.pi / 12.0)
    celsius = mean + swing * season + front * _red_noise(rng, steps, columns, 60) + daily
    air = np.clip(celsius, -70.0, 54.0) + FREEZING_POINT
    relative = expit(between(-4.0, 4.0) - 0.15 * daily + _red_noise(rng, steps, columns, 30) + 2.0 * (cloud - 0.5))
    wind = between(0.2, 9.0) * np.abs(_red_noise(rng, steps, columns, 8) + between(0.0, 1.5))
    storm = _red_noise(rng, steps, columns, 10) + between(-1.0, 1.0)
    rain = between(0.1, 100.0) * np.maximum(storm - 1.0, 0.0) ** 2 / 86400.0 * (cloud > 0.5)
    shine = top * (0.78 - 0.68 * cloud) * np.exp(0.1 * _red_noise(rng, steps, columns, 3))
    if wild:
        air = air + 12.0 * rng.standard_normal((steps, columns))
        relative = rng.random((steps, columns))
        wind = 40.0 * rng.random((steps, columns)) ** 3
        shine = top * rng.random((steps, columns))
    saturated = specific_humidity(np.asarray(saturation_over_water(air)), pressure)
    humidity = np.minimum(relative * saturated, 0.04 + 0.0 * saturated)
    vapour = humidity * pressure / 0.622
    emissivity = np.minimum(1.24 * (0.01 * vapour / air) ** (1.0 / 7.0), 1.0)  # Brutsaert (1975)
    longwave = (emissivity + (0.98 - emissivity) * cloud) * STEFAN_BOLTZMANN * air**4
    if wild:
        longwave = longwave * (0.7 + 0.5 * rng.random((steps, columns)))
    leaf = np.where(rng.random(columns) < 0.2, 0.0, 8.0 * rng.random(columns) ** 1.5)
    leaf = np.maximum(leaf * (1.0 + 0.5 * season), 0.0)
    co2 = between(280.0, 1000.0)

    series = {
        "Tair": air,
        "Qair": humidity,
        "Psurf": pressure,
        "SWdown": np.minimum(shine, 1.1 * top),
        "LWdown": longwave,
        "Wind": np.minimum(wind, 45.0),
        "Precip": np.minimum(rain, 300.0 / 86400.0),
        "CO2air": co2,
        "LAI": leaf,
    }
    shape = (steps, columns)
    forcing = Forcing(
        **{name: jnp.asarray(np.broadcast_to(v, shape), float) for name, v in series.items()},
        day=jnp.asarray(np.broadcast_to(day, shape), jnp.int32),
        second_of_day=jnp.asarray(np.broadcast_to(second, shape), jnp.int32),
        dt=jnp.asarray(dt, float),
    )
    params = random_parameters(rng, columns)
    height = np.asarray(params.vegetation.canopy_height)
    site = Site(
        latitude=jnp.asarray(latitude, float),
        longitude=jnp.zeros(columns),
        elevation=jnp.asarray(elevation, float),
        reference_height=jnp.asarray(height * between(1.1, 2.0) + between(1.0, 10.0), float),
        canopy_height=jnp.full(columns, jnp.nan),
        utc_offset=jnp.zeros(columns),
        code=("XX-Ext",) * columns,
        name=("extreme",) * columns,
        igbp=("CRO",) * columns,
        soil_texture=("loam",) * columns,
    )
    return params, forcing, site, _start(rng, params, air)


def random_parameters(rng: np.random.Generator, columns: int) -> Parameters:
    """Parameters anywhere in their bounds, many of them on one, whose relations hold."""
    values = {}
    for key, info in PARAMETERS.items():
        where = rng.random(columns)
        wide = info.lower > 0.0 and info.upper > 50.0 * info.lower  # by its logarithm
        low, high = (np.log(info.lower), np.log(info.upper)) if wide else (info.lower, info.upper)
        value = rng.uniform(low, high, columns)
        value = np.exp(value) if wide else value
        value = np.where(where < CORNER, info.lower, np.where(where > 1.0 - CORNER, info.upper, value))
        values[key] = value
    off = rng.random(columns) < 0.5
    for switch in ("irrigation_rate", "pond_depth", "water_table_conductance"):
        values[f"management.{switch}"] = np.where(off, 0.0, values[f"management.{switch}"])
    for relation in RELATIONS:
        low, high = values[relation.smaller], values[relation.larger]
        values[relation.smaller], values[relation.larger] = np.minimum(low, high), np.maximum(low, high)
    site = Site(
        *(jnp.zeros(columns),) * 4, jnp.full(columns, jnp.nan), jnp.zeros(columns),
        igbp=("CRO",) * columns, soil_texture=("loam",) * columns,
    )  # fmt: skip
    return replace_parameters(default_parameters(site), {k: jnp.asarray(v, float) for k, v in values.items()})


def _start(rng: np.random.Generator, params: Parameters, air: np.ndarray) -> State:
    """A state that such a place could be in: ground as warm as the record on average, frozen or snowed on if cold."""
    columns = air.shape[1]
    mean = air.mean(axis=0) + rng.normal(0.0, 2.0, columns)
    state = initial_state(jnp.asarray(mean, float), params.soil.porosity)
    saturation = rng.beta(1.0, 1.0, (state.soil_moisture.shape[0], columns)) * 0.97 + 0.03
    moisture = jnp.asarray(saturation, float) * params.soil.porosity
    ice = jnp.maximum(moisture - liquid_limit(params.soil, state.ground_temperature), 0.0)
    cold = mean < FREEZING_POINT + 2.0
    snow = np.where(cold & (rng.random(columns) < 0.8), 300.0 * rng.random(columns) ** 4, 0.0)
    return dataclasses.replace(state, soil_moisture=moisture, soil_ice=ice, snow_mass=jnp.asarray(snow, float))


def trajectory(params: Parameters, forcing: Forcing, site: Site, state: State):
    """(outputs of every step, what every step began with and ended at, as one long row of columns)."""
    constants, rows = run_layout(params, forcing, site.numeric(), forcing.steps)
    air = atmosphere_of(constants, jax.tree.map(lambda leaf: leaf[0], rows))[0]

    def one(state, air):
        new, computed = step(params, state, air, site.reference_height, forcing.dt, differentiated=True)
        out = diagnose(state, new, computed, params, forcing.dt)
        return new, (out, state, computed.surface.unknowns)

    _, (out, states, solutions) = jax.lax.scan(one, state, air)
    steps = forcing.steps

    def in_a_row(leaf):  # [time, layers, columns] as [layers, time * columns]
        leaf = jnp.moveaxis(leaf, 0, -2)
        return leaf.reshape(*leaf.shape[:-2], -1)

    def repeated(leaf):
        return jnp.tile(leaf, steps)

    row = (
        jax.tree.map(repeated, params), jax.tree.map(in_a_row, states), jax.tree.map(in_a_row, air),
        repeated(site.reference_height), repeated(forcing.dt), jax.tree.map(in_a_row, solutions),
    )  # fmt: skip
    return out, row


def _step(row, params: Parameters, state: State, air: Atmosphere):
    """Outputs and state of a step whose surface balance is solved already.

    All but residuals: they are differences of large numbers, the solver's a sum of absolute values.
    """
    _, _, _, height, dt, solution = row
    new, computed = step(params, state, air, height, dt, solution=solution, differentiated=True)
    out = diagnose(state, new, computed, params, dt)
    return {name: value for name, value in vars(out).items() if not name.endswith("Residual")}, new


def tangents_forward(row, seed: int):
    """Derivative of all outputs and states of a step along a random direction of everything it depends on."""
    params, state, air = row[:3]
    keys = iter(jax.random.split(jax.random.key(seed), 200))

    def direction(leaf):
        return jax.random.normal(next(keys), leaf.shape, leaf.dtype) * (jnp.abs(leaf) + 1e-3)

    directions = jax.tree.map(direction, (params, state, air))
    return jax.jvp(partial(_step, row), (params, state, air), directions)[1]


def tangents_reverse(row):
    """Derivative of the sum of all outputs and states of a step by everything it depends on."""

    def total(*arguments):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(_step(row, *arguments)))

    return jax.grad(total, argnums=(0, 1, 2))(*row[:3])


def columns_not_finite(tree) -> dict[str, np.ndarray]:
    """Name of each leaf -> where it holds a value that is not finite, for the leaves that do."""
    bad = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.asarray(leaf)
        where = ~np.isfinite(leaf).reshape(-1, leaf.shape[-1]).all(axis=0)
        if where.any():
            bad[jax.tree_util.keystr(path)] = where
    return bad
