"""A small LSTM that maps weather to one flux (Flax NNX): windows in, the flux at every step of the window out.

The first steps of a window only warm the memory up. The network is trained on random windows of the train period;
every fifth block of 90 days (longer than what the trailing means among the predictors remember) is set aside, and the
weights that fit those blocks best are kept. Where no such block holds train steps, all of them judge. Prediction runs
over overlapping windows of the same length, so that the network sees what it was trained on.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Bool, Float

from mdpl.towers.intervals import DAY

HIDDEN = 32
BATCH = 32
STEPS = 600
CHECK_EVERY = 25
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
BLOCK_DAYS, JUDGING_BLOCK = 90, 5


class WindowLength(NamedTuple):
    """Steps of a window and how many of them only warm up."""

    steps: int
    warm: int


def window_length(interval: int) -> WindowLength:
    """180 days, 60 of them warm-up, at daily steps; 7 days, 2 of them warm-up, at shorter ones.

    What lies further back reaches the network through trailing means (``mdpl.baselines.empirical.predictors``).
    """
    if interval >= DAY:
        return WindowLength(180, 60)
    per_day = DAY // interval
    return WindowLength(7 * per_day, 2 * per_day)


class FluxLSTM(nnx.Module):
    """LSTM, then a line."""

    def __init__(self, inputs: int, rngs: nnx.Rngs):
        self.memory = nnx.RNN(nnx.OptimizedLSTMCell(inputs, HIDDEN, rngs=rngs))
        self.head = nnx.Linear(HIDDEN, 1, rngs=rngs)

    def __call__(self, inputs: Float[jax.Array, "windows steps predictors"]) -> Float[jax.Array, "windows steps"]:
        nothing = jnp.zeros((inputs.shape[0], HIDDEN), inputs.dtype)
        # given, so that the layer draws no random numbers under jit
        remembered = self.memory(inputs, initial_carry=(nothing, nothing))
        return self.head(jnp.asarray(remembered))[..., 0]


@functools.lru_cache
def _functions(predictors: int):
    """Optimiser and compiled functions; made once, so that sites and seeds share what was compiled."""
    graph, _, rest = nnx.split(FluxLSTM(predictors, nnx.Rngs(0)), nnx.Param, ...)
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, STEPS, alpha=0.05)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=WEIGHT_DECAY))

    @jax.jit
    def predict(weights, inputs):
        return nnx.merge(graph, weights, rest)(inputs)

    def loss_of(weights, inputs, target, counts):
        error = jnp.where(counts, nnx.merge(graph, weights, rest)(inputs) - target, 0.0)
        return (error**2).sum() / jnp.maximum(counts.sum(), 1)

    @jax.jit
    def step(weights, moments, inputs, target, counts):
        loss, gradient = jax.value_and_grad(loss_of)(weights, inputs, target, counts)
        updates, moments = optimiser.update(gradient, moments, weights)
        return optax.apply_updates(weights, updates), moments, loss

    return optimiser, step, predict


def fit_lstm(
    inputs: Float[np.ndarray, "time predictors"],
    observed: Float[np.ndarray, "time"],
    train: Bool[np.ndarray, "time"],
    interval: int,
    seed: int = 0,
) -> Float[np.ndarray, "time"]:
    """Train on the steps of ``train`` and predict all steps.

    Args:
        inputs: weather at consecutive intervals.
        observed: the flux, W m-2.
        train: True where it may be looked at.
        interval: length of a step, s.
        seed: of the weights and of the draw of windows.

    Raises:
        ArithmeticError: training diverged.
    """
    steps, warm = window_length(interval)
    centre, width = observed[train].mean(), observed[train].std()
    spread = inputs[train].std(axis=0)
    # a predictor that never changes in training (a dry record's rain) carries nothing: leave it at 0
    scaled = np.where(spread > 0, (inputs - inputs[train].mean(axis=0)) / np.where(spread > 0, spread, 1.0), 0.0)
    scaled = np.clip(scaled, -10.0, 10.0)
    # the record's own first steps stand before it, so that its first step has a warm memory too
    scaled = np.concatenate([_head(scaled, warm), scaled]).astype(np.float32)
    target = np.concatenate([np.zeros(warm), (observed - centre) / width]).astype(np.float32)
    block = np.arange(train.size) * interval // (BLOCK_DAYS * DAY)
    judging = train & (block % JUDGING_BLOCK == JUDGING_BLOCK - 1)
    if not judging.any() or not (train & ~judging).any():
        judging = train  # nothing to set aside
    fitted = np.concatenate([np.zeros(warm, bool), train & ~judging if judging is not train else train])

    optimiser, step, predict = _functions(inputs.shape[1])
    _, weights, _ = nnx.split(FluxLSTM(inputs.shape[1], nnx.Rngs(seed)), nnx.Param, ...)
    moments = optimiser.init(weights)
    starts = _useful_starts(fitted, steps, warm)
    rng = np.random.default_rng(seed)
    best, best_error = weights, np.inf
    scored = np.arange(steps) >= warm
    for count in range(1, STEPS + 1):
        index = rng.choice(starts, BATCH)[:, None] + np.arange(steps)
        weights, moments, loss = step(weights, moments, scaled[index], target[index], fitted[index] & scored)
        if count % CHECK_EVERY == 0:
            if not np.isfinite(loss):
                raise ArithmeticError(f"LSTM: loss {loss} at step {count}, seed {seed}: training diverged")
            predicted = _predict(predict, weights, scaled, steps, warm)
            error = float(np.mean((predicted[judging] - target[warm:][judging]) ** 2))
            if error < best_error:
                best, best_error = weights, error
    return _predict(predict, best, scaled, steps, warm) * width + centre


def _head(values: np.ndarray, warm: int) -> np.ndarray:
    return np.resize(values, (warm, values.shape[1])) if values.shape[0] < warm else values[:warm]


def _useful_starts(fitted: np.ndarray, steps: int, warm: int) -> np.ndarray:
    """Starts of windows that hold a step to learn from after their warm-up."""
    count = np.concatenate([[0], np.cumsum(fitted)])
    starts = np.arange(max(fitted.size - steps + 1, 0))
    useful = starts[count[starts + steps] - count[starts + warm] > 0]
    if useful.size == 0:
        raise ArithmeticError(f"LSTM: the record of {fitted.size - warm} steps is shorter than a window of {steps}")
    return useful


def _predict(predict, weights, scaled: np.ndarray, steps: int, warm: int) -> np.ndarray:
    """All steps after the first ``warm``, from overlapping windows, ``BATCH`` at a time (one compiled shape)."""
    size = scaled.shape[0]
    starts = np.minimum(np.arange(0, size - warm, steps - warm), size - steps)
    result = np.empty(size, np.float64)
    for first in range(0, starts.size, BATCH):
        chunk = starts[first : first + BATCH]
        index = np.resize(chunk, BATCH)[:, None] + np.arange(steps)
        values = np.asarray(predict(weights, scaled[index]))
        for start, line in zip(chunk, values, strict=False):
            result[start + warm : start + steps] = line[warm:]
    return result[warm:]
