"""Files of facts: whole or not at all; the same again changes nothing; corrections are revisions."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.sla.fact_store import ingest_facts, load_facts
from mc_pipelines.sla.facts import Kind, facts_of
from mc_pipelines.sla.ingest import read_facts
from mc_pipelines.sla.report import make_report
from mc_pipelines_tests.sla.conftest import World

INCIDENT = {
    "id": "INC-7",
    "service": "pipelines",
    "from": "2026-01-20T10:00:00Z",
    "until": "2026-01-20T11:30:00Z",
    "cause": "a switch",
    "faultOwner": "provider",
    "state": "closed",
    "source": "pager",
}
FOCUS = """BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,SubAccountId,ServiceName,ChargeCategory,\
x_ChargeId
1000.25,USD,2026-01-19T07:00:00Z,2026-01-26T07:00:00Z,acme,pipelines,Usage,c-1
234.25,USD,2026-01-19T07:00:00Z,2026-01-26T07:00:00Z,acme,pipelines,Purchase,c-2
99.00,USD,2026-01-19T07:00:00Z,2026-01-26T07:00:00Z,acme,pipelines,Tax,c-3
"""


def load(world: World, path: Path, kind: Kind) -> tuple[int, int, int]:
    with world.database.begin() as connection:
        done = ingest_facts(connection, read_facts(path, kind), now=world.clock.now())
    return done.new, done.corrected, done.known


def incidents(world: World, **known: Any) -> list[tuple[str, str | None, str]]:
    with world.database.begin() as connection:
        found = load_facts(connection, Kind.INCIDENT, **known)
    return [(one.fact_id, one.tenant, one.details["state"]) for one in found]


@pytest.mark.database
def test_an_incident_of_several_tenants_is_one_fact_each_and_withdrawn_from_whom_it_no_longer_names(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "incidents.json"
    path.write_text(json.dumps([INCIDENT | {"tenants": ["acme", "beta"]}]))
    assert load(world, path, Kind.INCIDENT) == (2, 0, 0)
    assert load(world, path, Kind.INCIDENT) == (0, 0, 2)
    both = [("INC-7@acme", "acme", "closed"), ("INC-7@beta", "beta", "closed")]
    assert incidents(world) == both
    before = world.clock.now()
    world.clock.advance(timedelta(days=1))
    path.write_text(json.dumps([INCIDENT | {"tenants": ["acme"]}]))
    assert load(world, path, Kind.INCIDENT) == (0, 1, 1)
    assert incidents(world) == [both[0], ("INC-7@beta", "beta", "withdrawn")]
    assert incidents(world, as_known_at=before) == both
    path.write_text(json.dumps([INCIDENT | {"tenant": "all"}]))
    assert load(world, path, Kind.INCIDENT) == (1, 1, 0)
    assert incidents(world) == [
        ("INC-7", None, "closed"),
        ("INC-7@acme", "acme", "withdrawn"),
        ("INC-7@beta", "beta", "withdrawn"),
    ]


@pytest.mark.database
def test_focus_charges_and_no_charge_means_hold(world: World, tmp_path: Path) -> None:
    world.breach()  # with a charge
    path = tmp_path / "focus.csv"
    path.write_text(FOCUS)
    assert load(world, path, Kind.CHARGE) == (2, 0, 0)
    assert load(world, path, Kind.CHARGE) == (0, 0, 2)
    with world.database.begin() as connection:
        amounts = [fact.details["amount"] for fact in load_facts(connection, Kind.CHARGE)]
    assert sorted(amounts) == ["1000.25", "1234.50", "234.25"]


def test_a_file_with_one_bad_row_is_refused_whole(tmp_path: Path) -> None:
    csv = tmp_path / "maintenance.csv"
    csv.write_text(
        "id,tenant,service,from,until,announcedAt,reason,source\n"
        "M-1,acme,pipelines,2026-01-20T00:00:00Z,2026-01-20T01:00:00Z,2026-01-10T00:00:00Z,upgrade,ops\n"
        "M-2,acme,pipelines,2026-01-20T02:00:00Z,2026-01-20T01:00:00Z,2026-01-10T00:00:00Z,upgrade,ops\n"
    )
    with pytest.raises(InputError, match="Row 2"):
        read_facts(csv, Kind.MAINTENANCE)
    csv.write_text(FOCUS.replace("234.25", "-234.25"))
    with pytest.raises(InputError, match="Row 2: A charge is not negative"):
        read_facts(csv, Kind.CHARGE)
    with pytest.raises(InputError, match="different tenants"):
        facts_of(Kind.INCIDENT, INCIDENT | {"tenants": ["acme", "acme"]})
    with pytest.raises(InputError, match="different tenants"):
        facts_of(Kind.INCIDENT, INCIDENT | {"tenants": ["acme"], "tenant": "acme"})
    assert [one.fact_id for one in facts_of(Kind.INCIDENT, INCIDENT | {"tenants": "acme; beta"})] == [
        "INC-7@acme",
        "INC-7@beta",
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tenant": []}, "incident.tenant"),
        ({"tenant": "acme", "until": {}}, "incident.until"),
        ({"tenant": "acme", "from": "0001-01-01T00:00:00+14:00"}, "incident.from"),
        ({"tenant": "acme", "cause": "a\0b"}, "incident.cause"),
        ({"tenant": "acme", "id": "INC\n7"}, "incident.id"),
        ({"tenant": "acme", "id": "INC-7@acme"}, "incident.id"),
        ({"tenants": ["acme", "beta"], "id": "INC-7@acme"}, "incident.id"),
        ({"tenant": "acme", "id": "\u202e7-CNI"}, "incident.id"),
        ({"tenants": [["acme"]]}, "incident.tenants"),
        ({"tenants": ["acme", "all"]}, "incident.tenants"),
        ({}, "incident.tenant"),
    ],
)
def test_an_incident_that_would_hit_the_wrong_people_or_no_table_is_refused(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError) as caught:
        facts_of(Kind.INCIDENT, INCIDENT | changes)
    assert caught.value.field == field


@pytest.mark.parametrize("amount", ["1e999999999", "1e-999999999", "1_000", " 5 ", "\uff11\uff12", "NaN", "-1", "0x10"])
def test_an_amount_is_a_plain_decimal_number_that_can_be_written_out(amount: str) -> None:
    charge = {name: INCIDENT[name] for name in ("id", "service", "from", "until", "source")}
    with pytest.raises(InputError) as caught:
        facts_of(Kind.CHARGE, charge | {"tenant": "acme", "currency": "USD", "amount": amount})
    assert caught.value.field == "charge.amount"


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "charges.csv"
    path.write_text("id,tenant,service,from,until,amount,amount,currency,source\n")
    with pytest.raises(InputError, match="stands twice"):
        read_facts(path, Kind.CHARGE)


def test_a_probe_or_a_window_of_the_wrong_type_is_refused() -> None:
    window = {name: INCIDENT[name] for name in ("id", "service", "from", "until", "source")} | {"tenant": "acme"}
    with pytest.raises(InputError):
        facts_of(Kind.PROBE, None)
    for kind, changes in ((Kind.PROBE, {"good": []}), (Kind.MAINTENANCE, {"reason": ["moved"]})):
        with pytest.raises(InputError):
            facts_of(kind, window | changes)


MAINTENANCE = {name: INCIDENT[name] for name in ("service", "from", "until", "source")} | {
    "id": "M-7",
    "tenant": "acme",
    "reason": "a new switch",
    "announcedAt": "2026-01-19T10:00:00Z",
}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": ""}, "maintenance.reason"),
        ({"reason": " "}, "maintenance.reason"),
        ({"announcedAt": None}, "maintenance.announcedAt"),
        ({"announcedAt": "last week"}, "maintenance.announcedAt"),
    ],
)
def test_maintenance_says_why_and_when_it_was_announced(changes: dict[str, Any], field: str) -> None:
    [fact] = facts_of(Kind.MAINTENANCE, MAINTENANCE)
    assert not fact.announced_late
    with pytest.raises(InputError) as caught:
        facts_of(Kind.MAINTENANCE, MAINTENANCE | changes)
    assert caught.value.field == field


@pytest.mark.database
def test_maintenance_announced_after_it_began_excludes_nothing_and_the_report_says_so(world: World) -> None:
    world.breach()
    tenant = TenantId("acme")
    whole = {"from": "2026-01-19T07:00:00Z", "until": "2026-01-26T07:00:00Z"}
    for announced, shown, late in (
        ("2026-01-19T07:00:00.001Z", "99.700000000", ["M-7"]),
        ("2026-01-19T07:00:00Z", None, []),
    ):
        world.ingest("maintenance", MAINTENANCE | whole | {"announcedAt": announced})
        with world.database.begin() as connection:
            report = make_report(connection, tenant, "2026-01-19/2026-01-25", now=world.clock.now())
        [contract] = report.contracts
        assert (contract["figures"]["shown"], contract["announcedLate"]) == (shown, late)
        assert ("announced after it began" in report.to_html()) == bool(late)


@pytest.mark.database
def test_a_file_cannot_know_the_future(world: World) -> None:
    later = "2026-03-01T00:00:00Z"
    with pytest.raises(InputError, match="cannot end in the future"):
        world.ingest("incident", INCIDENT | {"tenant": "acme", "until": later})
    with pytest.raises(InputError, match="cannot be in the future"):
        world.ingest("maintenance", MAINTENANCE | {"announcedAt": later})
    assert world.ingest("incident", INCIDENT | {"tenant": "acme"}).new == 1
    assert world.ingest("maintenance", MAINTENANCE | {"until": later}).new == 1, "planned work may last"
