"""SWEEP.toml: many calibrations in one file.

```toml
output = "runs/encoders"          # beside this file; left out: runs/<name of this file>
leave_out = "each"                # or a list of sites; left out: none
[settings]                        # of all tasks; or config = "base.toml", or both
epochs = 8
[vary]                            # every combination is a task
seed = [0, 1, 2]
encoder = ["gru", "lstm"]
[[task]]                          # one more
learner = "direct"
[slurm]
time = "2:00:00"
```
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jlsm.errors import InputError
from jlsm.io.toml_file import read_toml
from mdpl.config import SETTINGS, Config, Kind, config_from_dict, load_config
from mdpl.scale.slurm import slurm_options
from mdpl.scale.tasks import EACH, SweepTask, checked_config, combinations, leave_out, name_of, placed

_KEYS = ("output", "config", "leave_out", "settings", "vary", "task", "slurm")
_OF_A_TASK = ("name", "without")
"""keys of a [[task]] that are no settings"""


@dataclass(frozen=True)
class Sweep:
    """What a sweep file asks for."""

    file: Path
    folder: Path
    """of the sweep; a directory in it for each task"""
    tasks: tuple[SweepTask, ...]
    slurm: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def varied(self) -> tuple[str, ...]:
        """Settings in which tasks differ, besides that they leave out one site of the same."""
        columns = [vars(task.config) | {"sites": {*task.config.sites, task.without} - {""}} for task in self.tasks]
        first = columns[0]
        return tuple(name for name in SETTINGS if name != "output" and any(c[name] != first[name] for c in columns))

    def task(self, which: str) -> SweepTask:
        """A task by its number or name. Raises InputError: there is none."""
        names = [task.name for task in self.tasks]
        if which in names:
            return self.tasks[names.index(which)]
        try:
            number = int(which)
        except ValueError as error:
            close = difflib.get_close_matches(which, names, n=1)
            hint = f"did you mean {close[0]}?" if close else "--list shows them"
            raise InputError(f"{self.file}: no task {which!r}: {hint}") from error
        if not 0 <= number < len(names):
            raise InputError(f"{self.file}: no task {number}: they have the numbers 0 to {len(names) - 1}")
        return self.tasks[number]


def read_sweep(path: str | Path, folder: str | Path | None = None) -> Sweep:
    """The tasks of a sweep file.

    Args:
        path: the file; relative paths in it are relative to it.
        folder: of the sweep, instead of that in the file.

    Raises:
        InputError: the file cannot be read; unknown keys, wrong types, values out of bounds; no task; two tasks with
            one directory.
    """
    path = Path(path)
    content = read_toml(path, "sweep file", "[vary]\nseed = [0, 1, 2]")
    _check_keys(content, str(path))
    output = _typed(content, "output", str, path, "")
    place = Path(folder) if folder else path.parent / output if output else Path("runs", path.stem)
    base = _base(path, content)
    sites = _left_out(content.get("leave_out", []), path)
    tasks = (
        out
        for task in (*_varied(path, content, base), *_explicit(path, content, base))
        for out in (leave_out(task, sites, str(path)) if sites and not task.without else [task])
    )
    if not any(key in content for key in ("vary", "task", "leave_out")):
        raise InputError(f"{path}: has no task: give [vary], [[task]] or leave_out (one calibration: mdpl calibrate)")
    return Sweep(path, place, placed(tasks, place, str(path)),
                 slurm_options(_typed(content, "slurm", dict, path, {}), str(path)))  # fmt: skip


def _base(path: Path, content: dict[str, Any]) -> Config:
    """What all tasks share."""
    file = _typed(content, "config", str, path, "")
    config = load_config(path.parent / file) if file else Config()
    changes = _settings(_typed(content, "settings", dict, path, {}), f"{path}: settings", path)
    return checked_config(config, changes, f"{path}: settings")


def _varied(path: Path, content: dict[str, Any], base: Config) -> Iterator[SweepTask]:
    vary = _typed(content, "vary", dict, path, {})
    if not vary and ("task" in content or "leave_out" not in content):
        return  # without a list, leave_out alone has the shared settings as its one task
    where, values = f"{path}: vary", {}
    for name, choices in vary.items():
        if not isinstance(choices, list):
            raise InputError(f"{where}: {name} = {choices!r}: must be a list of values, one for each task")
        values[name] = [_settings({name: choice}, where, path)[name] for choice in choices]
        if not choices:
            raise InputError(f"{where}: {name} = []: has no value, so that there is no task: give one or leave it out")
    yield from combinations(base, values, where)


def _explicit(path: Path, content: dict[str, Any], base: Config) -> Iterator[SweepTask]:
    tables = _typed(content, "task", list, path, [])
    for number, table in enumerate(tables):
        where = f"{path}: [[task]] {number}"
        if not isinstance(table, dict):
            raise InputError(f"{where}: must be a table of settings")
        name, without = (_typed(table, key, str, where, "") for key in _OF_A_TASK)
        changes = _settings({key: v for key, v in table.items() if key not in _OF_A_TASK}, where, path)
        config = checked_config(base, changes, where)
        task = SweepTask(name or name_of(changes), config)
        if not without:
            yield task
        elif name:  # it says itself how it is called
            yield from (dataclasses.replace(out, name=name) for out in leave_out(task, [without], where))
        else:
            yield from leave_out(task, [without], where)


def _settings(values: dict[str, Any], where: str, path: Path) -> dict[str, Any]:
    """Settings in their types, a relative data folder beside the file. Raises InputError."""
    if "output" in values:
        raise InputError(f"{where}: output: each task has a directory of its own: give output above all tables")
    config = config_from_dict(values, where)
    changes = {name: getattr(config, name) for name in values}
    if changes.get("data"):
        changes["data"] = str((path.parent / changes["data"]).resolve())
    return changes


def _left_out(value: Any, path: Path) -> list[str]:
    if value == EACH:
        return [EACH]
    if not isinstance(value, list) or not all(isinstance(site, str) for site in value):
        raise InputError(f'{path}: leave_out = {value!r}: must be "{EACH}" or a list of sites')
    return value


def _typed(table: dict[str, Any], key: str, kind: type, where: Any, default: Any) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind):
        words = {str: Kind.TEXT, dict: "a table", list: "an array of tables: [[task]]"}
        raise InputError(f"{where}: {key} = {value!r}: must be {words[kind]}")
    return value


def _check_keys(content: dict[str, Any], where: str) -> None:
    for key in content:
        if key in _KEYS:
            continue
        close = difflib.get_close_matches(key, _KEYS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(_KEYS)}"
        if key in SETTINGS:
            hint = "a setting stands under [settings], or with a list of values under [vary]"
        raise InputError(f"{where}: unknown key {key!r}: {hint}")
