"""Tridiagonal solve over the leading axis.

A handful of rows (the model's six and nine) is eliminated row by row: plain arithmetic on columns, which
vectorises best. Many rows (refinement studies) would make a chain too long to compile; they are solved by
parallel cyclic reduction. The derivative is taken at the solution: one more solve with the same matrix (its
transpose in reverse mode), never through the elimination.
Stable without pivoting for the diagonally dominant systems of diffusion.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

FEW_ROWS = 12  # up to here row by row


def shift(values: Float[Array, "n ..."], by: int, fill: float = 0.0) -> Float[Array, "n ..."]:
    """``result[k] = values[k - by]`` along the leading axis, with ``fill`` where nothing comes in."""
    config = [(by, -by, 0)] + [(0, 0, 0)] * (values.ndim - 1)
    return lax.pad(values, jnp.asarray(fill, values.dtype), config)


def _eliminate(lower, diagonal, upper, right):
    """Thomas' algorithm on rows."""
    inverse = 1.0 / diagonal[0]  # one division a row: they cost ten products each
    ratio, value = [upper[0] * inverse], [right[0] * inverse]
    for k in range(1, diagonal.shape[0]):
        inverse = 1.0 / (diagonal[k] - lower[k] * ratio[-1])
        ratio.append(upper[k] * inverse)
        value.append((right[k] - lower[k] * value[-1]) * inverse)
    for k in range(len(value) - 2, -1, -1):
        value[k] = value[k] - ratio[k] * value[k + 1]
    return jnp.stack(value)


def _reduce(lower, diagonal, upper, right):
    """Parallel cyclic reduction: few wide operations, however many rows."""
    layers = diagonal.shape[0]
    stride = 1
    while stride < layers:
        alpha = -lower / shift(diagonal, stride, 1.0)
        gamma = -upper / shift(diagonal, -stride, 1.0)
        right = right + alpha * shift(right, stride) + gamma * shift(right, -stride)
        diagonal = diagonal + alpha * shift(upper, stride) + gamma * shift(lower, -stride)
        lower, upper = alpha * shift(lower, stride), gamma * shift(upper, -stride)
        stride *= 2
    return right / diagonal


def _solve(lower, diagonal, upper, right):
    few = diagonal.shape[0] <= FEW_ROWS
    return (_eliminate if few else _reduce)(lower, diagonal, upper, right)


def solve_tridiagonal(
    lower: Float[Array, "n ..."],
    diagonal: Float[Array, "n ..."],
    upper: Float[Array, "n ..."],
    right: Float[Array, "n ..."],
) -> Float[Array, "n ..."]:
    """Solve ``lower[k] x[k-1] + diagonal[k] x[k] + upper[k] x[k+1] = right[k]`` for x.

    Args:
        lower, diagonal, upper: ``[n, ...]``; ``lower[0]`` and ``upper[-1]`` must be 0.
        right: ``[n, ...]``, broadcastable against the matrix (several right-hand sides on a middle axis).

    Returns:
        x with the broadcast shape.
    """
    shape = jnp.broadcast_shapes(diagonal.shape, right.shape)
    right = jnp.broadcast_to(right, shape)

    def apply(x):
        return lower * shift(x, 1) + diagonal * x + upper * shift(x, -1)

    def solve(_, b):
        return _solve(lower, diagonal, upper, b)

    def transpose_solve(_, b):
        return _solve(shift(upper, 1), diagonal, shift(lower, -1), b)

    return jax.lax.custom_linear_solve(apply, right, solve, transpose_solve)
