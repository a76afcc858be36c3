"""How much is owed: tiers, cap, rounding, minimum; restatements and daily shares as differences.

The tier test is strict on the exact percentage. Money is rounded once, at the end, half up to the minor
unit of the currency; the published contracts are silent on rounding, so this is our stated rule. The
minimum is tested on the rounded amount.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import Money, exact, minor_unit_exponent, round_half_up
from mc_pipelines.sla.attainment import Attainment, State
from mc_pipelines.sla.contract import HOUR_MS, Contract, Restatement, Tier
from mc_pipelines.sla.intervals import Interval, clip, union

CREDIT_NOTE = "credit_note"
REVERSAL = "reversal"
NO_BREACH = "no breach"
_PERCENT = 100


@dataclass(frozen=True, slots=True)
class CreditDecision:
    """What is due for a period, and why.

    Args:
        tier: the tier reached, or None.
        percent: per cent of the charge.
        computed: capped and rounded, before the minimum test.
        credit: what is due.
        reason: why nothing is due; None when something is.
    """

    tier: Tier | None
    percent: Fraction
    computed: Money
    credit: Money
    reason: str | None

    @property
    def due(self) -> bool:
        """Whether a credit is owed."""
        return self.credit.minor > 0


@dataclass(frozen=True, slots=True)
class Step:
    """What a version of the facts adds to the documents before it.

    Args:
        document: ``credit_note``, ``reversal`` or None where nothing is written.
        amount: of that document; negative for a reversal.
        balance: what all documents together give.
    """

    document: str | None
    amount: Money
    balance: Money


@dataclass(frozen=True, slots=True)
class DayShare:
    """The change of the period-to-date credit on one local day; the days sum to the period's credit."""

    day: date
    attainment: Attainment
    accrued: Money
    share: Money


def tier_of(contract: Contract, percent: Fraction) -> Tier | None:
    """Return the lowest tier whose threshold is strictly above the exact percentage."""
    reached = [tier for tier in contract.tiers if percent < tier.below]
    return min(reached, key=lambda tier: tier.below) if reached else None


def credit_due(contract: Contract, attainment: Attainment, charge: Decimal | Fraction | str) -> CreditDecision:
    """Decide the credit of a period.

    Args:
        contract: tiers, cap, minimum and currency.
        attainment: what was measured.
        charge: what the customer was billed for the service in the period, in major units of the contract's
            currency, exact.

    Raises:
        InputError: the charge is negative or no exact number, or the minimum is in another currency.
    """
    billed = exact(charge, field="charge")
    if billed < 0:
        raise InputError("A charge is not negative", field="charge", value=str(charge))
    zero = Money(contract.currency, 0)
    if attainment.percent is None:
        return CreditDecision(None, Fraction(0), zero, zero, attainment.reason)
    tier = tier_of(contract, attainment.percent)
    if tier is None:
        return CreditDecision(None, Fraction(0), zero, zero, NO_BREACH)
    percent = min(tier.credit, contract.cap)
    minor = round_half_up(billed * percent / _PERCENT, minor_unit_exponent(contract.currency))
    computed = Money(contract.currency, minor)
    reason = _too_small(contract, computed)
    return CreditDecision(tier, percent, computed, zero if reason else computed, reason)


def _too_small(contract: Contract, computed: Money) -> str | None:
    if contract.minimum is not None:
        if contract.minimum.currency != computed.currency:
            raise InputError(
                "The minimum is in another currency", field="minimumAbove", value=contract.minimum.currency
            )
        if computed.minor <= contract.minimum.minor:
            return f"not above the minimum credit of {contract.minimum}"
    return None if computed.minor else "the credit rounds to zero"


def restate(policy: Restatement, entitled: Money, already: Money) -> Step:
    """Return the document that brings what was given to what is owed: the difference, never a second full note.

    Args:
        policy: whether a lower entitlement takes back.
        entitled: the credit under the newest facts.
        already: the sum of all earlier documents.
    """
    difference = entitled - already
    if difference.minor == 0 or (difference.minor < 0 and policy is Restatement.NO_CLAWBACK):
        return Step(None, Money(entitled.currency, 0), already)
    return Step(CREDIT_NOTE if difference.minor > 0 else REVERSAL, difference, entitled)


def take_back(given: Money, already: Money) -> Step:
    """Return the document that takes one credit note back.

    Args:
        given: by that note.
        already: the sum of all earlier documents.

    Raises:
        InputError: the note gave nothing, so it is a reversal itself.
    """
    if given.minor <= 0:
        raise InputError("Only a credit note can be reversed", field="reversal", value=str(given))
    return Step(REVERSAL, -given, already - given)


def daily_shares(
    contract: Contract, to_date: Iterable[tuple[date, Attainment]], charge: Decimal | Fraction | str
) -> list[DayShare]:
    """Split a period's credit over its days as the change of the credit to date, which telescopes.

    A share is negative on a day that lifts the period back over a threshold. Judging each day by the tier
    table on its own would pay several times over.

    Args:
        contract: the contract.
        to_date: each day with the attainment from the period's start to the end of that day, in order.
        charge: of the whole period.
    """
    shares: list[DayShare] = []
    before = Money(contract.currency, 0)
    for day, attainment in to_date:
        accrued = credit_due(contract, attainment, charge).credit
        shares.append(DayShare(day, attainment, accrued, accrued - before))
        before = accrued
    return shares


def free_clock_hours(downtime: Iterable[Interval], longer_than_ms: int) -> tuple[Interval, ...]:
    """Return the UTC clock hours with an unbroken stretch of downtime longer than ``longer_than_ms``.

    AWS does not charge an EC2 instance for such an hour, without a claim. A stretch is cut at the hour, so
    five minutes before and four after the full hour free neither.
    """
    spans = union(downtime)
    free: list[Interval] = []
    for span in spans:
        for number in range(span.start // HOUR_MS, -(-span.end // HOUR_MS)):
            hour = Interval(number * HOUR_MS, (number + 1) * HOUR_MS)
            if clip((span,), hour)[0].length > longer_than_ms and hour not in free[-1:]:
                free.append(hour)
    return tuple(free)


def needs_review(attainment: Attainment) -> bool:
    """Tell whether a person must look before anything is decided: without data nothing was kept or broken."""
    return attainment.state is State.NO_DATA
