"""Columns over several devices against the same on one, and what the devices say to each other: nothing."""

from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlsm
from tests.jlsm.columns import as_float32, make_forcing, make_parameters, make_site, make_state

STEPS = 48


def columns(count: int):
    """Weather from frost to heat, snow on some columns, parameters that differ."""
    params = make_parameters(count, vcmax25=np.linspace(2e1, 9e1, count), c4_fraction=0.3)
    forcing = make_forcing(np.linspace(262.0, 305.0, count), rain=1e-5, columns=count).window(0, STEPS)
    state = make_state(params, np.linspace(268.0, 298.0, count), snow_mass=np.linspace(20.0, 0.0, count))
    return params, forcing, make_site(columns=count).numeric(), state


MESSAGES = (
    "all-reduce", "all-gather", "all-to-all", "collective-permute", "collective-broadcast", "reduce-scatter",
)  # fmt: skip


def messages(program) -> list[str]:
    """The collective operations in a compiled program."""
    return re.findall(rf" ({'|'.join(MESSAGES)})(?:-start)?\(", program.as_text())


def largest_difference(one, other) -> float:
    """Between two pytrees, over the largest entry of each leaf; remainders of sums (rounding) are left out."""

    def of_leaf(path, a, b):
        if jax.tree_util.keystr(path).endswith("_carry"):
            return 0.0
        a, b = np.asarray(a, float), np.asarray(b, float)
        return np.max(np.abs(a - b), initial=0.0) / max(np.max(np.abs(a), initial=0.0), 1e-9)

    return max(jax.tree.leaves(jax.tree_util.tree_map_with_path(of_leaf, one, other)))


FIELDS = ("Qle", "Qh", "SWE")


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_a_run_on_eight_devices_is_that_on_one_and_they_say_nothing_to_each_other(precision, tolerance):
    arguments = columns(32) if precision == "float64" else as_float32(columns(32))
    on_one = jlsm.simulate(*arguments, fields=FIELDS)
    run = jax.jit(partial(jlsm.over_devices(jlsm.simulate, jlsm.column_mesh()), fields=FIELDS))
    on_eight = run(*arguments)
    assert largest_difference(on_one, on_eight) < tolerance
    assert len(on_eight[0].Qle.sharding.device_set) == 8
    assert messages(run.lower(*arguments).compile()) == []


def test_columns_that_do_not_divide():
    """30 on 8 devices: the last column fills up and is dropped."""
    arguments = columns(30)
    on_one = jlsm.simulate(*arguments, fields=FIELDS)
    on_eight = jlsm.over_devices(jlsm.simulate, jlsm.column_mesh())(*arguments, fields=FIELDS)
    assert jax.tree.map(np.shape, on_eight) == jax.tree.map(np.shape, on_one)
    assert largest_difference(on_one, on_eight) < 1e-12


def test_the_start_is_the_same():
    params, forcing, site, _ = columns(32)
    mesh = jlsm.column_mesh()
    on_one, on_eight = (
        jlsm.spin_up(params, forcing, site, years=0.005, simulate=run)
        for run in (None, jlsm.over_devices(jlsm.simulate, mesh))
    )
    assert largest_difference(on_one, on_eight) < 1e-12


@pytest.mark.parametrize("adjoint", [jlsm.ReverseOnly(), pytest.param(jlsm.Checkpointed(), marks=pytest.mark.slow)])
def test_a_gradient_on_eight_devices(adjoint):
    params, forcing, site, state = columns(32)

    def loss(params, state, run=jlsm.simulate):
        out, end = run(params, forcing, site, state, fields=("Qle",), adjoint=adjoint)
        return jnp.sum(jnp.square(out.Qle)) / out.Qle.size + jnp.sum(end.soil_moisture)

    on_one = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, state)
    shared = jax.jit(
        jax.value_and_grad(partial(loss, run=jlsm.over_devices(jlsm.simulate, jlsm.column_mesh())), argnums=(0, 1))
    )
    assert largest_difference(on_one, shared(params, state)) < 1e-9
    said = messages(shared.lower(params, state).compile())
    assert set(said) <= {"all-reduce"} and len(said) <= 1, said  # the sum of the loss, nothing in the time loop


def test_tangents_on_eight_devices():
    params, forcing, site, state = columns(32)
    directions = {"vcmax25": jnp.ones((32, 8)) * jnp.arange(8.0), "canopy_height": jnp.ones((32, 8))}
    of_state = jax.tree.map(lambda leaf: 1e-3 * jnp.ones((*leaf.shape, 8)), state)
    on_one, on_eight = (
        run(params, directions, forcing, site, state, of_state=of_state, fields=FIELDS)
        for run in (
            jlsm.simulate_tangents, jlsm.tangents_over_devices(jlsm.simulate_tangents, jlsm.column_mesh()),
        )
    )  # fmt: skip
    assert largest_difference(on_one, on_eight) < 1e-9


def test_a_single_site_has_no_columns_to_share_out():
    arguments = jax.tree.map(lambda leaf: leaf[..., 0], columns(2))
    with pytest.raises(ValueError, match="stack sites first"):
        jlsm.over_devices(jlsm.simulate, jlsm.column_mesh())(*arguments)
