"""Fitting the surrogate: whole years through the slow cell, a few random days of them through the decoder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS, default_parameters
from mdpl.files import alone, write_text
from mdpl.model_paths import ModelPath, lsm_path
from mdpl.surrogate.network import Sizes, Surrogate, SurrogateNetwork, inputs, load_surrogate, with_card
from mdpl.surrogate.runs import SURROGATE_FLUXES, DataSettings, Runs, make_runs, runs_key
from mdpl.surrogate.skill import card_text, skill
from mdpl.towers.intervals import DAY
from mdpl.towers.load import Tower

TASK_LOSSES = ("uncertainty", "equal")


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is fitted."""

    steps: int = 1800
    """optimiser steps at most"""
    columns: int = 32
    """runs in a step"""
    days: int = 24
    """days decoded per run and step"""
    learning_rate: float = 4e-3
    task_loss: str = "equal"
    """how the fluxes' losses are joined: ``equal``, or learned weights (``uncertainty``, Kendall et al. 2018)"""
    memory_weight: float = 1.0
    """what the slow cell's account of soil water, soil heat and snow counts, beside one flux"""
    check_every: int = 100
    """steps between looks at the unseen draws"""
    patience: int = 6
    """looks without a new best before training stops"""
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0

    def check(self) -> TrainingSettings:
        """These settings, checked. Raises InputError."""
        if self.task_loss not in TASK_LOSSES:
            raise InputError(f"surrogate: task_loss = {self.task_loss!r}: use one of {', '.join(TASK_LOSSES)}")
        return self


class _Lessons:
    """Runs as the network sees them: weather by site and day (records padded by zeros, never read), the rest by run."""

    def __init__(self, towers: list[Tower], runs: Runs, year_days: int):
        self.runs, self.year_days = runs, year_days
        self.per_day = per_day = round(DAY / float(towers[0].forcing.dt))
        features, weather, airs, places, traits = [], [], [], [], []
        for tower in towers:
            forcing = tower.forcing.window(0, tower.forcing.steps // per_day * per_day)
            now = inputs.scaled_weather(forcing, tower.site, per_day)
            midnight, _ = inputs.past_at_midnight(now, jnp.zeros((len(inputs.MEMORY) * inputs.REMEMBERED, 1)))
            features.append(np.asarray(inputs.decoder_inputs(now, midnight, now[:, :0])[..., 0]))
            weather.append(np.asarray(now[..., 0]))
            airs.append(np.asarray(inputs.drying_weather(forcing, per_day)[..., 0]))
            defaults = default_parameters(tower.site)
            places.append(np.asarray(inputs.site_attributes(defaults, tower.site, 1)[0]))
            traits.append(np.asarray(inputs.leaf_traits(defaults, (1,), per_day)).reshape(-1))
        longest = max(len(part) for part in features)

        def pad(parts):
            return np.stack([np.pad(p, [(0, longest - len(p))] + [(0, 0)] * (p.ndim - 1)) for p in parts])

        self.features, self.places = pad(features), np.stack(places)
        lower = np.array([PARAMETERS[key].lower for key in runs.keys])
        upper = np.array([PARAMETERS[key].upper for key in runs.keys])
        self.shares = ((runs.values - lower) / (upper - lower)).astype(np.float32)
        traits = np.stack(traits)[runs.site]
        for i, key in enumerate(inputs.LEAF_TRAITS):
            if key in runs.keys:
                traits[:, i] = runs.values[:, runs.keys.index(key)]
        self.summaries, self.wet = self._water(pad(weather), pad(airs), traits.astype(np.float32))

    def _water(self, weather, air, traits, together: int = 64):
        """Day summaries of burn-in and recorded year, wetness of leaves in the latter; some runs at a time."""
        first, site, year = self.runs.first_day, self.runs.site, self.year_days

        @jax.jit
        def some(now, air, traits):
            wet, _ = inputs.wet_leaves(inputs.leaves(air, traits.T), jnp.zeros(traits.shape[0], air.dtype))
            return inputs.day_summary(now, air, wet), wet[year:]

        summaries = np.empty((2 * year, site.size, inputs.SUMMARY), np.float32)
        wetness = np.empty((year, site.size, inputs.WET, self.per_day), np.float16)
        for start in range(0, site.size, together):
            # the last ones are filled up, so that all have one shape
            r = np.resize(np.arange(start, min(start + together, site.size)), min(together, site.size))
            history = first[r] - year + np.arange(2 * year)[:, None]
            now, dry = (np.moveaxis(part[site[r], history], 1, -1).astype(np.float32) for part in (weather, air))
            summaries[:, r], wet = some(now, dry, traits[r])
            wetness[:, r] = np.moveaxis(np.asarray(wet), -1, 1)
        return summaries, wetness

    def batch(self, chosen: np.ndarray, days: np.ndarray, targets: np.ndarray) -> dict:
        """Inputs and targets of runs ``chosen`` on their recorded days ``days [days, columns]``, days leading."""
        site, first = self.runs.site[chosen], self.runs.first_day[chosen]
        features = self.features[site[None], first[None] + days]
        features = np.concatenate([features, self.wet[days, chosen]], axis=2)
        parts = {
            "share": self.shares[chosen], "place": self.places[site], "summary": self.summaries[:, chosen],
            "features": np.moveaxis(features, 1, -1), "target": np.moveaxis(targets[days, chosen], 1, -1),
            "memory": self.runs.memory[:, chosen],
        }  # fmt: skip
        return {name: part.astype(np.float32) for name, part in parts.items()} | {"days": days}


class _Scales(NamedTuple):
    """Means and spreads of what the network answers and remembers, over the training runs."""

    mean: np.ndarray
    """of each flux, W m-2"""
    std: np.ndarray
    daily_std: np.ndarray
    """standard deviation of daily means over ``std``, ``[fluxes, 1]``"""
    memory_mean: np.ndarray
    memory_std: np.ndarray

    @classmethod
    def of_runs(cls, targets: np.ndarray, memory: np.ndarray) -> _Scales:
        """From targets ``[days, runs, fluxes, steps]`` and memory ``[days, runs, items]``."""
        sample = targets.astype(np.float32)
        mean, std = sample.mean((0, 1, 3)), sample.std((0, 1, 3))
        daily_std = (sample.mean(axis=3).std((0, 1)) / std)[:, None]
        remembered = memory.astype(np.float32)
        memory_mean, memory_std = remembered.mean((0, 1)), remembered.std((0, 1))
        # no snow anywhere: nothing to learn
        return cls(mean, std, daily_std, memory_mean, np.where(memory_std > 0.0, memory_std, 1.0))


def _errors_of(graph, scales: _Scales, hidden_width: int, year_days: int):
    """The errors of weights on a batch of lessons."""
    scale, offset = scales.std[:, None, None], scales.mean[:, None, None]

    def errors(weights, batch):
        """Mean square errors in variances: half-hourly and daily per flux, and of the slow state's memory."""
        days, memory, target = batch["days"], batch["memory"], batch["target"]
        network = nnx.merge(graph, weights)
        embedded = network.embed(batch["share"][None], batch["place"])
        hidden = jnp.zeros((days.shape[1], hidden_width), memory.dtype)
        # the burn-in year only fills the memory: a third of the cost of a step saved
        _, hidden = network.remember(hidden, batch["summary"][:year_days], embedded)
        starts, end = network.remember(jax.lax.stop_gradient(hidden), batch["summary"][year_days:], embedded)
        evenings = jnp.concatenate([starts[1:], end[None]])
        recalled = ((network.recall(evenings) - (memory - scales.memory_mean) / scales.memory_std) ** 2).mean()
        difference = network.decode(batch["features"], starts[days, jnp.arange(days.shape[1])], embedded)
        difference -= (target - offset) / scale
        # observations are daily at some towers, so the day's mean counts as much as its course
        of_days = (difference.mean(axis=2) / scales.daily_std) ** 2
        return (difference**2).mean((0, 2, 3)), of_days.mean((0, 2)), recalled

    return errors


def fit(
    towers: list[Tower],
    runs: Runs,
    settings: TrainingSettings = TrainingSettings(),
    fluxes: tuple[str, ...] = SURROGATE_FLUXES,
    leave_out: int | None = None,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Surrogate:
    """Fit a network to runs; the weights of the best look at the unseen draws are taken.

    Args:
        towers: the sites of the runs.
        runs: what to learn from.
        settings: how.
        fluxes: those it learns; one alone is the single-task case.
        leave_out: index of a site whose runs are not used at all.
        progress: called with what is going on and the share that is done.

    Raises:
        InputError: unknown ``task_loss``.
        ArithmeticError: the loss stops being finite.
    """
    settings.check()
    train, looks = runs.chosen("train"), runs.chosen("draws")
    if leave_out is not None:
        train, looks = train[runs.site[train] != leave_out], looks[runs.site[looks] != leave_out]
    which = [SURROGATE_FLUXES.index(flux) for flux in fluxes]
    year_days = _year_days(towers, runs)
    lessons = _Lessons(towers, runs, year_days)
    # [days, runs, fluxes, steps]: a day of a run lies together
    targets = runs.fluxes.reshape(year_days, -1, *runs.fluxes.shape[1:])[..., which].transpose(0, 2, 3, 1).copy()
    scales = _Scales.of_runs(targets[:, train], runs.memory[:, train])
    network = SurrogateNetwork(runs.keys, fluxes, settings.sizes, settings.seed)
    graph, weights = nnx.split(network)
    errors = _errors_of(graph, scales, settings.sizes.hidden, year_days)
    unknowns = {"network": weights, "log_variance": jnp.zeros(len(which), jnp.float32)}
    optimiser, step = _step_of(settings, errors)
    look = jax.jit(errors)
    rng = np.random.default_rng(settings.seed)
    fixed = lessons.batch(looks, _some_days(rng, year_days, settings.days, looks.size), targets)
    moments, best, best_error, since, begin = optimiser.init(unknowns), weights, np.inf, 0, time.perf_counter()
    history, index = [], 0
    for index in range(1, settings.steps + 1):
        chosen = rng.permutation(train)[: settings.columns]
        days = _some_days(rng, year_days, settings.days, chosen.size)
        unknowns, moments, loss = step(unknowns, moments, lessons.batch(chosen, days, targets))
        if index % settings.check_every and index != settings.steps:
            continue
        if not np.isfinite(float(loss)):
            raise ArithmeticError(f"surrogate: loss {float(loss)} at step {index}: lower the learning rate")
        fine, coarse, recalled = (np.asarray(part) for part in look(unknowns["network"], fixed))
        error = float((fine + coarse).mean())
        history.append(
            {"step": index, "half_hourly": fine.tolist(), "daily": coarse.tolist(), "memory": float(recalled)}
        )
        progress(f"fit {', '.join(fluxes)}: 1 - R2 {np.array2string(fine, precision=3)}", index / settings.steps)
        since = 0 if error < best_error else since + 1
        if error < best_error:
            best, best_error = unknowns["network"], error
        if since >= settings.patience:
            break
    nnx.update(network, best)
    card = {
        "training_seconds": time.perf_counter() - begin,
        "steps": index,
        "settings": asdict(settings),
        "history": history,
        "sites": [tower.label for s, tower in enumerate(towers) if s != leave_out],
        "model_steps": runs.model_steps,
        "model_seconds": runs.seconds,
        "training_runs": int(train.size),
    }
    means, spreads = tuple(scales.mean.tolist()), tuple(scales.std.tolist())
    return Surrogate(network, runs.keys, fluxes, means, spreads, settings.sizes, card)


def _step_of(settings: TrainingSettings, errors):
    """(optimiser, compiled training step)."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, min(50, settings.steps // 4), settings.steps, 1e-5
    )
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss_of(unknowns, batch):
        fine, coarse, recalled = errors(unknowns["network"], batch)
        loss = fine + coarse
        if settings.task_loss == "uncertainty":
            s = unknowns["log_variance"]
            loss = jnp.exp(-s) * loss + s
        return loss.mean() + settings.memory_weight * recalled / loss.size

    @jax.jit
    def step(unknowns, moments, batch):
        loss, gradient = jax.value_and_grad(loss_of)(unknowns, batch)
        updates, moments = optimiser.update(gradient, moments)
        return optax.apply_updates(unknowns, updates), moments, loss

    return optimiser, step


def _some_days(rng: np.random.Generator, year_days: int, days: int, columns: int) -> np.ndarray:
    """Random days of the recorded year ``[days, columns]``, each column its own."""
    return rng.permuted(np.tile(np.arange(year_days)[:, None], columns), axis=0)[:days]


def _year_days(towers: list[Tower], runs: Runs) -> int:
    return runs.fluxes.shape[0] // round(DAY / float(towers[0].forcing.dt))


def train_or_load_surrogate(
    towers: list[Tower],
    keys: tuple[str, ...],
    cache: Path,
    teacher: ModelPath | None = None,
    data: DataSettings = DataSettings(),  # noqa: B008 frozen
    settings: TrainingSettings = TrainingSettings(),
    unseen_site: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Surrogate:
    """A surrogate for these sites and parameters, from ``cache`` if one was trained there with the same settings.

    Writes ``surrogate_<key>.npz`` and its card, ``.json`` and ``.md``. Where another process is training the same one,
    this one waits for it, and says so.

    Args:
        teacher: what is imitated; None is the land surface model.
        unseen_site: also fit without the last site and score there (doubles the fitting time).

    Raises:
        InputError: see ``make_runs`` and ``load_surrogate``.
    """
    settings.check()
    text = runs_key(towers, keys, data) + repr(sorted(asdict(settings).items())) + str(unseen_site)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    file = Path(cache) / f"surrogate_{name}.npz"
    with nullcontext() if file.exists() else alone(file, lambda text: progress(text, 0.0)):
        if file.exists():
            return load_surrogate(file)
        runs = make_runs(lsm_path() if teacher is None else teacher, towers, keys, data, Path(cache), progress)
        surrogate = _judged_surrogate(towers, runs, settings, unseen_site, progress)
        write_text(file.with_suffix(".json"), json.dumps(surrogate.card, indent=1))
        write_text(file.with_suffix(".md"), card_text(surrogate))
        surrogate.save(file)  # last: it says that all are there
        return surrogate


def _judged_surrogate(
    towers: list[Tower],
    runs: Runs,
    settings: TrainingSettings,
    unseen_site: bool,
    progress: Callable[[str, float], None],
) -> Surrogate:
    """A surrogate of ``runs`` with its skill on its card."""
    surrogate = fit(towers, runs, settings, progress=progress)
    scores = [row for split in ("draws", "year") for row in skill(surrogate, towers, runs, split)]
    if unseen_site and len(towers) > 1:
        last = len(towers) - 1
        other = fit(towers, runs, settings, leave_out=last, progress=progress)
        for row in skill(other, towers, runs, "year", only_site=last):
            scores.append(row | {"split": f"site {towers[last].label}"})
    return with_card(surrogate, surrogate.card | {"scores": scores})


def ablation(
    towers: list[Tower],
    runs: Runs,
    settings: TrainingSettings = TrainingSettings(),
    alone: tuple[str, ...] = ("Qh", "Qle"),
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> list[dict]:
    """What learning together brings: rows of ``skill`` on the unseen year, with ``network`` named.

    The multi-task network, the same without the memory task, and one network per flux of ``alone`` (same trunk, no
    memory task).
    """
    forgetful = replace(settings, memory_weight=0.0)
    networks = {
        "multi-task": (SURROGATE_FLUXES, settings),
        "without memory": (SURROGATE_FLUXES, forgetful),
        **{f"single-task {flux}": ((flux,), forgetful) for flux in alone},
    }
    rows = []
    for name, (fluxes, how) in networks.items():
        surrogate = fit(towers, runs, how, fluxes, progress=progress)
        rows += [row | {"network": name} for row in skill(surrogate, towers, runs, "year")]
    return rows
