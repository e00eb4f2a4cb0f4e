"""A long scan with a reverse mode of its own: faster than the one JAX derives, and for reverse mode only.

JAX's own way (``jax.checkpoint`` inside ``jax.lax.scan``) leaves to the compiler which intermediate values are kept
and which are worked out again. Here it is written down:

1. forward: keep the state at the start of each chunk of steps;
2. backward, chunk by chunk, last one first: run its steps again and keep every state and what the step *found* (the
   solution of an implicit equation); then, last step first, take the derivative of the step with the solution given.

Every step is evaluated in pieces (``jlsm.numerics.pieces``). Memory is that of all chunks' states and of one chunk's
steps: least where a chunk is the square root of the record. Only what is differentiated costs: a parameter or a
forcing variable that nobody asks about has no derivative computed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree

from jlsm.numerics.pieces import Pieces
from jlsm.numerics.scan import Scan, depends_on, fetch_ahead


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def scan_chunks(scan: Scan, constants: PyTree, state: PyTree, rows: PyTree) -> tuple[PyTree, Any]:
    """Scan over ``rows`` (leaves ``[chunks, length, ...]``).

    Args:
        scan: what is repeated.
        constants: pytree that all steps see.
        state: pytree of float arrays.
        rows: what a step reads.

    Returns:
        (state after the last step, outputs ``[chunks, length, ...]``).
    """
    end, outputs, _ = _forward(scan, constants, state, rows)
    return end, outputs


def _forward(scan: Scan, constants, state, rows):
    def one_chunk(carry, rows):
        state, count = carry
        end, outputs, _, _ = _chunk(scan, constants, state, scan.prepare(constants, rows), count, keep=False)
        return (end, count + 1), (outputs, state)

    (end, _), (outputs, starts) = jax.lax.scan(one_chunk, (state, jnp.zeros((), jnp.int32)), rows)
    return end, outputs, starts


def _chunk(scan: Scan, constants, state, inputs, count, keep: bool):
    """The steps of one chunk: (end, outputs, state before each step, found at each)."""

    first, following = fetch_ahead(inputs)
    pieces = Pieces(scan.step, constants, state, first)

    def one_step(carry, following):
        state, now, room = carry
        (new, output, found), room = pieces(count >= 0, room, constants, state, now)
        return (new, following, room), (output, *((state, found) if keep else (None, None)))

    (end, *_), (outputs, states, found) = jax.lax.scan(one_step, (state, first, pieces.room()), following)
    return end, outputs, states, found


def _keep_what_is_needed(scan: Scan, constants, state, rows):
    def value(leaf):
        return leaf.value

    def asked(leaf):
        return leaf.perturbed and jnp.issubdtype(leaf.value.dtype, jnp.inexact)

    def split(tree):
        """(differentiated, others)"""
        return eqx.partition(jax.tree.map(value, tree), jax.tree.map(asked, tree))

    constants, rows = split(constants), split(rows)
    end, outputs, starts = _forward(scan, eqx.combine(*constants), jax.tree.map(value, state), eqx.combine(*rows))
    return (end, outputs), (constants, rows, starts)


def _pull_back(scan: Scan, kept, cotangents):
    (asked, others), (asked_rows, other_rows), starts = kept
    of_end, of_outputs = jax.tree.map(
        lambda c: jnp.zeros(c.aval.shape, c.aval.dtype) if isinstance(c, SymbolicZero) else c,
        cotangents,
        is_leaf=lambda c: isinstance(c, SymbolicZero),
    )

    def derivative(depends, asked, others, now, known, of_state):
        """Cotangents of a step's arguments."""
        state, found, of_output = known
        reached, rest = eqx.partition(now, depends)

        def step(asked, state, reached):
            return scan.known(eqx.combine(asked, others), state, eqx.combine(reached, rest), found)

        _, pull = jax.vjp(step, asked, state, reached)
        return pull((of_state, of_output))

    def one_chunk(carry, chunk):
        of_state, of_asked, count = carry
        start, asked_rows, other_rows, of_outputs = chunk

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
        _, _, states, found = _chunk(scan, eqx.combine(asked, others), start, inputs, count, keep=True)

        last = jax.tree.map(lambda x: x[-1], inputs)
        before = jax.tree.map(lambda x: jnp.concatenate([x[:1], x[:-1]]), inputs)
        known = jax.tree.map(lambda x: x[-1], (states, found, of_outputs))
        pieces = Pieces(partial(derivative, depends), asked, others, last, known, of_state)

        def one_step(carry, saved):
            of_state, of_asked, now, room = carry
            known, before = saved
            (by_asked, of_state, of_reached), room = pieces(count >= 0, room, asked, others, now, known, of_state)
            return (of_state, jax.tree.map(jnp.add, of_asked, by_asked), before, room), of_reached

        (of_state, of_asked, *_), of_reached = jax.lax.scan(
            one_step, (of_state, of_asked, last, pieces.room()), ((states, found, of_outputs), before), reverse=True
        )
        by_asked, of_rows = pull(of_reached)
        return (of_state, jax.tree.map(jnp.add, of_asked, by_asked), count + 1), of_rows

    nothing = jax.tree.map(jnp.zeros_like, asked)
    (of_state, of_asked, _), of_rows = jax.lax.scan(
        one_chunk,
        (of_end, nothing, jnp.zeros((), jnp.int32)),
        (starts, asked_rows, other_rows, of_outputs),
        reverse=True,
    )
    return _zeros_for_others(of_asked, others), of_state, _zeros_for_others(of_rows, other_rows)


def _zeros_for_others(cotangents, others):
    """Cotangents of a whole tree: those found, zeros for the rest."""

    def zero(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.zeros(leaf.shape, jax.dtypes.float0)

    return eqx.combine(cotangents, jax.tree.map(zero, others))


scan_chunks.defvjp(_keep_what_is_needed, _pull_back, symbolic_zeros=True)
