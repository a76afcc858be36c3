"""What served and paid owe each other: a workflow's balance, and how the next runs make up for it.

The key result is about sums, so an error is not forgotten when the bias correction has learnt from it: it
stands in an account until later runs have made up for it or it is forgiven with time. Two rules keep this
from chasing noise. The balance inside a slack, a small share of the remembered spend, is let be: it cannot
break the promise. And what runs in flight already make up for is not asked twice, as an inventory counts
what is on order (its position, not its stock). Whatever the clamp cuts off ends up here by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mc_pipelines.estimator.history import DAY
from mc_pipelines.estimator.setting import Account


@dataclass(slots=True)
class Balance:
    """Paid minus served, decaying with time."""

    owed: float = 0.0
    spend: float = 0.0
    """Paid, decaying alike."""
    at: int = 0
    """Microseconds of the last run that counted."""

    def add(self, served: float, actual: float, *, at: int, half_life_days: float) -> None:
        """Count one finished run."""
        kept = self._kept(at, half_life_days)
        self.owed = self.owed * kept + actual - served
        self.spend = self.spend * kept + actual
        self.at = max(self.at, at)

    def beyond_slack(self, in_flight: float, *, at: int, account: Account) -> float:
        """Return what is owed now, less what is in flight, outside of the slack."""
        kept = self._kept(at, account.half_life_days)
        position = self.owed * kept - in_flight
        slack = self.spend * kept * account.slack
        return math.copysign(max(0.0, abs(position) - slack), position)

    def _kept(self, at: int, half_life_days: float) -> float:
        if self.at == 0:
            return 0.0
        return float(0.5 ** (max(0, at - self.at) / (half_life_days * DAY)))


def repayment_share(
    balances: Sequence[Balance],
    accounts: Sequence[Account],
    *,
    in_flight: float,
    usual: float,
    at: int,
    least: float,
    largest: float,
) -> float:
    """Return by which share of itself the next prediction is moved.

    Args:
        balances: of the workflow, one an account.
        accounts: the rules.
        in_flight: what submitted, unfinished runs already make up for.
        usual: mean prediction of the workflow; nothing is moved before there is one.
        at: microseconds.
        least: lower bound.
        largest: upper bound.
    """
    if not usual > 0.0:
        return 0.0
    wanted = sum(
        account.gain * balance.beyond_slack(in_flight, at=at, account=account)
        for balance, account in zip(balances, accounts, strict=True)
    )
    return min(largest, max(least, wanted / usual))
