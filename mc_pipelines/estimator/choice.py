"""Per-workflow choice between candidates by trailing cost-weighted loss, as an exponentially weighted blend.

The weights are those of the exponentially weighted average forecaster (Cesa-Bianchi and Lugosi 2006): a
candidate that is worse by some per cent counts for little, two equal ones share, and nothing flaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class CandidateLoss:
    """Exponentially weighted absolute errors of one candidate on one workflow."""

    absolute: float = 0.0
    actual: float = 0.0
    runs: int = 0

    def update(self, predicted: float, actual: float, keep: float) -> None:
        """Add one finished run; ``keep`` is the share of memory kept."""
        self.absolute = self.absolute * keep + abs(predicted - actual)
        self.actual = self.actual * keep + actual
        self.runs += 1

    @property
    def value(self) -> float:
        """Cost-weighted loss: the absolute error a dollar."""
        return self.absolute / self.actual if self.actual > 0.0 else math.inf


def blend_weights(losses: Sequence[CandidateLoss], *, sharpness: float, minimum_runs: int) -> list[float]:
    """Return the weight of each candidate; they add up to one.

    Args:
        losses: one a candidate.
        sharpness: how fast a weight falls with a relative excess of loss.
        minimum_runs: the first candidate alone before so many finished runs.
    """
    first = [1.0] + [0.0] * (len(losses) - 1)
    if losses[0].runs < minimum_runs:
        return first
    values = [loss.value for loss in losses]
    best = min(values)
    if not math.isfinite(best):
        return first
    scale = sharpness / max(best, 1e-9)
    raw = [math.exp(-scale * (value - best)) for value in values]
    total = sum(raw)
    return [weight / total for weight in raw]
