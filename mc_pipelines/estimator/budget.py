"""What the budget gate is asked (policy/budget): an estimate's middle and bound against what is left."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from mc_pipelines.estimator.serving import Estimate
from mc_pipelines.foundation.money import Money

_MICROS = Decimal(1_000_000)


def budget_input(estimate: Estimate, left: Money) -> dict[str, Any]:
    """Return the input document of pack ``budget``; amounts are integer millionths of the major unit.

    Args:
        estimate: of the execution; one without a cost is unknown, which the pack hands to a person.
        left: what is left of the budget; may be negative.
    """
    known = estimate.cost is not None and estimate.high is not None
    return {
        "estimate": {
            "p50_micros": _micros(estimate.cost or Decimal(0)),
            "p90_micros": _micros(estimate.high or Decimal(0)),
            "currency": estimate.currency,
            "confidence": estimate.confidence,
            "source": estimate.source,
        }
        if known
        else None,
        "budget": {"left_micros": _micros(left.amount), "currency": left.currency},
    }


def _micros(amount: Decimal) -> int:
    return int((amount * _MICROS).to_integral_value(rounding=ROUND_HALF_UP))
