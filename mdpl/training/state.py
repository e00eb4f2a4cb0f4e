"""What training holds from epoch to epoch, writes down, and gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jlsm.parameters import Parameters
from mdpl.training.runner import Runner
from mdpl.training.windows import Columns, Group, at_columns, start_states
from mdpl.unknowns.search_space import SearchSpace


@dataclass(frozen=True)
class EpochRow:
    """One line of loss.csv."""

    epoch: int
    site: str
    loss: float
    """mean over the epoch's steps of the windows' loss, before each step; epoch 0: the exact default model; with
    Gauss-Newton the loss of the record with the unknowns kept so far"""
    record_loss: float | None
    """loss of the continuous run of the training years after this epoch, where a refresh fell on it"""
    gradient_norm: float
    """largest of the epoch's steps: of the site's unknowns (direct) or of the weights (network)"""
    clipped: bool
    """True where the gradient was longer than clip_norm and was shortened"""
    learning_rate: float
    validation_loss: float | None = None
    """as record_loss, over the validation years"""


@dataclass
class Trained:
    """What training gives back; sites in the order of the groups."""

    labels: tuple[str, ...]
    values: Float[np.ndarray, "sites parameters"]
    """best parameter values (means over a year where they change with it)"""
    unknowns: Float[np.ndarray, "sites unknowns"]
    """best offsets and coefficients"""
    weights: Any
    """the learner's weights that gave them"""
    rows: list[EpochRow]
    best_epoch: np.ndarray
    last_epoch: int
    """the epoch training ended with, below ``epochs`` where it stopped early"""
    traces: int = 0
    """how often the training step was traced (1: no recompilation)"""


class Task(NamedTuple):
    """One group of sites in training."""

    group: Group
    space: SearchSpace
    default: Parameters
    runner: Runner
    columns: Columns
    """every window that is trained on"""
    rows: slice
    """which of all sites these are"""

    def batch(self, columns: Columns, states: list):
        """What a step runs: (default parameters, forcing, site, state, targets, site of each column).

        ``states`` are those at the starts of the windows.
        """
        params, site = (at_columns(tree, columns.site) for tree in (self.default, self.runner.site))
        forcing, targets = self.group.window_forcing(columns), self.group.targets(columns)
        return params, forcing, site, start_states(states, columns), targets, jnp.asarray(columns.site)


@dataclass(frozen=True)
class TrainingState:
    """Everything that changes from epoch to epoch; a checkpoint holds all of it."""

    epoch: int
    weights: Any
    moments: Any
    starts: list
    """state at the start of the record, per group"""
    states: list[list]
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
    return [jax.tree.map(lambda leaf, w=w: leaf[w], stack) for w in range(count)]
