"""How the training step takes its derivative.

Sites are independent: the loss of site s depends on row s of the unknowns alone. Reverse mode differentiates the sum
of all losses; forward mode pushes one tangent per *parameter* (not per site and parameter) through all
sites at once.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LossesOf = Callable[[Float[Array, "sites parameters"]], Float[Array, "sites"]]


def losses_and_gradient(
    losses_of: LossesOf, unknowns: Float[Array, "sites parameters"], mode: str = "auto"
) -> tuple[Float[Array, "sites"], Float[Array, "sites parameters"]]:
    """Losses per site and the gradient of each site's loss by its own unknowns.

    Args:
        losses_of: maps unknowns to one loss per site; row s must touch loss s only.
        unknowns: where to differentiate.
        mode: ``forward``, ``reverse`` or ``auto`` (reverse: tens of parameters, one loss).
    """
    if mode == "forward":

        def along(direction):
            return jax.jvp(losses_of, (unknowns,), (jnp.broadcast_to(direction, unknowns.shape),))

        basis = jnp.eye(unknowns.shape[1], dtype=unknowns.dtype)
        return jax.vmap(along, out_axes=(None, 1))(basis)

    def summed(u):
        losses = losses_of(u)
        return losses.sum(), losses

    (_, losses), gradient = jax.value_and_grad(summed, has_aux=True)(unknowns)
    return losses, gradient
