"""The guardrail of seed section 5.5: serve v2 when sure, clamped to v1's neighbourhood, else v1.

Order: model, bias correction, confidence, clamp, fallback. The decision is a pure function and never
raises; whatever is wrong with an input ends as v1 with a reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a prediction is what it is; every fallback has at least one."""

    SERVED_V2 = "served-v2"
    CLAMPED_LOW = "clamped-low"
    CLAMPED_HIGH = "clamped-high"
    LOW_CONFIDENCE = "low-confidence"
    UNSEEN_WORKFLOW = "unseen-workflow"
    FEW_RUNS = "few-runs"
    OUT_OF_DISTRIBUTION = "out-of-distribution"
    FEATURE_MISSING = "feature-missing"
    FEATURE_NOT_FINITE = "feature-not-finite"
    FEATURE_INVALID = "feature-invalid"
    UNKNOWN_CATEGORY = "unknown-category"
    SCHEMA_UNKNOWN = "schema-unknown"
    PRICE_UNKNOWN = "price-unknown"
    CURRENCY_UNKNOWN = "currency-unknown"
    STALE_MODEL = "stale-model"
    NO_MODEL = "no-model"
    MODEL_UNREADABLE = "model-unreadable"
    FLAG_OFF = "flag-off"
    V1_UNUSABLE = "v1-unusable"
    V2_NOT_FINITE = "v2-not-finite"
    NO_HISTORY = "no-history"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is served, from which model, and why."""

    served: float
    source: str
    """``v2`` or ``v1``."""
    reasons: tuple[Reason, ...]

    @property
    def clamped(self) -> bool:
        """Whether the clamp changed v2."""
        return Reason.CLAMPED_LOW in self.reasons or Reason.CLAMPED_HIGH in self.reasons


def clamp(value: float, v1: float, *, low: float = 0.5, high: float = 1.5) -> float:
    """Return ``value`` moved into [low x v1, high x v1]."""
    return min(max(value, v1 * low), v1 * high)


def decide(
    v1: float,
    v2: float | None,
    confidence: float,
    *,
    reasons: tuple[Reason, ...] = (),
    threshold: float = 0.7,
    low: float = 0.5,
    high: float = 1.5,
) -> Decision:
    """Decide what is served.

    Args:
        v1: the trailing mean; served bit for bit on every fallback.
        v2: the corrected model prediction, or None where there is none.
        confidence: 0 to 1; at or above ``threshold`` v2 may be served.
        reasons: what is already known to be wrong; any of them means v1.
        threshold: inclusive, 0.7 in the seed.
        low: lower clamp as a share of v1.
        high: upper clamp as a share of v1.
    """
    found = list(reasons)
    if v2 is None or not (math.isfinite(v2) and v2 > 0.0):
        if v2 is not None:
            found.append(Reason.V2_NOT_FINITE)
        return Decision(v1, "v1", tuple(found) or (Reason.NO_MODEL,))
    if not (math.isfinite(v1) and v1 > 0.0):
        # Without a usable v1 the clamp means nothing: zero would swallow v2, NaN would poison it.
        found.append(Reason.V1_UNUSABLE)
    if not confidence >= threshold:
        found.append(Reason.LOW_CONFIDENCE)
    if found:
        return Decision(v1, "v1", tuple(dict.fromkeys(found)))
    served = clamp(v2, v1, low=low, high=high)
    if served > v2:
        return Decision(served, "v2", (Reason.SERVED_V2, Reason.CLAMPED_LOW))
    if served < v2:
        return Decision(served, "v2", (Reason.SERVED_V2, Reason.CLAMPED_HIGH))
    return Decision(served, "v2", (Reason.SERVED_V2,))
