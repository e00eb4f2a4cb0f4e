"""Checkpoints of a training, by orbax: written whole or not at all, checked when read.

A checkpoint holds named arrays (weights, moments, states at the windows' starts, the best so far) and facts (epoch,
random state, loss rows, settings, the run it belongs to). Orbax renames a finished folder into place, so that a kill
leaves the one before; a digest of all facts and of every byte of the arrays finds what changed later.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jlsm.errors import InputError, RepairWarning
from jlsm.files import reason_of

LAST = 3
"""so many are on disk"""
Arrays = dict[str, np.ndarray]
Facts = dict[str, Any]
"""anything JSON can hold"""


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, folder: Path, run: str = ""):
        """Args: ``run``: identity of the run they belong to; empty: of none."""
        import orbax.checkpoint as ocp

        from mdpl.training.checkpoint_archive import ArchiveArgs

        logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax tells every step; errors are told here
        self.folder, self.run = folder.resolve(), run
        self._args, self._archive = ocp.args, ArchiveArgs
        self._written: set[int] = set()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=LAST, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise InputError(f"{folder}: no checkpoints there ({error}): choose another -o RUN_DIR") from error

    def save(self, epoch: int, arrays: Arrays, facts: Facts) -> None:
        """Write a checkpoint, in the place of one of the same epoch that an earlier process left.

        Raises:
            InputError: it cannot be written (disk full, no permission); earlier ones stay.
        """
        if epoch in self._written:
            return

        def write() -> None:
            if epoch in self._manager.all_steps():  # it could not be read, or the run would have gone on from it
                self._manager.delete(epoch)
            archive = self._archive(facts | {"run": self.run}, arrays)
            self._manager.save(epoch, args=self._args.Composite(state=archive), force=True)
            self._written.add(epoch)

        try:
            # what a signal raises comes up here, after the checkpoint was finished, and never inside orbax
            with ThreadPoolExecutor(1) as other_thread:
                other_thread.submit(write).result()
        except (OSError, ValueError, RuntimeError) as error:
            for unfinished in self.folder.glob(f"{epoch}.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)  # it takes what little space there is
            reason = reason_of(error.__cause__ if isinstance(error, InputError) and error.__cause__ else error)
            raise InputError(
                f"{self.folder}: checkpoint of epoch {epoch} cannot be written ({reason}): free space, then --resume"
            ) from error

    def latest(self) -> tuple[Arrays, Facts] | None:
        """The newest checkpoint that is whole, or None where none was ever written.

        A spoiled one is passed over with a ``RepairWarning``.

        Raises:
            InputError: there are checkpoints, and none is readable; the newest belongs to another run.
        """
        epochs = sorted(self._manager.all_steps(), reverse=True)
        for epoch in epochs:
            try:
                arrays, facts = self._read(epoch)
            except Exception as error:  # whatever orbax and its storage raise on a spoiled file: told, never swallowed
                message = f"{self.folder / str(epoch)}: checkpoint is not readable ({reason_of(error)})"
                warnings.warn(f"{message}: trying the one before", RepairWarning, stacklevel=2)
                continue
            if self.run and facts.get("run", self.run) != self.run:
                raise InputError(f"{self.folder / str(epoch)}: checkpoint of another run: remove it, or --overwrite")
            return arrays, facts
        if epochs:
            raise InputError(f"{self.folder}: no readable checkpoint of {len(epochs)}: start again with --overwrite")
        return None

    def _read(self, epoch: int) -> tuple[Arrays, Facts]:
        args = self._args
        if not (self.folder / str(epoch) / "state").is_dir() and (self.folder / str(epoch) / "facts").is_dir():
            return self._read_old(epoch)
        facts, arrays = self._manager.restore(epoch, args=args.Composite(state=self._archive()))["state"]
        return arrays, facts

    def _read_old(self, epoch: int) -> tuple[Arrays, Facts]:
        """A checkpoint of version 0.1.0, whose facts had no digest."""
        args = self._args
        facts = self._manager.restore(epoch, args=args.Composite(facts=args.JsonRestore()))["facts"]
        shapes = {
            name: np.empty(shape, dtype) for name, (shape, dtype) in facts["shapes"].items()
        }  # read back as NumPy: no precision is lost whatever JAX is set to
        arrays = self._manager.restore(epoch, args=args.Composite(arrays=args.StandardRestore(shapes)))["arrays"]
        arrays = {name: np.asarray(leaf) for name, leaf in arrays.items()}
        if _old_digest(arrays) != facts["digest"]:
            raise ValueError("its bytes have changed since it was written")
        message = f"{self.folder / str(epoch)}: checkpoint of an earlier version: the facts in it cannot be verified"
        warnings.warn(message, RepairWarning, stacklevel=3)
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


def _old_digest(arrays: Arrays) -> str:
    result = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        result.update(f"{name}:{array.dtype}:{array.shape}".encode())
        result.update(array.tobytes())
    return result.hexdigest()
