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

from jlsm.loop_sizes import GRADIENT_LOOP_BYTES
from jlsm.numerics.jaxprs.cutting import (
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
from jlsm.numerics.jaxprs.jax_internals import Axes, axes_of, varying
from jlsm.numerics.jaxprs.operations import Computed, Operation, flatten, needed
from jlsm.numerics.jaxprs.packing import Packed, pack_tree

LOOP_BYTES = GRADIENT_LOOP_BYTES // 2
"""what the operations of a small loop read and write, about: half of what XLA is told to take for small, because XLA
repeats some of them"""
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

    end, outputs = jax.lax.platform_dependent(
        pack_tree(carry), cpu=in_pieces, default=partial(scan, pieces.evaluate_whole)
    )
    return end.unpack(), outputs


class Pieces:
    """A step of a time loop, cut.

    The variables of a loop need memory of their own, and whatever is given to begin with is copied there. So what a
    loop leaves lies where an earlier loop or the last step left something that nobody reads any more: the time loop
    hands this room on from step to step.
    """

    def __init__(self, step: Callable[[PyTree, PyTree], tuple[PyTree, tuple]], carry: PyTree, row: PyTree):
        """Args: as of ``scan_in_pieces``; ``row`` is one of the rows."""
        start = (pack_tree(carry), jax.tree.map(jnp.asarray, row))
        # what a branch that is never taken gives must vary from device to device as the other's results do
        self._axes: Axes = frozenset().union(*map(axes_of, start[0].arrays))
        closed, shapes = jax.make_jaxpr(lambda carry, row: step(carry.unpack(), row), return_shape=True)(*start)
        self._structure = jax.tree.structure(shapes)
        self._outputs = jax.eval_shape(lambda trees: tuple(map(pack_tree, trees)), shapes[1])
        self._inputs = [Computed(v.aval) for v in closed.jaxpr.invars]
        operations: list[Operation] = []
        self._results = flatten(closed.jaxpr, closed.consts, self._inputs, operations)
        before, self._operations, self._views = sorted_by_need(needed(operations, self._results), self._inputs)
        self._unchanging: dict[Computed, Any] = {}
        if typical(self._operations) * PIECE <= LOOP_BYTES:
            self._evaluate_before(before)
            self._loops = self._small_loops()
        else:
            self._operations = before + self._operations
            self._loops = self._wide_loops()

    def _evaluate_before(self, operations: list[Operation]) -> None:
        """What does not change from step to step, evaluated and packed."""
        values = _Values({}, self._views, self._axes)
        values.evaluate(operations)
        wanted = read_by((*self._operations, *self._views.values()), self._results)
        needed_later = [value for operation in operations for value in operation.outputs if value in wanted]
        self._unchanging = _Values({}, {}, self._axes).add(needed_later, values.pack(needed_later)).by_name

    def _small_loops(self) -> list[_SmallLoop]:
        every, last = self._operations, last_uses(self._operations, self._results)
        crossed = alive(every, last)
        loops = []
        for begin, end in cuts([touched(operation) / LOOP_BYTES for operation in every], crossed):
            inner = cuts([1.0 / PIECE] * (end - begin), crossed, begin)
            pieces = [(every[first:stop], crossing(every[first:stop], last, stop)) for first, stop in inner]
            loops.append(_SmallLoop(pieces, crossing(every[begin:end], last, end), len(loops)))
        self._places = [pack_tree(_zeros(loop.results, self._axes)) for loop in loops]
        return loops

    def _wide_loops(self) -> list[_WideLoop]:
        every, last = self._operations, last_uses(self._operations, self._results)
        borders = cuts([1.0 / LOOP] * len(every), alive(every, last))
        parts = [(every[begin:end], crossing(every[begin:end], last, end)) for begin, end in borders]
        which, self._places = places_for([results for _, results in parts], [begin for begin, _ in borders], last)
        return [_WideLoop(*part, places) for part, places in zip(parts, which, strict=True)]

    def room(self) -> tuple[Room, tuple[Packed, ...]]:
        """Memory for the first evaluation: of what loops leave, and of outputs."""
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (self._places, self._outputs))
        return jax.tree.map(partial(varying, axes=self._axes), zeros)

    def _start(self, carry: Packed, row: PyTree) -> _Values:
        return _Values(
            self._unchanging | dict(zip(self._inputs, jax.tree.leaves((carry, row)), strict=True)),
            self._views,
            self._axes,
        )

    def _end(self, values: _Values) -> tuple[Packed, tuple[Packed, ...]]:
        carry, outputs = jax.tree.unflatten(self._structure, [values.read(result) for result in self._results])
        return pack_tree(carry), tuple(map(pack_tree, outputs))

    def evaluate_whole(self, carry: Packed, row: PyTree) -> tuple[Packed, tuple[Packed, ...]]:
        """``step`` with packed carry and outputs, as it is."""
        values = self._start(carry, row)
        values.evaluate(self._operations)
        return self._end(values)

    def evaluate(self, once: Bool[Array, ""], carried: tuple, row: PyTree) -> tuple[tuple, tuple[Packed, ...]]:
        """The same in pieces; ``carried`` is (packed carry, ``*room()``)."""
        carry, room, outputs = carried
        values = self._start(carry, row)
        room, flag, start = list(room), once, True
        for loop in self._loops:
            # each loop waits for the one before it, so that nobody reads any more what it overwrites
            results: Any
            flag, results = _run_once(partial(loop.evaluate, values.inside()), loop.memory(room), flag, start)
            loop.leave(results, values, room)
            start = not start
        _, (carry, outputs) = _run_once(lambda _: self._end(values.inside()), (carry, outputs), flag, start)
        return (carry, room, outputs), outputs


class _SmallLoop(NamedTuple):
    """A loop compiled as one function, its operations in branches."""

    pieces: list[tuple[list[Operation], list[Computed]]]
    """operations, and what later ones need of them"""
    results: list[Computed]
    place: int
    """where in the room they lie, packed"""

    def evaluate(self, values: _Values, once: Bool[Array, ""]) -> Packed:
        for operations, wanted in self.pieces:
            nothing = partial(_zeros, wanted, values.axes)
            arrays = jax.lax.cond(once, partial(_evaluated, values, operations, wanted), nothing)
            values.by_name.update(zip(wanted, arrays, strict=True))
        nothing = partial(_zeros, self.results, values.axes)
        # in a branch of its own: several long expressions written to one array would be a branch for each number
        return jax.lax.cond(once, lambda: values.inside().pack(self.results), lambda: pack_tree(nothing()))

    def memory(self, room: Room) -> Packed:
        return room[self.place]

    def leave(self, results: Packed, values: _Values, room: Room) -> None:
        room[self.place] = results
        values.add(self.results, results)


class _WideLoop(NamedTuple):
    """A loop of so much arithmetic that calls do not count."""

    operations: list[Operation]
    results: list[Computed]
    places: list[int]
    """where in the room each of them lies"""

    def evaluate(self, values: _Values, once: Bool[Array, ""]) -> list[Array]:
        return _evaluated(values, self.operations, self.results)

    def memory(self, room: Room) -> list[Array]:
        return [room[at] for at in self.places]

    def leave(self, results: list[Array], values: _Values, room: Room) -> None:
        values.by_name.update(zip(self.results, results, strict=True))
        for at, array in zip(self.places, results, strict=True):
            room[at] = array


class _Values:
    """What can be read at some place of the program: arguments, results so far, or what lies packed somewhere."""

    def __init__(self, by_name: dict[Computed, Any], views: dict[Computed, Operation], axes: Axes):
        """Args: ``axes``: along which all that is handed on varies from device to device."""
        self.by_name, self._views, self.axes = by_name, views, axes

    def inside(self) -> _Values:
        """The same within a loop or branch: what is read or computed there stays there."""
        return _Values(dict(self.by_name), self._views, self.axes)

    def add(self, names: list[Computed], packed: Packed) -> _Values:
        """Values that lie packed; each is taken out where it is read."""
        self.by_name.update({name: (packed, number) for number, name in enumerate(names)})
        return self

    def read(self, name: Any) -> Any:
        """The array of a computed value, or a constant as it is."""
        if not isinstance(name, Computed):
            return name
        array = self.by_name.get(name)
        if array is None:
            operation = self._views[name]
            (array,) = operation.bind([self.read(i) for i in operation.inputs])
        elif isinstance(array, tuple):
            packed, number = array
            array = packed.leaf(number)
        self.by_name[name] = array
        return array

    def evaluate(self, operations: list[Operation]) -> None:
        for operation in operations:
            arrays = operation.bind([self.read(i) for i in operation.inputs])
            self.by_name.update(zip(operation.outputs, arrays, strict=True))

    def pack(self, names: list[Computed]) -> Packed:
        return pack_tree([varying(self.read(name), self.axes) for name in names])


def _zeros(values: list[Computed], axes: Axes) -> list[Array]:
    return [varying(jnp.zeros(value.shape, value.aval.dtype), axes) for value in values]


def _evaluated(values: _Values, operations: list[Operation], wanted: list[Computed]) -> list[Array]:
    values = values.inside()
    values.evaluate(operations)
    return [varying(values.read(name), values.axes) for name in wanted]


def _run_once(evaluate: Callable[[Bool[Array, ""]], PyTree], memory: PyTree, flag: Bool[Array, ""], start: bool):
    """(``flag`` turned over, what ``evaluate`` gives), if ``flag`` is ``start``: a loop that runs once."""

    def body(state):
        return jnp.asarray(not start), evaluate(state[0] == start)

    return jax.lax.while_loop(lambda state: state[0] == start, body, (flag, memory))
