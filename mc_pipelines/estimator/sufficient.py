"""A backtest of the closed-form candidate from daily sufficient statistics: every origin at the price of one.

What a within-workflow ridge needs of its training window are sums: runs, features, responses, their products.
Kept per (day, workflow) and cumulated over the days, any window of any origin is the difference of two rows,
and all workflows of an origin are one batched solve (:func:`closed_form.shrunken_slopes`). The level is the
trailing ratio of what was paid to what the shape said, from daily sums as well, so every dollar of the window
balances. Each run is touched twice, whatever the number of origins: once for its sums, once for its prediction.

The order of days is the order in which knowledge arrives: an origin at the start of day d sees the runs that
finished before d; the runs submitted on day d are predicted by that origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from mc_pipelines.estimator.closed_form import shrunken_slopes
from mc_pipelines.estimator.history import DAY, Floats, History, Integers
from mc_pipelines.foundation.errors import InputError

LARGEST_EXPONENT = 60.0
_CONSTANT = 1e-9
"""A column with less spread is constant."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs in columns, in any order; days are whole numbers from 0."""

    features: Floats
    """(runs, columns), finite, best standardised."""
    target: Floats
    """Resource-seconds, positive."""
    offset: Floats
    """log of the allocated resources."""
    workflow: Integers
    submitted_day: Integers
    finished_day: Integers

    def __post_init__(self) -> None:
        if not (np.isfinite(self.target).all() and (self.target > 0).all()):
            raise InputError("A target is not positive", field="target", mend="leave such runs out")
        if not (np.isfinite(self.features).all() and np.isfinite(self.offset).all()):
            raise InputError("A feature is not finite", field="features", mend="fill or leave out missing values")
        if len(self.target) and (self.submitted_day.min() < 0 or (self.finished_day < self.submitted_day).any()):
            raise InputError("A run finishes before it is submitted", field="finished_day", mend="check the clock")


def runs_of(history: History) -> tuple[Runs, int]:
    """Return a history's runs on what is asked for (sizes and allocation), and how many days they span.

    A missing magnitude sits at the mean; runs that took no time are left out.
    """
    kept = np.flatnonzero((history.resource_seconds > 0.0) & history.succeeded)
    offset = np.log(history.resources[kept])
    with np.errstate(invalid="ignore"):
        raw = np.column_stack([np.log1p(history.numbers[kept]), offset])
    known = np.isfinite(raw)
    counts = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, raw, 0.0).sum(axis=0) / counts
    away = np.where(known, raw - centre, 0.0)
    spread = np.sqrt((away**2).sum(axis=0) / counts)
    first = int(history.submitted[kept].min()) // DAY if len(kept) else 0
    submitted, finished = (times[kept] // DAY - first for times in (history.submitted, history.finished))
    runs = Runs(
        np.ascontiguousarray(away / np.where(spread > _CONSTANT, spread, 1.0)),
        history.resource_seconds[kept],
        offset,
        history.workflow[kept],
        submitted,
        np.maximum(finished, submitted),
    )
    return runs, int(max(submitted.max(initial=0), finished.max(initial=0))) + 1


@dataclass(frozen=True, slots=True)
class Rules:
    """What is fitted at each origin."""

    training_days: int = 60
    ridge: float = 1e-4
    own_runs: float = 30.0
    level_runs: float = 5.0
    """Pseudo-runs at ratio 1 in the level."""


@dataclass(frozen=True, eq=False)
class Fits:
    """One fit an origin: the day it stands at, slopes and centres of each workflow."""

    origins: Integers
    slopes: Floats
    """(origins, workflows, columns)"""
    base: Floats
    """(origins, workflows): mean response less the slopes' part; the shape is exp(offset + base + x slopes)."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The backtest of one candidate."""

    fits: Fits
    level: Floats
    """(origins, workflows): trailing ratio of paid to shape."""
    predicted: Floats
    """Resource-seconds, one a run; NaN outside of the origins."""
    drift: Floats
    """Per workflow over all origins; NaN where nothing ran."""
    wape: float


def daily_statistics(runs: Runs, days: int, workflows: int) -> Floats:
    """Return the sums of each (day of finish, workflow), cumulated over days.

    Returns:
        (days + 1, workflows, 1 + c + 1 + c (c + 1) / 2 + c): runs, features, response (log target less offset),
        products of features (upper triangle by rows), products of features and response.
    """
    columns = runs.features.shape[1]
    sums = np.zeros((days + 1, workflows, 2 + 2 * columns + columns * (columns + 1) // 2))
    _accumulate(sums, runs.features, runs.target, runs.offset, runs.workflow, runs.finished_day)
    np.cumsum(sums, axis=0, out=sums)
    return sums


@numba.njit(cache=True, fastmath=False)
def _accumulate(
    sums: Floats, features: Floats, target: Floats, offset: Floats, workflow: Integers, finished_day: Integers
) -> None:  # pragma: no cover - compiled
    columns = features.shape[1]
    days = sums.shape[0] - 1
    for run in range(len(target)):
        day = finished_day[run]
        if day >= days:
            continue
        row = sums[day + 1, workflow[run]]
        row[0] += 1.0
        y = np.log(target[run]) - offset[run]
        row[1 + columns] += y
        place = 2 + columns
        crosses = place + columns * (columns + 1) // 2
        for first in range(columns):
            value = features[run, first]
            row[1 + first] += value
            row[crosses + first] += value * y
            for second in range(first, columns):
                row[place] += value * features[run, second]
                place += 1


def fit_origins(cumulated: Floats, origins: Integers, columns: int, rules: Rules) -> Fits:
    """Fit every origin from the cumulated sums.

    Args:
        cumulated: of :func:`daily_statistics`.
        origins: days at whose start a fit stands.
        columns: number of features.
        rules: what is fitted.
    """
    workflows = cumulated.shape[1]
    slopes = np.zeros((len(origins), workflows, columns))
    base = np.zeros((len(origins), workflows))
    upper = np.triu_indices(columns)
    for place, day in enumerate(origins.tolist()):
        window = cumulated[day] - cumulated[max(0, day - rules.training_days)]
        runs = window[:, 0]
        safe = np.maximum(runs, 1.0)
        mean = window[:, 1 : 1 + columns] / safe[:, None]
        response = window[:, 1 + columns] / safe
        products = np.zeros((workflows, columns, columns))
        triangle = window[:, 2 + columns : 2 + columns + len(upper[0])]
        products[:, upper[0], upper[1]] = triangle
        products[:, upper[1], upper[0]] = triangle
        products -= runs[:, None, None] * mean[:, :, None] * mean[:, None, :]
        crosses = window[:, 2 + columns + len(upper[0]) :] - runs[:, None] * mean * response[:, None]
        total = int(runs.sum())
        if total > 0:
            slopes[place] = shrunken_slopes(products, crosses, total, ridge=rules.ridge, own_runs=rules.own_runs)[1]
        overall = float(window[:, 1 + columns].sum() / max(total, 1))
        base[place] = np.where(runs > 0, response, overall) - np.einsum("wc,wc->w", mean, slopes[place])
    return Fits(origins, slopes, base)


def backtest_closed_form(
    runs: Runs, *, days: int, workflows: int, origins: Integers, rules: Rules | None = None
) -> Scored:
    """Backtest the candidate at every origin.

    Args:
        runs: all of them, those before the first origin included.
        days: how many days the runs span.
        workflows: how many there are.
        origins: consecutive days; the runs submitted on one are predicted with what had finished before it.
        rules: what is fitted.

    Raises:
        InputError: the origins are not consecutive days of the span.
    """
    rules = rules or Rules()
    if len(origins) == 0 or (np.diff(origins) != 1).any() or origins[0] < 0 or origins[-1] >= days:
        raise InputError("Origins must be consecutive days of the data", field="origins", value=len(origins))
    fits = fit_origins(daily_statistics(runs, days, workflows), origins, runs.features.shape[1], rules)
    predicted = np.full(len(runs.target), np.nan)
    sums = np.zeros((3, days + 1, workflows))
    _predict(
        predicted,
        sums,
        runs.features,
        runs.target,
        runs.offset,
        runs.workflow,
        runs.submitted_day - origins[0],
        runs.finished_day,
        fits.slopes,
        fits.base,
    )
    level = _levels(np.cumsum(sums, axis=1), origins, rules)
    scores = np.zeros((3, workflows))
    _score(predicted, scores, runs.target, runs.workflow, runs.submitted_day - origins[0], level)
    paid, said, missed = scores
    with np.errstate(divide="ignore", invalid="ignore"):
        drift = np.where(paid > 0, said / paid - 1.0, np.nan)
    wape = float(missed.sum() / paid.sum()) if paid.sum() > 0.0 else float("nan")
    return Scored(fits, level, predicted, drift, wape)


@numba.njit(cache=True, fastmath=False)
def _predict(  # noqa: PLR0917 - compiled code takes plain arrays
    shape: Floats,
    sums: Floats,
    features: Floats,
    target: Floats,
    offset: Floats,
    workflow: Integers,
    place: Integers,
    finished_day: Integers,
    slopes: Floats,
    base: Floats,
) -> None:  # pragma: no cover - compiled
    """Write the shape of each run, and its sums (paid, shape, runs) on the day it finished."""
    days = sums.shape[1] - 1
    for run in range(len(offset)):
        origin = place[run]
        if origin < 0 or origin >= len(slopes):
            continue
        own = workflow[run]
        exponent = offset[run] + base[origin, own]
        for column in range(features.shape[1]):
            exponent += features[run, column] * slopes[origin, own, column]
        found = np.exp(min(LARGEST_EXPONENT, max(-LARGEST_EXPONENT, exponent)))
        shape[run] = found
        day = finished_day[run] + 1
        if day <= days:
            sums[0, day, own] += target[run]
            sums[1, day, own] += found
            sums[2, day, own] += 1.0


@numba.njit(cache=True, fastmath=False)
def _score(
    predicted: Floats, scores: Floats, target: Floats, workflow: Integers, place: Integers, level: Floats
) -> None:  # pragma: no cover - compiled
    """Level the shapes in place, and sum what was paid, said and missed by workflow."""
    for run in range(len(predicted)):
        origin = place[run]
        if origin < 0 or origin >= len(level):
            continue
        own = workflow[run]
        predicted[run] *= level[origin, own]
        scores[0, own] += target[run]
        scores[1, own] += predicted[run]
        scores[2, own] += abs(predicted[run] - target[run])


def _levels(cumulated: Floats, origins: Integers, rules: Rules) -> Floats:
    """Return the ratio of paid to shape over the runs that finished in the training window of each origin."""
    first = np.maximum(0, origins - rules.training_days)
    paid, said, count = cumulated[:, origins] - cumulated[:, first]
    usual = np.divide(said, count, out=np.zeros_like(said), where=count > 0)
    pull = rules.level_runs * usual
    return np.asarray(np.divide(paid + pull, said + pull, out=np.ones_like(said), where=count > 0), dtype=np.float64)
