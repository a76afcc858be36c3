"""The fitted model: frozen numbers from which a prediction follows, and how they are fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mc_pipelines.estimator.closed_form import fit_closed_form
from mc_pipelines.estimator.grouped_sums import level_of_totals, sums_by_workflow
from mc_pipelines.estimator.history import DAY, Floats, Integers
from mc_pipelines.estimator.poisson import fit_own_slopes, fit_poisson, shrink_levels
from mc_pipelines.estimator.setting import Setting

DISTANCE_QUANTILE = 0.995
MINIMUM_TRAINING_RUNS = 30
SHAPES = ("poisson", "poisson_own", "closed", "closed_own")
"""Poisson and closed form, each with slopes shared by all workflows and with a workflow's own."""
_LEAST_OWN_SPREAD = 0.05
"""In spreads of all runs: a feature that hardly varies inside any workflow gets at least so much room."""
_LARGEST_DISPERSION = 100.0
_CONSTANT_BELOW = 1e-9
"""A column with less spread is constant in the window."""


@dataclass(frozen=True, slots=True)
class Level:
    """Where one workflow, or one family, stands on the log scale, and its own slopes."""

    levels: tuple[float, ...]
    """One a shape, in the order of :data:`SHAPES`."""
    poisson_slopes: tuple[float, ...]
    """Its own, or the shared ones where it has none."""
    closed_slopes: tuple[float, ...]
    centre: tuple[float, ...]
    """Where its features usually lie; with ``spread`` in the units of the features."""
    spread: tuple[float, ...]
    """Shrunk towards the spread inside all workflows."""
    runs: int


@dataclass(frozen=True, eq=False)
class Model:
    """Everything that a prediction needs besides the state of its workflow.

    ``predict`` works on plain floats: a NumPy call costs more than the ten multiplications it saves.
    """

    as_of: int
    """Microseconds; runs that finished later were not seen."""
    rows: int
    feature_names: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    clip: float
    poisson_slopes: tuple[float, ...]
    """Shared by all workflows."""
    closed_slopes: tuple[float, ...]
    workflows: dict[str, Level]
    families: dict[str, Level]
    overall: Level
    distance_threshold: float
    """99.5 % quantile of the training runs' distance from the centre of their own workflow."""
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    """Range of each feature in the training window."""
    lowest_rate: float
    """log of half the least resource-seconds on one core or node in the training window."""
    highest_rate: float
    """log of twice the most; a prediction does not leave the two."""
    warm_start: Floats = field(repr=False, default_factory=lambda: np.zeros(0))
    """Shared Poisson slopes; the next fit starts from them."""
    warm_own: Floats = field(repr=False, default_factory=lambda: np.zeros((0, 0)))

    def standardise(self, values: Sequence[float]) -> list[float]:
        """Return standardised, clipped features; a missing one (NaN) sits at the centre."""
        clip = self.clip
        found: list[float] = []
        for value, centre, spread in zip(values, self.centre, self.spread, strict=True):
            scaled = (value - centre) / spread
            found.append(0.0 if scaled != scaled else min(clip, max(-clip, scaled)))  # noqa: PLR0124 - NaN test
        return found

    def distance(self, level: Level, values: Sequence[float]) -> float:
        """Return how unusual features are for their own workflow: the distance in its own spreads.

        By workflow, because what is far out for all may be every day's run of a large one, and a guardrail
        that lets only its small runs pass makes drift.
        """
        total = 0.0
        for value, centre, spread in zip(values, level.centre, level.spread, strict=True):
            total += ((value - centre) / spread) ** 2
        return math.sqrt(total)

    def outside(self, values: Sequence[float]) -> float:
        """Return how far the most distant feature lies outside its training range, in its spreads."""
        found = 0.0
        for value, low, high, spread in zip(values, self.lowest, self.highest, self.spread, strict=True):
            found = max(found, (low - value) / spread, (value - high) / spread)
        return found

    def level(self, workflow: str, family: str) -> Level:
        """Return the level of a workflow; of its family, or of all, where it is unknown."""
        return self.workflows.get(workflow) or self.families.get(family) or self.overall

    def slopes_of(self, level: Level) -> tuple[tuple[float, ...], ...]:
        """Return the slopes of each shape for a workflow, in the order of :data:`SHAPES`."""
        return (self.poisson_slopes, level.poisson_slopes, self.closed_slopes, level.closed_slopes)

    def predict(self, level: Level, standardised: Sequence[float], resources: float) -> tuple[float, ...]:
        """Return resource-seconds by each shape, in the order of :data:`SHAPES`."""
        found = []
        for base, slopes in zip(level.levels, self.slopes_of(level), strict=True):
            exponent = base
            for value, slope in zip(standardised, slopes, strict=True):
                exponent += value * slope
            found.append(resources * math.exp(min(self.highest_rate, max(self.lowest_rate, exponent))))
        return tuple(found)


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Finished runs with their features as they were at submission."""

    features: Floats
    """Not standardised, NaN where missing."""
    target: Floats
    """Resource-seconds."""
    resources: Floats
    workflow: Integers
    finished: Integers


def fit_model(
    rows: TrainingRows,
    *,
    as_of: int,
    workflow_names: Sequence[str],
    family_of_workflow: Sequence[str],
    feature_names: Sequence[str],
    setting: Setting,
    previous: Model | None = None,
) -> Model | None:
    """Fit both shapes on the runs that finished in the training window before ``as_of``.

    Returns:
        None where too few runs have finished.
    """
    visible = (rows.finished <= as_of) & (rows.finished > as_of - setting.training_days * DAY)
    if int(visible.sum()) < MINIMUM_TRAINING_RUNS:
        return None
    raw, target, workflow = rows.features[visible], rows.target[visible], rows.workflow[visible]
    offset = np.log(rows.resources[visible])
    scaled, centre, spread = _standardise(raw)
    clipped = np.clip(scaled, -setting.feature_clip, setting.feature_clip)
    start = previous.warm_start if previous is not None and len(previous.warm_start) == raw.shape[1] else None
    count = len(workflow_names)
    poisson = fit_poisson(clipped, target, offset, workflow, count, ridge=setting.ridge, start=start, tolerance=1e-7)
    own_poisson = fit_own_slopes(
        clipped,
        target,
        offset,
        workflow,
        count,
        shared=poisson.slopes,
        own_runs=setting.own_runs,
        start=previous.warm_own if previous is not None else None,
        tolerance=1e-5,
    )
    closed = fit_closed_form(clipped, target, offset, workflow, count, ridge=setting.ridge, own_runs=setting.own_runs)
    families = sorted(set(family_of_workflow))
    runs = np.bincount(workflow, minlength=count)
    groups = _Groups(workflow, np.array([families.index(name) for name in family_of_workflow]), len(families))
    paid = target > 0.0
    rates = (np.log(target[paid]) - offset[paid]) if paid.any() else np.zeros(1)
    shared = [offset + clipped @ slopes for slopes in (poisson.slopes, closed.slopes)]
    own = [offset + np.einsum("ij,ij->i", clipped, slopes[workflow]) for slopes in (own_poisson, closed.own_slopes)]
    own_poisson_levels = level_of_totals(np.exp(np.clip(own[0], -60, 60)), target, workflow, count)
    shapes = [
        _shrunk(levels, shape, target, groups, setting)
        for levels, shape in (
            (poisson.levels, shared[0]),
            (own_poisson_levels, own[0]),
            (closed.levels, shared[1]),
            (closed.own_levels, own[1]),
        )
    ]
    own_centre, own_spread = _own_ground(scaled, workflow, count, setting.own_runs)
    distance = np.sqrt((((scaled - own_centre[workflow]) / own_spread[workflow]) ** 2).sum(axis=1))
    own_centre, own_spread = centre + own_centre * spread, own_spread * spread
    ground = (tuple(centre.tolist()), tuple(spread.tolist()))
    slopes_of_all = (tuple(poisson.slopes.tolist()), tuple(closed.slopes.tolist()))
    return Model(
        as_of=as_of,
        rows=len(target),
        feature_names=tuple(feature_names),
        centre=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
        clip=setting.feature_clip,
        poisson_slopes=slopes_of_all[0],
        closed_slopes=slopes_of_all[1],
        workflows={
            name: Level(
                tuple(float(shape[0][index]) for shape in shapes),
                tuple(own_poisson[index].tolist()),
                tuple(closed.own_slopes[index].tolist()),
                tuple(own_centre[index].tolist()),
                tuple(own_spread[index].tolist()),
                int(runs[index]),
            )
            for index, name in enumerate(workflow_names)
            if runs[index] > 0
        },
        families={
            name: Level(tuple(float(shape[1][index]) for shape in shapes), *slopes_of_all, *ground, 0)
            for index, name in enumerate(families)
        },
        overall=Level(tuple(shape[2] for shape in shapes), *slopes_of_all, *ground, 0),
        distance_threshold=max(float(np.quantile(distance, DISTANCE_QUANTILE)), 1.0),
        lowest=tuple(np.min(raw, axis=0, initial=np.inf, where=np.isfinite(raw)).tolist()),
        highest=tuple(np.max(raw, axis=0, initial=-np.inf, where=np.isfinite(raw)).tolist()),
        lowest_rate=float(rates.min()) - math.log(2.0),
        highest_rate=float(rates.max()) + math.log(2.0),
        warm_start=poisson.slopes,
        warm_own=own_poisson,
    )


def _standardise(raw: Floats) -> tuple[Floats, Floats, Floats]:
    """Centre and scale each column on what is known; missing values become the centre."""
    known = np.isfinite(raw)
    counts = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, raw, 0.0)
    centre = filled.sum(axis=0) / counts
    scaled = np.where(known, raw - centre, 0.0)
    spread = np.sqrt((scaled**2).sum(axis=0) / counts)
    spread = np.where(spread < _CONSTANT_BELOW, 1.0, spread)
    return scaled / spread, centre, spread


def _own_ground(scaled: Floats, workflow: Integers, count: int, own_runs: float) -> tuple[Floats, Floats]:
    """Return the centre and spread of each workflow's features, the spread shrunk to the pooled one."""
    ones = np.ones(len(scaled))
    runs = np.bincount(workflow, minlength=count).astype(np.float64)
    centre = sums_by_workflow(scaled, ones, workflow, count) / np.maximum(runs, 1.0)[:, None]
    squares = sums_by_workflow((scaled - centre[workflow]) ** 2, ones, workflow, count)
    pooled = np.maximum(squares.sum(axis=0) / max(len(scaled), 1), _LEAST_OWN_SPREAD**2)
    return centre, np.sqrt((squares + own_runs * pooled) / (runs + own_runs)[:, None])


@dataclass(frozen=True, eq=False)
class _Groups:
    workflow: Integers
    """Workflow of each run."""
    family: Integers
    """Family of each workflow."""
    family_count: int


def _shrunk(
    levels: Floats, shape: Floats, target: Floats, groups: _Groups, setting: Setting
) -> tuple[Floats, Floats, float]:
    """Shrink levels by their sampling noise, which the dispersion of the training runs tells."""
    count, workflow = len(levels), groups.workflow
    level = np.where(np.isfinite(levels), levels, 0.0)
    fitted = np.exp(np.clip(level[workflow] + shape, -60, 60))
    relative = (target / np.maximum(fitted, 1e-12) - 1.0) ** 2
    runs = np.bincount(workflow, minlength=count)
    squares = np.bincount(workflow, np.minimum(relative, _LARGEST_DISPERSION), count)
    pooled = float(squares.sum() / max(int(runs.sum()), 1))
    dispersion = (squares + setting.pooled_runs * pooled) / (runs + setting.pooled_runs)
    noise = np.where(runs > 0, dispersion / np.maximum(runs, 1), np.inf)
    return shrink_levels(levels, noise, groups.family, groups.family_count)
