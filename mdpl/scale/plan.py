"""The folder of a sweep: claimed, and with the tasks it was begun with (``sweep.toml``, itself a sweep file).

A sweep file may grow: new tasks are added to the plan. A task that has gone or has other settings is refused, because
its run directory would no longer be what the file says.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jlsm.errors import InputError
from mdpl.config import SETTINGS, Config
from mdpl.files import write_text
from mdpl.files.mark import read_mark, record, write_mark
from mdpl.runs.claim import PLAN_FILE, SWEEP, claimed
from mdpl.scale.sweep_file import Sweep, read_sweep
from mdpl.scale.tasks import SweepTask

PATIENCE = 60.0
"""s that a task waits for others that look at the folder too"""


def open_folder(sweep: Sweep, overwrite: bool = False) -> None:
    """Claim the folder of a sweep and write its plan, or compare the sweep with the plan that is there.

    Args:
        overwrite: remove an earlier sweep there (what is known to be of it) first.

    Raises:
        InputError: files of something else are there; a task of the plan has gone or changed.
    """
    folder, names = sweep.folder, [task.name for task in sweep.tasks]
    if not overwrite and _grows(sweep) is False:
        return  # the same tasks: nothing to write, nothing to wait for
    with claimed(folder, SWEEP, (), overwrite, parts=names, patience=PATIENCE):
        mark = read_mark(folder)
        assert mark is not None  # it was just claimed
        if _grows(sweep) is False:  # another process was faster
            return
        write_mark(folder, dataclasses.replace(mark, parts=tuple(names)))
        write_text(folder / PLAN_FILE, _plan(sweep))
        record(folder, [PLAN_FILE])


def _grows(sweep: Sweep) -> bool | None:
    """Whether a sweep has tasks that the plan in its folder lacks; None where there is no plan.

    Raises:
        InputError: a task of the plan has gone or changed.
    """
    plan, mark = sweep.folder / PLAN_FILE, read_mark(sweep.folder)
    if mark is None or mark.kind != SWEEP or not plan.is_file():
        return None
    remedy = f"in {sweep.file} as it was, or choose another -o, or --overwrite"
    old, new = ({task.name: task for task in read.tasks} for read in (read_sweep(plan, sweep.folder), sweep))
    gone = [name for name in old if name not in new]
    if gone:
        raise InputError(f"{sweep.folder}: has task {', '.join(gone[:3])}, which {sweep.file} has not: put it {remedy}")
    for name, task in old.items():
        change = _change(task, new[name])
        if change:
            raise InputError(f"{sweep.folder}: task {name} was begun with {change}: put that {remedy}")
    return len(new) > len(old)


def _change(old: SweepTask, new: SweepTask) -> str:
    """The first setting in which a task has changed, in words; empty where none has."""
    if old.without != new.without:
        return f"without = {old.without!r}, not {new.without!r}"
    return changed_setting(old.config, new.config)


def changed_setting(old: Config, new: Config, besides: tuple[str, ...] = ("output",)) -> str:
    """The first setting, not counting those of ``besides``, in which two configs differ, in words; empty: none."""
    for name in SETTINGS:
        before, after = getattr(old, name), getattr(new, name)
        if name not in besides and before != after:
            return f"{name} = {before!r}, not {after!r}"
    return ""


def _plan(sweep: Sweep) -> str:
    import tomli_w

    about = "# The tasks of this folder, as mdpl sweep began them. It is a sweep file too.\n"
    return about + tomli_w.dumps({"task": [_table(task) for task in sweep.tasks]})


def _table(task: SweepTask) -> dict[str, Any]:
    """A task as a [[task]] table: settings other than the defaults."""
    default, values = vars(Config()), vars(task.config)
    settings = {name: value for name, value in values.items() if name != "output" and value != default[name]}
    if task.without:
        settings["sites"] = (*task.config.sites, task.without)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    return {"name": task.name} | ({"without": task.without} if task.without else {}) | plain
