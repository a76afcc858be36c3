"""Whether the error budget is stable: burn rates of two windows over the execution facts, and data that is fresh.

A rollout advances only while the platform keeps its promise (seed, 5.8). Burn rate is the share of failures that
were the provider's fault over what the target allows; the window pairs are those of multi-window alerts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

import polars as pl

TARGET = Fraction(999, 1000)
PAIRS = ((timedelta(hours=1), timedelta(minutes=5)), (timedelta(hours=6), timedelta(minutes=30)))
LONGEST = max(long for long, _ in PAIRS)


def budget_stable(facts: pl.LazyFrame | pl.DataFrame, now: datetime, *, target: Fraction = TARGET) -> bool | None:
    """Tell whether no pair of windows burns its budget.

    Args:
        facts: execution facts of at least the last six hours.
        now: aware; the end of every window.
        target: share of valid attempts that must not fail by the provider's fault.

    Returns:
        None where no attempt finished in the last six hours: nobody knows, so a rollout holds.
    """
    attempts = (
        facts.lazy()
        .filter(
            pl.col("finished_at") > now - LONGEST, pl.col("finished_at") <= now, pl.col("excluded_reason").is_null()
        )
        .select(
            "finished_at",
            bad=(pl.col("fault_owner") == "provider") & pl.col("outcome").is_in(["failed", "lost"]),
        )
        .collect()
    )
    if attempts.is_empty():
        return None
    burning = (
        _burn(attempts, now - long, target) >= 1 and _burn(attempts, now - short, target) >= 1 for long, short in PAIRS
    )
    return not any(burning)


def _burn(attempts: pl.DataFrame, since: datetime, target: Fraction) -> Fraction:
    window = attempts.filter(pl.col("finished_at") > since)
    if window.is_empty():
        return Fraction(0)
    return Fraction(int(window["bad"].sum()), len(window)) / (1 - target)
