"""Synthetic weather and columns of one shape, so that all tests of the whole model share compiled code."""

from __future__ import annotations

import dataclasses
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies

from jlsm.constants import FREEZING_POINT, STEFAN_BOLTZMANN
from jlsm.forcing import Forcing, Site
from jlsm.parameters import Parameters, default_parameters, replace_parameters
from jlsm.processes.humidity import saturation_vapour_pressure, specific_humidity
from jlsm.processes.soil_freezing import liquid_limit
from jlsm.simulation import simulate
from jlsm.state import State, initial_state

COLUMNS = 32
STEPS = 96  # two days of half-hours
DT = 1800.0
DAY = 86400.0


def make_site(latitude=45.0, reference_height=10.0, columns: int = COLUMNS, igbp: str = "CRO") -> Site:
    """Columns on the Greenwich meridian."""

    def fill(value):
        return jnp.broadcast_to(jnp.asarray(value, float), (columns,))

    return Site(
        latitude=fill(latitude),
        longitude=fill(0.0),
        elevation=fill(100.0),
        reference_height=fill(reference_height),
        canopy_height=fill(jnp.nan),
        utc_offset=fill(0.0),
        code=("XX-Syn",) * columns,
        name=("synthetic",) * columns,
        igbp=(igbp,) * columns,
        soil_texture=("loam",) * columns,
    )


def make_forcing(
    temperature=288.0,
    swing=6.0,
    humidity=0.7,
    wind=3.0,
    rain=0.0,
    cloud=0.3,
    lai=2.0,
    pressure=98000.0,
    co2=400.0,
    day=10760,
    latitude=45.0,
    columns: int = COLUMNS,
    steps: int = STEPS,
    dt: float = DT,
) -> Forcing:
    """Weather with a daily cycle; every argument is a number or one per column.

    Args:
        temperature, swing: mean and amplitude of air temperature, K.
        humidity: relative to saturation at the mean temperature less half the swing, -.
        rain: mm per day while it rains, noon to midnight of every day.
        cloud: 0 (clear) to 1 (overcast).
        day: first day, since 1970-01-01; 10760 is 18 June 1999.
    """
    seconds = np.arange(steps) * dt
    hour = ((seconds % DAY) / 3600.0)[:, None]
    middle = hour + dt / 7200.0
    column = [
        np.broadcast_to(np.asarray(v, float), (columns,))
        for v in (temperature, swing, humidity, wind, rain, cloud, lai, pressure, co2, latitude)
    ]
    temperature, swing, humidity, wind, rain, cloud, lai, pressure, co2, latitude = column
    days = np.broadcast_to(np.asarray(day), (columns,)) + (seconds // DAY).astype(int)[:, None]
    season = 2 * np.pi * ((days % 365.25) - 80.0) / 365.25
    declination = np.deg2rad(23.45) * np.sin(season)
    phi = np.deg2rad(latitude)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos((middle - 12) * np.pi / 12)
    sun = 1361.0 * np.maximum(sine, 0.0) * (0.75 - 0.6 * cloud)
    air = temperature + swing * np.cos((middle - 15.0) * np.pi / 12)
    dew = np.minimum(air, temperature - 0.5 * swing)
    moist = humidity * np.asarray(specific_humidity(saturation_vapour_pressure(jnp.asarray(dew)), pressure))
    series = {
        "Tair": air,
        "Qair": moist,
        "Psurf": pressure,
        "SWdown": sun,
        "LWdown": (0.72 + 0.25 * cloud) * STEFAN_BOLTZMANN * air**4,
        "Wind": wind * (1.0 + 0.3 * np.sin(middle)),
        "Precip": np.where(hour >= 12.0, rain / DAY, 0.0),
        "CO2air": co2,
        "LAI": lai,
    }
    shape = (steps, columns)
    return Forcing(
        **{name: jnp.asarray(np.broadcast_to(values, shape)) for name, values in series.items()},
        day=jnp.asarray(np.broadcast_to(days, shape), jnp.int32),
        second_of_day=jnp.asarray(np.broadcast_to((seconds % DAY)[:, None], shape), jnp.int32),
        dt=jnp.full((columns,), dt),
    )


def make_parameters(columns: int = COLUMNS, igbp: str = "CRO", **values) -> Parameters:
    """Defaults with some values replaced (numbers or one per column)."""
    params = default_parameters(make_site(columns=columns, igbp=igbp))
    return replace_parameters(
        params, {name: jnp.broadcast_to(jnp.asarray(v, float), (columns,)) for name, v in values.items()}
    )


def make_state(params: Parameters, temperature=285.0, saturation=0.7, **fields) -> State:
    """A state at one temperature, frozen below freezing as it would be after a step, with some fields replaced."""
    columns = params.soil.porosity.shape
    temperature = jnp.broadcast_to(jnp.asarray(temperature, float), columns)
    state = initial_state(temperature, params.soil.porosity)
    moisture = jnp.broadcast_to(saturation * params.soil.porosity, state.soil_moisture.shape)
    ice = jnp.maximum(moisture - liquid_limit(params.soil, state.ground_temperature), 0.0)
    state = dataclasses.replace(state, soil_moisture=moisture, soil_ice=ice)
    new = {name: jnp.broadcast_to(jnp.asarray(v, float), getattr(state, name).shape) for name, v in fields.items()}
    return dataclasses.replace(state, **new)


def single(tree, column: int = 0):
    """One column of a pytree of columns, as a single site has it."""
    return jax.tree.map(lambda leaf: leaf[..., column], tree)


def as_float32(tree):
    """The same pytree with its floating point leaves in float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def optimised(function):
    """``jax.jit`` with the compiler's own optimisations: for what runs often (``tests.conftest`` has none)."""
    flags = os.environ.get("XLA_FLAGS", "")
    options = {"xla_cpu_use_fusion_emitters=false": True, "xla_backend_optimization_level=0": 3}
    options = {flag.split("=")[0]: best for flag, best in options.items() if f"--{flag}" in flags}
    return jax.jit(function, compiler_options=options or None)


def run(params: Parameters, forcing: Forcing, site: Site, state: State, **options):
    """``simulate`` with all outputs as NumPy arrays in a dictionary, and the last state."""
    out, last = simulate(params, forcing, site, state, **options)
    return {name: np.asarray(v) for name, v in vars(out).items() if v is not None}, last


def scenarios(unit: np.ndarray):
    """Extreme weather, ground, plants and management from numbers in [0, 1], ``[columns, KNOBS]``.

    Returns:
        (params, forcing, site, state), each column another place between polar night and wet heat.
    """
    u = iter(np.asarray(unit, float).T)

    def between(low, high):
        return low + (high - low) * next(u)

    temperature, swing = between(-45.0, 42.0) + FREEZING_POINT, between(0.0, 8.0)
    latitude, day = between(-75.0, 80.0), np.round(between(10957, 11322)).astype(int)
    wind, rain, cloud, humidity = between(0.0, 40.0), 300.0 * next(u) ** 3, between(0.0, 1.0), between(0.02, 1.0)
    lai, height = between(0.0, 8.0), 0.05 * 400.0 ** next(u)
    forcing = make_forcing(temperature, swing, humidity, wind, rain, cloud, lai, day=day, latitude=latitude)
    site = make_site(latitude, reference_height=1.3 * height + 2.0).numeric()  # the structure that all tests compile
    switch = next(u) > 0.5
    params = make_parameters(
        canopy_height=height,
        vegetation_cover=between(0.1, 1.0),
        c4_fraction=between(0.0, 1.0),
        irrigation_rate=np.where(switch, between(0.0, 1e-3), 0.0),
        irrigation_start=1.0,
        irrigation_end=366.0,
        pond_depth=np.where(next(u) > 0.7, between(0.0, 100.0), 0.0),
        pond_start=between(1.0, 366.0),
        pond_end=between(1.0, 366.0),
        water_table_conductance=np.where(next(u) > 0.5, 1e-5, 0.0),
        water_table_depth=between(0.2, 3.0),
    )
    ground = temperature + between(-10.0, 10.0)
    snow = np.where(ground < 278.0, 300.0 * next(u) ** 3, 0.0)
    water = between(0.0, 1.0) * np.asarray(params.vegetation.canopy_water_capacity) * lai
    state = make_state(
        params,
        ground,
        saturation=between(0.03, 1.0),
        snow_mass=snow,
        snow_temperature=np.minimum(ground, FREEZING_POINT),
        canopy_water=water,
        canopy_ice=np.where(temperature < FREEZING_POINT, water, 0.0),
    )
    assert next(u, None) is None, "KNOBS is out of step with the scenario"
    return params, forcing, site, state


KNOBS = 24


def with_fields(tree, **fields):
    """A module with some of its fields replaced."""
    return eqx.tree_at(lambda t: [getattr(t, name) for name in fields], tree, list(fields.values()))


def unit_cube(knobs: int, columns: int = COLUMNS):
    """Hypothesis strategy of ``[columns, knobs]`` numbers in [0, 1] that like the corners.

    Each example is 32 cases side by side; they are made from a seed, because shrinking 32 cases
    one number at a time helps nobody.
    """

    def draw(seed: int) -> np.ndarray:
        u = np.random.default_rng(seed).beta(0.5, 0.5, (columns, knobs))
        return np.where(u < 0.01, 0.0, np.where(u > 0.99, 1.0, u))

    return strategies.integers(0, 2**32 - 1).map(draw)
