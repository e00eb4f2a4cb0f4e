"""Primitives whose value and derivative are finite everywhere.

The rule of the house: guard the *argument*, so that neither branch of a ``where`` ever sees a
value at which its derivative is infinite.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.numerics.namespace import Numbers, namespace_of


def smooth_minimum(
    first: Float[Array, "..."], second: Float[Array, "..."], roundness, scale: float
) -> Float[Array, "..."]:
    """The smaller root A of ``(1 - roundness) A^2 - (first + second) A + first second = 0``.

    Written so that it stays finite, with finite derivative, where both arguments vanish.

    Args:
        first, second: non-negative limits.
        roundness: 0 gives ``min``; larger values round the corner (co-limitation, Collatz et al. 1991, eq. A1,
            where 1 - roundness is beta or theta).
        scale: size below which differences do not matter (same unit as the limits); bounds the curvature.
    """
    discriminant = (first - second) ** 2 + 4.0 * first * second * roundness + scale**2
    return 2.0 * first * second / (first + second + jnp.sqrt(discriminant))


def at_most(x: Numbers, limit) -> Numbers:
    """The smaller of both, with the derivative of x where they are equal.

    ``jnp.minimum`` averages both derivatives at a tie, which belongs to neither side of the kink and costs five
    operations more in a derivative.
    """
    return namespace_of(x, limit).where(limit < x, limit, x)


def at_least(x: Numbers, limit) -> Numbers:
    """The larger of both, with the derivative of x where they are equal (see ``at_most``)."""
    return namespace_of(x, limit).where(limit > x, limit, x)


def decay_mean(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Mean of exp(-x s) over s in [0, 1]: ``(1 - exp(-x)) / x`` for x >= 0, with value 1 at x = 0."""
    small = x < 1e-4
    guarded = jnp.where(small, 1.0, x)
    return jnp.where(small, 1.0 - 0.5 * x, -jnp.expm1(-guarded) / guarded)


def ramp(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """0 below 0, 1 above 1, linear between: the piecewise form used instead of a step.

    At the corners the slope is that of the linear part: the quantities that go through here (a depth,
    a demand) live on that side. ``jnp.clip`` would give half of it.
    """
    return jnp.where(x < 0.0, 0.0, jnp.where(x > 1.0, 1.0, x))


def power(base: Float[Array, "..."], exponent) -> Float[Array, "..."]:
    """``base ** exponent`` of a positive base, by logarithm (a compiled ``**`` is twenty times slower on a CPU)."""
    return jnp.exp(exponent * jnp.log(base))
