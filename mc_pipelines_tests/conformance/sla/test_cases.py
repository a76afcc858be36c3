"""Every worked case of data_dir/sla/cases.json, exactly: fractions, tiers, cents and reasons."""

from __future__ import annotations

import json
import os
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.foundation.clock import parse_utc
from mc_pipelines.foundation.ids import ServiceId
from mc_pipelines.foundation.money import Money, decimal_text
from mc_pipelines.sla.attainment import (
    Attainment,
    Counts,
    State,
    attain_events,
    attain_intervals,
    attain_milliseconds,
    attain_slices,
    bad_runs,
)
from mc_pipelines.sla.calendar import Cycle, local_date, parse_period, period_containing
from mc_pipelines.sla.contract import (
    MINUTE_MS,
    BadSlice,
    Contract,
    EmptySlice,
    Exclusion,
    Measure,
    Objective,
    Restatement,
    Source,
    Tier,
)
from mc_pipelines.sla.credit import credit_due, daily_shares, free_clock_hours, restate
from mc_pipelines.sla.intervals import Interval, clip, subtract, total_length
from mc_pipelines.sla.library import template, template_names


def _folder() -> Path:
    return Path(os.environ.get("MC_DATA_DIR", Path(__file__).parents[4] / "shared" / "data")) / "sla"


def _document() -> dict[str, Any]:
    path = _folder() / "cases.json"
    return json.loads(path.read_text()) if path.is_file() else {"contracts": [], "cases": []}


DOCUMENT = _document()
CONTRACTS = {entry["id"]: entry for entry in DOCUMENT["contracts"]}


def measure_of(entry: dict[str, Any]) -> tuple[Measure, int | None]:
    text = entry["measure"]
    if text.startswith("mean_of_5min"):
        return Measure.SLICE_MEAN, 5 * MINUTE_MS
    if text.startswith("mean_of_hourly"):
        return Measure.SLICE_MEAN, 60 * MINUTE_MS
    if text.startswith("minutes_in_downtime_periods"):
        return Measure.BAD_RUNS, MINUTE_MS
    if text.startswith("good_over_total"):
        return Measure.EVENTS, None
    if text.startswith("minutes_down_over_maximum"):
        return Measure.DEPLOYED_DOWNTIME, None
    return Measure.DOWNTIME, None


def contract_of(entry: dict[str, Any], currency: str) -> Contract:
    """Our contract of a published one, from the terms that the case file states."""
    measure, slice_ms = measure_of(entry)
    tiers = tuple(Tier(Fraction(t["below_pct"]), Fraction(t["credit_pct"])) for t in entry["tiers"])
    minimum = entry.get("min_credit_exclusive")
    bad = None
    if measure is Measure.BAD_RUNS:
        bad = BadSlice(Fraction(entry["error_rate_gt_pct"]), entry["min_consecutive_minutes"], entry["min_requests"])
    return Contract(
        name=entry["id"],
        version=1,
        title=entry["id"],
        service=ServiceId("service"),
        objective=Objective.AVAILABILITY,
        measure=measure,
        source=Source.EXECUTIONS,
        target=tiers[0].below if tiers else Fraction(100),
        cycle=Cycle.MONTH,
        zone="UTC",
        currency=currency,
        tiers=tiers,
        cap=Fraction(entry.get("cap_pct", "100")),
        minimum=None if minimum is None else Money.of(minimum, entry["min_credit_currency"]),
        slice_ms=slice_ms,
        empty_slice=EmptySlice.GOOD,
        bad_slice=bad,
        exclusion=Exclusion.BAD_ONLY if measure in {Measure.DOWNTIME, Measure.DEPLOYED_DOWNTIME} else Exclusion.BOTH,
    )


def interval(pair: list[str]) -> Interval:
    return Interval.between(*(parse_utc(text, field="interval") for text in pair))


def nine_places(value: Fraction | None) -> str | None:
    if value is None:
        return None
    scaled = value * 10**9
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    digits = str(whole + (2 * rest >= scaled.denominator)).rjust(10, "0")
    return f"{digits[:-9]}.{digits[-9:]}"


def counts_of(slices: list[dict[str, int]]) -> list[Counts]:
    return [Counts(entry["total"], entry["bad"], entry.get("excluded", 0)) for entry in slices]


def attain(contract: Contract, given: dict[str, Any], expect: dict[str, Any]) -> Attainment:
    """Measure a case in whichever of the five ways its input asks for."""
    if "slices_in_period" in given:
        counts = counts_of(given["slices_with_requests"])
        return attain_slices(contract, dict(enumerate(counts)), given["slices_in_period"])
    if "minute_runs" in given:
        minutes: list[Counts] = []
        for run in given["minute_runs"]:
            minutes += [Counts(run["total"], run["bad"])] * run["minutes"]
        slices = dict(enumerate(minutes))
        assert contract.bad_slice is not None
        runs = bad_runs(contract.bad_slice, contract.exclusion, slices)
        assert sum(length for _, length in runs) == expect["downtime_minutes"]
        return attain_slices(contract, slices, given["total_minutes"])
    if "total_events" in given:
        counts = Counts(given["total_events"], given["bad_events"], given["excluded_events"])
        assert counts.valid(contract.exclusion) == expect["valid_events"]
        return attain_events(contract, counts)
    window = Interval.between(*(parse_utc(given[name], field=name) for name in ("period_start", "period_end")))
    if "deployed_minutes" in given:
        deployed = contract.measure is Measure.DEPLOYED_DOWNTIME
        available = given["deployed_minutes"] * MINUTE_MS if deployed else window.length
        assert available == expect["denominator_minutes"] * MINUTE_MS
        return attain_milliseconds(contract, given["downtime_minutes"] * MINUTE_MS, available)
    assert window.length == expect["period_seconds"] * 1000
    zone = given["time_zone"]
    month = period_containing(local_date(parse_utc(given["period_start"], field="period"), zone), Cycle.MONTH, zone)
    assert month.interval == window, "our calendar gives the same instants"
    if "downtime_ms" in given:
        return attain_milliseconds(contract, given["downtime_ms"], window.length)
    downtime = [interval(pair) for pair in given["incidents"]]
    exclusions = [interval(pair) for pair in given["exclusions"]]
    counted = total_length(subtract(clip(downtime, window), exclusions))
    assert counted == expect["counted_downtime_ms"]
    deployed_all = [window]
    return attain_intervals(contract, window, downtime, exclusions=exclusions, deployed=deployed_all)


def check_restatements(contract: Contract, given: dict[str, Any], expect: dict[str, Any]) -> None:
    already = Money(contract.currency, 0)
    policy = Restatement(given["policy"].replace("_", "-"))
    for counts, document in zip(counts_of(given["restatements"]), expect["documents"], strict=True):
        attainment = attain_events(contract, counts)
        entitled = credit_due(contract, attainment, given["charges"]).credit
        step = restate(policy, entitled, already)
        already = step.balance
        assert {
            "uptime_pct_9dp": nine_places(attainment.percent),
            "entitled": decimal_text(entitled.amount),
            "document": step.document,
            "amount": decimal_text(step.amount.amount),
            "balance_after": decimal_text(step.balance.amount),
        } == document


def check_days(contract: Contract, given: dict[str, Any], expect: dict[str, Any]) -> None:
    so_far = Counts(0, 0)
    to_date = []
    for number, counts in enumerate(counts_of(given["days"])):
        so_far += counts
        to_date.append((date(2026, 1, 1) + timedelta(days=number), attain_events(contract, so_far)))
    shares = daily_shares(contract, to_date, given["charges"])
    assert [
        {
            "to_date_uptime_9dp": nine_places(share.attainment.percent),
            "accrued_to_date": decimal_text(share.accrued.amount),
            "delta": decimal_text(share.share.amount),
        }
        for share in shares
    ] == expect["rows"]
    total = sum((share.share for share in shares), Money(contract.currency, 0))
    assert decimal_text(total.amount) == expect["period_credit"]


@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["id"])
def test_published_case(case: dict[str, Any]) -> None:
    given, expect = case["input"], case["expect"]
    contract = contract_of(CONTRACTS[case["contract"]], given["currency"])
    if "hourly_charge" in given:
        free = free_clock_hours([interval(pair) for pair in given["incidents"]], 6 * MINUTE_MS)
        assert len(free) == expect["uncharged_clock_hours"]
        credit = Money.of(Fraction(given["hourly_charge"]) * len(free), given["currency"])
        assert decimal_text(credit.amount) == expect["credit"]
        return
    if "restatements" in given:
        check_restatements(contract, given, expect)
        return
    if "days" in given:
        check_days(contract, given, expect)
        return
    attainment = attain(contract, given, expect)
    decision = credit_due(contract, attainment, given["charges"])
    percent = attainment.percent
    assert (None if percent is None else f"{percent.numerator}/{percent.denominator}") == expect["uptime_pct_exact"]
    assert nine_places(percent) == expect["uptime_pct_9dp"]
    assert decision.percent == Fraction(expect["credit_pct"])
    assert decimal_text(decision.computed.amount) == expect["computed_credit"]
    assert decimal_text(decision.credit.amount) == expect["credit"]
    assert decision.due is expect["issued"]
    if expect["reason"] in {None, "no breach", "no valid events"}:
        assert decision.reason == expect["reason"]
    else:
        assert decision.reason, "a credit that is not issued says why"
    breached = percent is not None and bool(contract.tiers) and percent < contract.target
    assert (attainment.state is State.BREACHED) is breached


def test_there_are_cases(data_dir: Path) -> None:
    assert len(json.loads((data_dir / "sla" / "cases.json").read_text())["cases"]) >= 46


@pytest.mark.parametrize("name", template_names())
def test_template_states_the_published_terms(name: str, data_dir: Path) -> None:
    published = CONTRACTS[name]
    ours, stated = template(name).contract, contract_of(published, "USD")
    assert (ours.measure, ours.tiers, ours.cap, ours.minimum) == (
        stated.measure,
        stated.tiers,
        stated.cap,
        stated.minimum,
    )
    assert (ours.slice_ms, ours.bad_slice) == (stated.slice_ms, stated.bad_slice)
    assert ours.source_text


def test_the_sample_period_is_seven_local_days() -> None:
    period = parse_period("2026-01-19/2026-01-25", "America/Denver")
    assert len(list(period.days())) == 7
    assert period.start.isoformat() == "2026-01-19T07:00:00+00:00"
    assert period.end.isoformat() == "2026-01-26T07:00:00+00:00"
