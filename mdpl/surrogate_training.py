"""Fitting the surrogate: whole years through the slow cell, a few random days of them through the decoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS, default_parameters
from mdpl import surrogate_inputs as inputs
from mdpl.intervals import DAY
from mdpl.paths import Path as ModelPath
from mdpl.run_directory import write_whole
from mdpl.sites import Tower
from mdpl.surrogate import Network, Sizes, Surrogate, load_surrogate, with_card
from mdpl.surrogate_data import FLUXES, DataSettings, Runs, make_runs, runs_key
from mdpl.surrogate_skill import card_text, skill

TASK_LOSSES = ("uncertainty", "equal")


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is fitted."""

    steps: int = 900
    """optimiser steps at most"""
    columns: int = 32
    """runs in a step"""
    days: int = 24
    """days decoded per run and step"""
    learning_rate: float = 4e-3
    task_loss: str = "uncertainty"
    """how the fluxes' losses are joined: learned weights (Kendall et al. 2018) or ``equal``"""
    check_every: int = 75
    """steps between looks at the unseen draws"""
    patience: int = 4
    """looks without a new best before training stops"""
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0

    def check(self) -> TrainingSettings:
        """These settings, checked. Raises InputError."""
        if self.task_loss not in TASK_LOSSES:
            raise InputError(f"surrogate: task_loss = {self.task_loss!r}: use one of {', '.join(TASK_LOSSES)}")
        return self


class _Records:
    """The sites' weather as the network sees it, by site and day (records padded by zeros, never read)."""

    def __init__(self, towers: list[Tower], keys: tuple[str, ...], year_days: int):
        self.year_days = year_days
        per_day = round(DAY / float(towers[0].forcing.dt))
        features, summaries, places = [], [], []
        for tower in towers:
            days = tower.forcing.steps // per_day
            now = inputs.weather(tower.forcing, tower.site)[: days * per_day].reshape(days, per_day, 1, -1)
            start = jnp.zeros((1, len(inputs.MEMORY) * inputs.REMEMBERED), now.dtype)
            midnight, _ = inputs.past_at_midnight(now, start)
            features.append(np.asarray(inputs.features(now, midnight)[:, :, 0]))
            summaries.append(np.asarray(inputs.day_summary(now)[:, 0]))
            places.append(np.asarray(inputs.attributes(default_parameters(tower.site), tower.site, 1)[0]))
        longest = max(len(part) for part in features)

        def pad(parts):
            return np.stack([np.pad(p, [(0, longest - len(p))] + [(0, 0)] * (p.ndim - 1)) for p in parts])

        self.features, self.summaries, self.places = pad(features), pad(summaries), np.stack(places)

    def batch(self, runs: Runs, shares, chosen: np.ndarray, days: np.ndarray, targets: np.ndarray):
        """Inputs and targets of runs ``chosen`` on the recorded days ``days``, days leading."""
        site, first = runs.site[chosen], runs.first_day[chosen]
        history = first[None] - self.year_days + np.arange(2 * self.year_days)[:, None]
        features = np.moveaxis(self.features[site[None], first[None] + days[:, None]], 1, 2)
        parts = (shares[chosen], self.places[site], self.summaries[site[None], history], features)
        share, place, summary, features = (part.astype(np.float32) for part in parts)
        return share, place, summary, features, days + self.year_days, targets[:, :, chosen][days].astype(np.float32)


def fit(
    towers: list[Tower],
    runs: Runs,
    settings: TrainingSettings = TrainingSettings(),
    fluxes: tuple[str, ...] = FLUXES,
    leave_out: int | None = None,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Surrogate:
    """Fit a network to runs; the weights of the best look at the unseen draws are kept.

    Args:
        fluxes: those it learns; one alone is the single-task case.
        leave_out: index of a site whose runs are not used at all.

    Raises:
        InputError: unknown ``task_loss``.
        ArithmeticError: the loss stops being finite.
    """
    settings.check()
    train, looks = runs.chosen("train"), runs.chosen("draws")
    if leave_out is not None:
        train, looks = train[runs.site[train] != leave_out], looks[runs.site[looks] != leave_out]
    which = [FLUXES.index(flux) for flux in fluxes]
    year_days = _year_days(towers, runs)
    records = _Records(towers, runs.keys, year_days)
    targets = runs.fluxes[..., which].reshape(year_days, -1, runs.site.size, len(which))
    sample = targets[:, :, train].astype(np.float32)
    mean, std = sample.mean((0, 1, 2)), sample.std((0, 1, 2))
    daily = sample.mean(axis=1).std((0, 1)) / std
    daily_std = jnp.asarray(daily)
    del sample
    lower = np.array([PARAMETERS[key].lower for key in runs.keys])
    upper = np.array([PARAMETERS[key].upper for key in runs.keys])
    shares = ((runs.values - lower) / (upper - lower)).astype(np.float32)

    network = Network(runs.keys, fluxes, settings.sizes, settings.seed)
    graph, weights = nnx.split(network)
    unknowns = {"network": weights, "log_variance": jnp.zeros(len(which), jnp.float32)}
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, min(50, settings.steps // 4), settings.steps, 1e-5
    )
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def errors(weights, batch):
        share, place, summary, features, days, target = batch
        network = nnx.merge(graph, weights)
        embedded = network.embed(share[None], place)
        hidden = jnp.zeros((share.shape[0], settings.sizes.hidden), share.dtype)
        starts, _ = network.remember(hidden, summary, embedded)
        difference = network.decode(features, starts[days], embedded) - (target - mean) / std
        # observations are daily at some towers, so the day's mean counts as much as its course
        of_days = (difference.mean(axis=1) / daily_std) ** 2
        return (difference**2).mean((0, 1, 2)), of_days.mean((0, 1))

    def loss_of(unknowns, batch):
        fine, coarse = errors(unknowns["network"], batch)
        loss = fine + coarse
        if settings.task_loss == "equal":
            return loss.mean()
        s = unknowns["log_variance"]
        return (jnp.exp(-s) * loss + s).mean()

    @jax.jit
    def step(unknowns, moments, batch):
        loss, gradient = jax.value_and_grad(loss_of)(unknowns, batch)
        updates, moments = optimiser.update(gradient, moments)
        return optax.apply_updates(unknowns, updates), moments, loss

    look = jax.jit(errors)
    rng = np.random.default_rng(settings.seed)
    fixed = records.batch(runs, shares, looks, np.sort(rng.permutation(year_days)[: settings.days]), targets)
    moments, best, best_error, since, begin = optimiser.init(unknowns), weights, np.inf, 0, time.perf_counter()
    history = []
    for index in range(1, settings.steps + 1):
        chosen = rng.permutation(train)[: settings.columns]
        days = rng.permutation(year_days)[: settings.days]
        unknowns, moments, loss = step(unknowns, moments, records.batch(runs, shares, chosen, days, targets))
        if index % settings.check_every and index != settings.steps:
            continue
        if not np.isfinite(float(loss)):
            raise ArithmeticError(f"surrogate: loss {float(loss)} at step {index}: lower the learning rate")
        fine, coarse = (np.asarray(part) for part in look(unknowns["network"], fixed))
        error = float((fine + coarse).mean())
        history.append({"step": index, "half_hourly": fine.tolist(), "daily": coarse.tolist()})
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
    return Surrogate(network, runs.keys, fluxes, tuple(mean.tolist()), tuple(std.tolist()), settings.sizes, card)


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

    Writes ``surrogate_<key>.npz`` and its card, ``.json`` and ``.md``.

    Args:
        teacher: what is imitated; None is the land surface model.
        unseen_site: also fit without the last site and score there (doubles the fitting time).

    Raises:
        InputError: see ``make_runs`` and ``load_surrogate``.
    """
    import hashlib
    import json

    from mdpl.paths import lsm_path

    settings.check()
    text = runs_key(towers, keys, data) + repr(sorted(asdict(settings).items())) + str(unseen_site)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    file = Path(cache) / f"surrogate_{name}.npz"
    if file.exists():
        return load_surrogate(file)
    runs = make_runs(lsm_path() if teacher is None else teacher, towers, keys, data, Path(cache), progress)
    surrogate = fit(towers, runs, settings, progress=progress)
    scores = [row for split in ("draws", "year") for row in skill(surrogate, towers, runs, split)]
    if unseen_site and len(towers) > 1:
        last = len(towers) - 1
        other = fit(towers, runs, settings, leave_out=last, progress=progress)
        for row in skill(other, towers, runs, "year", only_site=last):
            scores.append(row | {"split": f"site {towers[last].label}"})
    surrogate = with_card(surrogate, surrogate.card | {"scores": scores})
    surrogate.save(file)
    card = json.dumps(surrogate.card, indent=1)
    write_whole(file.with_suffix(".json"), lambda part: part.write_text(card, encoding="utf-8"))
    write_whole(file.with_suffix(".md"), lambda part: part.write_text(card_text(surrogate), encoding="utf-8"))
    return surrogate


def ablation(
    towers: list[Tower],
    runs: Runs,
    settings: TrainingSettings = TrainingSettings(),
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> list[dict]:
    """One network per flux of the same trunk beside the multi-task one: rows of ``skill`` with ``network`` named."""
    rows = []
    for name, fluxes in (("multi-task", FLUXES), *((f"single-task {f}", (f,)) for f in FLUXES)):
        surrogate = fit(towers, runs, settings, fluxes, progress=progress)
        rows += [row | {"network": name} for row in skill(surrogate, towers, runs, "year")]
    return rows
