"""Small nonlinear systems, one per column, solved by Newton and differentiated at their solution.

The iteration is never differentiated. At the solution ``F(x, p) = 0`` the implicit function
theorem gives ``dx = -(dF/dx)^-1 (dF/dp) dp``, which is exact to the accuracy of the solution,
costs one small elimination, and works in forward and reverse mode and under ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, PyTree

from jlsm.numerics.newton import NewtonOptions, Point, linearise, newton
from jlsm.numerics.small_systems import eliminate, substitute

SOLUTION = "implicit solution"  # name under which ``jax.checkpoint`` policies can keep what the iteration ends at


WIDE = 16
"""columns from which on a CPU solves row after row: the slowest column of one row does not hold up the others, and half
the memory is touched; fewer do not fill its vectors"""


def implicit_solve(
    residual: Callable, options: NewtonOptions, start: Point, operands: PyTree, rows: Array | int | None = None
) -> Point:
    """Solve ``residual(x, operands) = 0`` for x in every column.

    Args:
        residual: pure function of ``(x, operands)``, x a tuple of arrays of one shape, to a tuple of as many, and
            elementwise in x; it must not close over traced values (everything it needs is in ``operands``).
        options: structure, limits and tolerances. Newton's method solves nearly all columns in three to six
            iterations; from ``bracket_after`` on, the few that jump between sides of a kink solve the
            other equations for a held last unknown and enclose that one's root, which always ends.
            This needs the last residual to grow with the last unknown from end to end.
        start: first guess. The solution does not depend on it, so its derivative is zero.
        operands: pytree of everything the solution depends on.
        rows: None, or how many rows of a leading axis (of the unknowns, and of operands with as many axes) are wanted;
            the others stay as they start. A derivative needs, and solves for, all of them.

    Returns:
        x. Columns that have not converged after ``options.most`` iterations return their last value:
        callers report the residual left.

    Raises:
        ValueError: ``residual`` is not elementwise, or an equation depends on an unknown that ``options`` do not name.
    """
    every = rows is None or isinstance(rows, int) and rows == start[0].shape[0]
    return _solve(residual, options, rows is not None, start, operands, None if every else rows)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _solve(residual: Callable, options: NewtonOptions, in_rows: bool, start: Point, operands: PyTree, rows) -> Point:
    """``implicit_solve``; ``in_rows``: there are rows, and where ``rows`` is None all of them are wanted."""
    if in_rows and rows is not None:
        return _some_rows(residual, options, start, operands, rows)
    if in_rows and start[0][0].size >= WIDE:
        every = partial(_every_row, residual, options)
        return jax.lax.platform_dependent(start, operands, cpu=every, default=partial(newton, residual, options))
    return newton(residual, options, start, operands)


def _some_rows(residual: Callable, options: NewtonOptions, start: Point, operands: PyTree, rows: Array | int) -> Point:
    """The first ``rows`` rows, one after the other."""
    axes = start[0].ndim

    def one_row(number: Array | int, x: Point) -> Point:
        def row(leaf):
            return jax.lax.dynamic_index_in_dim(leaf, number, keepdims=False) if jnp.ndim(leaf) == axes else leaf

        solution = newton(residual, options, *jax.tree.map(row, (start, operands)))
        return tuple(
            jax.lax.dynamic_update_index_in_dim(old, new, number, axis=0) for old, new in zip(x, solution, strict=True)
        )

    return jax.lax.fori_loop(0, rows, one_row, start)


def _every_row(residual: Callable, options: NewtonOptions, start: Point, operands: PyTree) -> Point:
    """All rows, one after the other.

    Not by ``_some_rows``: a loop of a constant number of rounds that writes into what it began with gave wrong
    derivatives (by 3 %) compiled without optimisation, as tests are (jaxlib 0.10.2).
    """
    rows, axes = start[0].shape[0], start[0].ndim
    in_rows, common = eqx.partition(operands, lambda leaf: jnp.ndim(leaf) == axes)
    in_rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape[1:])), in_rows)

    def one_row(row: tuple[Point, PyTree]) -> Point:
        return newton(residual, options, row[0], eqx.combine(row[1], common))

    return jax.lax.map(one_row, (start, in_rows))


@_solve.defjvp
def _implicit_jvp(residual, options, in_rows, primals, tangents):
    start, operands, _ = primals
    _, operand_tangents, _ = tangents
    # all rows together: row after row, tangents along many directions came out wrong in the same way (``_every_row``)
    x = tuple(checkpoint_name(v, SOLUTION) for v in newton(residual, options, start, operands))
    return x, _change_of_solution(residual, options, x, operands, operand_tangents)


def _change_of_solution(residual, options, x: Point, operands: PyTree, operand_tangents: PyTree) -> Point:
    """Implicit function theorem: how the solution ``x`` follows its operands."""
    _, jacobian = linearise(residual, options, x, operands)
    _, change = jax.jvp(lambda p: residual(x, p), (operands,), (operand_tangents,))
    rows, right = eliminate(jacobian, [-c for c in change])
    return tuple(substitute(rows, right, right[-1] / rows[-1][-1]))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def implicit_solution(residual: Callable, options: NewtonOptions, x: Point, operands: PyTree) -> Point:
    """``x``, which is the solution of ``implicit_solve``: costs nothing, and has the solution's derivative."""
    return x


@implicit_solution.defjvp
def _solution_jvp(residual, options, primals, tangents):
    x, operands = primals
    return x, _change_of_solution(residual, options, x, operands, tangents[1])
