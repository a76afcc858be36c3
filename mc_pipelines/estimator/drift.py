"""Drift, defined once.

    drift(workflow, window) = sum(cost predicted) / sum(cost actual) - 1

over the runs that *finished* in the window, signed, in USD, of what was actually served. Beside it,
never instead of it: WAPE and MAPE, which say how far off single runs are.

A figure alone is no verdict. A bootstrap by day gives an interval; OK needs the whole interval inside
the tolerance, DRIFT the whole interval outside, and everything else is UNDETERMINED with the number of
runs it would take to tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import t as student

from mc_pipelines.estimator.history import DAY, Floats, Integers

TOLERANCE = 0.05
"""The KR of the sprint: within 5 % on the top ten workflows."""
TOP = 10
MINIMUM_DAYS = 5
"""With fewer days a bootstrap by day has too few blocks to support a verdict."""
MINIMUM_RUNS = 10
_REPLICATES = 2000
_LEVEL = 0.95
_NORMAL_QUANTILE = 1.959963984540054


class State(StrEnum):
    """The verdict on one workflow in one window."""

    OK = "OK"
    DRIFT = "DRIFT"
    UNDETERMINED = "UNDETERMINED"


@dataclass(frozen=True, slots=True)
class Drift:
    """Drift of one workflow in one window, with its support."""

    workflow: str
    spend_usd: float
    runs: int
    days: int
    """UTC days on which any of them finished: the blocks of the bootstrap."""
    drift: float
    low: float
    high: float
    state: State
    runs_needed: int
    """Runs after which the interval would be as narrow as the tolerance, at this scatter."""
    wape: float
    mape: float


def drift_ratio(predicted: Floats, actual: Floats) -> float:
    """Return sum(predicted) / sum(actual) - 1; NaN where nothing was spent."""
    spent = float(actual.sum())
    return float(predicted.sum()) / spent - 1.0 if spent > 0.0 else math.nan


def wape(predicted: Floats, actual: Floats) -> float:
    """Return the weighted absolute percentage error, sum|error| / sum(actual)."""
    spent = float(actual.sum())
    return float(np.abs(predicted - actual).sum()) / spent if spent > 0.0 else math.nan


def mape(predicted: Floats, actual: Floats) -> float:
    """Return the mean absolute percentage error over the runs that cost anything."""
    paid = actual > 0.0
    return float(np.mean(np.abs(predicted[paid] / actual[paid] - 1.0))) if paid.any() else math.nan


def bootstrap_interval(
    predicted: Floats, actual: Floats, day: Integers, *, seed: int, level: float = _LEVEL
) -> tuple[float, float]:
    """Return an interval of the drift by resampling whole days.

    Runs of one day share their causes, so days are the blocks. The percentile interval is widened by
    Student's quantile and the small-sample factor of n blocks; without that, few days look too sure.

    Args:
        predicted: USD, one a run.
        actual: USD, one a run.
        day: day of finish of each run.
        seed: of the resampling; the same input gives the same interval.
        level: of the interval.
    """
    blocks, index = np.unique(day, return_inverse=True)
    count = len(blocks)
    estimate = drift_ratio(predicted, actual)
    if count < 2 or not math.isfinite(estimate):  # noqa: PLR2004 - one block has no scatter
        return -math.inf, math.inf
    daily_predicted = np.bincount(index, predicted, count)
    daily_actual = np.bincount(index, actual, count)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(count, np.full(count, 1.0 / count), size=_REPLICATES).astype(np.float64)
    spent = weights @ daily_actual
    ratios = (weights @ daily_predicted)[spent > 0.0] / spent[spent > 0.0] - 1.0
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    widen = float(student.ppf(1.0 - tail, count - 1)) / _NORMAL_QUANTILE * math.sqrt(count / (count - 1))
    return estimate + (float(low) - estimate) * widen, estimate + (float(high) - estimate) * widen


def judge(low: float, high: float, *, runs: int, days: int, tolerance: float = TOLERANCE) -> State:
    """Return the verdict that an interval supports."""
    if runs < MINIMUM_RUNS or days < MINIMUM_DAYS or not (math.isfinite(low) and math.isfinite(high)):
        return State.UNDETERMINED
    if -tolerance <= low and high <= tolerance:
        return State.OK
    if low > tolerance or high < -tolerance:
        return State.DRIFT
    return State.UNDETERMINED


def runs_needed(predicted: Floats, actual: Floats, *, tolerance: float = TOLERANCE) -> int:
    """Return (1.96 cv / tolerance)^2: runs for a 95 % interval as narrow as the tolerance."""
    mean = float(actual.mean()) if len(actual) else 0.0
    if mean <= 0.0:
        return 0
    scatter = float(np.std(predicted - actual)) / mean
    return math.ceil((_NORMAL_QUANTILE * scatter / tolerance) ** 2)


def drift_of_workflow(
    workflow: str, predicted: Floats, actual: Floats, finished: Integers, *, seed: int = 0, tolerance: float = TOLERANCE
) -> Drift:
    """Return the drift of one workflow's runs in one window.

    Args:
        workflow: its name.
        predicted: USD served, one a run.
        actual: USD paid, one a run.
        finished: microseconds.
        seed: of the bootstrap.
        tolerance: of the verdict.
    """
    day = finished // DAY
    days = len(np.unique(day))
    low, high = bootstrap_interval(predicted, actual, day, seed=seed)
    return Drift(
        workflow=workflow,
        spend_usd=float(actual.sum()),
        runs=len(actual),
        days=days,
        drift=drift_ratio(predicted, actual),
        low=low,
        high=high,
        state=judge(low, high, runs=len(actual), days=days, tolerance=tolerance),
        runs_needed=runs_needed(predicted, actual, tolerance=tolerance),
        wape=wape(predicted, actual),
        mape=mape(predicted, actual),
    )


def drift_table(
    workflow_names: Sequence[str],
    workflow: Integers,
    predicted: Floats,
    actual: Floats,
    finished: Integers,
    *,
    top: int | None = TOP,
    seed: int = 0,
) -> list[Drift]:
    """Return the drift of the workflows that cost most in the window, dearest first."""
    spent = np.bincount(workflow, actual, len(workflow_names))
    runs = np.bincount(workflow, minlength=len(workflow_names))
    order = [index for index in np.lexsort((np.arange(len(spent)), -spent)).tolist() if runs[index] > 0]
    table = []
    for index in order if top is None else order[:top]:
        rows = workflow == index
        table.append(drift_of_workflow(workflow_names[index], predicted[rows], actual[rows], finished[rows], seed=seed))
    return table
