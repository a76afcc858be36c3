"""The samples in docs/sla are real notes: the code makes the same, `mc verify` accepts them, their schemas fit them.

``MC_UPDATE_SNAPSHOTS=1`` makes them anew, with fresh keys that are thrown away.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import mc_pipelines.sla.verification  # noqa: F401 - registers what our statements mean
from mc_pipelines.attest.key_history import KeyRecord, load_history
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.sla.contract_store import assign_contract, register_contract
from mc_pipelines.sla.document import load_contract
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.issue import issue_completed
from mc_pipelines.sla.note import open_note
from mc_pipelines.sla.note_store import Issued
from mc_pipelines_tests.sla.conftest import CONTRACT, FIRST_DAY, World, execution

pytestmark = pytest.mark.database
DOCS = Path(__file__).parents[2] / "docs" / "sla"
TRUST = DOCS / "CREDIT_NOTE.trust.json"
UPDATE = os.environ.get("MC_UPDATE_SNAPSHOTS") == "1"


@dataclass(frozen=True)
class Sample:
    """One sample: its files, whose it is, and the contract it is made under."""

    name: str
    schema: str
    tenant: str
    contract: str


SAMPLES = (
    Sample("CREDIT_NOTE.sample.json", "CREDIT_NOTE.schema.json", "acme", CONTRACT),
    Sample(
        "CREDIT_NOTE.latency.sample.json",
        "CREDIT_NOTE.schema.json",
        "initech",
        CONTRACT.replace("{target: 0.999}", "{target: 0.999, op: lte, value: 400}")
        .replace("{name: availability}", "{name: latency}")
        .replace("acme-", "initech-"),
    ),
    Sample(
        "CREDIT_NOTE.currency.sample.json",
        "CREDIT_NOTE.currency.schema.json",
        "globex",
        CONTRACT.replace("currency: USD", "currency: EUR").replace("acme-", "globex-"),
    ),
)


def made(world: World, sample: Sample) -> Issued:
    """Issue the sample's note."""
    tenant, now = TenantId(sample.tenant), world.clock.now()
    if sample.tenant != "acme":
        sealed = load_contract(sample.contract)
        with world.database.begin() as connection:
            put_tenant(connection, Tenant(tenant, "America/Denver", sealed.contract.currency), now=now)
            register_contract(connection, sealed, world.service_signer, now=now)
            assign_contract(connection, tenant, sealed.digest, first_day=FIRST_DAY, last_day=date(2026, 1, 25), now=now)
    rows = []
    for number in range(1000):
        row = execution(number, day=number % 5, tenant=sample.tenant)
        if "latency" in sample.name and number % 50 == 0:
            row["published_at"] = (
                row["started_at"].replace(microsecond=0) - (row["finished_at"] - row["started_at"]) / 60
            )
        rows.append(row | ({"outcome": "failed", "fault_owner": "provider"} if number in {100, 200, 300} else {}))
    world.facts(rows)
    world.roll()
    currency = "EUR" if sample.tenant == "globex" else "USD"
    world.charge(identity=f"invoice-{sample.tenant}", tenant=sample.tenant, currency=currency)
    [outcome] = draft_credits(world.database, world.clock, tenant=tenant, service=ServiceId("pipelines"))
    assert outcome.draft is not None, outcome
    world.approve(world.maker, outcome.draft)
    world.approve(world.checker, outcome.draft)
    [issued] = issue_completed(world.database, world.clock)
    return issued


def meaning(note: bytes) -> dict[str, Any]:
    """Return what two people signed, but for digests of forms that may gain a member, and the version of the code."""
    document, _, envelope = open_note(note)
    statement = json.loads(envelope.payload)
    predicate = statement["predicate"]
    for name in ("engine", "evidence"):
        predicate.pop(name)
    predicate["contract"].pop("sha256")
    statement["subject"][0].pop("name")  # the draft's id, which follows from the contract's digest
    return {"note": document, "statement": statement}


_FRESH: list[KeyRecord] = []


def write_sample(world: World, sample: Sample, issued: Issued) -> None:
    (DOCS / sample.name).write_bytes(issued.note)
    with world.database.begin() as connection:
        _FRESH.extend(record for record in load_history(connection) if record.holder.startswith("person/"))
    TRUST.write_bytes(Trust(tuple(_FRESH)).to_json())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_is_what_the_code_makes_and_verifies(world: World, sample: Sample) -> None:
    issued = made(world, sample)
    if UPDATE:
        write_sample(world, sample, issued)
    assert meaning((DOCS / sample.name).read_bytes()) == meaning(issued.note)
    report = verify_file(DOCS / sample.name, Trust.from_json(TRUST.read_bytes()))
    assert report.ok, report.problems
    assert "2 different people signed, as this amount demands." in report.proved
    assert any("some of its input is constructed" in line for line in report.not_proved)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_fits_its_schema_and_no_other(sample: Sample) -> None:
    document = json.loads((DOCS / sample.name).read_bytes())
    for schema in sorted({one.schema for one in SAMPLES}):
        rules = json.loads((DOCS / schema).read_bytes())
        jsonschema.Draft202012Validator.check_schema(rules)
        assert jsonschema.Draft202012Validator(rules).is_valid(document) == (schema == sample.schema)


def test_the_seeds_shape_is_kept() -> None:
    document = json.loads((DOCS / "CREDIT_NOTE.sample.json").read_bytes())
    signature = document.pop("signature")
    assert document == {
        "tenant": "acme",
        "period": "2026-01-19/2026-01-25",
        "breach": {"availability": 99.7, "target": 99.9},
        "creditUSD": 123.45,
    }
    assert isinstance(signature, str)
    latency = json.loads((DOCS / "CREDIT_NOTE.latency.sample.json").read_bytes())
    assert set(latency["breach"]) == {"latencyP95Ms", "targetMs", "goodShare"}
    currency = json.loads((DOCS / "CREDIT_NOTE.currency.sample.json").read_bytes())
    assert currency["credit"] == {"amount": "123.45", "currency": "EUR"}
    assert "creditUSD" not in currency


@pytest.mark.parametrize(
    "change",
    [
        {"creditUSD": "123.45"},
        {"creditUSD": 0},
        {"tenant": "ACME"},
        {"period": "2026-01-19"},
        {"signature": "not base64!"},
        {"breach": {"availability": 101, "target": 99.9}},
        {"breach": {"availability": 99.7}},
        {"surprise": 1},
    ],
)
def test_the_schema_refuses_what_is_no_note(change: dict[str, Any]) -> None:
    document = json.loads((DOCS / "CREDIT_NOTE.sample.json").read_bytes()) | change
    rules = json.loads((DOCS / "CREDIT_NOTE.schema.json").read_bytes())
    assert not jsonschema.Draft202012Validator(rules).is_valid(document)


def test_the_statement_names_constructed_input() -> None:
    _, _, envelope = open_note((DOCS / "CREDIT_NOTE.sample.json").read_bytes())
    assert parse_statement(envelope.payload).predicate["constructed"] is True
