"""Leave-one-site-out: a generator trained at all sites but one writes the parameters of the one it never saw.

Only the held-out site's weather, leaf area and attributes reach the generator, and of its record only the part before
its test years; its fluxes serve for the scores alone. With a handful of sites a failure says little about the method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from jlsm.errors import InputError
from mdpl.calibration import CalibrationProgress, calibrate
from mdpl.config import Config
from mdpl.files import write_rows
from mdpl.files.mark import record
from mdpl.model_paths import ModelPath, lsm_path
from mdpl.runs.claim import TRANSFER, TRANSFER_FILE, WITHOUT, check_claim, claimed
from mdpl.scores.evaluation import MetricRow
from mdpl.towers.load import Tower, find_site_files, load_towers
from mdpl.training.judging import Judgement
from mdpl.training.runner import Runner
from mdpl.training.windows import group_towers
from mdpl.unknowns.generator import load_generator


def transfer(
    config: Config,
    *,
    path: ModelPath | None = None,
    towers: list[Tower] | None = None,
    progress: CalibrationProgress | None = None,
    stage: Callable[[str], None] = lambda text: None,
    overwrite: bool = False,
) -> list[MetricRow]:
    """Train without each site in turn and score it with the default and with the transferred parameters.

    Writes ``<output>/without_<SITE>/`` (a run directory each) and ``<output>/transfer.csv``.

    Args:
        config: as for ``calibrate``; the learner must be the network.
        path: the model; the LSM when None.
        towers: sites in memory instead of ``config.data``.
        progress: callbacks of each calibration.
        stage: told which site is left out.
        overwrite: remove an earlier run that the folder holds (what is known to be of it) first.

    Returns:
        Scores; the stage is ``default`` or ``transferred``.

    Raises:
        InputError: fewer than two sites, another learner than the network, anything wrong with config or data.
    """
    config = config.check()
    if config.learner != "network":
        raise InputError(f"config: learner = {config.learner!r}: only the network's parameters can be transferred")
    output = Path(config.output or "runs/transfer")
    check_claim(output, TRANSFER, overwrite)
    if towers is None:
        towers = load_towers(
            find_site_files(config.data, config.sites),
            config.lai,
            sun_check=config.sun_check == "refuse",
            skip_unusable=config.unusable_towers == "skip",
        )
    if len(towers) < 2:
        raise InputError(f"transfer needs two sites or more, {len(towers)} given: add --sites or data")
    path = path or lsm_path()
    judgement = Judgement()
    with claimed(output, TRANSFER, [tower.label for tower in towers], overwrite) as output:
        for held_out in towers:
            stage(f"training without {held_out.label}")
            others = [tower for tower in towers if tower is not held_out]
            folder = output / f"{WITHOUT}{held_out.label}"
            without = dataclasses.replace(config, output=str(folder), sites=tuple(tower.label for tower in others))
            calibrate(without, path=path, towers=others, progress=progress)
            _judge(judgement, held_out, folder, path, config)
        write_rows(output / TRANSFER_FILE, MetricRow, judgement.metrics)
        record(output, [TRANSFER_FILE])
    return judgement.metrics


def _judge(judgement: Judgement, tower: Tower, folder: Path, path: ModelPath, config: Config) -> None:
    """The held-out tower with its default parameters and with those of the generator in ``folder``."""
    (group,) = group_towers([tower], config)
    default = path.default_parameters(group.site)
    generator = load_generator(folder)
    unknowns = generator.unknowns([tower], list(group.splits))
    runner = Runner(path, group, config.spinup_years)
    judgement.add(runner, "default", default)
    judgement.add(runner, "transferred", lambda forcing: generator.parameters(default, unknowns, forcing))
