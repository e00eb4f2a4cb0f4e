"""What is minimised: differentiable distances between modelled and observed fluxes.

Every loss takes model, observed and weight arrays of one shape (weight 0 = not measured) and a ``Pool``
that says which columns belong to one site; it returns one number per site. Masks enter as
``where(weight > 0, ..., 0)`` on the *argument*, so a masked step passes neither value nor gradient, and
nothing here averages NaN away: a NaN in a scored step comes out as NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

HUBER_WIDTH = 1.0
"""residual over sigma_obs where the Huber loss turns from square to linear, -"""


TINY = 1e-12
"""a variance below this share of sigma_obs squared counts as none"""


class Pool(NamedTuple):
    """Which columns are windows of the same site.

    With ``site_of_column`` None the arrays are one site's ``[time]`` and every total is a scalar.
    """

    site_of_column: Int[Array, "columns"] | None = None
    sites: int = 1

    def total(self, values: Float[Array, "time *columns"]) -> Float[Array, "..."]:
        """Sums per site."""
        if self.site_of_column is None:
            return values.sum()
        return jax.ops.segment_sum(values.sum(axis=0), self.site_of_column, num_segments=self.sites)

    def spread(self, per_site: Float[Array, "..."]) -> Float[Array, "..."]:
        """Per-site numbers back to the columns."""
        return per_site if self.site_of_column is None else per_site[self.site_of_column]


class Target(NamedTuple):
    """What one flux is compared with."""

    observed: Float[Array, "time *columns"]
    """observed means, W m-2; finite everywhere"""
    weight: Float[Array, "time *columns"]
    """1 where scored, 0 elsewhere"""
    sigma: Float[Array, "..."]
    """standard deviation of the scored observations per site, W m-2, > 0"""


class Compared(NamedTuple):
    """One flux, modelled and observed, ready for a loss."""

    model: Float[Array, "time *columns"]
    """model means over the observed intervals, W m-2"""
    observed: Float[Array, "time *columns"]
    weight: Float[Array, "time *columns"]
    sigma: Float[Array, "..."]


def _residual(data: Compared, pool: Pool) -> Array:
    """(model - observed) / sigma where scored, 0 elsewhere."""
    scored = data.weight > 0
    return jnp.where(scored, data.model - data.observed, 0.0) / pool.spread(data.sigma)


def _mean(values: Array, data: Compared, pool: Pool) -> Array:
    # a site without scored steps has sum 0; dividing by at least 1 keeps it 0
    return pool.total(data.weight * values) / jnp.maximum(pool.total(data.weight), 1.0)


def mean_squared_error(data: Compared, pool: Pool = Pool()) -> Array:  # noqa: B008 (immutable)
    """Mean squared error over sigma_obs squared: 1 is as good as the observed mean."""
    return _mean(_residual(data, pool) ** 2, data, pool)


def huber(data: Compared, pool: Pool = Pool()) -> Array:  # noqa: B008
    """Huber (1964) loss of the normalised residual, scaled so that small residuals match the squared error."""
    size = jnp.abs(_residual(data, pool))
    square = jnp.minimum(size, HUBER_WIDTH)
    return _mean(square**2 + 2.0 * HUBER_WIDTH * (size - square), data, pool)


def one_minus_correlation(data: Compared, pool: Pool = Pool()) -> Array:  # noqa: B008
    """1 - R over all scored steps of a site.

    A constant model or observation has no correlation; there R counts as 0 with zero gradient.
    """
    scored = data.weight > 0
    model = jnp.where(scored, data.model, 0.0)
    observed = jnp.where(scored, data.observed, 0.0)
    model = jnp.where(scored, model - pool.spread(_mean(model, data, pool)), 0.0)
    observed = jnp.where(scored, observed - pool.spread(_mean(observed, data, pool)), 0.0)
    covariance = _mean(model * observed, data, pool)
    product = _mean(model**2, data, pool) * _mean(observed**2, data, pool)
    smallest = TINY * data.sigma**4
    flat = product <= smallest
    # the square root's derivative is infinite at 0: take it of a safe argument
    correlation = covariance / jnp.sqrt(jnp.where(flat, 1.0, product))
    return jnp.where(flat, 1.0, 1.0 - correlation)


def root_mean_squared_error(data: Compared, pool: Pool = Pool()) -> Array:  # noqa: B008
    """RMSE over sigma_obs. At a perfect fit the root has no derivative; it counts as 0 there."""
    return _safe_root(mean_squared_error(data, pool))


def one_minus_nse(data: Compared, pool: Pool = Pool()) -> Array:  # noqa: B008
    """1 - NSE (Nash & Sutcliffe 1970): squared error over the squared spread of the observations *scored here*.

    Differs from ``mse`` only where a batch holds some of a site's windows. Without spread it counts as 1, no gradient.
    """
    _, spread = _moments_of(data.observed, data, pool)
    flat = spread <= TINY * data.sigma**2
    error = mean_squared_error(data, pool) * data.sigma**2
    return jnp.where(flat, 1.0, error / jnp.where(flat, 1.0, spread))


def one_minus_kge(data: Compared, pool: Pool = Pool()) -> Array:  # noqa: B008
    """1 - KGE (Gupta et al. 2009): sqrt((R - 1)^2 + (sigma_m / sigma_o - 1)^2 + (mean m / mean o - 1)^2).

    Where the observations have no spread or mean zero the term concerned counts as 1 without gradient; where the
    model is constant, R counts as 0.
    """
    mean_model, variance = _moments_of(data.model, data, pool)
    mean_observed, observed = _moments_of(data.observed, data, pool)
    flat = observed <= TINY * data.sigma**2
    spread = jnp.where(flat, 0.0, _safe_root(variance / jnp.where(flat, 1.0, observed)))
    zero = jnp.abs(mean_observed) <= jnp.sqrt(TINY) * data.sigma
    level = jnp.where(zero, 0.0, mean_model / jnp.where(zero, 1.0, mean_observed))
    return _safe_root(one_minus_correlation(data, pool) ** 2 + (spread - 1.0) ** 2 + (level - 1.0) ** 2)


def _moments_of(series: Array, data: Compared, pool: Pool) -> tuple[Array, Array]:
    scored = data.weight > 0
    series = jnp.where(scored, series, 0.0)
    mean = _mean(series, data, pool)
    return mean, _mean(jnp.where(scored, series - pool.spread(mean), 0.0) ** 2, data, pool)


def _safe_root(square: Array) -> Array:
    """Square root whose derivative at 0 counts as 0."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), jnp.where(jnp.isnan(square), square, 0.0))


LOSSES: dict[str, Callable[..., Array]] = {
    "mse": mean_squared_error,
    "rmse": root_mean_squared_error,
    "huber": huber,
    "nse": one_minus_nse,
    "kge": one_minus_kge,
    "correlation": one_minus_correlation,
}
"""losses by the name a config uses"""


def total_loss(
    compared: dict[str, Compared],
    terms: dict[str, float],
    flux_weights: dict[str, float],
    pool: Pool = Pool(),  # noqa: B008
) -> Float[Array, "..."]:
    """Weighted sum of losses over fluxes, per site.

    Args:
        compared: flux name -> what is compared.
        terms: loss name (key of ``LOSSES``) -> weight.
        flux_weights: flux name -> weight; only these fluxes count.
        pool: which columns belong to one site.

    Returns:
        One number per site (scalar without columns), a weighted mean over fluxes.
    """
    norm = sum(flux_weights.values())
    parts = [
        (weight * share / norm) * LOSSES[term](compared[flux], pool)
        for flux, share in flux_weights.items()
        for term, weight in terms.items()
    ]
    return sum(parts[1:], parts[0])


def prior_penalty(
    unknowns: Float[Array, "sites unknowns"], active: Bool[Array | np.ndarray, "sites unknowns"]
) -> Float[Array, "sites"]:
    """Mean square of the active unconstrained offsets of each site: 0 at the default parameters."""
    return jnp.where(active, unknowns**2, 0.0).sum(axis=1) / jnp.maximum(active.sum(axis=1), 1)
