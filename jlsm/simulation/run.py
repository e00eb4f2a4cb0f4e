"""The time loop: ``simulate`` scans the model's step over a record."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from jlsm.budget import diagnose
from jlsm.forcing import Forcing, Site
from jlsm.model import step
from jlsm.numerics.newton import Point
from jlsm.numerics.time_loop import Scan
from jlsm.outputs import Outputs, pack, unpack
from jlsm.parameters import Parameters
from jlsm.simulation.adjoint import Adjoint, Checkpointed, Plan, from_retired_keywords, plan
from jlsm.simulation.checks import check_arguments, in_one_precision
from jlsm.simulation.columns import map_blocks, whole_vectors
from jlsm.simulation.layout import Constants, atmosphere_of, run_layout, split_series
from jlsm.state import State


def one_step(
    constants: Constants, state: State, now, solution: Point | None = None, *, solver: str, fields, differentiated=False
):
    """(new state, packed outputs, solution of the surface balance)."""
    air, series, valid = now
    params = eqx.combine(series, constants.params)
    height = constants.site.reference_height
    new, computed = step(params, state, air, height, constants.dt, solver, solution, differentiated)
    if valid is not None:  # padding leaves the state as it was
        new = jax.tree.map(lambda a, b: jnp.where(valid, a, b), new, state)
    return new, pack(diagnose(state, new, computed, params, constants.dt), fields), computed.surface.unknowns


@partial(jax.jit, static_argnames=("plan", "solver", "fields"))
def _simulate(params: Parameters, forcing: Forcing, site: Site, state: State, *, plan: Plan, solver: str, fields):
    constants, rows = run_layout(params, forcing, site, plan.chunk)
    repeated = partial(one_step, solver=solver, fields=fields, differentiated=plan.reverse_only)

    def solved(constants, state, now, solution):
        return repeated(constants, state, now, solution)[:2]

    state, packed = plan.run(Scan(atmosphere_of, repeated, solved), constants, state, rows)
    return unpack(packed.reshape(-1, *packed.shape[2:]), fields), state


@partial(jax.jit, static_argnames=("size", "plan", "solver", "fields"))
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
    columns_at_once: int | None = None,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008
    **retired: Any,
) -> tuple[Outputs, State]:
    """Run the model over a record: a pure function, for ``jit``, ``grad``, ``jacfwd`` and ``vmap``.

    Args:
        params: scalars per column or, with a leading time axis, time series.
        forcing: ``[time]`` for one site, ``[time, columns]`` for several.
        site: one site or a stack of them.
        state: at the start; ``spin_up`` or ``initial_state`` give one.
        solver: "converged" (default) or "linearised" (MATSIRO6's single step).
        fields: names of the outputs wanted (the others come back as None); None gives all.
        columns_at_once: run so many of the columns of a ``[time, columns]`` record at a time (more than eight in
            whole vectors of 16), one block after the other; None takes all of them. Many columns run faster in blocks
            of about 128 on a CPU (its cache holds no more), and all at once on a GPU.
        adjoint: how derivatives are taken: ``Checkpointed`` (in any mode) or ``ReverseOnly`` (faster).
        retired: ``reverse``, ``trajectory_bytes`` and ``chunk``, which ``adjoint`` has replaced; they warn.

    Returns:
        (Outputs ``[time, ...]``, the state after the last step). Where ``forcing.valid`` is False
        the outputs mean nothing and the state stands still.

    Raises:
        InputError: series of different lengths; a parameter outside its bounds or at odds with another
            (``jlsm.PARAMETERS``, ``RELATIONS`` in ``jlsm/parameters.py``; not while it is being traced).
        ValueError: the adjoint's chunk does not divide the number of steps; ``columns_at_once`` is not positive, or
            columns have several axes.
    """
    adjoint = from_retired_keywords(adjoint, retired)
    params, forcing, site = in_one_precision((params, forcing, site), forcing)
    check_arguments(params, forcing, site)
    return run_checked(
        params, forcing, site, state, solver=solver, fields=fields, columns_at_once=columns_at_once, adjoint=adjoint
    )


def run_checked(
    params: Parameters, forcing: Forcing, site: Site, state: State, *, solver: str = "converged", fields=None,
    columns_at_once: int | None = None, adjoint: Adjoint = Checkpointed(),  # noqa: B008
) -> tuple[Outputs, State]:  # fmt: skip
    """``simulate`` for arguments that ``check_arguments`` has seen."""
    state = in_one_precision(state, forcing)
    options = dict(plan=plan(adjoint, forcing.steps, state), solver=solver, fields=fields)
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
    params, forcing, site = in_one_precision((params, forcing, site), forcing)
    check_arguments(params, forcing, site)
    # 48 fills vector registers of any width: every step takes the same path through them, wherever it stands
    adjoint = Checkpointed(48 if chunk_steps % 48 == 0 else None)
    for start in range(0, forcing.steps, chunk_steps):
        stop = min(start + chunk_steps, forcing.steps)
        now, part = _piece(params, forcing, start, stop, chunk_steps)
        out, state = run_checked(now, part, site, state, solver=solver, adjoint=adjoint)
        yield slice(start, stop), jax.tree.map(lambda value, n=stop - start: value[:n], out), state
