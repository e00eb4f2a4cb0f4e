"""Small nonlinear systems, one per column, solved by Newton and differentiated at their solution.

The iteration is never differentiated. At the solution ``F(x, p) = 0`` the implicit function
theorem gives ``dx = -(dF/dx)^-1 (dF/dp) dp``, which is exact to the accuracy of the solution,
costs one small dense inverse, and works in forward and reverse mode and under ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class NewtonOptions(NamedTuple):
    """How the iteration runs; hashable, so it is part of the compiled code."""

    lower: tuple[float, ...]
    """lower limits of the unknowns"""
    upper: tuple[float, ...]
    """upper limits of the unknowns"""
    largest_step: tuple[float, ...]
    """largest change of each unknown in one iteration"""
    scale: tuple[float, ...]
    """size of each equation's residual that counts as one in the measure of progress"""
    tolerance32: float = 1e-3
    """float32: converged when every change is below this; the error is then of the order of its square"""
    tolerance64: float = 1e-8
    """float64: the same"""
    shortest: float = 0.125
    """least share of a Newton step taken by columns that jump between two sides of a kink"""
    bracket_after: int = 8
    """from this iteration on the last unknown is bracketed (see ``implicit_solve``)"""
    settled: float = 0.05
    """scaled residual of the other equations below which the bracket may be moved"""
    most: int = 60
    """most iterations"""


def _column_vector(values: tuple[float, ...], like: Array) -> Array:
    return jnp.asarray(values, like.dtype).reshape((-1,) + (1,) * (like.ndim - 1))


def _jacobian(residual: Callable, x: Array, operands: PyTree) -> tuple[Array, Array]:
    """Residual and ``jacobian[column, row, ...]`` at x."""
    unknowns = x.shape[0]
    basis = jnp.eye(unknowns, dtype=x.dtype).reshape((unknowns, unknowns) + (1,) * (x.ndim - 1))
    basis = jnp.broadcast_to(basis, (unknowns, *x.shape))
    value, linear = jax.linearize(lambda x: residual(x, operands), x)
    return value, jax.vmap(linear)(basis)


def _pivot(work: Array, k: int) -> Array:
    """Clear column k of ``work[row, column, ...]`` except for a one on the diagonal."""
    row = jnp.arange(work.shape[0]).reshape((-1,) + (1,) * (work.ndim - 1))
    pivot = work[k : k + 1] / work[k : k + 1, k : k + 1]
    return jnp.where(row == k, pivot, work - work[:, k : k + 1] * pivot)


def _inverse(matrix: Array) -> Array:
    """Inverse of ``matrix[row, column, ...]`` by Gauss-Jordan elimination without pivoting.

    The systems solved here have a dominant diagonal once their unknowns are ordered from the
    fastest (stomata) to the slowest (stability).
    """
    size = matrix.shape[0]
    identity = jnp.eye(size, dtype=matrix.dtype).reshape((size, size) + (1,) * (matrix.ndim - 2))
    work = jnp.concatenate([matrix, jnp.broadcast_to(identity, matrix.shape)], axis=1)
    for k in range(size):
        work = _pivot(work, k)
    return work[:, size:]


def _reduced(residual: Callable, x: Array, operands: PyTree) -> tuple[Array, Array, Array, Array, Array]:
    """Linearisation at x with all unknowns but the last eliminated.

    Returns:
        (residual, step of the others with the last one held, their change per change of the last,
        reduced residual of the last equation, its slope by the last unknown).
    """
    value, jacobian = _jacobian(residual, x, operands)
    last = x.shape[0] - 1
    work = jnp.concatenate([jnp.swapaxes(jacobian, 0, 1), value[:, None]], axis=1)
    for k in range(last):
        work = _pivot(work, k)
    return value, -work[:last, last + 1], -work[:last, last], work[last, last + 1], work[last, last]


def _bounded(options: NewtonOptions, x: Array, change: Array) -> Array:
    largest = _column_vector(options.largest_step, x)
    moved = x + jnp.clip(change, -largest, largest)
    return jnp.clip(moved, _column_vector(options.lower, x), _column_vector(options.upper, x))


def newton_step(residual: Callable, options: NewtonOptions, start: Array, operands: PyTree) -> Array:
    """One bounded Newton step from ``start``: the linearised solution, differentiated as it stands."""
    _, others, per_last, reduced, slope = _reduced(residual, start, operands)
    last = -reduced / slope
    return _bounded(options, start, jnp.concatenate([others + per_last * last, last[None]]))


def _newton(residual: Callable, options: NewtonOptions, start: Array, operands: PyTree) -> Array:
    tolerance = options.tolerance64 if start.dtype == jnp.float64 else options.tolerance32
    scale = _column_vector(options.scale, start)

    def unfinished(carry):
        count, done = carry[-2:]
        return jnp.logical_and(count < options.most, jnp.logical_not(jnp.all(done)))

    def iterate(carry):
        x, share, before, low, high, count, done = carry
        value, others, per_last, reduced, slope = _reduced(residual, x, operands)
        size = jnp.abs(value) / scale
        # where the reduced slope is negative (the fold of a bistable night) a Newton step would lead away
        # from the root: the last equation grows with the last unknown on the whole
        newton_last = -reduced / jnp.maximum(jnp.abs(slope), 1e-6)

        # ordinary mode: Newton; a column whose residual grew steps shorter next time
        bracketing = count >= options.bracket_after
        now = jnp.where(bracketing, jnp.max(size[:-1], axis=0), jnp.max(size, axis=0))
        longer = jnp.where(bracketing, 1.5, 2.0) * share  # unequal factors, so that no cycle repeats itself
        share = jnp.where(now > before, jnp.maximum(0.5 * share, options.shortest), jnp.minimum(longer, 1.0))

        # bracketing mode: settle the others first, then move the last within what encloses its root
        settled = jnp.max(size[:-1], axis=0) < options.settled
        narrow = bracketing & settled
        low = jnp.where(narrow & (reduced < 0.0), jnp.maximum(low, x[-1]), low)
        high = jnp.where(narrow & (reduced > 0.0), jnp.minimum(high, x[-1]), high)
        enclosed = jnp.isfinite(low) & jnp.isfinite(high)
        middle = jnp.where(enclosed, 0.5 * (jnp.where(enclosed, low, 0.0) + jnp.where(enclosed, high, 0.0)), 0.0)
        target = x[-1] + newton_last
        target = jnp.where(enclosed & ((target <= low) | (target >= high)), middle, target)
        bracketed_last = jnp.where(settled, target - x[-1], 0.0)

        last = jnp.where(bracketing, bracketed_last, share * newton_last)
        change = jnp.concatenate([share * others + per_last * last, last[None]])
        moved = _bounded(options, x, change)
        small = (jnp.max(jnp.abs(moved - x), axis=0) < tolerance) & (settled | ~bracketing)
        x = jnp.where(done, x, moved)
        return x, share, now, low, high, count + 1, done | small

    columns = start.shape[1:]
    infinite = jnp.full(columns, jnp.inf, start.dtype)
    share = jnp.ones(columns, start.dtype)
    begin = (start, share, infinite, -infinite, infinite, jnp.asarray(0), jnp.zeros(columns, bool))
    return jax.lax.while_loop(unfinished, iterate, begin)[0]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def implicit_solve(
    residual: Callable, options: NewtonOptions, start: Float[Array, "n ..."], operands: PyTree
) -> Float[Array, "n ..."]:
    """Solve ``residual(x, operands) = 0`` for x in every column.

    Args:
        residual: pure function of ``(x [n, ...], operands)`` to ``[n, ...]``; it must not close over
            traced values (everything it needs is in ``operands``).
        options: limits and tolerances. Newton's method solves nearly all columns in three to six
            iterations; from ``bracket_after`` on, the few that jump between sides of a kink solve the
            other equations for a held last unknown and enclose that one's root, which always ends.
            This needs the last residual to grow with the last unknown from end to end.
        start: first guess. The solution does not depend on it, so its derivative is zero.
        operands: pytree of everything the solution depends on.

    Returns:
        x. Columns that have not converged after ``options.most`` iterations return their last value:
        callers report the residual left.
    """
    return _newton(residual, options, start, operands)


@implicit_solve.defjvp
def _implicit_jvp(residual, options, primals, tangents):
    start, operands = primals
    _, operand_tangents = tangents
    x = implicit_solve(residual, options, start, operands)
    _, jacobian = _jacobian(residual, x, operands)
    inverse = _inverse(jnp.swapaxes(jacobian, 0, 1))
    _, change = jax.jvp(lambda p: residual(x, p), (operands,), (operand_tangents,))
    return x, -jnp.sum(inverse * change[None], axis=1)
