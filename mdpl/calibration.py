"""Calibration from towers to run directory: load, train, run the model again with and without, write and draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh

from mdpl.config import Config
from mdpl.files.mark import read_mark
from mdpl.model_paths import ModelPath, lsm_path, sharded
from mdpl.runs import directory as run_directory
from mdpl.runs.claim import CALIBRATION, check_claim, claimed
from mdpl.runs.rows import CourseRow, ParameterRow
from mdpl.scores.evaluation import MetricRow
from mdpl.towers.load import Tower, find_site_files, load_towers, load_usable_towers
from mdpl.training.checkpoints import Checkpoints
from mdpl.training.judging import Judgement
from mdpl.training.learners import NetworkLearner
from mdpl.training.notes import notes_of
from mdpl.training.problem import Problem
from mdpl.training.runner import Runner
from mdpl.training.state import Trained
from mdpl.training.stops import NonFiniteError
from mdpl.training.trainer import Trainer
from mdpl.training.windows import group_towers
from mdpl.unknowns.generator import GENERATOR_FILE, save_generator
from mdpl.unknowns.search_space import declared_forms, select_parameters

EMBEDDED = "five_crops_synthetic"
"""name of the run directory where the embedded towers are calibrated"""


@dataclass(frozen=True)
class Calibration:
    """What a calibration gives back; the run directory holds the same and more."""

    directory: Path
    metrics: list[MetricRow]
    parameters: list[ParameterRow]
    trained: Trained
    notes: list[str]
    """one line each, for the reader: splits, clipping, where the best parameters came from"""


@dataclass
class CalibrationProgress:
    """Callbacks through which a calibration tells how far it is; by default it keeps quiet."""

    stage: Callable[[str], None] = lambda text: None
    epoch: Callable[[int, int, dict[str, float]], None] = lambda epoch, epochs, losses: None


def calibrate(
    config: Config,
    *,
    path: ModelPath | None = None,
    towers: list[Tower] | None = None,
    progress: CalibrationProgress | None = None,
    overwrite: bool = False,
    resume: bool = False,
    mesh: Mesh | None = None,
) -> Calibration:
    """Fit parameters to towers and write the run directory.

    Args:
        config: what to do; checked here.
        path: the model that is judged, and trained through where ``config.path`` is "lsm"; the LSM when None.
        towers: sites in memory instead of ``config.data``.
        progress: callbacks.
        overwrite: remove an earlier run that the directory holds (what is known to be of it) and write there.
        resume: go on from the newest checkpoint of the run directory; the settings must be the same.
        mesh: share windows and sites out over its devices (``jlsm.column_mesh``); None: one device.

    Raises:
        InputError: anything wrong with config, data or run directory.
        NonFiniteError: a loss or gradient that is not finite; ``stopped.json`` then holds the details.
    """
    progress, judge = progress or CalibrationProgress(), _over(mesh, path or lsm_path())
    config = config.check()
    place = config.output or ("" if config.data or config.sites or towers else Path("runs") / EMBEDDED)
    if place:
        check_claim(place, CALIBRATION, overwrite, resume)
    config, towers, left_out = _resolved(config, towers, progress)
    keys = select_parameters(config.parameters, config.exclude)
    forms = declared_forms(config.time_varying, keys)
    groups = group_towers(towers, config)

    def trainer_through(through: ModelPath) -> Trainer:
        return Trainer(Problem(through, groups, keys, config, forms))

    trainer = trainer_through(judge)  # before anything is written: it refuses what does not fit
    with claimed(config.output, CALIBRATION, trainer.problem.labels, overwrite, resume) as directory:
        if not resume:
            run_directory.write_config(directory, config)
            run_directory.write_left_out(directory, left_out)
        phases = {"checkpoints": trainer}
        if config.path != "lsm":
            surrogate = _over(mesh, _surrogate(judge, towers, keys, progress))
            imitation = {"checkpoints_surrogate": trainer_through(surrogate)}
            phases = imitation | (phases if config.path == "surrogate-then-lsm" else {})
        trained: Trained | None = None
        for folder, trainer in phases.items():
            trained = _train(trainer, directory, folder, trained, resume, progress)
        assert trained is not None  # there is a phase
        done = _finished(directory, trainer, judge, trained, progress)
        return dataclasses.replace(done, notes=[*(f"left out: {why}" for why in left_out.values()), *done.notes])


def _over(mesh: Mesh | None, path: ModelPath) -> ModelPath:
    return path if mesh is None else sharded(path, mesh)


def _finished(
    directory: Path, trainer: Trainer, judge: ModelPath, trained: Trained, progress: CalibrationProgress
) -> Calibration:
    """What is left of a training: tables, model files, pictures, report."""
    problem = trainer.problem
    run_directory.write_losses(directory, trained.rows)
    parameters = _write_parameters(directory, trainer, trained)
    judgement = _judged(directory, problem, judge, trained, progress)
    run_directory.write_metrics(directory, judgement.metrics)
    progress.stage("drawing")
    _draw(directory, problem, judgement, trained)
    return Calibration(directory, judgement.metrics, parameters, trained, notes_of(problem, trained))


def _resolved(
    config: Config, towers: list[Tower] | None, progress: CalibrationProgress
) -> tuple[Config, list[Tower], dict[str, str]]:
    """The config with its data folder, sites and output named, the towers, and why others are left out."""
    name, left_out = "", {}
    if towers is None:
        if not config.data:
            from mdpl.data import five_crops_synthetic

            data = five_crops_synthetic(lambda text, done, total: progress.stage(f"embedded data: {text}"))
            config, name = dataclasses.replace(config, data=str(data)), "" if config.sites else EMBEDDED
        progress.stage("reading towers")
        files, sun_check = find_site_files(config.data, config.sites), config.sun_check == "refuse"
        if config.unusable_towers == "skip":
            towers, left_out = load_usable_towers(files, config.lai, sun_check=sun_check)
        if not towers:  # none may be left out, or none is left
            towers = load_towers(files, config.lai, sun_check=sun_check)
    labels = tuple(tower.label for tower in towers)
    output = config.output or str(Path("runs") / (name or "+".join(labels)))
    return dataclasses.replace(config, sites=config.sites or labels, output=output), towers, left_out


def _surrogate(
    teacher: ModelPath, towers: list[Tower], keys: tuple[str, ...], progress: CalibrationProgress
) -> ModelPath:
    """The path through a surrogate of ``teacher`` at these towers, from the cache where one was trained before."""
    from mdpl.data.synthetic import cache_folder
    from mdpl.surrogate.fitting import train_or_load_surrogate
    from mdpl.surrogate.network import surrogate_path

    def told(what: str, share: float) -> None:
        progress.stage(f"surrogate: {what}, {share:.0%}")

    progress.stage("surrogate")
    cache = cache_folder() / "surrogates"
    return surrogate_path(train_or_load_surrogate(towers, keys, cache, teacher=teacher, progress=told))


def _train(
    trainer: Trainer,
    directory: Path,
    folder: str,
    before: Trained | None,
    resume: bool,
    progress: CalibrationProgress,
) -> Trained:
    """Train, with checkpoints in ``folder``; leaves ``stopped.json`` in the run directory where something breaks."""
    mark, problem = read_mark(directory), trainer.problem
    checkpoints = Checkpoints(directory / folder, "" if mark is None else mark.identity)
    progress.stage(f"training {', '.join(problem.labels)}")
    try:
        return trainer.train(
            lambda epoch, losses: progress.epoch(epoch, problem.config.epochs, losses),
            checkpoints,
            resume=resume,
            start=None if before is None else before.weights,
        )
    except NonFiniteError as error:
        run_directory.write_stop(directory, error.details)
        raise
    finally:
        checkpoints.close()


def _write_parameters(directory: Path, trainer: Trainer, trained: Trained) -> list[ParameterRow]:
    """parameters.csv, the courses of what changes with time, and the generator; returns the rows of the first."""
    problem = trainer.problem
    layout, rows, courses = problem.layout, [], []
    varying = [i for i, form in enumerate(layout.forms) if form != "constant"]
    for task in problem.tasks:
        values, unknowns = trained.values[task.rows], trained.unknowns[task.rows]
        rows += run_directory.parameter_rows(task.group.labels, task.space, values, layout, unknowns)
        if not varying:
            continue
        course = problem.courses(task, trained.unknowns)
        for s, i in ((s, i) for s in range(len(task.group.towers)) for i in varying if task.space.active[s, i]):
            label, default = task.group.labels[s], float(task.space.default[s, i])
            courses += [
                CourseRow(label, layout.keys[i], day + 1, float(course[day, s, i]), default)
                for day in range(len(course))
            ]
    run_directory.write_parameter_rows(directory, rows)
    if courses:
        run_directory.write_courses(directory, courses)
    learner = getattr(trainer.optimiser, "learner", None)
    if isinstance(learner, NetworkLearner):
        save_generator(directory / GENERATOR_FILE, learner.network, trained.weights)
    return rows


def _judged(
    directory: Path, problem: Problem, judge: ModelPath, trained: Trained, progress: CalibrationProgress
) -> Judgement:
    """The default and the calibrated parameters over the whole record, by the judge; the surrogate's claim beside."""
    judgement, spinup_years = Judgement(), problem.config.spinup_years
    for task in problem.tasks:
        calibrated = problem.parameters(task, trained.unknowns)
        if problem.path is not judge:
            progress.stage("running the whole record, the surrogate's own claim")
            judgement.add(task.runner, "surrogate", calibrated)
        runner = Runner(judge, task.group, spinup_years)
        for stage, params in {"default": task.default, "calibrated": calibrated}.items():
            progress.stage(f"running the whole record, {stage} parameters")
            judgement.add(runner, stage, params, directory)
    return judgement


def _draw(directory: Path, problem: Problem, judgement: Judgement, trained: Trained) -> None:
    """All pictures, and the report."""
    from mdpl.report.page import write_report
    from mdpl.report.plots import draw_run

    draw_run(directory, problem.groups, judgement, trained.rows)
    run_directory.record_files(directory, problem.config, trained.labels)
    write_report(directory)
