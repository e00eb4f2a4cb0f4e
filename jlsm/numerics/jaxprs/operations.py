"""A traced function as a flat list of operations: what ``pieces`` cuts and ``tangents`` simplifies.

Calls are inlined, a linear solve is replaced by what solves it. Values are either computed (``Value``) or known while
tracing (anything else).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import Literal, Primitive

INLINED = ("jit", "pjit", "closed_call", "custom_jvp_call")
"""calls whose body is flattened like everything else"""


class Value:
    """Something that is computed: its identity counts, and what shape and type it has."""

    __slots__ = ("aval",)

    def __init__(self, aval):
        self.aval = aval

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape


class Operation(NamedTuple):
    primitive: Primitive
    settings: dict[str, Any]
    inputs: list[Any]
    """values, or constants known while tracing"""
    outputs: list[Value]

    def bind(self, inputs: list[Any]) -> list[Any]:
        """The results for the given inputs."""
        result = self.primitive.bind(*inputs, **self.settings)
        return list(result) if self.primitive.multiple_results else [result]


def flatten(jaxpr, consts: Sequence[Any], inputs: list[Any], operations: list[Operation]) -> list[Any]:
    """Append the operations of ``jaxpr``, calls inlined, to ``operations``; its results."""
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True))

    def read(variable):
        return variable.val if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        given, settings = [read(v) for v in equation.invars], equation.params
        name = equation.primitive.name
        if name in INLINED:
            called = settings["jaxpr"] if "jaxpr" in settings else settings["call_jaxpr"]
            outputs = flatten(called.jaxpr, called.consts, given, operations)
        elif name == "custom_linear_solve":  # what solves it; derivatives were taken before
            lengths = settings["const_lengths"]
            first = lengths.matvec + lengths.vecmat
            constants = given[first : first + lengths.solve]
            right = given[first + lengths.solve + lengths.transpose_solve :]
            solve = settings["jaxprs"].solve
            outputs = flatten(solve.jaxpr, solve.consts, [*constants, *right], operations)
        else:
            outputs = [Value(v.aval) for v in equation.outvars]
            operations.append(Operation(equation.primitive, settings, given, outputs))
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def needed(operations: list[Operation], results: list[Any]) -> list[Operation]:
    """Without what no result depends on."""
    wanted = {r for r in results if isinstance(r, Value)}
    kept = []
    for operation in reversed(operations):
        if any(output in wanted for output in operation.outputs):
            kept.append(operation)
            wanted.update(i for i in operation.inputs if isinstance(i, Value))
    return kept[::-1]
