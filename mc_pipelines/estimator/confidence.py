"""How sure: the probability that a workflow's aggregate stays within tolerance, times being on known ground.

The KR is about aggregates, so confidence is too. "P(error of one run <= 10 %) >= 0.7" never holds on
real traces (0.0 % of four families, MEASURED) and would mean falling back always.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

_ROOT_TWO = math.sqrt(2.0)


def normal_cdf(value: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * math.erfc(-value / _ROOT_TWO)


@dataclass(slots=True)
class AggregateConfidence:
    """Exponentially weighted ratio of predicted to actual, with its long-run standard error.

    The variance comes from overlapping sums over a block of runs, so errors that cancel (a bias
    correction at work) or that come in bursts (tasks of one execution) count as they are.
    """

    keep: float
    block: int
    actual: float = 0.0
    predicted: float = 0.0
    weight_squared: float = 0.0
    variance_sum: float = 0.0
    variance_weight: float = 0.0
    runs: int = 0
    recent: deque[float] = field(default_factory=deque)

    def update(self, predicted: float, actual: float) -> None:
        """Add one finished run."""
        self.runs += 1
        self.actual = self.actual * self.keep + actual
        self.predicted = self.predicted * self.keep + predicted
        self.weight_squared = self.weight_squared * self.keep * self.keep + 1.0
        self.recent.append(predicted - actual)
        if len(self.recent) > self.block:
            self.recent.popleft()
        total = sum(self.recent)
        self.variance_sum = self.variance_sum * self.keep + total * total / len(self.recent)
        self.variance_weight = self.variance_weight * self.keep + 1.0

    @property
    def ratio(self) -> float:
        """Predicted over actual."""
        return self.predicted / self.actual if self.actual > 0.0 else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the ratio."""
        if self.actual <= 0.0 or self.variance_weight <= 0.0:
            return math.inf
        return math.sqrt(self.variance_sum / self.variance_weight * self.weight_squared) / self.actual

    def value(self, *, tolerance: float, minimum_runs: int) -> float:
        """P(|ratio - 1| <= tolerance); 0 before ``minimum_runs`` finished runs."""
        if self.runs < minimum_runs:
            return 0.0
        error, off = self.standard_error, self.ratio - 1.0
        if not (math.isfinite(error) and math.isfinite(off)):
            return 0.0
        if error == 0.0:
            return 1.0 if abs(off) <= tolerance else 0.0
        return normal_cdf((tolerance - off) / error) - normal_cdf((-tolerance - off) / error)


def in_distribution(leverage: float, threshold: float) -> float:
    """1 while the leverage stays under the training threshold, falling to 0 at three times it."""
    if not (math.isfinite(leverage) and threshold > 0.0):
        return 0.0
    return min(1.0, max(0.0, (3.0 - leverage / threshold) / 2.0))
