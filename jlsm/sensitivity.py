"""How the derivative of a long run is taken: forward or reverse mode, by the shape of the problem.

Reverse mode costs a few runs whatever the number of arguments, and memory that grows like the
square root of time (``simulate`` checkpoints). Forward mode carries one tangent per argument
through the run side by side, as extra vector lanes: no stored trajectory, and for few columns and
few arguments less time. Both are exact and agree to round-off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

FORWARD_LANES = 8
"""Largest number of scalar arguments for which "auto" takes forward mode (see docs/derivatives.md)."""


def value_and_sensitivity(
    loss: Callable[..., Float[Array, ""]],
    argument: PyTree,
    *others: Any,
    mode: Literal["auto", "forward", "reverse"] = "auto",
) -> tuple[Float[Array, ""], PyTree]:
    """Value and gradient of a scalar function of a run.

    Args:
        loss: ``loss(argument, *others) -> scalar``; usually calls ``simulate`` inside.
        argument: pytree of float arrays to differentiate with respect to (Parameters, State, a dict...).
        others: passed on, not differentiated.
        mode: "forward", "reverse", or "auto": forward for up to ``FORWARD_LANES`` numbers.

    Returns:
        (value, gradient shaped like ``argument``).

    Raises:
        ValueError: an unknown mode.
    """
    flat, unravel = ravel_pytree(argument)
    if mode == "auto":
        mode = "forward" if flat.size <= FORWARD_LANES else "reverse"
    if mode == "reverse":
        return jax.value_and_grad(loss)(argument, *others)
    if mode != "forward":
        raise ValueError(f"mode must be 'auto', 'forward' or 'reverse', not {mode!r}")

    def along(direction):
        return jax.jvp(lambda flat: loss(unravel(flat), *others), (flat,), (direction,))

    value, slopes = jax.vmap(along, out_axes=(None, 0))(jnp.eye(flat.size, dtype=flat.dtype))
    return value, unravel(slopes)
