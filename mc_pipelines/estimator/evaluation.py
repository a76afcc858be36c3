"""Measures of a backtest beside drift: weekly windows, calibration of confidence, coverage of intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.estimator.history import DAY, Floats, Integers

WEEK = 7 * DAY
RUNS_OF_A_WINDOW = 30
CALIBRATION_BINS = 5


@dataclass(frozen=True, slots=True)
class Windows:
    """Weekly windows of single workflows with enough runs."""

    count: int
    within: int
    """Those whose drift is inside the tolerance."""

    @property
    def share(self) -> float:
        """Share within the tolerance; NaN where there is no such window."""
        return self.within / self.count if self.count else math.nan


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Windows of similar confidence: how sure it was, how often it was right."""

    confidence: float
    hit_rate: float
    windows: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability of confidence over weekly windows."""

    bins: tuple[CalibrationBin, ...]
    expected_error: float
    """Expected calibration error: mean |confidence - hit rate|, weighted by windows."""
    noise_floor: float
    """What a perfectly calibrated confidence would show with so few windows, on average."""


def window_index(workflow: Integers, moment: Integers, start: int) -> tuple[Integers, Integers]:
    """Return the index of each run's (workflow, week) window and the runs of each window."""
    week = (moment - start) // WEEK
    key = workflow * (int(week.max()) + 2 if len(week) else 1) + week
    _, index, runs = np.unique(key, return_inverse=True, return_counts=True)
    return index.astype(np.int64), runs.astype(np.int64)


def weekly_windows(
    workflow: Integers, moment: Integers, start: int, predicted: Floats, actual: Floats, *, tolerance: float
) -> Windows:
    """Count weekly windows of at least 30 runs, and those within the tolerance."""
    index, runs = window_index(workflow, moment, start)
    spent = np.bincount(index, actual, len(runs))
    judged = (runs >= RUNS_OF_A_WINDOW) & (spent > 0.0)
    ratio = np.bincount(index, predicted, len(runs))[judged] / spent[judged] - 1.0
    return Windows(int(judged.sum()), int((np.abs(ratio) <= tolerance).sum()))


def calibration(
    workflow: Integers,
    moment: Integers,
    start: int,
    confidence: Floats,
    predicted: Floats,
    actual: Floats,
    *,
    tolerance: float,
) -> Calibration:
    """Compare confidence with how often the weekly aggregate was within its tolerance.

    Args:
        workflow: of each run.
        moment: microseconds that place a run in a week.
        start: first moment of the first week.
        confidence: of each run when it was predicted.
        predicted: by v2, of which confidence speaks.
        actual: what was paid.
        tolerance: the one that confidence speaks about.
    """
    index, runs = window_index(workflow, moment, start)
    spent = np.bincount(index, actual, len(runs))
    judged = (runs >= RUNS_OF_A_WINDOW) & (spent > 0.0)
    if not judged.any():
        return Calibration((), math.nan, math.nan)
    mean = np.bincount(index, confidence, len(runs))[judged] / runs[judged]
    hit = np.abs(np.bincount(index, predicted, len(runs))[judged] / spent[judged] - 1.0) <= tolerance
    slot = np.minimum((mean * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    bins = tuple(
        CalibrationBin(float(mean[slot == step].mean()), float(hit[slot == step].mean()), int((slot == step).sum()))
        for step in range(CALIBRATION_BINS)
        if (slot == step).any()
    )
    error = sum(abs(entry.confidence - entry.hit_rate) * entry.windows for entry in bins) / int(judged.sum())
    floor = sum(_mean_deviation(mean[slot == step]) for step in range(CALIBRATION_BINS)) / int(judged.sum())
    return Calibration(bins, float(error), float(floor))


def _mean_deviation(chances: Floats) -> float:
    """Return E|hits - expected hits| of independent chances, by the normal approximation."""
    return math.sqrt(2.0 / math.pi * float((chances * (1.0 - chances)).sum()))


def coverage(low: Floats, high: Floats, actual: Floats) -> tuple[float, NDArray[np.bool_]]:
    """Return the share of runs inside their interval, and which they are."""
    inside = (actual >= low) & (actual <= high)
    return (float(inside.mean()) if len(inside) else math.nan), inside
