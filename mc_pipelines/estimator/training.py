"""From a history to a model that can serve: replay it, let all runs finish, fit once more, write it down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mc_pipelines.estimator.artefact import Artefact, build_artefact
from mc_pipelines.estimator.features import refuse_unfinished
from mc_pipelines.estimator.history import History, moment_of
from mc_pipelines.estimator.model import TrainingRows, fit_model
from mc_pipelines.estimator.online import OnlineEstimator
from mc_pipelines.estimator.promotion import imbalance_of
from mc_pipelines.estimator.replay import replay
from mc_pipelines.estimator.setting import DEFAULT_SETTING, Setting
from mc_pipelines.foundation.errors import InputError


def train(
    history: History,
    *,
    as_of: int | None = None,
    setting: Setting = DEFAULT_SETTING,
    parent_id: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Artefact:
    """Return the model of a history, as of its last finish or an earlier moment.

    Args:
        history: the runs; the order in which they finished is the order in which it learns.
        as_of: microseconds; a run in the history that had not finished by then is a leak.
        setting: the knobs.
        parent_id: the model it follows.
        metrics: of its backtest.

    Raises:
        InputError: a run finished after ``as_of``, or too few runs finished.
    """
    if len(history) == 0:
        raise InputError("No run to learn from", field="history", value=0)
    moment = int(history.finished.max()) if as_of is None else as_of
    refuse_unfinished(history.run_ids, history.finished, moment)
    made, estimator = replay(history, setting=setting)
    settle(estimator, history)
    estimator.model = fit_model(
        TrainingRows(made.features, history.resource_seconds, history.resources, history.workflow, history.finished),
        as_of=moment,
        workflow_names=history.workflow_names,
        family_of_workflow=history.family_of_workflow,
        feature_names=estimator.feature_names,
        setting=setting,
        previous=estimator.model,
    )
    if estimator.model is None:
        raise InputError(
            "Too few finished runs to fit a model",
            field="history",
            value=f"{len(history)} runs up to {moment_of(moment).isoformat()}",
        )
    balance = {"imbalance": largest_imbalance(estimator, history, made.features)}
    return build_artefact(estimator, history, parent_id=parent_id, metrics=dict(metrics or {}) | balance)


def settle(estimator: OnlineEstimator, history: History) -> None:
    """Let every run finish that the replay left pending, in order of finish."""
    for index in np.argsort(history.finished, kind="stable").tolist():
        estimator.observe(
            history.run_ids[index], finished=int(history.finished[index]), runtime=float(history.runtime[index])
        )


def largest_imbalance(estimator: OnlineEstimator, history: History, features: np.ndarray) -> float:
    """Return the balance invariant of a model: its largest in-sample drift before shrinkage."""
    model = estimator.model
    if model is None:
        return float("nan")
    scaled = (features - np.array(model.centre)) / np.array(model.spread)
    return imbalance_of(history, np.clip(scaled, -model.clip, model.clip))
