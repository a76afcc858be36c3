"""Turns breaches into drafts. A draft moves no money: it reserves it and waits for two people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json, digest_of
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import UnavailableError
from mc_pipelines.foundation.flags import SLA_CREDITS, enabled
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla import ledger
from mc_pipelines.sla.assessment import Assessment, assess, is_closed, periods_of, record, subject_of_period
from mc_pipelines.sla.calendar import Period
from mc_pipelines.sla.contract_store import Assigned, list_assignments
from mc_pipelines.sla.credit import REVERSAL
from mc_pipelines.sla.draft_store import (
    EXPIRED,
    ISSUED,
    OPEN,
    REJECTED,
    REMINDED,
    SUPERSEDED,
    Draft,
    Subject,
    list_drafts,
    lock,
    write_draft,
    write_event,
)
from mc_pipelines.sla.evidence import Evidence, parse_evidence
from mc_pipelines.sla.limits import DEFAULT_LIMITS, Limits
from mc_pipelines.sla.note import note_document, statement_of_note
from mc_pipelines.sla.note_store import given_in_month, list_notes

WAITS, HOLD, NOTHING, REFUSED, REVERSED = "draft", "hold", "nothing due", "rejected", "reversed"


@dataclass(frozen=True, slots=True)
class DraftOutcome:
    """What drafting did for a period.

    Args:
        subject: the period.
        status: draft, hold, nothing due, rejected or reversed.
        draft: the open draft, if there is one.
        new: whether it was made now.
        reason: why there is none.
        assessment: what it was judged on.
    """

    subject: Subject
    status: str
    draft: Draft | None
    new: bool
    reason: str | None
    assessment: Assessment


def require_writable(connection: Connection, tenant: TenantId) -> None:
    """Refuse to change credits while the flag is off: they are read-only then.

    Raises:
        UnavailableError: the flag ``sla_credits`` is off for the tenant.
    """
    if not enabled(connection, SLA_CREDITS, tenant=tenant):
        raise UnavailableError(
            "Credits are read-only: the flag is off",
            field="sla_credits",
            value=False,
            mend="`mc flags set sla_credits on`; reading and verifying work meanwhile",
        )


def draft_credits(
    database: Database,
    clock: Clock,
    *,
    tenant: TenantId | None = None,
    service: ServiceId | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> list[DraftOutcome]:
    """Judge every closed period and draft what is owed; a second call changes nothing.

    Nothing is drafted for a tenant for whom the flag ``sla_credits`` is off.

    Args:
        database: as mc_app.
        clock: decides which periods are closed.
        tenant: only this tenant.
        service: only this service.
        limits: from when a third person must sign, and when a draft expires.
    """
    now = clock.now()
    with database.begin() as connection:
        assignments = [
            assigned
            for assigned in list_assignments(connection, tenant=tenant)
            if service in {None, assigned.contract.service} and enabled(connection, SLA_CREDITS, tenant=assigned.tenant)
        ]
    outcomes: list[DraftOutcome] = []
    for assigned in assignments:
        for period in periods_of(assigned, now):
            if is_closed(assigned.contract, period, now):
                with database.begin() as connection:
                    outcomes.append(draft_period(connection, assigned, period, now=now, limits=limits))
    return outcomes


def draft_period(
    connection: Connection,
    assigned: Assigned,
    period: Period,
    *,
    now: datetime,
    limits: Limits = DEFAULT_LIMITS,
    again: bool = False,
) -> DraftOutcome:
    """Judge one period and draft what is owed, in the caller's transaction.

    An open draft whose evidence is no longer the newest is superseded: what its maker signed is not what is
    owed. A rejected draft is not made again on the same evidence unless a person asks (``again``).
    """
    subject = subject_of_period(assigned, period)
    lock(connection, repr(subject))
    assessment = assess(connection, assigned, period, now=now)
    record(connection, assessment, now=now)
    step = assessment.judgement.step
    drafts = list_drafts(connection, subject=subject)
    current = next((draft for draft in drafts if draft.state == OPEN), None)
    evidence = assessment.evidence.to_bytes()
    if current is not None:
        if now < current.expires_at and _still_holds(current, assessment.evidence):
            return DraftOutcome(subject, WAITS, current, new=False, reason=None, assessment=assessment)
        end_draft(connection, current, EXPIRED if now >= current.expires_at else SUPERSEDED, now=now)
    if step is None or step.document is None:
        status = HOLD if step is None else NOTHING
        reason = assessment.judgement.reason or "the documents already issued give what is owed"
        return DraftOutcome(subject, status, None, new=False, reason=reason, assessment=assessment)
    restatement = len(list_notes(connection, subject=subject))
    tries = [draft for draft in drafts if draft.restatement == restatement]
    if not again:
        if any(draft.state == REJECTED and draft.evidence == evidence for draft in tries):
            why = next(draft.reason for draft in reversed(tries) if draft.state == REJECTED)
            return DraftOutcome(subject, REFUSED, None, new=False, reason=why, assessment=assessment)
        reversed_for = reversal_in_force(drafts, assessment.evidence)
        if reversed_for is not None:
            return DraftOutcome(subject, REVERSED, None, new=False, reason=reversed_for, assessment=assessment)
    draft = make_draft(connection, assessment, restatement, len(tries), now=now, limits=limits)
    return DraftOutcome(subject, WAITS, draft, new=True, reason=None, assessment=assessment)


def _still_holds(draft: Draft, evidence: Evidence) -> bool:
    return replace(evidence, reversal=parse_evidence(draft.evidence).reversal).to_bytes() == draft.evidence


def reversal_in_force(drafts: Sequence[Draft], evidence: Evidence) -> str | None:
    """Return why a period's newest document took a note back, while nothing new has been seen since; else None.

    Two people signed the reversal knowing these facts, so the facts alone do not give the credit again.
    """
    newest = max((draft for draft in drafts if draft.state == ISSUED), key=lambda one: one.restatement, default=None)
    if newest is None or newest.kind != REVERSAL:
        return None
    seen = parse_evidence(newest.evidence)
    return seen.reversal.reason if seen.reversal is not None and seen.basis == evidence.basis else None


def make_draft(
    connection: Connection, assessment: Assessment, restatement: int, attempt: int, *, now: datetime, limits: Limits
) -> Draft:
    """Write a draft of an assessment that gives a document, its reservation and its leaf, in the caller's transaction.

    Args:
        connection: holds the lock of the subject.
        assessment: what the document follows from.
        restatement: how many documents the period has.
        attempt: how many drafts of this restatement there were.
        now: when it is made.
        limits: from when a third person must sign, and when it expires.
    """
    subject, step = assessment.subject, assessment.judgement.step
    assert step is not None  # noqa: S101 - the caller looked
    assert step.document is not None  # noqa: S101
    draft_id = idempotency_key(subject, restatement, attempt)
    needed = limits.signatures_for(step.amount, given_in_month(connection, subject, step.amount.currency))
    statement = statement_of_note(
        assessment.assigned.sealed,
        assessment.evidence,
        assessment.judgement,
        draft_id=draft_id,
        restatement=restatement,
        signatures=needed,
        drafted_at=now,
    )
    note = note_document(assessment.assigned.contract, assessment.evidence, assessment.judgement)
    draft = Draft(
        draft_id,
        subject,
        restatement,
        attempt,
        step.document,
        step.amount,
        needed,
        canonical_json(note),
        statement.to_bytes(),
        assessment.evidence.to_bytes(),
        now,
        now + limits.expire_after,
    )
    write_draft(connection, draft)
    ledger.reserve(connection, draft_id, subject.tenant, draft.amount, now=now)
    append(connection, act="credits.drafted", subject=draft_id, content=draft.payload, at=now, keep=False)
    return draft


def idempotency_key(subject: Subject, restatement: int, attempt: int) -> str:
    """Return the id of a draft, from its content alone: no randomness, no time, so it never expires."""
    content = {name: str(value) for name, value in subject.columns.items()}
    return digest_of(content | {"restatement": restatement, "attempt": attempt}).removeprefix("sha256:")


def end_draft(
    connection: Connection,
    draft: Draft,
    event: str,
    *,
    now: datetime,
    person: object = None,
    reason: str | None = None,
) -> None:
    """End a draft without a note: release the reservation and say so in the log."""
    from uuid import UUID

    who = person if isinstance(person, UUID) else None
    if write_event(connection, draft.draft_id, event, at=now, person=who, reason=reason):
        ledger.void(connection, draft.draft_id, now=now)
        content = canonical_json({"draft": draft.draft_id, "event": event, "reason": reason})
        append(connection, act=f"credits.{event}", subject=draft.draft_id, content=content, at=now)


def age_drafts(database: Database, clock: Clock, *, limits: Limits = DEFAULT_LIMITS) -> tuple[list[Draft], list[Draft]]:
    """Expire drafts past their time and name those to remind people of, each once; return (expired, reminded)."""
    now = clock.now()
    expired: list[Draft] = []
    reminded: list[Draft] = []
    with database.begin() as connection:
        waiting = list_drafts(connection, state=OPEN)
    for draft in waiting:
        with database.begin() as connection:
            lock(connection, repr(draft.subject))
            if now >= draft.expires_at:
                end_draft(connection, draft, EXPIRED, now=now)
                expired.append(draft)
            elif now >= draft.created_at + limits.remind_after and write_event(
                connection, draft.draft_id, REMINDED, at=now
            ):
                reminded.append(draft)
    return expired, reminded
