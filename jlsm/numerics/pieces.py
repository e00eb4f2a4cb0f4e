"""Evaluate a long expression in pieces that a compiler can not merge.

XLA fuses elementwise arithmetic and works out again, for every result, whatever it takes to be cheap. In the
derivative of a time step everything is cheap: the three thousand products and sums of a step's tangents became more
than thirty thousand. Here the expression is cut, where few values cross, into pieces of a few hundred
operations. Each is the body of a loop that runs once; nothing is fused across the border of a loop, and on a CPU a
small loop is compiled as one function. The result is that of the plain expression.

The pieces can not be differentiated in reverse mode: they are for code that *is* the derivative.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from jlsm.numerics.operations import Operation, Value, flatten, needed

Room = list[Array]
"""memory of the values that leave the pieces"""


class Piece(NamedTuple):
    operations: list[Operation]
    wanted: list[Value]
    """what later pieces or the results need"""
    places: list[int]
    """where in the room each of them lies"""


class Pieces:
    """A function cut into pieces, to be evaluated again and again by a loop that carries their room.

    The variables of a loop need memory of their own, and whatever is given to begin with is copied there, one call
    for each: a quarter or more of a step of few columns. So what leaves a piece is put where a value lies that nobody
    reads any more, of an earlier piece or of the last evaluation; a loop of evaluations hands this room on to the
    next.
    """

    def __init__(self, function: Callable[..., PyTree], *examples: PyTree, size: int = 300):
        """Args:
        function: takes and returns pytrees of arrays.
        examples: arguments like those it will be evaluated with.
        size: operations in a piece, about; a cut lies where the fewest values cross it, between half and one and a
            half of this. (150 to 500 are about equally good for 5 and for 64 columns on a CPU.)
        """
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*jax.tree.map(jnp.asarray, examples))
        self._inputs = [Value(v.aval) for v in closed.jaxpr.invars]
        self._structure = jax.tree.structure(shape)
        operations: list[Operation] = []
        self._results = flatten(closed.jaxpr, closed.consts, self._inputs, operations)
        operations = needed(operations, self._results)
        self._pieces, self._room = _pieces_and_room(operations, _last_uses(operations, self._results), size)

    def room(self) -> Room:
        """Room for the first evaluation."""
        return [jnp.zeros(*place) for place in self._room]

    def __call__(self, once: Bool[Array, ""], room: Room, *arguments: PyTree) -> tuple[PyTree, Room]:
        """(``function(*arguments)``, room for the next evaluation).

        Args:
            once: a scalar that is True, in a way the compiler can not know.
            room: from ``room()`` or the last evaluation.
            arguments: what the function is called with.
        """
        values = dict(zip(self._inputs, jax.tree.leaves(jax.tree.map(jnp.asarray, arguments)), strict=True))
        room, flag, start = list(room), once, True
        for piece in self._pieces:
            # each piece waits for the one before it, so that nobody reads any more what it overwrites
            flag, found = _run_piece(piece, values, [room[at] for at in piece.places], flag, start)
            start = not start
            values.update(zip(piece.wanted, found, strict=True))
            for at, value in zip(piece.places, found, strict=True):
                room[at] = value
        results = [values[r] if isinstance(r, Value) else jnp.asarray(r) for r in self._results]
        return jax.tree.unflatten(self._structure, results), room


def _pieces_and_room(
    operations: list[Operation], last: dict[Value, int], size: int
) -> tuple[list[Piece], list[tuple[tuple[int, ...], Any]]]:
    """The pieces, and the shape and type of each place in their room."""
    pieces: list[Piece] = []
    room, free, taken = [], defaultdict(list), {}
    for start, stop in _cuts(operations, last, size):
        for value in [v for v in taken if last[v] < start]:
            free[value.shape, value.aval.dtype].append(taken.pop(value))
        part = operations[start:stop]
        wanted = [o for operation in part for o in operation.outputs if last.get(o, -1) >= stop]
        for value in wanted:
            kind = (value.shape, value.aval.dtype)
            if not free[kind]:
                free[kind].append(len(room))
                room.append(kind)
            taken[value] = free[kind].pop()
        pieces.append(Piece(part, wanted, [taken[value] for value in wanted]))
    return pieces, room


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


def _run_piece(
    piece: Piece, values: dict[Value, Any], room: Room, flag: Bool[Array, ""], start: bool
) -> tuple[Bool[Array, ""], list[Array]]:
    """(``flag`` turned over, the values that are wanted of a piece), if ``flag`` is ``start``."""

    def body(_):
        local = {}
        for operation in piece.operations:
            inputs = [(local[i] if i in local else values[i]) if isinstance(i, Value) else i for i in operation.inputs]
            local.update(zip(operation.outputs, operation.bind(inputs), strict=True))
        return jnp.asarray(not start), [local[value] for value in piece.wanted]

    return jax.lax.while_loop(lambda state: state[0] if start else ~state[0], body, (flag, room))
