"""What turns parameters and forcing into fluxes: a model path that calibration can differentiate.

Two of them: the land surface model itself (``lsm_path``), and a surrogate that imitates it
(``mdpl.surrogate.network.surrogate_path``). The training loop only knows this table of functions. What a path calls
its state is its own matter: a pytree whose arrays end in the column axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jlsm.forcing import Site
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters, default_parameters

PathState = Any
"""whatever a path carries through time: a pytree whose arrays end in a column axis"""


class ModelPath(NamedTuple):
    """The functions of a path."""

    simulate: Callable[..., tuple[Outputs, PathState]]
    """``simulate(params, forcing, site, state, fields=None) -> (Outputs, PathState)``: pure and differentiable,
    forcing ``[time, columns]``; ``fields`` names the outputs wanted (the others may be None)"""
    spin_up: Callable[..., PathState]
    """``spin_up(params, forcing, site, years=..., simulate=None) -> PathState``, by the path's own ``simulate`` or by
    another"""
    default_parameters: Callable[[Site], Parameters] = default_parameters
    """parameters before anything is learned"""
    reverse: Callable[..., tuple[Outputs, PathState]] | None = None
    """like ``simulate``, for reverse mode alone, where that is cheaper; None: ``simulate`` serves"""
    tangents: Callable[..., tuple[Outputs, PathState, Outputs, PathState]] | None = None
    """``jlsm.simulate_tangents`` or the like; None: the path has no Jacobian of its own"""
    identity: str = ""
    """tells a learned path from another of the same kind; a training goes on through the same one only"""

    def differentiated(self, mode: str) -> Callable[..., tuple[Outputs, PathState]]:
        """What to simulate with where the derivative is taken in ``forward`` or ``reverse`` mode."""
        return self.reverse if mode == "reverse" and self.reverse is not None else self.simulate


def lsm_path() -> ModelPath:
    """The land surface model jlsm.

    A search keeps each parameter within its bounds, where the model is finite; what jlsm asks of a user's parameters
    beyond that (``RELATIONS`` in ``jlsm/parameters.py``) must not end a training that passes there.
    """
    from jlsm.simulation import ReverseOnly
    from jlsm.simulation.equilibrium import spin_up_checked
    from jlsm.simulation.run import run_checked
    from jlsm.simulation.sensitivity import simulate_tangents

    reverse = partial(run_checked, adjoint=ReverseOnly())
    return ModelPath(run_checked, spin_up_checked, reverse=reverse, tangents=simulate_tangents)


def sharded(path: ModelPath, mesh: Mesh) -> ModelPath:
    """The same path with its columns shared out over the devices of a mesh (``jlsm.column_mesh``).

    Everything made of a path runs there then: training steps, runs of the record, Jacobians. Results agree but for
    rounding.
    """
    from jlsm.simulation.devices import over_devices, tangents_over_devices

    def shared_out(run: Callable[..., Any]) -> Callable[..., Any]:
        # what a jit is keyed by must be hashable, which methods of a network are not
        return over_devices(lambda *arguments, **options: run(*arguments, **options), mesh)

    simulate = shared_out(path.simulate)
    return path._replace(
        simulate=simulate,
        spin_up=partial(path.spin_up, simulate=simulate),
        reverse=path.reverse and shared_out(path.reverse),
        tangents=path.tangents and tangents_over_devices(path.tangents, mesh),
    )


def at_columns(tree: Any, columns: np.ndarray | int) -> Any:
    """The columns ``columns`` of a pytree whose arrays end in a column axis (scalars are left alone)."""
    return jax.tree.map(lambda leaf: leaf[..., columns] if jnp.ndim(leaf) else leaf, tree)
