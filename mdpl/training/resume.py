"""Going on after an interruption: a training state as a checkpoint, and back, for the same settings and data only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jlsm._version import package_version
from jlsm.errors import InputError, RepairWarning
from mdpl.config import modern_settings
from mdpl.runs.rows import EpochRow
from mdpl.training.checkpoints import Arrays, Checkpoints, Facts, named_arrays, rebuild
from mdpl.training.optimisers import Optimiser
from mdpl.training.problem import Problem
from mdpl.training.state import TrainingState, arrays_of, unstacked


def save_checkpoint(checkpoints: Checkpoints, problem: Problem, now: TrainingState) -> None:
    """Write a checkpoint. Raises InputError: it cannot be written."""
    facts = {
        "settings": _settings(problem),
        "data": data_digest(problem),
        "places": places_digest(problem),
        "version": package_version(),
        "path": problem.path.identity,
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


def restore_checkpoint(problem: Problem, optimiser: Optimiser, arrays: Arrays, facts: Facts) -> TrainingState:
    """The state a checkpoint holds; one of another version of the package is told by a ``RepairWarning``.

    Raises:
        InputError: it is of other settings, data, or another surrogate; it lacks something.
    """
    try:
        _check_settings(problem, facts)
        return _restored(problem, optimiser, arrays, facts)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"checkpoint: incomplete ({error!r}): start again with --overwrite") from error


def _restored(problem: Problem, optimiser: Optimiser, arrays: Arrays, facts: Facts) -> TrainingState:
    weights, moments = optimiser.initial()
    starts = [task.runner.spin_up(task.default, years=0) for task in problem.tasks]  # only their structure counts
    blank = TrainingState(
        epoch=facts["epoch"],
        weights=weights,
        moments=moments,
        starts=starts,
        states=[[start] * count for start, count in zip(starts, facts["windows"], strict=True)],
        best_unknowns=np.asarray(optimiser.unknowns(weights)),
        best_weights=weights,
        best_loss=np.asarray(facts["best_loss"]).astype(facts["precision"]),
        best_epoch=np.asarray(facts["best_epoch"], int),
        stale=facts["stale"],
        draws=facts["draws"],
        rows=[EpochRow(**row) for row in facts["rows"]],
    )
    tree = rebuild(arrays_of(blank), arrays)
    stacks = zip(tree["states"], facts["windows"], strict=True)
    tree["states"] = [unstacked(stack, count) for stack, count in stacks]
    on_device = {name: jax.tree.map(jnp.asarray, tree[name]) for name in ("weights", "moments", "best_weights")}
    return dataclasses.replace(blank, **(tree | on_device))


def data_digest(problem: Problem) -> str:
    """SHA-256 of the forcing, targets and weights of all groups."""
    digest = hashlib.sha256()
    for task in problem.tasks:
        group = task.group
        for table in (group.series, group.observed, group.weight, group.validation):
            for name in sorted(table):
                digest.update(f"{name}:{table[name].shape}".encode())
                digest.update(np.ascontiguousarray(table[name]).tobytes())
    return digest.hexdigest()


def places_digest(problem: Problem) -> str:
    """SHA-256 of the sites' numbers and the default parameters that follow from their soil and vegetation."""
    digest = hashlib.sha256()
    for task in problem.tasks:
        for leaf in jax.tree.leaves((task.runner.site, task.default)):
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _settings(problem: Problem) -> dict:
    settings = {key: value for key, value in vars(problem.config).items() if key != "output"}
    return json.loads(json.dumps(settings))


def _check_settings(problem: Problem, facts: Facts) -> None:
    old, new = modern_settings(facts["settings"]), _settings(problem)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise InputError(
                f"config: {key} = {new.get(key)!r} differs from the checkpoint's {old.get(key)!r}: resume with the "
                "same settings, or start again with --overwrite"
            )
    if facts["data"] != data_digest(problem):
        raise InputError("checkpoint: forcing or observations have changed since: start again with --overwrite")
    places = places_digest(problem)
    if facts.get("places", places) != places:  # 0.1.0 did not say
        raise InputError(
            "checkpoint: a site's place, soil or vegetation has changed since (site file, Met file): start again with "
            "--overwrite"
        )
    if facts.get("path", problem.path.identity) != problem.path.identity:
        raise InputError("checkpoint: of a training through another surrogate: start again with --overwrite")
    version = facts.get("version", package_version())  # 0.1.0 did not say
    if version != package_version():
        message = f"checkpoint: written by version {version}, this is {package_version()}: numbers may differ slightly"
        warnings.warn(message, RepairWarning, stacklevel=3)
