"""What turns parameters and forcing into fluxes: a path that calibration can differentiate.

Two of them: the land surface model itself, and a surrogate that imitates it. The training loop only knows this table
of functions; what a path calls its state is its own matter (a pytree whose arrays end in the column axis).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jlsm.forcing import Site
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters, default_parameters

if TYPE_CHECKING:
    from mdpl.surrogate import Surrogate


class Path(NamedTuple):
    """The functions of a path."""

    simulate: Callable[..., tuple[Outputs, Any]]
    """``simulate(params, forcing, site, state, fields=None) -> (Outputs, State)``: pure and differentiable, forcing
    ``[time, columns]``; ``fields`` names the outputs wanted (the others may be None)"""
    spin_up: Callable[..., Any]
    """``spin_up(params, forcing, site, years=...) -> State``"""
    default_parameters: Callable[[Site], Parameters] = default_parameters
    """parameters before anything is learned"""
    reverse: Callable[..., tuple[Outputs, Any]] | None = None
    """like ``simulate``, for reverse mode alone, where that is cheaper; None: ``simulate`` serves"""
    tangents: Callable[..., tuple[Outputs, Any, Outputs, Any]] | None = None
    """``jlsm.simulate_tangents`` or the like; None: the path has no Jacobian of its own"""

    def differentiated(self, mode: str) -> Callable[..., tuple[Outputs, Any]]:
        """What to simulate with where the derivative is taken in ``forward`` or ``reverse`` mode."""
        return self.reverse if mode == "reverse" and self.reverse is not None else self.simulate


def lsm_path() -> Path:
    """The land surface model jlsm."""
    from jlsm.simulation import ReverseOnly, simulate, spin_up
    from jlsm.simulation.sensitivity import simulate_tangents

    return Path(simulate, spin_up, reverse=partial(simulate, adjoint=ReverseOnly()), tangents=simulate_tangents)


def surrogate_path(surrogate: "Surrogate") -> Path:
    """A trained surrogate (``mdpl.surrogate_training.train_or_load_surrogate``, ``mdpl.surrogate.load_surrogate``).

    Its windows are whole days, half-hourly or hourly; outputs it does not give are None.
    """
    return Path(surrogate.simulate, surrogate.spin_up)
