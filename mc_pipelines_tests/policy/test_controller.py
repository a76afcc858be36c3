"""The controller on PostgreSQL: one transition, one event, whatever dies and whoever else is at it."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from mc_pipelines.decision.engine import Verdict
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConflictError, NotFoundError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.policy import controller
from mc_pipelines.policy.controller import (
    abort_rollout,
    approve_rollout,
    counts_of,
    get_rollout,
    history,
    hold_rollout,
    list_rollouts,
    record_window,
    tick,
)
from mc_pipelines.policy.evidence import compare
from mc_pipelines.policy.pointers import get_pointer, pointer_problems, roll_back
from mc_pipelines.policy.proposal import Proposal
from mc_pipelines.policy.rollout import Act, Phase
from mc_pipelines_tests.policy import people
from mc_pipelines_tests.policy.people import propose, register

pytestmark = pytest.mark.database
OLD, NEW, OTHER = (Digest("sha256:" + digit * 64) for digit in "012")
DENY = Verdict([{"rule": "region", "candidate": "AZURE/eastus"}])
ALLOW = Verdict([])


def stable(connection, rollout) -> bool:
    return True


@pytest.fixture
def ada(database, clock):
    with database.app.begin() as connection:
        return register(connection, "ada", "operator", now=clock.now())


@pytest.fixture
def sara(database, clock):
    with database.app.begin() as connection:
        return register(connection, "sara", "security", now=clock.now())


@pytest.fixture
def begin(database, clock, ada):
    def start(proposal=None):
        proposal = proposal or propose(OLD, NEW, now=clock.now())
        with database.app.begin() as connection:
            return people.begin(connection, ada, proposal, now=clock.now())

    return start


def approve(database, clock, rollout, by):
    return approve_rollout(database.app, clock, rollout.rollout_id, by.person, by.sign(Proposal.of(rollout)))


def evidence(database, rollout, number=3_000, old=ALLOW, new=ALLOW, *, minute=0, tenant="acme"):
    pairs = [
        compare(old, new, tenant=tenant, workflow=f"w{index}", input_digest=Digest(f"sha256:{index:064x}"))
        for index in range(number)
    ]
    with database.app.begin() as connection:
        record_window(connection, rollout, rollout.step_started_at + timedelta(minutes=minute), pairs)


def current(database, rollout):
    with database.app.begin() as connection:
        return get_rollout(connection, rollout.rollout_id)


def pointer(database):
    with database.app.begin() as connection:
        return get_pointer(connection, "placement")


def events(database, rollout) -> int:
    """Audit leaves of a rollout."""
    with database.app.begin() as connection:
        return connection.execute(
            text("select count(*) from attest_log_leaf where subject = :subject"),
            {"subject": f"policy-rollout/{rollout.rollout_id}"},
        ).scalar_one()


def test_the_whole_way_moves_the_pointer(database, clock, begin, sara):
    rollout = begin()
    approve(database, clock, rollout, sara)
    percents = []
    for _ in range(5):
        evidence(database, current(database, rollout))
        assert len(tick(database.app, clock, budget=stable)) == 1
        assert tick(database.app, clock, budget=stable) == [], "the next step needs evidence of its own"
        percents.append((current(database, rollout).phase, pointer(database).percent))
        clock.advance(timedelta(minutes=10))
    assert percents == [
        (Phase.WARN, 0), (Phase.ENFORCE, 5), (Phase.ENFORCE, 25), (Phase.ENFORCE, 100), (Phase.COMPLETED, 0),
    ]  # fmt: skip
    moved = pointer(database)
    assert (moved.active, moved.last_known_good, moved.challenger) == (NEW, OLD, None)
    with database.app.begin() as connection:
        documents = history(connection, rollout.rollout_id)
    assert [document["sequence"] for document in documents] == [1, 2, 3, 4, 5, 6]
    assert events(database, rollout) == 8, "six moves and two signatures"
    with database.app.begin() as connection:
        assert roll_back(connection, "placement", now=clock.now()).active == OLD
    with database.app.begin() as connection, pytest.raises(NotFoundError):
        roll_back(connection, "placement", now=clock.now())


def test_an_undeclared_widening_aborts_and_the_pointer_is_back(database, clock, begin, sara):
    rollout = begin()
    approve(database, clock, rollout, sara)
    for _ in range(2):
        evidence(database, current(database, rollout))
        tick(database.app, clock, budget=stable)
    assert pointer(database).percent == 5
    evidence(database, current(database, rollout), 1, DENY, ALLOW)
    (transition,) = tick(database.app, clock, budget=stable)
    assert (transition.act, transition.after) == (Act.ABORTED, Phase.ABORTED)
    assert transition.evidence["totals"]["undeclared"] == 1
    back = pointer(database)
    assert (back.active, back.challenger, back.percent) == (OLD, None, 0)
    assert {back.revision_for(f"t{number}") for number in range(50)} == {OLD}


def test_a_harmful_pack_never_reaches_enforce(database, clock, begin):
    rollout = begin()
    evidence(database, rollout, 20, ALLOW, DENY)
    (transition,) = tick(database.app, clock, budget=stable)
    assert transition.act is Act.ABORTED
    assert tick(database.app, clock, budget=stable) == []


def test_a_pointer_that_stands_elsewhere_than_its_rollout_put_it_is_found(database, clock, begin, sara):
    def problems(change: str = "") -> list[str]:
        with database.app.begin() as connection:
            if change:
                connection.execute(text(f"update policy_pointer set {change}"))
            found = pointer_problems(connection)
            connection.rollback()
        return found

    rollout = begin()
    approve(database, clock, rollout, sara)
    for _ in range(5):
        assert problems() == []
        for change in (f"active = '{NEW}'", "percent = percent + 1", "warn_percent = warn_percent - 1"):
            assert "does not stand" in problems(change)[0]
        evidence(database, current(database, rollout))
        tick(database.app, clock, budget=stable)
    assert problems() == []
    assert problems(f"active = '{OTHER}'")
    with database.app.begin() as connection:
        roll_back(connection, "placement", now=clock.now())
    assert problems() == []
    assert problems(f"active = '{NEW}'")


def test_thin_evidence_holds_then_stops(database, clock, begin):
    rollout = begin()
    evidence(database, rollout, 50)
    assert tick(database.app, clock, budget=stable) == []
    clock.advance(timedelta(days=7))
    (transition,) = tick(database.app, clock, budget=stable)
    assert transition.after is Phase.STOPPED
    assert pointer(database).challenger is None


def test_an_unknown_budget_holds(database, clock, begin):
    rollout = begin()
    evidence(database, rollout)
    assert tick(database.app, clock, budget=lambda *_: None) == []
    assert current(database, rollout).phase is Phase.SIMULATE


def test_a_window_counts_once(database, clock, begin):
    rollout = begin()
    for _ in range(3):
        evidence(database, rollout, 10)
    evidence(database, rollout, 5, minute=1)
    with database.app.begin() as connection:
        assert counts_of(connection, rollout)["acme"].decisions == 15


def test_starting_again_returns_the_same_and_another_is_refused(database, clock, begin):
    rollout = begin()
    assert begin() == rollout
    with pytest.raises(ConflictError, match="under way"):
        begin(propose(OLD, OTHER, now=clock.now()))
    with database.owner.begin() as connection:
        connection.execute(text("update policy_pointer set last_known_good = active"))
    with database.app.begin() as connection, pytest.raises(ConflictError, match="under way"):
        roll_back(connection, "placement", now=clock.now())
    with database.app.begin() as connection:
        abort_rollout(connection, rollout.rollout_id, reason="r", by="ada", now=clock.now())
    with pytest.raises(ConflictError, match="not what decides now"):
        begin(propose(OTHER, NEW, now=clock.now()))
    with pytest.raises(ConflictError, match="begun before"):
        begin(Proposal.of(rollout))
    with database.app.begin() as connection:
        assert len(list_rollouts(connection)) == 1


@pytest.mark.parametrize("dies_at", ["_record", "swap", "audit_log.append", "commit"])
def test_a_crash_at_any_point_leaves_nothing_and_a_retry_moves_once(database, clock, begin, monkeypatch, dies_at):
    rollout = begin()
    evidence(database, rollout)

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if dies_at == "commit":
            original = controller._record

            def record_then_die(*arguments):
                original(*arguments)
                die()

            patch.setattr(controller, "_record", record_then_die)
        else:
            holder, _, name = dies_at.rpartition(".")
            patch.setattr(getattr(controller, holder) if holder else controller, name, die)
        with pytest.raises(KeyboardInterrupt):
            tick(database.app, clock, budget=stable)
    assert current(database, rollout) == rollout
    assert events(database, rollout) == 2
    assert len(tick(database.app, clock, budget=stable)) == 1
    assert tick(database.app, clock, budget=stable) == []
    assert current(database, rollout).sequence == 2
    assert events(database, rollout) == 3


def test_many_controllers_at_once_move_once(database, clock, begin):
    rollout = begin()
    evidence(database, rollout)
    moved: list[object] = []

    def work() -> None:
        moved.extend(tick(database.app, FrozenClock(clock.now()), budget=stable))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(moved) == 1
    assert events(database, rollout) == 3


def test_hold_by_hand(database, clock, begin):
    rollout = begin()
    evidence(database, rollout)
    for _ in range(2):
        with database.app.begin() as connection:
            hold_rollout(connection, rollout.rollout_id, held=True, reason="look", by="ada", now=clock.now())
    assert tick(database.app, clock, budget=stable) == []
    with database.app.begin() as connection:
        hold_rollout(connection, rollout.rollout_id, held=False, reason="fine", by="ada", now=clock.now())
    assert len(tick(database.app, clock, budget=stable)) == 1
    assert events(database, rollout) == 5
