"""Leave-one-site-out: a generator trained at all sites but one writes the parameters of the one it never saw.

Only the held-out site's weather, leaf area and attributes reach the generator, and of its record only the part before
its test years; its fluxes serve for the scores alone. With a handful of sites a failure says little about the method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from jlsm.errors import InputError
from mdpl.calibration import CalibrationProgress
from mdpl.config import Config
from mdpl.files import read_rows, write_rows
from mdpl.files.mark import record
from mdpl.model_paths import ModelPath
from mdpl.runs.claim import TRANSFER, TRANSFER_FILE, TRANSFERRED_FILE, check_claim, claimed
from mdpl.scale.running import TaskState, run_task
from mdpl.scale.tasks import EACH, SweepTask, check_transferable, leave_out, placed
from mdpl.scores.evaluation import MetricRow
from mdpl.towers.load import Tower, find_site_files, load_towers


def transfer(
    config: Config,
    *,
    path: ModelPath | None = None,
    towers: list[Tower] | None = None,
    progress: CalibrationProgress | None = None,
    stage: Callable[[str], None] = lambda text: None,
    overwrite: bool = False,
    resume: bool = False,
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
        resume: go on with an earlier run there: what is done is not done again.

    Returns:
        Scores; the stage is ``default`` or ``transferred``.

    Raises:
        InputError: fewer than two sites, another learner than the network, anything wrong with config or data.
        NonFiniteError: as ``calibrate``. A site where something goes wrong does not stop the others.
    """
    config = config.check()
    check_transferable(config, "config")
    output = Path(config.output or "runs/transfer")
    check_claim(output, TRANSFER, overwrite, resume)
    if towers is None:
        towers = load_towers(
            find_site_files(config.data, config.sites),
            config.lai,
            sun_check=config.sun_check == "refuse",
            skip_unusable=config.unusable_towers == "skip",
        )
    if len(towers) < 2:
        raise InputError(f"transfer needs two sites or more, {len(towers)} given: add --sites or data")
    labels = tuple(tower.label for tower in towers)
    every = SweepTask("", dataclasses.replace(config, sites=labels))
    tasks = placed(leave_out(every, [EACH], "config"), output, "config")
    rows, errors = [], []
    with claimed(output, TRANSFER, labels, overwrite, resume, parts=[task.name for task in tasks]) as output:
        for task in tasks:
            stage(f"training without {task.without}")
            try:
                status = run_task(task, path=path, towers=towers, progress=progress)
                if status.state is not TaskState.DONE:
                    raise InputError(status.note)
            except (InputError, FloatingPointError) as error:
                stage(f"without {task.without}: {error}")
                errors.append(error)
                continue
            rows += read_rows(task.directory / TRANSFERRED_FILE, MetricRow)
        if errors:
            raise errors[0]
        write_rows(output / TRANSFER_FILE, MetricRow, rows)
        record(output, [TRANSFER_FILE])
    return rows
