"""Early warning: a two-sided CUSUM on standardised log residuals (Page 1954).

The 90-day sum moves slowly; this says within some tens of runs that a workflow has changed, and gives
the bias correction the change point from which to learn afresh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LEAST = 1e-9
_LARGEST = 4.0
"""Standardised residuals are cut here: one outlier alone raises no alarm."""
_DEVIATION_KEEP = 0.5 ** (1.0 / 100.0)
_YOUNG_RUNS = 15


@dataclass(slots=True)
class ShiftDetector:
    """CUSUM state of one workflow."""

    allowance: float
    threshold: float
    runs: int = 0
    mean_sum: float = 0.0
    square_sum: float = 0.0
    weight: float = 0.0
    high: float = 0.0
    low: float = 0.0
    high_runs: int = 0
    """Runs since the upper sum left zero: where the shift began, were it to alarm now."""
    low_runs: int = 0
    alarms: int = 0

    def update(self, predicted: float, actual: float) -> int:
        """Add one finished run.

        Returns:
            0, or the number of runs since the estimated change point when an alarm is raised: positive
            where actuals became dearer, negative where they became cheaper.
        """
        residual = math.log(max(actual, _LEAST) / predicted) if predicted > 0.0 else 0.0
        self.runs += 1
        signal = 0
        if self.runs > _YOUNG_RUNS and self.weight > 0.0:
            mean = self.mean_sum / self.weight
            deviation = math.sqrt(max(self.square_sum / self.weight - mean * mean, 1e-4))
            scaled = min(_LARGEST, max(-_LARGEST, (residual - mean) / deviation))
            signal = self._accumulate(scaled)
        self.mean_sum = self.mean_sum * _DEVIATION_KEEP + residual
        self.square_sum = self.square_sum * _DEVIATION_KEEP + residual * residual
        self.weight = self.weight * _DEVIATION_KEEP + 1.0
        return signal

    def _accumulate(self, scaled: float) -> int:
        self.high = max(0.0, self.high + scaled - self.allowance)
        self.low = max(0.0, self.low - scaled - self.allowance)
        self.high_runs = self.high_runs + 1 if self.high > 0.0 else 0
        self.low_runs = self.low_runs + 1 if self.low > 0.0 else 0
        if self.high > self.threshold:
            return self._alarm(self.high_runs)
        if self.low > self.threshold:
            return self._alarm(-self.low_runs)
        return 0

    def _alarm(self, runs: int) -> int:
        self.alarms += 1
        self.high = self.low = 0.0
        self.high_runs = self.low_runs = 0
        self.mean_sum = self.square_sum = self.weight = 0.0
        self.runs = 0
        return runs
