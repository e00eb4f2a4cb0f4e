"""Columns in blocks and in whole vectors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.simulation.columns import map_blocks, whole_vectors


def test_whole_vectors():
    assert [whole_vectors(n) for n in (1, 5, 8, 9, 16, 17, 45, 512)] == [1, 5, 8, 16, 16, 32, 48, 512]


@pytest.mark.parametrize("size", [3, 7, 16])
def test_blocks_give_what_all_columns_give(size):
    seen = []

    def function(tree, scale):
        seen.append(tree["x"].shape[-1])
        return jnp.cumsum(tree["x"], axis=0) * scale, {"y": tree["y"] ** 2}

    tree, scale = {"x": jnp.arange(14.0).reshape(2, 7), "y": jnp.linspace(1.0, 2.0, 7)}, jnp.asarray(3.0)

    def total(tree, scale, run):
        first, second = run(tree, scale)
        return jnp.sum(first * jnp.arange(7.0)) + jnp.sum(second["y"])

    def blocks(*given):
        return map_blocks(function, size, 7, *given)

    for a, b in zip(jax.tree.leaves(blocks(tree, scale)), jax.tree.leaves(function(tree, scale)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert seen[0] == size
    own, all_columns = (jax.grad(total, argnums=(0, 1))(tree, scale, run) for run in (blocks, function))
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(all_columns), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)  # columns that only fill up count for nothing
