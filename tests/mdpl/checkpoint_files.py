"""Checkpoints edited by hand, and as version 0.1.0 wrote them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

from mdpl.files import read_archive
from mdpl.training.checkpoints import _old_digest

NEW_FACTS = ("run", "version", "path", "places")
"""what 0.1.0 did not say"""


def edit_facts(step: Path, **changes) -> None:
    """Other facts in a checkpoint, its digest left as it is; None removes one."""
    file = step / "state" / "state.npz"
    with np.load(file) as stored:
        entries = {name: stored[name] for name in stored.files}
    facts = json.loads(str(entries.pop("about"))) | changes
    np.savez(file, about=json.dumps({key: value for key, value in facts.items() if value is not None}), **entries)


def as_0_1_0(folder: Path, **changes) -> None:
    """The checkpoints of a folder in the files of 0.1.0; ``changes`` of facts as in ``edit_facts``."""
    steps = sorted(int(step.name) for step in folder.iterdir())
    contents = [read_archive(folder / str(step) / "state" / "state.npz", "") for step in steps]
    shutil.rmtree(folder)
    manager = ocp.CheckpointManager(
        folder, options=ocp.CheckpointManagerOptions(max_to_keep=3, enable_async_checkpointing=False)
    )
    for step, (facts, arrays) in zip(steps, contents, strict=True):
        shapes = {name: (list(array.shape), str(array.dtype)) for name, array in arrays.items()}
        facts = {key: value for key, value in facts.items() if key not in NEW_FACTS} | changes
        facts = {key: value for key, value in facts.items() if value is not None}
        facts |= {"digest": _old_digest(arrays), "shapes": shapes}
        args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), facts=ocp.args.JsonSave(facts))
        manager.save(step, args=args, force=True)
    manager.close()
