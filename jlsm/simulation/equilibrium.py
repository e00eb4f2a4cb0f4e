"""A state to start from: the record's first year, again and again."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap

import equinox as eqx
import jax
import jax.numpy as jnp

from jlsm.constants import DAY
from jlsm.forcing import Forcing, Site
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters
from jlsm.simulation.checks import checked
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
    simulate: Callable[..., tuple[Outputs, State]] | None = None,
) -> State:
    """State after running over the record, again and again, for about ``years`` years.

    The record's first year (all of it, if it is shorter) is repeated, whole passes only; a column
    of a stack that is padded within that year stands still while others go on.

    Args:
        years: length of the spin-up; 0 returns the start.
        state: where to start; None is a snow-free column at the mean air temperature.
        solver: as of ``simulate``.
        simulate: what runs the passes, such as ``over_devices(jlsm.simulate, mesh)``; None: ``jlsm.simulate``.

    Returns:
        State. Differentiable like any run.

    Raises:
        InputError: as ``simulate``.
    """
    if state is None:
        state = initial_state(
            jnp.mean(forcing.Tair, axis=0), jnp.broadcast_to(params.soil.porosity, forcing.Tair.shape[1:])
        )
    steps, passes = spin_up_passes(years, forcing.steps, float(jnp.min(forcing.dt)))  # call this outside jit
    first = forcing.window(0, steps)
    series, constant = split_series(params, forcing.Tair.shape[1:])
    now = eqx.combine(jax.tree.map(lambda leaf: leaf[:steps], series), constant)
    run = simulate or run_checked
    for _ in range(passes):
        _, state = run(now, first, site, state, fields=("Qle",), solver=solver)
    return state


def spin_up_passes(years: float | int, steps: int, dt: float) -> tuple[int, int]:
    """(steps of a pass, number of passes) of a spin-up of about ``years`` years.

    Args:
        steps: of the record, whose first year (all of it, if it is shorter) is a pass.
        dt: of a step, s.
    """
    year = round(365 * DAY / dt)
    first = min(year, steps)
    return first, int(-(-years * year // first))


spin_up_checked = unwrap(spin_up)
"""``spin_up`` for arguments that ``check_arguments`` has seen, or for a search that keeps them in bounds itself"""
