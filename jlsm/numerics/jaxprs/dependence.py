"""What a traced function depends on."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jlsm.numerics.jaxprs.jax_internals import Literal


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
