"""What the surrogate sees: weather scaled to order one, its recent past, parameters as numbers of order one.

The recent past is exponential means of the weather over ``MEMORY`` seconds. Within a day they are one triangular
matrix, from day to day one short recursion, so nothing here steps through half hours.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jlsm.forcing import Forcing, Site
from jlsm.parameters import PARAMETERS, Parameters, get_parameter
from jlsm.processes.humidity import saturation_over_water, vapour_pressure
from jlsm.processes.solar import mean_cos_zenith
from mdpl.intervals import DAY

MEMORY = (2 * 3600.0, 12 * 3600.0)
REMEMBERED = 6
"""the first of ``weather``'s variables have their recent past among the inputs"""
WEATHER = 9
SUMMARY = WEATHER + 2
FEATURES = WEATHER + REMEMBERED * len(MEMORY)
ATTRIBUTES = 7
EDGE = 0.02  # keeps the logarithms of a share finite at the bounds, where defaults may lie (vegetation_cover 1)


def weather(forcing: Forcing, site: Site) -> Float[Array, "time ... weather"]:
    """Instantaneous weather, scaled by fixed numbers (so that no site or record changes the scale)."""
    deficit = saturation_over_water(forcing.Tair) - vapour_pressure(forcing.Qair, forcing.Psurf)
    return jnp.stack(
        [
            forcing.SWdown / 250.0,
            (forcing.LWdown - 320.0) / 60.0,
            (forcing.Tair - 284.0) / 10.0,
            deficit / 1000.0,
            jnp.log1p(forcing.Wind) - 1.3,
            jnp.log1p(3600.0 * forcing.Precip),
            forcing.LAI / 3.0,
            mean_cos_zenith(forcing, site)[0] * 2.0,
            (forcing.Psurf - 9.8e4) / 5e3,
        ],
        axis=-1,
    )


def day_summary(now: Float[Array, "days steps ... weather"]) -> Float[Array, "days ... summary"]:
    """What the slow cell hears of a day: means, and the range of temperature and radiation."""
    span = now[..., (0, 2)].max(axis=1) - now[..., (0, 2)].min(axis=1)
    return jnp.concatenate([now.mean(axis=1), span], axis=-1)


def _kernel(steps_per_day: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a day's steps in the exponential means ``[memory, t, s]``; decay since midnight ``[memory, t]``."""
    t = np.arange(steps_per_day)
    decay = np.exp(-DAY / steps_per_day / np.array(MEMORY))[:, None, None]
    lag = t[:, None] - t[None, :]
    kernel = np.where(lag >= 0, (1.0 - decay) * decay ** np.maximum(lag, 0), 0.0)
    return kernel, decay[:, 0] ** (t + 1)


def past_at_midnight(
    now: Float[Array, "days steps columns weather"], start: Float[Array, "columns past"]
) -> tuple[Float[Array, "days columns past"], Float[Array, "columns past"]]:
    """The exponential means at the start of every day, and at the end of the last."""
    kernel, decay = _kernel(now.shape[1])
    last = jnp.asarray(kernel[:, -1], now.dtype)
    made = jnp.einsum("ms,dscf->dcmf", last, now[..., :REMEMBERED]).reshape(now.shape[0], now.shape[2], -1)
    keep = jnp.repeat(jnp.asarray(decay[:, -1], now.dtype), REMEMBERED)

    def one_day(past, new):
        return keep * past + new, past

    end, starts = jax.lax.scan(one_day, start, made)
    return starts, end


def features(
    now: Float[Array, "days steps columns weather"], midnight: Float[Array, "days columns past"]
) -> Float[Array, "days steps columns features"]:
    """Inputs of the half-hourly decoder: the weather now and its exponential means up to now."""
    kernel, decay = (jnp.asarray(part, now.dtype) for part in _kernel(now.shape[1]))
    past = jnp.einsum("mts,dscf->dtcmf", kernel, now[..., :REMEMBERED])
    past = past + jnp.einsum("mt,dcmf->dtcmf", decay, midnight.reshape(*midnight.shape[:2], len(MEMORY), -1))
    return jnp.concatenate([now, past.reshape(*now.shape[:3], -1)], axis=-1)


def attributes(params: Parameters, site: Site, columns: int) -> Float[Array, "columns attributes"]:
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
    low, high = jnp.log(shares + EDGE), jnp.log(1.0 - shares + EDGE)
    return jnp.concatenate([2.0 * shares - 1.0, 0.6 * low + 0.6, -0.6 * high - 0.6], axis=-1)


def parameter_shares(
    params: Parameters, keys: tuple[str, ...], column_shape: tuple[int, ...], steps_per_day: int
) -> Float[Array, "days_or_1 columns parameters"]:
    """(value - lower) / (upper - lower) of each key; a parameter with a time axis enters by its daily mean."""
    columns = int(np.prod(column_shape))
    rows = []
    for key in keys:
        value = jnp.asarray(get_parameter(params, key))
        if value.ndim > len(column_shape):
            value = value.reshape(-1, steps_per_day, *value.shape[1:]).mean(axis=1)
            value = jnp.broadcast_to(value, (value.shape[0], *column_shape)).reshape(-1, columns)
        else:
            value = jnp.broadcast_to(value, column_shape).reshape(1, columns)
        info = PARAMETERS[key]
        rows.append((value - info.lower) / (info.upper - info.lower))
    days = max(row.shape[0] for row in rows)
    return jnp.stack([jnp.broadcast_to(row, (days, columns)) for row in rows], axis=-1)
