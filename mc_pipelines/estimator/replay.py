"""Replay a history run by run: every prediction with only what had finished by its submission."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.estimator.guardrail import Reason
from mc_pipelines.estimator.history import DAY, Floats, History, Integers
from mc_pipelines.estimator.model import TrainingRows, fit_model
from mc_pipelines.estimator.online import OnlineEstimator, Prediction, Request
from mc_pipelines.estimator.setting import DEFAULT_SETTING, Setting


@dataclass(frozen=True, eq=False)
class Replay:
    """What was predicted for each run of a history, in resource-seconds; NaN where nothing was."""

    v1: Floats
    v2: Floats
    """Model and bias correction, before clamp and fallback; v1 where there was no model."""
    guarded: Floats
    """v2, what it makes up for, and the clamp: what would be served were confidence no question."""
    served: Floats
    confidence: Floats
    from_v2: NDArray[np.bool_]
    clamped: NDArray[np.bool_]
    low: Floats
    high: Floats
    chosen: Integers
    reasons: tuple[tuple[Reason, ...], ...]
    alarms: tuple[tuple[int, str, int], ...]
    """(finished, workflow, runs since the change point with sign)"""
    features: Floats
    """Model inputs as they were at submission."""


def replay(
    history: History, *, setting: Setting = DEFAULT_SETTING, enabled: bool = True, refit_days: int = 1
) -> tuple[Replay, OnlineEstimator]:
    """Predict every run in order of submission, learning from each one when it finishes.

    The model is refitted at midnight UTC on the runs that had finished by then.

    Args:
        history: the runs.
        setting: the knobs.
        enabled: the flag estimator_v2.
        refit_days: days between refits.

    Returns:
        The predictions, and the estimator as the last submission left it.
    """
    estimator = OnlineEstimator(history.number_names, setting)
    count = len(history)
    features = np.full((count, len(estimator.feature_names)), np.nan)
    predictions: list[Prediction] = []
    requests = _requests(history)
    order = np.argsort(history.finished, kind="stable")
    finished = history.finished[order].tolist()
    next_finish = 0
    submitted = history.submitted.tolist()
    runtime = history.runtime.tolist()
    fitted_day = -1
    for index in range(count):
        now = submitted[index]
        day = now // DAY
        if day - fitted_day >= refit_days:
            midnight = day * DAY
            next_finish = _observe_until(midnight, estimator, history, order, finished, next_finish, runtime)
            _refit(estimator, history, features, midnight, index)
            fitted_day = day
        next_finish = _observe_until(now, estimator, history, order, finished, next_finish, runtime)
        prediction = estimator.predict(requests[index], enabled=enabled)
        features[index] = prediction.features
        predictions.append(prediction)
    return _columns(predictions, estimator, features), estimator


def _requests(history: History) -> list[Request]:
    names, families = history.workflow_names, history.family_of_workflow
    numbers = history.numbers.tolist()
    return [
        Request(run_id, names[workflow], families[workflow], variant, submitted, resources, tuple(values))
        for run_id, workflow, variant, submitted, resources, values in zip(
            history.run_ids.tolist(),
            history.workflow.tolist(),
            history.variant.tolist(),
            history.submitted.tolist(),
            history.resources.tolist(),
            numbers,
            strict=True,
        )
    ]


def _observe_until(
    moment: int,
    estimator: OnlineEstimator,
    history: History,
    order: Integers,
    finished: list[int],
    position: int,
    runtime: list[float],
) -> int:
    while position < len(finished) and finished[position] <= moment:
        index = int(order[position])
        estimator.observe(history.run_ids[index], finished=finished[position], runtime=runtime[index])
        position += 1
    return position


def _refit(
    estimator: OnlineEstimator, history: History, features: Floats, midnight: int, submitted_so_far: int
) -> None:
    """Fit on runs submitted so far; those that have not finished by midnight are left out by the fit."""
    rows = slice(0, submitted_so_far)
    usable = history.succeeded[rows]
    model = fit_model(
        TrainingRows(
            features[rows][usable],
            history.resource_seconds[rows][usable],
            history.resources[rows][usable],
            history.workflow[rows][usable],
            history.finished[rows][usable],
        ),
        as_of=midnight,
        workflow_names=history.workflow_names,
        family_of_workflow=history.family_of_workflow,
        feature_names=estimator.feature_names,
        setting=estimator.setting,
        previous=estimator.model,
    )
    if model is not None:
        estimator.model = model


def _columns(predictions: list[Prediction], estimator: OnlineEstimator, features: Floats) -> Replay:
    v1 = np.array([prediction.v1 for prediction in predictions])
    guarded = np.array([np.nan if p.guarded is None else p.guarded for p in predictions])
    served = np.array([prediction.served for prediction in predictions])
    width = np.array([prediction.half_width for prediction in predictions])
    v2 = np.array([np.nan if p.v2 is None else p.v2 for p in predictions])
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = served * np.exp(-width), served * np.exp(width)
    return Replay(
        v1=v1,
        v2=np.where(np.isnan(v2), v1, v2),
        guarded=np.where(np.isnan(guarded), v1, guarded),
        served=served,
        confidence=np.array([prediction.confidence for prediction in predictions]),
        from_v2=np.array([prediction.decision.source == "v2" for prediction in predictions]),
        clamped=np.array([prediction.decision.clamped for prediction in predictions]),
        low=low,
        high=high,
        chosen=np.array([prediction.chosen for prediction in predictions]),
        reasons=tuple(prediction.decision.reasons for prediction in predictions),
        alarms=tuple(estimator.alarms),
        features=features,
    )
