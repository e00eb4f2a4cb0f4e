"""A traced function as a flat list of operations: what ``pieces`` cuts and ``elimination`` simplifies.

Calls are inlined, a linear solve is replaced by what solves it. Values are either ``Computed`` or constants of the
trace (anything else).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jlsm.numerics.jaxprs.jax_internals import Literal, Primitive, called_program, linear_solver


class Computed:
    """Something that is computed: its identity counts, and what shape and type it has."""

    __slots__ = ("aval",)

    def __init__(self, aval):
        self.aval = aval

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape


def type_of(value: Any) -> Any:
    """Shape and type of something computed, or of a constant of the trace (an array; a number in a jax before 0.10)."""
    return value.aval if isinstance(value, Computed) else jax.typeof(value)


class Operation(NamedTuple):
    primitive: Primitive
    settings: dict[str, Any]
    inputs: list[Any]
    """computed, or constants of the trace"""
    outputs: list[Computed]

    def bind(self, inputs: list[Any]) -> list[Any]:
        """The results for these inputs."""
        result = self.primitive.bind(*inputs, **self.settings)
        return list(result) if self.primitive.multiple_results else [result]


def flatten(jaxpr, consts: Sequence[Any], inputs: list[Any], operations: list[Operation]) -> list[Any]:
    """Append the operations of ``jaxpr``, calls inlined, to ``operations``; its results."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True))

    def read(variable):
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        arguments, settings = [read(v) for v in equation.invars], equation.params
        name = equation.primitive.name
        if (called := called_program(name, settings)) is not None:
            outputs = flatten(called.jaxpr, called.consts, arguments, operations)
        elif (solver := linear_solver(name, settings, arguments)) is not None:  # derivatives were taken before
            called, arguments = solver
            outputs = flatten(called.jaxpr, called.consts, arguments, operations)
        else:
            outputs = [Computed(v.aval) for v in equation.outvars]
            operations.append(Operation(equation.primitive, settings, arguments, outputs))
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def needed(operations: list[Operation], results: list[Any]) -> list[Operation]:
    """Without what no result depends on."""
    wanted = {r for r in results if isinstance(r, Computed)}
    selected = []
    for operation in reversed(operations):
        if any(output in wanted for output in operation.outputs):
            selected.append(operation)
            wanted.update(i for i in operation.inputs if isinstance(i, Computed))
    return selected[::-1]
