"""Contract to rollup to breach to draft to two signatures to a note that verifies offline."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import verify
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.sla import ledger
from mc_pipelines.sla.draft import draft_credits
from mc_pipelines.sla.issue import complete, issue_completed
from mc_pipelines.sla.note import NOTE_TYPE, open_note
from mc_pipelines_tests.sla.conftest import World, execution

pytestmark = pytest.mark.database


def test_a_breach_becomes_the_seeds_sample_note(world: World) -> None:
    world.breach()
    issued = world.issue()
    document, digest, envelope = open_note(issued.note)
    assert document == {
        "tenant": "acme",
        "period": "2026-01-19/2026-01-25",
        "breach": {"availability": 99.7, "target": 99.9},
        "creditUSD": 123.45,
    }
    keys = {signer.key_id: signer.public_key_pem for signer in world.keys.values()}
    assert len(verify(envelope, keys, threshold=2)) == 2
    statement = parse_statement(envelope.payload)
    assert statement.predicate_type == NOTE_TYPE
    assert statement.subjects[0].sha256 == digest
    figures = statement.predicate["figures"]
    assert (figures["good"], figures["valid"], figures["amountMinor"]) == ("997/1", "1000", "12345")
    assert statement.predicate["constructed"] is True
    assert issued.number == "MC-00000001"


def test_repeating_every_step_changes_nothing(world: World) -> None:
    world.breach()
    issued = world.issue()
    assert world.roll() == []
    outcomes = draft_credits(world.database, world.clock)
    assert [outcome.status for outcome in outcomes] == ["nothing due"]
    assert issue_completed(world.database, world.clock) == []
    again = complete(world.database, world.clock, issued.draft_id)
    assert again == issued
    with world.database.begin() as connection:
        assert connection.execute(text("select count(*) from sla_note")).scalar() == 1
        assert connection.execute(text("select count(*) from sla_draft")).scalar() == 1


def test_the_ledger_reserves_posts_and_balances(world: World) -> None:
    world.breach()
    draft = world.draft()
    account = ledger.payable(draft.subject.tenant)
    with world.database.begin() as connection:
        assert ledger.reserved_balance(connection, account, "USD").minor == -12345
        assert ledger.posted_balance(connection, account, "USD").minor == 0
    world.approve(world.maker, draft)
    world.approve(world.checker, draft)
    issue_completed(world.database, world.clock)
    with world.database.begin() as connection:
        assert ledger.reserved_balance(connection, account, "USD").minor == 0
        assert ledger.posted_balance(connection, account, "USD").minor == -12345
        assert ledger.unbalanced(connection) == []


def test_days_sum_to_the_credit(world: World) -> None:
    world.breach()
    world.draft()
    with world.database.begin() as connection:
        days = connection.execute(text("select days from sla_judgement order by revision desc limit 1")).scalar()
    assert sum(int(day["shareMinor"]) for day in days) == 12345
    assert len(days) == 7


def test_without_a_charge_it_holds(world: World) -> None:
    world.facts([execution(n, outcome="failed" if n < 3 else "succeeded") for n in range(100)])
    world.roll()
    outcome = draft_credits(world.database, world.clock)[0]
    assert (outcome.status, outcome.draft) == ("hold", None)
    assert outcome.reason == "billing has sent no charge for the period"


def test_no_data_holds_and_is_not_a_breach(world: World) -> None:
    world.charge()
    outcome = draft_credits(world.database, world.clock)[0]
    assert (outcome.status, outcome.reason) == ("hold", "no valid events")


def test_late_facts_restate_by_the_difference(world: World) -> None:
    world.breach()
    first = world.issue()
    world.facts([execution(5000 + n, outcome="lost", day=2) for n in range(60)])
    # One tenant-day on the grid that all are counted on, and one on the contract's own slices.
    assert [(rolled.days_of_slices, rolled.changed) for rolled in world.roll()] == [(2, 2)]
    second = world.issue()
    document, _, envelope = open_note(second.note)
    assert document["creditUSD"] == 1111.05  # 997 of 1060 are below 95 per cent: all of 1234.50, less 123.45
    predicate = parse_statement(envelope.payload).predicate
    assert predicate["previous"] == first.digest
    assert predicate["restatement"] == 1
    total = first.amount + second.amount
    assert str(total.minor) == predicate["figures"]["entitledMinor"]
    assert second.number == "MC-00000002"


def test_what_changed_after_the_maker_signed_is_not_issued(world: World) -> None:
    world.breach()
    draft = world.draft()
    world.approve(world.maker, draft)
    world.approve(world.checker, draft)
    world.charge("2000.00")
    assert issue_completed(world.database, world.clock) == []
    replacement = world.draft()
    assert replacement.draft_id != draft.draft_id
    assert replacement.amount.minor == 20000
    assert json.loads(replacement.note)["creditUSD"] == 200


def test_money_tables_refuse_change(world: World) -> None:
    world.breach()
    world.issue()
    for statement in ("update sla_note set amount_minor = 1", "delete from sla_ledger_entry"):
        with pytest.raises(Exception, match=r"permission denied|insert-only"), world.database.begin() as connection:
            connection.execute(text(statement))


def test_the_database_refuses_an_unbalanced_transaction(world: World) -> None:
    world.breach()
    draft = world.draft()
    with pytest.raises(Exception, match="does not balance"), world.database.begin() as connection:
        connection.execute(
            text("insert into sla_ledger_entry values (:draft, 'posted', 'Assets:Theft', 5, 'USD')"),
            {"draft": draft.draft_id},
        )
