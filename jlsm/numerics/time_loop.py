"""A time loop in chunks of steps: what is repeated, and how it runs under JAX's own derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jlsm.numerics.implicit import SOLUTION


class Scan(NamedTuple):
    """What is repeated. None of the functions may close over traced values."""

    prepare: Callable[[PyTree, PyTree], PyTree]
    """``(constants, rows of a chunk) -> inputs of its steps``, time leading"""
    step: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, Any, PyTree]]
    """``(constants, state, input) -> (state, output, solution)``, of an implicit equation in the step"""
    solved: Callable[[PyTree, PyTree, PyTree, PyTree], tuple[PyTree, Any]] | None = None
    """``(constants, state, input, solution) -> (state, output)``, the same for a solution; ``scan_chunks`` needs it"""


def fetch_ahead(inputs: PyTree) -> tuple[PyTree, PyTree]:
    """(the first row, for every step the row of the one after it) of arrays with time first.

    A loop that carries its input and takes the next one from the scan reads a slice at a moving place once. Read by a
    hundred fused expressions, such a slice would keep a CPU from vectorising any of them.
    """
    first = jax.tree.map(lambda x: x[0], inputs)
    return first, jax.tree.map(lambda x: jnp.concatenate([x[1:], x[-1:]]), inputs)


def scan_checkpointed(scan: Scan, constants: PyTree, state: PyTree, rows: PyTree) -> tuple[PyTree, Any]:
    """Scan over ``rows`` (leaves ``[chunks, length, ...]``), to be differentiated by JAX in any mode.

    Reverse mode keeps the state before each chunk; within a chunk it keeps the state before each step and the solution
    of its implicit equation, and works everything else out again: cheaper than storing and fetching a thousand
    intermediate values of every step.

    Returns:
        (state after the last step, outputs ``[chunks, length, ...]``).
    """

    @partial(jax.checkpoint, prevent_cse=False, policy=jax.checkpoint_policies.save_only_these_names(SOLUTION))
    def stepped(carry, following):
        state, now = carry
        new, output, _ = scan.step(constants, state, now)
        return (new, following), output

    @jax.checkpoint
    def one_chunk(state, rows):
        first, following = fetch_ahead(scan.prepare(constants, rows))
        (state, _), outputs = jax.lax.scan(stepped, (state, first), following)
        return state, outputs

    return jax.lax.scan(one_chunk, state, rows)
