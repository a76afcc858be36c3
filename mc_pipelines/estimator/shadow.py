"""Shadow evaluation: two frozen models predict the same runs, neither of which either has learnt from.

A replay compares settings; this compares artefacts. Only runs that were submitted after both models were made
count, each model serves what it would have served (guardrail included), and the difference of their errors is
judged by a bootstrap over days, in pairs: what is hard about a day is hard for both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mc_pipelines.estimator.artefact import Artefact
from mc_pipelines.estimator.drift import wape
from mc_pipelines.estimator.history import DAY, Floats, History
from mc_pipelines.estimator.online import Request
from mc_pipelines.foundation.errors import InputError

_REPLICATES = 1000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """How a challenger did beside the champion."""

    runs: int
    days: float
    """From the first of these runs to the last finish."""
    champion_wape: float
    challenger_wape: float
    low: float
    """95 % interval of challenger / champion - 1, of their absolute errors."""
    high: float


def served_by(artefact: Artefact, history: History) -> Floats:
    """Return the resource-seconds that a frozen model would serve for each run; NaN where it knows nothing.

    Features that the model was not trained on are not read; those that it misses are missing, so v1 serves.
    """
    estimator = artefact.estimator
    column = {name: place for place, name in enumerate(history.number_names)}
    places = [column.get(name) for name in estimator.number_names]
    found = np.empty(len(history))
    for row in range(len(history)):
        workflow = history.workflow_names[history.workflow[row]]
        request = Request(
            run_id=str(history.run_ids[row]),
            workflow=workflow,
            family=artefact.families.get(workflow, workflow.split("/", maxsplit=1)[0]),
            variant=str(history.variant[row]),
            submitted=int(history.submitted[row]),
            resources=float(history.resources[row]),
            numbers=tuple(math.nan if place is None else float(history.numbers[row, place]) for place in places),
        )
        found[row] = estimator.predict(request, remember=False).served
    return found


def shadow(champion: Artefact, challenger: Artefact, history: History, *, seed: int = 0) -> ShadowReport:
    """Compare two frozen models on the runs submitted after both were made.

    Args:
        champion: serves now.
        challenger: would serve.
        history: finished runs, older ones included; those are left out.
        seed: of the bootstrap.

    Raises:
        InputError: a model without a fit, or no such run.
    """
    fitted = [artefact.estimator.model for artefact in (champion, challenger)]
    if any(model is None for model in fitted):
        raise InputError(
            "A model without a fit cannot stand in the shadow", field="model_id", value=challenger.model_id
        )
    made = max(model.as_of for model in fitted if model is not None)
    fresh = history.take(history.submitted > made)
    before, after = (served_by(artefact, fresh) for artefact in (champion, challenger))
    known = np.isfinite(before) & np.isfinite(after) & (fresh.cost > 0.0)
    if not known.any():
        raise InputError(
            "No run was submitted after both models were made",
            field="shadow",
            value=len(fresh),
            mend="wait until some have finished",
        )
    actual = fresh.cost[known]
    rate = (fresh.price / 3600.0)[known]
    errors = [np.abs(made_by[known] * rate - actual) for made_by in (before, after)]
    low, high = _interval(errors[0], errors[1], fresh.finished[known] // DAY, seed)
    return ShadowReport(
        runs=int(known.sum()),
        days=float(fresh.finished[known].max() - fresh.submitted[known].min()) / DAY,
        champion_wape=wape(before[known] * rate, actual),
        challenger_wape=wape(after[known] * rate, actual),
        low=low,
        high=high,
    )


def _interval(champion: Floats, challenger: Floats, day: np.ndarray, seed: int) -> tuple[float, float]:
    blocks, index = np.unique(day, return_inverse=True)
    if len(blocks) < 2:  # noqa: PLR2004 - one day has no scatter
        return -math.inf, math.inf
    daily = [np.bincount(index, errors, len(blocks)) for errors in (champion, challenger)]
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=_REPLICATES)
    old, new = drawn @ daily[0], drawn @ daily[1]
    ratios = new[old > 0.0] / old[old > 0.0] - 1.0
    if not len(ratios):
        return -math.inf, math.inf
    tail = (1.0 - _LEVEL) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail]).tolist()
    return low, high
