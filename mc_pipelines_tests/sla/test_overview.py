"""The metric, the tables and the pictures of a breach; budgets and burn rates; what a late fact changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.metrics import render
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.assessment import assess_all, periods_of
from mc_pipelines.sla.budget import burns, error_budget
from mc_pipelines.sla.contract_store import list_assignments
from mc_pipelines.sla.counterfactual import counterfactuals
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.metrics import sla_metrics
from mc_pipelines.sla.overview import breach_rows, exposure, outcome_rows, standing_rows
from mc_pipelines.sla.pictures import attainment_calendar, budget_burn_down, credit_exposure
from mc_pipelines.sla.report import make_report
from mc_pipelines.sla.restatement import restated_between
from mc_pipelines.sla.review import reject
from mc_pipelines_tests.sla.conftest import World, execution

pytestmark = pytest.mark.database


def metric(world: World) -> dict[tuple[str, ...], float]:
    found = {}
    with world.database.begin() as connection:
        for family in sla_metrics(connection):
            for sample in family.samples:
                if sample.name == "mc_sla_breach_usd":
                    found[tuple(sample.labels[name] for name in ("tenant", "service", "objective"))] = sample.value
    return found


def test_the_breach_in_dollars_follows_the_judgements(world: World) -> None:
    assert metric(world) == {}
    world.breach()
    assess_all(world.database, world.clock)
    assert metric(world) == {("acme", "pipelines", "availability"): 123.45}
    # The charge was wrong: what is owed follows, and with it the metric.
    world.charge("2000.00")
    assess_all(world.database, world.clock)
    assert metric(world) == {("acme", "pipelines", "availability"): 200.0}


def test_tables_pictures_and_report_show_the_breach_and_name_no_tenant(world: World) -> None:
    world.breach()
    found = assess_all(world.database, world.clock)
    assert standing_rows(found) == [("pipelines", "availability", "breached", "closed", 1)]
    [row] = breach_rows(found)
    assert row == (
        "pipelines",
        "availability",
        "2026-01-19/2026-01-25",
        1,
        Decimal("99.700000000"),
        "123.45 USD",
        0,
    )
    with world.database.begin() as connection:
        amounts = exposure(connection, found)
    assert amounts["owed, not drafted"] == [Money("USD", 12345)]
    world.draft()
    with world.database.begin() as connection:
        drafted = exposure(connection, found)
    assert drafted["waiting for signatures"] == [Money("USD", 12345)]
    assert drafted["owed, not drafted"] == []
    for svg in (attainment_calendar(found), budget_burn_down(found), credit_exposure(drafted)):
        text = " ".join(ET.fromstring(svg).itertext())  # noqa: S314 - our own drawing
        assert "acme" not in text
    assert "123.45" in credit_exposure(drafted)
    assert "pipelines, availability" in attainment_calendar(found)
    assert attainment_calendar([]).startswith("<svg")
    with world.database.begin() as connection:
        report = make_report(connection, TenantId("acme"), "2026-01-19", now=world.clock.now(), pictures=True)
    assert report.to_html().count("<svg") == 2
    [contract] = report.contracts
    assert (contract["budgetLeft"], contract["burnRate"]) == ("-2.000", "3.000")


def test_budget_and_burn_over_windows_are_exact(world: World) -> None:
    # 1,000 attempts an hour; from 18:00 on 21 January every tenth of an hour's fails.
    start = timedelta(days=2)
    rows = [execution(n, day=2, outcome="failed" if n % 10 == 0 else "succeeded") for n in range(0, 3600, 4)]
    rows += [execution(n, day=1, execution_id=str(UUID(int=10**6 + n))) for n in range(0, 3600, 4)]
    world.facts(rows)
    world.roll()
    at = datetime(2026, 1, 19, 19, tzinfo=UTC) + start
    world.clock.advance(at - world.clock.now())
    [one] = assess_all(world.database, world.clock)
    contract = one.assigned.contract
    fast, slow, ticket = burns(contract, one.evidence, at)
    hour = Fraction(180, 900)  # of n in 0, 4, 8, ... every fifth is a multiple of ten
    assert fast.long == fast.short == hour / Fraction(1, 1000)
    assert slow.long == fast.long  # nothing ran in the five hours before
    assert ticket.long == Fraction(180, 1800) * 1000
    assert [burn.fires for burn in (fast, slow, ticket)] == [True, True, True]
    budget = error_budget(contract, one.judgement.attainment, one.evidence.period)
    assert (budget.allowed, budget.spent) == (Fraction(1800, 1000), 180)
    quiet = burns(contract, one.evidence, at + timedelta(hours=2))
    assert [(burn.short, burn.fires) for burn in quiet] == [(None, False), (None, False), (hour * 1000, True)]


def test_a_late_fact_is_told_by_its_difference(world: World) -> None:
    world.breach()
    before = world.clock.now()
    world.clock.advance(timedelta(days=1))
    late = execution(500, outcome="failed", day=3, recorded_at=world.clock.now())
    world.facts([late | {"execution_id": str(UUID(int=10**6))}])
    assert [(one.day.isoformat(), one.changed) for one in world.roll()] == [("2026-01-22", 2)]
    with world.database.begin() as connection:
        [assigned] = list_assignments(connection)
        [period] = periods_of(assigned, world.clock.now())
        now = world.clock.now()
        difference = restated_between(connection, assigned, period, before=before, after=now, now=now)
        nothing = restated_between(connection, assigned, period, before=now, after=now, now=now)
    [changed] = difference.slices
    assert (changed.name, changed.before[1], changed.after[1]) == ("2026-01-22T18:05:00Z", 0, 1)
    assert changed.after[0] == changed.before[0] + 1
    figures = {change.name: (change.before, change.after) for change in difference.figures}
    assert figures["valid"] == ("1000", "1001")
    assert difference.facts == ()
    assert not nothing.changed


def test_metrics_are_exposed(world: World) -> None:
    world.breach()
    assess_all(world.database, world.clock)
    text = render(world.database).decode()
    assert 'mc_sla_breach_usd{objective="availability",service="pipelines",tenant="acme"} 123.45' in text


def test_the_same_month_under_published_contracts(world: World) -> None:
    world.breach()
    [one] = assess_all(world.database, world.clock)
    found = {each.template: each for each in counterfactuals(one.assigned.contract, one.evidence)}
    # 997 of 1,000: below 99.95, not below 99.
    assert found["azure-functions-consumption"].credit == Money("USD", 12345)
    # The mean of error rates over the slices of a week, almost all of them empty and so good.
    assert found["aws-s3-standard"].state == "met"
    assert found["gcp-functions-2020"].reason == "needs slices of 1m, and longer ones were counted"
    assert found["azure-vm-zones"].reason == "nobody recorded when it was deployed"
    assert found["aws-compute-region"].reason == "no breach"
    assert found["aws-compute-region"].credit == Money("USD", 0)


@pytest.mark.database
def test_what_is_shown_without_a_login_repeats_nothing_that_may_name_a_tenant(world: World) -> None:
    world.breach()
    draft = world.draft()
    reject(world.database, world.clock, draft.draft_id, world.checker, "acme disputes the invoice")
    assert outcome_rows(draft_credits(world.database, world.clock)) == [("rejected", "", 1)]
    world.charge("5", identity="acme/invoice-8", currency="EUR")
    assert outcome_rows(draft_credits(world.database, world.clock)) == [("hold", "A charge is in another currency", 1)]
