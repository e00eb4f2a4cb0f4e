"""The Jacobian of a few elementwise equations in a few unknowns, entry by entry."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jlsm.numerics import jaxprs


def jacobian(
    function: Callable[..., tuple[Array, ...]], x: tuple[Array, ...], depends: tuple[tuple[int, ...], ...]
) -> tuple[tuple[Array, ...], list[list[Array | None]]]:
    """(``function(*x)``, its Jacobian as rows; None where an unknown does not enter an equation).

    Args:
        function: elementwise in arrays of one shape and type.
        x: the unknowns.
        depends: for each equation, the numbers of the unknowns that enter it.

    Raises:
        ValueError: the function is not elementwise, or an equation depends on an unknown that ``depends`` does not name
            (where ``numerics/jaxprs`` is switched off, neither is noticed).
    """
    if jaxprs.enabled():
        from jlsm.numerics.jaxprs.entries import jacobian_entries

        value, rows = jacobian_entries(function, x)
        for number, (row, entering) in enumerate(zip(rows, depends, strict=True)):
            if more := [k for k, entry in enumerate(row) if entry is not None and k not in entering]:
                raise ValueError(f"equation {number} depends on the unknowns {more}, which its options do not name")
    else:
        value, rows = _by_forward_mode(function, x)
    zero = jnp.zeros_like(x[0])
    return value, [
        [(zero if entry is None else entry) if k in entering else None for k, entry in enumerate(row)]
        for row, entering in zip(rows, depends, strict=True)
    ]


def _by_forward_mode(function, x):
    """One derivative by each unknown."""
    value, push = jax.linearize(function, *x)
    one, zero = jnp.ones_like(x[0]), jnp.zeros_like(x[0])
    columns = [push(*(one if j == k else zero for j in range(len(x)))) for k in range(len(x))]
    return value, [list(row) for row in zip(*columns, strict=True)]
