"""The estimator as it runs: predict at submission, learn at finish, in the order in which it happens.

The backtest replays a history through this very class, so what it reports is what would have been
served with what was known. State changes only in :meth:`OnlineEstimator.observe`, once a run id.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mc_pipelines.estimator.bias import BiasTracker, gain_of_half_life
from mc_pipelines.estimator.choice import CandidateLoss, choose
from mc_pipelines.estimator.confidence import AggregateConfidence, in_distribution
from mc_pipelines.estimator.conformal import AdaptiveGroup, ScoreWindow, score_of
from mc_pipelines.estimator.guardrail import Decision, Reason, decide
from mc_pipelines.estimator.history import DAY
from mc_pipelines.estimator.model import SHAPES, Model
from mc_pipelines.estimator.setting import DEFAULT_SETTING, Setting
from mc_pipelines.estimator.shift import ShiftDetector
from mc_pipelines.estimator.v1 import DailyMeans, V1Table

HISTORY_FEATURES = ("workflow_recent", "workflow_last", "variant_recent", "variant_last")
_KEEP_LONG = 0.5 ** (1.0 / 200.0)
_KEEP_RECENT = 0.5 ** (1.0 / 5.0)
_KEEP_LAST = 0.25
_LEAST_RUNTIME = 1e-3


@dataclass(frozen=True, slots=True)
class Request:
    """One run for which an estimate is asked."""

    run_id: str
    workflow: str
    family: str
    variant: str
    submitted: int
    resources: float
    numbers: tuple[float, ...]
    """Magnitudes in the order of the estimator's number names; NaN where missing."""
    reasons: tuple[Reason, ...] = ()
    """What the reader of the request found wrong with it."""


@dataclass(slots=True)
class Prediction:
    """What was predicted for one run, in resource-seconds, and why."""

    request: Request
    features: list[float]
    raw: tuple[float, float] | None
    """By shape, before bias correction."""
    candidates: tuple[float, ...]
    """By candidate, after bias correction."""
    chosen: int
    v1: float
    v2: float | None
    """The chosen candidate: model and bias correction."""
    compensated: float | None
    """v2 times what the clamp is known to cut; the value that is clamped."""
    confidence: float
    aggregate_confidence: float
    decision: Decision
    half_width: float
    """Log half width of the interval around what is served."""

    @property
    def served(self) -> float:
        """Resource-seconds that went out; NaN where nothing at all was known."""
        return self.decision.served


@dataclass(slots=True)
class LogMeans:
    """Exponentially weighted means of log runtime with three memories."""

    long: list[float] = field(default_factory=lambda: [0.0, 0.0])
    recent: list[float] = field(default_factory=lambda: [0.0, 0.0])
    last: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, value: float) -> None:
        """Add one finished run."""
        for pair, keep in ((self.long, _KEEP_LONG), (self.recent, _KEEP_RECENT), (self.last, _KEEP_LAST)):
            pair[0] = pair[0] * keep + value
            pair[1] = pair[1] * keep + 1.0


@dataclass(slots=True)
class WorkflowState:
    """What is remembered of one workflow."""

    means: LogMeans
    daily: DailyMeans
    trackers: list[BiasTracker]
    losses: list[CandidateLoss]
    chosen: int
    compensations: list[BiasTracker]
    """By candidate: makes up for what the clamp cuts."""
    confidence: AggregateConfidence
    interval: AdaptiveGroup
    shift: ShiftDetector
    finished: int = 0


class OnlineEstimator:
    """State of all workflows, and the model in use."""

    def __init__(self, number_names: Sequence[str], setting: Setting = DEFAULT_SETTING) -> None:
        self.setting = setting
        self.number_names = tuple(number_names)
        self.feature_names = (*self.number_names, "log_resources", *HISTORY_FEATURES)
        self.model: Model | None = None
        self.workflows: dict[str, WorkflowState] = {}
        self.variants: dict[tuple[str, str], LogMeans] = {}
        self.all_means = LogMeans()
        self.all_daily = DailyMeans(setting.v1_days)
        self.pool = ScoreWindow(2000)
        self.young = AdaptiveGroup(self.pool, setting.coverage, setting.coverage)
        """The level of all workflows that have too few scores of their own."""
        self.pending: dict[str, Prediction] = {}
        self.alarms: list[tuple[int, str, int]] = []
        """(finished, workflow, runs since the change point with sign)"""
        self._keep_choice = 0.5 ** (1.0 / setting.choice_half_life)
        self._gains = [candidate.gain for candidate in setting.candidates]
        self._shapes = [SHAPES.index(candidate.shape) for candidate in setting.candidates]
        self._compensation_gain = gain_of_half_life(setting.compensation_half_life)

    def features_of(self, request: Request) -> list[float]:
        """Return the model's inputs for a request, from what had finished by now."""
        found = [math.log1p(value) if value > -1.0 else math.nan for value in request.numbers]
        found.append(math.log(request.resources))
        state = self.workflows.get(request.workflow)
        own = state.means if state is not None else None
        variant = self.variants.get((request.workflow, request.variant))
        base = _mean(own.long if own else None)
        if base is None:
            base = _mean(self.all_means.long) or 0.0
        for pair in (
            own.recent if own else None,
            own.last if own else None,
            variant.recent if variant else None,
            variant.last if variant else None,
        ):
            mean = _mean(pair)
            found.append(0.0 if mean is None else mean - base)
        return found

    def v1(self, request: Request) -> float:
        """Return v1's resource-seconds: the trailing mean of the workflow, or of all."""
        day = request.submitted // DAY
        state = self.workflows.get(request.workflow)
        mean = state.daily.mean(day) if state is not None else math.nan
        if math.isnan(mean):
            mean = self.all_daily.mean(day)
        return mean * request.resources

    def v1_table(self, day: int, prices: Mapping[str, float] | None = None) -> V1Table:
        """Return v1 as of the midnight that begins ``day`` (days since the epoch)."""
        means = {name: state.daily.mean(day) for name, state in self.workflows.items()}
        known = {name: mean for name, mean in means.items() if not math.isnan(mean)}
        return V1Table(day, known, self.all_daily.mean(day), dict(prices or {}))

    def predict(self, request: Request, *, enabled: bool = True, remember: bool = True) -> Prediction:
        """Predict one run; never learns from it before it is observed.

        Args:
            request: the run.
            enabled: the flag estimator_v2; off serves v1.
            remember: keep the prediction, so that observing the run teaches the trackers.
        """
        setting, model = self.setting, self.model
        v1 = self.v1(request)
        features = self.features_of(request)
        state = self.workflows.get(request.workflow)
        if model is None:
            reasons = (*request.reasons, Reason.NO_MODEL if v1 == v1 else Reason.NO_HISTORY)  # noqa: PLR0124
            prediction = Prediction(
                request, features, None, (), 0, v1, None, None, 0.0, 0.0, decide(v1, None, 0.0, reasons=reasons),
                self._half_width(state),
            )  # fmt: skip
            if remember:
                self.pending[request.run_id] = prediction
            return prediction
        standardised = model.standardise(features)
        raw = model.predict(model.level(request.workflow, request.family), standardised, request.resources)
        factors = [tracker.factor for tracker in state.trackers] if state is not None else [1.0] * len(self._shapes)
        candidates = tuple(raw[shape] * factor for shape, factor in zip(self._shapes, factors, strict=True))
        chosen = state.chosen if state is not None else 0
        v2 = candidates[chosen]
        compensated = v2 * state.compensations[chosen].factor if state is not None else v2
        aggregate, confidence, reasons = self._confidence(request, model, features, state)
        if not enabled:
            reasons = (*reasons, Reason.FLAG_OFF)
        decision = decide(
            v1,
            compensated,
            confidence,
            reasons=reasons,
            threshold=setting.serve_threshold,
            low=setting.clamp_low,
            high=setting.clamp_high,
        )
        prediction = Prediction(
            request, features, raw, candidates, chosen, v1, v2, compensated, confidence, aggregate, decision,
            self._half_width(state),
        )  # fmt: skip
        if remember:
            self.pending[request.run_id] = prediction
        return prediction

    def observe(self, run_id: str, *, finished: int, runtime: float) -> bool:
        """Learn from a finished run.

        Args:
            run_id: the run; one that was never predicted, or was observed before, changes nothing.
            finished: microseconds.
            runtime: wall-clock seconds.

        Returns:
            Whether anything was learnt.
        """
        prediction = self.pending.pop(run_id, None)
        if prediction is None:
            return False
        request = prediction.request
        state = self.workflows.get(request.workflow)
        if state is None:
            state = self.workflows[request.workflow] = self._new_state()
        logarithm = math.log(max(runtime, _LEAST_RUNTIME))
        state.means.add(logarithm)
        self.all_means.add(logarithm)
        self.variants.setdefault((request.workflow, request.variant), LogMeans()).add(logarithm)
        state.daily.add(finished, runtime)
        self.all_daily.add(finished, runtime)
        state.finished += 1
        actual = runtime * request.resources
        if prediction.v2 is not None:
            self._learn(state, prediction, actual, finished)
        self._learn_interval(state, prediction, actual)
        return True

    def _learn(self, state: WorkflowState, prediction: Prediction, actual: float, finished: int) -> None:
        setting = self.setting
        v1 = prediction.v1
        low, high = (v1 * setting.clamp_low, v1 * setting.clamp_high) if v1 > 0.0 else (0.0, math.inf)
        for index, predicted in enumerate(prediction.candidates):
            compensation = state.compensations[index]
            would_serve = min(max(predicted * compensation.factor, low), high)
            if index == prediction.chosen:
                state.confidence.update(would_serve, actual)
            state.losses[index].update(would_serve, actual, self._keep_choice)
            state.trackers[index].update(predicted, actual, self._gains[index])
            compensation.update(would_serve, actual, self._compensation_gain)
        state.chosen = choose(
            state.losses, state.chosen, margin=setting.choice_margin, minimum_runs=setting.minimum_runs
        )
        since = state.shift.update(prediction.v2 or 0.0, actual)
        if since:
            self.alarms.append((finished, prediction.request.workflow, since))
            for tracker in (*state.trackers, *state.compensations):
                tracker.restart()
            state.confidence.restart()

    def _learn_interval(self, state: WorkflowState, prediction: Prediction, actual: float) -> None:
        served = prediction.served
        if not served > 0.0:
            return
        score = score_of(served, actual)
        if math.isfinite(prediction.half_width):
            grouped = len(state.interval.scores.ordered) >= self.setting.conformal_group
            group = state.interval if grouped else self.young
            group.adapt(covered=score <= prediction.half_width, rate=self.setting.adaptive_rate)
        state.interval.scores.add(score)
        self.pool.add(score)

    def _confidence(
        self, request: Request, model: Model, features: list[float], state: WorkflowState | None
    ) -> tuple[float, float, tuple[Reason, ...]]:
        """Return conf_agg, the confidence, and the reasons that alone mean v1."""
        setting = self.setting
        reasons = list(request.reasons)
        if state is None or request.workflow not in model.workflows:
            reasons.append(Reason.UNSEEN_WORKFLOW)
        if request.submitted - model.as_of > setting.stale_days * DAY:
            reasons.append(Reason.STALE_MODEL)
        if any(value != value for value in features):  # noqa: PLR0124 - NaN test
            reasons.append(Reason.FEATURE_MISSING)
        if state is not None and state.finished < setting.minimum_runs:
            reasons.append(Reason.FEW_RUNS)
        if state is None or reasons:
            return 0.0, 0.0, tuple(dict.fromkeys(reasons))
        aggregate = state.confidence.value(
            tolerance=setting.confidence_tolerance,
            minimum_runs=setting.minimum_runs,
            expected_runs=state.daily.rate(request.submitted // DAY) * setting.confidence_horizon_days,
        )
        known_ground = in_distribution(model.leverage(features), model.leverage_threshold, model.outside(features))
        if aggregate * known_ground < setting.serve_threshold <= aggregate:
            reasons.append(Reason.OUT_OF_DISTRIBUTION)
        return aggregate, aggregate * known_ground, tuple(reasons)

    def _half_width(self, state: WorkflowState | None) -> float:
        if state is None:
            return self.young.quantile()
        return state.interval.half_width(self.young, group_size=self.setting.conformal_group)

    def _new_state(self) -> WorkflowState:
        setting = self.setting
        return WorkflowState(
            means=LogMeans(),
            daily=DailyMeans(setting.v1_days),
            trackers=[BiasTracker() for _ in setting.candidates],
            losses=[CandidateLoss() for _ in setting.candidates],
            chosen=0,
            compensations=[BiasTracker() for _ in setting.candidates],
            confidence=AggregateConfidence(0.5 ** (1.0 / setting.confidence_half_life), setting.confidence_block),
            interval=AdaptiveGroup(ScoreWindow(setting.conformal_runs), setting.coverage, setting.coverage),
            shift=ShiftDetector(setting.shift_allowance, setting.shift_threshold),
        )


def _mean(pair: list[float] | None) -> float | None:
    return pair[0] / pair[1] if pair is not None and pair[1] > 0.0 else None
