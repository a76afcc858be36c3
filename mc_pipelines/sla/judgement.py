"""Decides a period from a contract and its evidence, and from nothing else: pure, exact, repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import Money, decimal_text
from mc_pipelines.sla.attainment import (
    Attainment,
    Counts,
    State,
    attain_events,
    attain_intervals,
    attain_slices,
    exact_text,
    slices_in,
)
from mc_pipelines.sla.calendar import Period
from mc_pipelines.sla.contract import Contract, Measure, Objective
from mc_pipelines.sla.credit import CreditDecision, DayShare, Step, credit_due, daily_shares, restate, take_back
from mc_pipelines.sla.document import percent_text
from mc_pipelines.sla.evidence import Evidence
from mc_pipelines.sla.facts import Kind
from mc_pipelines.sla.intervals import Interval, union
from mc_pipelines.sla.slices import contract_slices, counts_in, percentile_edge

NO_CHARGE = "billing has sent no charge for the period"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a period comes to.

    Args:
        attainment: the measured value.
        decision: the credit, or None while on hold.
        step: what it adds to the documents already issued, or None while on hold.
        hold: why a person or billing is needed first; None otherwise.
        charge: exact charge of the period, or None.
        days: attainment to date and share of each local day.
        latency_p95_ms: for latency, the 95th percentile by bucket.
    """

    attainment: Attainment
    decision: CreditDecision | None
    step: Step | None
    hold: str | None
    charge: Fraction | None
    days: tuple[DayShare, ...] = field(default=())
    latency_p95_ms: int | None = None

    @property
    def state(self) -> State:
        """Kept, broken or no data."""
        return self.attainment.state

    @property
    def reason(self) -> str | None:
        """Why nothing is due or decided."""
        if self.hold is not None:
            return self.hold
        return None if self.decision is None else self.decision.reason


def judge(contract: Contract, evidence: Evidence, *, until: Period | None = None) -> Judgement:
    """Decide a period, or its part ``until`` while it runs.

    Raises:
        InputError: the evidence contradicts the contract, such as a charge in another currency.
    """
    period = evidence.period if until is None else until
    attainment = attain(contract, evidence, period)
    latency = contract.objective is Objective.LATENCY
    p95 = percentile_edge(evidence.slices, period.interval, 95, 100) if latency else None
    charge = evidence.charge(contract.currency)
    hold = _hold(attainment, charge)
    if charge is None:
        # The shares are unknown then, but what was measured on each day is not.
        days = _days(contract, evidence, period, Fraction(0))
    else:
        days = _days(contract, evidence, period, charge)
    if hold is not None or charge is None:
        return Judgement(attainment, None, None, hold, charge, days, p95)
    decision = credit_due(contract, attainment, charge)
    return Judgement(attainment, decision, _step(contract, evidence, decision), None, charge, days, p95)


def _step(contract: Contract, evidence: Evidence, decision: CreditDecision) -> Step:
    already = sum((one.amount for one in evidence.earlier), Money(contract.currency, 0))
    if evidence.reversal is None:
        return restate(contract.restatement, decision.credit, already)
    given = next((one.amount for one in evidence.earlier if one.number == evidence.reversal.number), None)
    if given is None:
        raise InputError("No such note was issued for the period", field="reversal", value=evidence.reversal.number)
    return take_back(given, already)


def attain(contract: Contract, evidence: Evidence, period: Period) -> Attainment:
    """Measure a period, or the part of it that has passed, on its evidence."""
    return attain_window(contract, evidence, period.interval)


def attain_window(contract: Contract, evidence: Evidence, window: Interval) -> Attainment:
    """Measure any stretch of the period on its evidence, such as the last hour for a burn rate."""
    maintenance = union(evidence.maintenance)  # touching windows are one
    if not contract.counts_slices:
        deployed = evidence.intervals(Kind.DEPLOYMENT) if contract.measure is Measure.DEPLOYED_DOWNTIME else None
        return attain_intervals(contract, window, evidence.downtime, exclusions=maintenance, deployed=deployed)
    if contract.measure is Measure.EVENTS:
        return attain_events(contract, counts_in(evidence.slices, window, maintenance))
    if contract.slice_ms is None:
        raise InputError("The measure needs a slice length", field="x-credit.slice")
    slices = contract_slices(contract, evidence.slices, window, maintenance)
    return attain_slices(contract, slices, slices_in(window, contract.slice_ms))


def _days(contract: Contract, evidence: Evidence, period: Period, charge: Fraction) -> tuple[DayShare, ...]:
    return tuple(daily_shares(contract, list(_to_date(contract, evidence, period)), charge))


def _to_date(contract: Contract, evidence: Evidence, period: Period) -> Iterator[tuple[date, Attainment]]:
    """Yield each local day with the attainment from the first to it; slices of the days before are kept, not read."""
    length = contract.slice_ms
    if not contract.counts_slices or contract.measure is Measure.EVENTS or length is None:
        yield from ((day.first, attain(contract, evidence, period.until(day.first))) for day in period.days())
        return
    maintenance = union(evidence.maintenance)
    slices: dict[int, Counts] = {}
    for day in period.days():
        found = contract_slices(contract, evidence.slices, day.interval, maintenance, origin=period.interval.start)
        for number, counts in found.items():
            # a slice that a midnight cuts is of both days
            slices[number] = slices[number] + counts if number in slices else counts
        in_period = slices_in(period.until(day.first).interval, length)
        yield day.first, attain_slices(contract, slices, in_period)


def _hold(attainment: Attainment, charge: Fraction | None) -> str | None:
    if attainment.state is State.NO_DATA:
        return attainment.reason
    return NO_CHARGE if charge is None else None


def figures(contract: Contract, evidence: Evidence, judgement: Judgement) -> dict[str, Any]:
    """Return every figure of a judgement as it stands in the signed statement; all numbers are text.

    A verifier computes this again from contract and evidence and compares field by field.
    """
    attainment, decision, step = judgement.attainment, judgement.decision, judgement.step
    tier = None if decision is None else decision.tier
    percent = attainment.percent
    return {
        "measure": contract.measure.value,
        "unit": attainment.unit,
        "state": attainment.state.value,
        "good": exact_text(attainment.good),
        "valid": str(attainment.valid),
        "percent": None if percent is None else exact_text(percent),
        "shown": None if attainment.shown is None else decimal_text(attainment.shown),
        "target": percent_text(contract.target),
        "latencyP95Ms": None if judgement.latency_p95_ms is None else str(judgement.latency_p95_ms),
        "charge": None if judgement.charge is None else exact_text(judgement.charge),
        "tierBelow": None if tier is None else percent_text(tier.below),
        "creditPercent": None if decision is None else percent_text(decision.percent),
        "computedMinor": None if decision is None else str(decision.computed.minor),
        "entitledMinor": None if decision is None else str(decision.credit.minor),
        "kind": None if step is None else step.document,
        "amountMinor": None if step is None else str(step.amount.minor),
        "balanceMinor": None if step is None else str(step.balance.minor),
        "currency": contract.currency,
        "rounding": "half-up, once, to the minor unit",
        "reason": judgement.reason,
        "days": day_figures(judgement),
        "incidents": sorted(fact.fact_id for fact in evidence.closed_incidents),
    }


def day_figures(judgement: Judgement) -> list[dict[str, str | None]]:
    """Return each local day: state to date, shown percentage to date, and its share in minor units."""
    return [
        {
            "day": share.day.isoformat(),
            "state": share.attainment.state.value,
            "shown": None if share.attainment.shown is None else decimal_text(share.attainment.shown),
            "shareMinor": None if judgement.charge is None else str(share.share.minor),
        }
        for share in judgement.days
    ]
