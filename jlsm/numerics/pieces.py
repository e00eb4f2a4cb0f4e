"""A time loop whose step is evaluated in pieces that a compiler can not merge.

XLA fuses elementwise arithmetic and works out again, for every result, whatever it takes to be cheap. In the
derivative of a time step everything is cheap: the three thousand products and sums of a step's tangents became more
than thirty thousand. Here the step is cut, where few values cross, into *loops* that run once: nothing is fused across
the border of a loop. The result is that of ``jax.lax.scan``.

A loop that touches little memory is compiled as one function on a CPU, and calling it costs little more than one fused
operation. Where columns (and directions) are few, loops are as long as that allows and cut once more, into branches
that are always taken; what they leave is packed (``packing``), and what does not change from step to step is evaluated
once, before. On other platforms, where every loop and branch would wait for the host, the step is evaluated as it is.

None of it can be differentiated in reverse mode: it is for code that *is* the derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from jlsm.numerics.cutting import (
    alive,
    crossing,
    cuts,
    last_uses,
    places_for,
    read_by,
    sorted_by_need,
    touched,
    typical,
)
from jlsm.numerics.operations import Operation, Value, flatten, needed
from jlsm.numerics.packing import Packed, pack

LOOP_BYTES = 300_000
"""what the operations of a small loop read and write, about: half of what ``mdpl calibrate`` has XLA take for small,
because XLA repeats some of them"""
LOOP = 300
"""operations in a loop that is not small (150 to 500 are about equally good)"""
PIECE = 100
"""operations in a branch of a small loop; loops are made small where so many of the typical size fit"""

Room = list[Any]
"""memory that loops leave their results in"""


def scan_in_pieces(
    step: Callable[[PyTree, PyTree], tuple[PyTree, tuple[PyTree, ...]]],
    carry: PyTree,
    rows: PyTree,
    once: Bool[Array, ""],
    *,
    reverse: bool = False,
) -> tuple[PyTree, tuple[Packed, ...]]:
    """``jax.lax.scan`` of a step evaluated in pieces.

    Args:
        step: ``(carry, row) -> (carry, outputs)``, outputs a tuple of pytrees.
        carry: pytree of arrays.
        rows: pytree of arrays with time first. Each array is fetched for itself: pack small ones.
        once: a scalar that is True, in a way the compiler can not know.
        reverse: last row first.

    Returns:
        (the last carry, each of the outputs packed, time first).
    """
    pieces = Pieces(step, carry, jax.tree.map(lambda x: x[0], rows))

    def scan(one, start):
        return jax.lax.scan(one, start, rows, reverse=reverse)

    def in_pieces(carry):
        (end, *_), outputs = scan(partial(pieces.evaluate, once), (carry, *pieces.room()))
        return end, outputs

    end, outputs = jax.lax.platform_dependent(pack(carry), cpu=in_pieces, default=partial(scan, pieces.evaluate_whole))
    return end.unpack(), outputs


class Pieces:
    """A step of a time loop, cut.

    The variables of a loop need memory of their own, and whatever is given to begin with is copied there. So what a
    loop leaves lies where an earlier loop or the last step left something that nobody reads any more: the time loop
    hands this room on from step to step.
    """

    def __init__(self, step: Callable[[PyTree, PyTree], tuple[PyTree, tuple]], carry: PyTree, row: PyTree):
        """Args: as of ``scan_in_pieces``; ``row`` is one of the rows."""
        given = (pack(carry), jax.tree.map(jnp.asarray, row))
        closed, shapes = jax.make_jaxpr(lambda carry, row: step(carry.unpack(), row), return_shape=True)(*given)
        self._structure = jax.tree.structure(shapes)
        self._outputs = jax.eval_shape(lambda trees: tuple(map(pack, trees)), shapes[1])
        self._inputs = [Value(v.aval) for v in closed.jaxpr.invars]
        operations: list[Operation] = []
        self._results = flatten(closed.jaxpr, closed.consts, self._inputs, operations)
        before, self._operations, self._views = sorted_by_need(needed(operations, self._results), self._inputs)
        self._known: dict[Value, Any] = {}
        if typical(self._operations) * PIECE <= LOOP_BYTES:
            self._evaluate_before(before)
            self._loops = self._small_loops()
        else:
            self._operations = before + self._operations
            self._loops = self._wide_loops()

    def _evaluate_before(self, operations: list[Operation]) -> None:
        """What does not change from step to step, evaluated and packed."""
        known = _Known({}, self._views)
        known.evaluate(operations)
        wanted = read_by((*self._operations, *self._views.values()), self._results)
        kept = [value for operation in operations for value in operation.outputs if value in wanted]
        self._known = _Known({}, {}).add(kept, known.pack(kept)).values

    def _small_loops(self) -> list[_SmallLoop]:
        every, last = self._operations, last_uses(self._operations, self._results)
        crossed = alive(every, last)
        loops = []
        for begin, end in cuts([touched(operation) / LOOP_BYTES for operation in every], crossed):
            inner = cuts([1.0 / PIECE] * (end - begin), crossed, begin)
            pieces = [(every[first:stop], crossing(every[first:stop], last, stop)) for first, stop in inner]
            loops.append(_SmallLoop(pieces, crossing(every[begin:end], last, end), len(loops)))
        self._places = [pack(_zeros(loop.results)) for loop in loops]
        return loops

    def _wide_loops(self) -> list[_WideLoop]:
        every, last = self._operations, last_uses(self._operations, self._results)
        borders = cuts([1.0 / LOOP] * len(every), alive(every, last))
        parts = [(every[begin:end], crossing(every[begin:end], last, end)) for begin, end in borders]
        which, self._places = places_for([results for _, results in parts], [begin for begin, _ in borders], last)
        return [_WideLoop(*part, own) for part, own in zip(parts, which, strict=True)]

    def room(self) -> tuple[Room, tuple[Packed, ...]]:
        """Memory for the first evaluation: of what loops leave, and of outputs."""
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (self._places, self._outputs))

    def _start(self, carry: Packed, row: PyTree) -> _Known:
        return _Known(self._known | dict(zip(self._inputs, jax.tree.leaves((carry, row)), strict=True)), self._views)

    def _end(self, known: _Known) -> tuple[Packed, tuple[Packed, ...]]:
        carry, outputs = jax.tree.unflatten(self._structure, [known.read(result) for result in self._results])
        return pack(carry), tuple(map(pack, outputs))

    def evaluate_whole(self, carry: Packed, row: PyTree) -> tuple[Packed, tuple[Packed, ...]]:
        """``step`` with packed carry and outputs, as it is."""
        known = self._start(carry, row)
        known.evaluate(self._operations)
        return self._end(known)

    def evaluate(self, once: Bool[Array, ""], carried: tuple, row: PyTree) -> tuple[tuple, tuple[Packed, ...]]:
        """The same in pieces; ``carried`` is (packed carry, ``*room()``)."""
        carry, room, outputs = carried
        known = self._start(carry, row)
        room, flag, start = list(room), once, True
        found: Any
        for loop in self._loops:
            # each loop waits for the one before it, so that nobody reads any more what it overwrites
            flag, found = _run_once(partial(loop.evaluate, known.inside()), loop.memory(room), flag, start)
            loop.leave(found, known, room)
            start = not start
        _, (carry, outputs) = _run_once(lambda _: self._end(known.inside()), (carry, outputs), flag, start)
        return (carry, room, outputs), outputs


class _SmallLoop(NamedTuple):
    """A loop compiled as one function, its operations in branches."""

    pieces: list[tuple[list[Operation], list[Value]]]
    """operations, and what later ones need of them"""
    results: list[Value]
    place: int
    """where in the room they lie, packed"""

    def evaluate(self, known: _Known, once: Bool[Array, ""]) -> Packed:
        for operations, wanted in self.pieces:
            found = jax.lax.cond(once, partial(_evaluated, known, operations, wanted), partial(_zeros, wanted))
            known.values.update(zip(wanted, found, strict=True))
        # in a branch of its own: several long expressions written to one array would be a branch for each number
        return jax.lax.cond(once, lambda: known.inside().pack(self.results), lambda: pack(_zeros(self.results)))

    def memory(self, room: Room) -> Packed:
        return room[self.place]

    def leave(self, found: Packed, known: _Known, room: Room) -> None:
        room[self.place] = found
        known.add(self.results, found)


class _WideLoop(NamedTuple):
    """A loop of so much arithmetic that calls do not count."""

    operations: list[Operation]
    results: list[Value]
    places: list[int]
    """where in the room each of them lies"""

    def evaluate(self, known: _Known, once: Bool[Array, ""]) -> list[Array]:
        return _evaluated(known, self.operations, self.results)

    def memory(self, room: Room) -> list[Array]:
        return [room[at] for at in self.places]

    def leave(self, found: list[Array], known: _Known, room: Room) -> None:
        known.values.update(zip(self.results, found, strict=True))
        for at, value in zip(self.places, found, strict=True):
            room[at] = value


class _Known:
    """Values known at some place of the program, given, computed, or lying packed somewhere."""

    def __init__(self, values: dict[Value, Any], views: dict[Value, Operation]):
        self.values, self._views = values, views

    def inside(self) -> _Known:
        """The same within a loop or branch: what is read or computed there stays there."""
        return _Known(dict(self.values), self._views)

    def add(self, values: list[Value], packed: Packed) -> _Known:
        """Values that lie packed; each is taken out where it is read."""
        self.values.update({value: (packed, number) for number, value in enumerate(values)})
        return self

    def read(self, value: Any) -> Any:
        """A value, or a constant as it is."""
        if not isinstance(value, Value):
            return value
        found = self.values.get(value)
        if found is None:
            operation = self._views[value]
            (found,) = operation.bind([self.read(i) for i in operation.inputs])
        elif isinstance(found, tuple):
            packed, number = found
            found = packed.leaf(number)
        self.values[value] = found
        return found

    def evaluate(self, operations: list[Operation]) -> None:
        for operation in operations:
            found = operation.bind([self.read(i) for i in operation.inputs])
            self.values.update(zip(operation.outputs, found, strict=True))

    def pack(self, values: list[Value]) -> Packed:
        return pack([self.read(value) for value in values])


def _zeros(values: list[Value]) -> list[Array]:
    return [jnp.zeros(value.shape, value.aval.dtype) for value in values]


def _evaluated(known: _Known, operations: list[Operation], wanted: list[Value]) -> list[Array]:
    known = known.inside()
    known.evaluate(operations)
    return [known.read(value) for value in wanted]


def _run_once(evaluate: Callable[[Bool[Array, ""]], PyTree], memory: PyTree, flag: Bool[Array, ""], start: bool):
    """(``flag`` turned over, what ``evaluate`` gives), if ``flag`` is ``start``: a loop that runs once."""

    def body(state):
        return jnp.asarray(not start), evaluate(state[0] == start)

    return jax.lax.while_loop(lambda state: state[0] == start, body, (flag, memory))
