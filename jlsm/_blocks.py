"""Columns run in blocks, one block after the other.

A block whose working set fits a CPU core's cache runs faster per column than all columns together; a GPU wants them
all at once. Results do not depend on it, beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def map_blocks(function: Callable[..., PyTree], size: int, columns: int, *arguments: PyTree) -> PyTree:
    """``function(*arguments)`` for ``size`` columns at a time.

    Args:
        function: its arguments and results are pytrees of arrays whose last axis is that of the columns.
        size: columns of a block; where it does not divide ``columns`` the last column fills the last block up.
        columns: number of columns.
        arguments: arrays that end in an axis of length ``columns`` or broadcast to one (scalars).
    """
    blocks = -(-columns // size)
    padding = blocks * size - columns

    def split(leaf):
        leaf = jnp.asarray(leaf)
        leaf = jnp.broadcast_to(leaf, (*leaf.shape[:-1], columns))
        leaf = jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, padding)], mode="edge")
        return jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], blocks, size), -2, 0)

    def join(leaf):
        leaf = jnp.moveaxis(leaf, 0, -2)
        return leaf.reshape(*leaf.shape[:-2], blocks * size)[..., :columns]

    parts = jax.tree.map(split, arguments)
    return jax.tree.map(join, jax.lax.map(lambda part: function(*part), parts))
