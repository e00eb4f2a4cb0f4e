"""What a reader of a calibration should know, one line each: splits, clipping, where the best parameters came from."""

from __future__ import annotations

from mdpl.training.problem import Problem
from mdpl.training.state import Trained


def notes_of(problem: Problem, trained: Trained) -> list[str]:
    """Notes on a training."""
    config, notes = problem.config, []
    pairs = [pair for group in problem.groups for pair in zip(group.towers, group.splits, strict=True)]
    judged = "validation years" if config.validation_years else "training years"
    for s, (tower, split) in enumerate(pairs):
        notes.append(f"{tower.label}: {split.words}; target {config.target}, {tower.observations.step} observations")
        notes += [f"{tower.label}: {note}" for note in tower.observations.notes]
        rows = [row for row in trained.rows if row.site == tower.label and row.epoch > 0]
        clipped = [row for row in rows if row.clipped]
        if clipped:
            largest = max(row.gradient_norm for row in clipped)
            notes.append(
                f"{tower.label}: gradient clipped in {len(clipped)} of {len(rows)} epochs "
                f"(largest norm {largest:.3g}, clip_norm {config.clip_norm:g})"
            )
        best = int(trained.best_epoch[s])
        if best == 0:
            notes.append(f"{tower.label}: no epoch beat the default on the {judged}: the default is kept")
        elif best != trained.last_epoch:
            notes.append(f"{tower.label}: lowest loss on the {judged} at epoch {best} of {config.epochs}: used")
    if trained.last_epoch < config.epochs:
        notes.append(
            f"stopped early after epoch {trained.last_epoch} of {config.epochs}: {config.patience} refresh(es) without "
            f"a better loss on the {judged}"
        )
    return notes
