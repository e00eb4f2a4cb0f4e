"""A state to start from: the record's first year, again and again."""

from __future__ import annotations

from inspect import unwrap

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jlsm.constants import DAY
from jlsm.forcing import Forcing, Site
from jlsm.parameters import Parameters
from jlsm.simulation.checks import checked
from jlsm.simulation.devices import over_devices
from jlsm.simulation.layout import split_series
from jlsm.simulation.run import run_checked
from jlsm.state import State, initial_state


@checked
def spin_up(
    params: Parameters,
    forcing: Forcing,
    site: Site,
    years: float | int = 3,
    state: State | None = None,
    solver="converged",
    mesh: Mesh | None = None,
) -> State:
    """State after running over the record, again and again, for about ``years`` years.

    The record's first year (all of it, if it is shorter) is repeated, whole passes only; a column
    of a stack that is padded within that year stands still while others go on.

    Args:
        years: length of the spin-up; 0 returns the start.
        state: where to start; None is a snow-free column at the mean air temperature.
        solver: as of ``simulate``.
        mesh: share the columns out over its devices (``column_mesh``); None: one device.

    Returns:
        State. Differentiable like any run.

    Raises:
        InputError: as ``simulate``.
    """
    if state is None:
        state = initial_state(
            jnp.mean(forcing.Tair, axis=0), jnp.broadcast_to(params.soil.porosity, forcing.Tair.shape[1:])
        )
    year = round(365 * DAY / float(jnp.min(forcing.dt)))  # a number of steps: call this outside jit
    first = forcing.window(0, min(year, forcing.steps))
    series, constant = split_series(params, forcing.Tair.shape[1:])
    now = eqx.combine(jax.tree.map(lambda leaf: leaf[: first.steps], series), constant)
    run = run_checked if mesh is None else over_devices(run_checked, mesh)
    for _ in range(int(-(-years * year // first.steps))):
        _, state = run(now, first, site, state, fields=("Qle",), solver=solver)
    return state


spin_up_checked = unwrap(spin_up)
"""``spin_up`` for arguments that ``check_arguments`` has seen, or for a search that keeps them in bounds itself"""
