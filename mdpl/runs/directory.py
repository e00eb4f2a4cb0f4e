"""The run directory: what a calibration leaves behind, written and read; every file is complete or not there at all."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jlsm.errors import InputError
from jlsm.files import digest
from jlsm.parameters import PARAMETERS
from mdpl.config import Config, load_config
from mdpl.files import read_rows, write_rows, write_text
from mdpl.files.mark import check_recorded, read_mark, record, write_mark
from mdpl.runs.claim import (
    CONFIG_FILE,
    COURSES_FILE,
    LEFT_OUT_FILE,
    LOSSES_FILE,
    METRICS_FILE,
    PARAMETERS_FILE,
    STAGES,
    STOP_FILE,
    model_file,
    run_files,
)
from mdpl.runs.rows import CourseRow, EpochRow, LeftOutRow, ParameterRow
from mdpl.scores.evaluation import MetricRow
from mdpl.unknowns.search_space import SearchSpace
from mdpl.unknowns.time_varying import UnknownsLayout

if TYPE_CHECKING:
    import xarray

# ---- writing --------------------------------------------------------------------------------------


def write_config(directory: Path, config: Config) -> None:
    """``config.toml``, resolved."""
    write_text(directory / CONFIG_FILE, config.to_toml())


def write_metrics(directory: Path, rows: Iterable[MetricRow]) -> None:
    """``metrics.csv``."""
    write_rows(directory / METRICS_FILE, MetricRow, rows)


def write_parameter_rows(directory: Path, rows: Iterable[ParameterRow]) -> None:
    """``parameters.csv``."""
    write_rows(directory / PARAMETERS_FILE, ParameterRow, rows)


def write_courses(directory: Path, rows: Iterable[CourseRow]) -> None:
    """``parameters_seasonal.csv``: parameters that change with time, by day of year."""
    write_rows(directory / COURSES_FILE, CourseRow, rows)


def write_losses(directory: Path, rows: Iterable[EpochRow]) -> None:
    """``loss.csv``."""
    write_rows(directory / LOSSES_FILE, EpochRow, rows)


def write_left_out(directory: Path, reasons: dict[str, str]) -> None:
    """``towers_left_out.csv``, where there are any: record and reason."""
    if reasons:
        rows = [LeftOutRow(record, reason) for record, reason in reasons.items()]
        write_rows(directory / LEFT_OUT_FILE, LeftOutRow, rows)


def write_stop(directory: Path, details: dict) -> Path:
    """``stopped.json``: what training saw when a number stopped being finite."""
    path = directory / STOP_FILE
    write_text(path, json.dumps(details, indent=2) + "\n")
    return path


def record_files(directory: Path, config: Config, sites: Iterable[str]) -> None:
    """Note in the directory's mark what the run has left so far: what is read back is compared with it."""
    mark = read_mark(directory)
    if mark is not None:
        write_mark(directory, dataclasses.replace(mark, settings=_settings_digest(config)))
    record(directory, run_files(sites))


def _settings_digest(config: Config) -> str:
    """SHA-256 of the settings, without where files lie and which sites are shown: those a user may edit."""
    return digest({key: value for key, value in vars(config).items() if key not in ("data", "output", "sites")}, {})


def parameter_rows(
    labels: Iterable[str],
    space: SearchSpace,
    values: np.ndarray,
    layout: UnknownsLayout | None = None,
    unknowns: np.ndarray | None = None,
) -> list[ParameterRow]:
    """Rows of parameters.csv for one group of sites.

    Args:
        labels: the sites.
        space: their search space.
        values: ``[sites, parameters]``, means over a year where a parameter changes with it.
        layout, unknowns: with them, the coefficients of parameters that change with time get rows of their own.
    """
    rows = []
    for s, label in enumerate(labels):
        parts = [("constant", 0, 1)] * len(space.keys) if layout is None else layout.parts()
        for i, (key, (_, first, last)) in enumerate(zip(space.keys, parts, strict=True)):
            if not space.active[s, i]:
                continue
            bounds = (float(space.lower[i]), float(space.upper[i]))
            default, value = float(space.default[s, i]), float(values[s, i])
            rows.append(ParameterRow(label, key, default, value, PARAMETERS[key].unit, *bounds))
            if layout is not None and unknowns is not None:
                for u in range(first + 1, last):
                    rows.append(ParameterRow(label, layout.names[u], 0.0, float(unknowns[s, u]), "-", None, None))
    return rows


# ---- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run directory's tables."""

    directory: Path
    config: Config
    metrics: list[MetricRow]
    parameters: list[ParameterRow]
    """without the coefficients of parameters that change with time"""
    losses: list[EpochRow]
    courses: list[CourseRow]
    """empty where every parameter is constant in time"""
    left_out: list[LeftOutRow] = dataclasses.field(default_factory=list)
    """towers whose files could not be used"""

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites in the order of metrics.csv."""
        return tuple(dict.fromkeys(row.site for row in self.metrics))

    def model_file(self, site: str, stage: str) -> Path:
        """The LSM's output of a site with ``default`` or ``calibrated`` parameters."""
        return self.directory / model_file(site, stage)

    def check_model_files(self) -> None:
        """Raise InputError where a model file is not as the run of this directory left it."""
        check_recorded(self.directory, [model_file(site, stage) for site in self.sites for stage in STAGES])

    def to_dataset(self) -> xarray.Dataset:
        """The model's output of all sites and stages as one dataset, with dimensions ``site`` and ``stage``.

        Records of different years or steps are joined on their union of times, NaN where a site has none.

        Raises:
            InputError: a model file of the run that is missing or unreadable.
        """
        import xarray as xr

        def joined(datasets: list[xarray.Dataset], name: str, labels: tuple[str, ...]) -> xarray.Dataset:
            return xr.concat(datasets, xr.Variable(name, list(labels)), join="outer", combine_attrs="drop_conflicts")

        stages = [joined([self._output(site, stage) for site in self.sites], "site", self.sites) for stage in STAGES]
        self.check_model_files()
        return joined(stages, "stage", STAGES)

    def _output(self, site: str, stage: str) -> xarray.Dataset:
        import xarray as xr

        path = self.model_file(site, stage)
        try:
            with xr.open_dataset(path) as dataset:
                return dataset.load().squeeze(drop=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a readable NetCDF file ({error}): run the calibration again") from error


def read_run(directory: str | Path) -> Run:
    """Config and tables of a run directory.

    Raises:
        InputError: no such directory; a file that is missing, empty or not what a calibration writes; one of another
            run, or changed since it was written (other than by lines appended to a table).
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory: give the RUN_DIR of `mdpl calibrate`")
    if not (directory / CONFIG_FILE).is_file():
        raise InputError(f"{directory / CONFIG_FILE}: no such file: {directory} is no run directory of mdpl calibrate")
    courses, left_out = directory / COURSES_FILE, directory / LEFT_OUT_FILE
    run = Run(
        directory=directory,
        config=load_config(directory / CONFIG_FILE),
        metrics=read_metrics(directory / METRICS_FILE),
        parameters=[row for row in read_rows(directory / PARAMETERS_FILE, ParameterRow) if row.lower is not None],
        losses=read_rows(directory / LOSSES_FILE, EpochRow),
        courses=read_rows(courses, CourseRow) if courses.is_file() else [],
        left_out=read_rows(left_out, LeftOutRow) if left_out.is_file() else [],
    )
    tables = (METRICS_FILE, PARAMETERS_FILE, LOSSES_FILE, *((COURSES_FILE,) if courses.is_file() else ()))
    check_recorded(directory, tables)
    mark = read_mark(directory)
    if mark is not None and mark.settings != _settings_digest(run.config):
        raise InputError(
            f"{directory / CONFIG_FILE}: its settings are not those of the run of this directory: restore it, or run "
            "the calibration again"
        )
    return run


def read_metrics(path: str | Path) -> list[MetricRow]:
    """Lines of a metrics.csv, in its order; other programs' tables may lack the centred RMSE. Raises InputError."""
    rows = read_rows(Path(path), MetricRow)
    return [dataclasses.replace(row, target=row.target or "raw", crmse=_centred(row)) for row in rows]


def _centred(row: MetricRow) -> float:
    """Centred RMSE over sigma_obs; where the table has none, from the other scores: RMSE^2 = bias^2 + cRMSE^2."""
    if row.crmse is not None:
        return row.crmse
    return math.sqrt(max(row.rmse**2 - row.bias**2, 0.0)) / (row.std_obs or math.nan)
