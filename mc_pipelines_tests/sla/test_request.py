"""POST /api/credits: the status codes, the caller's figure, and many callers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from mc_pipelines.foundation.errors import ConflictError, InputError, MaestroError, NotFoundError, UnavailableError
from mc_pipelines.foundation.flags import SLA_CREDITS, set_flag
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.draft_store import get_draft
from mc_pipelines.sla.request import Answer, create_credit
from mc_pipelines_tests.sla.conftest import World

pytestmark = pytest.mark.database


def ask(world: World, **changes: Any) -> Answer:
    given: dict[str, Any] = {
        "tenant": TenantId("acme"),
        "service": ServiceId("pipelines"),
        "period": "2026-01-19/2026-01-25",
        "contract": world.sealed.digest,
    }
    return create_credit(world.database, world.clock, **(given | changes))


def test_accepted_then_created_then_the_same_again(world: World) -> None:
    world.breach()
    first = ask(world, expected="123.45")
    assert (first.status, first.body["state"], first.body["amount"]) == (202, "open", "123.45")
    assert ask(world) == first
    with world.database.begin() as connection:
        draft = get_draft(connection, first.body["id"])
    world.approve(world.maker, draft)
    assert ask(world).status == 202
    world.approve(world.checker, draft)
    created = ask(world)
    assert (created.status, created.body["note"]["creditUSD"]) == (201, 123.45)
    assert ask(world) == Answer(200, created.body)


def test_the_callers_figure_is_compared_never_used(world: World) -> None:
    world.breach()
    with pytest.raises(ConflictError) as caught:
        ask(world, expected="999.99")
    assert caught.value.status == 409
    assert caught.value.extensions == {"expected": "999.99", "computed": "123.45", "currency": "USD"}


@pytest.mark.parametrize(
    ("changes", "error", "status"),
    [
        ({"service": ServiceId("other")}, NotFoundError, 404),
        ({"contract": "sha256:" + "0" * 64}, ConflictError, 409),
        ({"period": "2026-01-19"}, InputError, 422),
        ({"period": "next week"}, InputError, 422),
    ],
)
def test_what_means_nothing_is_refused(
    world: World, changes: dict[str, Any], error: type[MaestroError], status: int
) -> None:
    world.breach()
    with pytest.raises(error) as caught:
        ask(world, **changes)
    assert caught.value.status == status


def test_no_data_no_charge_and_read_only_are_told_apart(world: World) -> None:
    with pytest.raises(InputError, match="no valid events"):
        ask(world)
    world.breach()
    with world.database.begin() as connection:
        set_flag(connection, SLA_CREDITS, state=False, by="test", now=world.clock.now())
    with pytest.raises(UnavailableError) as caught:
        ask(world)
    assert caught.value.status == 503


def test_many_identical_requests_and_completions_make_one_note(world: World) -> None:
    world.breach()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(world), range(64)))
        assert {answer.status for answer in answers} == {202}
        assert len({answer.body["id"] for answer in answers}) == 1
        with world.database.begin() as connection:
            draft = get_draft(connection, answers[0].body["id"])
        world.approve(world.maker, draft)
        world.approve(world.checker, draft)
        bodies = [answer.body for answer in pool.map(lambda _: ask(world), range(64))]
    assert all(body == bodies[0] for body in bodies)
    assert counts(world) == {"notes": 1, "posted": 1, "leaves": 1, "last": 1}


def counts(world: World) -> dict[str, int]:
    queries = {
        "notes": "select count(*) from sla_note",
        "posted": "select count(*) from sla_ledger_transaction where phase = 'posted'",
        "leaves": "select count(*) from attest_log_leaf where act = 'credits.note-issued'",
        "last": "select coalesce(max(last), 0) from sla_counter",
    }
    with world.database.begin() as connection:
        return {name: int(connection.execute(text(query)).scalar_one()) for name, query in queries.items()}


@pytest.mark.database
@pytest.mark.parametrize("amount", ["1" + "0" * 25, "10000000000000"])
def test_charges_beyond_what_a_note_can_state_hold_the_period_and_stop_nobody_else(world: World, amount: str) -> None:
    world.breach()
    world.charge(amount, identity="a slip")
    (outcome,) = draft_credits(world.database, world.clock)
    assert outcome.status == "hold"
    assert "larger than a note can state" in str(outcome.reason)
