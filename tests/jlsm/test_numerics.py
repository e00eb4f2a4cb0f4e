"""Numerical tools against dense solves, root finders and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.test_util import check_grads
from scipy.optimize import root

from jlsm.numerics import (
    add_compensated,
    at_least,
    at_most,
    decay_mean,
    implicit_solve,
    jaxprs,
    newton,
    power,
    ramp,
    running_total,
    shift,
    smooth_minimum,
    solve_tridiagonal,
    total,
)
from jlsm.numerics.implicit import WIDE
from jlsm.numerics.newton import NewtonOptions, newton_step
from tests.jlsm.columns import unit_cube


def tridiagonal_system(layers: int, columns: int = 5, seed: int = 0):
    """A diagonally dominant system, as diffusion makes them."""
    rng = np.random.default_rng(seed)
    lower, upper = -rng.uniform(0, 2, (2, layers, columns))
    lower[0], upper[-1] = 0.0, 0.0
    diagonal = rng.uniform(0.05, 3.0, (layers, columns)) - lower - upper
    return tuple(jnp.asarray(a) for a in (lower, diagonal, upper, rng.normal(size=(layers, columns))))


def dense(lower, diagonal, upper, column):
    matrix = np.diag(diagonal[:, column]) + np.diag(lower[1:, column], -1) + np.diag(upper[:-1, column], 1)
    return np.asarray(matrix)


@pytest.mark.parametrize("layers", [1, 2, 3, 6, 9, 60])
def test_tridiagonal_solve_equals_the_dense_one(layers):
    lower, diagonal, upper, right = tridiagonal_system(layers)
    x = solve_tridiagonal(lower, diagonal, upper, right)
    for column in range(right.shape[1]):
        expected = np.linalg.solve(dense(lower, diagonal, upper, column), np.asarray(right[:, column]))
        np.testing.assert_allclose(x[:, column], expected, rtol=1e-12, atol=1e-13)


def test_tridiagonal_solve_takes_several_right_hand_sides():
    lower, diagonal, upper, right = tridiagonal_system(6)
    sides = jnp.stack([right, 2.0 * right, right**2], axis=1)
    x = solve_tridiagonal(lower[:, None], diagonal[:, None], upper[:, None], sides)
    np.testing.assert_allclose(x[:, 2], solve_tridiagonal(lower, diagonal, upper, right**2), rtol=1e-13)


@pytest.mark.parametrize("layers", [2, 6, 9])
def test_tridiagonal_derivatives(layers):
    lower, diagonal, upper, right = tridiagonal_system(layers)

    def solve(lower, diagonal, upper, right):  # the corners are 0 by contract, whatever the perturbation
        inner = jnp.arange(layers)[:, None]
        return solve_tridiagonal(
            jnp.where(inner == 0, 0.0, lower), diagonal, jnp.where(inner == layers - 1, 0.0, upper), right
        )

    check_grads(jax.jit(solve), (lower, diagonal, upper, right), order=1, modes=("fwd", "rev"), rtol=1e-6)


def test_tridiagonal_transpose_solves_the_transposed_matrix():
    lower, diagonal, upper, right = tridiagonal_system(6)
    transposed = jax.linear_transpose(lambda b: solve_tridiagonal(lower, diagonal, upper, b), right)
    (x,) = transposed(right)
    for column in range(right.shape[1]):
        expected = np.linalg.solve(dense(lower, diagonal, upper, column).T, np.asarray(right[:, column]))
        np.testing.assert_allclose(x[:, column], expected, rtol=1e-12)


@pytest.mark.parametrize("by", [-2, -1, 1, 4])
def test_shift(by):
    values = np.arange(1.0, 9.0)
    expected = [values[k - by] if 0 <= k - by < 8 else -7.0 for k in range(8)]
    np.testing.assert_array_equal(shift(jnp.asarray(values), by, -7.0), expected)


# ---- implicit solve ---------------------------------------------------------------------------------------------

DEPENDS = ((0, 1, 3), (1, 2, 3), (0, 1, 2, 3), (0, 2, 3))
PATTERN = np.array([[k in row for k in range(4)] for row in DEPENDS], float)[..., None]
OPTIONS = NewtonOptions(
    depends=DEPENDS, lower=(-50.0,) * 4, upper=(50.0,) * 4, largest_step=(5.0,) * 4, scale=(1.0,) * 4, weight=(1.0,) * 4
)


def nonlinear(x, operands):
    """Diagonally dominant and monotone, so its root is unique; four unknowns as a tuple."""
    matrix, offset = operands
    return tuple(
        3.0 * own + sum(matrix[i, j] * jnp.tanh(x[j]) for j in DEPENDS[i]) + 0.1 * own**3 - offset[i]
        for i, own in enumerate(x)
    )


def solve(matrix, offset, start=0.0):
    begin = tuple(jnp.broadcast_to(start, offset.shape))
    return jnp.stack(implicit_solve(nonlinear, OPTIONS, begin, (matrix, offset)))


def random_system(columns=6):
    rng = np.random.default_rng(1)
    return jnp.asarray(PATTERN * rng.uniform(-0.5, 0.5, (4, 4, columns))), jnp.asarray(rng.normal(0, 10, (4, columns)))


def test_implicit_solve_finds_the_root_scipy_finds():
    matrix, offset = random_system()
    x = solve(matrix, offset)
    for column in range(offset.shape[1]):
        operands = (matrix[..., column], offset[:, column])
        expected = root(lambda x, o=operands: np.asarray(nonlinear(tuple(jnp.asarray(x)), o)), np.zeros(4), tol=1e-13).x
        np.testing.assert_allclose(x[:, column], expected, rtol=1e-10)


def test_implicit_solve_derivatives():
    matrix, offset = random_system()
    inside = lambda m, b: solve(PATTERN * m, b)  # noqa: E731
    check_grads(jax.jit(inside), (matrix, offset), order=1, modes=("fwd", "rev"), rtol=1e-6)
    forward = jax.jacfwd(inside, argnums=(0, 1))(matrix, offset)
    reverse = jax.jacrev(inside, argnums=(0, 1))(matrix, offset)
    for a, b in zip(forward, reverse, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_implicit_solution_does_not_depend_on_its_start():
    matrix, offset = random_system()
    from_start = lambda start: solve(matrix, offset, start)  # noqa: E731
    np.testing.assert_allclose(
        from_start(jnp.zeros_like(offset)), from_start(jnp.full_like(offset, 20.0)), atol=OPTIONS.tolerance64
    )
    np.testing.assert_array_equal(jax.jvp(from_start, (offset,), (jnp.ones_like(offset),))[1], 0.0)


@pytest.mark.parametrize("columns", [6, WIDE])
def test_rows_that_are_not_wanted_stay_as_they_start_but_in_derivatives(columns):
    matrix, offset = random_system(columns)
    two_rows = tuple(jnp.stack([row, row[::-1]]) for row in offset)
    begin = tuple(jnp.full_like(row, 0.5) for row in two_rows)
    inside = lambda offset, rows: jnp.stack(implicit_solve(nonlinear, OPTIONS, begin, (matrix, offset), rows))  # noqa: E731
    whole = inside(two_rows, None)
    np.testing.assert_allclose(inside(two_rows, 2), whole, rtol=1e-10)
    first = jax.jit(inside)(two_rows, 1)
    np.testing.assert_allclose(first[:, 0], whole[:, 0], rtol=1e-10)
    np.testing.assert_array_equal(first[:, 1], 0.5)
    along = jax.tree.map(jnp.ones_like, two_rows)
    expected = jax.jvp(lambda offset: inside(offset, None), (two_rows,), (along,))
    for rows in (jnp.asarray(1), 2):
        derived = jax.jvp(lambda o, rows=rows: inside(o, rows), (two_rows,), (along,))
        for one, other in zip(derived, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.parametrize("entry", [0.0, np.nan])
def test_a_singular_corrected_jacobian_does_not_harm(monkeypatch, entry):
    """Columns whose corrected Jacobian cannot be eliminated wait for the exact one (once, they came out as NaN)."""
    spoil = lambda rows, *_: [[None if e is None else jnp.full_like(e, entry) for e in row] for row in rows]  # noqa: E731
    matrix, offset = random_system(columns=5)  # a shape of its own: nothing compiled before is used
    expected = solve(matrix, offset)
    calls = []
    monkeypatch.setattr(newton, "_secant", lambda *given: calls.append(1) or spoil(*given))
    begin = tuple(jnp.zeros_like(offset))
    options = OPTIONS._replace(most=481)
    found = jnp.stack(implicit_solve(nonlinear, options, begin, (matrix, offset)))
    assert calls
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("options", [OPTIONS, OPTIONS._replace(exact=1)])
def test_without_code_about_programs_the_solution_and_its_derivative_are_the_same(monkeypatch, options):
    """The Jacobian by jax alone; ``numerics/jaxprs`` switched off."""
    matrix, offset = random_system(columns=6)

    def solved(matrix, offset):
        return jnp.stack(implicit_solve(nonlinear, options, tuple(jnp.zeros_like(offset)), (matrix, offset)))

    def both(matrix, offset):
        slopes = jax.grad(lambda *p: jnp.sum(jnp.sin(solved(*p))), argnums=(0, 1))(matrix, offset)
        return solved(matrix, offset), *slopes, jax.jvp(solved, (matrix, offset), (matrix, offset))[1]

    expected = jax.jit(lambda *p: both(*p))(matrix, offset)
    monkeypatch.setattr(jaxprs, "enabled", lambda: False)
    for without, with_it in zip(jax.jit(lambda *p: both(*p))(matrix, offset), expected, strict=True):
        np.testing.assert_allclose(without, with_it, rtol=1e-9, atol=1e-11)


def test_an_unknown_that_the_options_do_not_name_is_refused():
    options = OPTIONS._replace(depends=((0, 1), *DEPENDS[1:]))
    matrix, offset = random_system()
    with pytest.raises(ValueError, match=r"equation 0 depends on the unknowns \[3\]"):
        implicit_solve(nonlinear, options, tuple(jnp.zeros_like(offset)), (matrix, offset))


def test_newton_step_is_bounded():
    options = NewtonOptions(
        depends=((0,), (1,)), lower=(-1.0, -1.0), upper=(2.0, 100.0), largest_step=(5.0, 10.0), scale=(1.0, 1.0),
        weight=(1.0, 1.0),
    )  # fmt: skip
    offset = (jnp.asarray([1000.0]), jnp.asarray([30.0]))
    residual = lambda x, b: (x[0] - b[0], x[1] - b[1])  # noqa: E731
    x = newton_step(residual, options, (jnp.zeros(1), jnp.zeros(1)), offset)
    np.testing.assert_array_equal(x, [[2.0], [10.0]])  # the upper limit; the largest step


# ---- primitives -------------------------------------------------------------------------------------------------


@given(unit_cube(3))
def test_smooth_minimum_is_the_smaller_root(u):
    first, second, sharpness = 40.0 * u[:, 0], 40.0 * u[:, 1], 0.7 + 0.299 * u[:, 2]
    result = np.asarray(smooth_minimum(jnp.asarray(first), jnp.asarray(second), jnp.asarray(1.0 - sharpness), 1e-12))
    total = first + second
    expected = (total - np.sqrt(total**2 - 4 * sharpness * first * second)) / (2 * sharpness)
    # the usual form loses digits where both limits are far apart: 1e-16 of the larger one
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)
    assert (result <= np.minimum(first, second) + 1e-12).all()


def test_smooth_minimum_limits():
    first, second = jnp.asarray([0.0, 3.0, 7.0, 1e3]), jnp.asarray([5.0, 4.0, 7.0, 1.0])
    np.testing.assert_allclose(smooth_minimum(first, second, 0.0, 1e-9), jnp.minimum(first, second), rtol=1e-9)
    zero = jnp.asarray(0.0)
    slopes = jax.grad(lambda a, b: smooth_minimum(a, b, 0.05, 1e-3), argnums=(0, 1))(zero, zero)
    assert np.isfinite(slopes).all()


def test_decay_mean():
    x = np.array([0.0, 1e-9, 0.9999e-4, 1.0001e-4, 0.1, 3.0, 700.0, 1e6])
    expected = np.array([1.0, *(-np.expm1(-x[1:]) / x[1:])])
    # below 1e-4 two terms of the series: the third is x^2 / 6 < 2e-9
    np.testing.assert_allclose(decay_mean(jnp.asarray(x)), expected, rtol=2e-9)
    slope = jax.vmap(jax.grad(decay_mean))(jnp.asarray(x))
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[:4], -0.5, rtol=1e-4)  # -1/2 + x/3


def test_ramp():
    np.testing.assert_array_equal(ramp(jnp.asarray([-1.0, 0.0, 0.25, 1.0, 9.0])), [0.0, 0.0, 0.25, 1.0, 1.0])


def test_limits_take_the_derivative_of_their_argument_at_a_tie():
    x = jnp.asarray([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(at_most(x, 0.0), [-1.0, 0.0, 0.0])
    np.testing.assert_array_equal(at_least(x, 0.0), [0.0, 0.0, 2.0])
    np.testing.assert_array_equal(jax.vmap(jax.grad(lambda x: at_most(x, 0.0)))(x), [1.0, 1.0, 0.0])
    np.testing.assert_array_equal(jax.vmap(jax.grad(lambda x: at_least(x, 0.0)))(x), [0.0, 1.0, 1.0])
    lost = jnp.asarray(jnp.nan)
    assert jnp.isnan(at_most(lost, 0.0)) and jnp.isnan(at_least(lost, 0.0))  # a NaN is not hidden


def test_power_and_sums_over_layers():
    base = jnp.asarray([1e-6, 0.3, 1.0, 40.0])
    np.testing.assert_allclose(power(base, 0.45), np.asarray(base) ** 0.45, rtol=1e-14)
    layers = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)))
    np.testing.assert_allclose(total(layers), np.sum(layers, axis=0), rtol=1e-13)
    np.testing.assert_allclose(running_total(layers), np.cumsum(layers, axis=0), rtol=1e-13)


def test_compensated_sum_keeps_what_float32_drops():
    """Ten years of half hours of a change below float32's resolution of the store."""
    steps, change = 175_320, np.float32(1e-6)

    def body(carry, _):
        store, rest, plain = carry
        return (*add_compensated(store, rest, jnp.float32(change)), plain + jnp.float32(change)), None

    start = (jnp.float32(285.0), jnp.float32(0.0), jnp.float32(285.0))
    (store, rest, plain), _ = jax.lax.scan(body, start, length=steps)
    assert store.dtype == rest.dtype == jnp.float32
    assert plain == 285.0  # float32 alone stands still
    total = np.float64(store) + np.float64(rest) - 285.0
    np.testing.assert_allclose(total, steps * np.float64(change), rtol=1e-6)
