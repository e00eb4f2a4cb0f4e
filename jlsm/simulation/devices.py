"""Columns over devices: each device runs its share to the end, and none waits for another.

The program is ``jax.shard_map`` over a mesh of one axis. Left to itself the compiler would share the columns out too,
but then the surface balance's iteration ends when the last column *of all devices* has converged: a message between
devices per iteration. Here there is none before the results are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PyTree

from jlsm.forcing import Forcing, Site
from jlsm.parameters import Parameters
from jlsm.simulation.columns import whole_vectors
from jlsm.simulation.layout import split_series

AXIS = "columns"
"""name of the mesh's axis"""


def column_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of one axis, over which ``over_devices`` shares columns out.

    Args:
        devices: None takes all of jax's (over all hosts, where ``jax.distributed`` has joined them).

    Example:
        >>> simulate = jlsm.over_devices(jlsm.simulate, jlsm.column_mesh())
        >>> state = jlsm.spin_up(params, forcing, site, simulate=simulate)
        >>> out, state = simulate(params, forcing, site, state)
    """
    return Mesh(np.asarray(jax.devices() if devices is None else devices), (AXIS,))


def over_devices(run: Callable[..., PyTree], mesh: Mesh) -> Callable[..., PyTree]:
    """The same run with its columns shared out: ``run(params, forcing, site, state, *others, **options)``.

    Args:
        run: ``jlsm.simulate``, or another pure function of arrays whose last axis is that of the columns, or that
            broadcast to one, to such arrays; its options are hashable.
        mesh: from ``column_mesh``.

    Returns:
        A function of the same arguments. Its results agree with those of ``run`` but for rounding. Differentiable.
        What ``simulate`` asks of values is not asked: ``check_parameters`` does.

    Raises:
        ValueError: a run of a single site, without an axis of columns.
    """

    def shared_out(params: Parameters, forcing: Forcing, site: Site, *others: PyTree, **options: Any) -> PyTree:
        columns = np.shape(forcing.Tair)[1:]
        if len(columns) != 1:
            raise ValueError(f"a mesh shares columns out, and the forcing has {columns or 'none'}: stack sites first")
        settings = tuple(sorted(options.items()))
        return _shared_out(params, forcing, site.numeric(), *others, run=run, mesh=mesh, options=settings)

    return shared_out


@partial(jax.jit, static_argnames=("run", "mesh", "options"))
def _shared_out(params, forcing, *others, run, mesh: Mesh, options: tuple[tuple[str, Any], ...]):
    columns = forcing.Tair.shape[1]
    share = whole_vectors(-(-columns // mesh.size))

    def filled(leaf):
        """One value per column, and the last column again until all shares are full."""
        leaf = jnp.asarray(leaf)
        leaf = jnp.broadcast_to(leaf, (*leaf.shape[:-1], columns))
        return jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, share * mesh.size - columns)], mode="edge")

    def spec(leaf) -> PartitionSpec:
        return PartitionSpec(*[None] * (leaf.ndim - 1), AXIS)

    def part(leaf):
        return jax.ShapeDtypeStruct((*leaf.shape[:-1], share), leaf.dtype)

    params = eqx.combine(*split_series(params, (columns,)))
    arguments = jax.tree.map(filled, (params, forcing, *others))
    of_share = partial(run, **dict(options))
    results = jax.eval_shape(of_share, *jax.tree.map(part, arguments))
    run_shares = jax.shard_map(
        of_share, mesh=mesh, in_specs=jax.tree.map(spec, arguments), out_specs=jax.tree.map(spec, results)
    )
    return jax.tree.map(lambda leaf: leaf[..., :columns], run_shares(*arguments))


def tangents_over_devices(tangents: Callable[..., PyTree], mesh: Mesh) -> Callable[..., PyTree]:
    """``simulate_tangents`` or the like with its columns shared out.

    Args:
        tangents: ``(params, directions, forcing, site, state, *, of_state=None, **options)``, directions on the last
            axis, that of the columns before it.
        mesh: from ``column_mesh``.

    Returns:
        A function of the same arguments.
    """

    def lanes_first(params, forcing, site, state, directions, of_state, **options):
        """With the axis of directions in front and that of the columns at the end."""
        directions, of_state = _last(directions), _last(of_state)
        out, end, slopes, of_end = tangents(params, directions, forcing, site, state, of_state=of_state, **options)
        return out, end, _first(slopes), _first(of_end)

    run = over_devices(lanes_first, mesh)

    def shared_out(params, directions, forcing, site, state, *, of_state=None, **options: Any) -> PyTree:
        out, end, slopes, of_end = run(params, forcing, site, state, _first(directions), _first(of_state), **options)
        return out, end, _last(slopes), _last(of_end)

    return shared_out


def _first(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.moveaxis(jnp.asarray(leaf), -1, 0), tree)


def _last(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), tree)
