"""How sure: the probability that a workflow's aggregate stays within tolerance, times being on known ground.

The KR is about aggregates, so confidence is too. "P(error of one run <= 10 %) >= 0.7" never holds on
real traces (0.0 % of four families, MEASURED) and would mean falling back always.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

_ROOT_TWO = math.sqrt(2.0)
FAR_OUTSIDE = 3.0
"""Spreads beyond the training range at which nothing is known; a new largest input is not yet that."""


def normal_cdf(value: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * math.erfc(-value / _ROOT_TWO)


@dataclass(slots=True)
class AggregateConfidence:
    """The long-run scatter of v2's error on one workflow, exponentially weighted.

    The variance comes from overlapping sums over a block of runs, so errors that cancel (a bias
    correction at work) or that come in bursts (tasks of one execution) count as they are. The error has
    mean zero: what is systematic, the bias tracker takes out, and what it could not yet take out is scatter.
    """

    keep: float
    block: int
    actual: float = 0.0
    weight: float = 0.0
    variance_sum: float = 0.0
    variance_weight: float = 0.0
    runs: int = 0
    recent: deque[float] = field(default_factory=deque)

    def update(self, predicted: float, actual: float) -> None:
        """Add one finished run."""
        self.runs += 1
        self.actual = self.actual * self.keep + actual
        self.weight = self.weight * self.keep + 1.0
        self.recent.append(predicted - actual)
        if len(self.recent) > self.block:
            self.recent.popleft()
        total = sum(self.recent)
        self.variance_sum = self.variance_sum * self.keep + total * total / len(self.recent)
        self.variance_weight = self.variance_weight * self.keep + 1.0

    def standard_error(self, runs: float) -> float:
        """Return the standard error of predicted / actual over ``runs`` runs to come."""
        if self.actual <= 0.0 or self.variance_weight <= 0.0:
            return math.inf
        mean = self.actual / self.weight
        return math.sqrt(self.variance_sum / self.variance_weight / runs) / mean

    def value(self, *, tolerance: float, minimum_runs: int, expected_runs: float) -> float:
        """Return P(|drift| <= tolerance) over a horizon; 0 before ``minimum_runs`` finished runs.

        Args:
            tolerance: of the aggregate.
            minimum_runs: finished runs that it takes to say anything.
            expected_runs: runs that the horizon will hold at the present rate.
        """
        if self.runs < minimum_runs:
            return 0.0
        error = self.standard_error(expected_runs)
        if not math.isfinite(error):
            return 0.0
        return 1.0 if error == 0.0 else 2.0 * normal_cdf(tolerance / error) - 1.0


def in_distribution(distance: float, threshold: float, outside: float = 0.0) -> float:
    """Return how much this run is on known ground: 1 for sure, 0 not at all.

    Args:
        distance: of the run's features from the centre of its workflow.
        threshold: the 99.5 % quantile of the training runs; the result falls to 0 at three times it.
        outside: how far a feature lies outside its training range, in spreads.
    """
    if not (math.isfinite(distance) and threshold > 0.0 and math.isfinite(outside)):
        return 0.0
    unusual = min(1.0, max(0.0, (3.0 - distance / threshold) / 2.0))
    return unusual * min(1.0, max(0.0, 1.0 - outside / FAR_OUTSIDE))
