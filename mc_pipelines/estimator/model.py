"""The fitted model: frozen numbers from which a prediction follows, and how they are fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mc_pipelines.estimator.closed_form import fit_closed_form
from mc_pipelines.estimator.history import DAY, Floats, Integers
from mc_pipelines.estimator.poisson import fit_poisson, shrink_levels
from mc_pipelines.estimator.setting import Setting

LEVERAGE_QUANTILE = 0.995
MINIMUM_TRAINING_RUNS = 30
SHAPES = ("poisson", "eb_ratio")
_GRAM_RIDGE = 1e-3
_LARGEST_DISPERSION = 100.0
_CONSTANT_BELOW = 1e-9
"""A column with less spread is constant in the window."""


@dataclass(frozen=True, slots=True)
class Level:
    """Where one workflow, or one family, stands on the log scale of each shape."""

    poisson: float
    eb_ratio: float
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
    eb_ratio_slopes: tuple[float, ...]
    workflows: dict[str, Level]
    families: dict[str, Level]
    overall: Level
    precision: tuple[tuple[float, ...], ...]
    """Inverse second-moment matrix of the standardised features: leverage = z' precision z."""
    leverage_threshold: float
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    """Range of each feature in the training window."""
    warm_start: Floats = field(repr=False, default_factory=lambda: np.zeros(0))

    def standardise(self, values: Sequence[float]) -> list[float]:
        """Return standardised, clipped features; a missing one (NaN) sits at the centre."""
        clip = self.clip
        found: list[float] = []
        for value, centre, spread in zip(values, self.centre, self.spread, strict=True):
            scaled = (value - centre) / spread
            found.append(0.0 if scaled != scaled else min(clip, max(-clip, scaled)))  # noqa: PLR0124 - NaN test
        return found

    def leverage(self, values: Sequence[float]) -> float:
        """Return how unusual unclipped features are, in the metric of the training data."""
        scaled = [
            (value - centre) / spread for value, centre, spread in zip(values, self.centre, self.spread, strict=True)
        ]
        total = 0.0
        for left, row in zip(scaled, self.precision, strict=True):
            total += left * sum(right * weight for right, weight in zip(scaled, row, strict=True))
        return total

    def outside(self, values: Sequence[float]) -> float:
        """Return how far the most distant feature lies outside its training range, in its spreads."""
        found = 0.0
        for value, low, high, spread in zip(values, self.lowest, self.highest, self.spread, strict=True):
            found = max(found, (low - value) / spread, (value - high) / spread)
        return found

    def level(self, workflow: str, family: str) -> Level:
        """Return the level of a workflow; of its family, or of all, where it is unknown."""
        return self.workflows.get(workflow) or self.families.get(family) or self.overall

    def predict(self, level: Level, standardised: Sequence[float], resources: float) -> tuple[float, float]:
        """Return resource-seconds by each shape, in the order of :data:`SHAPES`."""
        first = second = 0.0
        for value, poisson, eb_ratio in zip(standardised, self.poisson_slopes, self.eb_ratio_slopes, strict=True):
            first += value * poisson
            second += value * eb_ratio
        return (
            resources * math.exp(min(60.0, max(-60.0, level.poisson + first))),
            resources * math.exp(min(60.0, max(-60.0, level.eb_ratio + second))),
        )


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
    closed = fit_closed_form(clipped, target, offset, workflow, count, ridge=setting.ridge)
    families = sorted(set(family_of_workflow))
    runs = np.bincount(workflow, minlength=count)
    groups = _Groups(workflow, np.array([families.index(name) for name in family_of_workflow]), len(families))
    shapes = [_shrunk(fit.levels, offset + clipped @ fit.slopes, target, groups, setting) for fit in (poisson, closed)]
    precision = np.linalg.inv(scaled.T @ scaled / len(scaled) + _GRAM_RIDGE * np.eye(scaled.shape[1]))
    leverage = np.einsum("ij,jk,ik->i", scaled, precision, scaled)
    return Model(
        as_of=as_of,
        rows=len(target),
        feature_names=tuple(feature_names),
        centre=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
        clip=setting.feature_clip,
        poisson_slopes=tuple(poisson.slopes.tolist()),
        eb_ratio_slopes=tuple(closed.slopes.tolist()),
        workflows={
            name: Level(float(shapes[0][0][index]), float(shapes[1][0][index]), int(runs[index]))
            for index, name in enumerate(workflow_names)
            if runs[index] > 0
        },
        families={
            name: Level(float(shapes[0][1][index]), float(shapes[1][1][index]), 0)
            for index, name in enumerate(families)
        },
        overall=Level(shapes[0][2], shapes[1][2], 0),
        precision=tuple(tuple(row) for row in precision.tolist()),
        leverage_threshold=float(np.quantile(leverage, LEVERAGE_QUANTILE)) if scaled.shape[1] else 1.0,
        lowest=tuple(np.min(raw, axis=0, initial=np.inf, where=np.isfinite(raw)).tolist()),
        highest=tuple(np.max(raw, axis=0, initial=-np.inf, where=np.isfinite(raw)).tolist()),
        warm_start=poisson.slopes,
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
