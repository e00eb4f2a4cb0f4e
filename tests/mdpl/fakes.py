"""Stand-ins: a tiny differentiable model with the LSM's doors, towers in memory, Flux files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import netCDF4
import numpy as np

from jlsm.constants import SNOW_LAYERS, SOIL_LAYER_THICKNESS
from jlsm.forcing import METEOROLOGY, Forcing, Site
from jlsm.outputs import Outputs, output_fields
from jlsm.parameters import Parameters, default_parameters, get_parameter, replace_parameters
from jlsm.state import State, initial_state
from mdpl.model_paths import ModelPath
from mdpl.towers.intervals import DAY, TimeAxis, interval_means, model_time
from mdpl.towers.load import Tower
from mdpl.towers.observations import FluxSeries, Observations

MEMORY = 20 * DAY
"""time scale of the fake soil, s"""


def fake_simulate(
    params: Parameters, forcing: Forcing, site: Site, state: State, fields: tuple[str, ...] | None = None
) -> tuple[Outputs, State]:
    """A bucket that evaporates with vcmax25 and remembers; Qh answers to the leaf reflectance."""
    vegetation = params.vegetation
    # like the model's, its parameters may be time series
    vcmax25 = jnp.broadcast_to(vegetation.vcmax25, forcing.SWdown.shape)

    def step(water, now):
        sun, rain, vcmax25 = now
        evaporation = sun * vcmax25 / 200.0 * water
        water = water + forcing.dt * ((0.5 - water) / MEMORY + rain - evaporation * 2e-10)
        return water, (evaporation, water)

    water, (latent, moisture) = jax.lax.scan(step, state.soil_moisture[0], (forcing.SWdown, forcing.Precip, vcmax25))
    net = forcing.SWdown * (1.0 - vegetation.leaf_reflectance_nir)
    sensible = 0.5 * net + 20.0 * (vegetation.leaf_area_scale - 1.0)
    filled = {"Qle": latent, "Qh": sensible, "Rnet": net, "Qg": net - latent - sensible}
    layers = {"soil": len(SOIL_LAYER_THICKNESS), "snow": SNOW_LAYERS}
    for name, field in output_fields().items():
        if name not in filled:
            extra = (layers[field["layers"]],) if field["layers"] else ()
            filled[name] = jnp.zeros((latent.shape[0], *extra, *latent.shape[1:]), latent.dtype)
    state = initial_state(jnp.full(water.shape, 283.0), jnp.full(water.shape, 0.45))
    return Outputs(**filled), _with_water(state, water)


def _with_water(state: State, water) -> State:
    import equinox as eqx

    return eqx.tree_at(lambda s: s.soil_moisture, state, state.soil_moisture.at[0].set(water))


def fake_spin_up(
    params: Parameters,
    forcing: Forcing,
    site: Site,
    years: int = 3,
    state: State | None = None,
    simulate: Callable | None = None,
) -> State:
    """One and the same start, whatever the parameters."""
    columns = forcing.Tair.shape[1:]
    start = initial_state(jnp.full(columns, 283.0), jnp.full(columns, 0.45))
    return _with_water(start, jnp.full(columns, 0.4))


def fake_tangents(params, directions, forcing, site, state, of_state=None, fields=None):
    """What ``jlsm.simulate_tangents`` is for the model, by ``jax.jvp``."""

    def run(values):
        return fake_simulate(replace_parameters(params, values), forcing, site, state)

    values = {key: get_parameter(params, key) for key in directions}
    whole = {key: jnp.broadcast_to(d, (*values[key].shape, d.shape[-1])) for key, d in directions.items()}
    along = jax.vmap(lambda d: jax.jvp(run, (values,), (d,)), in_axes=-1, out_axes=(None, -1))
    (outputs, end), (slopes, of_end) = along(whole)
    return outputs, end, slopes, of_end


FAKE_PATH = ModelPath(fake_simulate, fake_spin_up, tangents=fake_tangents)


def make_site(code: str = "XX-Toy", igbp: str = "CRO") -> Site:
    """A site in the middle latitudes."""
    numbers = {"latitude": 51.0, "longitude": 11.0, "elevation": 160.0, "reference_height": 6.0, "canopy_height": 1.0}
    fields = {name: jnp.asarray(value) for name, value in numbers.items()}
    return Site(**fields, utc_offset=jnp.asarray(1.0), code=code, name="Toy", igbp=igbp)


def make_forcing(days: int, first_day: str = "2001-01-01", dt: int = 3600, seed: int = 0) -> Forcing:
    """Sunny days of changing brightness and some rain."""
    rng = np.random.default_rng(seed)
    per_day = DAY // dt
    steps = days * per_day
    day = np.datetime64(first_day, "D").astype(np.int64) + np.arange(steps) // per_day
    second = (np.arange(steps) % per_day) * dt
    season = 0.6 - 0.4 * np.cos(2 * np.pi * (day % 365.25) / 365.25)
    cloud = np.repeat(rng.uniform(0.4, 1.0, days), per_day)
    sun = 900.0 * season * cloud * np.maximum(np.sin((second / 3600.0 - 6.0) / 12.0 * np.pi), 0.0)
    values = dict.fromkeys(METEOROLOGY, np.full(steps, 1.0)) | {"SWdown": sun, "Tair": np.full(steps, 283.0)}
    values["Precip"] = np.repeat((rng.random(days) < 0.2) * 2e-8, per_day)
    series = {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}
    return Forcing(**series, day=jnp.asarray(day, jnp.int32), second_of_day=jnp.asarray(second, jnp.int32),
                   dt=jnp.asarray(float(dt)))  # fmt: skip


def make_tower(
    truth: dict[str, float], days: int = 4 * 365, interval: int = DAY, gaps: float = 0.1, noise: float = 0.0, **kwargs
) -> Tower:
    """A tower whose fluxes the fake model made with ``truth``."""
    code = kwargs.pop("code", "XX-Toy")
    forcing, site = make_forcing(days, **kwargs), make_site(code)
    params = replace_parameters(default_parameters(site), truth)
    outputs, _ = fake_simulate(params, forcing, site, fake_spin_up(params, forcing, site))
    axis = model_time(forcing)
    ratio = interval // axis.length
    rng = np.random.default_rng(1)
    fluxes = {}
    for flux in ("Qle", "Qh", "Rnet", "Qg"):
        values = np.asarray(interval_means(getattr(outputs, flux), ratio), np.float64)
        measured = rng.random(values.shape) >= gaps
        fluxes[flux] = FluxSeries(np.where(measured, values + noise * rng.normal(size=values.shape), 0.0), measured)
    observations = Observations(f"{code}_Flux.nc", TimeAxis(axis.start[::ratio], interval), fluxes)
    return Tower(code, forcing, site, observations)


def write_flux(
    path: Path,
    fluxes: dict[str, np.ndarray],
    flags: dict[str, np.ndarray] | None = None,
    first_day: str = "2001-01-01",
    step: int = 1800,
    start: np.ndarray | None = None,
    **attributes: str,
) -> Path:
    """A PLUMBER2-like Flux file; ``start`` (seconds since ``first_day``) replaces the regular axis."""
    steps = len(next(iter(fluxes.values())))
    with netCDF4.Dataset(path, "w") as file:
        for name, size in {"time": steps, "y": 1, "x": 1}.items():
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.units = f"seconds since {first_day} 00:00:00"
        time[:] = np.arange(steps) * step if start is None else start
        for name, values in fluxes.items():
            variable = file.createVariable(name, "f4", ("time", "y", "x"), fill_value=-9999.0)
            variable.units = "W/m2"
            variable[:, 0, 0] = np.asarray(values, "f4")
        for name, values in (flags or {}).items():
            file.createVariable(f"{name}_qc", "i4", ("time", "y", "x"))[:, 0, 0] = values
        file.setncatts(attributes)
    return path
