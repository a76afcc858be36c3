"""A small world for credits: a tenant, its contract, facts with a breach, a maker and a checker with keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.executions.facts import facts_frame, write_facts
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import PersonId, TenantId
from mc_pipelines.foundation.object_store import ObjectStore, open_object_store
from mc_pipelines.foundation.tenants import Person, Tenant, put_person, put_tenant
from mc_pipelines.sla.contract import Signed
from mc_pipelines.sla.contract_store import assign_contract, register_contract
from mc_pipelines.sla.document import load_contract
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.draft_store import Draft
from mc_pipelines.sla.fact_store import ingest_facts
from mc_pipelines.sla.facts import Kind, fact_of
from mc_pipelines.sla.issue import issue_completed
from mc_pipelines.sla.note_store import Issued
from mc_pipelines.sla.review import approve
from mc_pipelines.sla.rollup import roll_up
from mc_pipelines_tests.conftest import TestDatabase

CONTRACT = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: acme-pipelines, displayName: Acme pipelines}
spec:
  service: pipelines
  indicator: {metadata: {name: availability}}
  timeWindow:
    - duration: 1w
      isRolling: false
      calendar: {startTime: "2026-01-19 00:00:00", timeZone: America/Denver}
  budgetingMethod: Occurrences
  objectives: [{target: 0.999}]
  x-credit:
    version: 1
    measure: events
    source: executions
    currency: USD
    rounding: half-up
    exclusions: both
    tiers: [{below: 99.9, credit: 10}, {below: 99.0, credit: 25}, {below: 95.0, credit: 100}]
"""
FIRST_DAY = date(2026, 1, 19)
CLOSED_AT = datetime(2026, 1, 29, 17, tzinfo=UTC)


def execution(number: int, *, outcome: str = "succeeded", day: int = 0, **changes: Any) -> dict[str, Any]:
    """One execution fact of the seed's week, in Denver's working hours."""
    finished = datetime(2026, 1, 19, 18, tzinfo=UTC) + timedelta(days=day, seconds=number)
    row = {
        "execution_id": str(UUID(int=number + 1)),
        "attempt": 1,
        "tenant": "acme",
        "workflow": "nightly",
        "service": "pipelines",
        "cloud": "AWS",
        "region": "us-east-1",
        "published_at": finished - timedelta(seconds=30, milliseconds=350),
        "started_at": finished - timedelta(seconds=30),
        "finished_at": finished,
        "outcome": outcome,
        "fault_owner": "provider" if outcome in {"failed", "lost"} else "none",
        "resource_seconds": 30.0,
        "price_id": "p1",
        "cost_minor": 12,
        "currency": "USD",
        "features": [],
        "source": "constructed",
        "recorded_at": finished + timedelta(minutes=1),
    }
    return row | changes


@dataclass
class World:
    """Everything a credit needs."""

    database: Database
    store: ObjectStore
    clock: FrozenClock
    sealed: Signed
    service_signer: LocalSigner
    maker: Person
    checker: Person
    keys: dict[str, LocalSigner]

    def facts(self, rows: list[dict[str, Any]]) -> None:
        write_facts(self.store, facts_frame(rows))

    def roll(self) -> Any:
        return roll_up(self.database, self.store, self.clock)

    def ingest(self, kind: str, *documents: dict[str, Any]) -> Any:
        with self.database.begin() as connection:
            facts = [fact_of(Kind(kind), document) for document in documents]
            return ingest_facts(connection, facts, now=self.clock.now())

    def charge(self, amount: str = "1234.50", *, identity: str = "invoice-7", **changes: Any) -> Any:
        document = {
            "id": identity,
            "tenant": "acme",
            "service": "pipelines",
            "from": "2026-01-19T07:00:00Z",
            "until": "2026-01-26T07:00:00Z",
            "amount": amount,
            "currency": "USD",
            "source": "billing",
        }
        return self.ingest("charge", document | changes)

    def breach(self) -> None:
        """1,000 executions of which 3 failed, and the charge: the seed's sample."""
        bad = {100, 200, 300}
        self.facts([execution(n, outcome="failed" if n in bad else "succeeded", day=n % 5) for n in range(1000)])
        self.roll()
        self.charge()

    def person(
        self, name: str, role: str, number: int, *, subject: str | None = None, issuer: str = "https://issuer.example"
    ) -> Person:
        signer = LocalSigner.generate()
        person = Person(
            PersonId(UUID(int=number)),
            issuer,
            subject or f"{name.lower()}@example.com",
            name,
            frozenset({role}),
            (signer.public_key_pem.decode(),),
        )
        with self.database.begin() as connection:
            put_person(connection, person, now=self.clock.now())
        self.keys[name] = signer
        return person

    def draft(self) -> Draft:
        found = [outcome.draft for outcome in draft_credits(self.database, self.clock)]
        assert len(found) == 1
        assert found[0] is not None
        return found[0]

    def signed_by(self, person: Person, draft: Draft) -> Envelope:
        return sign(draft.payload, IN_TOTO_PAYLOAD_TYPE, [self.keys[person.name]])

    def approve(self, person: Person, draft: Draft) -> Draft:
        return approve(self.database, self.clock, draft.draft_id, person, self.signed_by(person, draft))

    def issue(self) -> Issued:
        """From breach to note."""
        draft = self.draft()
        self.approve(self.maker, draft)
        self.approve(self.checker, draft)
        issued = issue_completed(self.database, self.clock)
        assert len(issued) == 1
        return issued[0]


@pytest.fixture
def world(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> World:
    now = clock.now() - timedelta(days=30)
    sealed, signer = load_contract(CONTRACT), LocalSigner.generate()
    (tmp_path / "objects").mkdir()
    store = open_object_store((tmp_path / "objects").as_uri())
    with database.app.begin() as connection:
        put_tenant(connection, Tenant(TenantId("acme"), "America/Denver", "USD"), now=now)
        register_contract(connection, sealed, signer, now=now)
        assign_contract(
            connection, TenantId("acme"), sealed.digest, first_day=FIRST_DAY, last_day=date(2026, 1, 25), now=now
        )
    made = World(database.app, store, clock, sealed, signer, None, None, {})  # type: ignore[arg-type]
    made.maker = made.person("Mary", "finance-maker", 1)
    made.checker = made.person("Carl", "finance-checker", 2)
    clock.advance(CLOSED_AT - clock.now())
    return made


Maker = Callable[[], World]
