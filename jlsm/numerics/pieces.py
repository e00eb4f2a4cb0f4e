"""Evaluate a long expression in pieces that a compiler can not merge.

XLA fuses elementwise arithmetic and works out again, for every result, whatever it takes to be cheap. In the
derivative of a time step everything is cheap: the three thousand products and sums of a step's tangents became more
than thirty thousand. Here the expression is cut, where few values cross, into pieces of a few hundred
operations. Each is the body of a loop that runs once; nothing is fused across the border of a loop, and on a CPU a
small loop is compiled as one function. The result is that of the plain expression.

The pieces can not be differentiated in reverse mode: they are for code that *is* the derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from jlsm.numerics.operations import Operation, Value, flatten, needed


def in_pieces(function: Callable[..., PyTree], once: Bool[Array, ""], *arguments: PyTree, size: int = 500) -> PyTree:
    """``function(*arguments)``, evaluated in pieces.

    Args:
        function: takes and returns pytrees of arrays.
        once: a scalar that is True, in a way the compiler can not know.
        arguments: what it is called with.
        size: operations in a piece, about; a cut lies where the fewest values cross it, between half and one and a
            half of this. (500 is about best for 5 and for 64 columns on a CPU; see docs/speed.md.)
    """
    arguments = jax.tree.map(jnp.asarray, arguments)
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    inputs = [Value(v.aval) for v in closed.jaxpr.invars]
    operations: list[Operation] = []
    results = flatten(closed.jaxpr, closed.consts, inputs, operations)
    operations = needed(operations, results)
    values = dict(zip(inputs, jax.tree.leaves(arguments), strict=True))
    last = _last_uses(operations, results)
    for start, stop in _cuts(operations, last, size):
        _run_piece(operations[start:stop], [v for v, use in last.items() if use >= stop], values, once)
    found = [values[r] if isinstance(r, Value) else jnp.asarray(r) for r in results]
    return jax.tree.unflatten(jax.tree.structure(shape), found)


def _last_uses(operations: list[Operation], results: list[Any]) -> dict[Value, int]:
    """The last operation that reads each computed value; beyond the end for results."""
    made = {output for operation in operations for output in operation.outputs}

    def is_made(value):
        return isinstance(value, Value) and value in made

    last = {i: at for at, operation in enumerate(operations) for i in operation.inputs if is_made(i)}
    return last | {r: len(operations) for r in results if is_made(r)}


def _cuts(operations: list[Operation], last: dict[Value, int], size: int) -> list[tuple[int, int]]:
    """Borders of the pieces: where the fewest values are alive."""
    count = len(operations)
    change = [0] * (count + 2)
    for at, operation in enumerate(operations):
        for output in operation.outputs:
            if output in last:
                change[at + 1] += 1
                change[last[output] + 1] -= 1
    alive = [0] * (count + 1)  # values that cross the border before operation number i
    for i in range(1, count + 1):
        alive[i] = alive[i - 1] + change[i]
    borders, at = [], 0
    while at < count:
        furthest = at + size + size // 2
        stop = count if furthest >= count else min(range(at + max(size // 2, 1), furthest + 1), key=lambda i: alive[i])
        borders.append((at, stop))
        at = stop
    return borders


def _run_piece(piece: list[Operation], later: list[Value], values: dict[Value, Any], once) -> None:
    """Evaluate one piece; put what is used later into ``values``."""
    inside = {output for operation in piece for output in operation.outputs}
    wanted = [value for value in later if value in inside]

    def body(_):
        local = {}
        for operation in piece:
            inputs = [(local[i] if i in local else values[i]) if isinstance(i, Value) else i for i in operation.inputs]
            local.update(zip(operation.outputs, operation.bind(inputs), strict=True))
        return jnp.zeros((), bool), [local[value] for value in wanted]

    shapes = jax.eval_shape(lambda: body(None)[1])
    empty = [jnp.zeros(s.shape, s.dtype) for s in shapes]
    _, found = jax.lax.while_loop(lambda state: state[0], body, (once, empty))
    values.update(zip(wanted, found, strict=True))
