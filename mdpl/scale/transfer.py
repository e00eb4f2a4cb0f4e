"""Leave-one-site-out: a generator trained at all sites but one writes the parameters of the one it never saw.

Only the held-out site's weather, leaf area and attributes reach the generator, and of its record only the part before
its test years; its fluxes serve for the scores alone. With a handful of sites a failure says little about the method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jlsm.errors import InputError
from mdpl.calibration import Progress, calibrate
from mdpl.config import Config
from mdpl.model_paths import Path as ModelPath
from mdpl.runs import directory as run_directory
from mdpl.scores.evaluation import ScoreRow, score_fluxes
from mdpl.towers.intervals import model_time
from mdpl.towers.load import Tower, find_site_files, load_towers
from mdpl.towers.observations import FLUXES
from mdpl.training.runner import Given, Runner
from mdpl.training.windows import group_towers
from mdpl.unknowns.generator import load_generator

COLUMNS = ("site", "flux", "stage", "period", *run_directory.METRIC_COLUMNS, "target", "step")


def transfer(
    config: Config,
    *,
    path: ModelPath | None = None,
    towers: list[Tower] | None = None,
    progress: Progress | None = None,
    stage: Callable[[str], None] = lambda text: None,
    overwrite: bool = False,
) -> list[tuple[str, str, ScoreRow]]:
    """Train without each site in turn and score it with the default and with the transferred parameters.

    Writes ``<output>/without_<SITE>/`` (a run directory each) and ``<output>/transfer.csv``.

    Returns:
        (site, stage = default | transferred, scores).

    Raises:
        InputError: fewer than two sites, another learner than the network, anything wrong with config or data.
    """
    config = config.check()
    if config.learner != "network":
        raise InputError(f"config: learner = {config.learner!r}: only the network's parameters can be transferred")
    towers = load_towers(find_site_files(config.data, config.sites), config.lai) if towers is None else towers
    if len(towers) < 2:
        raise InputError(f"transfer needs two sites or more, {len(towers)} given: add --sites or data")
    if path is None:
        from mdpl.model_paths import lsm_path

        path = lsm_path()
    output = Path(config.output or "runs/transfer")
    found = []
    for held_out in towers:
        stage(f"training without {held_out.label}")
        others = [tower for tower in towers if tower is not held_out]
        folder = output / f"without_{held_out.label}"
        own = dataclasses.replace(config, output=str(folder), sites=tuple(tower.label for tower in others))
        calibrate(own, path=path, towers=others, progress=progress, overwrite=overwrite)
        found += _scores(held_out, folder, path, config)
    rows = (
        (site, row.flux, stage, row.period, *(getattr(row.scores, name) for name in run_directory.METRIC_COLUMNS))
        + (row.target, row.step)
        for site, stage, row in found
    )
    run_directory.write_table(output / "transfer.csv", COLUMNS, rows)
    return found


def _scores(tower: Tower, folder: Path, path: ModelPath, config: Config) -> list[tuple[str, str, ScoreRow]]:
    (group,) = group_towers([tower], config)
    (split,) = group.splits
    default = path.default_parameters(group.site)
    generator = load_generator(folder)
    unknowns = generator.unknowns([tower], [split])
    stages: dict[str, Given] = {
        "default": default,
        "transferred": lambda forcing: generator.parameters(default, unknowns, forcing),
    }
    runner = Runner(path, group, config)
    rows = []
    for stage, params in stages.items():
        outputs = runner.whole_record(params)
        own = jax.tree.map(lambda leaf: leaf[: tower.forcing.steps, ..., 0], outputs)
        fluxes = {flux: np.asarray(getattr(own, flux), np.float64) for flux in FLUXES}
        periods = {"train": split.train, "test": split.test}
        scored = score_fluxes(fluxes, model_time(tower.forcing), tower.observations, periods)
        rows += [(tower.label, stage, row) for row in scored]
    return rows
