"""Compensated summation: keep what rounding drops, so float32 stores neither drift nor stagnate.

A 10 m soil layer of heat capacity 2.5e7 J m-2 K-1 held in float32 kelvin would lose up to
0.2 W m-2 per half hour to rounding; the carry brings that to round-off of the flux itself.
"""

from jaxtyping import Array, Float


def add_compensated(
    store: Float[Array, "..."], carry: Float[Array, "..."], change: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Add a change to a store; returns the new store and what rounding left out of it (Kahan 1965).

    ``store + carry`` is the exact sum to twice the working precision.
    """
    change = change + carry
    new = store + change
    return new, change - (new - store)
