"""Leaves above the snow: buried in proportion to its depth, never quite gone, with finite one-sided derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.processes.vegetation import SMALLEST_LEAF_AREA, canopy_above_snow
from tests.jlsm.columns import make_parameters

HEIGHT = 0.8
VEGETATION = jax.tree.map(lambda leaf: leaf[0], make_parameters(canopy_height=HEIGHT, leaf_area_scale=1.2).vegetation)


@pytest.mark.parametrize(("depth", "above"), [(0.0, 1.0), (0.2, 0.75), (0.6, 0.25), (0.8, 0.0), (2.0, 0.0)])
def test_leaves_are_buried_in_proportion(depth, above):
    canopy = canopy_above_snow(VEGETATION, jnp.asarray(3.0), jnp.asarray(depth))
    np.testing.assert_allclose(canopy.leaf_area[0], 3.6)
    np.testing.assert_allclose(canopy.leaf_area[1], max(3.6 * above, SMALLEST_LEAF_AREA))
    np.testing.assert_allclose(canopy.height, [HEIGHT, HEIGHT * above], atol=1e-12)
    np.testing.assert_allclose(canopy.snow_depth, [0.0, depth])
    assert canopy.leaf_area_mean == canopy.leaf_area[0], "snow does not catch the rain's share of the bare portion"


def test_a_leafless_canopy_keeps_the_smallest_area():
    canopy = canopy_above_snow(VEGETATION, jnp.asarray(0.0), jnp.asarray(0.1))
    np.testing.assert_array_equal(canopy.leaf_area, SMALLEST_LEAF_AREA)


@pytest.mark.parametrize(("lai", "depth"), [(3.0, 0.2), (0.5, 0.7), (3.0, 1.5)])
def test_derivatives(lai, depth):
    def leaves(x):
        canopy = canopy_above_snow(VEGETATION, x[0], x[1])
        return jnp.concatenate([canopy.leaf_area, canopy.height])

    at, step = jnp.asarray([lai, depth]), 1e-6
    slopes = jax.jacfwd(leaves)(at)
    for i in range(2):
        moved = jnp.eye(2)[i] * step
        central = (leaves(at + moved) - leaves(at - moved)) / (2 * step)
        np.testing.assert_allclose(slopes[:, i], central, rtol=1e-6, atol=1e-8)
