"""Entries of a small Jacobian, against JAX's own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.numerics.jaxprs.entries import jacobian_entries

X = (jnp.linspace(0.2, 0.9, 4), jnp.linspace(1.5, 0.5, 4), jnp.linspace(-1.0, 1.0, 4))


def equations(a, b, c):
    shared = jnp.exp(a) / (b + 2.0)
    return (
        shared * jnp.where(c > 0.0, jnp.log(jnp.where(c > 0.0, c, 1.0)), a**2),
        jnp.sqrt(shared + b) - jnp.maximum(a, 0.4),
        c,
        -shared,
        jnp.ones_like(a),
    )


def test_entries_equal_those_of_jax():
    values, rows = jacobian_entries(equations, X)
    np.testing.assert_allclose(values, equations(*X), rtol=1e-15)
    expected = jax.vmap(jax.jacfwd(equations, argnums=(0, 1, 2)), out_axes=-1)(*X)
    for row, wanted in zip(rows, expected, strict=True):
        for entry, own in zip(row, wanted, strict=True):
            np.testing.assert_allclose(np.zeros(4) if entry is None else entry, own, rtol=1e-13, atol=1e-300)


def test_zeros_by_structure_are_found():
    _, rows = jacobian_entries(equations, X)
    found = [[entry is not None for entry in row] for row in rows]
    assert found == [[True, True, True], [True, True, False], [False, False, True], [True, True, False], [False] * 3]


def test_it_takes_less_arithmetic_than_one_derivative_by_each():
    def chain(a, b, c):
        product = a * b
        for _ in range(20):
            product = jnp.sin(product) * 1.1
        return product + c, product - a, product * b

    def operations(function):
        return str(jax.make_jaxpr(function)(*X)).count("= mul")

    def by_each(*x):
        return [jax.jvp(lambda v, k=k: chain(*x[:k], v, *x[k + 1 :]), (x[k],), (x[k],)) for k in range(3)]

    assert operations(lambda *x: jacobian_entries(chain, x)[1]) < 0.7 * operations(by_each)


def test_what_is_not_elementwise_is_refused():
    with pytest.raises(ValueError, match="only elementwise functions have entries, this one has: reduce_sum"):
        jacobian_entries(lambda a, b: (a * b, jnp.sum(a) + b), X[:2])


def test_it_has_derivatives_of_its_own():
    """Second derivatives go through it."""

    def slope(a):
        return jacobian_entries(lambda a: (jnp.exp(2.0 * a),), (a,))[1][0][0][0]

    np.testing.assert_allclose(jax.grad(slope)(X[0])[0], 4.0 * np.exp(0.4), rtol=1e-13)
