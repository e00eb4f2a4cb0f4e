"""One calibration of many: its settings, its name (that of its run directory), and the site it leaves out."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jlsm.errors import InputError
from mdpl.config import Config
from mdpl.data.synthetic import record_names
from mdpl.runs.claim import FAILURES, WITHOUT
from mdpl.towers.load import find_site_files, site_labels

LONGEST_NAME = 120
"""of a directory: longer ones are cut, and a digest keeps them apart"""
RESERVED = {FAILURES, "logs"}
"""folders of a sweep beside its tasks"""
EACH = "each"


@dataclass(frozen=True)
class SweepTask:
    """One calibration of many."""

    name: str
    config: Config
    without: str = ""
    """site left out, and scored with the parameters that the others' network gives it; empty: none"""

    @property
    def directory(self) -> Path:
        """Its run directory."""
        return Path(self.config.output)


def combinations(base: Config, vary: dict[str, list[Any]], where: str) -> Iterator[SweepTask]:
    """A task for every combination of values, the last setting changing fastest.

    Args:
        base: what all share.
        vary: setting -> values, in their types.
        where: for errors.

    Raises:
        InputError: a combination that ``Config.check`` refuses.
    """
    for values in itertools.product(*vary.values()):
        changes = dict(zip(vary, values, strict=True))
        yield SweepTask(name_of(changes), checked_config(base, changes, where))


def checked_config(base: Config, changes: dict[str, Any], where: str) -> Config:
    """A config with changes. Raises InputError."""
    try:
        return dataclasses.replace(base, **changes).check()
    except InputError as error:
        name = f" with {name_of(changes)}" if changes else ""
        raise InputError(f"{where}{name}: {str(error).removeprefix('config: ')}") from error


def leave_out(task: SweepTask, sites: Iterable[str], where: str) -> Iterator[SweepTask]:
    """The task without each of ``sites`` in turn (``["each"]``: of its own).

    Raises:
        InputError: its learner is not the network, whose parameters alone can be transferred; no site remains.
    """
    check_transferable(task.config, where)
    config, every = task.config, all_sites(task.config)
    for site in every if list(sites) == [EACH] else sites:
        others = tuple(name for name in every if name != site)
        if not others:
            raise InputError(f"{where}: leaving out {site} leaves no site: transfer needs two sites or more")
        name = f"{task.name}_{WITHOUT}{site}" if task.name else f"{WITHOUT}{site}"
        yield dataclasses.replace(task, name=name, without=site, config=dataclasses.replace(config, sites=others))


def check_transferable(config: Config, where: str) -> None:
    """Raise InputError where the learner has no parameters for a site that it did not see."""
    if config.learner != "network":
        raise InputError(f"{where}: learner = {config.learner!r}: only the network's parameters can be transferred")


def check_sites(tasks: Iterable[SweepTask]) -> None:
    """Raise InputError where a task names a site that its data folder has not; before anything runs."""
    seen = set()
    for task in tasks:
        config = task.config
        choice = (config.data, config.sites, task.without)
        if choice in seen:
            continue
        seen.add(choice)
        if config.data:
            find_site_files(config.data, config.sites)
            find_site_files(config.data, (task.without,) if task.without else ())
            continue
        for site in (*config.sites, task.without):
            if not any(name.startswith(site) for name in record_names()):
                embedded = ", ".join(name.split("_")[0] for name in record_names())
                raise InputError(f"config: sites: no embedded site {site!r}: use some of {embedded}, or give data")


def all_sites(config: Config) -> tuple[str, ...]:
    """The sites of a config by name, those of its folder where it names none. Raises InputError."""
    if config.sites:
        return config.sites
    if not config.data:
        return tuple(name.split("_")[0] for name in record_names())
    return site_labels(find_site_files(config.data))


def placed(tasks: Iterable[SweepTask], folder: Path, where: str) -> tuple[SweepTask, ...]:
    """The tasks with their run directories under ``folder``.

    Raises:
        InputError: none; two with one directory (on a file system that does not tell a from A, too).
    """
    result, names = [], {}
    for number, task in enumerate(tasks):
        name = safe_name(task.name)
        if name.lower() in RESERVED:
            raise InputError(f"{where}: task {number}: {name!r} is a folder of the sweep itself: give it another name")
        other = names.setdefault(name.lower(), number)
        if other != number:
            raise InputError(
                f"{where}: tasks {other} and {number} have one directory, {folder / name}: "
                "change their settings, or give each a name of its own"
            )
        result.append(
            dataclasses.replace(task, name=name, config=dataclasses.replace(task.config, output=str(folder / name)))
        )
    if not result:
        raise InputError(f"{where}: has no task: give [vary] lists with values, [[task]] tables, or leave_out")
    return tuple(result)


# ---- names ----------------------------------------------------------------------------------------


def name_of(changes: dict[str, Any]) -> str:
    """What is changed, in words that a file system takes: ``learner-direct_seed-1``."""
    return "_".join(f"{name}-{label(value) or 'none'}" for name, value in changes.items())


def label(value: Any) -> str:
    """A setting's value in a few letters."""
    if isinstance(value, dict):
        return "+".join(f"{key}{label(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "+".join(map(label, value))
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


def safe_name(name: str) -> str:
    """A name that every file system takes."""
    safe = re.sub(r"[^A-Za-z0-9.+=_-]+", "-", name).strip(".-") or "task"
    if len(safe) <= LONGEST_NAME:
        return safe
    return f"{safe[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
