"""How the derivative of a long run is taken.

- ``value_and_sensitivity``: the gradient of any scalar function of a run, in JAX's forward or reverse mode, by the
  number of its arguments.
- ``sensitivities``: the derivatives of whole flux series by many parameters (a Jacobian), each column's by its own.
- ``simulate_tangents``: what that is made of, for directions of any kind.

Columns do not touch each other, so the Jacobian of all columns is one block per column, and one direction per
parameter serves all of them. The directions ride through the run side by side (``numerics/jaxprs/forward.py``): no
trajectory is stored, and a direction costs a fraction of a run. All of it is exact and agrees to round-off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from jlsm.forcing import Forcing, Site
from jlsm.numerics import jaxprs
from jlsm.numerics.time_loop import Scan, scan_checkpointed
from jlsm.outputs import Outputs, unpack
from jlsm.parameters import Parameters, get_parameter, parameter_key
from jlsm.simulation.checks import check_arguments, in_one_precision
from jlsm.simulation.layout import Constants, atmosphere_of, chunk_length, in_chunks, run_layout, split_series
from jlsm.simulation.run import one_step
from jlsm.state import State

LANES = 8
"""directions are filled up to a multiple of this (a vector register of single precision numbers)"""
FORWARD_LANES = 8
"""Largest number of scalar arguments for which "auto" takes forward mode (see docs/derivatives.md)."""


def value_and_sensitivity(
    loss: Callable[..., Float[Array, ""]],
    argument: PyTree,
    *others: Any,
    mode: Literal["auto", "forward", "reverse"] = "auto",
) -> tuple[Float[Array, ""], PyTree]:
    """Value and gradient of a scalar function of a run.

    Args:
        loss: ``loss(argument, *others) -> scalar``; usually calls ``simulate`` inside.
        argument: pytree of float arrays to differentiate with respect to (Parameters, State, a dict...).
        others: passed on, not differentiated.
        mode: "forward", "reverse", or "auto": forward for up to ``FORWARD_LANES`` numbers.

    Returns:
        (value, gradient shaped like ``argument``).

    Raises:
        ValueError: an unknown mode.
    """
    flat, unravel = ravel_pytree(argument)
    if mode == "auto":
        mode = "forward" if flat.size <= FORWARD_LANES else "reverse"
    if mode == "reverse":
        return jax.value_and_grad(loss)(argument, *others)
    if mode != "forward":
        raise ValueError(f"mode must be 'auto', 'forward' or 'reverse', not {mode!r}")

    def twice(flat):
        value = loss(unravel(flat), *others)
        return value, value

    slopes, value = jax.jacfwd(twice, has_aux=True)(flat)
    return value, unravel(slopes)


def sensitivities(
    params: Parameters,
    names: tuple[str, ...],
    forcing: Forcing,
    site: Site,
    state: State,
    *,
    fields: tuple[str, ...] = ("Qle", "Qh"),
    solver: str = "converged",
) -> tuple[Outputs, State, Outputs]:
    """A run, and the derivatives of its outputs by parameters that are constant in time.

    Args:
        params, forcing, site, state, solver: as in ``simulate``.
        names: parameters (names or ``group.name`` keys).
        fields: outputs wanted.

    Returns:
        (Outputs ``[time, ...]``, the state after the last step, the derivatives: Outputs with a last axis
        ``[parameters]``, in output units per parameter unit). Column ``c`` is differentiated by its own parameters.

    Raises:
        InputError: no such parameter. ValueError: a parameter that is a time series, a name twice, no name.
    """
    keys = [parameter_key(name) for name in names]
    if len(set(keys)) < len(keys) or not keys:
        raise ValueError(f"names must be one or more different parameters, not {names!r}")
    columns = forcing.Tair.shape[1:]
    lanes = -(-len(keys) // LANES) * LANES
    directions = {}
    for lane, key in enumerate(keys):
        if jnp.ndim(get_parameter(params, key)) > len(columns):
            raise ValueError(f"{key} is a time series: give its directions to simulate_tangents")
        directions[key] = jnp.broadcast_to(jnp.eye(1, lanes, lane)[0], (*columns, lanes))
    out, end, slopes, _ = simulate_tangents(params, directions, forcing, site, state, fields=fields, solver=solver)
    return out, end, jax.tree.map(lambda slope: slope[..., : len(keys)], slopes)


def simulate_tangents(
    params: Parameters,
    directions: dict[str, Float[Array | np.ndarray, "..."]],
    forcing: Forcing,
    site: Site,
    state: State,
    *,
    of_state: State | None = None,
    fields: tuple[str, ...] | None = None,
    solver: str = "converged",
    **retired: int | None,
) -> tuple[Outputs, State, Outputs, State]:
    """Run the model and carry derivatives along several directions with it.

    The same as ``jax.jvp`` of ``simulate`` for each direction, in a fraction of the time.

    Args:
        params, forcing, site, state, fields, solver: as in ``simulate``.
        directions: parameter -> its change along each direction, ``[..., directions]`` with the parameter's own axes
            (``[columns, directions]``; for a time series ``[time, columns, directions]``) in front. What is not
            named does not change. A multiple of 8 directions is fastest.
        of_state: how the initial state changes, directions last on each field; None: it does not.
        retired: ``chunk``, which has no effect any more; it warns.

    Returns:
        (Outputs, the state after the last step, the derivatives of both, with a last axis of directions).

    Raises:
        InputError: no such parameter. ValueError: no direction.
    """
    if not directions:
        raise ValueError("directions is empty: name a parameter")
    if unknown := sorted(set(retired) - {"chunk"}):
        raise TypeError(f"simulate_tangents() got an unexpected keyword argument {unknown[0]!r}")
    if retired:
        message = "simulate_tangents(chunk=) has no effect any more: leave it out, it goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    params, forcing, site, state = in_one_precision((params, forcing, site, state), forcing)
    check_arguments(params, forcing, site)
    by_key = {parameter_key(name): jnp.asarray(values) for name, values in directions.items()}
    return _simulate_tangents(params, by_key, forcing, site.numeric(), state, of_state, fields=fields, solver=solver)


@partial(jax.jit, static_argnames=("fields", "solver"))
def _simulate_tangents(params, directions, forcing, site, state, of_state, *, fields, solver):
    lanes = next(iter(directions.values())).shape[-1]
    chunk = chunk_length(forcing.steps, None)
    series, constant = split_series(params, forcing.Tair.shape[1:])
    constants, rows = run_layout(params, forcing, site, chunk)
    none = partial(jax.tree.map, lambda leaf: None)
    of_series, of_constant = none(series), none(constant)
    for key, values in directions.items():
        group, name = key.split(".")

        def where(tree, group=group, name=name):
            return getattr(getattr(tree, group), name)

        leaf = where(series)
        is_series = leaf is not None
        leaf = leaf if is_series else where(constant)
        values = jnp.broadcast_to(values, (*leaf.shape, lanes)).astype(leaf.dtype)
        if is_series:
            of_series = eqx.tree_at(where, of_series, values, is_leaf=_is_none)
        else:
            of_constant = eqx.tree_at(where, of_constant, values, is_leaf=_is_none)
    if of_state is None:
        of_state = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, lanes), leaf.dtype), state)

    end, packed, of_end, of_packed = _scan_tangents(
        Scan(atmosphere_of, partial(one_step, solver=solver, fields=fields)),
        constants,
        state,
        rows,
        Constants(of_constant, none(site), None),  # pyright: ignore[reportArgumentType] (no tangent)
        of_state,
        (none(rows[0]), in_chunks(of_series, chunk)),
    )

    def outputs(packed: Array) -> Outputs:
        return unpack(packed.reshape(-1, *packed.shape[2:]), fields)

    return outputs(packed), end, outputs(of_packed), of_end


def _scan_tangents(scan: Scan, constants, state, rows, of_constants, of_state, of_rows):
    """(end, outputs, their derivatives): all directions in one loop, or one after the other by JAX."""
    if jaxprs.enabled():
        from jlsm.numerics.jaxprs.forward import scan_tangents

        return scan_tangents(scan, constants, state, rows, of_constants, of_state, of_rows)
    tangents = (of_constants, of_state, of_rows)
    has_tangent = jax.tree.map(lambda tangent: tangent is not None, tangents, is_leaf=_is_none)
    moving, still = eqx.partition((constants, state, rows), has_tangent)

    def run(moving):
        return scan_checkpointed(scan, *eqx.combine(moving, still))

    def along(direction):
        return jax.jvp(run, (moving,), (direction,))

    (end, outputs), (of_end, of_outputs) = jax.vmap(along, in_axes=-1, out_axes=(None, -1))(tangents)
    return end, outputs, of_end, of_outputs


def _is_none(leaf: Any) -> bool:
    return leaf is None
