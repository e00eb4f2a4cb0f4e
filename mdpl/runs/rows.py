"""The lines of a run directory's tables, one dataclass each: what writes, reads, draws and prints them shares these.

``metrics.csv`` holds ``mdpl.scores.evaluation.MetricRow``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterRow:
    """One line of parameters.csv."""

    site: str
    name: str
    """``group.name``, or that with an ending for a coefficient of a parameter that changes with time"""
    default: float
    calibrated: float
    """the best value, its mean over a year where it changes with time"""
    unit: str
    lower: float | None
    upper: float | None
    """None in the lines of a time-varying parameter's coefficients, which have no bounds"""

    def share(self, value: float) -> float:
        """Where a value lies between the bounds, from 0 to 1. Raises ValueError: the row has no bounds."""
        if self.lower is None or self.upper is None:
            raise ValueError(f"{self.name} at {self.site} has no bounds")
        return (value - self.lower) / (self.upper - self.lower)


@dataclass(frozen=True)
class LeftOutRow:
    """One line of towers_left_out.csv: a tower whose files could not be used."""

    record: str
    reason: str


@dataclass(frozen=True)
class CourseRow:
    """One line of parameters_seasonal.csv: the value of a parameter on a day of the year."""

    site: str
    name: str
    day: int
    """day of the year, 1 to 365"""
    value: float
    default: float | None = None


@dataclass(frozen=True)
class EpochRow:
    """One line of loss.csv."""

    epoch: int
    site: str
    loss: float
    """mean over the epoch's steps of the windows' loss, before each step; epoch 0: the exact default model; with
    Gauss-Newton the loss of the record with the unknowns accepted so far"""
    record_loss: float | None
    """loss of the continuous run of the training years after this epoch, where a refresh fell on it"""
    gradient_norm: float
    """largest of the epoch's steps: of the site's unknowns (direct) or of the weights (network)"""
    clipped: bool
    """True where the gradient was longer than clip_norm and was shortened"""
    learning_rate: float
    validation_loss: float | None = None
    """as record_loss, over the validation years"""
