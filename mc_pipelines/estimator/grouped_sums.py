"""Sums inside each workflow: what per-workflow least squares and Newton steps are made of."""

from __future__ import annotations

import numpy as np

from mc_pipelines.estimator.history import Floats, Integers


def sums_by_workflow(values: Floats, weight: Floats, workflow: Integers, workflow_count: int) -> Floats:
    """Return the weighted column sums of each workflow, shape (workflows, columns).

    Args:
        values: one row a run.
        weight: one a run.
        workflow: index of each run's workflow.
        workflow_count: number of workflows.
    """
    found = np.empty((workflow_count, values.shape[1]))
    for column in range(values.shape[1]):
        found[:, column] = np.bincount(workflow, values[:, column] * weight, workflow_count)
    return found


def products_by_workflow(values: Floats, weight: Floats, workflow: Integers, workflow_count: int) -> Floats:
    """Return the weighted second moments of each workflow, shape (workflows, columns, columns)."""
    columns = values.shape[1]
    found = np.empty((workflow_count, columns, columns))
    for first in range(columns):
        weighted = values[:, first] * weight
        for second in range(first, columns):
            total = np.bincount(workflow, weighted * values[:, second], workflow_count)
            found[:, first, second] = found[:, second, first] = total
    return found


def level_of_totals(shape: Floats, target: Floats, workflow: Integers, workflow_count: int) -> Floats:
    """Return the log of actual over shape totals of each workflow; -inf where nothing was spent.

    Args:
        shape: the prediction without a level, one a run.
        target: what was spent, one a run.
        workflow: index of each run's workflow.
        workflow_count: number of workflows.
    """
    totals = np.bincount(workflow, target, workflow_count)
    shapes = np.bincount(workflow, shape, workflow_count)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(totals > 0, np.log(totals) - np.log(shapes), -np.inf)
