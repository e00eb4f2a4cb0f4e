"""What turns parameters and forcing into fluxes: a path that calibration can differentiate.

Today there is one, the land surface model itself; the training loop only knows this table of functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jlsm.forcing import Site
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters, default_parameters
from jlsm.state import State


class Path(NamedTuple):
    """The functions of a path."""

    simulate: Callable[..., tuple[Outputs, State]]
    """``simulate(params, forcing, site, state, fields=None) -> (Outputs, State)``: pure and differentiable, forcing
    ``[time, columns]``; ``fields`` names the outputs wanted (the others may be None)"""
    spin_up: Callable[..., State]
    """``spin_up(params, forcing, site, years=...) -> State``"""
    default_parameters: Callable[[Site], Parameters] = default_parameters
    """parameters before anything is learned"""


def lsm_path() -> Path:
    """The land surface model jlsm."""
    from jlsm.model import simulate, spin_up

    return Path(simulate, spin_up)
