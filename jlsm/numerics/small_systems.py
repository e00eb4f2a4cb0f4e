"""Gauss elimination of small systems of equations, one per column, written out as plain arithmetic.

A matrix is rows of arrays; entries that are zero by structure are None, and nothing is computed for them.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

Rows = list[list[Any]]
"""arrays, and None where an entry is zero by structure"""


_LEAST_PIVOT = 1e-6


def _subtract(first: Array | None, factor: Array, second: Array | None) -> Array | None:
    if second is None:
        return first
    return -factor * second if first is None else first - factor * second


def eliminate(rows: Rows, right: list[Array], signs: tuple[int, ...] | None = None) -> tuple[Rows, list[Array]]:
    """Gauss elimination of all unknowns but the last, without pivoting; rows end with a diagonal of one.

    The systems solved here have a dominant diagonal once their unknowns are ordered from the fastest
    (stomata) to the slowest (stability). The last row keeps its slope.

    Args:
        signs: what each pivot's sign is at the solution. A pivot of the other sign, met on the way there, is turned
            round: each unknown then moves to where its equation's root lies. None: pivots as they are.
    """
    rows, right = [list(row) for row in rows], list(right)
    last = len(rows) - 1
    for k in range(last):
        pivot = rows[k][k] if signs is None else signs[k] * jnp.maximum(jnp.abs(rows[k][k]), _LEAST_PIVOT)
        inverse = 1.0 / pivot
        rows[k] = [None if j <= k or entry is None else entry * inverse for j, entry in enumerate(rows[k])]
        right[k] = right[k] * inverse
        for i in range(k + 1, last + 1):
            factor = rows[i][k]
            if factor is not None:
                rows[i] = [_subtract(a, factor, b) for a, b in zip(rows[i], rows[k], strict=True)]
                right[i] = right[i] - factor * right[k]
    return rows, right


def substitute(rows: Rows, right: list[Array], last: Array) -> list[Array]:
    """All unknowns of an eliminated system whose last unknown is given."""
    solution = [last]
    for row, side in zip(rows[-2::-1], right[-2::-1], strict=True):
        for entry, value in zip(row[len(rows) - len(solution) :], solution, strict=True):
            if entry is not None:
                side = side - entry * value
        solution.insert(0, side)
    return solution


def hold(rows: Rows, right: list[Array], number: int, change: Array):
    """The system with the equation of one unknown replaced by what that unknown is to change by."""
    rows, right = [list(row) for row in rows], list(right)
    rows[number] = [jnp.ones_like(change) if j == number else None for j in range(len(rows))]
    right[number] = change
    return rows, right
