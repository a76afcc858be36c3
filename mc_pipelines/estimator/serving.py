"""The serving path: one estimate for one run, in well under a millisecond, and never an exception.

Whatever is wrong (an unreadable model, a feature that is no number, an unknown price) ends as v1 with a
reason code. The estimate holds everything the prediction ledger freezes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from mc_pipelines.estimator.artefact import Artefact
from mc_pipelines.estimator.guardrail import Reason
from mc_pipelines.estimator.history import microseconds
from mc_pipelines.estimator.model import SHAPES
from mc_pipelines.estimator.online import Prediction, Request
from mc_pipelines.estimator.pricing import Price, cost_of, shown
from mc_pipelines.estimator.v1 import V1Table
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.ids import Digest

_WIDEST = 50.0
"""Log half width at which an interval says nothing any more."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is served for one run, and why; amounts in major units with six decimals."""

    run_id: str
    workflow: str
    submitted_at: datetime
    cost: Decimal | None
    """None where nothing at all is known."""
    low: Decimal | None
    """Lower end of the interval that covers 90 % of runs."""
    high: Decimal | None
    v1: Decimal | None
    v2: Decimal | None
    currency: str
    price_id: str
    resource_seconds: float | None
    confidence: float
    source: str
    """``v2`` or ``v1``."""
    reasons: tuple[str, ...]
    model_id: str | None
    features_digest: Digest


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an explanation: factors multiply."""

    name: str
    factor: float
    note: str


class EstimatorService:
    """Serves estimates from one loaded model; replace it to change the model."""

    def __init__(
        self,
        artefact: Artefact | None,
        prices: Mapping[str, Price],
        *,
        v1: V1Table | None = None,
        unreadable: bool = False,
    ) -> None:
        """Serve from ``artefact``.

        Args:
            artefact: None where there is no model.
            prices: by price id.
            v1: what is served where there is no model.
            unreadable: there is a champion, and its file could not be read; said in every reason.
        """
        self.artefact = artefact
        self.prices = prices
        self.v1 = v1
        self._missing = Reason.MODEL_UNREADABLE if unreadable else Reason.NO_MODEL

    def estimate(
        self,
        features: Mapping[str, Any],
        workflow: str,
        *,
        run_id: str,
        at: datetime,
        price_id: str,
        resources: float = 1.0,
        enabled: bool = True,
    ) -> Estimate:
        """Return what is served for one run.

        Args:
            features: by name; magnitudes, and ``group`` for the finer recurring unit.
            workflow: its recurring unit.
            run_id: names the run in the ledger.
            at: when it is submitted, aware.
            price_id: the price that will apply.
            resources: allocated cores or nodes.
            enabled: the flag estimator_v2.
        """
        try:
            if self.artefact is None:
                return self._from_table(features, workflow, run_id, at, price_id, resources)
            return self._estimate(features, workflow, run_id, at, price_id, resources, enabled)
        except Exception:  # noqa: BLE001 - the serving path never fails; what went wrong is a reason, and is counted
            return self._after_failure(features, workflow, run_id, at, price_id)

    def _after_failure(
        self, features: Mapping[str, Any], workflow: str, run_id: str, at: datetime, price_id: str
    ) -> Estimate:
        """Serve v1 of the workflow without looking at what was given besides; nothing where even that fails."""
        try:
            if self.artefact is None:
                return self._from_table({}, workflow, run_id, at, str(price_id), 1.0)
            found = self._estimate({}, workflow, run_id, at, str(price_id), math.nan, enabled=True)
            return replace(found, features_digest=_features_digest(features))
        except Exception:  # noqa: BLE001 - as above
            return self._nothing(features, workflow, run_id, at, price_id)

    def explain(
        self, features: Mapping[str, Any], workflow: str, *, at: datetime, resources: float = 1.0
    ) -> list[Line]:
        """Return the factors whose product is v2's resource-time: the weightiest candidate's, exactly, times the blend.

        Empty where there is no model.
        """
        if self.artefact is None or self.artefact.estimator.model is None:
            return []
        estimator, model = self.artefact.estimator, self.artefact.estimator.model
        request = self._request(features, workflow, "explain", at, resources, ())
        prediction = estimator.predict(request, remember=False)
        candidate = estimator.setting.candidates[prediction.chosen]
        shape = SHAPES.index(candidate.shape)
        level = model.level(workflow, request.family)
        slopes, base = model.slopes_of(level)[shape], level.levels[shape]
        lines = [
            Line(f"level of {workflow}", math.exp(base), "resource-seconds of a usual run on one core or node"),
            Line("allocation", resources, "cores or nodes"),
        ]
        lines += [
            Line(name, math.exp(value * slope), f"{raw:.4g} on the model's scale, usually {centre:.4g}")
            for name, value, slope, raw, centre in zip(
                model.feature_names,
                model.standardise(prediction.features),
                slopes,
                prediction.features,
                model.centre,
                strict=True,
            )
        ]
        state = estimator.workflows.get(workflow)
        factor = state.trackers[prediction.chosen].factor if state is not None else 1.0
        blended = (prediction.v2 or 0.0) / prediction.candidates[prediction.chosen]
        return [
            *lines,
            Line("bias correction", factor, f"of {candidate.name}, over finished runs"),
            Line("other candidates", blended, f"blended with {candidate.name} by their trailing losses"),
        ]

    def _estimate(
        self,
        features: Mapping[str, Any],
        workflow: str,
        run_id: str,
        at: datetime,
        price_id: str,
        resources: float,
        enabled: bool,
    ) -> Estimate:
        artefact = self.artefact
        assert artefact is not None  # noqa: S101 - the caller has checked
        price = self.prices.get(price_id)
        reasons: list[Reason] = [] if price is not None else [Reason.PRICE_UNKNOWN]
        if not (isinstance(resources, int | float) and 0.0 < resources < math.inf):
            reasons.append(Reason.FEATURE_INVALID)
            resources = 1.0
        request = self._request(features, workflow, run_id, at, float(resources), reasons)
        prediction = artefact.estimator.predict(request, enabled=enabled, remember=False)
        return self._priced(prediction, features, at, price_id, price)

    def _request(
        self, features: Mapping[str, Any], workflow: str, run_id: str, at: datetime, resources: float, reasons: Any
    ) -> Request:
        artefact = self.artefact
        assert artefact is not None  # noqa: S101 - every caller has checked
        names = artefact.estimator.number_names
        found = list(reasons)
        numbers = [_magnitude(features, name, found) for name in names]
        if names and not any(name in features for name in names):
            found.append(Reason.SCHEMA_UNKNOWN)
        group = str(features.get("group", ""))
        return Request(
            run_id=run_id,
            workflow=workflow,
            family=artefact.families.get(workflow, workflow.split("/", maxsplit=1)[0]),
            variant=f"{group}|{resources:g}",
            submitted=microseconds(at),
            resources=resources,
            numbers=tuple(numbers),
            reasons=tuple(dict.fromkeys(found)),
        )

    def _priced(
        self, prediction: Prediction, features: Mapping[str, Any], at: datetime, price_id: str, price: Price | None
    ) -> Estimate:
        artefact = self.artefact
        assert artefact is not None  # noqa: S101 - a prediction comes from one
        request = prediction.request
        if price is None:
            price = _last_price(price_id, artefact.prices.get(request.workflow))
        spread = math.exp(min(prediction.half_width, _WIDEST))
        served = prediction.served
        cost, low, high, v1, v2 = (
            _money(seconds, request.resources, price)
            for seconds in (served, served / spread, served * spread, prediction.v1, prediction.v2)
        )
        return Estimate(
            run_id=request.run_id,
            workflow=request.workflow,
            submitted_at=at,
            cost=cost,
            low=low,
            high=high,
            v1=v1,
            v2=v2,
            currency=price.currency if price is not None else "USD",
            price_id=price_id,
            resource_seconds=served if math.isfinite(served) else None,
            confidence=prediction.confidence,
            source=prediction.decision.source,
            reasons=tuple(str(reason) for reason in prediction.decision.reasons),
            model_id=artefact.model_id,
            features_digest=_features_digest(features),
        )

    def _from_table(
        self, features: Mapping[str, Any], workflow: str, run_id: str, at: datetime, price_id: str, resources: float
    ) -> Estimate:
        """Serve v1 without any model."""
        found = self._nothing(features, workflow, run_id, at, price_id)
        table = self.v1
        if table is None or not resources > 0.0:
            return found
        seconds = table.resource_seconds(workflow, resources)
        price = self.prices.get(price_id) or _last_price(price_id, table.prices.get(workflow))
        cost = _money(seconds, resources, price)
        reasons = (str(self._missing),) if math.isfinite(seconds) else found.reasons
        return replace(
            found,
            cost=cost,
            v1=cost,
            currency=price.currency if price is not None else "USD",
            resource_seconds=seconds if math.isfinite(seconds) else None,
            reasons=reasons,
        )

    def _nothing(
        self, features: Mapping[str, Any], workflow: str, run_id: str, at: datetime, price_id: str
    ) -> Estimate:
        return Estimate(
            run_id=str(run_id),
            workflow=str(workflow),
            submitted_at=at,
            cost=None,
            low=None,
            high=None,
            v1=None,
            v2=None,
            currency="USD",
            price_id=str(price_id),
            resource_seconds=None,
            confidence=0.0,
            source="v1",
            reasons=(str(self._missing if self.artefact is None else Reason.FEATURE_INVALID), str(Reason.NO_HISTORY)),
            model_id=self.artefact.model_id if self.artefact is not None else None,
            features_digest=_features_digest(features),
        )


def _money(resource_seconds: float | None, resources: float, price: Price | None) -> Decimal | None:
    if price is None or resource_seconds is None or not math.isfinite(resource_seconds):
        return None
    return shown(cost_of(resource_seconds, resources, price))


def _last_price(price_id: str, hourly: float | None) -> Price | None:
    return Price(price_id, "USD", Decimal(repr(hourly))) if hourly else None


def _magnitude(features: Mapping[str, Any], name: str, reasons: list[Reason]) -> float:
    value = features.get(name)
    if value is None:
        reasons.append(Reason.FEATURE_MISSING)
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        reasons.append(Reason.UNKNOWN_CATEGORY if isinstance(value, str) else Reason.FEATURE_INVALID)
        return math.nan
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an integer beyond floats, a signalling NaN
        number = math.inf
    if not math.isfinite(number):
        reasons.append(Reason.FEATURE_NOT_FINITE)
        return math.nan
    if number < 0.0:
        reasons.append(Reason.FEATURE_INVALID)
        return math.nan
    return number


def _features_digest(features: Any) -> Digest:
    """Return the digest of what was given, whatever it was."""
    try:
        return digest_of({str(key): repr(value) for key, value in features.items()})
    except (MaestroError, AttributeError, TypeError, ValueError):
        return digest_of({"unreadable": type(features).__name__})
