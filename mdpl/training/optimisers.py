"""What an optimiser is: it gives the unknowns of all sites, and moves them once an epoch.

Two follow the protocol: ``AdamEpochs`` (``adam.py``), which walks through the training windows, and ``GaussNewton``
(``gauss_newton.py``), which solves for all of them at once. CONTRIBUTING.md tells how to add another.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float

from mdpl.training.state import TrainingState


@runtime_checkable
class Optimiser(Protocol):
    """Moves the unknowns of all sites; weights and moments are pytrees of arrays."""

    traces: int
    """how often its compiled step was traced"""

    def initial(self) -> tuple[Any, Any]:
        """(weights, moments) before training; the unknowns they give are exactly 0, the default parameters."""
        ...

    def unknowns(self, weights: Any) -> Float[Array, "sites unknowns"]:
        """Unknowns of all sites."""
        ...

    def epoch(self, now: TrainingState) -> TrainingState:
        """The state after one more epoch: moved weights, refreshed states where due, the best so far, a row per site.

        Raises:
            NonFiniteError: a loss or gradient that is not finite.
        """
        ...

    def refreshes(self, epoch: int) -> bool:
        """Whether the record is run after this epoch."""
        ...
