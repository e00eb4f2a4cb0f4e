"""The training loop: windows run through the model, gradients come back, Adam steps.

Each site is its own problem (own parameters, own gradient norm, own Adam moments); sites share a batch only because
columns are cheap. Every ``refresh_every`` epochs a forward run of the record with the current parameters renews the
windows' start states; a gradient treats the start state as given, so it holds what parameters do *within* a
window. The same run gives the loss of the continuous record, and the parameters with the lowest such loss on the
training years, the default included, are the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jlsm.outputs import Outputs
from jlsm.parameters import Parameters
from jlsm.state import State
from mdpl.config import Config
from mdpl.gradient import losses_and_gradient
from mdpl.intervals import interval_means
from mdpl.losses import Compared, Pool, total_loss
from mdpl.paths import Path as ModelPath
from mdpl.search_space import SearchSpace
from mdpl.windows import Columns, Group, at_columns, start_states


class NonFiniteError(ArithmeticError):
    """A loss or gradient stopped being finite; ``details`` says where and with which parameters."""

    def __init__(self, message: str, details: dict):
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class EpochRow:
    """One line of loss.csv."""

    epoch: int
    site: str
    loss: float
    """mean over the epoch's steps of the windows' loss, before each step; epoch 0: the exact default model"""
    record_loss: float | None
    """loss of the continuous run of the training years after this epoch, where a refresh fell on it"""
    gradient_norm: float
    clipped: bool
    """True where the gradient was longer than clip_norm and was shortened"""
    learning_rate: float


@dataclass
class Trained:
    """What training gives back."""

    values: Float[np.ndarray, "sites parameters"]
    """best parameter values"""
    rows: list[EpochRow] = field(default_factory=list)
    best_epoch: np.ndarray | None = None
    traces: int = 0
    """how often the training step was traced (1: no recompilation)"""


class Runner:
    """Forward runs of a group, window by window through one compiled function (flat memory)."""

    def __init__(self, path: ModelPath, group: Group, config: Config):
        self.group = group
        self.site = group.site.numeric()
        self.spinup_years = config.spinup_years
        self._spin_up = path.spin_up
        self._simulate = jax.jit(path.simulate)

    def spin_up(self, params: Parameters) -> State:
        """The state at the start of the record."""
        shortest = min(tower.forcing.steps for tower in self.group.towers)
        return self._spin_up(params, self.group.forcing(0, shortest), self.site, years=self.spinup_years)

    def window(self, params: Parameters, index: int, state: State) -> tuple[Outputs, State]:
        """All sites through one window."""
        steps = self.group.steps
        return self._simulate(params, self.group.forcing(index * steps, (index + 1) * steps), self.site, state)

    def interval_fluxes(self, outputs: Outputs) -> dict[str, np.ndarray]:
        """Means over the observed intervals of a window, ``[intervals, sites]``, of the fluxes in the loss."""
        group = self.group
        return {f: np.asarray(interval_means(getattr(outputs, f), group.ratio, group.offset)) for f in group.observed}

    def record(self, params: Parameters, windows: int, state: State) -> tuple[list[State], dict[str, np.ndarray]]:
        """Start state of each of the first ``windows`` windows, and flux means ``[windows, intervals, sites]``."""
        states, fluxes = [], []
        for index in range(windows):
            states.append(state)
            outputs, state = self.window(params, index, state)
            fluxes.append(self.interval_fluxes(outputs))
        return states, {flux: np.stack([means[flux] for means in fluxes]) for flux in fluxes[0]}


class Trainer:
    """Fits the parameters of one group of sites."""

    def __init__(self, path: ModelPath, group: Group, space: SearchSpace, params: Parameters, config: Config):
        self.group, self.space, self.params, self.config = group, space, params, config
        self.runner = Runner(path, group, config)
        self.columns = group.training_columns()
        self.rng = np.random.default_rng(config.seed)
        self.steps_per_epoch = self._steps_per_epoch()
        total = max(1, config.epochs * self.steps_per_epoch)
        self.schedule = optax.cosine_decay_schedule(config.learning_rate, total, alpha=0.05)
        self.optimiser = optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(self.schedule))
        self.traces = 0
        self._simulate = path.simulate
        self._step = jax.jit(self._training_step)
        self._record_losses = jax.jit(self._losses)

    # ---- one step ---------------------------------------------------------------------------------

    def _losses(self, model, targets, site_of_column) -> Float[Array, "sites"]:
        """Loss per site of flux means ``[intervals, columns]`` against their targets."""
        compared = {flux: Compared(model[flux], *target) for flux, target in targets.items()}
        pool = Pool(site_of_column, len(self.group.towers))
        return total_loss(compared, self.config.loss, self.config.fluxes, pool)

    def _training_step(self, unknowns, moments, params, forcing, site, state, targets, site_of_column):
        self.traces += 1

        def losses_of(u):
            values = self.space.values(u)[site_of_column]
            full = self.space.insert(params, values)
            outputs, _ = self._simulate(full, forcing, site, state, fields=tuple(targets))
            model = {f: interval_means(getattr(outputs, f), self.group.ratio, self.group.offset) for f in targets}
            return self._losses(model, targets, site_of_column)

        losses, gradient = losses_and_gradient(losses_of, unknowns, self.config.gradient)
        norms = jnp.sqrt((gradient**2).sum(axis=1))
        updates, moments = jax.vmap(self.optimiser.update)(gradient, moments)
        return optax.apply_updates(unknowns, updates), moments, losses, gradient, norms

    # ---- the loop ---------------------------------------------------------------------------------

    def train(
        self,
        on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, losses: None,
        checkpoints: Path | None = None,
    ) -> Trained:
        """Run all epochs.

        Args:
            on_epoch: called with the epoch and the losses by site.
            checkpoints: folder for ``epoch_NNNN.npz``, written at every refresh.

        Raises:
            NonFiniteError: at the first loss or gradient that is not finite.
        """
        config, group, space = self.config, self.group, self.space
        dtype = np.result_type(group.series["Tair"])
        unknowns = jnp.asarray(space.start(), dtype)
        moments = jax.vmap(self.optimiser.init)(unknowns)
        result = Trained(values=space.default.copy(), best_epoch=np.zeros(len(group.towers), int))
        start = self.runner.spin_up(self.params)
        states, best_loss = self._refresh(self.params, start, epoch=0, values=space.default)
        for s, label in enumerate(group.labels):
            result.rows.append(EpochRow(0, label, float(best_loss[s]), float(best_loss[s]), 0.0, False, 0.0))
        on_epoch(0, dict(zip(group.labels, best_loss.tolist(), strict=True)))

        for epoch in range(1, config.epochs + 1):
            losses, norms = [], []
            for columns in self._draws():
                batch = self._batch(columns, states)
                previous = unknowns
                unknowns, moments, loss, gradient, norm = self._step(previous, moments, *batch)
                loss, gradient = np.asarray(loss), np.asarray(gradient)
                if not (np.isfinite(loss).all() and np.isfinite(gradient).all()):
                    self._stop(epoch, loss, gradient, np.asarray(space.values(previous)), states, columns)
                losses.append(loss)
                norms.append(np.asarray(norm))
            rate = float(self.schedule(epoch * self.steps_per_epoch - 1))
            record_loss = None
            if epoch % config.refresh_every == 0 or epoch == config.epochs:
                values = np.asarray(space.values(unknowns))
                params = space.insert(self.params, jnp.asarray(values, dtype))
                # a pass over the first year lets the deep soil follow the parameters
                _, start = self.runner.window(params, 0, start)
                states, record_loss = self._refresh(params, start, epoch, values)
                better = record_loss < best_loss
                result.values[better] = values[better]
                result.best_epoch[better] = epoch
                best_loss = np.minimum(best_loss, record_loss)
                if checkpoints is not None:
                    save_checkpoint(checkpoints / f"epoch_{epoch:04d}.npz", epoch, unknowns, moments, result)
            mean_loss, largest = np.mean(losses, axis=0), np.max(norms, axis=0)
            for s, label in enumerate(group.labels):
                full = None if record_loss is None else float(record_loss[s])
                clipped = bool(largest[s] > config.clip_norm)
                row = EpochRow(epoch, label, float(mean_loss[s]), full, float(largest[s]), clipped, rate)
                result.rows.append(row)
            on_epoch(epoch, dict(zip(group.labels, mean_loss.tolist(), strict=True)))
        result.traces = self.traces
        return result

    def _refresh(
        self, params: Parameters, start: State, epoch: int, values: np.ndarray
    ) -> tuple[list[State], np.ndarray]:
        """Forward run of the training years: start states of the windows, and the loss per site."""
        states, means = self.runner.record(params, self.group.last_training_window() + 1, start)
        columns = self.columns
        model = {flux: jnp.asarray(m[columns.window, :, columns.site].T) for flux, m in means.items()}
        loss = np.asarray(self._record_losses(model, self.group.targets(columns), jnp.asarray(columns.site)))
        if not np.isfinite(loss).all():
            self._stop(epoch, loss, np.zeros_like(values), values, states, columns)
        return states, loss

    # ---- batches ----------------------------------------------------------------------------------

    def _steps_per_epoch(self) -> int:
        if self.config.windows_per_step == 0:
            return 1
        return -(-int(np.bincount(self.columns.site).max()) // self.config.windows_per_step)

    def _draws(self):
        """The batches of an epoch; every batch has the same number of columns, so nothing recompiles."""
        if self.config.windows_per_step == 0:
            yield self.columns
            return
        orders = []
        for s in range(len(self.group.towers)):
            windows = self.rng.permutation(self.columns.window[self.columns.site == s])
            size = min(self.config.windows_per_step, windows.size)
            orders.append(np.resize(windows, (self.steps_per_epoch, size)))
        for step in range(self.steps_per_epoch):
            site = np.concatenate([np.full(order.shape[1], s) for s, order in enumerate(orders)])
            yield Columns(site, np.concatenate([order[step] for order in orders]))

    def _batch(self, columns: Columns, states: list[State]):
        params = at_columns(self.params, columns.site)
        site = at_columns(self.runner.site, columns.site)
        forcing = self.group.window_forcing(columns)
        state = start_states(states, columns)
        return params, forcing, site, state, self.group.targets(columns), jnp.asarray(columns.site)

    # ---- when it goes wrong -----------------------------------------------------------------------

    def _stop(self, epoch, losses, gradient, values, states, columns) -> None:
        s = int(np.argmax(~(np.isfinite(losses) & np.isfinite(gradient).all(axis=1))))
        label = self.group.labels[s]
        when, flux = self._first_non_finite(s, values, states, columns)
        bad = [key for key, g in zip(self.space.keys, gradient[s], strict=True) if not np.isfinite(g)]
        if when:
            place = f"{flux} is not finite from {when}"
        else:
            windows = columns.window[columns.site == s].tolist()
            starts = [str(self.group.window_start_time(window, s)) for window in windows]
            place = f"the run is finite, the gradient is not (windows from {', '.join(starts)}; by {', '.join(bad)})"
        parameters = dict(zip(self.space.keys, values[s].tolist(), strict=True))
        named = ", ".join(f"{key.split('.')[1]}={value:.4g}" for key, value in parameters.items())
        raise NonFiniteError(
            f"site {label}, epoch {epoch}: loss {losses[s]:g}: {place}; parameters {named}",
            {"site": label, "epoch": epoch, "time": when, "flux": flux, "parameters": parameters, "bad_gradients": bad},
        )

    def _first_non_finite(self, s, values, states, columns) -> tuple[str | None, str | None]:
        params = self.space.insert(self.params, jnp.asarray(values, np.result_type(self.group.series["Tair"])))
        for window in sorted(set(columns.window[columns.site == s].tolist())):
            outputs, _ = self.runner.window(params, window, states[window])
            for flux in self.group.observed:
                broken = ~np.isfinite(np.asarray(getattr(outputs, flux))[:, s])
                if broken.any():
                    start = self.group.window_start_time(window, s)
                    seconds = int(np.argmax(broken)) * int(self.group.dt[s])
                    return str(start + np.timedelta64(seconds, "s")), flux
        return None, None


def save_checkpoint(path: Path, epoch: int, unknowns, moments, result: Trained) -> None:
    """Write what is needed to look at (later: go on from) an epoch; appears under its name only when complete."""
    leaves = {f"moment_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(moments))}
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as stream:
        np.savez(
            stream, epoch=epoch, unknowns=np.asarray(unknowns), best_values=result.values,
            best_epoch=result.best_epoch, **leaves,
        )  # fmt: skip
    os.replace(part, path)
