"""The rollout's state machine: simulate → warn → enforce, by percentile of tenants; pure.

simulate: the new pack is evaluated beside the old one and nobody notices. warn: callers see the new
pack's denials as warnings. enforce: the new pack decides for a growing share of tenants. Every step needs
its own evidence; an abort or an expired deadline gives every tenant the old pack back at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.policy.evidence import Widening
from mc_pipelines.policy.gates import Decision, Gate

_BUCKETS = 10_000


class Phase(StrEnum):
    """Where a rollout stands."""

    SIMULATE = "simulate"
    WARN = "warn"
    ENFORCE = "enforce"
    COMPLETED = "completed"
    ABORTED = "aborted"
    STOPPED = "stopped"
    """Ended by its deadline: not enough evidence. The old pack stays."""


ACTIVE = frozenset({Phase.SIMULATE, Phase.WARN, Phase.ENFORCE})


class Act(StrEnum):
    """What happened in a transition; the audit log's act is ``policy.rollout-<act>``."""

    STARTED = "started"
    ADVANCED = "advanced"
    COMPLETED = "completed"
    ABORTED = "aborted"
    STOPPED = "stopped"
    HELD = "held"
    RESUMED = "resumed"


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    Attributes:
        phase: simulate, warn or enforce.
        percent: share of tenants for whom the new pack decides (enforce) or warns (warn).
        deadline: how long the step may wait for evidence.
    """

    phase: Phase
    percent: int
    deadline: timedelta = timedelta(days=7)


DEFAULT_STEPS = (
    Step(Phase.SIMULATE, 0),
    Step(Phase.WARN, 100),
    Step(Phase.ENFORCE, 5),
    Step(Phase.ENFORCE, 25),
    Step(Phase.ENFORCE, 100),
)
_ORDER = (Phase.SIMULATE, Phase.WARN, Phase.ENFORCE)


@dataclass(frozen=True)
class Rollout:
    """A rollout as it stands.

    Attributes:
        rollout_id: UUIDv7 of its start.
        pack: the pack's name.
        cohort: whose pointer it moves; ``all`` unless a tenant has a pointer of its own.
        baseline: revision that decides now.
        challenger: revision that shall decide.
        steps: the plan.
        declared: widenings that the change declares.
        step: index into ``steps``.
        phase: the step's phase, or how the rollout ended.
        held: whether a person holds it; it may still abort.
        step_started_at: when the step began.
        sequence: number of the last transition; the row's version.
    """

    rollout_id: UUID
    pack: str
    cohort: str
    baseline: Digest
    challenger: Digest
    steps: tuple[Step, ...]
    declared: tuple[Widening, ...]
    step: int
    phase: Phase
    held: bool
    step_started_at: datetime
    sequence: int

    @property
    def percent(self) -> int:
        """The share of tenants for whom the new pack decides."""
        if self.phase is Phase.COMPLETED:
            return 100
        return self.steps[self.step].percent if self.phase is Phase.ENFORCE else 0

    @property
    def warn_percent(self) -> int:
        """The share of tenants whom the new pack warns where it does not decide."""
        if self.phase is Phase.WARN:
            return self.steps[self.step].percent
        return 100 if self.phase is Phase.ENFORCE else 0

    @property
    def enforces_next(self) -> bool:
        """Whether the next step lets the new pack decide for more tenants, which takes people's signatures."""
        following = self.step + 1
        return self.phase in ACTIVE and (following == len(self.steps) or self.steps[following].phase is Phase.ENFORCE)


@dataclass(frozen=True)
class Transition:
    """One change of a rollout, and why."""

    rollout_id: UUID
    sequence: int
    act: Act
    before: Phase | None
    after: Phase
    step: int
    reason: str
    by: str
    """``controller``, or the person's id."""
    at: datetime
    evidence: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """Return what the audit log commits to; a verdict can be computed again from it alone."""
        return {
            "rollout": str(self.rollout_id),
            "sequence": self.sequence,
            "act": self.act.value,
            "before": None if self.before is None else self.before.value,
            "after": self.after.value,
            "step": self.step,
            "reason": self.reason,
            "by": self.by,
            "at": rfc3339(self.at),
            "evidence": self.evidence,
        }


def check_plan(steps: tuple[Step, ...]) -> None:
    """Check that a plan simulates, warns, then enforces for more and more tenants up to all.

    Raises:
        InputError: it does not.
    """
    order = [_ORDER.index(step.phase) if step.phase in _ORDER else -1 for step in steps]
    enforced = [step.percent for step in steps if step.phase is Phase.ENFORCE]
    if order != sorted(order) or set(order) != {0, 1, 2}:
        raise InputError("A rollout goes through simulate, warn and enforce, in this order", field="steps")
    if enforced != sorted(set(enforced)) or enforced[-1] != 100 or enforced[0] <= 0:  # noqa: PLR2004 - percent
        raise InputError("Enforcement grows and ends at 100 %", field="steps", value=enforced)
    if any(step.deadline <= timedelta(0) for step in steps):
        raise InputError("A step needs a deadline in the future", field="steps")


def start(
    *,
    rollout_id: UUID,
    pack: str,
    baseline: Digest,
    challenger: Digest,
    now: datetime,
    by: str,
    cohort: str = "all",
    steps: tuple[Step, ...] = DEFAULT_STEPS,
    declared: tuple[Widening, ...] = (),
) -> tuple[Rollout, Transition]:
    """Begin a rollout in simulate.

    Raises:
        InputError: the plan is malformed, or both revisions are the same.
    """
    check_plan(steps)
    if baseline == challenger:
        raise InputError("The pack already has this revision", field="revision", value=challenger)
    rollout = Rollout(
        rollout_id, pack, cohort, baseline, challenger, steps, declared,
        step=0, phase=steps[0].phase, held=False, step_started_at=now, sequence=1,
    )  # fmt: skip
    return rollout, _transition(rollout, Act.STARTED, None, "started", by, now, {})


def decide(rollout: Rollout, gate: Gate, now: datetime) -> tuple[Rollout, Transition] | None:
    """Move a rollout on the evidence of its step; None = it stays."""
    if rollout.phase not in ACTIVE:
        return None
    evidence = gate.statistics | {"decision": gate.decision.value, "harmed_tenants": list(gate.harmed_tenants)}
    if gate.decision is Decision.ABORT:
        return _end(rollout, Phase.ABORTED, Act.ABORTED, gate.reason, "controller", now, evidence)
    if now - rollout.step_started_at >= rollout.steps[rollout.step].deadline:
        reason = f"not enough evidence by the deadline: {gate.reason}"
        return _end(rollout, Phase.STOPPED, Act.STOPPED, reason, "controller", now, evidence)
    if gate.decision is Decision.HOLD or rollout.held:
        return None
    if rollout.step + 1 == len(rollout.steps):
        return _end(rollout, Phase.COMPLETED, Act.COMPLETED, gate.reason, "controller", now, evidence)
    after = replace(
        rollout,
        step=rollout.step + 1,
        phase=rollout.steps[rollout.step + 1].phase,
        step_started_at=now,
        sequence=rollout.sequence + 1,
    )
    return after, _transition(after, Act.ADVANCED, rollout.phase, gate.reason, "controller", now, evidence)


def hold(rollout: Rollout, *, held: bool, reason: str, by: str, now: datetime) -> tuple[Rollout, Transition] | None:
    """Hold a rollout by hand, or let it go on; None = it already stands so.

    Raises:
        ConflictError: it has ended.
    """
    _refuse_ended(rollout)
    if rollout.held is held:
        return None
    after = replace(rollout, held=held, sequence=rollout.sequence + 1)
    act = Act.HELD if held else Act.RESUMED
    return after, _transition(after, act, rollout.phase, reason, by, now, {})


def abort(rollout: Rollout, *, reason: str, by: str, now: datetime) -> tuple[Rollout, Transition] | None:
    """Abort a rollout by hand; None = it already is.

    Raises:
        ConflictError: it has ended otherwise.
    """
    if rollout.phase is Phase.ABORTED:
        return None
    _refuse_ended(rollout)
    return _end(rollout, Phase.ABORTED, Act.ABORTED, reason, by, now, {})


def takes_part(rollout_id: UUID, tenant: str, percent: int) -> bool:
    """Tell whether a tenant is within the first ``percent`` of a rollout; sticky, and monotone in it."""
    bucket = int.from_bytes(hashlib.sha256(f"{rollout_id}/{tenant}".encode()).digest()[:8]) % _BUCKETS
    return bucket * 100 < percent * _BUCKETS


def _refuse_ended(rollout: Rollout) -> None:
    if rollout.phase not in ACTIVE:
        raise ConflictError("The rollout has ended", field="rollout", value=str(rollout.rollout_id), mend="start anew")


def _end(
    rollout: Rollout, phase: Phase, act: Act, reason: str, by: str, now: datetime, evidence: dict[str, Any]
) -> tuple[Rollout, Transition]:
    after = replace(rollout, phase=phase, held=False, sequence=rollout.sequence + 1)
    return after, _transition(after, act, rollout.phase, reason, by, now, evidence)


def _transition(
    after: Rollout, act: Act, before: Phase | None, reason: str, by: str, now: datetime, evidence: dict[str, Any]
) -> Transition:
    return Transition(after.rollout_id, after.sequence, act, before, after.phase, after.step, reason, by, now, evidence)
