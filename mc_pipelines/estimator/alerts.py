"""Why did the bill move? A change of spend split into price, volume, mix and behaviour.

Between a reference window and a recent one the spend of a workflow is

    spend = runs x (predicted resource-time a run) x (actual / predicted resource-time) x (price)

so the log ratio of the spends is the sum of four log ratios, exactly, and by the logarithmic mean each
takes its share of the dollars without a rest (LMDI, Ang 2005). Volume and mix are what was asked for
(more runs, larger runs, other allocations), price is the bill's rate; only behaviour is model drift.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.estimator.drift import bootstrap_interval
from mc_pipelines.estimator.history import DAY, Floats, History
from mc_pipelines.estimator.model import SHAPES, TrainingRows, fit_model
from mc_pipelines.estimator.setting import DEFAULT_SETTING, Setting

LEAST_SHARE = 0.05
"""A cause is named when it moved the spend by more than this, with its interval outside zero."""
MINIMUM_RUNS = 20
RECENT_DAYS = 7
REFERENCE_DAYS = 28
_REFERENCE_SHAPE = SHAPES.index("poisson_own")


@dataclass(frozen=True, slots=True)
class Alarm:
    """An early warning that was raised during the replay."""

    at: datetime
    workflow: str
    runs_since_change: int
    """Estimated; negative where runs became cheaper."""


class Cause(StrEnum):
    """What moved the spend."""

    PRICE = "price"
    VOLUME = "volume"
    MIX = "mix"
    MODEL = "model"
    NEW = "new-workflow"


@dataclass(frozen=True, slots=True)
class Split:
    """The change of one workflow's spend a day between two windows."""

    workflow: str
    before: float
    """USD a day in the reference window."""
    after: float
    price: float
    """USD a day due to the rate; the four add up to after - before."""
    volume: float
    mix: float
    model: float
    ratios: dict[Cause, float]
    """after / before of each factor."""
    causes: tuple[Cause, ...]
    """Those that moved the spend beyond doubt, largest first."""


def recent_changes(
    history: History, features: Floats, feature_names: Sequence[str], setting: Setting = DEFAULT_SETTING
) -> tuple[Split, ...]:
    """Split what the last week cost against the four weeks before, by workflow, the largest change first.

    The reference is one model fitted where the week begins, on what is asked for alone (sizes and allocation):
    features of a workflow's own recent runs would follow a change of behaviour and call it mix.

    Args:
        history: the runs.
        features: model inputs as they were at submission, those of history last.
        feature_names: of the columns that are asked for; they come first.
        setting: the knobs.

    Returns:
        Workflows whose spend moved for a reason beyond doubt; none where too little had finished.
    """
    end = int(history.finished.max(initial=0))
    cut = end - RECENT_DAYS * DAY
    asked = features[:, : len(feature_names)]
    model = fit_model(
        TrainingRows(asked, history.resource_seconds, history.resources, history.workflow, history.finished),
        as_of=cut,
        workflow_names=history.workflow_names,
        family_of_workflow=history.family_of_workflow,
        feature_names=feature_names,
        setting=setting,
    )
    if model is None:
        return ()
    before = (history.finished <= cut) & (history.finished > cut - REFERENCE_DAYS * DAY)
    after = history.finished > cut
    reference = np.ones(len(history))
    levels = [
        model.level(name, family)
        for name, family in zip(history.workflow_names, history.family_of_workflow, strict=True)
    ]
    for row in np.flatnonzero(before | after).tolist():
        level = levels[history.workflow[row]]
        found = model.predict(level, model.standardise(asked[row].tolist()), float(history.resources[row]))
        reference[row] = found[_REFERENCE_SHAPE]
    splits = split_all(history, reference, before=before, after=after)
    return tuple(split for split in splits if split.causes)


def split_spend(
    history: History,
    reference: Floats,
    *,
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    workflow: int,
    seed: int = 0,
) -> Split:
    """Split the change of a workflow's spend between two windows.

    Args:
        history: the runs.
        reference: resource-seconds of each run by one frozen model, the same for both windows.
        before: runs of the reference window.
        after: runs of the recent window.
        workflow: its index.
        seed: of the bootstrap.
    """
    name = history.workflow_names[workflow]
    old, new = before & (history.workflow == workflow), after & (history.workflow == workflow)
    old_days, new_days = _days(history, before), _days(history, after)
    spend = (float(history.cost[old].sum()) / old_days, float(history.cost[new].sum()) / new_days)
    if old.sum() < MINIMUM_RUNS:
        causes = (Cause.NEW,) if new.sum() >= MINIMUM_RUNS else ()
        return Split(name, *spend, 0.0, spend[1] - spend[0], 0.0, 0.0, {}, causes)
    if not new.any():
        return Split(name, *spend, 0.0, spend[1] - spend[0], 0.0, 0.0, {Cause.VOLUME: 0.0}, (Cause.VOLUME,))
    actual = history.resource_seconds
    ratios = {
        Cause.PRICE: _ratio(history.cost, actual, old, new),
        Cause.VOLUME: (new.sum() / new_days) / (old.sum() / old_days),
        Cause.MIX: float(reference[new].mean() / reference[old].mean()),
        Cause.MODEL: _ratio(actual, reference, old, new),
    }
    weight = _logarithmic_mean(*spend)
    parts = {cause: weight * math.log(ratio) for cause, ratio in ratios.items()}
    found = [cause for cause in parts if _beyond_doubt(history, reference, cause, ratios[cause], old, new, seed)]
    found.sort(key=lambda cause: -abs(parts[cause]))
    return Split(
        name,
        *spend,
        parts[Cause.PRICE],
        parts[Cause.VOLUME],
        parts[Cause.MIX],
        parts[Cause.MODEL],
        ratios,
        tuple(found),
    )


def split_all(
    history: History, reference: Floats, *, before: NDArray[np.bool_], after: NDArray[np.bool_]
) -> list[Split]:
    """Split every workflow that ran in either window, by the size of its change."""
    present = np.unique(history.workflow[before | after]).tolist()
    splits = [split_spend(history, reference, before=before, after=after, workflow=index) for index in present]
    return sorted(splits, key=lambda split: -abs(split.after - split.before))


def confirm_alarms(alarms: Sequence[Alarm], splits: Sequence[Split]) -> dict[str, int]:
    """Return the early warnings of each workflow whose behaviour the split confirms to have changed."""
    changed = {split.workflow for split in splits if Cause.MODEL in split.causes}
    return dict(Counter(alarm.workflow for alarm in alarms if alarm.workflow in changed))


def _ratio(numerator: Floats, denominator: Floats, old: NDArray[np.bool_], new: NDArray[np.bool_]) -> float:
    return float((numerator[new].sum() / denominator[new].sum()) / (numerator[old].sum() / denominator[old].sum()))


def _days(history: History, rows: NDArray[np.bool_]) -> float:
    finished = history.finished[rows]
    return max(1.0, float(np.ptp(finished)) / DAY) if len(finished) else 1.0


def _logarithmic_mean(one: float, two: float) -> float:
    return one if math.isclose(one, two, rel_tol=1e-12) else (two - one) / (math.log(two) - math.log(one))


def _beyond_doubt(
    history: History,
    reference: Floats,
    cause: Cause,
    ratio: float,
    old: NDArray[np.bool_],
    new: NDArray[np.bool_],
    seed: int,
) -> bool:
    """Tell whether a factor moved by more than the least share, whatever days are drawn."""
    if abs(math.log(ratio)) <= math.log1p(LEAST_SHARE):
        return False
    actual, day = history.resource_seconds, history.finished // DAY
    if cause is Cause.PRICE:
        pairs = [(history.cost[rows], actual[rows]) for rows in (old, new)]
    elif cause is Cause.MODEL:
        pairs = [(actual[rows], reference[rows]) for rows in (old, new)]
    elif cause is Cause.MIX:
        pairs = [(reference[rows], np.ones(int(rows.sum()))) for rows in (old, new)]
    else:
        spread = 1.96 * math.sqrt(1.0 / int(old.sum()) + 1.0 / int(new.sum()))
        return abs(math.log(ratio)) - spread > math.log1p(LEAST_SHARE)
    (old_top, old_bottom), (new_top, new_bottom) = pairs
    level = float(old_top.sum() / old_bottom.sum())
    old_low, old_high = bootstrap_interval(old_top, old_bottom * level, day[old], seed=seed)
    new_low, new_high = bootstrap_interval(new_top, new_bottom * level, day[new], seed=seed)
    gap = abs(ratio - 1.0)
    doubt = math.hypot((old_high - old_low) / 2.0, (new_high - new_low) / 2.0)
    return gap - doubt > LEAST_SHARE * 0.5
