"""Estimator v1: the trailing 30-day mean runtime of the workflow, refreshed at midnight UTC.

Of runs that had finished by that midnight; the mean of all runs where the workflow has none. A run's
estimate is the mean times its own allocation and price, so v1 too keeps resource-time and price apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mc_pipelines.estimator.history import DAY, Floats, History

NO_ESTIMATE = float("nan")


@dataclass(slots=True)
class DailyMeans:
    """Runs and runtime seconds of each day of finish; enough to say the trailing mean of any day."""

    window_days: int
    days: dict[int, list[float]] = field(default_factory=dict)
    """Day number since the epoch to [runs, seconds]."""
    cached_day: int = -1
    cached: tuple[float, float] = (0.0, 0.0)

    def add(self, finished: int, runtime: float) -> None:
        """Count a run that finished at ``finished`` (microseconds)."""
        entry = self.days.setdefault(finished // DAY, [0.0, 0.0])
        entry[0] += 1.0
        entry[1] += runtime
        if finished // DAY < self.cached_day:
            # A late record of an earlier day: what was served today stays, tomorrow's table knows it.
            return

    def sums(self, day: int) -> tuple[float, float]:
        """Return runs and seconds of the window that ends before ``day``; fixed for that day once asked."""
        if day != self.cached_day:
            for old in [key for key in self.days if key < day - self.window_days]:
                del self.days[old]
            runs = seconds = 0.0
            for key in sorted(self.days):
                if key < day:
                    runs += self.days[key][0]
                    seconds += self.days[key][1]
            self.cached_day, self.cached = day, (runs, seconds)
        return self.cached

    def rate(self, day: int) -> float:
        """Return finished runs a day over the window, or over the days since the first one in it."""
        runs = self.sums(day)[0]
        first = min(self.days, default=day)
        return runs / max(1, min(self.window_days, day - first))

    def mean(self, day: int) -> float:
        """Return the trailing mean in seconds; NaN where no run finished in the window."""
        runs, seconds = self.sums(day)
        return seconds / runs if runs > 0.0 else NO_ESTIMATE


@dataclass(frozen=True, slots=True)
class V1Table:
    """v1 as of one midnight: all that serving needs when there is no model, or none that can be read."""

    day: int
    """Days since the epoch."""
    means: Mapping[str, float]
    """Workflow to trailing mean runtime, seconds."""
    overall: float
    """Mean of all runs; NaN where there was none."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Workflow to its last USD rate per resource-hour, for when a price is unknown."""

    def resource_seconds(self, workflow: str, resources: float) -> float:
        """Return v1's resource-seconds for a run."""
        return self.means.get(workflow, self.overall) * resources


def trailing_means(history: History, *, window_days: int = 30) -> Floats:
    """Return v1's resource-seconds for every run, from cumulative daily sums; NaN where nothing had finished.

    The same numbers as :class:`DailyMeans` run by run, for a whole history at once.
    """
    first = int(min(history.submitted.min(), history.finished.min())) // DAY
    last = int(max(history.submitted.max(), history.finished.max())) // DAY
    span, workflows = last - first + 2, len(history.workflow_names)
    runs = np.zeros((workflows, span))
    seconds = np.zeros((workflows, span))
    day = history.finished // DAY - first
    kept = history.succeeded
    np.add.at(runs, (history.workflow[kept], day[kept]), 1.0)
    np.add.at(seconds, (history.workflow[kept], day[kept]), history.runtime[kept])
    asked = history.submitted // DAY - first
    from_day = np.maximum(asked - window_days, 0)

    def window(daily: Floats, rows: Floats | None) -> Floats:
        cumulative = np.concatenate([np.zeros((len(daily), 1)), np.cumsum(daily, axis=1)], axis=1)
        row = history.workflow if rows is None else np.zeros(len(history), dtype=np.int64)
        return np.asarray(cumulative[row, asked] - cumulative[row, from_day])

    everywhere = np.zeros(1)
    own_runs, own_seconds = window(runs, None), window(seconds, None)
    all_runs = window(runs.sum(axis=0, keepdims=True), everywhere)
    all_seconds = window(seconds.sum(axis=0, keepdims=True), everywhere)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(own_runs > 0, own_seconds / own_runs, all_seconds / all_runs)
    return np.where((own_runs > 0) | (all_runs > 0), mean, NO_ESTIMATE) * history.resources
