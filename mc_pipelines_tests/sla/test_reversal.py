"""A note is never changed: a further document of two people takes it back, and nothing gives it again by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.foundation.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    MaestroError,
    NotFoundError,
    UnavailableError,
)
from mc_pipelines.foundation.flags import SLA_CREDITS, set_flag
from mc_pipelines.sla import ledger
from mc_pipelines.sla.completeness import check_completeness
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.draft_store import Draft, list_drafts
from mc_pipelines.sla.issue import issue_completed
from mc_pipelines.sla.note import open_note
from mc_pipelines.sla.note_store import Issued
from mc_pipelines.sla.reversal import draft_reversal
from mc_pipelines.sla.review import draft_again
from mc_pipelines_tests.sla.conftest import World, execution
from mc_pipelines_tests.sla.test_review import refusals

pytestmark = pytest.mark.database
WHY = "the contract had been assigned by mistake"


def reverse(world: World, issued: Issued, reason: str = WHY) -> Draft:
    return draft_reversal(world.database, world.clock, issued.number, world.checker, reason)


def issue(world: World, draft: Draft) -> Issued:
    world.approve(world.maker, draft)
    world.approve(world.checker, draft)
    [issued] = issue_completed(world.database, world.clock)
    return issued


def test_a_reversal_is_a_document_of_its_own(world: World) -> None:
    world.breach()
    first = world.issue()
    draft = reverse(world, first)
    assert (draft.kind, draft.amount.minor, draft.state) == ("reversal", -12345, "open")
    assert reverse(world, first) == draft, "asking again changes nothing"
    assert [one.status for one in draft_credits(world.database, world.clock)] == ["draft"], "the daily job leaves it"
    second = issue(world, draft)
    assert (second.number, second.amount.minor) == ("MC-00000002", -12345)
    document, _, envelope = open_note(second.note)
    assert document["creditUSD"] == -123.45
    predicate = parse_statement(envelope.payload).predicate
    assert predicate["reversal"] == {"number": first.number, "digest": first.digest, "reason": WHY}
    assert predicate["figures"]["balanceMinor"] == "0"
    assert reverse(world, first).state == "issued"
    with world.database.begin() as connection:
        assert ledger.posted_balance(connection, ledger.payable(first.subject.tenant), "USD").minor == 0
        assert ledger.unbalanced(connection) == []


def test_what_two_people_took_back_is_given_again_only_by_new_facts_or_a_person(world: World) -> None:
    world.breach()
    issue(world, reverse(world, world.issue()))
    [outcome] = draft_credits(world.database, world.clock)
    assert (outcome.status, outcome.reason) == ("reversed", WHY)
    with world.database.begin() as connection:
        assert check_completeness(connection).ok
    asked = draft_again(world.database, world.clock, _newest(world).draft_id, world.maker)
    assert (asked.kind, asked.amount.minor, asked.restatement) == ("credit_note", 12345, 2)


def _newest(world: World) -> Draft:
    with world.database.begin() as connection:
        return max(list_drafts(connection), key=lambda one: one.restatement)


def test_new_facts_after_a_reversal_are_judged_anew(world: World) -> None:
    world.breach()
    issue(world, reverse(world, world.issue()))
    world.facts([execution(5000 + n, outcome="lost", day=2) for n in range(60)])
    world.roll()
    draft = world.draft()
    assert (draft.kind, draft.amount.minor) == ("credit_note", 123450)
    with world.database.begin() as connection:
        assert not check_completeness(connection).ok, "more is owed than was given"


def test_facts_that_change_while_a_reversal_waits_supersede_it(world: World) -> None:
    world.breach()
    draft = reverse(world, world.issue())
    world.approve(world.maker, draft)
    world.charge("2000.00")
    world.approve(world.checker, draft)
    assert issue_completed(world.database, world.clock) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"reason": "  "}, InputError),
        ({"reason": "x" * 501}, InputError),
        ({"name": "MC-00000009"}, NotFoundError),
        ({"role": "auditor"}, ForbiddenError),
        ({"flag": False}, UnavailableError),
    ],
)
def test_what_may_not_be_is_refused_and_audited(
    world: World, change: dict[str, object], error: type[MaestroError]
) -> None:
    world.breach()
    issued = world.issue()
    person = replace(world.checker, roles=frozenset({str(change.get("role", "finance-checker"))}))
    if change.get("flag") is False:
        with world.database.begin() as connection:
            set_flag(connection, SLA_CREDITS, state=False, by="test", now=world.clock.now())
    before = refusals(world)
    with pytest.raises(error):
        draft_reversal(
            world.database, world.clock, str(change.get("name", issued.number)), person, str(change.get("reason", WHY))
        )
    assert refusals(world) == before + 1


def test_a_reversal_cannot_be_reversed_and_waits_its_turn(world: World) -> None:
    world.breach()
    first = world.issue()
    second = issue(world, reverse(world, first))
    with pytest.raises(InputError, match="Only a credit note"):
        reverse(world, second)
    assert draft_again(world.database, world.clock, first.draft_id, world.maker).state == "open"
    assert reverse(world, first).state == "issued", "asked and answered before"


def test_an_open_draft_of_the_period_comes_first(world: World) -> None:
    world.breach()
    first = world.issue()
    world.facts([execution(5000 + n, outcome="lost", day=2) for n in range(60)])
    world.roll()
    world.draft()
    with pytest.raises(ConflictError, match="Another draft"):
        reverse(world, first)
