"""Per-workflow choice between candidates by trailing cost-weighted loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class CandidateLoss:
    """Exponentially weighted errors of one candidate on one workflow."""

    absolute: float = 0.0
    signed: float = 0.0
    actual: float = 0.0
    runs: int = 0

    def update(self, predicted: float, actual: float, keep: float) -> None:
        """Add one finished run; ``keep`` is the share of memory kept."""
        error = predicted - actual
        self.absolute = self.absolute * keep + abs(error)
        self.signed = self.signed * keep + error
        self.actual = self.actual * keep + actual
        self.runs += 1

    @property
    def value(self) -> float:
        """Cost-weighted loss: the absolute error a dollar plus the absolute aggregate drift."""
        return (self.absolute + abs(self.signed)) / self.actual if self.actual > 0.0 else float("inf")


def choose(losses: Sequence[CandidateLoss], current: int, *, margin: float, minimum_runs: int) -> int:
    """Return the candidate to serve next.

    Args:
        losses: one a candidate.
        current: the one in use.
        margin: relative gain that a change must bring; keeps the choice from flapping.
        minimum_runs: stay with the current one before so many finished runs.
    """
    if losses[current].runs < minimum_runs:
        return current
    best = min(range(len(losses)), key=lambda index: losses[index].value)
    return best if losses[best].value < losses[current].value * (1.0 - margin) else current
