"""The challenger without iteration: a log-scale least-squares shape, levelled by raw totals.

Within-workflow ordinary least squares of log resource-time gives the shape; the level of a workflow is
the ratio of its actual total to the total of the shape, so the exponential of a log fit loses nothing
(notes: a naive exp() loses 5-58 % of the spend). Everything it needs are sums, which is what makes the
backtest from daily sufficient statistics possible (see :mod:`mc_pipelines.estimator.sufficient`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc_pipelines.estimator.history import Floats, Integers
from mc_pipelines.foundation.errors import InputError


@dataclass(frozen=True, eq=False)
class ClosedFormFit:
    """Slopes of the log-scale shape and the log of the raw-ratio level of each workflow."""

    slopes: Floats
    levels: Floats
    """-inf where a workflow had no positive target."""


def fit_closed_form(
    features: Floats,
    target: Floats,
    offset: Floats,
    workflow: Integers,
    workflow_count: int,
    *,
    ridge: float = 1e-4,
) -> ClosedFormFit:
    """Fit the shape by within-workflow least squares and the level by the ratio of totals.

    Args:
        features: one row a run, finite, best standardised.
        target: resource-seconds; runs with none do not shape, yet count in the totals.
        offset: log of the allocated resources.
        workflow: index of each run's workflow.
        workflow_count: number of workflows.
        ridge: penalty on the slopes, as a share of the number of runs.

    Raises:
        InputError: a target is negative or not finite.
    """
    if not np.isfinite(target).all() or (target < 0).any():
        raise InputError("A target is negative or not finite", field="target", mend="leave such runs out")
    positive = target > 0
    slopes = within_least_squares(
        features[positive],
        np.log(target[positive]) - offset[positive],
        workflow[positive],
        workflow_count,
        ridge=ridge,
    )
    shape = np.exp(np.clip(offset + features @ slopes, -60, 60))
    totals = np.bincount(workflow, target, workflow_count)
    shapes = np.bincount(workflow, shape, workflow_count)
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.where(totals > 0, np.log(totals) - np.log(shapes), -np.inf)
    return ClosedFormFit(slopes, levels)


def within_least_squares(
    features: Floats, response: Floats, workflow: Integers, workflow_count: int, *, ridge: float
) -> Floats:
    """Return ridge slopes after taking out each workflow's mean (the Frisch-Waugh-Lovell projection)."""
    columns = features.shape[1]
    if columns == 0 or len(response) == 0:
        return np.zeros(columns)
    runs = np.maximum(np.bincount(workflow, minlength=workflow_count), 1)
    centred = np.empty_like(features)
    for column in range(columns):
        means = np.bincount(workflow, features[:, column], workflow_count) / runs
        centred[:, column] = features[:, column] - means[workflow]
    rest = response - (np.bincount(workflow, response, workflow_count) / runs)[workflow]
    gram = centred.T @ centred + ridge * len(response) * np.eye(columns)
    return np.asarray(np.linalg.lstsq(gram, centred.T @ rest, rcond=1e-12)[0])
