"""The state machine: one way forward, always a way back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.foundation.ids import Digest, uuid7
from mc_pipelines.policy.gates import Decision, Gate
from mc_pipelines.policy.rollout import (
    ACTIVE,
    DEFAULT_STEPS,
    Act,
    Phase,
    Rollout,
    Step,
    abort,
    check_plan,
    decide,
    hold,
    start,
    takes_part,
)

NOW = datetime(2026, 1, 19, 17, tzinfo=UTC)
OLD, NEW = Digest("sha256:" + "0" * 64), Digest("sha256:" + "1" * 64)
ADVANCE, HOLD, ABORT = (
    Gate(decision, decision.value) for decision in (Decision.ADVANCE, Decision.HOLD, Decision.ABORT)
)


def begin() -> Rollout:
    return start(rollout_id=uuid7(NOW), pack="placement", baseline=OLD, challenger=NEW, now=NOW, by="ada")[0]


def test_the_whole_way():
    rollout, seen = begin(), []
    while (moved := decide(rollout, ADVANCE, NOW)) is not None:
        rollout, transition = moved
        seen.append((transition.act, rollout.phase, rollout.percent))
        assert transition.sequence == rollout.sequence
    assert seen == [
        (Act.ADVANCED, Phase.WARN, 0),
        (Act.ADVANCED, Phase.ENFORCE, 5),
        (Act.ADVANCED, Phase.ENFORCE, 25),
        (Act.ADVANCED, Phase.ENFORCE, 100),
        (Act.COMPLETED, Phase.COMPLETED, 100),
    ]


def test_thin_evidence_stops_at_the_deadline_and_never_advances():
    rollout = begin()
    assert decide(rollout, HOLD, NOW + timedelta(days=6)) is None
    stopped, transition = decide(rollout, HOLD, NOW + timedelta(days=7))
    assert stopped.phase is Phase.STOPPED
    assert stopped.percent == 0
    assert "not enough evidence" in transition.reason
    late, _ = decide(rollout, ADVANCE, NOW + timedelta(days=7))
    assert late.phase is Phase.STOPPED


def test_a_held_rollout_does_not_advance_but_still_aborts():
    held, transition = hold(begin(), held=True, reason="review", by="ada", now=NOW)
    assert transition.act is Act.HELD
    assert decide(held, ADVANCE, NOW) is None
    assert decide(held, ABORT, NOW)[0].phase is Phase.ABORTED
    assert hold(held, held=True, reason="again", by="ada", now=NOW) is None
    assert decide(hold(held, held=False, reason="done", by="ada", now=NOW)[0], ADVANCE, NOW)[0].phase is Phase.WARN


def test_abort_by_hand_once():
    aborted, transition = abort(begin(), reason="bad rule", by="ada", now=NOW)
    assert (transition.by, transition.reason) == ("ada", "bad rule")
    assert abort(aborted, reason="again", by="ada", now=NOW) is None
    assert decide(aborted, ADVANCE, NOW) is None
    with pytest.raises(ConflictError, match="has ended"):
        hold(aborted, held=True, reason="late", by="ada", now=NOW)
    with pytest.raises(ConflictError, match="has ended"):
        abort(replace(aborted, phase=Phase.COMPLETED), reason="late", by="ada", now=NOW)


@given(st.lists(st.sampled_from([ADVANCE, HOLD, ABORT, "hold", "resume"]), max_size=20))
def test_any_history_enforces_only_after_simulate_and_warn(gates):
    rollout, phases = begin(), [Phase.SIMULATE]
    for gate in gates:
        if isinstance(gate, Gate):
            moved = decide(rollout, gate, NOW)
        elif rollout.phase in ACTIVE:
            moved = hold(rollout, held=gate == "hold", reason="r", by="ada", now=NOW)
        else:
            moved = None
        if moved is None:
            continue
        assert moved[0].sequence == rollout.sequence + 1
        rollout = moved[0]
        phases.append(rollout.phase)
        if rollout.percent:
            assert {Phase.SIMULATE, Phase.WARN} <= set(phases)
        if rollout.phase in {Phase.ABORTED, Phase.STOPPED}:
            assert rollout.percent == 0


@given(st.uuids(), st.text(min_size=1), st.integers(0, 100), st.integers(0, 100))
def test_taking_part_is_sticky_and_grows(rollout_id, tenant, one, two):
    low, high = sorted((one, two))
    assert not takes_part(rollout_id, tenant, 0)
    assert takes_part(rollout_id, tenant, 100)
    assert takes_part(rollout_id, tenant, low) <= takes_part(rollout_id, tenant, high)


def test_share_of_tenants():
    rollout_id = UUID(int=7)
    share = sum(takes_part(rollout_id, f"tenant-{number}", 25) for number in range(4_000)) / 4_000
    assert share == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    "steps",
    [
        (),
        DEFAULT_STEPS[1:],
        (DEFAULT_STEPS[1], DEFAULT_STEPS[0], *DEFAULT_STEPS[2:]),
        DEFAULT_STEPS[:-1],
        (*DEFAULT_STEPS[:2], Step(Phase.ENFORCE, 0), Step(Phase.ENFORCE, 100)),
        (*DEFAULT_STEPS[:2], Step(Phase.ENFORCE, 50), Step(Phase.ENFORCE, 25), Step(Phase.ENFORCE, 100)),
        (*DEFAULT_STEPS[:4], Step(Phase.ENFORCE, 100, timedelta(0))),
        (*DEFAULT_STEPS, Step(Phase.COMPLETED, 100)),
    ],
)
def test_malformed_plans(steps):
    with pytest.raises(InputError):
        check_plan(steps)


def test_the_same_revision_is_no_rollout():
    with pytest.raises(InputError, match="already"):
        start(rollout_id=uuid7(NOW), pack="placement", baseline=OLD, challenger=OLD, now=NOW, by="ada")
