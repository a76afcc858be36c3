"""Error budgets and burn rates over several windows, exact.

Windows and factors are those of the SRE workbook's multi-window alerts for a budget of 30 days: a page at
14.4 over an hour (2 % of the budget) and at 6 over six hours (5 %), a ticket at 1 over three days (10 %),
each confirmed by a short window so that an alert ends when the trouble ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from mc_pipelines.sla.attainment import Counts
from mc_pipelines.sla.contract import Contract

_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Alert:
    """A burn-rate rule: both windows must burn at least ``factor`` times as fast as the budget allows."""

    name: str
    long: timedelta
    short: timedelta
    factor: Fraction


ALERTS = (
    Alert("page-fast", timedelta(hours=1), timedelta(minutes=5), Fraction(144, 10)),
    Alert("page-slow", timedelta(hours=6), timedelta(minutes=30), Fraction(6)),
    Alert("ticket", timedelta(days=3), timedelta(hours=6), Fraction(1)),
)
MINIMUM_EVENTS = 10
"""Valid events in the short window below which no alert fires: one failure of two would page otherwise."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bad events a period may have and how many it had."""

    allowed: Fraction
    spent: int

    @property
    def left(self) -> Fraction:
        """The part of the budget that is left, 1 at the start, below 0 once it is overspent."""
        if self.allowed == 0:
            return Fraction(1 if self.spent == 0 else -self.spent)
        return 1 - Fraction(self.spent) / self.allowed


def error_budget(contract: Contract, counts: Counts) -> Budget:
    """Return the budget of a period from its counts."""
    return Budget((1 - contract.target / _PERCENT) * counts.valid(contract.exclusion), counts.bad)


def burn_rate(contract: Contract, counts: Counts) -> Fraction | None:
    """Return how many times faster than allowed the budget burns; None without data or without a budget."""
    valid = counts.valid(contract.exclusion)
    allowed = 1 - contract.target / _PERCENT
    return None if valid == 0 or allowed == 0 else Fraction(counts.bad, valid) / allowed


def firing(contract: Contract, counts_over: Callable[[timedelta], Counts]) -> list[Alert]:
    """Return the alerts that fire now.

    Args:
        contract: target and exclusions.
        counts_over: counts of the last so many minutes.
    """
    fired: list[Alert] = []
    for alert in ALERTS:
        short = counts_over(alert.short)
        rates = (burn_rate(contract, counts_over(alert.long)), burn_rate(contract, short))
        enough = short.valid(contract.exclusion) >= MINIMUM_EVENTS
        if enough and all(rate is not None and rate >= alert.factor for rate in rates):
            fired.append(alert)
    return fired
