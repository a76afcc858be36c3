"""The model as one canonical JSON document, named by its digest; no pickle.

It holds the fitted numbers, the state of every workflow as of the same moment, the setting, what it was
trained on and how it did. Floats are rounded to 12 significant digits before they are written and read
back before they serve, so the document and the estimator in memory say the same on every machine.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mc_pipelines import __version__
from mc_pipelines.estimator.bias import BiasTracker
from mc_pipelines.estimator.choice import CandidateLoss
from mc_pipelines.estimator.confidence import AggregateConfidence
from mc_pipelines.estimator.conformal import AdaptiveGroup, ScoreWindow
from mc_pipelines.estimator.history import History, moment_of
from mc_pipelines.estimator.model import Level, Model
from mc_pipelines.estimator.online import LogMeans, OnlineEstimator, WorkflowState
from mc_pipelines.estimator.repayment import Balance
from mc_pipelines.estimator.setting import Account, Candidate, Setting
from mc_pipelines.estimator.shift import ShiftDetector
from mc_pipelines.estimator.v1 import DailyMeans
from mc_pipelines.foundation.canonical import canonical_json, digest_of, sha256_digest
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest

SCHEMA_VERSION = 2
_DIGITS = 12


@dataclass(frozen=True, eq=False)
class Artefact:
    """A model document and what it loads to."""

    model_id: Digest
    content: bytes
    estimator: OnlineEstimator
    families: Mapping[str, str]
    """Workflow name to family."""
    prices: Mapping[str, float]
    """Last USD rate per resource-hour of each workflow, for when a price is unknown."""
    metrics: Mapping[str, Any]
    """Of its backtest and its balance."""
    parent_id: str | None = None


def build_artefact(
    estimator: OnlineEstimator,
    history: History,
    *,
    parent_id: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Artefact:
    """Write an estimator down, and load it again from what was written.

    Args:
        estimator: as a replay or a refresh left it.
        history: what it was trained on; named by the digest of its columns.
        parent_id: the model it follows.
        metrics: of its backtest.

    Raises:
        InputError: it has no fitted model.
    """
    model = estimator.model
    if model is None:
        raise InputError("Too few finished runs to fit a model", field="history", value=len(history))
    last_price: dict[str, float] = {}
    for workflow, price in zip(history.workflow.tolist(), history.price.tolist(), strict=True):
        last_price[history.workflow_names[workflow]] = price
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": "log-linear-poisson+closed-form",
        "code_version": __version__,
        "parent_id": parent_id,
        "as_of": rfc3339(moment_of(model.as_of)),
        "training": {
            "source": history.source,
            "constructed": history.constructed,
            "runs": len(history),
            "data_digest": data_digest(history),
            "excluded": history.excluded,
            "ignored_columns": {key: list(value) for key, value in history.ignored_columns.items()},
        },
        "setting": asdict(estimator.setting),
        "number_names": list(estimator.number_names),
        "model": _model_document(model),
        "state": _state_document(estimator),
        "families": dict(zip(history.workflow_names, history.family_of_workflow, strict=True)),
        "prices": last_price,
        "metrics": dict(metrics or {}),
    }
    return load_artefact(canonical_json(_rounded(document)))


def load_artefact(content: bytes, *, expected: Digest | None = None) -> Artefact:
    """Read a model document.

    Args:
        content: its bytes.
        expected: the digest it must have.

    Raises:
        InputError: the bytes are not those of ``expected``, or are no model of a known schema.
    """
    model_id = sha256_digest(content)
    if expected is not None and model_id != expected:
        raise InputError("The model file is not what its name says", field="model_id", value=expected)
    try:
        document = json.loads(content)
        if document["schema_version"] != SCHEMA_VERSION:
            raise InputError("Unknown schema of a model", field="schema_version", value=document["schema_version"])
        setting = _load_setting(document["setting"])
        estimator = OnlineEstimator(document["number_names"], setting)
        estimator.model = _load_model(document["model"])
        _load_state(estimator, document["state"])
        return Artefact(
            model_id,
            content,
            estimator,
            document["families"],
            document["prices"],
            document["metrics"],
            document["parent_id"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"The model file cannot be read: {type(error).__name__}", field="model_id", value=model_id
        ) from error


def data_digest(history: History) -> Digest:
    """Return the digest of the training runs: ids, times, runtimes, allocations, prices and numbers."""
    columns = (history.submitted, history.finished, history.runtime, history.resources, history.price, history.numbers)
    parts = [sha256_digest(column.astype(column.dtype.newbyteorder("<")).tobytes()) for column in columns]
    names = [sha256_digest("\n".join(map(str, history.run_ids)).encode()), *history.number_names]
    return digest_of({"columns": parts, "names": names})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.{_DIGITS}g}") + 0.0
    if isinstance(value, Mapping):
        return {str(key): _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | deque):
        return [_rounded(entry) for entry in value]
    return value


def _model_document(model: Model) -> dict[str, Any]:
    left_out = {"warm_start", "warm_own"}
    found = {entry.name: getattr(model, entry.name) for entry in fields(Model) if entry.name not in left_out}
    for name in ("workflows", "families"):
        found[name] = {key: asdict(level) for key, level in found[name].items()}
    return found | {"overall": asdict(model.overall)}


def _load_model(document: dict[str, Any]) -> Model:
    members = dict(document)
    for name in ("workflows", "families"):
        members[name] = {key: _load_level(entry) for key, entry in members[name].items()}
    members["overall"] = _load_level(members["overall"])
    for name in ("feature_names", "centre", "spread", "poisson_slopes", "closed_slopes", "lowest", "highest"):
        members[name] = tuple(members[name])
    return Model(**members)


def _load_level(entry: dict[str, Any]) -> Level:
    members: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }
    return Level(**members)


def _load_setting(document: dict[str, Any]) -> Setting:
    candidates = tuple(Candidate(**entry) for entry in document["candidates"])
    accounts = tuple(Account(**entry) for entry in document["accounts"])
    return Setting(**document | {"candidates": candidates, "accounts": accounts})


def _state_document(estimator: OnlineEstimator) -> dict[str, Any]:
    return {
        "workflows": {name: _workflow_document(state) for name, state in sorted(estimator.workflows.items())},
        "variants": [[*key, asdict(means)] for key, means in sorted(estimator.variants.items())],
        "all_means": asdict(estimator.all_means),
        "all_daily": _daily_document(estimator.all_daily),
        "pool": estimator.pool.latest,
        "young_level": estimator.young.level,
    }


def _workflow_document(state: WorkflowState) -> dict[str, Any]:
    return {
        "means": asdict(state.means),
        "daily": _daily_document(state.daily),
        "trackers": [asdict(tracker) for tracker in state.trackers],
        "losses": [asdict(loss) for loss in state.losses],
        "weights": state.weights,
        "balances": [asdict(balance) for balance in state.balances],
        "usual": state.usual,
        "confidence": asdict(state.confidence),
        "scores": state.interval.scores.latest,
        "level": state.interval.level,
        "shift": asdict(state.shift),
        "finished": state.finished,
    }


def _daily_document(daily: DailyMeans) -> dict[str, Any]:
    return {"window_days": daily.window_days, "days": {str(day): sums for day, sums in sorted(daily.days.items())}}


def _load_state(estimator: OnlineEstimator, document: dict[str, Any]) -> None:
    setting = estimator.setting
    for name, entry in document["workflows"].items():
        scores = _scores(entry["scores"], setting.conformal_runs)
        confidence = dict(entry["confidence"])
        confidence["recent"] = deque(confidence["recent"])
        estimator.workflows[name] = WorkflowState(
            means=LogMeans(**entry["means"]),
            daily=_load_daily(entry["daily"]),
            trackers=[BiasTracker(**one) for one in entry["trackers"]],
            losses=[CandidateLoss(**one) for one in entry["losses"]],
            weights=entry["weights"],
            balances=[Balance(**one) for one in entry["balances"]],
            usual=entry["usual"],
            confidence=AggregateConfidence(**confidence),
            interval=AdaptiveGroup(scores, setting.coverage, entry["level"]),
            shift=ShiftDetector(**entry["shift"]),
            finished=entry["finished"],
        )
    for workflow, variant, means in document["variants"]:
        estimator.variants[workflow, variant] = LogMeans(**means)
    estimator.all_means = LogMeans(**document["all_means"])
    estimator.all_daily = _load_daily(document["all_daily"])
    estimator.pool = _scores(document["pool"], estimator.pool.limit)
    estimator.young = AdaptiveGroup(estimator.pool, setting.coverage, document["young_level"])


def _load_daily(document: dict[str, Any]) -> DailyMeans:
    return DailyMeans(document["window_days"], {int(day): list(sums) for day, sums in document["days"].items()})


def _scores(values: list[float], limit: int) -> ScoreWindow:
    window = ScoreWindow(limit)
    for value in values:
        window.add(value)
    return window
