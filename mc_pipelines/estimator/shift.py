"""Early warning: a two-sided CUSUM on standardised log residuals (Page 1954).

The 90-day sum moves slowly; this says within some tens of runs that a workflow has changed, and gives
the estimated change point. Residuals of real runs come in bursts (the tasks of one execution err together), so they
are scaled by their long-run deviation, not by that of a single run: the variance of an exponentially weighted mean
of gain g is g / (2 - g) of the long-run variance, as soon as it remembers more than a burst. With allowance 1/2 and
decision interval 8 a workflow that does not change alarms once in some 9500 runs (Siegmund's
approximation, Sequential Analysis, 1985: exp(h + 1.166) - h - 2.166 for the two sides together).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LEAST = 1e-9
_LARGEST = 4.0
"""Standardised residuals are cut here: one outlier alone raises no alarm."""
_DEVIATION_KEEP = 0.5 ** (1.0 / 100.0)
_YOUNG_RUNS = 15
_BURST_GAIN = 0.1
"""Of the mean whose scatter gives the long-run deviation; it remembers some twenty runs."""
_LEAST_VARIANCE = 1e-4


@dataclass(slots=True)
class ShiftDetector:
    """CUSUM state of one workflow."""

    allowance: float
    threshold: float
    runs: int = 0
    mean_sum: float = 0.0
    square_sum: float = 0.0
    weight: float = 0.0
    burst: float = 0.0
    """Exponentially weighted mean of the residuals, with a short memory."""
    burst_square_sum: float = 0.0
    """Of its distances from the long mean."""
    burst_weight: float = 0.0
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
            scaled = (residual - self.mean_sum / self.weight) / self._deviation()
            signal = self._accumulate(min(_LARGEST, max(-_LARGEST, scaled)))
        self._remember(residual)
        return signal

    def _deviation(self) -> float:
        mean = self.mean_sum / self.weight
        variance = max(self.square_sum / self.weight - mean * mean, _LEAST_VARIANCE)
        if self.burst_weight > 0.0:
            variance = max(variance, self.burst_square_sum / self.burst_weight * (2.0 - _BURST_GAIN) / _BURST_GAIN)
        return math.sqrt(variance)

    def _remember(self, residual: float) -> None:
        mean = self.mean_sum / self.weight if self.weight > 0.0 else residual
        self.burst += max(_BURST_GAIN, 1.0 / max(1, self.runs)) * (residual - self.burst)
        if self.runs > 1.0 / _BURST_GAIN:
            self.burst_square_sum = self.burst_square_sum * _DEVIATION_KEEP + (self.burst - mean) ** 2
            self.burst_weight = self.burst_weight * _DEVIATION_KEEP + 1.0
        self.mean_sum = self.mean_sum * _DEVIATION_KEEP + residual
        self.square_sum = self.square_sum * _DEVIATION_KEEP + residual * residual
        self.weight = self.weight * _DEVIATION_KEEP + 1.0

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
        self.burst = self.burst_square_sum = self.burst_weight = 0.0
        self.runs = 0
        return runs
