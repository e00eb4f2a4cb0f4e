"""A time loop whose derivative is taken by hand: what is repeated, and what both modes need to know of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import PyTree


class Scan(NamedTuple):
    """What is repeated. None of the functions may close over traced values."""

    prepare: Callable[[PyTree, PyTree], PyTree]
    """``(constants, rows of a chunk) -> inputs of its steps``, time leading"""
    step: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, Any, PyTree]]
    """``(constants, state, input) -> (state, output, found)``"""
    known: Callable[[PyTree, PyTree, PyTree, PyTree], tuple[PyTree, Any]] | None = None
    """``(constants, state, input, found) -> (state, output)``, the same given what was found; reverse mode needs it"""


def fetch_ahead(inputs: PyTree) -> tuple[PyTree, PyTree]:
    """(the first row, for every step the row of the one after it) of arrays with time first.

    A loop that carries its input and takes the next one from the scan reads a slice at a moving place once. Read by a
    hundred fused expressions, such a slice would keep a CPU from vectorising any of them.
    """
    first = jax.tree.map(lambda x: x[0], inputs)
    return first, jax.tree.map(lambda x: jnp.concatenate([x[1:], x[-1:]]), inputs)


def depends_on(function: Callable, *arguments: PyTree) -> PyTree:
    """For every output leaf of ``function`` whether it is a float that some argument can reach."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    reached = set(closed.jaxpr.invars)
    for equation in closed.jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in reached for v in equation.invars):
            reached.update(equation.outvars)
    flags = [
        not isinstance(v, Literal) and v in reached and jnp.issubdtype(v.aval.dtype, jnp.inexact)
        for v in closed.jaxpr.outvars
    ]
    return jax.tree.unflatten(jax.tree.structure(shape), flags)
