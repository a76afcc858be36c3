"""Rollouts of policy: look at them, hold them, abort them, and ask for the next step.

Nobody can force a step: `advance` moves a rollout only where its gate says so, on the evidence there is.
"""

from __future__ import annotations

import base64
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body
from pydantic import Field, model_validator
from sqlalchemy import Connection

from mc_pipelines.api.access import AccessOf, ContextOf, guarded_router
from mc_pipelines.api.documents import Answer, Ask, Moment, Reason
from mc_pipelines.api.openapi import answers
from mc_pipelines.api.parameters import DECLARED_ONLY
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.composition import Context
from mc_pipelines.executions.facts import scan_facts
from mc_pipelines.foundation import flags
from mc_pipelines.foundation.errors import ConflictError, UnavailableError
from mc_pipelines.foundation.ids import parse_uuid
from mc_pipelines.policy import rollout as machine
from mc_pipelines.policy.controller import approve_rollout, change, gate_of, get_rollout, history, list_rollouts
from mc_pipelines.policy.error_budget import LONGEST, budget_stable
from mc_pipelines.policy.gates import Gate
from mc_pipelines.policy.proposal import Proposal
from mc_pipelines.policy.rollout import ACTIVE, Rollout, Transition

router = guarded_router("policy rollouts")

_ROLLOUT = {
    "rollout": "019bd7a0-0000-7000-8000-000000000000",
    "pack": "placement",
    "cohort": "all",
    "phase": "warn",
    "step": 1,
    "percent": 0,
    "held": False,
    "sequence": 2,
    "baseline": "sha256:" + "1f" * 32,
    "challenger": "sha256:" + "8c" * 32,
    "stepStartedAt": "2026-01-19T17:00:00Z",
}
_GATE = {
    "decision": "hold",
    "reason": "evidence is thin: 412 decisions",
    "harmedTenants": [],
    "statistics": {"totals": {"decisions": 412, "harmed": 0}},
}
_TRANSITION = {
    "rollout": _ROLLOUT["rollout"],
    "sequence": 2,
    "act": "advanced",
    "before": "simulate",
    "after": "warn",
    "step": 1,
    "reason": "harm below 0.20% (evidence 131 to 1)",
    "by": "controller",
    "at": "2026-01-19T17:00:00Z",
    "evidence": {},
}


class Act(StrEnum):
    """What is asked for."""

    ADVANCE = "advance"
    HOLD = "hold"
    RESUME = "resume"
    ABORT = "abort"


class RolloutRequest(Ask):
    """One act on one rollout."""

    rollout: Annotated[UUID, Field(strict=False, description="its id")]
    act: Annotated[Act, Field(strict=False)]
    reason: Annotated[Reason | None, Field(description="why; needed to hold, resume and abort")] = None
    sequence: Annotated[
        int | None,
        Field(ge=1, description="needed to advance: the sequence you saw, so that a repeat moves nothing further"),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> RolloutRequest:
        if self.act is Act.ADVANCE and self.sequence is None:
            raise ValueError("to advance, give the `sequence` that you saw")
        if self.act is not Act.ADVANCE and self.reason is None:
            raise ValueError(f"to {self.act}, give a `reason`")
        return self


class RolloutAnswer(Answer):
    """A rollout as it stands."""

    rollout: UUID
    pack: str
    cohort: str
    phase: str
    step: int
    percent: int = Field(description="share of tenants for whom the new revision decides")
    held: bool
    sequence: int
    baseline: str
    challenger: str
    step_started_at: Moment


class GateAnswer(Answer):
    """What the gate says of the evidence of the step."""

    decision: str
    reason: str
    harmed_tenants: list[str]
    statistics: dict[str, Any]


class RolloutDetails(RolloutAnswer):
    """A rollout, what its gate says now, and how it came there."""

    gate: GateAnswer | None = Field(description="null once the rollout has ended")
    payload: str = Field(description="the bytes that people sign, in base64")
    history: list[dict[str, Any]]


class MovedAnswer(RolloutAnswer):
    """A rollout after an act."""

    moved: bool = Field(description="false: it already stood so")


class ApprovalRequest(Ask):
    """One person's signature."""

    envelope: dict[str, Any] = Field(
        description="a DSSE envelope whose payload is the rollout's `payload`, with one signature of your key"
    )


class ApprovedAnswer(RolloutAnswer):
    """A rollout and its signatures."""

    signatures: int = Field(description="people whose signature counts now")
    missing: str | None = Field(description="what enforcing still waits for; null: nothing but the evidence")


class RolloutList(Answer):
    """All rollouts."""

    rollouts: list[RolloutAnswer]


@router.get(
    "/api/policy/rollout",
    summary="List all rollouts, newest first",
    responses=answers({"rollouts": [_ROLLOUT]}, 400),
    dependencies=[DECLARED_ONLY],
)
def index(context: ContextOf) -> RolloutList:
    """Return every rollout there is or was."""
    with context.database.begin() as connection:
        return RolloutList(rollouts=[RolloutAnswer(**_facts(rollout)) for rollout in list_rollouts(connection)])


@router.get(
    "/api/policy/rollout/{rollout}",
    summary="Show a rollout, its evidence and its history",
    responses=answers(_ROLLOUT | {"gate": _GATE, "payload": "eyJfdHlwZSI6Li4ufQ==", "history": [_TRANSITION]}, 404),
)
def show(rollout: str, context: ContextOf) -> RolloutDetails:
    """Judge the step as it stands now; looking moves nothing."""
    with context.database.begin() as connection:
        found = get_rollout(connection, parse_uuid(rollout, field="rollout"))
        gate = _gate(connection, context, found) if found.phase in ACTIVE else None
        documents = history(connection, found.rollout_id)
    return RolloutDetails(
        **_facts(found),
        gate=None if gate is None else _gate_answer(gate),
        payload=base64.b64encode(Proposal.of(found).payload).decode(),
        history=documents,
    )


@router.post(
    "/api/policy/rollout",
    summary="Advance, hold, resume or abort a rollout",
    responses=answers(_ROLLOUT | {"moved": True}, 404, 409, description="As it stands afterwards"),
)
def act(
    request: Annotated[
        RolloutRequest,
        Body(
            openapi_examples={
                "advance": {"value": {"rollout": _ROLLOUT["rollout"], "act": "advance", "sequence": 1}},
                "abort": {"value": {"rollout": _ROLLOUT["rollout"], "act": "abort", "reason": "wrong rule"}},
            }
        ),
    ],
    access: AccessOf,
    context: ContextOf,
) -> MovedAnswer:
    """Act on a rollout; a repeat of the same request changes nothing.

    `advance` is never forced: where the gate does not say so, the answer is 409 with the gate's reason and
    statistics; where it finds harm, the rollout is aborted. `abort` gives every tenant the old revision back at once.
    """
    with context.database.begin() as connection:
        if not flags.enabled(connection, flags.POLICY_ROLLOUT_CONTROLLER, profile=context.settings.profile):
            raise UnavailableError(
                "The rollout controller is switched off",
                field="flag",
                value=flags.POLICY_ROLLOUT_CONTROLLER,
                mend="`mc flags set policy_rollout_controller on`",
            )
        step = _Step(connection, context, request, by=str(access.person.person_id))
        after = change(connection, request.rollout, context.clock.now(), step)
    return MovedAnswer(**_facts(after), moved=step.moved)


@router.post(
    "/api/policy/rollout/{rollout}/approve",
    summary="Add a person's signature to a rollout",
    responses=answers(_ROLLOUT | {"signatures": 2, "missing": None}, 403, 404, 409, 422),
)
def approve(rollout: str, request: ApprovalRequest, access: AccessOf, context: ContextOf) -> ApprovedAnswer:
    """Take a signature that was made elsewhere over the rollout's payload; two people's let it be enforced."""
    after, standing = approve_rollout(
        context.database,
        context.clock,
        parse_uuid(rollout, field="rollout"),
        access.person,
        Envelope.from_document(request.envelope),
    )
    return ApprovedAnswer(**_facts(after), signatures=len(standing.signed), missing=standing.missing)


class _Step:
    """What a request does to its rollout, whose row is locked meanwhile."""

    def __init__(self, connection: Connection, context: Context, request: RolloutRequest, *, by: str) -> None:
        self._connection = connection
        self._context = context
        self._request = request
        self._by = by
        self.moved = False

    def __call__(self, rollout: Rollout, now: datetime) -> tuple[Rollout, Transition] | None:
        """Return the move, or None where the rollout already stands so.

        Raises:
            ConflictError: the rollout has ended or moved on, a person holds it, or its gate says no.
        """
        act, reason = self._request.act, self._request.reason or ""
        if act is Act.ADVANCE:
            changed = self._advance(rollout, now)
        elif act is Act.ABORT:
            changed = machine.abort(rollout, reason=reason, by=self._by, now=now)
        else:
            changed = machine.hold(rollout, held=act is Act.HOLD, reason=reason, by=self._by, now=now)
        self.moved = changed is not None
        return changed

    def _advance(self, rollout: Rollout, now: datetime) -> tuple[Rollout, Transition] | None:
        seen = self._request.sequence or 0
        if rollout.sequence == seen + 1 and history(self._connection, rollout.rollout_id)[-1]["by"] == "controller":
            return None  # a repeat of the request that made the last move
        if rollout.phase not in ACTIVE:
            raise ConflictError("The rollout has ended", field="rollout", value=str(rollout.rollout_id))
        if rollout.sequence != seen:
            raise ConflictError(
                "The rollout has moved since you looked",
                field="sequence",
                value=seen,
                mend="look again and decide anew",
                current=rollout.sequence,
            )
        gate = _gate(self._connection, self._context, rollout)
        changed = machine.decide(rollout, gate, now)
        if changed is None:
            held = "a person holds it; resume it first" if rollout.held else gate.reason
            raise ConflictError(
                f"The rollout stays where it is: {held}",
                field="rollout",
                value=str(rollout.rollout_id),
                mend="wait for evidence; nobody can force a step",
                gate=_gate_answer(gate).model_dump(by_alias=True),
            )
        return changed


def _gate(connection: Connection, context: Context, rollout: Rollout) -> Gate:
    now = context.clock.now()
    facts = scan_facts(context.object_store, first_day=(now - LONGEST).date(), last_day=now.date())
    return gate_of(connection, rollout, budget_stable=budget_stable(facts, now), now=now)


def _gate_answer(gate: Gate) -> GateAnswer:
    return GateAnswer(
        decision=gate.decision.value,
        reason=gate.reason,
        harmed_tenants=list(gate.harmed_tenants),
        statistics=gate.statistics,
    )


def _facts(rollout: Rollout) -> dict[str, Any]:
    return {
        "rollout": rollout.rollout_id,
        "pack": rollout.pack,
        "cohort": rollout.cohort,
        "phase": rollout.phase.value,
        "step": rollout.step,
        "percent": rollout.percent,
        "held": rollout.held,
        "sequence": rollout.sequence,
        "baseline": rollout.baseline,
        "challenger": rollout.challenger,
        "step_started_at": rollout.step_started_at,
    }
