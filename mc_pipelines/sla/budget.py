"""Error budgets and burn rates over several windows, exact, for every measure.

A budget is the share that the target lets a period lose, in the contract's own unit: milliseconds, events or slices.
Windows and factors are those of the SRE workbook's multi-window alerts for a budget of 30 days: a page at
14.4 over an hour (2 % of the budget) and at 6 over six hours (5 %), a ticket at 1 over three days (10 %),
each confirmed by a short window so that an alert ends when the trouble ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction

from mc_pipelines.sla.attainment import Attainment, slices_in
from mc_pipelines.sla.calendar import Period
from mc_pipelines.sla.contract import Contract, Measure
from mc_pipelines.sla.evidence import Evidence
from mc_pipelines.sla.intervals import Interval, to_milliseconds
from mc_pipelines.sla.judgement import Judgement, attain_window

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
    """What a period may lose and what it has lost, in the unit of the contract's measure."""

    allowed: Fraction
    spent: Fraction

    @property
    def left(self) -> Fraction:
        """The part of the budget that is left, 1 at the start, below 0 once it is overspent."""
        if self.allowed == 0:
            return Fraction(1 if self.spent == 0 else -1)
        return 1 - self.spent / self.allowed


@dataclass(frozen=True, slots=True)
class Burn:
    """How fast the budget burnt in the two windows of an alert, 1 being as fast as allowed; None without data."""

    alert: Alert
    long: Fraction | None
    short: Fraction | None
    enough: bool
    """Whether the short window held enough events to say anything."""

    @property
    def fires(self) -> bool:
        """Whether the alert fires: both windows burn too fast."""
        return self.enough and all(rate is not None and rate >= self.alert.factor for rate in (self.long, self.short))


def error_budget(contract: Contract, attainment: Attainment, period: Period) -> Budget:
    """Return the budget of a period from what was measured of it so far.

    Time and slices of a period are known beforehand, so their budget is that of the whole period. How many events it
    will have is not: their budget grows with them.
    """
    whole = attainment.valid
    if contract.measure is Measure.DOWNTIME:
        whole = max(whole, period.interval.length)
    elif contract.slice_ms is not None:
        whole = max(whole, slices_in(period.interval, contract.slice_ms))
    return Budget((1 - contract.target / _PERCENT) * whole, attainment.valid - attainment.good)


def burn_down(contract: Contract, judgement: Judgement, period: Period) -> list[tuple[date, Fraction]]:
    """Return the part of the budget that was left at the end of each local day."""
    return [(share.day, error_budget(contract, share.attainment, period).left) for share in judgement.days]


def burn_rate(contract: Contract, attainment: Attainment) -> Fraction | None:
    """Return how many times faster than allowed the budget burns; None without data or without a budget."""
    allowed = 1 - contract.target / _PERCENT
    percent = attainment.percent
    return None if percent is None or allowed == 0 else (1 - percent / _PERCENT) / allowed


def burns(contract: Contract, evidence: Evidence, at: datetime) -> list[Burn]:
    """Return the burn rates of every alert's windows that end at a moment.

    A window is cut at the start of the period, where the budget was whole. On counted slices it ends with the last
    whole slice and is at least one slice long.

    Args:
        contract: target and measure.
        evidence: of the period that holds ``at``.
        at: aware; later than the period's end means its end.
    """
    period = evidence.period.interval
    grid = (contract.slice_ms or contract.granule_ms) if contract.counts_slices else 1
    end = _on_grid(min(to_milliseconds(at.replace(microsecond=0), field="at"), period.end), period, grid)
    found: list[Burn] = []
    for alert in ALERTS:
        long, short = (_window(contract, evidence, end, length, grid) for length in (alert.long, alert.short))
        few = short is None or (contract.measure is Measure.EVENTS and short.valid < MINIMUM_EVENTS)
        found.append(Burn(alert, _rate(contract, long), _rate(contract, short), enough=not few))
    return found


def _on_grid(moment: int, period: Interval, grid: int) -> int:
    return period.start + max(0, moment - period.start) // grid * grid


def _window(contract: Contract, evidence: Evidence, end: int, length: timedelta, grid: int) -> Attainment | None:
    start = _on_grid(end - length // timedelta(milliseconds=1), evidence.period.interval, grid)
    return attain_window(contract, evidence, Interval(start, end)) if start < end else None


def _rate(contract: Contract, attainment: Attainment | None) -> Fraction | None:
    return None if attainment is None else burn_rate(contract, attainment)
