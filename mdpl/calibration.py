"""Calibration from towers to run directory: load, train, run the model again with and without, write and draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jlsm.parameters import Parameters
from mdpl.config import Config
from mdpl.model_paths import Path as ModelPath
from mdpl.runs import directory as run_directory
from mdpl.scores.evaluation import ScoreRow, score_fluxes
from mdpl.towers.intervals import model_time
from mdpl.towers.load import Tower, find_site_files, load_towers
from mdpl.towers.observations import FLUXES
from mdpl.training.checkpoints import Checkpoints
from mdpl.training.learners import NetworkLearner
from mdpl.training.runner import Given, Runner
from mdpl.training.state import Task as TrainingTask
from mdpl.training.state import Trained
from mdpl.training.stops import NonFiniteError
from mdpl.training.trainer import Trainer
from mdpl.training.windows import at_columns, group_towers
from mdpl.unknowns.generator import FILE, save_generator
from mdpl.unknowns.search_space import declared_forms, select_parameters

STAGES = ("default", "calibrated")


@dataclass(frozen=True)
class Calibration:
    """What a calibration found; the run directory holds the same and more."""

    directory: Path
    metrics: list[tuple[str, str, ScoreRow]]
    """(site, stage, scores)"""
    parameters: list[tuple]
    """rows of parameters.csv"""
    trained: Trained
    notes: list[str]
    """one line each, for the reader: splits, clipping, where the best parameters came from"""


@dataclass
class Progress:
    """Callbacks through which a calibration tells how far it is; by default it keeps quiet."""

    stage: Callable[[str], None] = lambda text: None
    epoch: Callable[[int, int, dict[str, float]], None] = lambda epoch, epochs, losses: None


def calibrate(
    config: Config,
    *,
    path: ModelPath | None = None,
    towers: list[Tower] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Calibration:
    """Fit parameters to towers and write the run directory.

    Args:
        config: what to do; checked here.
        path: the model that is judged, and trained through where ``config.path`` is "lsm"; the LSM when None.
        towers: sites in memory instead of ``config.data``.
        progress: callbacks.
        overwrite: write into a directory that holds an earlier run.
        resume: go on from the newest checkpoint of the run directory; the settings must be the same.

    Raises:
        InputError: anything wrong with config, data or run directory.
        NonFiniteError: a loss or gradient that is not finite; ``stopped.json`` then holds the details.
    """
    config = config.check()
    progress = progress or Progress()
    keys = select_parameters(config.parameters, config.exclude)
    forms = declared_forms(config.time_varying, keys)
    embedded = towers is None and not config.data
    if towers is None:
        if embedded:
            config = dataclasses.replace(config, data=str(_embedded_data(progress)))
        progress.stage("reading towers")
        towers = load_towers(find_site_files(config.data, config.sites), config.lai)
    labels = tuple(tower.label for tower in towers)
    name = "five_crops_synthetic" if embedded and not config.sites else "+".join(labels)
    output = config.output or str(Path("runs") / name)
    config = dataclasses.replace(config, sites=config.sites or labels, output=output)
    groups = group_towers(towers, config)
    if path is None:
        from mdpl.model_paths import lsm_path

        path = lsm_path()
    trainer, result = Trainer(path, groups, keys, config, forms), None
    directory = run_directory.create_run_directory(output, overwrite, resume)
    if not resume:
        run_directory.write_config(directory, config)
    imitation = None if config.path == "lsm" else _surrogate(path, towers, keys, progress)
    for phase in (imitation, path) if config.path == "surrogate-then-lsm" else (imitation or path,):
        if trainer.path is not phase:
            trainer = Trainer(phase, groups, keys, config, forms)
        folder = directory / ("checkpoints" if phase is path else "checkpoints_surrogate")
        start = None if result is None else result.weights
        result = _train(trainer, directory, folder, start, resume, progress)
    run_directory.write_losses(directory, result.rows)
    parameters = _write_parameters(directory, trainer, result)
    metrics, notes, series = [], _notes(trainer, config, result), {}
    for task in trainer.tasks:
        learned = trainer.parameters(task, result.unknowns)
        if trainer.path is imitation:
            progress.stage("running the whole record, the surrogate's own claim")
            run_stage(None, task, "surrogate", learned, metrics, {})
        judged = task._replace(runner=Runner(path, task.group, config))
        for stage, params in {"default": task.default, "calibrated": learned}.items():
            progress.stage(f"running the whole record, {stage} parameters")
            run_stage(directory, judged, stage, params, metrics, series)
    run_directory.write_metrics(directory, metrics)
    progress.stage("drawing")
    from mdpl.report.plots import draw_run

    splits = {tower.label: split for group in groups for tower, split in zip(group.towers, group.splits, strict=True)}
    draw_run(directory, towers, splits, metrics, result.rows, series)
    from mdpl.report.page import write_report

    write_report(directory)
    return Calibration(directory, metrics, parameters, result, notes)


def _embedded_data(progress: Progress) -> Path:
    from mdpl.data import five_crops_synthetic

    return five_crops_synthetic(lambda text, done, total: progress.stage(f"embedded data: {text}"))


def _surrogate(teacher: ModelPath, towers: list[Tower], keys: tuple[str, ...], progress: Progress) -> ModelPath:
    """The path through a surrogate of ``teacher`` at these towers, from the cache where one was trained before."""
    from mdpl.data.synthetic import cache_folder
    from mdpl.model_paths import surrogate_path
    from mdpl.surrogate.fitting import train_or_load_surrogate

    progress.stage("surrogate")
    told = lambda what, share: progress.stage(f"surrogate: {what}, {share:.0%}")  # noqa: E731
    return surrogate_path(
        train_or_load_surrogate(towers, keys, cache_folder() / "surrogates", teacher=teacher, progress=told)
    )


def _train(trainer: Trainer, directory: Path, folder: Path, start, resume: bool, progress: Progress) -> Trained:
    """Train, with checkpoints in ``folder``; leaves ``stopped.json`` in the run directory where something breaks."""
    checkpoints = Checkpoints(folder)
    progress.stage(f"training {', '.join(trainer.labels)}")
    epochs = trainer.config.epochs
    try:
        return trainer.train(
            lambda epoch, losses: progress.epoch(epoch, epochs, losses), checkpoints, resume=resume, start=start
        )
    except NonFiniteError as error:
        run_directory.write_stop(directory, error.details)
        raise
    finally:
        checkpoints.close()


def _write_parameters(directory: Path, trainer: Trainer, result: Trained) -> list[tuple]:
    """parameters.csv, the courses of what changes with time, and the generator; returns the rows of the first."""
    rows, courses = [], []
    varying = [i for i, form in enumerate(trainer.layout.forms) if form != "constant"]
    for task in trainer.tasks:
        values, unknowns = result.values[task.rows], result.unknowns[task.rows]
        rows += run_directory.parameter_rows(task.group.labels, task.space, values, trainer.layout, unknowns)
        course = trainer.courses(task, result.unknowns) if varying else None
        for s, i in ((s, i) for s in range(len(task.group.towers)) for i in varying if task.space.active[s, i]):
            start = (task.group.labels[s], trainer.layout.keys[i])
            courses += [(*start, day + 1, course[day, s, i], task.space.default[s, i]) for day in range(len(course))]
    run_directory.write_parameters(directory, rows)
    if courses:
        run_directory.write_courses(directory, courses)
    if isinstance(trainer.learner, NetworkLearner):
        network = trainer.learner.network
        run_directory.write_whole(directory / FILE, lambda part: save_generator(part, network, result.weights))
    return rows


def run_stage(
    directory: Path | None, task: TrainingTask, stage: str, params: Given, metrics: list, series: dict
) -> None:
    """Spin up, run the whole record, write NetCDF (no directory: none), score; collects ``metrics``, ``series``."""
    from jlsm.io import to_dataset, write_dataset

    group = task.group
    outputs = task.runner.whole_record(params)
    for s, (tower, split) in enumerate(zip(group.towers, group.splits, strict=True)):
        own = jax.tree.map(lambda leaf, s=s, n=tower.forcing.steps: leaf[:n, ..., s], outputs)
        if directory is not None:
            dataset = to_dataset(own, tower.forcing, tower.site, params=_written(task, params, s))
            dataset.attrs["parameter_stage"] = stage
            write_dataset(dataset, directory / f"{tower.label}_{stage}.nc")
        given = [flux for flux in FLUXES if getattr(own, flux) is not None]
        fluxes = {flux: np.asarray(getattr(own, flux), np.float64) for flux in given}
        periods = {"train": split.train, "test": split.test}
        if split.validation is not None:
            periods["validation"] = split.validation
        rows = score_fluxes(fluxes, model_time(tower.forcing), tower.observations, periods)
        metrics += [(tower.label, stage, row) for row in rows]
        series[tower.label, stage] = fluxes


def _written(task: TrainingTask, params: Given, s: int) -> Parameters:
    """A site's parameters as its file names them: means over the record where they change with time."""
    if not isinstance(params, Parameters):
        params = params(task.group.forcing(0, task.group.towers[s].forcing.steps))
    own = at_columns(params, s)
    return jax.tree.map(lambda leaf: leaf.mean() if jnp.ndim(leaf) else leaf, own)


def _notes(trainer: Trainer, config: Config, result: Trained) -> list[str]:
    notes = []
    pairs = [pair for t in trainer.tasks for pair in zip(t.group.towers, t.group.splits, strict=True)]
    judged = "validation years" if config.validation_years else "training years"
    for s, (tower, split) in enumerate(pairs):
        notes.append(f"{tower.label}: {split.words}; target {config.target}, {tower.observations.step} observations")
        notes += [f"{tower.label}: {note}" for note in tower.observations.notes]
        rows = [row for row in result.rows if row.site == tower.label and row.epoch > 0]
        clipped = [row for row in rows if row.clipped]
        if clipped:
            largest = max(row.gradient_norm for row in clipped)
            notes.append(
                f"{tower.label}: gradient clipped in {len(clipped)} of {len(rows)} epochs "
                f"(largest norm {largest:.3g}, clip_norm {config.clip_norm:g})"
            )
        best = int(result.best_epoch[s])
        if best == 0:
            notes.append(f"{tower.label}: no epoch beat the default on the {judged}: the default is kept")
        elif best != result.last_epoch:
            notes.append(f"{tower.label}: lowest loss on the {judged} at epoch {best} of {config.epochs}: used")
    if result.last_epoch < config.epochs:
        notes.append(
            f"stopped early after epoch {result.last_epoch} of {config.epochs}: {config.patience} refresh(es) without "
            f"a better loss on the {judged}"
        )
    return notes
