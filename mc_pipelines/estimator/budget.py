"""What the budget gate is asked (policy/budget): an estimate's middle and bound against what is left."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from mc_pipelines.foundation.money import Money

_MICROS = Decimal(1_000_000)


def budget_input(estimate: Mapping[str, Any] | None, left: Money) -> dict[str, Any]:
    """Return the input document of pack ``budget``; amounts are integer millionths of the major unit.

    Args:
        estimate: ``cost``, ``high``, ``currency``, ``confidence`` and ``source`` of the execution's; None or one
            without an interval is unknown, which the pack hands to a person.
        left: what is left of the budget; may be negative.
    """
    known = estimate is not None and estimate["cost"] is not None and estimate["high"] is not None
    return {
        "estimate": {
            "p50_micros": _micros(estimate["cost"]),
            "p90_micros": _micros(estimate["high"]),
            "currency": estimate["currency"],
            "confidence": float(estimate["confidence"]),
            "source": estimate["source"],
        }
        if known and estimate is not None
        else None,
        "budget": {"left_micros": _micros(left.amount), "currency": left.currency},
    }


def _micros(amount: Decimal | str) -> int:
    return int((Decimal(amount) * _MICROS).to_integral_value(rounding=ROUND_HALF_UP))
