"""Reading a run directory back: what ``mdpl.runs.directory`` wrote, checked, with errors that name the file."""

from __future__ import annotations

import csv
import math
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jlsm.errors import InputError
from mdpl.config import Config, load_config
from mdpl.scores.evaluation import ScoreRow
from mdpl.scores.metrics import Scores
from mdpl.training.state import EpochRow

SCORE_FIELDS = ("rmse", "bias", "r", "std_mod", "std_obs", "nme", "kge")


class ParameterRow(NamedTuple):
    """One line of parameters.csv."""

    site: str
    name: str
    default: float
    calibrated: float
    unit: str
    lower: float | None
    upper: float | None
    """None in the lines of a time-varying parameter's coefficients, which have no bounds"""


class SeasonalRow(NamedTuple):
    """One line of parameters_seasonal.csv: the value of a parameter on a day of the year."""

    site: str
    name: str
    day: float
    """day of the year, 1 to 366"""
    value: float


@dataclass(frozen=True)
class Run:
    """A run directory's tables."""

    directory: Path
    config: Config
    metrics: list[tuple[str, str, ScoreRow]]
    """(site, stage, scores)"""
    parameters: list[ParameterRow]
    losses: list[EpochRow]
    seasonal: list[SeasonalRow]
    """empty where every parameter is constant in time"""

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites in the order of metrics.csv."""
        return tuple(dict.fromkeys(site for site, _, _ in self.metrics))

    def model_file(self, site: str, stage: str) -> Path:
        """The LSM's output of a site with ``default`` or ``calibrated`` parameters."""
        return self.directory / f"{site}_{stage}.nc"


def read_run(directory: str | Path) -> Run:
    """Config and tables of a run directory.

    Raises:
        InputError: no such directory; a file that is missing, empty or not what a calibration writes.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory: give the RUN_DIR of `mdpl calibrate`")
    if not (directory / "config.toml").is_file():
        raise InputError(
            f"{directory / 'config.toml'}: no such file: {directory} is no run directory of mdpl calibrate"
        )
    config = load_config(directory / "config.toml")
    seasonal = directory / "parameters_seasonal.csv"
    return Run(
        directory=directory,
        config=config,
        metrics=read_metrics(directory / "metrics.csv"),
        # the figures and tables show parameters; coefficients of time-varying ones (no bounds) have their courses
        parameters=[row for row in _records(directory / "parameters.csv", ParameterRow) if row.lower is not None],
        losses=_records(directory / "loss.csv", EpochRow),
        seasonal=_seasonal(seasonal) if seasonal.is_file() else [],
    )


def read_metrics(path: Path) -> list[tuple[str, str, ScoreRow]]:
    """(site, stage, scores) of a metrics.csv, in its order. Raises InputError."""
    rows = []
    for line, record in _table(path, ("site", "flux", "stage", "period", *SCORE_FIELDS, "n")):
        numbers = {name: _number(path, line, record, name) for name in (*SCORE_FIELDS, "crmse") if name in record}
        # tables of other programs may lack the columns added later; the paper's contract has neither
        numbers.setdefault("crmse", _centred(numbers))
        scores = Scores(**numbers, n=int(_number(path, line, record, "n")))
        texts = (record["flux"], record.get("target") or "raw", record["period"], record.get("step") or "")
        rows.append((record["site"], record["stage"], ScoreRow(*texts, scores)))
    return rows


def _centred(scores: dict[str, float]) -> float:
    """Centred RMSE over sigma_obs from the other scores: RMSE^2 = bias^2 + cRMSE^2."""
    return math.sqrt(max(scores["rmse"] ** 2 - scores["bias"] ** 2, 0.0)) / (scores["std_obs"] or math.nan)


def _records(path: Path, kind: type) -> list:
    """Lines of a table as ``kind``, whose annotations say what is a number, a flag or a text."""
    types = typing.get_type_hints(kind)
    found = []
    for line, record in _table(path, tuple(types)):
        values = {}
        for name, annotation in types.items():
            optional = type(None) in typing.get_args(annotation)
            if annotation is str:
                values[name] = record[name]
            elif optional and record[name] == "":
                values[name] = None
            else:
                value = _number(path, line, record, name)
                values[name] = annotation(value) if annotation in (int, bool) else value
        found.append(kind(**values))
    return found


def _seasonal(path: Path) -> list[SeasonalRow]:
    return [
        SeasonalRow(record["site"], record["name"], *(_number(path, line, record, key) for key in ("day", "value")))
        for line, record in _table(path, SeasonalRow._fields)
    ]


def _table(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Numbered lines of a CSV file that has ``columns``."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: the calibration did not finish: run `mdpl calibrate` again")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            names = reader.fieldnames or ()
            rows = [(reader.line_num, record) for record in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV table ({error}): run `mdpl calibrate` again") from error
    missing = [name for name in columns if name not in names]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}: not a table of mdpl calibrate, run it again")
    if not rows:
        raise InputError(f"{path}: no line under the header: the calibration did not finish, run it again")
    for line, record in rows:
        if None in record or None in record.values():
            raise InputError(f"{path}: line {line}: not {len(names)} cells: the file is cut or edited, run it again")
    return rows


def _number(path: Path, line: int, record: dict[str, str], name: str) -> float:
    try:
        return float(record[name])
    except ValueError as error:
        raise InputError(f"{path}: line {line}: {name} = {record[name]!r}: not a number: restore the file") from error
