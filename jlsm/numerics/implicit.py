"""Small nonlinear systems, one per column, solved by Newton and differentiated at their solution.

The iteration is never differentiated. At the solution ``F(x, p) = 0`` the implicit function
theorem gives ``dx = -(dF/dx)^-1 (dF/dp) dp``, which is exact to the accuracy of the solution,
costs one small elimination, and works in forward and reverse mode and under ``vmap``.

Unknowns and equations are tuples of arrays, not a stacked array, and the equations say which
unknowns enter them: nothing is computed for the zeros of the Jacobian, and a compiler sees plain
elementwise arithmetic (a stack of long expressions is compiled to branches, five times slower on
a CPU).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, PyTree

from jlsm.numerics.jacobian import jacobian

Unknowns = tuple[Float[Array, "..."], ...]
SOLUTION = "implicit solution"  # name under which ``jax.checkpoint`` policies can keep what the iteration found


class NewtonOptions(NamedTuple):
    """How the iteration runs; hashable, so it is part of the compiled code."""

    depends: tuple[tuple[int, ...], ...]
    """for each equation, the numbers of the unknowns that enter it; its own among them"""
    lower: tuple[float, ...]
    """lower limits of the unknowns"""
    upper: tuple[float, ...]
    """upper limits of the unknowns"""
    largest_step: tuple[float, ...]
    """largest change of each unknown in one iteration"""
    scale: tuple[float, ...]
    """size of each equation's residual that counts as one in the measure of progress"""
    weight: tuple[float, ...]
    """how much a change of each unknown counts when slopes are corrected by it (see ``_secant``)"""
    tolerance32: float = 1e-3
    """float32: converged when every change is below this; the error is then of the order of its square"""
    tolerance64: float = 1e-8
    """float64: the same"""
    exact: int = 2
    """first iterations with the exact Jacobian; then its entries are corrected by what the residuals did"""
    approach: int = 12
    """from this iteration on the Jacobian is exact again, for the few columns that are left"""
    shortest: float = 0.125
    """least share of a Newton step taken by columns that jump between two sides of a kink"""
    bracket_after: int = 18
    """from this iteration on the last unknown is bracketed (see ``implicit_solve``)"""
    settled: float = 0.05
    """scaled residual of the other equations below which the bracket may be moved"""
    folded: int = 2
    """number of the unknown that is bracketed in its turn when bracketing the last one does not end"""
    turn: int = 60
    """iterations after which the bracketed unknown changes"""
    most: int = 480
    """most iterations"""


def _largest(values) -> Array:
    return reduce(jnp.maximum, values)


def _linearise(residual: Callable, options: NewtonOptions, x: Unknowns, operands: PyTree):
    """Residuals at x and the Jacobian as rows; entries that are zero by structure are None."""
    value, found = jacobian(lambda *x: residual(x, operands), x)
    zero = jnp.zeros_like(x[0])
    rows = []
    for number, (row, depends) in enumerate(zip(found, options.depends, strict=True)):
        if more := [k for k, entry in enumerate(row) if entry is not None and k not in depends]:
            raise ValueError(f"equation {number} depends on the unknowns {more}, which its options do not name")
        rows.append([(zero if entry is None else entry) if k in depends else None for k, entry in enumerate(row)])
    return value, rows


def _subtract(first: Array | None, factor: Array, second: Array | None) -> Array | None:
    if second is None:
        return first
    return -factor * second if first is None else first - factor * second


def _slope(rows: list[list[Array | None]], number: int = -1) -> Array:
    """How an equation, the last one unless a number is given, depends on the unknown of its number."""
    entry = rows[number][number]
    if entry is None:
        raise ValueError(f"equation {number} does not depend on its unknown: its options must name it")
    return entry


def _eliminate(rows: list[list[Array | None]], right: list[Array]) -> tuple[list[list[Array | None]], list[Array]]:
    """Gauss elimination of all unknowns but the last, without pivoting; rows end with a diagonal of one.

    The systems solved here have a dominant diagonal once their unknowns are ordered from the fastest
    (stomata) to the slowest (stability). The last row keeps its slope.
    """
    rows, right = [list(row) for row in rows], list(right)
    last = len(rows) - 1
    for k in range(last):
        inverse = 1.0 / _slope(rows, k)
        rows[k] = [None if j <= k or entry is None else entry * inverse for j, entry in enumerate(rows[k])]
        right[k] = right[k] * inverse
        for i in range(k + 1, last + 1):
            factor = rows[i][k]
            if factor is not None:
                rows[i] = [_subtract(a, factor, b) for a, b in zip(rows[i], rows[k], strict=True)]
                right[i] = right[i] - factor * right[k]
    return rows, right


def _substitute(rows: list[list[Array | None]], right: list[Array], last: Array) -> list[Array]:
    """All unknowns of an eliminated system whose last unknown is given."""
    solution = [last]
    for row, own in zip(rows[-2::-1], right[-2::-1], strict=True):
        known = row[len(rows) - len(solution) :]
        for entry, value in zip(known, solution, strict=True):
            if entry is not None:
                own = own - entry * value
        solution.insert(0, own)
    return solution


def _hold(rows: list[list[Array | None]], right: list[Array], number: int, change: Array):
    """The system with the equation of one unknown replaced by what that unknown is to change by."""
    rows, right = [list(row) for row in rows], list(right)
    rows[number] = [jnp.ones_like(change) if j == number else None for j in range(len(rows))]
    right[number] = change
    return rows, right


class _Bracket(NamedTuple):
    """What encloses the root of one unknown, while the others follow it."""

    low: Array
    high: Array

    def narrowed(self, value: Array, rises: Array, falls: Array) -> _Bracket:
        """With ``value`` as a new end where the root lies above (``rises``) or below it (``falls``)."""
        return _Bracket(
            jnp.where(rises, jnp.maximum(self.low, value), self.low),
            jnp.where(falls, jnp.minimum(self.high, value), self.high),
        )

    def inside(self, target: Array) -> Array:
        """``target``, or the middle where it leaves the bracket."""
        enclosed = jnp.isfinite(self.low) & jnp.isfinite(self.high)
        middle = 0.5 * (jnp.where(enclosed, self.low, 0.0) + jnp.where(enclosed, self.high, 0.0))
        return jnp.where(enclosed & ((target <= self.low) | (target >= self.high)), middle, target)


def _bounded(options: NewtonOptions, x: Unknowns, change: list[Array]) -> Unknowns:
    return tuple(
        jnp.clip(value + jnp.clip(step, -largest, largest), lower, upper)
        for value, step, largest, lower, upper in zip(
            x, change, options.largest_step, options.lower, options.upper, strict=True
        )
    )


def _secant(rows, options: NewtonOptions, change: Unknowns, difference: list[Array]):
    """The Jacobian's rows corrected so that they explain how the residuals changed.

    The least correction of the entries that are not zero by structure: Broyden's method for sparse Jacobians
    (Schubert 1970, doi:10.1090/S0025-5718-1970-0258276-9). Where nothing changed nothing is corrected.

    Args:
        change: of the unknowns. difference: of the residuals, by that change.
    """
    negligible = (10.0 * jnp.finfo(change[0].dtype).eps) ** 2
    weighted = [step * weight**2 for step, weight in zip(change, options.weight, strict=True)]
    squares = [step * own for step, own in zip(change, weighted, strict=True)]
    corrected = []
    for row, own, depends in zip(rows, difference, options.depends, strict=True):
        size = sum(squares[k] for k in depends)
        unexplained = own - sum(row[k] * change[k] for k in depends)
        factor = jnp.where(size > negligible, unexplained / jnp.maximum(size, negligible), 0.0)
        corrected.append([None if entry is None else entry + factor * weighted[k] for k, entry in enumerate(row)])
    return corrected


def newton_step(residual: Callable, options: NewtonOptions, start: Unknowns, operands: PyTree) -> Unknowns:
    """One bounded Newton step from ``start``: the linearised solution, differentiated as it stands."""
    value, jacobian = _linearise(residual, options, start, operands)
    rows, right = _eliminate(jacobian, [-v for v in value])
    return _bounded(options, start, _substitute(rows, right, right[-1] / _slope(rows)))


class _Iterate(NamedTuple):
    """Where the iteration stands."""

    x: Unknowns
    value: tuple[Array, ...]
    """residuals before the last step"""
    rows: list[list[Array | None]]
    """Jacobian of the last step"""
    change: Unknowns
    """the last step"""
    share: Array
    """of a Newton step that is taken"""
    before: Array
    """measure of progress before the last step"""
    bracket: _Bracket
    count: Array
    done: Array


def _newton(residual: Callable, options: NewtonOptions, start: Unknowns, operands: PyTree) -> Unknowns:
    like = start[-1]
    tolerance = options.tolerance64 if like.dtype == jnp.float64 else options.tolerance32
    number = options.folded
    nowhere = _Bracket(jnp.full_like(like, -jnp.inf), jnp.full_like(like, jnp.inf))

    def scaled(value):
        return [jnp.abs(v) / scale for v, scale in zip(value, options.scale, strict=True)]

    def advanced(now: _Iterate, value, rows, moved: Unknowns, small, share, before, bracket) -> _Iterate:
        x = tuple(jnp.where(now.done, old, new) for new, old in zip(moved, now.x, strict=True))
        change = tuple(new - old for new, old in zip(x, now.x, strict=True))
        return _Iterate(x, value, rows, change, share, before, bracket, now.count + 1, now.done | small)

    def bracket_folded(x, value, followers, jacobian, bracket, newton, share):
        """Move one unknown within what encloses its root, the others following it."""
        settled = followers < options.settled
        # its residual falls where it grows
        bracket = bracket.narrowed(x[number], settled & (value[number] > 0.0), settled & (value[number] < 0.0))
        # where the slope has the wrong sign Newton's step leads away: only its length counts
        length = jnp.maximum(jnp.abs(newton), 2.0 * tolerance)
        change = bracket.inside(x[number] + jnp.sign(value[number]) * length) - x[number]
        rows, right = _hold(jacobian, [-share * v for v in value], number, jnp.where(settled, change, 0.0))
        rows, right = _eliminate(rows, right)
        # a bracket may close on a jump, where the followers change branch: that is no root
        root = settled & (jnp.abs(value[number]) < 0.1 * options.settled)
        return _substitute(rows, right, right[-1] / _slope(rows)), bracket, root

    def exact(now: _Iterate) -> _Iterate:
        """A step with the exact Jacobian: shortened, later bracketed, where columns do not settle."""
        x, count, bracket = now.x, now.count, now.bracket
        value, jacobian = _linearise(residual, options, x, operands)
        rows, right = _eliminate(jacobian, [-v for v in value])
        reduced, slope = -right[-1], _slope(rows)  # of the last equation, all other unknowns following the last
        size = scaled(value)
        others = _largest(size[:-1])
        # where the reduced slope is negative (the fold of a bistable night) a Newton step would lead away
        # from the root: the last equation grows with the last unknown on the whole
        newton_last = -reduced / jnp.maximum(jnp.abs(slope), 1e-6)

        # ordinary mode: Newton; a column whose residual grew steps shorter next time
        bracketing, folding = count >= options.bracket_after, (count // options.turn) % 2 == 1
        followers = _largest([s for k, s in enumerate(size) if k != number])
        measure = jnp.where(folding, followers, jnp.where(bracketing, others, jnp.maximum(others, size[-1])))
        longer = jnp.where(bracketing, 1.5, 2.0) * now.share  # unequal factors, so that no cycle repeats itself
        grew = (measure > now.before) & (count != options.approach)
        share = jnp.where(grew, jnp.maximum(0.5 * now.share, options.shortest), jnp.minimum(longer, 1.0))

        # bracketing mode: settle the others first, then move the last within what encloses its root
        settled = others < options.settled
        narrow = bracketing & ~folding & settled
        bracket = bracket.narrowed(x[-1], narrow & (reduced < 0.0), narrow & (reduced > 0.0))
        bracketed_last = jnp.where(settled, bracket.inside(x[-1] + newton_last) - x[-1], 0.0)
        last = jnp.where(bracketing, bracketed_last, share * newton_last)
        change = _substitute(rows, [share * r for r in right], last)

        # where even the others did not settle: one of them has a fold of its own
        bracket = jax.tree.map(lambda end, fresh: jnp.where(count % options.turn == 0, fresh, end), bracket, nowhere)
        change, bracket, settled = jax.lax.cond(
            folding,
            lambda: bracket_folded(x, value, followers, jacobian, bracket, change[number], share),
            lambda: (change, bracket, settled),
        )
        moved = _bounded(options, x, change)
        steps = _largest([jnp.abs(new - old) for new, old in zip(moved, x, strict=True)])
        # a damped step says that the whole one is 1 / share times as long
        small = (steps < tolerance * jnp.where(folding, 1.0, share)) & (settled | ~bracketing)
        return advanced(now, value, jacobian, moved, small, share, measure, bracket)

    def corrected(now: _Iterate) -> _Iterate:
        """A step with the last Jacobian corrected: the residuals alone cost less than half."""
        value = residual(now.x, operands)
        rows = _secant(now.rows, options, now.change, [a - b for a, b in zip(value, now.value, strict=True)])
        eliminated, right = _eliminate(rows, [-v for v in value])
        moved = _bounded(options, now.x, _substitute(eliminated, right, right[-1] / _slope(eliminated)))
        # a corrected Jacobian can be singular where the exact one is not: such a column waits for the exact one
        regular = jnp.isfinite(sum(moved))
        moved = tuple(jnp.where(regular, new, old) for new, old in zip(moved, now.x, strict=True))
        steps = _largest([jnp.abs(new - old) for new, old in zip(moved, now.x, strict=True)])
        # the error is not of second order: both the residuals and the step must be small
        small = regular & (steps < 3.0 * tolerance) & (_largest(scaled(value)) < 0.3 * tolerance)
        return advanced(now, value, rows, moved, small, now.share, now.before, now.bracket)

    def unfinished(now: _Iterate):
        return (now.count < options.most) & ~jnp.all(now.done)

    def is_exact(now: _Iterate):
        return (now.count < options.exact) | (now.count >= options.approach)

    def both(now: _Iterate) -> _Iterate:
        now = jax.lax.while_loop(lambda now: unfinished(now) & is_exact(now), exact, now)
        return jax.lax.while_loop(lambda now: unfinished(now) & ~is_exact(now), corrected, now)

    zero = jnp.zeros_like(like)
    unknown = [[zero if k in depends else None for k in range(len(start))] for depends in options.depends]
    nothing = (zero,) * len(start)
    begin = _Iterate(
        start, nothing, unknown, nothing, jnp.ones_like(like), nowhere.high, nowhere, jnp.asarray(0), zero > 1.0
    )
    return jax.lax.while_loop(unfinished, both, begin).x


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def implicit_solve(residual: Callable, options: NewtonOptions, start: Unknowns, operands: PyTree) -> Unknowns:
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

    Returns:
        x. Columns that have not converged after ``options.most`` iterations return their last value:
        callers report the residual left.

    Raises:
        ValueError: ``residual`` is not elementwise, or an equation depends on an unknown that ``options`` do not name.
    """
    return _newton(residual, options, start, operands)


@implicit_solve.defjvp
def _implicit_jvp(residual, options, primals, tangents):
    start, operands = primals
    _, operand_tangents = tangents
    x = tuple(checkpoint_name(v, SOLUTION) for v in implicit_solve(residual, options, start, operands))
    return x, _change_of_solution(residual, options, x, operands, operand_tangents)


def _change_of_solution(residual, options, x: Unknowns, operands: PyTree, operand_tangents: PyTree) -> Unknowns:
    """Implicit function theorem: how the solution ``x`` follows its operands."""
    _, jacobian = _linearise(residual, options, x, operands)
    _, change = jax.jvp(lambda p: residual(x, p), (operands,), (operand_tangents,))
    rows, right = _eliminate(jacobian, [-c for c in change])
    return tuple(_substitute(rows, right, right[-1] / _slope(rows)))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def implicit_solution(residual: Callable, options: NewtonOptions, x: Unknowns, operands: PyTree) -> Unknowns:
    """``x``, known to be the solution of ``implicit_solve``: costs nothing, and has the solution's derivative."""
    return x


@implicit_solution.defjvp
def _known_jvp(residual, options, primals, tangents):
    x, operands = primals
    return x, _change_of_solution(residual, options, x, operands, tangents[1])
