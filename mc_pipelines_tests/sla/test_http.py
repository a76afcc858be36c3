"""The credits API end to end: draft, two approvals, note, pack, reversal, days, log; and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from mc_pipelines.api.app import create_app
from mc_pipelines.api.local_issuer import LOCAL_ISSUER, LocalIssuer
from mc_pipelines.attest.checkpoint import LogProof, verify_checkpoint
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.log import sequence
from mc_pipelines.attest.merkle import leaf_hash
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.composition import Context
from mc_pipelines.foundation.flags import SLA_CREDITS, set_flag
from mc_pipelines.foundation.ids import PersonId
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.foundation.tenants import Person, put_person
from mc_pipelines.sla.draft_store import get_draft
from mc_pipelines.sla.pack_verification import verify_pack
from mc_pipelines_tests.sla.conftest import World
from mc_pipelines_tests.sla.test_commitment import key_of
from mc_pipelines_tests.sla.test_pack import trust_of

pytestmark = pytest.mark.database
Call = Callable[..., httpx.Response]


@pytest.fixture
def call(world: World, tmp_path: Path) -> Iterator[Call]:
    """Returns a function (who, method, path, **json) that asks the API as a person."""
    world.maker = world.person("Mona", "finance-maker", 21, subject="maker", issuer=LOCAL_ISSUER)
    world.checker = world.person("Hugo", "finance-checker", 22, subject="checker", issuer=LOCAL_ISSUER)
    with world.database.begin() as connection:
        for number, role in ((8, "tenant-reader"), (9, "auditor")):
            identity = PersonId(UUID(int=number))
            person = Person(identity, LOCAL_ISSUER, role, role.title(), frozenset({role}), ())
            put_person(connection, person, now=world.clock.now())
    context = Context(Settings(home=tmp_path / "home"), world.database, world.clock)
    issuer = LocalIssuer(context.settings.home_path)

    def headers(who: str, tenants: tuple[str, ...]) -> dict[str, str]:
        now, lifetime = datetime.now(UTC), timedelta(hours=1)
        token = issuer.issue(who, tenants=tenants, audience="maestro-conductor", now=now, lifetime=lifetime)
        return {"Authorization": f"Bearer {token}"}

    with TestClient(create_app(context)) as client:

        def ask(who: str, method: str, path: str, json: Any = None, tenants: tuple[str, ...] = ()) -> httpx.Response:
            return client.request(method, path, json=json, headers=headers(who, tenants))

        yield ask


def request(world: World) -> dict[str, Any]:
    return {
        "tenant": "acme",
        "service": "pipelines",
        "period": "2026-01-19/2026-01-25",
        "contract": world.sealed.digest,
    }


def signed(world: World, person: Person, credit: str) -> dict[str, Any]:
    with world.database.begin() as connection:
        draft = get_draft(connection, credit)
    return {"envelope": world.signed_by(person, draft).to_document()}


def approve(world: World, call: Call, who: str, credit: str) -> httpx.Response:
    return call(who, "POST", f"/api/credits/{credit}/approve", signed(world, getattr(world, who), credit))


def written(world: World) -> dict[str, int]:
    tables = ("sla_draft", "sla_signature", "sla_note", "sla_ledger_transaction", "sla_draft_event", "sla_outcome")
    with world.database.begin() as connection:
        return {name: int(connection.execute(text(f"select count(*) from {name}")).scalar_one()) for name in tables}


def audited(world: World) -> int:
    query = "select count(*) from attest_log_leaf where act like 'credits.%-refused'"
    with world.database.begin() as connection:
        return int(connection.execute(text(query)).scalar_one())


def test_from_request_to_pack_and_back(world: World, call: Call) -> None:
    world.breach()
    asked = call("maker", "POST", "/api/credits", request(world) | {"expected": "123.45"})
    assert asked.status_code == 202, asked.text
    credit = asked.json()["id"]
    assert call("maker", "GET", f"/api/credits/{credit}/pack").status_code == 404
    assert approve(world, call, "maker", credit).status_code == 202
    issued = approve(world, call, "checker", credit)
    assert issued.status_code == 201
    again = call("maker", "POST", "/api/credits", request(world))
    assert (again.status_code, again.json()) == (200, issued.json())
    early = call("maker", "GET", f"/api/credits/{credit}/pack")
    assert (early.status_code, early.json()["field"]) == (409, "leaf id")
    while sequence(world.database, world.service_signer, world.clock):
        pass
    pack = call("tenant-reader", "GET", f"/api/credits/{credit}/pack", tenants=("acme",))
    assert pack.headers["content-type"] == "application/zip"
    assert verify_pack(pack.content, trust_of(world)).ok
    assert call("tenant-reader", "GET", f"/api/credits/{credit}/pack", tenants=("globex",)).status_code == 404

    path, why = f"/api/credits/{credit}/reverse", {"reason": "the contract had been assigned by mistake"}
    assert call("auditor", "POST", path, why).status_code == 403
    reversal = call("checker", "POST", path, why)
    assert (reversal.status_code, reversal.json()["amount"]) == (202, "-123.45")
    approve(world, call, "maker", reversal.json()["id"])
    assert approve(world, call, "checker", reversal.json()["id"]).json()["note"]["creditUSD"] == -123.45
    assert call("checker", "POST", path, why).status_code == 200


def test_a_tenant_reads_its_days_and_they_sum_to_the_credit(world: World, call: Call) -> None:
    world.breach()
    world.draft()
    path = "/api/sla/acme/days?from=2026-01-19&until=2026-01-25"
    days = call("tenant-reader", "GET", path, tenants=("acme",)).json()["days"]
    assert [day["day"] for day in days] == [f"2026-01-{19 + n}" for n in range(7)]
    assert sum(round(float(day["share"]) * 100) for day in days) == 12345
    assert call("tenant-reader", "GET", path, tenants=("globex",)).status_code == 403
    assert call("auditor", "GET", path + "&service=other").json() == {"days": []}
    for wrong in ("from=2026-01-25&until=2026-01-19", "from=2024-01-01&until=2026-01-19"):
        refused = call("auditor", "GET", f"/api/sla/acme/days?{wrong}")
        assert (refused.status_code, refused.json()["field"]) == (422, "until")


def test_the_log_is_read_in_the_layout_of_tiles(world: World, call: Call) -> None:
    assert call("auditor", "GET", "/api/log/checkpoint").status_code == 404
    world.breach()
    issued = world.issue()
    assert call("auditor", "GET", f"/api/log/proof/{issued.leaf_id}").status_code == 409
    while sequence(world.database, world.service_signer, world.clock):
        pass
    note = call("tenant-reader", "GET", "/api/log/checkpoint").content
    checkpoint, _ = verify_checkpoint(note, [key_of(world)])
    width = f"000.p/{checkpoint.size}"
    hashes = call("tenant-reader", "GET", f"/api/log/tile/0/{width}").content
    entries = call("auditor", "GET", f"/api/log/tile/entries/{width}").content
    assert len(hashes) == 32 * checkpoint.size
    first = entries[2 : 2 + int.from_bytes(entries[:2], "big")]
    assert leaf_hash(first) == hashes[:32]
    assert call("tenant-reader", "GET", f"/api/log/tile/entries/{width}").status_code == 403
    proof = call("auditor", "GET", f"/api/log/proof/{issued.leaf_id}").content
    assert LogProof.parse(proof).index < checkpoint.size
    assert verify_file(proof, trust_of(world)).ok
    for path, status in (("0/001", 404), ("0/000.p/9999", 422), ("x/000", 422), ("0/..%2Fcheckpoint", 422)):
        assert call("auditor", "GET", f"/api/log/tile/{path}").status_code == status, path


def test_with_the_flag_off_everything_is_read_only(world: World, call: Call) -> None:
    world.breach()
    issued = world.issue()
    while sequence(world.database, world.service_signer, world.clock):
        pass
    with world.database.begin() as connection:
        set_flag(connection, SLA_CREDITS, state=False, by="test", now=world.clock.now())
    before = written(world)
    credit = issued.draft_id
    reason = {"reason": "no longer"}
    envelope = signed(world, world.maker, credit)
    for path, body in (
        ("/api/credits", request(world)),
        (f"/api/credits/{credit}/approve", envelope),
        (f"/api/credits/{credit}/reject", reason),
        (f"/api/credits/{credit}/reverse", reason),
    ):
        refused = call("maker", "POST", path, body)
        assert (refused.status_code, refused.json()["field"]) == (503, "sla_credits"), path
    assert written(world) == before
    for path in (f"/api/credits/{credit}", f"/api/credits/{credit}/pack", "/api/credits"):
        assert call("auditor", "GET", path).status_code == 200
    assert verify_file(issued.note, trust_of(world)).ok


def test_every_refusal_has_its_status_and_writes_nothing(world: World, call: Call) -> None:
    nothing = written(world)
    no_data = call("maker", "POST", "/api/credits", request(world))
    assert (no_data.status_code, no_data.json()["state"]) == (422, "no data")
    world.breach()
    other = call("maker", "POST", "/api/credits", request(world) | {"expected": "999.99"})
    assert other.status_code == 409
    assert (other.json()["expected"], other.json()["computed"]) == ("999.99", "123.45")
    assert written(world) == nothing, "no draft for a caller whose figure differs"
    assert audited(world) == 2
    credit = call("maker", "POST", "/api/credits", request(world)).json()["id"]
    before, refusals = written(world), audited(world)
    for change, status in (
        ({"contract": "sha256:" + "0" * 64}, 409),
        ({"service": "other"}, 404),
        ({"period": "2026-01-20/2026-01-26"}, 422),
        ({"expected": "NaN"}, 422),
    ):
        assert call("maker", "POST", "/api/credits", request(world) | change).status_code == status, change
    approve_path = f"/api/credits/{credit}/approve"
    assert call("auditor", "POST", approve_path, signed(world, world.maker, credit)).status_code == 403
    wrong_person = call("maker", "POST", approve_path, signed(world, world.checker, credit))
    assert (wrong_person.status_code, wrong_person.json()["field"]) == (403, "keyid")
    too_early = call("checker", "POST", approve_path, signed(world, world.checker, credit))
    assert (too_early.status_code, too_early.json()["field"]) == (403, "role")
    changed = signed(world, world.maker, credit)
    changed["envelope"]["payload"] = Envelope("x", b"{}", ()).to_document()["payload"]
    assert call("maker", "POST", approve_path, changed).status_code == 422
    assert call("checker", "POST", f"/api/credits/{credit}/reject", {"reason": " "}).status_code == 422
    assert call("maker", "POST", f"/api/credits/{credit}/reverse", {"reason": "not issued"}).status_code == 404
    assert written(world) == before
    assert audited(world) == refusals + 8, (
        "each but what the schema and the access pack refuse before the domain is asked"
    )
