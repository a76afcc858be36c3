"""Two implementations of a credit agree: ours, and SQL in DuckDB that shares nothing with it but the documents."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.attainment import State
from mc_pipelines.sla.calendar import Cycle, Period, period_containing
from mc_pipelines.sla.contract import BadSlice, Contract, Exclusion, Measure, Signed
from mc_pipelines.sla.document import percent_text, seal_contract
from mc_pipelines.sla.evidence import Evidence
from mc_pipelines.sla.facts import Fact, Kind, fact_of
from mc_pipelines.sla.intervals import to_moment
from mc_pipelines.sla.judgement import judge
from mc_pipelines.sla.library import template, template_names
from mc_pipelines.sla.slices import DAY_MS, SliceDay, SliceRow, day_start_ms

SQL = Path(__file__).with_name("recompute.sql").read_text()
UNIT = 10**15
ZONES = ("UTC", "America/Denver", "Australia/Lord_Howe")
CASES = 3


def recomputed(sealed: Signed, evidence: Evidence) -> dict[str, Any]:
    given = {"contract": sealed.document.decode(), "evidence": evidence.to_bytes().decode()}
    with duckdb.connect() as connection:
        found = connection.execute(SQL, given)
        names = [column[0] for column in found.description or ()]
        [row] = found.fetchall()
    return dict(zip(names, row, strict=True))


def fact(kind: str, number: int, contract: Contract, low: int, high: int, **details: Any) -> Fact:
    document = {
        "id": f"{kind}-{number}",
        "tenant": "acme",
        "service": contract.service,
        "from": to_moment(low).isoformat(),
        "until": to_moment(high).isoformat(),
        "source": "test",
    }
    return fact_of(Kind(kind), document | details)


def facts_of_period(contract: Contract, period: Period, chance: random.Random) -> list[Fact]:
    window = period.interval
    found = []

    def somewhere(longest: int) -> tuple[int, int]:
        low = chance.randrange(window.start - longest, window.end)
        return low, low + chance.randrange(1, longest)

    for number in range(chance.randrange(6)):
        details = {
            "cause": "a switch",
            "faultOwner": chance.choice(["provider", "provider", "customer"]),
            "state": chance.choice(["closed", "closed", "open"]),
        }
        found.append(fact("incident", number, contract, *somewhere(chance.choice([60_000, DAY_MS])), **details))
    for number in range(chance.randrange(4)):
        low, high = somewhere(7 * 3_600_000)
        announced = to_moment(low + chance.choice([-3_600_000, 0, 1])).isoformat()
        details = {"announcedAt": announced} if chance.random() < 0.5 else {}
        found.append(fact("maintenance", number, contract, low, high, **details))
    found += [fact("deployment", n, contract, *somewhere(15 * DAY_MS)) for n in range(chance.randrange(1, 4))]
    for number in range(chance.choice([0, 1, 1, 2])):
        amount = f"{chance.randrange(10**7)}.{chance.randrange(10**4):04d}"
        found.append(
            fact("charge", number, contract, window.start, window.end, amount=amount, currency=contract.currency)
        )
    return found


def slices_of_period(contract: Contract, period: Period, chance: random.Random) -> list[SliceDay]:
    if not contract.counts_slices:
        return []
    days, (rate, most) = [], chance.choice([(0.0, 50), (0.0005, 400), (0.02, 3000), (0.3, 3000)])
    for day in chance.sample(period.utc_days(), k=chance.randrange(1, 5)):
        rows = []
        first = day_start_ms(day) // contract.granule_ms
        numbers = range(first, first + DAY_MS // contract.granule_ms)
        start = chance.randrange(len(numbers))
        for number in numbers[start : start + chance.choice([1, 40, 200])]:
            total = chance.randrange(1, most)
            excluded = chance.choice([0, 0, chance.randrange(total + 1)])
            bad = sum(chance.random() < rate for _ in range(min(60, total - excluded)))
            rows.append(SliceRow(number, total, bad, excluded))
        window = period.interval
        kept = [row for row in rows if window.start <= row.number * contract.granule_ms < window.end]
        days.append(SliceDay(TenantId("acme"), contract.service, day, contract.granule_ms, 0, tuple(kept)))
    return sorted((day for day in days if day.rows), key=lambda day: day.day)


def evidence_of(sealed: Signed, chance: random.Random) -> Evidence:
    contract = sealed.contract
    period = period_containing(date(2026, chance.choice([1, 3, 4, 10, 11]), 1), Cycle.MONTH, contract.zone)
    facts = sorted(facts_of_period(contract, period, chance), key=lambda one: (one.kind, one.fact_id))
    window = period.interval
    touching = [one for one in facts if one.interval.start < window.end and one.interval.end > window.start]
    slices = slices_of_period(contract, period, chance)
    return Evidence(TenantId("acme"), contract.service, period, sealed.digest, tuple(slices), tuple(touching))


def contracts() -> list[Contract]:
    """The published contracts, and ours that need a mode which none of them has."""
    found = [template(name).contract for name in template_names() if template(name).contract.tiers]
    s3, functions, vm = (
        template(name).contract for name in ("aws-s3-standard", "gcp-functions-2020", "azure-vm-zones")
    )
    loose = BadSlice(Fraction(5, 2), minimum_run=3, minimum_sample=2)
    return [
        *found,
        replace(s3, name="s3-bad-only", exclusion=Exclusion.BAD_ONLY, currency="BHD", minimum=Money("BHD", 1500)),
        replace(functions, name="functions-runs", bad_slice=loose, exclusion=Exclusion.BAD_ONLY, currency="JPY"),
        replace(vm, name="vm-both", exclusion=Exclusion.BOTH),
    ]


@pytest.mark.parametrize("contract", contracts(), ids=lambda contract: contract.name)
def test_both_give_the_same_state_tier_and_cents(contract: Contract) -> None:
    chance = random.Random(contract.name)  # noqa: S311 - cases, not secrets
    for number in range(CASES):
        sealed = seal_contract(replace(contract, zone=ZONES[number % len(ZONES)]))
        evidence = evidence_of(sealed, chance)
        ours, theirs = judge(sealed.contract, evidence), recomputed(sealed, evidence)
        attainment, decision = ours.attainment, ours.decision
        assert theirs["decided"], "a threshold within 10^-15 of a slice: not among these cases"
        assert (attainment.state.value, str(attainment.valid)) == (theirs["state"], theirs["valid"])
        lost = (attainment.valid - attainment.good) * UNIT
        assert int(theirs["lost_low"]) <= lost <= int(theirs["lost_high"])
        if contract.measure is not Measure.SLICE_MEAN:
            assert theirs["lost_low"] == theirs["lost_high"]
        assert (None if decision is None else str(decision.credit.minor)) == theirs["credit_minor"]
        if decision is not None and decision.tier is not None:
            assert percent_text(decision.tier.below) == theirs["tier_below"].rstrip("0").rstrip(".")


def test_touching_windows_of_maintenance_are_one_for_both() -> None:
    sealed = template("azure-functions-consumption")
    contract = sealed.contract
    period = period_containing(date(2026, 9, 1), Cycle.MONTH, "UTC")
    start = period.interval.start
    windows = [fact("maintenance", n, contract, start + n * 120_000, start + (n + 1) * 120_000) for n in range(3)]
    charge = fact("charge", 1, contract, start, period.interval.end, amount="100.00", currency="USD")
    row = SliceRow(start // contract.granule_ms, 100, 100, 0)
    later = SliceRow(row.number + 1, 100, 0, 0)
    day = SliceDay(TenantId("acme"), contract.service, period.first, contract.granule_ms, 0, (row, later))
    evidence = Evidence(TenantId("acme"), contract.service, period, sealed.digest, (day,), (*windows, charge))
    ours, theirs = judge(contract, evidence), recomputed(sealed, evidence)
    assert (ours.attainment.valid, ours.state) == (100, State.MET)
    assert (theirs["valid"], theirs["state"], theirs["credit_minor"]) == ("100", "met", "0")


def test_they_would_disagree_about_other_evidence() -> None:
    """The comparison can fail: one bad event more is seen by both."""
    sealed = template("azure-functions-consumption")
    start = datetime(2026, 9, 1, tzinfo=UTC)
    period = period_containing(start.date(), Cycle.MONTH, "UTC")
    number = day_start_ms(start.date()) // sealed.contract.granule_ms

    def evidence(bad: int) -> Evidence:
        day = SliceDay(
            TenantId("acme"),
            sealed.contract.service,
            start.date(),
            sealed.contract.granule_ms,
            0,
            (SliceRow(number, 10_000, bad, 0),),
        )
        return Evidence(TenantId("acme"), sealed.contract.service, period, sealed.digest, (day,), ())

    states = [
        (recomputed(sealed, evidence(bad))["state"], judge(sealed.contract, evidence(bad)).state) for bad in (5, 6)
    ]
    assert states == [("met", State.MET), ("breached", State.BREACHED)]
    assert period.interval.length == timedelta(days=30) // timedelta(milliseconds=1)
