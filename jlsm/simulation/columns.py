"""How columns lie side by side: in blocks, and in whole vectors.

A block whose working set fits a CPU core's cache runs faster per column than all columns together; a GPU wants them
all at once. Columns that do not fill a processor's vectors are computed one by one: 45 take twice as long as 48.
Results do not depend on either, beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

VECTOR = 16
"""numbers in the widest vectors of a CPU (single precision)"""


def whole_vectors(columns: int) -> int:
    """The number of columns to compute for so many: up to half a vector as they are, more in whole vectors."""
    return columns if columns <= VECTOR // 2 else -(-columns // VECTOR) * VECTOR


def map_blocks(function: Callable[..., PyTree], size: int, columns: int, *arguments: PyTree) -> PyTree:
    """``function(*arguments)`` for ``size`` columns at a time.

    Args:
        function: its arguments and results are pytrees of arrays whose last axis is that of the columns.
        size: columns of a block; where it does not divide ``columns`` the last column fills the last block up. May be
            more than ``columns``.
        columns: number of columns.
        arguments: arrays that end in an axis of length ``columns`` or broadcast to one (scalars).
    """
    blocks = -(-columns // size)
    padding = blocks * size - columns

    def padded(leaf):
        leaf = jnp.asarray(leaf)
        leaf = jnp.broadcast_to(leaf, (*leaf.shape[:-1], columns))
        return jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, padding)], mode="edge")

    def split(leaf):
        return jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], blocks, size), -2, 0)

    def join(leaf):
        leaf = jnp.moveaxis(leaf, 0, -2)
        return leaf.reshape(*leaf.shape[:-2], blocks * size)

    arguments = jax.tree.map(padded, arguments)
    if blocks == 1:
        results = function(*arguments)
    else:
        results = jax.tree.map(join, jax.lax.map(lambda part: function(*part), jax.tree.map(split, arguments)))
    return jax.tree.map(lambda leaf: leaf[..., :columns], results)
