"""Every closed incident ends in one note or one signed reason, and the check sees both sides."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

import mc_pipelines.sla.verification  # noqa: F401 - registers what our statements mean
from mc_pipelines.attest.key_history import KeyRecord
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.sla.assessment import assess_all
from mc_pipelines.sla.completeness import check_completeness
from mc_pipelines.sla.determination import determine
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.review import reject
from mc_pipelines_tests.sla.conftest import World, execution

pytestmark = pytest.mark.database


def incident(identity: str = "INC-1", **changes: Any) -> dict[str, Any]:
    document = {
        "id": identity,
        "service": "pipelines",
        "tenant": "all",
        "from": "2026-01-20T10:00:00Z",
        "until": "2026-01-20T10:30:00Z",
        "cause": "a bad deploy",
        "faultOwner": "provider",
        "state": "closed",
        "source": "pager",
    }
    return document | changes


def determined(world: World) -> dict[str, str | None]:
    determine(world.database, world.clock, world.service_signer)
    with world.database.begin() as connection:
        rows = connection.execute(text("select incident_id, coalesce(number, reason) as ending from sla_outcome"))
        return {row.incident_id: row.ending for row in rows}


def complete(world: World) -> bool:
    with world.database.begin() as connection:
        return check_completeness(connection).ok


def test_an_incident_of_a_breached_period_ends_in_its_note(world: World) -> None:
    world.ingest("incident", incident())
    world.breach()
    draft_credits(world.database, world.clock)
    assert determined(world) == {}, "people have not decided yet"
    assert not complete(world)
    issued = world.issue()
    assert determined(world) == {"INC-1": issued.number}
    assert complete(world)


def test_an_incident_without_a_breach_ends_in_a_signed_reason(world: World) -> None:
    world.ingest("incident", incident())
    world.facts([execution(n) for n in range(50)])
    world.roll()
    world.charge()
    draft_credits(world.database, world.clock)
    assert determined(world) == {"INC-1": "no breach"}
    assert complete(world)
    assert determine(world.database, world.clock, world.service_signer) == []
    with world.database.begin() as connection:
        envelope = bytes(connection.execute(text("select envelope from sla_outcome")).scalar_one())
    signer = world.service_signer
    trust = Trust((KeyRecord(signer.key_id, signer.public_key_pem, world.clock.now()),))
    report = verify_file(envelope, trust)
    assert report.ok
    assert "Incident INC-1 gives acme no credit: no breach." in report.proved


def test_customers_fault_open_incidents_and_strangers(world: World) -> None:
    world.facts([execution(n) for n in range(50)])
    world.roll()
    world.charge()
    world.ingest(
        "incident",
        incident("INC-2", faultOwner="customer"),
        incident("INC-3", state="open"),
        incident("INC-4", tenant="globex"),
    )
    draft_credits(world.database, world.clock)
    assert determined(world) == {
        "INC-2": "the incident was the customer's fault",
        "INC-4": "no contract covers the service for this tenant on these days",
    }


def test_a_rejected_draft_gives_the_reviewers_reason(world: World) -> None:
    world.ingest("incident", incident())
    world.breach()
    reject(world.database, world.clock, world.draft().draft_id, world.checker, "goodwill credit was paid by hand")
    assert determined(world) == {"INC-1": "rejected on review: goodwill credit was paid by hand"}


def test_without_a_charge_the_incident_waits_and_the_check_says_so(world: World) -> None:
    world.ingest("incident", incident())
    world.facts([execution(n, outcome="failed") for n in range(5)])
    world.roll()
    draft_credits(world.database, world.clock)
    assert determined(world) == {}
    with world.database.begin() as connection:
        found = check_completeness(connection)
    assert found.incidents_waiting == ("INC-1 for acme",)
    assert found.lost == {}


def test_the_check_sees_a_breach_without_a_note(world: World) -> None:
    world.breach()
    with world.database.begin() as connection:
        assert check_completeness(connection).ok, "nothing is judged yet"
    assess_all(world.database, world.clock)
    breach = ("acme pipelines availability 2026-01-19/2026-01-25",)
    with world.database.begin() as connection:
        assert check_completeness(connection).breaches_without_note == breach
    draft = world.draft()
    with world.database.begin() as connection:
        found = check_completeness(connection)
    assert (found.breaches_waiting, found.lost) == (breach, {})
    reject(world.database, world.clock, draft.draft_id, world.checker, "paid by hand")
    with world.database.begin() as connection:
        assert check_completeness(connection).ok, "refused on review, with the reason"


def test_a_lost_note_is_noticed(world: World) -> None:
    """The drill: somebody with the power of the owner deletes a note behind our back."""
    world.breach()
    world.issue()
    assert complete(world)
    from mc_pipelines.foundation.database import Database

    owner = Database(world.database.url.replace("mc_app", "mc_owner"))
    with owner.begin() as connection:
        for statement in (
            "alter table sla_note disable trigger user",
            "alter table sla_outcome disable trigger user",
            "delete from sla_outcome",
            "delete from sla_note",
        ):
            connection.execute(text(statement))
    owner.dispose()
    assert not complete(world)


def test_judged_again_later_nothing_changes(world: World) -> None:
    world.ingest("incident", incident())
    world.breach()
    world.issue()
    before = determined(world)
    world.clock.advance(timedelta(days=30))
    draft_credits(world.database, world.clock)
    assert determined(world) == before
    assert complete(world)
