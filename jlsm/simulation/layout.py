"""How a run is laid out for its time loop: what all steps see, and the record in chunks of steps."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jlsm.forcing import Forcing, Site
from jlsm.parameters import Parameters
from jlsm.processes.solar import prepare_atmosphere


def chunk_length(steps: int, chunk: int | None) -> int:
    """``chunk``, checked; for None the divisor of ``steps`` nearest to its square root: reverse mode's least memory.

    Raises:
        ValueError: ``chunk`` does not divide ``steps``.
    """
    if chunk is not None:
        if steps % chunk:
            raise ValueError(f"chunk={chunk} does not divide the record of {steps} steps")
        return chunk
    target = steps**0.5
    divisors = [d for d in range(1, steps + 1) if steps % d == 0]
    return min(divisors, key=lambda d: abs(d - target))


def split_series(params: Parameters, columns: tuple[int, ...]) -> tuple[Parameters, Parameters]:
    """Parameters that are time series and those that are not, all with the full column shape."""

    def whole(leaf):
        leaf = jnp.asarray(leaf)
        return jnp.broadcast_to(leaf, (*leaf.shape[: max(leaf.ndim - len(columns), 0)], *columns))

    return eqx.partition(jax.tree.map(whole, params), lambda leaf: leaf.ndim > len(columns))


class Constants(NamedTuple):
    """What all steps of a run see."""

    params: Parameters
    """those that are not time series (None in their place)"""
    site: Site
    dt: Array


def in_chunks(series, chunk: int):
    """Arrays ``[time, ...]`` as ``[chunks, chunk, ...]``."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // chunk, chunk, *x.shape[1:]), series)


def run_layout(params: Parameters, forcing: Forcing, site: Site, chunk: int):
    """(what all steps see, rows in chunks: weather and the parameters that are time series)."""
    series, constant = split_series(params, forcing.Tair.shape[1:])
    weather = {name: getattr(forcing, name) for name in forcing.series()}
    return Constants(constant, site, forcing.dt), in_chunks((weather, series), chunk)


def atmosphere_of(constants: Constants, rows):
    """What the steps of a stretch of the record read: (weather, time series of parameters, validity)."""
    weather, series = rows
    part = Forcing(**weather, dt=constants.dt)
    air = prepare_atmosphere(part, constants.site, eqx.combine(series, constants.params).snow)
    return air, series, part.valid
