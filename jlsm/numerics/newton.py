"""Newton's iteration for small nonlinear systems, one per column; what makes it end at kinks and folds.

Point and equations are tuples of arrays, not a stacked array, and the equations say which
unknowns enter them: nothing is computed for the zeros of the Jacobian, and a compiler sees plain
elementwise arithmetic (a stack of long expressions is compiled to branches, five times slower on
a CPU).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jlsm.numerics.jacobian import jacobian
from jlsm.numerics.small_systems import Rows, eliminate, hold, substitute

Point = tuple[Float[Array, "..."], ...]
"""values of the unknowns of a system"""


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
    unit: tuple[float, ...] | None = None
    """change of each unknown that counts as one where changes are compared with the tolerance; None: 1 of all"""
    signs: tuple[int, ...] | None = None
    """1 or -1 for each equation: whether it grows or falls with its unknown, where those before it follow (see
    ``eliminate``); around a solution it does, elsewhere it need not. None: not known"""
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
    most: int = 960
    """most iterations"""


def _largest(values) -> Array:
    return reduce(jnp.maximum, values)


def linearise(residual: Callable, options: NewtonOptions, x: Point, operands: PyTree) -> tuple[Point, Rows]:
    """Residuals at x and the Jacobian as rows; entries that are zero by structure are None."""
    return jacobian(lambda *x: residual(x, operands), x, options.depends)


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


def _bounded(options: NewtonOptions, x: Point, change: list[Array]) -> Point:
    return tuple(
        jnp.clip(value + jnp.clip(step, -largest, largest), lower, upper)
        for value, step, largest, lower, upper in zip(
            x, change, options.largest_step, options.lower, options.upper, strict=True
        )
    )


def _secant(rows, options: NewtonOptions, change: Point, difference: list[Array]):
    """The Jacobian's rows corrected so that they explain how the residuals changed.

    The least correction of the entries that are not zero by structure: Broyden's method for sparse Jacobians
    (Schubert 1970, doi:10.1090/S0025-5718-1970-0258276-9). Where nothing changed nothing is corrected.

    Args:
        change: of the unknowns. difference: of the residuals, by that change.
    """
    negligible = (10.0 * jnp.finfo(change[0].dtype).eps) ** 2
    weighted = [step * weight**2 for step, weight in zip(change, options.weight, strict=True)]
    squares = [step * weight for step, weight in zip(change, weighted, strict=True)]
    corrected = []
    for row, observed, depends in zip(rows, difference, options.depends, strict=True):
        size = sum(squares[k] for k in depends)
        unexplained = observed - sum(row[k] * change[k] for k in depends)
        factor = jnp.where(size > negligible, unexplained / jnp.maximum(size, negligible), 0.0)
        corrected.append([None if entry is None else entry + factor * weighted[k] for k, entry in enumerate(row)])
    return corrected


def newton_step(residual: Callable, options: NewtonOptions, start: Point, operands: PyTree) -> Point:
    """One bounded Newton step from ``start``: the linearised solution, differentiated as it stands."""
    value, jacobian = linearise(residual, options, start, operands)
    rows, right = eliminate(jacobian, [-v for v in value])
    return _bounded(options, start, substitute(rows, right, right[-1] / rows[-1][-1]))


class _Iterate(NamedTuple):
    """Where the iteration stands."""

    x: Point
    value: tuple[Array, ...]
    """residuals before the last step"""
    rows: Rows
    """Jacobian of the last step"""
    change: Point
    """the last step"""
    share: Array
    """of a Newton step that is taken"""
    before: Array
    """measure of progress before the last step"""
    bracket: _Bracket
    count: Array
    done: Array


def _length(options: NewtonOptions, new: Point, old: Point) -> Array:
    """The largest change of an unknown, in its unit."""
    units = options.unit or (1.0,) * len(new)
    return _largest([jnp.abs(a - b) / unit for a, b, unit in zip(new, old, units, strict=True)])


def _capped(now: _Iterate, value, k: int, step, least: float) -> Array:
    """The step of a fast unknown, at most half as long as the one before where that went past its root."""
    passed = value[k] * now.value[k] < 0.0
    longest = jnp.maximum(jnp.where(passed, 0.5, 1.5) * jnp.abs(now.change[k]), least)
    return jnp.clip(step, -longest, longest)


def _bracket_folded(options: NewtonOptions, tolerance, x, value, followers, jacobian, bracket, newton, share):
    """Move one unknown within what encloses its root, the others following it.

    Returns:
        (change of all unknowns, bracket, whether this is its root).
    """
    number = options.folded
    settled = followers < options.settled
    # its residual falls where it grows
    bracket = bracket.narrowed(x[number], settled & (value[number] > 0.0), settled & (value[number] < 0.0))
    # where the slope has the wrong sign Newton's step leads away: only its length counts
    length = jnp.maximum(jnp.abs(newton), 2.0 * tolerance)
    change = bracket.inside(x[number] + jnp.sign(value[number]) * length) - x[number]
    rows, right = hold(jacobian, [-share * v for v in value], number, jnp.where(settled, change, 0.0))
    signs = options.signs and tuple(1 if k == number else sign for k, sign in enumerate(options.signs))
    rows, right = eliminate(rows, right, signs)
    # a bracket may close on a jump, where the followers change branch: that is no root
    root = settled & (jnp.abs(value[number]) < 0.1 * options.settled)
    return substitute(rows, right, right[-1] / rows[-1][-1]), bracket, root


def newton(residual: Callable, options: NewtonOptions, start: Point, operands: PyTree) -> Point:
    like = start[-1]
    tolerance = options.tolerance64 if like.dtype == jnp.float64 else options.tolerance32
    number = options.folded
    nowhere = _Bracket(jnp.full_like(like, -jnp.inf), jnp.full_like(like, jnp.inf))

    def scaled(value):
        return [jnp.abs(v) / scale for v, scale in zip(value, options.scale, strict=True)]

    def advanced(now: _Iterate, value, rows, moved: Point, small, share, before, bracket) -> _Iterate:
        x = tuple(jnp.where(now.done, old, new) for new, old in zip(moved, now.x, strict=True))
        change = tuple(new - old for new, old in zip(x, now.x, strict=True))
        return _Iterate(x, value, rows, change, share, before, bracket, now.count + 1, now.done | small)

    def exact(now: _Iterate) -> _Iterate:
        """A step with the exact Jacobian: shortened, later bracketed, where columns do not settle."""
        x, count, bracket = now.x, now.count, now.bracket
        value, jacobian = linearise(residual, options, x, operands)
        rows, right = eliminate(jacobian, [-v for v in value], options.signs)
        reduced, slope = -right[-1], rows[-1][-1]  # of the last equation, all other unknowns following the last
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
        change = substitute(rows, [share * r for r in right], last)

        # where even the others did not settle: one of them has a fold of its own
        bracket = jax.tree.map(lambda end, fresh: jnp.where(count % options.turn == 0, fresh, end), bracket, nowhere)
        change, bracket, settled = jax.lax.cond(
            folding,
            lambda: _bracket_folded(options, tolerance, x, value, followers, jacobian, bracket, change[number], share),
            lambda: (change, bracket, settled),
        )
        change = [
            jnp.where(bracketing, _capped(now, value, k, step, 10.0 * tolerance), step) if k < number else step
            for k, step in enumerate(change)
        ]
        moved = _bounded(options, x, change)
        steps = _length(options, moved, x)
        # a damped step says that the whole one is 1 / share times as long
        small = (steps < tolerance * jnp.where(folding, 1.0, share)) & (settled | ~bracketing)
        return advanced(now, value, jacobian, moved, small, share, measure, bracket)

    def corrected(now: _Iterate) -> _Iterate:
        """A step with the last Jacobian corrected: the residuals alone cost less than half."""
        value = residual(now.x, operands)
        rows = _secant(now.rows, options, now.change, [a - b for a, b in zip(value, now.value, strict=True)])
        eliminated, right = eliminate(rows, [-v for v in value], options.signs)
        moved = _bounded(options, now.x, substitute(eliminated, right, right[-1] / eliminated[-1][-1]))
        # a corrected Jacobian can be singular where the exact one is not: such a column waits for the exact one
        regular = jnp.isfinite(sum(moved))
        moved = tuple(jnp.where(regular, new, old) for new, old in zip(moved, now.x, strict=True))
        steps = _length(options, moved, now.x)
        # the error is not of second order: both the residuals and the step must be small
        small = regular & (steps < tolerance) & (_largest(scaled(value)) < 0.3 * tolerance)
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
