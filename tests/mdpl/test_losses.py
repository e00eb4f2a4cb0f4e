"""The losses: values, derivatives, and masks that let nothing through."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdpl.scores.losses import (
    LOSSES,
    Compared,
    Pool,
    huber,
    mean_squared_error,
    one_minus_correlation,
    one_minus_kge,
    one_minus_nse,
    prior_penalty,
    root_mean_squared_error,
    total_loss,
)
from mdpl.scores.metrics import scores

MODEL = jnp.array([1.0, 2.0, 6.0, 5.0])
OBSERVED = jnp.array([2.0, 4.0, 6.0, 0.0])
WEIGHT = jnp.array([1.0, 1.0, 1.0, 0.0])
SIGMA = jnp.array(2.0)


def data(model=MODEL, observed=OBSERVED, weight=WEIGHT, sigma=SIGMA) -> Compared:
    return Compared(model, observed, weight, sigma)


def test_squared_error_over_variance():
    assert mean_squared_error(data()) == pytest.approx((1 + 4 + 0) / 3 / 4)


def test_losses_that_are_scores_agree_with_the_metrics():
    """rmse, nse and kge against the definitions that metrics.csv uses."""
    found = scores(np.asarray(MODEL), np.asarray(OBSERVED), np.asarray(WEIGHT) > 0)
    assert root_mean_squared_error(data()) == pytest.approx(found.rmse / 2.0, rel=1e-12)
    assert one_minus_nse(data()) == pytest.approx((found.rmse / found.std_obs) ** 2, rel=1e-12)
    assert one_minus_kge(data()) == pytest.approx(1.0 - found.kge, rel=1e-12)
    assert one_minus_correlation(data()) == pytest.approx(1.0 - found.r, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_against_differences_in_float64(name):
    rng = np.random.default_rng(0)
    model, observed = jnp.asarray(60 + 30 * rng.normal(size=(2, 40)))
    case = data(model, observed, jnp.asarray(rng.random(40) < 0.8, float), jnp.asarray(30.0))
    slope = jax.grad(lambda m: LOSSES[name](case._replace(model=m)))(model)
    for i in range(0, 40, 7):
        step = jnp.zeros(40).at[i].set(1e-4)
        up, down = (LOSSES[name](case._replace(model=model + sign * step)) for sign in (1, -1))
        # central differences err by h^2 times a third derivative of order 1e-5 and by rounding over h
        assert slope[i] == pytest.approx(float(up - down) / 2e-4, rel=1e-6, abs=1e-10)


def test_prior_is_the_mean_square_of_what_acts():
    unknowns = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    active = np.array([[True, True], [True, False], [False, False]])
    np.testing.assert_allclose(prior_penalty(unknowns, active), [2.5, 9.0, 0.0])


def test_huber_is_square_then_linear():
    small = Compared(jnp.array([1.0]), jnp.array([0.0]), jnp.array([1.0]), jnp.array(2.0))
    large = small._replace(model=jnp.array([6.0]))
    assert huber(small) == pytest.approx(0.25)
    assert huber(large) == pytest.approx(2 * 3 - 1)


def test_correlation_loss():
    assert one_minus_correlation(data()) == pytest.approx(1 - 10 / np.sqrt(14 * 8), rel=1e-5)
    assert one_minus_correlation(data(model=OBSERVED * 3 - 7)) == pytest.approx(0.0, abs=1e-5)
    assert one_minus_correlation(data(model=-OBSERVED)) == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_true(name):
    def loss(model):
        return LOSSES[name](data(model=model))

    slope = jax.grad(loss)(MODEL)
    h = 1e-2
    for i in range(4):
        step = jnp.zeros(4).at[i].set(h)
        central = (loss(MODEL + step) - loss(MODEL - step)) / (2 * h)
        assert slope[i] == pytest.approx(float(central), rel=2e-2, abs=2e-3)
    assert slope[3] == 0.0


@pytest.mark.parametrize("name", LOSSES)
def test_masked_steps_pass_nothing_not_even_nan(name):
    """NaN, infinity and fill values in masked steps change neither value nor gradient."""
    clean, clean_slope = jax.value_and_grad(lambda m: LOSSES[name](data(model=m)))(MODEL)
    for poison in (jnp.nan, jnp.inf, -9999.0):
        value, slope = jax.value_and_grad(lambda m, p=poison: LOSSES[name](data(m, OBSERVED.at[3].set(p))))(
            MODEL.at[3].set(poison)
        )
        assert value == clean
        np.testing.assert_array_equal(slope, clean_slope)


@pytest.mark.parametrize("name", LOSSES)
def test_a_nan_in_a_scored_step_shows(name):
    assert jnp.isnan(LOSSES[name](data(model=MODEL.at[0].set(jnp.nan))))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", ["constant model", "perfect", "nothing scored"])
def test_gradients_stay_finite_at_the_edges(name, case):
    model = {"constant model": jnp.ones(4), "perfect": OBSERVED, "nothing scored": MODEL}[case]
    weight = jnp.zeros(4) if case == "nothing scored" else WEIGHT
    value, slope = jax.value_and_grad(lambda m: LOSSES[name](data(model=m, weight=weight)))(model)
    assert jnp.isfinite(value) and jnp.isfinite(slope).all()


def test_windows_of_a_site_are_pooled():
    """Two windows of one site beside another site give what each site gives alone."""
    pool = Pool(jnp.array([0, 0, 1]), 2)
    columns = Compared(
        jnp.stack([MODEL[:2], MODEL[2:], OBSERVED[:2] + 1], axis=1),
        jnp.stack([OBSERVED[:2], OBSERVED[2:], OBSERVED[:2]], axis=1),
        jnp.stack([WEIGHT[:2], WEIGHT[2:], jnp.ones(2)], axis=1),
        jnp.array([2.0, 1.0]),
    )
    for loss in LOSSES.values():
        found = loss(columns, pool)
        assert found.shape == (2,)
        assert found[0] == pytest.approx(float(loss(data())), rel=1e-5)
    assert mean_squared_error(columns, pool)[1] == pytest.approx(1.0)


def test_weighted_sum_over_fluxes_and_terms():
    compared = {"Qle": data(), "Qh": data(model=OBSERVED + 2)}
    found = total_loss(compared, {"mse": 1.0, "correlation": 0.5}, {"Qle": 3.0, "Qh": 1.0})
    le = mean_squared_error(data()) + 0.5 * one_minus_correlation(data())
    h = 1.0
    assert found == pytest.approx(float(0.75 * le + 0.25 * h), rel=1e-5)
