"""A thousand incidents: each ends in one note or one signed reason, and a note that is lost raises the alert."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mc_pipelines.attest.log import sequence
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.sla.completeness import attest_completeness, check_completeness
from mc_pipelines.sla.contract_store import assign_contract, register_contract
from mc_pipelines.sla.determination import determine
from mc_pipelines.sla.document import load_contract
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.issue import issue_completed
from mc_pipelines.sla.limits import Limits
from mc_pipelines.sla.metrics import sla_metrics
from mc_pipelines.sla.review import approve
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.sla.conftest import CONTRACT, FIRST_DAY, World
from mc_pipelines_tests.sla.test_determination import incident
from mc_pipelines_tests.sla.test_pack import trust_of

pytestmark = pytest.mark.database

INCIDENTS, TENANTS = 1000, 40
DOWNTIME = CONTRACT.replace("source: executions", "source: incidents").replace("measure: events", "measure: downtime")
DOWNTIME = DOWNTIME.replace("budgetingMethod: Occurrences", "budgetingMethod: Timeslices")
START = datetime(2026, 1, 19, 7, tzinfo=UTC)
UNLIMITED = Limits(maker_day={})


def injected() -> Iterator[dict[str, Any]]:
    """Incidents of every sort; the last ten tenants have had only the customer's own or none that counts."""
    chance = random.Random(1000)  # noqa: S311 - a seeded world
    for number in range(INCIDENTS):
        tenant = number % TENANTS
        begin = START + timedelta(seconds=chance.randrange(6 * 86_400))
        quiet = tenant >= TENANTS - 10
        yield incident(
            f"INC-{number:04d}",
            service="ingress",
            tenant=f"tenant-{tenant:02d}",
            faultOwner="customer" if quiet else chance.choice(["provider", "provider", "customer"]),
            **{"from": begin.isoformat(), "until": (begin + timedelta(minutes=chance.randrange(1, 40))).isoformat()},
        )


@pytest.fixture
def month(world: World) -> World:
    sealed = load_contract(DOWNTIME.replace("service: pipelines", "service: ingress").replace("acme-", "ingress-"))
    now = world.clock.now()
    with world.database.begin() as connection:
        register_contract(connection, sealed, world.service_signer, now=now)
        for number in range(TENANTS):
            tenant = TenantId(f"tenant-{number:02d}")
            put_tenant(connection, Tenant(tenant, "America/Denver", "USD"), now=now)
            assign_contract(connection, tenant, sealed.digest, first_day=FIRST_DAY, last_day=date(2026, 1, 25), now=now)
    world.ingest("incident", *injected())
    for number in range(TENANTS):
        world.charge(f"{100 + number}.50", identity=f"inv-{number}", tenant=f"tenant-{number:02d}", service="ingress")
    for outcome in draft_credits(world.database, world.clock, limits=UNLIMITED):
        if outcome.draft is not None:
            for person in (world.maker, world.checker):
                envelope = world.signed_by(person, outcome.draft)
                approve(world.database, world.clock, outcome.draft.draft_id, person, envelope, limits=UNLIMITED)
    issue_completed(world.database, world.clock)
    determine(world.database, world.clock, world.service_signer)
    return world


def rows(world: World, query: str) -> list[Any]:
    with world.database.begin() as connection:
        return list(connection.execute(text(query)))


def measured(world: World) -> dict[str, float]:
    with world.database.begin() as connection:
        families = {family.name: family for family in sla_metrics(connection)}
    return {sample.labels["what"]: sample.value for sample in families["mc_sla_missing"].samples}


def test_every_incident_ends_once_and_a_lost_note_is_found(month: World, database: TestDatabase) -> None:
    with month.database.begin() as connection:
        found = check_completeness(connection)
    assert found.ok, found
    outcomes = rows(month, "select incident_id, number, reason from sla_outcome")
    assert len(outcomes) == len({row.incident_id for row in outcomes}) == INCIDENTS
    notes, breached = (
        rows(month, "select tenant from sla_note"),
        rows(month, "select distinct tenant from sla_judgement where state = 'breached' and entitled_minor > 0"),
    )
    assert sorted(notes) == sorted(breached), "notes == breaches, both ways"
    assert 25 <= len(notes) <= 30
    assert sum(row.number is None for row in outcomes) >= 250, "determinations with a reason"

    assert attest_completeness(month.database, month.clock, month.service_signer).ok
    assert set(measured(month).values()) == {0.0}

    # The drill: somebody with the owner's power deletes one note and what hangs on it.
    lost = min(row.number for row in outcomes if row.number)
    with database.owner.begin() as connection:
        for table in ("sla_outcome", "sla_timestamp", "sla_note"):
            connection.execute(text(f"alter table {table} disable trigger user"))
            connection.execute(text(f"delete from {table} where number = '{lost}'"))
    again = attest_completeness(month.database, month.clock, month.service_signer)
    assert again.leaves_without_note == (lost,)
    assert len(again.breaches_without_note) == 1
    assert len(again.incidents_without_outcome) > 0
    assert not again.ok
    alerting = {name for name, value in measured(month).items() if value}
    assert {"leaves_without_note", "breaches_without_note", "incidents_without_outcome"} <= alerting


def test_the_result_is_signed_and_logged_once(world: World) -> None:
    world.breach()
    world.issue()
    for _ in range(2):
        attest_completeness(world.database, world.clock, world.service_signer)
    sequence(world.database, world.service_signer, world.clock)
    [row] = rows(
        world,
        "select c.content from attest_log_leaf l join attest_log_content c using (content_digest)"
        " where l.act = 'credits.completeness-checked'",
    )
    report = verify_file(bytes(row.content), trust_of(world))
    assert report.ok, report.problems
    assert any("found missing among incidents, breaches and notes: nothing" in line for line in report.proved)


def test_a_note_with_another_envelope_than_the_log_holds_is_found(world: World, database: TestDatabase) -> None:
    world.breach()
    issued = world.issue()
    owner: Database = database.owner
    with owner.begin() as connection:
        connection.execute(text("alter table sla_note disable trigger user"))
        connection.execute(text("update sla_note set envelope = envelope || '\\x20'::bytea"))
    with world.database.begin() as connection:
        assert check_completeness(connection).notes_without_leaf == (issued.number,)
