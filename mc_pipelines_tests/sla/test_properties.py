"""What must hold for any facts: monotone credits, tiling calendars, telescoping days, one answer in two engines."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.attainment import (
    Counts,
    attain_events,
    attain_intervals,
    attain_slices,
    exact_text,
    parse_exact,
    round_down,
)
from mc_pipelines.sla.calendar import GRID_MS, Cycle, Period, period_containing
from mc_pipelines.sla.contract import Contract, Exclusion
from mc_pipelines.sla.credit import credit_due, daily_shares
from mc_pipelines.sla.document import seal_contract
from mc_pipelines.sla.facts import Kind
from mc_pipelines.sla.intervals import Interval, clip, subtract, total_length, union
from mc_pipelines.sla.judgement import attain, judge
from mc_pipelines.sla.library import template, template_names
from mc_pipelines_tests.sla.test_recompute import evidence_of, fact

WINDOW = period_containing(date(2026, 1, 1), Cycle.MONTH, "UTC").interval
HOUR = 3_600_000


def spans(most: int = 6) -> st.SearchStrategy[list[Interval]]:
    edge = st.integers(WINDOW.start - 40 * HOUR, WINDOW.end + 40 * HOUR)
    one = st.tuples(edge, st.integers(1, 200 * HOUR)).map(lambda pair: Interval(pair[0], pair[0] + pair[1]))
    return st.lists(one, max_size=most)


def credit(contract: Contract, downtime: list[Interval], exclusions: list[Interval], charge: str = "1000.00") -> int:
    attainment = attain_intervals(contract, WINDOW, downtime, exclusions=exclusions, deployed=[WINDOW])
    return credit_due(contract, attainment, charge).credit.minor


def downtime_contracts() -> list[Contract]:
    found = [template(name).contract for name in template_names()]
    return [contract for contract in found if not contract.counts_slices and contract.tiers]


@pytest.mark.parametrize("contract", downtime_contracts(), ids=lambda contract: contract.name)
@given(downtime=spans(), more=spans(2), exclusions=spans(3), wider=spans(2))
@settings(max_examples=40, deadline=None)
def test_more_downtime_never_lowers_and_wider_exclusion_never_raises(
    contract: Contract,
    downtime: list[Interval],
    more: list[Interval],
    exclusions: list[Interval],
    wider: list[Interval],
) -> None:
    base = credit(contract, downtime, exclusions)
    assert credit(contract, downtime + more, exclusions) >= base
    assert credit(contract, downtime, exclusions + wider) <= base


def counted_contracts() -> list[Contract]:
    found = [template(name).contract for name in template_names()]
    return [contract for contract in found if contract.counts_slices]


@pytest.mark.parametrize("contract", counted_contracts(), ids=lambda contract: contract.name)
@given(
    raw=st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 4000), st.integers(0, 4000)), max_size=12),
    worse=st.dictionaries(st.integers(0, 30), st.integers(0, 4000), max_size=4),
    more=st.dictionaries(st.integers(0, 30), st.integers(0, 4000), max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_more_bad_events_never_lower_and_excluding_them_never_raises(
    contract: Contract, raw: dict[int, tuple[int, int]], worse: dict[int, int], more: dict[int, int]
) -> None:
    """An event that turns bad never lowers a credit; a bad one that is excluded never raises it."""
    contract = replace(contract, exclusion=Exclusion.BAD_ONLY)
    base = {number: Counts(max(pair), min(pair)) for number, pair in raw.items()}
    turned = {n: Counts(c.total, min(c.total, c.bad + worse.get(n, 0))) for n, c in base.items()}
    excused = {
        n: Counts(c.total, c.bad - min(c.bad, more.get(n, 0)), min(c.bad, more.get(n, 0))) for n, c in base.items()
    }

    def credit_of(slices: dict[int, Counts]) -> int:
        if contract.slice_ms is None:
            attainment = attain_events(contract, sum(slices.values(), Counts(0, 0)))
        else:
            attainment = attain_slices(contract, slices, 31)
        return credit_due(contract, attainment, "1000.00").credit.minor

    assert credit_of(excused) <= credit_of(base) <= credit_of(turned)


@given(downtime=spans(), order=st.randoms(use_true_random=False))
def test_order_overlap_and_cuts_of_intervals_change_nothing(downtime: list[Interval], order: object) -> None:
    shuffled = list(downtime)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert union(shuffled) == union(downtime) == union(union(downtime))
    assert subtract(downtime, downtime) == ()
    inside = clip(downtime, WINDOW)
    assert total_length(inside) + total_length(subtract(downtime, [WINDOW])) == total_length(downtime)


@given(
    bad=st.lists(st.integers(0, 40), min_size=1, max_size=31),
    charge=st.decimals(0, 100_000, places=2),
)
def test_days_sum_to_the_periods_credit(bad: list[int], charge: object) -> None:
    contract = replace(template("azure-functions-consumption").contract, exclusion=Exclusion.BOTH)
    so_far, to_date = Counts(0, 0), []
    for number, failed in enumerate(bad):
        so_far += Counts(1000, failed)
        to_date.append((date(2026, 1, 1) + timedelta(days=number), attain_events(contract, so_far)))
    shares = daily_shares(contract, to_date, str(charge))
    total = sum((share.share for share in shares), Money("USD", 0))
    assert total == credit_due(contract, to_date[-1][1], str(charge)).credit


@pytest.mark.parametrize("name", ["aws-s3-standard", "gcp-functions-2020", "azure-vm-zones", "aws-compute-region"])
def test_days_of_every_measure_sum_to_the_periods_credit(name: str) -> None:
    chance = random.Random(name)  # noqa: S311 - cases, not secrets
    contract = replace(template(name).contract, zone="America/Denver")
    for _ in range(3):
        sealed = seal_contract(contract)
        evidence = evidence_of(sealed, chance)
        whole = [one for one in evidence.facts if one.kind is not Kind.CHARGE]
        window = evidence.period.interval
        charge = fact("charge", 1, contract, window.start, window.end, amount="987.65", currency="USD")
        judgement = judge(contract, replace(evidence, facts=(*whole, charge)))
        assert len(judgement.days) == (evidence.period.last - evidence.period.first).days + 1
        if judgement.decision is not None:
            assert sum(share.share.minor for share in judgement.days) == judgement.decision.credit.minor


@pytest.mark.parametrize("name", ["aws-s3-standard", "gcp-functions-2020"])
@pytest.mark.parametrize("length_ms", [300_000, HOUR, 7 * HOUR])
def test_each_day_is_judged_as_the_period_up_to_it(name: str, length_ms: int) -> None:
    """Also where a midnight cuts a slice, as in Lord Howe's half-hour change and with seven hours always."""
    contract = replace(template(name).contract, zone="Australia/Lord_Howe", slice_ms=length_ms)
    evidence = evidence_of(seal_contract(contract), random.Random(7 + length_ms))  # noqa: S311 - cases, not secrets
    days = judge(contract, evidence).days
    expected = [attain(contract, evidence, evidence.period.until(share.day)) for share in days]
    assert [share.attainment for share in days] == expected
    assert len({one.good for one in expected}) > 2


@given(st.dictionaries(st.integers(0, 99), st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=40))
def test_slice_means_are_those_of_the_definition(raw: dict[int, tuple[int, int]]) -> None:
    contract = template("aws-s3-standard").contract
    slices = {index: Counts(max(pair), min(pair)) for index, pair in raw.items()}
    rates = [Fraction(counts.bad, counts.total) for counts in slices.values() if counts.total]
    assert attain_slices(contract, slices, 100).percent == 100 * (1 - sum(rates, Fraction(0)) / 100)


@given(st.fractions())
def test_exact_text_reads_back_and_shown_never_flatters(value: Fraction) -> None:
    assert parse_exact(exact_text(value)) == value
    assert Fraction(round_down(value, 9)) <= value < Fraction(round_down(value, 9)) + Fraction(1, 10**9)


def test_huge_fractions_have_a_text_too() -> None:
    value = Fraction(3**20000 + 1, 7**15000)
    assert parse_exact(exact_text(value)) == value


@pytest.mark.slow
def test_all_days_of_all_zones_tile() -> None:
    """Every local day of every zone, 2024 to 2030: no gap, no overlap, on the grid, and of a length that days have."""
    first, last = date(2024, 1, 1), date(2030, 12, 31)
    for zone in sorted(available_timezones()):
        period = Period(first, last, zone)
        end, total = period.interval.start, 0
        for day in period.days():
            window = day.interval
            assert window.start == end, (zone, day.first)
            assert window.end % GRID_MS == 0, (zone, day.first)
            assert 22 * HOUR <= window.length <= 26 * HOUR, (zone, day.first)
            end, total = window.end, total + window.length
        assert (end, total) == (period.interval.end, period.interval.length), zone


def test_all_zones_tile_on_the_grid() -> None:
    """Every zone-month of 2024 to 2030: days and months follow each other without gap, on the 15-minute grid."""
    starts = [date(2024 + number // 12, number % 12 + 1, 1) for number in range(7 * 12)]
    for zone in sorted(available_timezones()):
        end = None
        for first in starts:
            window = period_containing(first, Cycle.MONTH, zone).interval
            assert end in {None, window.start}, zone
            assert window.start % GRID_MS == window.end % GRID_MS == 0, zone
            end = window.end


@pytest.mark.parametrize(
    "zone", ["America/Denver", "Australia/Lord_Howe", "America/Havana", "Africa/Cairo", "Asia/Beirut"]
)
def test_local_days_tile_the_months_with_a_change(zone: str) -> None:
    for month in range(1, 13):
        period = period_containing(date(2026, month, 1), Cycle.MONTH, zone)
        days = [day.interval for day in period.days()]
        assert days[0].start == period.interval.start
        assert days[-1].end == period.interval.end
        assert all(one.end == other.start for one, other in pairwise(days))
        assert {day.length // HOUR for day in days} <= {23, 24, 25}


@given(st.dates(date(2024, 1, 1), date(2030, 12, 31)), st.integers(0, 40))
def test_a_period_knows_the_utc_days_it_touches(first: date, length: int) -> None:
    period = Period(first, first + timedelta(days=length), "Pacific/Auckland")
    days = period.utc_days()
    assert days[0] == period.start.date()
    assert days[-1] == (period.end - timedelta(microseconds=1)).date()
    assert len(days) == (days[-1] - days[0]).days + 1
