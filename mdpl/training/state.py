"""What training holds from epoch to epoch, writes down, and gives back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mdpl.model_paths import PathState
from mdpl.runs.rows import EpochRow


@dataclass
class Trained:
    """What training gives back; sites in the order of the groups."""

    labels: tuple[str, ...]
    values: Float[np.ndarray, "sites parameters"]
    """best parameter values (means over a year where they change with it)"""
    unknowns: Float[np.ndarray, "sites unknowns"]
    """best offsets and coefficients"""
    weights: Any
    """the optimiser's weights that gave them"""
    rows: list[EpochRow]
    best_epoch: np.ndarray
    last_epoch: int
    """the epoch training ended with, below ``epochs`` where it stopped early"""
    traces: int = 0
    """how often the training step was traced (1: no recompilation)"""


@dataclass(frozen=True)
class TrainingState:
    """Everything that changes from epoch to epoch; a checkpoint holds all of it."""

    epoch: int
    weights: Any
    """what an optimiser moves"""
    moments: Any
    """what else it carries from epoch to epoch"""
    starts: list[PathState]
    """state at the start of the record, per group"""
    states: list[list[PathState]]
    """states at the windows' starts, per group"""
    best_unknowns: np.ndarray
    best_weights: Any
    best_loss: np.ndarray
    best_epoch: np.ndarray
    stale: int
    """refreshes since the last better loss"""
    draws: dict
    """state of the random generator"""
    rows: list[EpochRow] = field(default_factory=list)

    def better(self, unknowns: np.ndarray, loss: np.ndarray, per_site: bool) -> TrainingState:
        """With what is better: site by site where sites are independent, else all sites together by their mean.

        Args:
            unknowns: of all sites, those that ``weights`` give (or, site by site, those tried).
            loss: of each site's record with them.
            per_site: True where each site has a best epoch of its own, and weights are unknowns.
        """
        if per_site:
            improved = loss < self.best_loss
        else:
            improved = np.full(loss.shape, loss.mean() < self.best_loss.mean())
        best = np.where(improved[:, None], unknowns, self.best_unknowns)
        together = self.weights if improved.any() else self.best_weights
        return dataclasses.replace(
            self,
            best_unknowns=best,
            best_weights=jnp.asarray(best) if per_site else together,
            best_loss=np.where(improved, loss, self.best_loss),
            best_epoch=np.where(improved, self.epoch, self.best_epoch),
            stale=0 if improved.any() else self.stale + 1,
        )


def arrays_of(now: TrainingState) -> dict[str, Any]:
    """The arrays of a state as one pytree; the windows' states are stacked."""
    stacked = [jax.tree.map(lambda *leaves: np.stack(leaves), *states) for states in now.states]
    return {
        "weights": now.weights,
        "moments": now.moments,
        "starts": now.starts,
        "states": stacked,
        "best_unknowns": now.best_unknowns,
        "best_weights": now.best_weights,
    }


def unstacked(stack: Any, count: int) -> list:
    """The ``count`` pytrees that ``arrays_of`` stacked."""
    return [jax.tree.map(lambda leaf, w=w: leaf[w], stack) for w in range(count)]
