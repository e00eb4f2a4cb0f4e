"""Calibration from towers to run directory: load, train, run the model again with and without, write and draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jlsm.errors import InputError
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters
from mdpl import run_directory
from mdpl.config import Config
from mdpl.evaluate import ScoreRow, score_fluxes
from mdpl.intervals import model_time
from mdpl.observations import FLUXES
from mdpl.paths import Path as ModelPath
from mdpl.search_space import search_space, select_parameters
from mdpl.sites import Tower, find_site_files, load_towers
from mdpl.training import NonFiniteError, Runner, Trained, Trainer
from mdpl.windows import Group, at_columns, group_towers

STAGES = ("default", "calibrated")


@dataclass(frozen=True)
class Calibration:
    """What a calibration found; the run directory holds the same and more."""

    directory: Path
    metrics: list[tuple[str, str, ScoreRow]]
    """(site, stage, scores)"""
    parameters: list[tuple]
    """rows of parameters.csv"""
    trained: list[Trained]
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
) -> Calibration:
    """Fit parameters to towers and write the run directory.

    Args:
        config: what to do; checked here.
        path: the model; the LSM when None.
        towers: sites in memory instead of ``config.data``.
        progress: callbacks.
        overwrite: write into a directory that holds an earlier run.

    Raises:
        InputError: anything wrong with config, data or run directory.
        NonFiniteError: a loss or gradient that is not finite; ``stopped.json`` then holds the details.
    """
    config = config.check()
    progress = progress or Progress()
    keys = select_parameters(config.parameters, config.exclude)
    if towers is None:
        if not config.data:
            raise InputError(
                "no config and no data: the embedded data set is not there yet (issue 3): give --data DIR with "
                "<SITE>_*_Met.nc and _Flux.nc files"
            )
        progress.stage("reading towers")
        towers = load_towers(find_site_files(config.data, config.sites), config.lai)
    labels = tuple(tower.label for tower in towers)
    output = config.output or str(Path("runs") / "+".join(labels))
    config = dataclasses.replace(config, sites=config.sites or labels, output=output)
    groups = group_towers(towers, config)
    if path is None:
        from mdpl.paths import lsm_path

        path = lsm_path()
    directory = run_directory.create_run_directory(output, overwrite)
    run_directory.write_config(directory, config)

    metrics, parameters, trained, losses, notes, series = [], [], [], [], [], {}
    for group in groups:
        default = path.default_parameters(group.site)
        space = search_space(keys, default, len(group.towers))
        progress.stage(f"training {', '.join(group.labels)}")
        result = _train(path, group, space, default, config, directory, progress)
        trained.append(result)
        losses += result.rows
        parameters += run_directory.parameter_rows(group.labels, space, result.values)
        notes += _notes(group, config, result)
        runner = Runner(path, group, config)
        stages = {"default": default, "calibrated": space.insert(default, jnp.asarray(result.values))}
        for stage, params in stages.items():
            progress.stage(f"running the whole record, {stage} parameters")
            _run_stage(directory, runner, stage, params, metrics, series)
    run_directory.write_losses(directory, losses)
    run_directory.write_parameters(directory, parameters)
    run_directory.write_metrics(directory, metrics)
    progress.stage("drawing")
    from mdpl.plots import draw_run

    splits = {tower.label: split for group in groups for tower, split in zip(group.towers, group.splits, strict=True)}
    draw_run(directory, towers, splits, metrics, losses, series)
    return Calibration(directory, metrics, parameters, trained, notes)


def _train(path, group, space, default, config, directory, progress) -> Trained:
    trainer = Trainer(path, group, space, default, config)
    try:
        return trainer.train(
            lambda epoch, losses: progress.epoch(epoch, config.epochs, losses), checkpoints=directory / "checkpoints"
        )
    except NonFiniteError as error:
        run_directory.write_stop(directory, error.details)
        raise


def _run_stage(directory: Path, runner: Runner, stage: str, params: Parameters, metrics: list, series: dict) -> None:
    """Spin up, run the whole record, write NetCDF, score; collects into ``metrics`` and ``series``."""
    from jlsm.io import to_dataset, write_dataset

    group = runner.group
    outputs = whole_record(runner, params)
    for s, (tower, split) in enumerate(zip(group.towers, group.splits, strict=True)):
        own = jax.tree.map(lambda leaf, s=s, n=tower.forcing.steps: leaf[:n, ..., s], outputs)
        own_params = at_columns(params, s)
        dataset = to_dataset(own, tower.forcing, tower.site, params=own_params)
        dataset.attrs["parameter_stage"] = stage
        write_dataset(dataset, directory / f"{tower.label}_{stage}.nc")
        fluxes = {flux: np.asarray(getattr(own, flux), np.float64) for flux in FLUXES}
        periods = {"train": split.train, "test": split.test}
        rows = score_fluxes(fluxes, model_time(tower.forcing), tower.observations, periods)
        metrics += [(tower.label, stage, row) for row in rows]
        series[tower.label, stage] = fluxes


def whole_record(runner: Runner, params: Parameters) -> Outputs:
    """Spin-up and the run of the whole record, all sites of a group, ``[time, ..., sites]`` (NumPy)."""
    state = runner.spin_up(params)
    pieces = []
    for index in range(runner.group.windows):
        outputs, state = runner.window(params, index, state)
        pieces.append(jax.tree.map(np.asarray, outputs))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def _notes(group: Group, config: Config, result: Trained) -> list[str]:
    notes = []
    for s, (tower, split) in enumerate(zip(group.towers, group.splits, strict=True)):
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
            notes.append(f"{tower.label}: no epoch beat the default on the training years: the default is kept")
        elif best != config.epochs:
            notes.append(f"{tower.label}: lowest loss of the training record at epoch {best} of {config.epochs}: used")
    return notes
