"""Log-linear Poisson quasi-maximum likelihood with one level per workflow, profiled out.

With the canonical log link the score equations say that predicted and actual totals agree inside every
workflow of the training window: the aggregate is unbiased by construction, whatever the distribution
of a single run (Gourieroux, Monfort and Trognon 1984; Santos Silva and Tenreyro 2006).
The levels have a closed form given the slopes, so Newton runs over the slopes only; the profile
likelihood is concave. Slopes come shared by all workflows, and of each workflow's own under a Gaussian
prior at the shared ones; the penalty leaves the score of the levels alone, so balance holds for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mc_pipelines.estimator.grouped_sums import products_by_workflow, sums_by_workflow
from mc_pipelines.estimator.history import Floats, Integers
from mc_pipelines.foundation.errors import InputError

_HALVINGS = 30
_LARGEST_STEP = 2.0
_LARGEST_EXPONENT = 60.0
_PRIOR_RIDGE = 1e-3
"""Keeps the prior proper where a feature never varies."""


@dataclass(frozen=True, eq=False)
class PoissonFit:
    """Slopes shared by all workflows, and a level of each."""

    slopes: Floats
    levels: Floats
    """log of the level of each workflow; -inf where it had no positive target."""
    iterations: int
    converged: bool


def fit_poisson(
    features: Floats,
    target: Floats,
    offset: Floats,
    workflow: Integers,
    workflow_count: int,
    *,
    ridge: float = 0.0,
    start: Floats | None = None,
    tolerance: float = 1e-9,
    iterations: int = 50,
) -> PoissonFit:
    """Fit ``target ~ exp(offset + level[workflow] + features @ slopes)``.

    Args:
        features: one row a run, finite, best standardised.
        target: resource-seconds, not negative.
        offset: log of the allocated resources.
        workflow: index of each run's workflow.
        workflow_count: number of workflows.
        ridge: penalty on the slopes, as a share of the total target; 0 is plain maximum likelihood.
        start: slopes to start from (the last origin's).
        tolerance: stop when the largest slope step is below.
        iterations: stop after so many Newton steps.

    Raises:
        InputError: a target is negative or not finite, or a feature is not finite.
    """
    if not np.isfinite(features).all() or not np.isfinite(offset).all():
        raise InputError("A feature is not finite", field="features", mend="fill or leave out missing values first")
    if not np.isfinite(target).all() or (target < 0).any():
        raise InputError("A target is negative or not finite", field="target", mend="leave such runs out")
    totals = np.bincount(workflow, target, workflow_count).astype(np.float64)
    penalty = ridge * float(totals.sum())
    slopes = np.zeros(features.shape[1]) if start is None else start.astype(np.float64).copy()
    pull = features.T @ target

    def objective(at: Floats) -> float:
        expected = _expected(features, offset, workflow, workflow_count, at)[1]
        seen = totals > 0
        return float(pull @ at - totals[seen] @ np.log(expected[seen]) - 0.5 * penalty * at @ at)

    value = objective(slopes)
    done = 0
    converged = features.shape[1] == 0
    while not converged and done < iterations:
        done += 1
        step = _newton_step(features, offset, workflow, totals, slopes, pull, penalty)
        largest = float(np.abs(step).max())
        if largest > _LARGEST_STEP:
            step *= _LARGEST_STEP / largest
        value, slopes, moved = _climb(objective, value, slopes, step)
        converged = largest < tolerance or not moved
    expected = _expected(features, offset, workflow, workflow_count, slopes)[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.where(totals > 0, np.log(totals) - np.log(expected), -np.inf)
    return PoissonFit(slopes, levels, done, converged)


def _expected(
    features: Floats, offset: Floats, workflow: Integers, workflow_count: int, slopes: Floats
) -> tuple[Floats, Floats]:
    """Return exp(offset + features @ slopes) of each run, and its sum in each workflow."""
    each = np.exp(np.clip(offset + features @ slopes, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))
    return each, np.bincount(workflow, each, workflow_count).astype(np.float64)


def _newton_step(
    features: Floats,
    offset: Floats,
    workflow: Integers,
    totals: Floats,
    slopes: Floats,
    pull: Floats,
    penalty: float,
) -> Floats:
    each, expected = _expected(features, offset, workflow, len(totals), slopes)
    scale = np.divide(totals, expected, out=np.zeros_like(totals), where=expected > 0)
    fitted = each * scale[workflow]
    columns = features.shape[1]
    centre = np.empty((len(totals), columns))
    for column in range(columns):
        centre[:, column] = np.bincount(workflow, each * features[:, column], len(totals))
    centre /= np.maximum(expected, 1e-300)[:, None]
    centred = features - centre[workflow]
    gradient = pull - features.T @ fitted - penalty * slopes
    curvature = (centred * fitted[:, None]).T @ centred + penalty * np.eye(columns)
    return np.asarray(np.linalg.lstsq(curvature, gradient, rcond=1e-12)[0], dtype=np.float64)


def _climb(
    objective: Callable[[Floats], float], value: float, slopes: Floats, step: Floats
) -> tuple[float, Floats, bool]:
    """Halve the step until the objective does not fall."""
    for _ in range(_HALVINGS):
        candidate = slopes + step
        reached = objective(candidate)
        if reached >= value - 1e-12 * abs(value):
            return reached, candidate, True
        step = step / 2
    return value, slopes, False


def fit_own_slopes(
    features: Floats,
    target: Floats,
    offset: Floats,
    workflow: Integers,
    workflow_count: int,
    *,
    shared: Floats,
    own_runs: float = 30.0,
    start: Floats | None = None,
    tolerance: float = 1e-7,
    iterations: int = 60,
) -> Floats:
    """Fit each workflow's own slopes under a prior at the shared ones; levels are profiled out.

    The prior is worth ``own_runs`` runs of the workflow's mean target at the pooled curvature, so a workflow
    with few runs keeps the shared slopes. All workflows take their damped Newton steps at once.

    Args:
        features: one row a run, finite, best standardised.
        target: resource-seconds, not negative.
        offset: log of the allocated resources.
        workflow: index of each run's workflow.
        workflow_count: number of workflows.
        shared: slopes of :func:`fit_poisson`.
        own_runs: pseudo-runs of the prior.
        start: slopes to start from, one row a workflow (the last origin's).
        tolerance: stop when no slope of any workflow moves by more.
        iterations: stop after so many steps.

    Returns:
        One row a workflow; the shared slopes where a workflow has no positive target.
    """
    columns = features.shape[1]
    totals = np.bincount(workflow, target, workflow_count).astype(np.float64)
    runs = np.maximum(np.bincount(workflow, minlength=workflow_count), 1)
    slopes = np.repeat(shared[None], workflow_count, axis=0)
    if columns == 0 or not totals.sum() > 0.0:
        return slopes
    own = _OwnSlopes(features, target, offset, workflow, totals)
    pooled = own.curvature(slopes).sum(axis=0) / totals.sum() + _PRIOR_RIDGE * np.eye(columns)
    prior = (own_runs * totals / runs)[:, None, None] * pooled
    settled = totals <= 0.0
    prior[settled] = np.eye(columns)
    if start is not None and start.shape == slopes.shape:
        slopes = start.copy()
    value = own.objective(slopes, shared, prior)
    damping = np.ones(workflow_count)
    for _ in range(iterations):
        curvature = own.curvature(slopes) + prior
        gradient = own.gradient(slopes) - np.einsum("wij,wj->wi", prior, slopes - shared)
        gradient[settled] = 0.0
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        largest = np.abs(step).max(axis=1)
        step *= (damping / np.maximum(1.0, largest / _LARGEST_STEP))[:, None]
        reached = own.objective(slopes + step, shared, prior)
        better = reached >= value - 1e-12 * np.abs(value)
        slopes[better] += step[better]
        value = np.where(better, reached, value)
        damping = np.where(better, 1.0, damping / 4)
        if (largest * np.where(better, 1.0, damping) < tolerance).all():
            break
    return slopes


@dataclass(frozen=True, eq=False)
class _OwnSlopes:
    """The profile likelihood of every workflow at once."""

    features: Floats
    target: Floats
    offset: Floats
    workflow: Integers
    totals: Floats

    def _fitted(self, slopes: Floats) -> tuple[Floats, Floats]:
        exponent = self.offset + np.einsum("ij,ij->i", self.features, slopes[self.workflow])
        each = np.exp(np.clip(exponent, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))
        expected = np.maximum(np.bincount(self.workflow, each, len(self.totals)), 1e-300)
        return each * (self.totals / expected)[self.workflow], expected

    def objective(self, slopes: Floats, shared: Floats, prior: Floats) -> Floats:
        """Return the penalised profile log-likelihood of each workflow."""
        _, expected = self._fitted(slopes)
        pull = np.bincount(
            self.workflow,
            self.target * np.einsum("ij,ij->i", self.features, slopes[self.workflow]),
            len(self.totals),
        )
        away = slopes - shared
        return np.asarray(pull - self.totals * np.log(expected) - 0.5 * np.einsum("wi,wij,wj->w", away, prior, away))

    def gradient(self, slopes: Floats) -> Floats:
        fitted, _ = self._fitted(slopes)
        return sums_by_workflow(self.features, self.target - fitted, self.workflow, len(self.totals))

    def curvature(self, slopes: Floats) -> Floats:
        fitted, _ = self._fitted(slopes)
        count = len(self.totals)
        centre = sums_by_workflow(self.features, fitted, self.workflow, count)
        centre /= np.maximum(self.totals, 1e-300)[:, None]
        return products_by_workflow(self.features - centre[self.workflow], fitted, self.workflow, count)


def shrink_levels(
    levels: Floats, noise: Floats, family: Integers, family_count: int, *, least_spread: float = 0.05
) -> tuple[Floats, Floats, float]:
    """Shrink levels on the log scale towards their own family, and families towards all.

    Empirical Bayes with one between-workflow variance (DerSimonian-Laird in spirit): a level keeps
    ``spread / (spread + noise)`` of its distance to its family. On the log scale a workflow with
    few expensive runs is not dragged orders of magnitude down, as a pooled raw ratio would.

    Args:
        levels: log levels; -inf for a workflow without data.
        noise: sampling variance of each log level (squared coefficient of variation / runs).
        family: index of each workflow's family.
        family_count: number of families.
        least_spread: floor of the between-workflow variance.

    Returns:
        Shrunk levels (a family's level where a workflow has no data), the level of each family, and the
        level of all.
    """
    known = np.isfinite(levels) & np.isfinite(noise)
    if not known.any():
        return np.zeros_like(levels), np.zeros(family_count), 0.0
    level = np.where(known, levels, 0.0)
    weight = np.where(known, 1.0 / (noise + 1.0), 0.0)
    overall = float(weight @ level / weight.sum())
    excess = (level - overall) ** 2 - np.where(known, noise, 0.0)
    spread = max(least_spread, float(weight @ excess / weight.sum()))
    precision = np.where(known, 1.0 / (noise + spread), 0.0)
    family_level = (np.bincount(family, precision * level, family_count) + overall / spread) / (
        np.bincount(family, precision, family_count) + 1.0 / spread
    )
    kept = np.where(known, spread / (spread + np.where(known, noise, 0.0)), 0.0)
    return kept * level + (1.0 - kept) * family_level[family], family_level, overall
