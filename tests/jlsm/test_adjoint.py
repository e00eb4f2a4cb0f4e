"""How derivatives are taken: one object; the keywords it replaced still work, with a warning."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlsm
from jlsm.simulation.adjoint import from_retired_keywords, plan
from tests.jlsm.columns import make_forcing, make_parameters, make_site, make_state

STEPS = 12


@pytest.fixture(scope="module")
def case():
    params = make_parameters()
    return params, make_forcing(290.0).window(0, STEPS), make_site(), make_state(params)


@pytest.mark.parametrize(
    "retired, adjoint",
    [
        ({"reverse": True}, jlsm.ReverseOnly()),
        ({"reverse": True, "chunk": 6, "trajectory_bytes": 0}, jlsm.ReverseOnly(6, 0)),
        ({"reverse": False, "trajectory_bytes": 0}, jlsm.Checkpointed()),
        ({"chunk": 4}, jlsm.Checkpointed(4)),
    ],
)
def test_each_old_keyword_has_a_new_form(retired, adjoint):
    with pytest.warns(DeprecationWarning, match=r"adjoint=jlsm\.\w+\(.*go with the next release"):
        assert from_retired_keywords(jlsm.Checkpointed(), retired) == adjoint


def test_old_keywords_give_the_same_bits(case):
    new, end = jlsm.simulate(*case, fields=("Qle",), adjoint=jlsm.Checkpointed(chunk=4))
    with pytest.warns(DeprecationWarning, match=r"simulate\(adjoint=jlsm\.Checkpointed\(chunk=4\)\)"):
        old, old_end = jlsm.simulate(*case, fields=("Qle",), chunk=4)
    for a, b in zip(jax.tree.leaves((new, end)), jax.tree.leaves((old, old_end)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_simulate_does_not_know_is_refused(case):
    with pytest.raises(TypeError, match=r"simulate\(\) got an unexpected keyword argument 'revers'"):
        jlsm.simulate(*case, revers=True)
    with pytest.raises(TypeError, match="give adjoint= alone"):
        jlsm.simulate(*case, adjoint=jlsm.ReverseOnly(), chunk=3)
    with pytest.raises(ValueError, match="chunk=7 does not divide"):
        jlsm.simulate(*case, adjoint=jlsm.Checkpointed(7))


def test_a_trajectory_is_kept_where_it_is_small():
    state = make_state(make_parameters())
    size = STEPS * sum(leaf.size * leaf.dtype.itemsize for leaf in map(jnp.asarray, jax.tree.leaves(state)))
    assert plan(jlsm.ReverseOnly(trajectory_bytes=size), STEPS, state).keep_trajectory
    assert not plan(jlsm.ReverseOnly(trajectory_bytes=size - 1), STEPS, state).keep_trajectory
    assert not plan(jlsm.Checkpointed(), STEPS, state).reverse_only
