"""The challenger without iteration: a log-scale least-squares shape, levelled by raw totals.

Within-workflow least squares of log resource-time gives the shape; the level of a workflow is the ratio of
its actual total to the total of the shape, so the exponential of a log fit loses nothing (a naive exp()
loses 5-58 % of the spend). The shape comes twice: with slopes that all workflows share, and with slopes of
each workflow's own, shrunk towards the shared ones by a fixed number of pseudo-runs. Everything but the
level is made of sums, which is what makes the backtest from daily sufficient statistics possible
(:mod:`mc_pipelines.estimator.sufficient`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc_pipelines.estimator.grouped_sums import level_of_totals, products_by_workflow, sums_by_workflow
from mc_pipelines.estimator.history import Floats, Integers
from mc_pipelines.foundation.errors import InputError

LARGEST_EXPONENT = 60.0


@dataclass(frozen=True, eq=False)
class ClosedFormFit:
    """Slopes of the log-scale shape and the log of the raw-ratio level of each workflow."""

    slopes: Floats
    """Shared by all workflows."""
    own_slopes: Floats
    """One row a workflow."""
    levels: Floats
    """With the shared slopes; -inf where a workflow had no positive target."""
    own_levels: Floats


def fit_closed_form(
    features: Floats,
    target: Floats,
    offset: Floats,
    workflow: Integers,
    workflow_count: int,
    *,
    ridge: float = 1e-4,
    own_runs: float = 30.0,
) -> ClosedFormFit:
    """Fit the shape by within-workflow least squares and the level by the ratio of totals.

    Args:
        features: one row a run, finite, best standardised.
        target: resource-seconds; runs with none do not shape, yet count in the totals.
        offset: log of the allocated resources.
        workflow: index of each run's workflow.
        workflow_count: number of workflows.
        ridge: penalty on the shared slopes, as a share of the number of runs.
        own_runs: pseudo-runs of the pooled second moments that hold own slopes at the shared ones.

    Raises:
        InputError: a target is negative or not finite.
    """
    if not np.isfinite(target).all() or (target < 0).any():
        raise InputError("A target is negative or not finite", field="target", mend="leave such runs out")
    positive = target > 0
    response = np.log(target[positive]) - offset[positive]
    slopes, own_slopes = within_least_squares(
        features[positive], response, workflow[positive], workflow_count, ridge=ridge, own_runs=own_runs
    )
    shared = _shape(offset + features @ slopes)
    own = _shape(offset + np.einsum("ij,ij->i", features, own_slopes[workflow]))
    return ClosedFormFit(
        slopes,
        own_slopes,
        level_of_totals(shared, target, workflow, workflow_count),
        level_of_totals(own, target, workflow, workflow_count),
    )


def within_least_squares(
    features: Floats, response: Floats, workflow: Integers, workflow_count: int, *, ridge: float, own_runs: float
) -> tuple[Floats, Floats]:
    """Return shared and own ridge slopes after taking out each workflow's mean (Frisch, Waugh and Lovell)."""
    columns = features.shape[1]
    if columns == 0 or len(response) == 0:
        return np.zeros(columns), np.zeros((workflow_count, columns))
    ones = np.ones(len(response))
    runs = np.maximum(np.bincount(workflow, minlength=workflow_count), 1)
    centred = features - (sums_by_workflow(features, ones, workflow, workflow_count) / runs[:, None])[workflow]
    rest = response - (np.bincount(workflow, response, workflow_count) / runs)[workflow]
    return shrunken_slopes(
        products_by_workflow(centred, ones, workflow, workflow_count),
        sums_by_workflow(centred, rest, workflow, workflow_count),
        len(response),
        ridge=ridge,
        own_runs=own_runs,
    )


def shrunken_slopes(
    products: Floats, crosses: Floats, runs: int, *, ridge: float, own_runs: float
) -> tuple[Floats, Floats]:
    """Return the shared slopes, and each workflow's own, shrunk towards them.

    ``(G_w + k G / n) b_w = c_w + k (G / n) b``, where G is the pooled within-workflow second moment of n runs:
    the posterior mean under a prior worth ``k`` runs at the shared slopes b.

    Args:
        products: within-workflow second moments, (workflows, columns, columns).
        crosses: within-workflow products with the response, (workflows, columns).
        runs: how many runs they sum up.
        ridge: of the shared slopes, as a share of the runs.
        own_runs: pseudo-runs of the prior.
    """
    pooled = products.sum(axis=0) + ridge * runs * np.eye(products.shape[1])
    shared = np.linalg.lstsq(pooled, crosses.sum(axis=0), rcond=1e-12)[0]
    prior = own_runs * (pooled / runs + 10 * ridge * np.eye(products.shape[1]))
    own = np.linalg.solve(products + prior, (crosses + prior @ shared)[:, :, None])[:, :, 0]
    return np.asarray(shared), np.asarray(own)


def _shape(exponent: Floats) -> Floats:
    return np.asarray(np.exp(np.clip(exponent, -LARGEST_EXPONENT, LARGEST_EXPONENT)))
