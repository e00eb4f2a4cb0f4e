"""A long scan with many tangents carried along: forward mode by hand.

Each step is evaluated together with the derivatives of its results along all directions (``elimination``),
in pieces (``pieces``). Nothing of the trajectory is stored. Only what has a tangent costs.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jlsm.numerics.jaxprs.dependence import depends_on
from jlsm.numerics.jaxprs.elimination import push
from jlsm.numerics.jaxprs.jax_internals import axes_of, varying
from jlsm.numerics.jaxprs.packing import pack_tree
from jlsm.numerics.jaxprs.pieces import scan_in_pieces
from jlsm.numerics.time_loop import Scan


def scan_tangents(
    scan: Scan,
    constants: PyTree,
    state: PyTree,
    rows: PyTree,
    of_constants: PyTree,
    of_state: PyTree,
    of_rows: PyTree,
) -> tuple[PyTree, Any, PyTree, Any]:
    """Scan over ``rows`` (leaves ``[chunks, length, ...]``) with derivatives along several directions.

    Args:
        scan: what is repeated.
        constants: pytree that all steps see.
        state: pytree of float arrays.
        rows: what a step reads.
        of_constants: tangents of ``constants``, directions on an axis behind each array's own; None where there is
            none.
        of_state: tangents of ``state``, all of them.
        of_rows: as ``of_constants``, for ``rows``.

    Returns:
        (state after the last step, outputs ``[chunks, length, ...]``, the derivatives of both).
    """
    asked, others = _split(constants, of_constants)

    def one_chunk(carry, chunk):
        state, of_state, count = carry
        rows, of_rows = chunk
        inputs, of_inputs = _prepare(scan, asked, others, rows, of_constants, of_rows)
        reached, rest = _split(inputs, of_inputs)
        once = count >= 0
        one = jnp.where(once, 1.0, 2.0)

        def pushed(carry, row):
            state, of_state = carry
            reached, rest, of_reached = row.unpack()

            def step(asked, state, reached):
                return scan.step(eqx.combine(asked, others), state, eqx.combine(reached, rest))[:2]

            (state, output), (of_state, of_output) = push(
                step, one, (asked, state, reached), (of_constants, of_state, of_reached)
            )
            return (state, of_state), (output, of_output)

        rows = pack_tree((reached, rest, of_inputs), leading=1)
        (state, of_state), outputs = scan_in_pieces(pushed, (state, of_state), rows, once)
        outputs = tuple(packed.unpack() for packed in outputs)
        return (state, of_state, count + 1), outputs

    # zeros, too, vary from device to device, as what becomes of them does
    of_state = jax.tree.map(lambda leaf, tangent: varying(tangent, axes_of(leaf)), state, of_state)
    start = (state, of_state, jnp.zeros((), jnp.int32))
    (end, of_end, _), (outputs, of_outputs) = jax.lax.scan(one_chunk, start, (rows, of_rows))
    return end, outputs, of_end, of_outputs


def _split(tree: PyTree, tangents: PyTree) -> tuple[PyTree, PyTree]:
    """(what has a tangent, what has none)."""
    has = jax.tree.map(lambda tangent: tangent is not None, tangents, is_leaf=lambda tangent: tangent is None)
    return eqx.partition(tree, has)


def _prepare(scan: Scan, asked, others, rows, of_asked, of_rows) -> tuple[PyTree, PyTree]:
    """The inputs of a chunk's steps, and the tangents of those that something asked for can reach."""
    asked_rows, other_rows = _split(rows, of_rows)

    def whole(asked, asked_rows):
        return scan.prepare(eqx.combine(asked, others), eqx.combine(asked_rows, other_rows))

    depends = depends_on(whole, asked, asked_rows)
    inputs = whole(asked, asked_rows)
    if not any(jax.tree.leaves(depends)):
        return inputs, jax.tree.map(lambda flag: None, depends)
    _, of_reached = push(
        lambda asked, asked_rows: eqx.filter(whole(asked, asked_rows), depends),
        jnp.ones(()),
        (asked, asked_rows),
        (of_asked, of_rows),
    )
    return inputs, of_reached
