"""Where a list of operations is cut, and what crosses the cuts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import jax

from jlsm.numerics.jaxprs.jax_internals import VIEWS, Tracer
from jlsm.numerics.jaxprs.operations import Computed, Operation, type_of


def sorted_by_need(
    operations: list[Operation], inputs: list[Computed]
) -> tuple[list[Operation], list[Operation], dict[Computed, Operation]]:
    """(what does not depend on the inputs, what does, and by their results what is as cheap to take anew: views of
    inputs, and constants)."""
    visible, constant, fixed = set(inputs), set(), set()
    before, moving, views = [], [], {}
    for operation in operations:
        values = [i for i in operation.inputs if isinstance(i, Computed)]
        single = len(operation.outputs) == 1
        concrete = not any(isinstance(i, Tracer) for i in operation.inputs)
        if single and operation.primitive.name in VIEWS and values and values[0] in visible:
            visible.update(operation.outputs)
            views[operation.outputs[0]] = operation
        elif single and concrete and all(value in constant for value in values):
            constant.update(operation.outputs)
            views[operation.outputs[0]] = operation
        elif all(value in constant or value in fixed for value in values):
            fixed.update(operation.outputs)
            before.append(operation)
        else:
            moving.append(operation)
    return before, moving, views


def read_by(operations: Iterable[Operation], results: list[Any]) -> set[Computed]:
    """All values that operations read, and those that are results."""
    read = {value for operation in operations for value in operation.inputs if isinstance(value, Computed)}
    return read | {result for result in results if isinstance(result, Computed)}


def touched(operation: Operation) -> int:
    """Bytes that an operation reads and writes."""
    avals = [type_of(value) for value in (*operation.inputs, *operation.outputs)]
    return sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in avals)


def typical(operations: list[Operation]) -> float:
    """Bytes that the operation touches which an average byte is touched by."""
    each = list(map(touched, operations))
    return sum(size**2 for size in each) / max(sum(each), 1)


def last_uses(operations: list[Operation], results: list[Any]) -> dict[Computed, int]:
    """The last operation that reads each computed value; beyond the end for results."""
    outputs = {output for operation in operations for output in operation.outputs}

    def is_output(value):
        return isinstance(value, Computed) and value in outputs

    last = {i: at for at, operation in enumerate(operations) for i in operation.inputs if is_output(i)}
    return last | {r: len(operations) for r in results if is_output(r)}


def crossing(operations: list[Operation], last: dict[Computed, int], stop: int) -> list[Computed]:
    """What these operations compute and others from number ``stop`` on, or the results, need."""
    return [o for operation in operations for o in operation.outputs if last.get(o, -1) >= stop]


def alive(operations: list[Operation], last: dict[Computed, int]) -> list[int]:
    """How many values cross the border before each operation."""
    change = [0] * (len(operations) + 2)
    for at, operation in enumerate(operations):
        for output in operation.outputs:
            if output in last:
                change[at + 1] += 1
                change[last[output] + 1] -= 1
    count = [0]
    for by in change[1 : len(operations) + 1]:
        count.append(count[-1] + by)
    return count


def cuts(weights: list[float], crossed: list[int], begin: int = 0) -> list[tuple[int, int]]:
    """Parts of about weight one, cut where the fewest values cross: between half and one and a half.

    Args:
        weights: of the operations from number ``begin`` on.
        crossed: values that cross the border before each operation, of all (``alive``).
    """
    end, borders, at = begin + len(weights), [], begin
    while at < end:
        weight, stop, candidates = 0.0, at, []
        while stop < end and weight < 1.5:
            weight += weights[stop - begin]
            stop += 1
            if weight >= 0.5:
                candidates.append(stop)
        if weight >= 1.5:
            stop = min(candidates, key=lambda border: crossed[border])
        borders.append((at, stop))
        at = stop
    return borders


def places_for(
    results: list[list[Computed]], begins: list[int], last: dict[Computed, int]
) -> tuple[list[list[int]], list[jax.ShapeDtypeStruct]]:
    """Where each part's results lie, and what these places are; a place is taken again by what comes later.

    Args:
        results: of each part.
        begins: number of each part's first operation.
        last: the last operation that reads each value.
    """
    places, free, taken = [], defaultdict(list), {}
    which = []
    for wanted, begin in zip(results, begins, strict=True):
        for value in [v for v in taken if last[v] < begin]:
            free[value.shape, value.aval.dtype].append(taken.pop(value))
        for value in wanted:
            kind = (value.shape, value.aval.dtype)
            if not free[kind]:
                free[kind].append(len(places))
                places.append(jax.ShapeDtypeStruct(*kind))
            taken[value] = free[kind].pop()
        which.append([taken[value] for value in wanted])
    return which, places
