"""How the derivative of a run is taken: one object, ``simulate(..., adjoint=...)``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jlsm.numerics import jaxprs
from jlsm.numerics.time_loop import Scan, scan_checkpointed
from jlsm.simulation.layout import chunk_length
from jlsm.state import State


@dataclass(frozen=True)
class Checkpointed:
    """By JAX, in any mode (``grad``, ``vjp``, ``jvp``, ``jacfwd``, second derivatives).

    Attributes:
        chunk: time steps per checkpoint of reverse mode, a divisor of the number of steps; None is the divisor near its
            square root, which makes memory grow like the square root of time.
    """

    chunk: int | None = None


@dataclass(frozen=True)
class ReverseOnly:
    """By a reverse mode written by hand, for ``grad`` and ``vjp`` alone: a third of the time and two thirds of the
    compilation (docs/speed.md). Forward mode and second derivatives raise TypeError.

    Attributes:
        chunk: as of ``Checkpointed``.
        trajectory_bytes: where the states of all steps and columns need no more memory than this they are stored, which
            saves one run per gradient; otherwise each chunk is run again.
    """

    chunk: int | None = None
    trajectory_bytes: int = 2**27


Adjoint = Checkpointed | ReverseOnly


class Plan(NamedTuple):
    """What an adjoint means for one record; hashable, part of the compiled code."""

    chunk: int
    reverse_only: bool
    keep_trajectory: bool

    def run(self, scan: Scan, constants: PyTree, state: State, rows: PyTree) -> tuple[State, Any]:
        """(state after the last step, outputs in chunks)."""
        if self.reverse_only and jaxprs.enabled():
            from jlsm.numerics.jaxprs.reverse import scan_chunks

            return scan_chunks(scan, self.keep_trajectory, constants, state, rows)
        return scan_checkpointed(scan, constants, state, rows)


def plan(adjoint: Adjoint, steps: int, state: State) -> Plan:
    """The plan for a record of so many steps that begins with ``state``.

    Raises:
        ValueError: ``chunk`` does not divide the number of steps.
    """
    chunk = chunk_length(steps, adjoint.chunk)
    if isinstance(adjoint, Checkpointed):
        return Plan(chunk, False, False)
    trajectory = steps * sum(x.size * x.dtype.itemsize for x in map(jnp.asarray, jax.tree.leaves(state)))
    return Plan(chunk, True, trajectory <= adjoint.trajectory_bytes)


def from_retired_keywords(adjoint: Adjoint, retired: dict[str, Any]) -> Adjoint:
    """The adjoint that keywords of jlsm 0.1 stand for (``reverse``, ``trajectory_bytes``, ``chunk``), with a warning.

    Raises:
        TypeError: another keyword, or an adjoint beside them.
    """
    if not retired:
        return adjoint
    if unknown := sorted(set(retired) - {"reverse", "trajectory_bytes", "chunk"}):
        raise TypeError(f"simulate() got an unexpected keyword argument {unknown[0]!r}")
    if adjoint != Checkpointed():
        raise TypeError(f"simulate() got adjoint= and {', '.join(f'{name}=' for name in retired)}: give adjoint= alone")
    options = {name: retired[name] for name in ("chunk", "trajectory_bytes") if name in retired}
    if retired.get("reverse", False):
        adjoint = ReverseOnly(**options)
    else:
        options.pop("trajectory_bytes", None)
        adjoint = Checkpointed(**options)
    wording = ", ".join(f"{name}={value!r}" for name, value in options.items())
    warnings.warn(
        f"simulate({', '.join(f'{name}={value!r}' for name, value in retired.items())}) is now written "
        f"simulate(adjoint=jlsm.{type(adjoint).__name__}({wording})); the old keywords go with the next release",
        DeprecationWarning,
        stacklevel=3,
    )
    return adjoint
