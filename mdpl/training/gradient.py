"""How the training step takes its derivative.

Sites are independent: the loss of site s depends on row s of the unknowns alone. Reverse mode differentiates the sum
of all losses; forward mode pushes one tangent per *unknown of a site* (not per site and unknown) through all
columns at once. Forward mode's cost is the vector lanes it adds, unknowns times columns; ``auto`` takes it up to the
same number of lanes as ``jlsm.simulation.sensitivity.value_and_sensitivity``, and reverse mode beyond.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.simulation.sensitivity import FORWARD_LANES

LossesOf = Callable[[Float[Array, "sites parameters"]], Float[Array, "sites"]]


def mode_of(mode: str, unknowns: Float[Array, "sites parameters"], columns: int | None = None) -> str:
    """``forward`` or ``reverse``, whichever ``losses_and_gradient`` takes for the same arguments.

    Raises:
        ValueError: an unknown mode.
    """
    if mode == "auto":
        lanes = unknowns.shape[1] * (unknowns.shape[0] if columns is None else columns)
        return "forward" if lanes <= FORWARD_LANES else "reverse"
    if mode not in ("forward", "reverse"):
        raise ValueError(f"mode must be 'auto', 'forward' or 'reverse', not {mode!r}")
    return mode


def losses_and_gradient(
    losses_of: LossesOf, unknowns: Float[Array, "sites parameters"], mode: str = "auto", columns: int | None = None
) -> tuple[Float[Array, "sites"], Float[Array, "sites parameters"]]:
    """Losses per site and the gradient of each site's loss by its own unknowns.

    Args:
        losses_of: maps unknowns to one loss per site; row s must touch loss s only.
        unknowns: where to differentiate.
        mode: ``forward``, ``reverse`` or ``auto``: forward for up to ``FORWARD_LANES`` unknowns times columns.
        columns: columns that ``losses_of`` runs through the model (windows of all sites); one per site when None.

    Raises:
        ValueError: an unknown mode.
    """
    if mode_of(mode, unknowns, columns) == "forward":

        def along(direction):
            return jax.jvp(losses_of, (unknowns,), (jnp.broadcast_to(direction, unknowns.shape),))

        basis = jnp.eye(unknowns.shape[1], dtype=unknowns.dtype)
        losses, gradient = jax.vmap(along, out_axes=(None, 1))(basis)
        return losses, gradient.astype(unknowns.dtype)  # a model of higher precision promotes the tangents

    def summed(u):
        losses = losses_of(u)
        return losses.sum(), losses

    (_, losses), gradient = jax.value_and_grad(summed, has_aux=True)(unknowns)
    return losses, gradient
