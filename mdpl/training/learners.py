"""Learners: where a site's unknowns come from, and what happens to their gradient.

The training step asks a learner for the unknowns ``[sites, unknowns]`` and hands back each site's gradient. The
``DirectLearner`` holds one row per site, with its own Adam and its own clipping, so that sites do not touch each
other. The ``NetworkLearner`` holds the weights of one generator g_z; the gradient goes through it by the chain rule
and one Adam moves the weights for all sites. Everything here is pure and runs inside the step's one ``jit``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from mdpl.config import Config
from mdpl.towers.features import site_features
from mdpl.training.windows import Group
from mdpl.unknowns.generator import GeneratorShape, PureGenerator, Weights
from mdpl.unknowns.time_varying import UnknownsLayout

FLOOR = 0.05
"""smallest learning rate of the cosine, and the first of the warm-up, over the peak"""
UnknownsArray = Float[Array, "sites unknowns"]


@runtime_checkable
class Learner(Protocol):
    """What the training step needs of a learner; weights and moments are pytrees of arrays."""

    per_site: bool
    """True where each site has a best epoch of its own; else one best epoch serves all"""

    def initial(self) -> tuple[Any, Any]:
        """(weights, optimiser moments) before training; the unknowns are exactly 0."""
        ...

    def unknowns(self, weights: Any) -> UnknownsArray:
        """Unknowns of all sites."""
        ...

    def update(self, weights: Any, moments: Any, gradient: UnknownsArray, pullback: Callable) -> tuple[Any, Any, Array]:
        """One step of the optimiser.

        Args:
            gradient: of each site's loss by its own unknowns.
            pullback: the vector-Jacobian product of ``unknowns`` at ``weights``.

        Returns:
            (weights, moments, norm of the gradient before clipping ``[sites]``).
        """
        ...


def schedule_of(config: Config, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate by step."""
    peak, warmup = config.peak_rate, config.warmup_epochs * steps_per_epoch
    total = max(1, config.epochs * steps_per_epoch)
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, total - warmup, alpha=FLOOR)
    else:
        main = optax.constant_schedule(peak)
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(FLOOR * peak, peak, warmup), main], [warmup])


def optimiser_of(config: Config, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam with clipping."""
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(schedule))


class DirectLearner:
    """Every site's unknowns for themselves."""

    per_site = True

    def __init__(self, sites: int, unknowns: int, optimiser: optax.GradientTransformation, dtype=jnp.float32):
        self._zeros = np.zeros((sites, unknowns), dtype)
        self._optimiser = optimiser

    def initial(self) -> tuple[UnknownsArray, Any]:
        weights = jnp.asarray(self._zeros)
        return weights, jax.vmap(self._optimiser.init)(weights)

    def unknowns(self, weights: UnknownsArray) -> UnknownsArray:
        return weights

    def update(self, weights: UnknownsArray, moments: Any, gradient: UnknownsArray, pullback: Callable):
        updates, moments = jax.vmap(self._optimiser.update)(gradient, moments)
        return optax.apply_updates(weights, updates), moments, jnp.sqrt((gradient**2).sum(axis=1))


class NetworkLearner:
    """The weights of one generator for all sites; what is minimised is the mean of the sites' losses."""

    per_site = False

    def __init__(self, network: PureGenerator, seen, optimiser: optax.GradientTransformation, dtype=jnp.float32):
        self.network = network
        self._seen = seen
        self._optimiser = optimiser
        self._dtype = dtype

    def initial(self) -> tuple[Weights, Any]:
        weights = {name: leaf.astype(self._dtype) for name, leaf in self.network.initial().items()}
        return weights, self._optimiser.init(weights)

    def unknowns(self, weights: Weights) -> UnknownsArray:
        return self.network(weights, self._seen)

    def update(self, weights: Weights, moments: Any, gradient: UnknownsArray, pullback: Callable):
        sites = gradient.shape[0]
        (slopes,) = pullback(gradient / sites)
        updates, moments = self._optimiser.update(slopes, moments)
        return optax.apply_updates(weights, updates), moments, jnp.full(sites, _norm(slopes))


def _norm(tree: Any) -> Array:
    return jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(tree)))


def make_learner(config: Config, groups: list[Group], layout: UnknownsLayout, schedule: optax.Schedule) -> Learner:
    """The learner a config asks for, for the sites of all groups in order."""
    optimiser = optimiser_of(config, schedule)
    dtype = np.result_type(*(group.series["Tair"] for group in groups))
    if config.learner == "direct":
        return DirectLearner(sum(len(group.towers) for group in groups), layout.size, optimiser, dtype)
    towers = [tower for group in groups for tower in group.towers]
    seen = site_features(towers, [split for group in groups for split in group.splits], config.feature_days)
    shape = GeneratorShape(config.encoder, config.hidden, layout, config.feature_days)
    return NetworkLearner(PureGenerator(shape, config.seed), seen, optimiser, dtype)
