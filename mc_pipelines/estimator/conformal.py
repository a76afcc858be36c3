"""Prediction intervals by split conformal inference, one group a workflow, adapted as they go.

Scores are |log(actual / served)|. A workflow with enough scores is its own group (Mondrian), the others
share a pool. Adaptive conformal inference (Gibbs and Candes 2021) moves each group's level by its misses.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_LEAST_ACTUAL = 1e-9


def conformal_quantile(ordered: Sequence[float], coverage: float) -> float:
    """Return the split-conformal quantile of sorted scores: the ceil((n+1) coverage)-th smallest.

    Infinite where n is too small to promise the coverage.
    """
    rank = math.ceil((len(ordered) + 1) * coverage - 1e-9)
    if rank > len(ordered):
        return math.inf
    return ordered[max(rank, 1) - 1]


def score_of(served: float, actual: float) -> float:
    """Return |log(actual / served)|; an actual of nothing counts as a nano-unit."""
    return abs(math.log(max(actual, _LEAST_ACTUAL) / served))


@dataclass(slots=True)
class ScoreWindow:
    """The last scores, also kept in order."""

    limit: int
    latest: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)

    def add(self, score: float) -> None:
        """Add a score, dropping the oldest beyond the limit."""
        self.latest.append(score)
        insort(self.ordered, score)
        if len(self.latest) > self.limit:
            oldest = self.latest.popleft()
            del self.ordered[bisect_left(self.ordered, oldest)]


@dataclass(slots=True)
class AdaptiveGroup:
    """Scores of one workflow and the level at which its next interval is cut."""

    scores: ScoreWindow
    coverage: float
    """Nominal coverage."""
    level: float
    """Coverage asked of the quantile now, so that the nominal one is met."""

    def quantile(self) -> float:
        """Return the score quantile at the present level; the largest score where there are too few."""
        ordered = self.scores.ordered
        if not ordered:
            return math.inf
        quantile = conformal_quantile(ordered, self.level)
        return quantile if math.isfinite(quantile) else ordered[-1]

    def half_width(self, young: AdaptiveGroup, *, group_size: int) -> float:
        """Return q: the interval is served x exp(-q) to served x exp(q); infinite where nothing is known.

        Args:
            young: the group of all workflows that have too few scores; its scores are everybody's.
            group_size: scores that make a group of its own.
        """
        own = self.scores.ordered
        if len(own) >= group_size:
            return self.quantile()
        pooled = young.quantile()
        return max(pooled, own[-1]) if own else pooled

    def adapt(self, *, covered: bool, rate: float) -> None:
        """Move the level: up by rate x coverage after a miss, down by rate x (1 - coverage) after a hit."""
        self.level += rate * (self.coverage - (1.0 if covered else 0.0))
        self.level = min(0.999, max(0.5, self.level))
