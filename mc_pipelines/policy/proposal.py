"""What people sign about a change of policy: one statement that holds everything that is decided when it begins.

The bytes follow from the rollout's own facts, so they are computed again at every step that needs the signatures: a
rollout whose plan, baseline or declared widenings were changed afterwards has no signatures any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from mc_pipelines.attest.statement import Statement, Subject, predicate_type
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.policy.evidence import Widening
from mc_pipelines.policy.rollout import DEFAULT_STEPS, Rollout, Step

PREDICATE_TYPE = predicate_type("policy-rollout")
MAXIMUM_AGE = timedelta(days=7)
"""A signed proposal that nobody began by then is void."""
_UUID_VERSION = 7


@dataclass(frozen=True)
class Proposal:
    """A change of policy before it begins; the attributes are those of :class:`Rollout`."""

    rollout_id: UUID
    pack: str
    baseline: Digest
    challenger: Digest
    cohort: str = "all"
    steps: tuple[Step, ...] = DEFAULT_STEPS
    declared: tuple[Widening, ...] = ()

    def __post_init__(self) -> None:
        if self.rollout_id.version != _UUID_VERSION:
            raise InputError("A rollout's id is a UUIDv7", field="rollout", value=str(self.rollout_id))

    @classmethod
    def of(cls, rollout: Rollout) -> Proposal:
        """Return the proposal that a rollout began with."""
        return cls(
            rollout.rollout_id,
            rollout.pack,
            rollout.baseline,
            rollout.challenger,
            rollout.cohort,
            rollout.steps,
            rollout.declared,
        )

    @property
    def proposed_at(self) -> datetime:
        """The moment in the rollout's id, to the millisecond."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.rollout_id.int >> 80)

    @property
    def payload(self) -> bytes:
        """The bytes to sign, in a DSSE envelope of in-toto's payload type."""
        return self.statement().to_bytes()

    def statement(self) -> Statement:
        """Return the statement; its subject is the pack at the new revision."""
        return Statement(
            (Subject.of(f"policy/{self.pack}", self.challenger),),
            PREDICATE_TYPE,
            {
                "rollout": str(self.rollout_id),
                "pack": self.pack,
                "cohort": self.cohort,
                "baseline": self.baseline,
                "challenger": self.challenger,
                "steps": [
                    {
                        "phase": step.phase.value,
                        "percent": step.percent,
                        "deadlineSeconds": int(step.deadline.total_seconds()),
                    }
                    for step in self.steps
                ],
                "declaredWidenings": [{"rule": one.rule, "tenant": one.tenant} for one in self.declared],
                "grants": "one signature begins it; a second person's over the same bytes lets it be enforced",
            },
        )
