"""The Jacobian of a few equations in a few unknowns, entry by entry, with as little arithmetic as there is.

One derivative by each unknown repeats the products of the chain rule that have nothing to do with it. Here every value
between unknowns and equations is eliminated (``elimination``), the cheapest first; of the operations of the surface
balance's Jacobian a little more than half are left. Entries that are zero by structure are found on the way.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from jlsm.numerics.jaxprs.elimination import linear_graph


def jacobian_entries(
    function: Callable[..., tuple[Array, ...]], x: tuple[Array, ...]
) -> tuple[tuple[Array, ...], list[list[Array | None]]]:
    """(``function(*x)``, its Jacobian as rows; None where an unknown does not enter an equation).

    Args:
        function: elementwise in arrays of one shape and type.
        x: the unknowns.

    Raises:
        ValueError: the function is not elementwise.
    """
    values, inputs, graph = linear_graph(function, *x)
    graph.eliminate_all()
    like = x[0]

    def whole(entry):
        return None if entry is None else jnp.broadcast_to(jnp.asarray(entry, like.dtype), like.shape)

    return values, [[whole(entry) for entry in row] for row in graph.entries(inputs)]
