"""mdpl: learning the land surface model's parameters from flux towers, by its own derivatives.

What most users need; the rooms of the package hold the rest:

- a calibration: ``Config``, ``load_config``, ``calibrate``, ``Calibration``, ``CalibrationProgress``, ``transfer``
- towers: ``find_site_files``, ``load_towers``, ``Tower``, ``Observations``, ``load_observations``
- the embedded and the public data: ``five_crops_synthetic``, ``fetch_sites``
- parameters that are searched: ``select_parameters``, ``load_generator``
- what a calibration differentiates: ``ModelPath``, ``lsm_path``, ``surrogate_path``, ``load_surrogate``
- training by hand: ``group_towers``, ``Problem``, ``Trainer``
- results: ``read_run``, ``Run``, ``MetricRow``, ``evaluate_file``, ``write_report``

Names are loaded when they are first used, so that ``mdpl --help`` need not wait for jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see; a test compares it with the table below
    from mdpl.calibration import Calibration as Calibration
    from mdpl.calibration import CalibrationProgress as CalibrationProgress
    from mdpl.calibration import calibrate as calibrate
    from mdpl.config import Config as Config
    from mdpl.config import load_config as load_config
    from mdpl.data.fetch import fetch_sites as fetch_sites
    from mdpl.data.synthetic import five_crops_synthetic as five_crops_synthetic
    from mdpl.model_paths import ModelPath as ModelPath
    from mdpl.model_paths import lsm_path as lsm_path
    from mdpl.report.page import write_report as write_report
    from mdpl.runs.directory import Run as Run
    from mdpl.runs.directory import read_run as read_run
    from mdpl.scale.transfer import transfer as transfer
    from mdpl.scores.evaluation import MetricRow as MetricRow
    from mdpl.scores.evaluation import evaluate_file as evaluate_file
    from mdpl.surrogate.network import load_surrogate as load_surrogate
    from mdpl.surrogate.network import surrogate_path as surrogate_path
    from mdpl.towers.load import Tower as Tower
    from mdpl.towers.load import find_site_files as find_site_files
    from mdpl.towers.load import load_towers as load_towers
    from mdpl.towers.observations import Observations as Observations
    from mdpl.towers.observations import load_observations as load_observations
    from mdpl.training.problem import Problem as Problem
    from mdpl.training.trainer import Trainer as Trainer
    from mdpl.training.windows import group_towers as group_towers
    from mdpl.unknowns.generator import load_generator as load_generator
    from mdpl.unknowns.search_space import select_parameters as select_parameters

_HOME = {
    "Calibration": "calibration",
    "CalibrationProgress": "calibration",
    "calibrate": "calibration",
    "Config": "config",
    "load_config": "config",
    "fetch_sites": "data.fetch",
    "five_crops_synthetic": "data.synthetic",
    "ModelPath": "model_paths",
    "lsm_path": "model_paths",
    "write_report": "report.page",
    "Run": "runs.directory",
    "read_run": "runs.directory",
    "transfer": "scale.transfer",
    "MetricRow": "scores.evaluation",
    "evaluate_file": "scores.evaluation",
    "load_surrogate": "surrogate.network",
    "surrogate_path": "surrogate.network",
    "Tower": "towers.load",
    "find_site_files": "towers.load",
    "load_towers": "towers.load",
    "Observations": "towers.observations",
    "load_observations": "towers.observations",
    "Problem": "training.problem",
    "Trainer": "training.trainer",
    "group_towers": "training.windows",
    "load_generator": "unknowns.generator",
    "select_parameters": "unknowns.search_space",
}
"""Where each public name lives."""

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mdpl' has no attribute {name!r}")
    value = getattr(import_module(f"mdpl.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
