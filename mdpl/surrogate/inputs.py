"""What the surrogate sees: weather scaled to order one, its recent past, parameters as numbers of order one.

Half-hourly arrays are ``[days, what, steps, columns]``: rows of columns stay together in memory.
The recent past is exponential means of the weather over ``MEMORY`` seconds. Within a day they are one triangular
matrix, from day to day one short recursion, so nothing here steps through half hours.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jlsm.constants import FREEZING_POINT, LATENT_HEAT_VAPORISATION, VAPOUR_TO_AIR_MASS
from jlsm.forcing import Forcing, Site
from jlsm.parameters import PARAMETERS, Parameters, get_parameter
from jlsm.processes.humidity import vapour_pressure_deficit
from jlsm.processes.solar import day_of_year, declination, solar_hours, year_angle
from mdpl.towers.intervals import DAY

MEMORY = (2 * 3600.0, 12 * 3600.0)
REMEMBERED = 6
"""the first of ``scaled_weather``'s variables have their recent past among the inputs"""
WEATHER = 9
SUMMARY = WEATHER + 6
WET = 2
FEATURES = WEATHER + REMEMBERED * len(MEMORY) + WET
ATTRIBUTES = 7
SHARE_EDGE = 0.02  # keeps the logarithms of a share finite at the bounds, where defaults may lie (vegetation_cover 1)


def by_day(values: Array, steps_per_day: int, columns: int) -> Shaped[Array, "days steps columns"]:
    """A record ``[time, ...]`` cut into days, columns in one axis."""
    return values.reshape(-1, steps_per_day, columns)


def scaled_weather(forcing: Forcing, site: Site, steps_per_day: int) -> Float[Array, "days weather steps columns"]:
    """Instantaneous weather, scaled by fixed numbers (so that no site or record changes the scale)."""
    columns = int(np.prod(forcing.Tair.shape[1:]))
    deficit = vapour_pressure_deficit(forcing.Qair, forcing.Tair, forcing.Psurf)
    rows = [
        forcing.SWdown / 250.0,
        (forcing.LWdown - 320.0) / 60.0,
        (forcing.Tair - 284.0) / 10.0,
        deficit / 1000.0,
        jnp.log1p(forcing.Wind) - 1.3,
        jnp.log1p(3600.0 * forcing.Precip),
        forcing.LAI / 3.0,
        (forcing.Psurf - 9.8e4) / 5e3,
    ]
    rows = [by_day(row, steps_per_day, columns) for row in rows]
    sun = 2.0 * _sun(forcing, site, steps_per_day, columns).astype(rows[0].dtype)
    return jnp.stack([*rows, sun], axis=1)


def _sun(forcing: Forcing, site: Site, steps_per_day: int, columns: int) -> Float[Array, "days steps columns"]:
    """Cosine of the zenith angle in the middle of each step, 0 at night.

    Declination and equation of time are those of the middle of the day's record, and the hour angle's cosine is that
    of a sum: no trigonometry by steps.
    """

    def of_site(value):
        return jnp.broadcast_to(jnp.asarray(value).reshape(-1), (columns,))

    day = by_day(forcing.day, steps_per_day, columns)[:, 0]
    second = by_day(forcing.second_of_day, steps_per_day, columns)[:, 0]
    angle = year_angle(day_of_year(day, second) + 0.5)
    start = (jnp.pi / 12.0) * (solar_hours(second, angle, of_site(site.longitude), of_site(site.utc_offset)) - 12.0)
    since = ((2.0 * np.pi / steps_per_day) * (np.arange(steps_per_day) + 0.5))[:, None]
    latitude, tilt = jnp.deg2rad(of_site(site.latitude)), declination(angle)
    high = (jnp.sin(latitude) * jnp.sin(tilt))[:, None]
    wide = jnp.cos(latitude) * jnp.cos(tilt)
    cosine, sine = (wide * part(start) for part in (jnp.cos, jnp.sin))
    return jnp.maximum(high + cosine[:, None] * jnp.cos(since) - sine[:, None] * jnp.sin(since), 0.0)


def day_summary(
    now: Float[Array, "days weather steps columns"],
    air: Float[Array, "days 5 steps columns"],
    wet: Float[Array, "days wet steps columns"],
) -> Float[Array, "days columns summary"]:
    """What the slow cell hears of a day.

    Means of ``scaled_weather``, the range of temperature and radiation, and what a water balance is made of:
    precipitation (5 kg m-2), what sun and dry air could evaporate (kg m-2), what wet leaves do (from ``wet_leaves``).
    """
    span = now[:, (0, 2)].max(axis=2) - now[:, (0, 2)].min(axis=2)
    rain, sun = (air[:, i].mean(axis=1) * DAY for i in (0, 1))
    drawn = (air[:, 2] * air[:, 3]).mean(axis=1) * (0.01 * DAY)
    water = jnp.stack([rain / 5.0, sun / 2.0, drawn / 2.0, wet[:, 1].mean(axis=1)], axis=1)
    return jnp.moveaxis(jnp.concatenate([now.mean(axis=2), span, water], axis=1), 1, -1)


def _kernel(steps_per_day: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a day's steps in the exponential means ``[memory, t, s]``; decay since midnight ``[memory, t]``."""
    t = np.arange(steps_per_day)
    decay = np.exp(-DAY / steps_per_day / np.array(MEMORY))[:, None, None]
    lag = t[:, None] - t[None, :]
    kernel = np.where(lag >= 0, (1.0 - decay) * decay ** np.maximum(lag, 0), 0.0)
    return kernel, decay[:, 0] ** (t + 1)


def past_at_midnight(
    now: Float[Array, "days weather steps columns"], start: Float[Array, "past columns"]
) -> tuple[Float[Array, "days past columns"], Float[Array, "past columns"]]:
    """The exponential means at the start of every day, and at the end of the last."""
    kernel, decay = _kernel(now.shape[2])
    last = jnp.asarray(kernel[:, -1], now.dtype)
    gained = jnp.matmul(last, now[:, :REMEMBERED]).reshape(now.shape[0], -1, now.shape[3])
    keep = jnp.tile(jnp.asarray(decay[:, -1], now.dtype), REMEMBERED)[:, None]

    def one_day(past, new):
        return keep * past + new, past

    end, starts = jax.lax.scan(one_day, start, gained)
    return starts, end


def decoder_inputs(
    now: Float[Array, "days weather steps columns"],
    midnight: Float[Array, "days past columns"],
    wet: Float[Array, "days wet steps columns"],
) -> Float[Array, "days features steps columns"]:
    """Inputs of the half-hourly decoder: the weather now, its exponential means up to now, the wetness of leaves."""
    days, _, steps, columns = now.shape
    kernel, decay = (jnp.asarray(part, now.dtype) for part in _kernel(steps))
    past = jnp.matmul(kernel.reshape(-1, steps), now[:, :REMEMBERED])
    past = past.reshape(days, REMEMBERED, len(MEMORY), steps, columns)
    past = past + decay[..., None] * midnight.reshape(days, REMEMBERED, len(MEMORY), 1, columns)
    return jnp.concatenate([now, past.reshape(days, -1, steps, columns), wet], axis=1)


class Leaves(NamedTuple):
    """What wets and dries leaves in a step, ``[days, steps, columns]``."""

    caught: Array
    """rain and snow they catch, kg m-2 in the step"""
    capacity: Array
    """kg m-2"""
    potential: Array
    """evaporation while wet, kg m-2 s-1"""
    drying: Array
    """share of the capacity that this evaporation takes in the step"""


def drying_weather(forcing: Forcing, steps_per_day: int) -> Float[Array, "days 5 steps columns"]:
    """Precipitation, what sun and dry air evaporate (Penman 1948, kg m-2 s-1 and kg m-3), wind, leaf area index."""
    slope = jnp.clip(0.43 + 0.012 * (forcing.Tair - FREEZING_POINT), 0.2, 0.85)  # Delta / (Delta + gamma)
    deficit = vapour_pressure_deficit(forcing.Qair, forcing.Tair, forcing.Psurf)
    sun = 0.5 * slope * forcing.SWdown / LATENT_HEAT_VAPORISATION
    air = (1.0 - slope) * 1.2 * VAPOUR_TO_AIR_MASS * deficit / forcing.Psurf
    rows = (forcing.Precip, sun, air, forcing.Wind, forcing.LAI)
    return jnp.stack([by_day(row, steps_per_day, int(np.prod(row.shape[1:]))) for row in rows], axis=1)


def leaves(air: Float[Array, "days 5 steps columns"], traits: Float[Array, "3 ... columns"]) -> Leaves:
    """From ``drying_weather`` and ``leaf_traits``; the model's own catch and capacity, a rough evaporation."""
    dt = DAY / air.shape[2]
    rain, sun, dry, wind, lai = jnp.moveaxis(air, 1, 0)
    capacity, heat_coefficient, area_scale = traits
    area = jnp.maximum(lai * area_scale, 0.05)
    # in series: the air above the canopy (a drag coefficient of 0.02) and that between the leaves
    conductance = wind / (50.0 + 1.0 / (0.4 * heat_coefficient * area))
    potential = jnp.maximum(sun + dry * conductance, 0.0)
    capacity = capacity * area
    return Leaves(dt * rain * jnp.minimum(area, 1.0), capacity, potential, potential * dt / capacity)


def wet_leaves(
    leaves: Leaves, start: Float[Array, "columns"]
) -> tuple[Float[Array, "days 2 steps columns"], Float[Array, "columns"]]:
    """The wet share of leaves and what it evaporates (100 W m-2), from a bucket that fills and dries; its end.

    A step takes water w to min(keep w + caught, capacity). Steps joined have that form again, so all days go through
    their steps side by side, and midnights follow from day to day.
    """

    def one_step(joined, now):
        (factor, more, most), (keep, caught, capacity) = joined, now
        return (keep * factor, keep * more + caught, jnp.minimum(keep * most + caught, capacity)), joined

    keep = jnp.exp(-leaves.drying)
    steps = tuple(jnp.moveaxis(part, 1, 0) for part in (keep, leaves.caught, leaves.capacity))
    nothing = (jnp.ones_like(keep[:, 0]), jnp.zeros_like(keep[:, 0]), jnp.full_like(keep[:, 0], 1e4))
    whole, before = jax.lax.scan(one_step, nothing, steps)

    def one_day(water, day):
        return jnp.minimum(day[0] * water + day[1], day[2]), water

    end, midnight = jax.lax.scan(one_day, start, whole)
    water = jnp.moveaxis(jnp.minimum(before[0] * midnight + before[1], before[2]), 0, 1)
    # the mean over the step of a share that decays
    mean = jnp.where(leaves.drying > 1e-3, (1.0 - keep) / jnp.maximum(leaves.drying, 1e-3), 1.0 - 0.5 * leaves.drying)
    wet = jnp.minimum(water / leaves.capacity, 1.0) * mean
    return jnp.stack([wet, wet * leaves.potential * (LATENT_HEAT_VAPORISATION / 100.0)], axis=1), end


LEAF_TRAITS = (
    "vegetation.canopy_water_capacity",
    "vegetation.leaf_heat_coefficient",
    "vegetation.leaf_area_scale",
)


def leaf_traits(
    params: Parameters, column_shape: tuple[int, ...], steps_per_day: int
) -> Float[Array, "traits days_or_1 1 columns"]:
    """What ``leaves`` needs of the parameters; time series by their daily means."""
    rows = [_by_day(get_parameter(params, key), column_shape, steps_per_day) for key in LEAF_TRAITS]
    days = max(row.shape[0] for row in rows)
    return jnp.stack([jnp.broadcast_to(row, (days, row.shape[1])) for row in rows])[:, :, None]


def site_attributes(params: Parameters, site: Site, columns: int) -> Float[Array, "columns attributes"]:
    """The site and its soil, as far as the learned parameters do not say it."""

    def column(value):
        return jnp.broadcast_to(jnp.asarray(value).reshape(-1), (columns,))

    soil = params.soil
    values = [
        site.latitude / 50.0,
        site.elevation / 500.0,
        jnp.log(site.reference_height) - 1.5,
        4.0 * soil.porosity - 1.8,
        0.3 * jnp.log(soil.saturated_conductivity) + 3.6,
        soil.clapp_hornberger_b / 5.0 - 1.0,
        params.vegetation.c4_fraction,
    ]
    return jnp.stack([column(value) for value in values], axis=-1)


def parameter_features(shares: Float[Array, "... parameters"]) -> Float[Array, "... inputs"]:
    """A share of the range, and how near it is to either bound (conductances act by their logarithm)."""
    low, high = jnp.log(shares + SHARE_EDGE), jnp.log(1.0 - shares + SHARE_EDGE)
    return jnp.concatenate([2.0 * shares - 1.0, 0.6 * low + 0.6, -0.6 * high - 0.6], axis=-1)


def parameter_shares(
    params: Parameters, keys: tuple[str, ...], column_shape: tuple[int, ...], steps_per_day: int
) -> Float[Array, "days_or_1 columns parameters"]:
    """(value - lower) / (upper - lower) of each key; a parameter with a time axis enters by its daily mean."""
    rows = []
    for key in keys:
        info = PARAMETERS[key]
        value = _by_day(get_parameter(params, key), column_shape, steps_per_day)
        rows.append((value - info.lower) / (info.upper - info.lower))
    days = max(row.shape[0] for row in rows)
    return jnp.stack([jnp.broadcast_to(row, (days, row.shape[1])) for row in rows], axis=-1)


def _by_day(value, column_shape: tuple[int, ...], steps_per_day: int) -> Float[Array, "days_or_1 columns"]:
    value, columns = jnp.asarray(value), int(np.prod(column_shape))
    if value.ndim > len(column_shape):
        value = value.reshape(-1, steps_per_day, *value.shape[1:]).mean(axis=1)
        return jnp.broadcast_to(value, (value.shape[0], *column_shape)).reshape(-1, columns)
    return jnp.broadcast_to(value, column_shape).reshape(1, columns)
