"""Many small arrays as few long ones: one of each type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


class Contents(NamedTuple):
    """What lies in the long arrays: a pytree's structure, and shapes and types of its leaves in their order."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    types: tuple[Any, ...]

    def members(self) -> list[list[int]]:
        """For each long array the numbers of the leaves in it."""
        return [[n for n, type in enumerate(self.types) if type == dtype] for dtype in dict.fromkeys(self.types)]


@lru_cache
def _places(contents: Contents) -> list[tuple[int, int]]:
    """For each leaf which long array it lies in, and where it begins."""
    places = [(0, 0)] * len(contents.shapes)
    for which, members in enumerate(contents.members()):
        at = 0
        for number in members:
            places[number] = (which, at)
            at += math.prod(contents.shapes[number])
    return places


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["contents"])
@dataclass(frozen=True)
class Packed:
    """A pytree packed (``pack_tree``); itself a pytree, of the long arrays."""

    arrays: list[Any]
    contents: Contents

    def unpack(self) -> PyTree:
        """The pytree that was packed, with the axes in front that the long arrays have."""
        return jax.tree.unflatten(self.contents.structure, [self.leaf(n) for n in range(len(self.contents.shapes))])

    def leaf(self, number: int):
        """One leaf, by its place among the leaves."""
        shape = self.contents.shapes[number]
        which, at = _places(self.contents)[number]
        long = self.arrays[which]
        length = math.prod(shape)
        part = long if length == long.shape[-1] else jax.lax.slice_in_dim(long, at, at + length, axis=-1)
        return part.reshape(*long.shape[:-1], *shape)


def pack_tree(tree: PyTree, leading: int = 0) -> Packed:
    """All leaves of one type side by side in one long array.

    A time loop fetches, stores and hands on every array by itself, one call for each: with few columns a hundred
    calls cost more than the arithmetic.

    Args:
        tree: pytree of arrays or numbers.
        leading: axes that all leaves share in front, and that stay as they are.
    """
    leaves, structure = jax.tree.flatten(tree)
    leaves = [jnp.asarray(leaf, jnp.result_type(leaf)) for leaf in leaves]
    contents = Contents(structure, tuple(x.shape[leading:] for x in leaves), tuple(x.dtype for x in leaves))
    arrays = []
    for members in contents.members():
        flat = [leaves[n].reshape(*leaves[n].shape[:leading], math.prod(contents.shapes[n])) for n in members]
        arrays.append(flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=-1))
    return Packed(arrays, contents)
