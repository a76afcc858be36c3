"""The world of the demo: three tenants, two people of finance, a contract, billing's charges, an incident, manifests.

All of it is constructed and says so. The people's private keys are made on this machine because the demo plays both
parts; a real checker's key never meets a server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.attest.key_history import KeyRecord, record_key
from mc_pipelines.attest.signer import LocalSigner, Signer
from mc_pipelines.foundation.ids import PersonId, TenantId, uuid7
from mc_pipelines.foundation.tenants import Person, Tenant, add_key, find_person, put_person, put_tenant
from mc_pipelines.sla.contract_store import assign_contract, register_contract
from mc_pipelines.sla.document import load_contract
from mc_pipelines.sla.fact_store import ingest_facts
from mc_pipelines.sla.facts import Kind, fact_of

ISSUER = "urn:maestro-conductor:local-issuer"
SOURCE = "constructed by mc demo"
TENANTS = (
    Tenant(TenantId("acme"), "America/Denver", "USD", ("us", "local"), "internal"),
    Tenant(TenantId("globex"), "Europe/Berlin", "USD", ("us", "eu", "local"), "internal"),
    Tenant(TenantId("initech"), "UTC", "USD", ("us", "eu", "local"), "internal"),
)
_PEOPLE = (
    ("dana", "Dana Okafor", frozenset({"finance-maker"})),
    ("chen", "Chen Wei", frozenset({"finance-checker"})),
    ("omar", "Omar Haddad", frozenset({"operator", "security", "auditor"})),
    ("sara", "Sara Lindqvist", frozenset({"security"})),
)
_CHARGES = {"acme": "12400.00", "globex": "8350.50", "initech": "3120.25"}
_CONTRACT = """
apiVersion: openslo/v1
kind: SLO
metadata:
  name: demo-executions-{tenant}
  displayName: Executions, availability
spec:
  service: executions
  indicator:
    metadata:
      name: availability
  timeWindow:
    - duration: 1M
      isRolling: false
      calendar:
        startTime: "2020-01-01 00:00:00"
        timeZone: {zone}
  budgetingMethod: Occurrences
  objectives:
    - target: 0.999
  x-credit:
    version: 1
    measure: events
    source: executions
    exclusions: both
    tiers:
      - {{below: 99.9, credit: 10}}
      - {{below: 99.0, credit: 25}}
      - {{below: 95.0, credit: 100}}
    cap: 100
    minimumAbove: 1.00
    currency: USD
    rounding: half-up
    restatement: symmetric
"""


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """A person of the demo with the key that lies on "their" machine."""

    person: Person
    signer: Signer


def create_tenants(connection: Connection, now: datetime) -> None:
    """Record the tenants; the same again changes nothing."""
    for tenant in TENANTS:
        put_tenant(connection, tenant, now=now)


def create_people(connection: Connection, folder: Path, now: datetime) -> dict[str, DemoPerson]:
    """Record the people and their public keys; return them with their signers, by subject."""
    found = {}
    for subject, name, roles in _PEOPLE:
        signer = _signer_of(folder, subject)
        person = find_person(connection, ISSUER, subject)
        if person is None:
            person = Person(PersonId(uuid7(now)), ISSUER, subject, name, roles, demo=True)
            put_person(connection, person, now=now)
        if signer.public_key_pem.decode() not in person.public_keys:
            add_key(connection, person.person_id, signer.public_key_pem.decode(), now=now)
            holder = str(person.person_id)
            record_key(connection, KeyRecord(signer.key_id, signer.public_key_pem, now, holder=holder), now=now)
            person = find_person(connection, ISSUER, subject) or person
        found[subject] = DemoPerson(person, signer)
    return found


def create_contracts(connection: Connection, signer: Signer, first_day: date, now: datetime) -> None:
    """Record and assign the contract of each tenant."""
    for tenant in TENANTS:
        sealed = load_contract(_CONTRACT.format(tenant=tenant.tenant, zone=tenant.zone))
        digest = register_contract(connection, sealed, signer, now=now)
        assign_contract(connection, tenant.tenant, digest, first_day=first_day.replace(day=1), now=now)


def create_facts(connection: Connection, first_day: date, last_day: date, now: datetime) -> int:
    """Record billing's charges of each month and one incident; return how many were new."""
    return int(ingest_facts(connection, [fact_of(*each) for each in _facts(first_day, last_day)], now=now).new)


def _facts(first_day: date, last_day: date) -> Iterator[tuple[Kind, dict[str, Any]]]:
    for month in _months(first_day, last_day):
        after = (month + timedelta(days=32)).replace(day=1)
        for tenant in TENANTS:
            start, end = (_midnight(day, tenant.zone) for day in (month, after))
            yield (
                Kind.CHARGE,
                {
                    "id": f"demo-{tenant.tenant}-{month:%Y-%m}",
                    "tenant": str(tenant.tenant),
                    "service": "executions",
                    "from": start,
                    "until": end,
                    "amount": _CHARGES[str(tenant.tenant)],
                    "currency": "USD",
                    "source": SOURCE,
                },
            )


def _midnight(day: date, zone: str) -> str:
    from zoneinfo import ZoneInfo

    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).isoformat()


def _months(first_day: date, last_day: date) -> Iterator[date]:
    month = first_day.replace(day=1)
    while month <= last_day:
        yield month
        month = (month + timedelta(days=32)).replace(day=1)


def manifests() -> Sequence[dict[str, Any]]:
    """Return the twenty manifests that the demo publishes: most succeed, one fails, one is denied by policy."""
    found: list[dict[str, Any]] = []
    for number in range(20):
        tenant = str(TENANTS[number % len(TENANTS)].tenant)
        script = f"echo report {number}; i=0; while [ $i -lt {2_000 * (1 + number % 5)} ]; do i=$((i+1)); done; echo $i"
        manifest: dict[str, Any] = {
            "tenant": tenant,
            "workflow": f"demo-report-{number % 5}",
            "argv": ["sh", "-c", "exit 3" if number == 7 else script],  # noqa: PLR2004 - the one that fails
            "resources": {"cpu_millis": 1000, "memory_mib": 128, "wall_seconds": 30},
            "idempotency_key": f"demo-{number}",
        }
        if number == 13:  # noqa: PLR2004 - the one that policy denies: no region of ours enforces a list by name
            manifest["needs"] = {"read_only_root": True, "egress": "fqdn"}
        found.append(manifest)
    return found


def _signer_of(folder: Path, subject: str) -> Signer:
    path = folder / f"{subject}.pem"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f".{subject}.{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_bytes(LocalSigner.generate().private_key_pem())
        draft.replace(path)
    return LocalSigner.from_pem(path.read_bytes())
