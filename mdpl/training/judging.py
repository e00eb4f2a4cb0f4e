"""The whole record with a set of parameters: run by a path, written, and scored against the towers.

Whatever learned the parameters, the numbers of a calibration come from here, with the land surface model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jlsm.io import to_dataset, write_dataset
from jlsm.parameters import Parameters
from mdpl.model_paths import at_columns
from mdpl.scores.evaluation import MetricRow, score_fluxes
from mdpl.towers.intervals import model_time
from mdpl.towers.observations import SCORED_FLUXES
from mdpl.training.runner import Runner, RunParameters


@dataclass
class Judgement:
    """Scores of runs of the whole record, and their fluxes."""

    metrics: list[MetricRow] = field(default_factory=list)
    fluxes: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)
    """(site, stage) -> flux -> ``[time]``, W m-2"""

    def add(self, runner: Runner, stage: str, params: RunParameters, directory: Path | None = None) -> None:
        """Spin up, run the whole record of a group of sites, and score it.

        Args:
            runner: of the group, through the path that is judged.
            stage: how the run is called.
            params: of the group's sites.
            directory: where ``<SITE>_<stage>.nc`` goes; None: it is not written.
        """
        group = runner.group
        outputs = runner.whole_record(params)
        for s, (tower, split) in enumerate(zip(group.towers, group.splits, strict=True)):
            of_site = jax.tree.map(lambda leaf, s=s, n=tower.forcing.steps: leaf[:n, ..., s], outputs)
            if directory is not None:
                dataset = to_dataset(of_site, tower.forcing, tower.site, params=_mean_parameters(runner, params, s))
                dataset.attrs["parameter_stage"] = stage
                write_dataset(dataset, directory / f"{tower.label}_{stage}.nc")
            present = [flux for flux in SCORED_FLUXES if getattr(of_site, flux) is not None]
            fluxes = {flux: np.asarray(getattr(of_site, flux), np.float64) for flux in present}
            self.metrics += score_fluxes(
                fluxes, model_time(tower.forcing), tower.observations, split.periods(), tower.label, stage
            )
            self.fluxes[tower.label, stage] = fluxes


def _mean_parameters(runner: Runner, params: RunParameters, s: int) -> Parameters:
    """A site's parameters as its file names them: means over the record where they change with time."""
    if not isinstance(params, Parameters):
        params = params(runner.group.forcing(0, runner.group.towers[s].forcing.steps))
    return jax.tree.map(lambda leaf: leaf.mean() if jnp.ndim(leaf) else leaf, at_columns(params, s))
