"""Checkpoints of a training, by orbax: written whole or not at all, checked when read.

A checkpoint holds named arrays (weights, moments, states at the windows' starts, the best so far) and facts (epoch,
random state, loss rows, settings). Orbax renames a finished folder into place, so that a kill leaves the one
before; a digest of every byte of the arrays finds what a disk spoiled later.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jlsm.errors import InputError, RepairWarning

LAST = 3
"""so many are on disk"""
Arrays = dict[str, np.ndarray]
Facts = dict[str, Any]
"""anything JSON can hold"""


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax tells every step at warning level
        self.folder = folder.resolve()
        self._args = ocp.args
        options = ocp.CheckpointManagerOptions(
            max_to_keep=LAST, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise InputError(f"{folder}: no checkpoints there ({error}): choose another -o RUN_DIR") from error

    def save(self, epoch: int, arrays: Arrays, facts: Facts) -> None:
        """Write a checkpoint.

        Raises:
            InputError: it cannot be written (disk full, no permission); earlier ones stay.
        """
        args = self._args
        facts = facts | {"digest": digest(arrays), "shapes": shapes_of(arrays)}
        try:
            self._manager.save(
                epoch,
                args=args.Composite(arrays=args.StandardSave(arrays), facts=args.JsonSave(facts)),
                force=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{self.folder}: checkpoint of epoch {epoch} cannot be written ({reason}): free space, then --resume"
            ) from error

    def latest(self) -> tuple[Arrays, Facts] | None:
        """The newest checkpoint that is whole, or None where none was ever written.

        A spoiled one is passed over with a ``RepairWarning``.

        Raises:
            InputError: there are checkpoints, and none is readable.
        """
        epochs = sorted(self._manager.all_steps(), reverse=True)
        for epoch in epochs:
            try:
                return self._read(epoch)
            except Exception as error:  # whatever orbax and its storage raise on a spoiled file: told, never swallowed
                reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
                message = f"{self.folder / str(epoch)}: checkpoint is not readable ({reason}): trying the one before"
                warnings.warn(message, RepairWarning, stacklevel=2)
        if epochs:
            raise InputError(f"{self.folder}: no readable checkpoint of {len(epochs)}: start again with --overwrite")
        return None

    def _read(self, epoch: int) -> tuple[Arrays, Facts]:
        args = self._args
        facts = self._manager.restore(epoch, args=args.Composite(facts=args.JsonRestore()))["facts"]
        shapes = {
            name: np.empty(shape, dtype) for name, (shape, dtype) in facts["shapes"].items()
        }  # read back as NumPy: no precision is lost whatever JAX is set to
        arrays = self._manager.restore(epoch, args=args.Composite(arrays=args.StandardRestore(shapes)))["arrays"]
        arrays = {name: np.asarray(leaf) for name, leaf in arrays.items()}
        if digest(arrays) != facts["digest"]:
            raise ValueError("its bytes have changed since it was written")
        return arrays, facts

    def close(self) -> None:
        """Free what orbax holds."""
        self._manager.close()


def named_arrays(tree: Any) -> Arrays:
    """The leaves of a pytree by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def rebuild(template: Any, arrays: Arrays) -> Any:
    """The pytree with the structure of ``template`` (its numbers do not matter) and the leaves of ``named_arrays``."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    if set(names) != set(arrays):
        raise InputError("checkpoint: written by another version of mdpl or model: start again with --overwrite")
    return jax.tree.unflatten(structure, [arrays[name] for name in names])


def shapes_of(arrays: Arrays) -> dict[str, tuple[list[int], str]]:
    """What ``latest`` needs to read the arrays: name -> (shape, precision)."""
    return {name: (list(array.shape), str(array.dtype)) for name, array in arrays.items()}


def digest(arrays: Arrays) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    result = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        result.update(f"{name}:{array.dtype}:{array.shape}".encode())
        result.update(array.tobytes())
    return result.hexdigest()
