"""The training loop: windows run through the model, gradients come back, the learner steps.

A step runs the windows of all sites as columns (one batch per group of sites with one clock), takes each site's loss
and its gradient by that site's unknowns, and gives it to the learner: all of it in one compiled function. Every
``refresh_every`` epochs a forward run of the record with the current parameters renews the windows' start states; a
gradient treats the start state as given, so it holds what parameters do *within* a window. The same run gives the
loss of the continuous record; the parameters with the lowest such loss on the validation years (without such: on the
training years), the default included, are the result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jlsm.errors import InputError
from mdpl.config import Config
from mdpl.model_paths import Path as ModelPath
from mdpl.scores.losses import Compared, Pool, prior_penalty, total_loss
from mdpl.towers.features import leaf_area_course
from mdpl.towers.intervals import interval_means
from mdpl.training.checkpoints import Checkpoints, named_arrays, rebuild
from mdpl.training.gauss_newton import GaussNewton, kept
from mdpl.training.gradient import losses_and_gradient, mode_of
from mdpl.training.learners import Learner, make_learner, schedule_of
from mdpl.training.runner import Given, Runner
from mdpl.training.state import EpochRow, Task, Trained, TrainingState, arrays_of, unstacked
from mdpl.training.stops import NonFiniteError, non_finite_error
from mdpl.training.windows import Columns, Group
from mdpl.unknowns.search_space import search_spaces
from mdpl.unknowns.time_varying import Layout, course, layout_of

SAVE_EVERY = 60.0
"""seconds after which an epoch is saved even without a refresh"""


class Trainer:
    """Fits the parameters of all groups of sites."""

    def __init__(
        self, path: ModelPath, groups: list[Group], keys: tuple[str, ...], config: Config,
        forms: dict[str, str] | None = None,
    ):  # fmt: skip
        """Args: ``keys`` to search; ``forms`` of those that change with time (full keys, see ``time_varying``)."""
        self.config, self.path = config, path
        defaults = [path.default_parameters(group.site) for group in groups]
        spaces = search_spaces(keys, [(d, len(group.towers)) for d, group in zip(defaults, groups, strict=True)])
        self.layout: Layout = layout_of(spaces[0].keys, forms or {}, config.harmonics)
        self.tasks, first = [], 0
        for group, space, default in zip(groups, spaces, defaults, strict=True):
            rows = slice(first, first + len(group.towers))
            runner = Runner(path, group, config)
            self.tasks.append(Task(group, space, default, runner, group.training_columns(), rows))
            first = rows.stop
        self.labels = tuple(label for group in groups for label in group.labels)
        self.active = np.concatenate([self.layout.active(space) for space in spaces])
        self.steps_per_epoch = self._steps_per_epoch()
        self.schedule = schedule_of(config, self.steps_per_epoch)
        self.learner: Learner = make_learner(config, groups, self.layout, self.schedule)
        self.traces = 0
        self._step = jax.jit(self._training_step)
        self._unknowns = jax.jit(self.learner.unknowns)
        self._record_losses = jax.jit(self.losses, static_argnums=0)
        self.newton = GaussNewton(self) if config.optimiser == "gauss-newton" else None

    # ---- one step ---------------------------------------------------------------------------------

    def losses(self, sites: int, model, targets, site_of_column):
        """Loss per site of flux means ``[intervals, columns]`` against their targets."""
        compared = {flux: Compared(model[flux], *target) for flux, target in targets.items()}
        return total_loss(compared, self.config.loss, self.config.fluxes, Pool(site_of_column, sites))

    def _training_step(self, weights, moments, batches):
        self.traces += 1
        unknowns, pullback = jax.vjp(self.learner.unknowns, weights)
        columns = sum(batch[-1].size for batch in batches)
        mode = mode_of(self.config.gradient, unknowns, columns)
        simulate = self.path.differentiated(mode)

        def losses_of(unknowns):
            losses = []
            for task, (params, forcing, site, state, targets, sites) in zip(self.tasks, batches, strict=True):
                own = unknowns[task.rows]
                full = self.layout.insert(params, task.space, own[sites], sites, forcing)
                outputs, _ = simulate(full, forcing, site, state, fields=tuple(targets))
                model = {f: interval_means(getattr(outputs, f), task.group.ratio, task.group.offset) for f in targets}
                losses.append(self.losses(len(task.group.towers), model, targets, sites))
            return jnp.concatenate(losses) + self.config.prior * prior_penalty(unknowns, self.active)

        losses, gradient = losses_and_gradient(losses_of, unknowns, mode)
        weights, moments, norms = self.learner.update(weights, moments, gradient, pullback)
        return weights, moments, losses, gradient, norms

    # ---- the loop ---------------------------------------------------------------------------------

    def train(
        self,
        on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, losses: None,
        checkpoints: Checkpoints | None = None,
        resume: bool = False,
        start: Any = None,
    ) -> Trained:
        """Run all epochs.

        Args:
            on_epoch: called with the epoch and the losses by site.
            checkpoints: where to save, at every refresh, once a minute, and when interrupted.
            resume: go on from the newest checkpoint; from the beginning where there is none.
            start: weights of the learner to begin with (another path's ``Trained.weights``), which epoch 0 then
                scores; None: those of the default parameters.

        Raises:
            NonFiniteError: at the first loss or gradient that is not finite.
            InputError: a checkpoint of other settings or data, or that cannot be read or written.
        """
        found = checkpoints.latest() if resume and checkpoints is not None else None
        now = self._begin(start) if found is None else self._restore(*found)
        rng = np.random.default_rng()
        rng.bit_generator.state = now.draws
        saved, saved_at = now.epoch if found else None, time.monotonic()
        try:
            self._report(now, on_epoch)
            while now.epoch < self.config.epochs and not self._stopped_early(now):
                now = self._epoch(now, rng)
                if checkpoints is not None and (self._refreshes(now.epoch) or time.monotonic() > saved_at + SAVE_EVERY):
                    self._save(checkpoints, now)
                    saved, saved_at = now.epoch, time.monotonic()
                self._report(now, on_epoch)
        except KeyboardInterrupt:
            if checkpoints is not None and saved != now.epoch:
                self._save(checkpoints, now)
            raise
        return Trained(
            self.labels, self.mean_values(now.best_unknowns), now.best_unknowns, now.best_weights, now.rows,
            now.best_epoch, now.epoch, self.traces,
        )  # fmt: skip

    def _begin(self, start: Any = None) -> TrainingState:
        """Epoch 0: the default model, exactly, unless other weights are given."""
        weights, moments = self._initial()
        given = [task.default for task in self.tasks]
        if start is not None:
            weights = jax.tree.map(jnp.asarray, start)
            unknowns = np.asarray(self._unknowns(weights))
            given = [self.parameters(task, unknowns) for task in self.tasks]
        unknowns = np.asarray(self._unknowns(weights))
        starts = [task.runner.spin_up(params) for task, params in zip(self.tasks, given, strict=True)]
        states, record, validation = self._refresh(given, starts, 0, unknowns)
        chosen = record if validation is None else validation
        rows = [
            EpochRow(0, label, float(record[s]), float(record[s]), 0.0, False, 0.0, _item(validation, s))
            for s, label in enumerate(self.labels)
        ]
        draws = np.random.default_rng(self.config.seed).bit_generator.state
        best_epoch = np.zeros(len(self.labels), int)
        return TrainingState(
            0, weights, moments, starts, states, unknowns, weights, chosen, best_epoch, 0, draws, rows
        )  # fmt: skip

    def _iteration(self, now: TrainingState) -> TrainingState:
        """An epoch of the Gauss-Newton method: a step, and a run of the record that judges it."""
        epoch, weights, damping = now.epoch + 1, np.asarray(now.weights), np.asarray(now.moments)
        current = np.array([row.loss for row in now.rows[-len(self.labels) :]])
        trial, gradient = self.newton.iterate(weights, damping, now.states)
        if not np.isfinite(gradient).all():
            draw = [task.columns for task in self.tasks]
            raise self._error(epoch, current, gradient, weights, now.states, draw)
        given = [self.parameters(task, trial) for task in self.tasks]
        # always from the default's spun-up state: every trial is judged by the same function
        states, record, validation = self._refresh(given, self._followed(given, now.starts), epoch, trial)
        better, damping = self.newton.judge(damping, current, record)
        own = [better[task.rows] for task in self.tasks]
        now = dataclasses.replace(
            now,
            epoch=epoch,
            weights=jnp.asarray(np.where(better[:, None], trial, weights)),
            moments=damping,
            states=[
                [kept(sites, *pair) for pair in zip(new, old, strict=True)]
                for sites, new, old in zip(own, states, now.states, strict=True)
            ],
        )
        now = self._choose(now, trial, record if validation is None else validation)
        losses, norms = np.where(better, record, current), np.linalg.norm(gradient, axis=1)
        rows = [
            EpochRow(
                epoch, label, float(losses[s]), float(record[s]), float(norms[s]), False, 0.0, _item(validation, s)
            )
            for s, label in enumerate(self.labels)
        ]
        return dataclasses.replace(now, rows=[*now.rows, *rows])

    def _initial(self) -> tuple[Any, Any]:
        """(weights, what the optimiser carries) before training."""
        weights, moments = self.learner.initial()
        return weights, moments if self.newton is None else self.newton.first()

    def _epoch(self, now: TrainingState, rng: np.random.Generator) -> TrainingState:
        """One pass over the training windows; a refresh where one is due."""
        if self.newton is not None:
            return self._iteration(now)
        epoch, weights, moments = now.epoch + 1, now.weights, now.moments
        losses, norms = [], []
        for draw in self._draws(rng):
            batches = [task.batch(*rest) for task, *rest in zip(self.tasks, draw, now.states, strict=True)]
            previous = weights
            weights, moments, loss, gradient, norm = self._step(previous, moments, batches)
            loss, gradient = np.asarray(loss), np.asarray(gradient)
            if not (np.isfinite(loss).all() and np.isfinite(gradient).all()):
                raise self._error(epoch, loss, gradient, np.asarray(self._unknowns(previous)), now.states, draw)
            losses.append(loss)
            norms.append(np.asarray(norm))
        draws = rng.bit_generator.state
        now = dataclasses.replace(now, epoch=epoch, weights=weights, moments=moments, draws=draws)
        record = validation = None
        if self._refreshes(epoch):
            unknowns = np.asarray(self._unknowns(weights))
            given = [self.parameters(task, unknowns) for task in self.tasks]
            starts = self._followed(given, now.starts)
            states, record, validation = self._refresh(given, starts, epoch, unknowns)
            now = dataclasses.replace(now, starts=starts, states=states)
            now = self._choose(now, unknowns, record if validation is None else validation)
        mean_loss, largest = np.mean(losses, axis=0), np.max(norms, axis=0)
        rate = float(self.schedule(epoch * self.steps_per_epoch - 1))
        rows = [
            EpochRow(
                epoch, label, float(mean_loss[s]), _item(record, s), float(largest[s]),
                bool(largest[s] > self.config.clip_norm), rate, _item(validation, s),
            )
            for s, label in enumerate(self.labels)
        ]  # fmt: skip
        return dataclasses.replace(now, rows=[*now.rows, *rows])

    def _choose(self, now: TrainingState, unknowns: np.ndarray, loss: np.ndarray) -> TrainingState:
        """Keep what is better: site by site where sites are independent, else all sites together by their mean."""
        if self.learner.per_site:
            better = loss < now.best_loss
        else:
            better = np.full(loss.shape, loss.mean() < now.best_loss.mean())
        best_unknowns = np.where(better[:, None], unknowns, now.best_unknowns)
        return dataclasses.replace(
            now,
            best_unknowns=best_unknowns,
            best_weights=jnp.asarray(best_unknowns) if self.learner.per_site
            else (now.weights if better.any() else now.best_weights),
            best_loss=np.where(better, loss, now.best_loss),
            best_epoch=np.where(better, now.epoch, now.best_epoch),
            stale=0 if better.any() else now.stale + 1,
        )  # fmt: skip

    def _followed(self, given: list[Given], starts: list) -> list:
        """The states at the starts of the records after another year: deep soil follows the parameters."""
        return [task.runner.year(*pair) for task, *pair in zip(self.tasks, given, starts, strict=True)]

    def _refresh(
        self, given: list[Given], starts: list, epoch: int, unknowns: np.ndarray
    ) -> tuple[list[list], np.ndarray, np.ndarray | None]:
        """Forward runs of the record: start states of the windows, losses of training and validation per site."""
        all_states, parts = [], {False: [], True: []}
        for task, params, start in zip(self.tasks, given, starts, strict=True):
            group = task.group
            states, means = task.runner.record(params, group.last_training_window() + 1, start)
            all_states.append(states)
            for validation in (False, True) if self.config.validation_years else (False,):
                columns = group.validation_columns() if validation else task.columns
                model = {flux: jnp.asarray(m[columns.window, :, columns.site].T) for flux, m in means.items()}
                targets = group.targets(columns, validation)
                loss = self._record_losses(len(group.towers), model, targets, jnp.asarray(columns.site))
                parts[validation].append(np.asarray(loss))
        record = np.concatenate(parts[False])
        validation = np.concatenate(parts[True]) if parts[True] else None
        scored = record if validation is None else record + validation
        if not np.isfinite(scored).all():
            draw = [task.columns for task in self.tasks]
            raise self._error(epoch, scored, np.zeros_like(unknowns), unknowns, all_states, draw)
        return all_states, record, validation

    # ---- parameters -------------------------------------------------------------------------------

    def parameters(self, task: Task, unknowns: Float[np.ndarray, "sites unknowns"]) -> Given:
        """Parameters of a group's sites from all sites' unknowns."""
        own, sites = jnp.asarray(unknowns[task.rows]), np.arange(len(task.group.towers))
        if self.layout.varies:
            return lambda forcing: self.layout.insert(task.default, task.space, own, sites, forcing)
        return self.layout.insert(task.default, task.space, own, sites, task.group.forcing(0, 1))

    def courses(self, task: Task, unknowns: Float[np.ndarray, "sites unknowns"]) -> Float[np.ndarray, "365 sites n"]:
        """Every parameter by day of year."""
        lai = [leaf_area_course(*pair) for pair in zip(task.group.towers, task.group.splits, strict=True)]
        return course(self.layout, task.space, unknowns[task.rows], np.stack(lai, axis=1))

    def mean_values(self, unknowns: Float[np.ndarray, "sites unknowns"]) -> Float[np.ndarray, "sites parameters"]:
        """Parameter values, as means over a year where they change with it."""
        if self.layout.varies:
            return np.concatenate([self.courses(task, unknowns).mean(axis=0) for task in self.tasks])
        return np.concatenate([np.asarray(task.space.values(jnp.asarray(unknowns[task.rows]))) for task in self.tasks])

    # ---- batches ----------------------------------------------------------------------------------

    def _steps_per_epoch(self) -> int:
        if self.config.windows_per_step == 0:
            return 1
        most = max(int(np.bincount(task.columns.site).max()) for task in self.tasks)
        return -(-most // self.config.windows_per_step)

    def _draws(self, rng: np.random.Generator):
        """The batches of an epoch (columns per group); all have the same shape, so nothing recompiles."""
        if self.config.windows_per_step == 0:
            yield [task.columns for task in self.tasks]
            return
        orders = [[self._order(task, s, rng) for s in range(len(task.group.towers))] for task in self.tasks]
        for step in range(self.steps_per_epoch):
            yield [
                Columns(
                    np.concatenate([np.full(order.shape[1], s) for s, order in enumerate(own)]),
                    np.concatenate([order[step] for order in own]),
                )
                for own in orders
            ]

    def _order(self, task: Task, s: int, rng: np.random.Generator) -> np.ndarray:
        windows = rng.permutation(task.columns.window[task.columns.site == s])
        size = min(self.config.windows_per_step, windows.size)
        return np.resize(windows, (self.steps_per_epoch, size))

    # ---- small matters of the loop ------------------------------------------------------------------

    def _refreshes(self, epoch: int) -> bool:
        return self.newton is not None or epoch % self.config.refresh_every == 0 or epoch == self.config.epochs

    def _stopped_early(self, now: TrainingState) -> bool:
        return 0 < self.config.patience <= now.stale

    def _report(self, now: TrainingState, on_epoch) -> None:
        on_epoch(now.epoch, {row.site: row.loss for row in now.rows[-len(self.labels) :]})

    def _error(self, epoch, losses, gradient, unknowns, states, draw) -> NonFiniteError:
        bad = ~(np.isfinite(losses) & np.isfinite(gradient).all(axis=1))
        s = int(np.argmax(bad))
        which = next(i for i, task in enumerate(self.tasks) if s < task.rows.stop)
        task = self.tasks[which]
        names = [n for n, g in zip(self.layout.names, gradient[s], strict=True) if not np.isfinite(g)]
        return non_finite_error(
            task.runner, self.parameters(task, unknowns), states[which], draw[which], s - task.rows.start,
            epoch=epoch, loss=float(losses[s]), bad_unknowns=names,
            named_values=lambda: dict(zip(self.layout.keys, self.mean_values(unknowns)[s].tolist(), strict=True)),
        )  # fmt: skip

    # ---- checkpoints ------------------------------------------------------------------------------

    def _save(self, checkpoints: Checkpoints, now: TrainingState) -> None:
        facts = {
            "settings": self._settings(),
            "data": self._data_digest(),
            "epoch": now.epoch,
            "stale": now.stale,
            "draws": now.draws,
            "best_loss": now.best_loss.astype(float).tolist(),
            "best_epoch": now.best_epoch.tolist(),
            "precision": str(now.best_loss.dtype),
            "windows": [len(states) for states in now.states],
            "rows": [dataclasses.asdict(row) for row in now.rows],
        }
        checkpoints.save(now.epoch, named_arrays(arrays_of(now)), facts)

    def _restore(self, arrays: dict[str, np.ndarray], facts: dict) -> TrainingState:
        self._check_settings(facts)
        weights, moments = self._initial()
        starts = [task.runner.spin_up(task.default, years=0) for task in self.tasks]  # only their structure counts
        states = [[start] * count for start, count in zip(starts, facts["windows"], strict=True)]
        best_loss = np.asarray(facts["best_loss"]).astype(facts["precision"])
        best_epoch = np.asarray(facts["best_epoch"], int)
        rows = [EpochRow(**row) for row in facts["rows"]]
        unknowns = np.asarray(self._unknowns(weights))
        blank = TrainingState(
            facts["epoch"], weights, moments, starts, states, unknowns, weights, best_loss, best_epoch, facts["stale"],
            facts["draws"], rows,
        )  # fmt: skip
        tree = rebuild(arrays_of(blank), arrays)
        stacks = zip(tree["states"], facts["windows"], strict=True)
        tree["states"] = [unstacked(stack, count) for stack, count in stacks]
        on_device = {name: jax.tree.map(jnp.asarray, tree[name]) for name in ("weights", "moments", "best_weights")}
        return dataclasses.replace(blank, **(tree | on_device))

    def _settings(self) -> dict:
        settings = {key: value for key, value in vars(self.config).items() if key != "output"}
        return json.loads(json.dumps(settings))

    def _check_settings(self, facts: dict) -> None:
        old, new = facts["settings"], self._settings()
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                raise InputError(
                    f"config: {key} = {new.get(key)!r} differs from the checkpoint's {old.get(key)!r}: resume with the "
                    "same settings, or start again with --overwrite"
                )
        if facts["data"] != self._data_digest():
            raise InputError("checkpoint: forcing or observations have changed since: start again with --overwrite")

    def _data_digest(self) -> str:
        found = hashlib.sha256()
        for task in self.tasks:
            group = task.group
            for table in (group.series, group.observed, group.weight, group.validation):
                for name in sorted(table):
                    found.update(f"{name}:{table[name].shape}".encode())
                    found.update(np.ascontiguousarray(table[name]).tobytes())
        return found.hexdigest()


def _item(values: np.ndarray | None, s: int) -> float | None:
    return None if values is None else float(values[s])
