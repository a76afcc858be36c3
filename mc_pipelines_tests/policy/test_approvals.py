"""Who may begin a rollout and let it be enforced: signatures over the same bytes, verified again at every step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, VerificationError
from mc_pipelines.foundation.ids import Digest, uuid7
from mc_pipelines.foundation.tenants import put_person, withdraw_key
from mc_pipelines.policy import controller
from mc_pipelines.policy.controller import approve_rollout, get_rollout, start_rollout, tick
from mc_pipelines.policy.evidence import Widening
from mc_pipelines.policy.gates import Decision, Gate
from mc_pipelines.policy.pointers import get_pointer
from mc_pipelines.policy.proposal import Proposal
from mc_pipelines.policy.rollout import Phase, decide
from mc_pipelines_tests.policy.people import begin, propose, register
from mc_pipelines_tests.policy.test_controller import evidence, stable

NOW = datetime(2026, 1, 19, 17, 0, tzinfo=UTC)
OLD, NEW = (Digest("sha256:" + digit * 64) for digit in "01")


@pytest.fixture
def people(database, clock):
    with database.app.begin() as connection:
        return {
            name: register(connection, name, *roles, now=clock.now())
            for name, roles in {
                "ada": ("operator",),
                "olga": ("operator",),
                "sara": ("security",),
                "mary": ("finance-maker",),
            }.items()
        }


@pytest.fixture
def warned(database, clock, people):
    """A rollout that ada began and whose evidence has taken it to warn."""
    proposal = propose(OLD, NEW, now=clock.now(), declared=(Widening("region"),))
    with database.app.begin() as connection:
        rollout = begin(connection, people["ada"], proposal, now=clock.now())
    return advanced(database, clock, rollout)


def advanced(database, clock, rollout):
    evidence(database, rollout)
    tick(database.app, clock, budget=stable)
    with database.app.begin() as connection:
        return get_rollout(connection, rollout.rollout_id)


def approve(database, clock, rollout, signatory, envelope=None):
    proposal = Proposal.of(rollout)
    return approve_rollout(
        database.app, clock, rollout.rollout_id, signatory.person, envelope or signatory.sign(proposal)
    )


def why(database, clock, rollout) -> str:
    with database.app.begin() as connection:
        return controller.gate_of(connection, rollout, budget_stable=True, now=clock.now()).reason


def test_the_statement_holds_all_that_is_decided():
    proposal = Proposal(uuid7(NOW), "placement", OLD, NEW, declared=(Widening("region", "acme"),))
    statement = parse_statement(proposal.payload)
    assert statement.subjects[0].sha256 == NEW
    assert statement.predicate["baseline"] == OLD
    assert statement.predicate["declaredWidenings"] == [{"rule": "region", "tenant": "acme"}]
    for change in ({"challenger": OLD}, {"declared": ()}, {"cohort": "acme"}, {"steps": proposal.steps[1:]}):
        assert replace(proposal, **change).payload != proposal.payload
    with pytest.raises(InputError, match="UUIDv7"):
        replace(proposal, rollout_id=uuid4())


@pytest.mark.database
def test_nothing_begins_without_a_signature_that_counts(database, clock, people):
    now = clock.now()
    proposal, other = propose(OLD, NEW, now=now), propose(OLD, NEW, now=now)
    ada, sara, mary = people["ada"], people["sara"], people["mary"]
    attempts = [
        (mary, mary.sign(proposal), ForbiddenError, "role"),
        (ada, ada.sign(other), VerificationError, "not this rollout's"),
        (ada, sara.sign(proposal), ForbiddenError, "not one of the person"),
        (ada, sign(proposal.payload, IN_TOTO_PAYLOAD_TYPE, [ada.signer, sara.signer]), InputError, "exactly one"),
        (ada, sign(proposal.payload, "text/plain", [ada.signer]), VerificationError, "not this rollout's"),
    ]
    for signatory, envelope, error, words in attempts:
        with pytest.raises(error, match=words), database.app.begin() as connection:
            start_rollout(connection, proposal, signatory.person, envelope, shipped=OLD, now=now)
    with database.app.begin() as connection:
        assert get_pointer(connection, "placement") is None, "nothing half-written"


@pytest.mark.database
def test_a_first_pointer_names_the_release_whatever_was_signed(database, clock, people):
    """Else one person could make any pack decide at once by calling it the baseline."""
    now = clock.now()
    proposal = propose(NEW, OLD, now=now)
    with pytest.raises(ConflictError, match="not what decides now"), database.app.begin() as connection:
        start_rollout(connection, proposal, people["ada"].person, people["ada"].sign(proposal), shipped=OLD, now=now)


@pytest.mark.database
@pytest.mark.parametrize("late", [timedelta(days=7, minutes=6), timedelta(minutes=-6)])
def test_an_old_signature_begins_nothing(database, clock, people, late):
    proposal = propose(OLD, NEW, now=clock.now())
    clock.advance(late)
    with pytest.raises(ConflictError, match="too old"), database.app.begin() as connection:
        begin(connection, people["ada"], proposal, now=clock.now())


@pytest.mark.database
def test_a_pack_that_follows_no_pointer_is_not_rolled_out(database, clock, people):
    proposal = replace(propose(OLD, NEW, now=clock.now()), pack="access")
    with pytest.raises(InputError, match="not rolled out"), database.app.begin() as connection:
        begin(connection, people["ada"], proposal, now=clock.now())


@pytest.mark.database
def test_a_rollout_is_for_all_tenants(database, clock, people):
    """A pointer of one tenant's own would begin at some revision at once, and miss every later change."""
    with pytest.raises(InputError, match="for all tenants"), database.app.begin() as connection:
        begin(connection, people["ada"], propose(OLD, NEW, now=clock.now(), cohort="acme"), now=clock.now())


@pytest.mark.database
def test_enforcing_waits_for_a_second_person_of_security(database, clock, people, warned):
    assert warned.phase is Phase.WARN
    assert advanced(database, clock, warned).phase is Phase.WARN
    assert why(database, clock, warned) == "enforcing waits for signatures: 1 of 2 people have signed"
    for _ in range(2):
        approve(database, clock, warned, people["ada"])
    assert "1 of 2" in why(database, clock, warned), "the same person twice is one"
    approve(database, clock, warned, people["olga"])
    assert "role security" in why(database, clock, warned)
    _, standing = approve(database, clock, warned, people["sara"])
    assert standing.missing is None
    tick(database.app, clock, budget=stable)
    with database.app.begin() as connection:
        assert get_rollout(connection, warned.rollout_id).phase is Phase.ENFORCE


@pytest.mark.database
def test_who_left_or_withdrew_the_key_counts_no_more(database, clock, people, warned):
    sara = people["sara"]
    evidence(database, warned)
    approve(database, clock, warned, sara)
    assert why(database, clock, warned).startswith("harm below")
    with database.app.begin() as connection:
        put_person(connection, replace(sara.person, roles=frozenset({"auditor"})), now=clock.now())
    assert "1 of 2" in why(database, clock, warned)
    with database.app.begin() as connection:
        put_person(connection, sara.person, now=clock.now())
        clock.advance(timedelta(seconds=1))
        withdraw_key(connection, sara.signer.key_id, now=clock.now())
    assert "1 of 2" in why(database, clock, warned)


@pytest.mark.database
def test_a_row_that_is_changed_afterwards_has_no_signatures(database, clock, people, warned):
    approve(database, clock, warned, people["sara"])
    with database.app.begin() as connection:
        connection.execute(text("""update policy_rollout set declared = '[{"rule": "residency", "tenant": null}]'"""))
        changed = get_rollout(connection, warned.rollout_id)
    evidence(database, changed)
    assert tick(database.app, clock, budget=stable) == []
    assert "0 of 2" in why(database, clock, changed)


@pytest.mark.database
def test_no_caller_can_enforce_past_the_signatures(database, clock, warned):
    """The domain refuses inside the transaction, whatever gate its caller made up."""
    gate = Gate(Decision.ADVANCE, "because I say so")
    with pytest.raises(ForbiddenError, match="1 of 2"), database.app.begin() as connection:
        controller.change(connection, warned.rollout_id, clock.now(), lambda it, now: decide(it, gate, now))
    with database.app.begin() as connection:
        assert get_pointer(connection, "placement").percent == 0


@pytest.mark.database
def test_a_second_name_of_the_same_person_is_refused_and_recorded(database, clock, people, warned):
    with database.app.begin() as connection:
        double = register(connection, "Ada", "security", now=clock.now())
    with pytest.raises(ForbiddenError, match="twice"):
        approve(database, clock, warned, double)
    with database.app.begin() as connection:
        acts = connection.execute(text("select act from attest_log_leaf")).scalars().all()
    assert acts.count("policy.approval-refused") == 1


@pytest.mark.database
def test_an_ended_rollout_takes_no_signature(database, clock, people, warned):
    with database.app.begin() as connection:
        controller.abort_rollout(connection, warned.rollout_id, reason="r", by="ada", now=clock.now())
    with pytest.raises(ConflictError, match="ended"):
        approve(database, clock, warned, people["sara"])
