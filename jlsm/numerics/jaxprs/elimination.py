"""The derivative of a function along many directions at once, with as little arithmetic per direction as possible.

``jax.vmap`` over ``jax.jvp`` repeats every product of the chain rule for every direction. Most of these products have
nothing to do with the direction: in ``d(log(x + y)) = 1/(x + y) * (dx + dy)`` and what follows it, factors between two
values can be multiplied together first. This is vertex elimination (Griewank and Walther 2008, Evaluating
Derivatives, chapter 9): values are vertices, partial derivatives edges; a vertex in between is removed by joining the
edges that lead to it with those that leave it. Here a vertex goes when that does not leave more edges than before; of
the products of a time step of jlsm a quarter is left. Directions stand on the *last* axis, so that they fill a
processor's vector registers even where there are few columns.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jlsm.numerics.jaxprs.jax_internals import CHOICE, NEGATION, PRODUCT, QUOTIENT, SIGNS, WITH_LANES, is_same_type
from jlsm.numerics.jaxprs.operations import Computed, Operation, flatten, needed, type_of


class _Choice(NamedTuple):
    """The partial derivative of a ``where``: 1 where ``condition`` is ``when``, else 0."""

    condition: Any
    when: bool

    def of(self, factor):
        """``factor`` where it counts."""
        return jnp.where(self.condition, factor, 0.0) if self.when else jnp.where(self.condition, 0.0, factor)


Factor = float | Array | _Choice


def push(function: Callable[..., PyTree], one: Array, primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    """``function(*primals)`` and its derivatives along several directions.

    Args:
        function: takes and returns pytrees of float arrays.
        one: a float scalar that is 1, in a way the compiler can not know (see ``Graph.evaluate``).
        primals: what it is called with.
        tangents: like ``primals``, with a last axis of directions behind each array's own.

    Returns:
        (what the function returns, its derivatives with a last axis of directions).
    """
    outputs, inputs, graph = linear_graph(function, *primals)
    leaves = jax.tree.leaves(tangents)
    graph.eliminate()
    slopes = graph.evaluate(dict(zip(inputs, leaves, strict=True)), leaves[0].shape[-1], one)
    return outputs, jax.tree.unflatten(jax.tree.structure(outputs), slopes)


def linear_graph(function: Callable[..., PyTree], *primals: PyTree) -> tuple[PyTree, list[Computed], Graph]:
    """``function(*primals)``, and its derivative there as a graph with its inputs, one for each leaf of ``primals``."""
    outputs, linear = jax.linearize(function, *primals)
    closed = jax.make_jaxpr(linear)(*primals)
    inputs = [Computed(v.aval) for v in closed.jaxpr.invars]
    operations: list[Operation] = []
    results = flatten(closed.jaxpr, closed.consts, inputs, operations)
    return outputs, inputs, Graph(*linear_part(needed(operations, results), inputs), results)


def linear_part(operations: list[Operation], inputs: list[Computed]) -> tuple[list[Operation], dict[Computed, Any]]:
    """(operations that depend on the inputs, values of those that do not)."""
    reached, still, moving = set(inputs), {}, []
    for operation in operations:
        if any(isinstance(i, Computed) and i in reached for i in operation.inputs):
            reached.update(operation.outputs)
            moving.append(operation)
        else:
            arguments = [still[i] if isinstance(i, Computed) else i for i in operation.inputs]
            still.update(zip(operation.outputs, operation.bind(arguments), strict=True))
    return moving, still


class Graph:
    """The linear function: vertices that are sums of factors times other vertices, and operations that move values."""

    def __init__(self, operations: list[Operation], still: dict[Computed, Any], results: list[Any]):
        self.operations, self.still, self.results = operations, still, results
        self.sums: dict[Computed, dict[Computed, Factor]] = {}
        """vertex -> the vertices it is a sum of, with their factors"""
        self.users: dict[Computed, dict[Computed, None]] = {}
        """vertex -> the sums that it enters (an ordered set)"""
        self.fixed = {r for r in results if isinstance(r, Computed)}
        """vertices that must stay"""
        self.elementwise: set[Computed] = set()
        """all that are or were sums"""
        for operation in operations:
            terms = self._terms(operation)
            if terms is None:
                self.fixed.update(i for i in operation.inputs if self._moves(i))
            else:
                (output,) = operation.outputs
                self.sums[output] = terms
                self.elementwise.add(output)
                for term in terms:
                    self.users.setdefault(term, {})[output] = None

    def _moves(self, value: Any) -> bool:
        return isinstance(value, Computed) and value not in self.still

    def _array(self, value: Any) -> Any:
        return self.still[value] if isinstance(value, Computed) else value

    def _terms(self, operation: Operation) -> dict[Computed, Factor] | None:
        """An elementwise operation as a sum of factors times values; None for all others."""
        name, inputs = operation.primitive.name, operation.inputs
        if name in SIGNS:
            pairs = list(zip(inputs, SIGNS[name], strict=True))
        elif name == NEGATION:
            pairs = [(inputs[0], -1.0)]
        elif is_same_type(name, operation.settings, type_of(inputs[0]).dtype if inputs else None):
            pairs = [(inputs[0], 1.0)]
        elif name == PRODUCT:
            first, second = inputs
            pairs = [(first, self._array(second))] if self._moves(first) else [(second, self._array(first))]
        elif name == QUOTIENT:
            pairs = [(inputs[0], 1.0 / self._array(inputs[1]))]
        elif name == CHOICE and len(inputs) == 3:
            condition = self._array(inputs[0])
            pairs = [(inputs[1], _Choice(condition, False)), (inputs[2], _Choice(condition, True))]
        else:
            return None
        terms: dict[Computed, Factor] = {}
        for value, factor in pairs:
            if self._moves(value):  # what does not move has no derivative
                terms[value] = _sum(terms[value], factor) if value in terms else _plain(factor)
        return terms

    def size(self) -> int:
        """Edges: products and sums per direction."""
        return sum(map(len, self.sums.values()))

    def eliminate(self) -> None:
        """Remove vertices in between, as long as no removal leaves more edges than it takes away."""
        removing = True
        while removing:
            removing = False
            for vertex in list(self.sums):
                if vertex not in self.fixed and self._worth_removing(vertex):
                    self._remove(vertex)
                    removing = True

    def eliminate_all(self) -> None:
        """Remove every vertex in between, those that cost the fewest products first."""
        waiting = [(0, number, vertex) for number, vertex in enumerate(self.sums) if vertex not in self.fixed]
        while waiting:
            supposed, number, vertex = heapq.heappop(waiting)
            products = len(self.sums[vertex]) * len(self.users.get(vertex, ()))
            if products > supposed:  # others that went have left their edges here
                heapq.heappush(waiting, (products, number, vertex))
            else:
                self._remove(vertex)

    def entries(self, inputs: list[Computed]) -> list[list[Any]]:
        """The derivative of each result by each input, where nothing lies in between; None where there is none.

        Raises:
            ValueError: something other than sums and products leads from the inputs to a result.
        """
        if left := [o.primitive.name for o in self.operations if o.outputs[0] not in self.elementwise]:
            raise ValueError(f"only elementwise functions have entries, this one has: {', '.join(left)}")
        rows = []
        for result in self.results:
            terms: dict[Computed, Factor] = {}
            if self._moves(result):
                terms = {result: 1.0} if result in inputs else self.sums[result]
            rows.append([_dense(terms[i]) if i in terms else None for i in inputs])
        return rows

    def _worth_removing(self, vertex: Computed) -> bool:
        terms, users = self.sums[vertex], self.users.get(vertex, {})
        added = sum(term not in self.sums[user] for user in users for term in terms)
        return added <= len(terms) + len(users)

    def _remove(self, vertex: Computed) -> None:
        terms, users = self.sums.pop(vertex), self.users.pop(vertex, {})
        for term in terms:
            del self.users[term][vertex]
        for user in users:
            entering = self.sums[user]
            after = entering.pop(vertex)
            for term, before in terms.items():
                factor = _product(after, before)
                entering[term] = _sum(entering[term], factor) if term in entering else factor
                self.users[term][user] = None

    def evaluate(self, values: dict[Computed, Array], lanes: int, one: Array) -> list[Array]:
        """The results, from the inputs' values; all with a last axis of directions.

        A vertex that is left has several users. XLA would work it out anew for each of them, and what it depends on,
        and so on; a division is to XLA too dear to be repeated. So every vertex is divided by ``one``.
        """
        for operation in self.operations:
            output = operation.outputs[0]
            if output in self.sums:
                total = _weighted(self.sums[output], values, (*output.shape, lanes), output.aval.dtype)
                values[output] = total / one.astype(output.aval.dtype)
            elif output not in self.elementwise:
                inputs = [values[i] if self._moves(i) else self._array(i) for i in operation.inputs]
                moves = [self._moves(i) for i in operation.inputs]
                values.update(zip(operation.outputs, _with_lanes(operation, inputs, moves, lanes), strict=True))
        return [values[r] if self._moves(r) else jnp.zeros((*jnp.shape(self._array(r)), lanes)) for r in self.results]


def _plain(factor) -> Any:
    """Numbers as Python's: they are multiplied while tracing."""
    if isinstance(factor, np.ndarray | np.generic) and factor.ndim == 0:
        return float(factor)
    return factor


def _product(after: Factor, before: Factor) -> Factor:
    if isinstance(after, _Choice):
        return after.of(_dense(before))
    if isinstance(before, _Choice):
        return before.of(_dense(after))
    for one, other in ((after, before), (before, after)):
        if isinstance(one, float) and abs(one) == 1.0:
            return other if one > 0 else -other
    return after * before


def _sum(one: Factor, other: Factor) -> Factor:
    return _dense(one) + _dense(other)


def _dense(factor: Factor) -> Any:
    return factor.of(1.0) if isinstance(factor, _Choice) else _plain(factor)


def _weighted(terms: dict[Computed, Factor], values: dict[Computed, Array], shape, dtype) -> Array:
    """The sum of factors times values."""
    total = None
    for value, factor in terms.items():
        tangent = values[value]
        if isinstance(factor, float) and factor == -1.0 and total is not None:
            total = total - tangent
            continue
        if isinstance(factor, _Choice):
            factor = factor.of(jnp.ones((), dtype))
        if not (isinstance(factor, float) and factor == 1.0):
            tangent = (factor if isinstance(factor, float) else jnp.expand_dims(factor, -1)) * tangent
        total = tangent if total is None else total + tangent
    return jnp.zeros(shape, dtype) if total is None else jnp.broadcast_to(total, shape)


def _with_lanes(operation: Operation, inputs: list[Any], moves: list[bool], lanes: int) -> list[Array]:
    """An operation that moves values about, done with directions on the last axis."""
    rule = WITH_LANES.get(operation.primitive.name)
    if rule is None:
        axes = [-1 if move else None for move in moves]
        return jax.vmap(lambda *arguments: operation.bind(list(arguments)), in_axes=axes, out_axes=-1)(*inputs)
    whole = [
        i if move else jnp.broadcast_to(jnp.expand_dims(i, -1), (*jnp.shape(i), lanes))
        for i, move in zip(inputs, moves, strict=True)
    ]
    return [rule(operation.settings, *whole)]
