"""The estimator as it runs: predict at submission, learn at finish, in the order in which it happens.

The backtest replays a history through this very class, so what it reports is what would have been
served with what was known. State changes only in :meth:`OnlineEstimator.observe`, once a run id.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mc_pipelines.estimator.bias import BiasTracker
from mc_pipelines.estimator.choice import CandidateLoss, blend_weights
from mc_pipelines.estimator.confidence import AggregateConfidence, in_distribution
from mc_pipelines.estimator.conformal import AdaptiveGroup, ScoreWindow, score_of
from mc_pipelines.estimator.guardrail import Decision, Reason, decide
from mc_pipelines.estimator.history import DAY
from mc_pipelines.estimator.model import SHAPES, Model
from mc_pipelines.estimator.repayment import Balance, repayment_share
from mc_pipelines.estimator.setting import DEFAULT_SETTING, Setting
from mc_pipelines.estimator.shift import ShiftDetector
from mc_pipelines.estimator.v1 import DailyMeans, V1Table

HISTORY_FEATURES = ("workflow_recent", "workflow_last", "variant_recent", "variant_last")
_KEEP_LONG = 0.5 ** (1.0 / 200.0)
_KEEP_RECENT = 0.5 ** (1.0 / 5.0)
_KEEP_LAST = 0.25
_SCALE_GAIN = 0.03
"""Gain of the mean prediction of a workflow, once it is old."""
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
    raw: tuple[float, ...] | None
    """By shape, before bias correction."""
    candidates: tuple[float, ...]
    """By candidate, after bias correction."""
    chosen: int
    """The candidate with most weight."""
    v1: float
    v2: float | None
    """Model and bias correction: the candidates, blended by their trailing losses."""
    guarded: float | None
    """v2 and what it makes up for, clamped: what would be served were confidence no question."""
    compensated: float | None
    """v2 and what it makes up for, before the clamp."""
    confidence: float
    aggregate_confidence: float
    decision: Decision
    threshold: float
    """Confidence at which v2 is in charge."""
    half_width: float
    """Log half width of the interval around what is served."""
    in_flight: float = 0.0
    """By how much what counts differs from v2; the workflow's account expects it back until it finishes."""

    @property
    def accountable(self) -> float:
        """What v2 answers for in the workflow's account.

        While v2 is in charge of the workflow that is what was served, single runs that the guardrail sent to
        v1 included; otherwise what would have been served: v1's errors are not v2's to repay.
        """
        in_charge = self.aggregate_confidence >= self.threshold or self.guarded is None
        found = self.decision.served if in_charge else self.guarded
        if found is None or not math.isfinite(found):  # v1 knows nothing: there is no debt either
            return self.v2 or 0.0
        return found

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
    weights: list[float]
    """Of the candidates in the blend."""
    balances: list[Balance]
    """Of what would have been served without fallback: v1's errors are not v2's to repay."""
    confidence: AggregateConfidence
    interval: AdaptiveGroup
    shift: ShiftDetector
    in_flight: float = 0.0
    """What submitted, unfinished runs already make up for, resource-seconds."""
    usual: float = 0.0
    """Mean of v2."""
    finished: int = 0


class OnlineEstimator:
    """State of all workflows, and the model in use."""

    def __init__(self, number_names: Sequence[str], setting: Setting = DEFAULT_SETTING) -> None:
        self.setting = setting
        self.number_names = tuple(number_names)
        self.asked_names = (*self.number_names, "log_resources")
        """Inputs that describe what is asked for; those of history come after them."""
        self.feature_names = (*self.asked_names, *HISTORY_FEATURES)
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
        self._slowest = max(range(len(self._gains)), key=lambda index: -self._gains[index])
        self._shapes = [SHAPES.index(candidate.shape) for candidate in setting.candidates]

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
                request, features, None, (), 0, v1, None, None, None, 0.0, 0.0, decide(v1, None, 0.0, reasons=reasons),
                setting.serve_threshold, self._half_width(state),
            )  # fmt: skip
            if remember:
                self.pending[request.run_id] = prediction
            return prediction
        standardised = model.standardise(features)
        raw = model.predict(model.level(request.workflow, request.family), standardised, request.resources)
        v2, candidates, chosen = self._blend(state, raw)
        compensated = v2 * (1.0 + self._repayment(state, request.submitted))
        aggregate, confidence, reasons = self._confidence(request, model, features, state)
        if not enabled:
            reasons = (*reasons, Reason.FLAG_OFF)
        decision = self._decide(v1, compensated, confidence, reasons)
        guarded = self._decide(v1, compensated, 1.0, ()).served
        prediction = Prediction(
            request, features, raw, candidates, chosen, v1, v2, guarded, compensated, confidence, aggregate, decision,
            setting.serve_threshold, self._half_width(state),
        )  # fmt: skip
        if remember:
            self.pending[request.run_id] = prediction
            if state is not None:
                prediction.in_flight = prediction.accountable - v2
                state.in_flight += prediction.in_flight
        return prediction

    def _decide(self, v1: float, v2: float, confidence: float, reasons: tuple[Reason, ...]) -> Decision:
        setting = self.setting
        return decide(
            v1,
            v2,
            confidence,
            reasons=reasons,
            threshold=setting.serve_threshold,
            low=setting.clamp_low,
            high=setting.clamp_high,
        )

    def _blend(self, state: WorkflowState | None, raw: tuple[float, ...]) -> tuple[float, tuple[float, ...], int]:
        """Return v2, the candidates it is blended from, and the index of the weightiest."""
        if state is None:
            candidates = tuple(raw[shape] for shape in self._shapes)
            return candidates[0], candidates, 0
        candidates = tuple(
            raw[shape] * tracker.factor for shape, tracker in zip(self._shapes, state.trackers, strict=True)
        )
        weights = state.weights
        v2 = sum(weight * value for weight, value in zip(weights, candidates, strict=True))
        return v2, candidates, weights.index(max(weights))

    def _repayment(self, state: WorkflowState | None, at: int) -> float:
        if state is None:
            return 0.0
        setting = self.setting
        return repayment_share(
            state.balances,
            setting.accounts,
            in_flight=state.in_flight,
            usual=state.usual,
            at=at,
            least=setting.least_repayment,
            largest=setting.largest_repayment,
        )

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
        v2 = prediction.v2 or 0.0
        if state.finished > setting.choice_runs:
            state.confidence.update(v2, actual)
        for index, predicted in enumerate(prediction.candidates):
            state.losses[index].update(predicted, actual, self._keep_choice)
            state.trackers[index].update(predicted, actual, self._gains[index])
        state.weights = blend_weights(
            state.losses, sharpness=setting.choice_sharpness, minimum_runs=setting.choice_runs
        )
        state.in_flight -= prediction.in_flight
        state.usual += (v2 - state.usual) * max(_SCALE_GAIN, 1.0 / state.losses[0].runs)
        for balance, account in zip(state.balances, setting.accounts, strict=True):
            balance.add(prediction.accountable, actual, at=finished, half_life_days=account.half_life_days)
        # Against the candidate with the longest memory: a correction that follows a shift at once would hide it.
        since = state.shift.update(prediction.candidates[self._slowest], actual)
        if since:
            self.alarms.append((finished, prediction.request.workflow, since))

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
            expected_runs=max(
                setting.confidence_least_runs,
                state.daily.rate(request.submitted // DAY) * setting.confidence_horizon_days,
            ),
        )
        level = model.level(request.workflow, request.family)
        known_ground = in_distribution(
            model.distance(level, features), model.distance_threshold, model.outside(features)
        )
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
            weights=[1.0] + [0.0] * (len(setting.candidates) - 1),
            balances=[Balance() for _ in setting.accounts],
            confidence=AggregateConfidence(0.5 ** (1.0 / setting.confidence_half_life), setting.confidence_block),
            interval=AdaptiveGroup(ScoreWindow(setting.conformal_runs), setting.coverage, setting.coverage),
            shift=ShiftDetector(setting.shift_allowance, setting.shift_threshold),
        )


def _mean(pair: list[float] | None) -> float | None:
    return pair[0] / pair[1] if pair is not None and pair[1] > 0.0 else None
