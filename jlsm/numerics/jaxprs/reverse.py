"""A long scan with a reverse mode of its own: faster than the one JAX derives, and for reverse mode only.

JAX's own way (``jax.checkpoint`` inside ``jax.lax.scan``) leaves to the compiler which intermediate values are kept
and which are worked out again. Here it is written down:

1. forward: keep every state and the solution of the implicit equation in its step, or, where that needs too much
   memory, the state at the start of each chunk of steps;
2. backward, chunk by chunk, last one first: run its steps again if they were not kept; then, last step first, take the
   derivative of the step for that solution.

Every step is evaluated in pieces (``pieces``). Memory is that of all steps, or of all chunks' states and
of one chunk's steps: least where a chunk is the square root of the record. Only what is differentiated costs: a
parameter or a forcing variable that nobody asks about has no derivative computed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree

from jlsm.numerics.jaxprs.dependence import depends_on
from jlsm.numerics.jaxprs.jax_internals import zeros_of
from jlsm.numerics.jaxprs.packing import Packed, pack_tree
from jlsm.numerics.jaxprs.pieces import scan_in_pieces
from jlsm.numerics.time_loop import Scan


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def scan_chunks(scan: Scan, keep: bool, constants: PyTree, state: PyTree, rows: PyTree) -> tuple[PyTree, Any]:
    """Scan over ``rows`` (leaves ``[chunks, length, ...]``).

    Args:
        scan: what is repeated.
        keep: keep all states for reverse mode, not only one per chunk.
        constants: pytree that all steps see.
        state: pytree of float arrays.
        rows: what a step reads.

    Returns:
        (state after the last step, outputs ``[chunks, length, ...]``).
    """
    end, outputs, _ = _forward(scan, False, constants, state, rows)
    return end, outputs


def _forward(scan: Scan, keep: bool, constants, state, rows):
    """(end, outputs, for each chunk the states and solutions of its steps, or its first state)."""

    def one_chunk(carry, rows):
        state, count = carry
        end, outputs, steps = _chunk(scan, keep, constants, state, scan.prepare(constants, rows), count)
        return (end, count + 1), (outputs, steps if keep else state)

    (end, _), (outputs, trajectory) = jax.lax.scan(one_chunk, (state, jnp.zeros((), jnp.int32)), rows)
    return end, outputs, trajectory


def _chunk(scan: Scan, keep: bool, constants, state, inputs, count) -> tuple[PyTree, Any, Packed]:
    """The steps of one chunk: (end, outputs, if asked for the state before each step and its solution)."""

    def step(state, row):
        new, output, solution = scan.step(constants, state, row.unpack())
        return new, (output, (state, solution) if keep else ())

    end, (outputs, steps) = scan_in_pieces(step, state, pack_tree(inputs, leading=1), count >= 0)
    return end, outputs.unpack(), steps


def _keep_what_is_needed(scan: Scan, keep: bool, constants, state, rows):
    def value(leaf):
        return leaf.value

    def asked(leaf):
        return leaf.perturbed and jnp.issubdtype(leaf.value.dtype, jnp.inexact)

    def split(tree):
        """(differentiated, others)"""
        return eqx.partition(jax.tree.map(value, tree), jax.tree.map(asked, tree))

    constants, rows = split(constants), split(rows)
    whole = eqx.combine(*constants), jax.tree.map(value, state), eqx.combine(*rows)
    end, outputs, trajectory = _forward(scan, keep, *whole)
    return (end, outputs), (constants, rows, trajectory)


def _pull_back(scan: Scan, keep: bool, saved, cotangents):
    (asked, others), (asked_rows, other_rows), trajectory = saved

    def written_out(cotangent: Any) -> Any:
        if isinstance(cotangent, SymbolicZero):
            return zeros_of(cotangent.aval)
        return cotangent

    of_end, of_outputs = jax.tree.map(written_out, cotangents, is_leaf=lambda c: isinstance(c, SymbolicZero))
    solved_step = scan.solved
    assert solved_step is not None  # without it a loop has no such reverse mode

    def one_chunk(carry, chunk):
        of_state, of_asked, count = carry
        steps, asked_rows, other_rows, of_outputs = chunk

        def prepare(asked, asked_rows):
            inputs = scan.prepare(eqx.combine(asked, others), eqx.combine(asked_rows, other_rows))
            return eqx.partition(inputs, depends)

        depends = depends_on(
            lambda asked, asked_rows: scan.prepare(eqx.combine(asked, others), eqx.combine(asked_rows, other_rows)),
            asked,
            asked_rows,
        )
        reached, pull, rest = jax.vjp(prepare, asked, asked_rows, has_aux=True)
        inputs = eqx.combine(reached, rest)
        if not keep:
            _, _, steps = _chunk(scan, True, eqx.combine(asked, others), steps, inputs, count)

        def step(carry, row):
            of_state, of_asked = carry
            (state, solution), (now, of_output) = (packed.unpack() for packed in row)
            reached, rest = eqx.partition(now, depends)

            def solved(asked, state, reached):
                return solved_step(eqx.combine(asked, others), state, eqx.combine(reached, rest), solution)

            _, pull = jax.vjp(solved, asked, state, reached)
            by_asked, of_state, of_reached = pull((of_state, of_output))
            return (of_state, jax.tree.map(jnp.add, of_asked, by_asked)), (of_reached,)

        (of_state, of_asked), (of_reached,) = scan_in_pieces(
            step, (of_state, of_asked), (steps, pack_tree((inputs, of_outputs), leading=1)), count >= 0, reverse=True
        )
        of_reached = of_reached.unpack()
        by_asked, of_rows = pull(of_reached)
        return (of_state, jax.tree.map(jnp.add, of_asked, by_asked), count + 1), of_rows

    nothing = jax.tree.map(lambda leaf: zeros_of(jax.typeof(leaf)), asked)
    (of_state, of_asked, _), of_rows = jax.lax.scan(
        one_chunk,
        (of_end, nothing, jnp.zeros((), jnp.int32)),
        (trajectory, asked_rows, other_rows, of_outputs),
        reverse=True,
    )
    return _zeros_for_others(of_asked, others), of_state, _zeros_for_others(of_rows, other_rows)


def _zeros_for_others(cotangents, others):
    """Cotangents of a whole tree: zeros for the rest."""

    def zero(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            return zeros_of(jax.typeof(leaf))
        return jnp.zeros(leaf.shape, jax.dtypes.float0)

    return eqx.combine(cotangents, jax.tree.map(zero, others))


scan_chunks.defvjp(_keep_what_is_needed, _pull_back, symbolic_zeros=True)
