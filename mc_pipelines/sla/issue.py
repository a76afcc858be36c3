"""Completes what people have signed: number, note, ledger, log leaf and incident outcomes in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from mc_pipelines.attest.dsse import verify
from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import digest_of, parse_json
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.foundation.flags import SLA_CREDITS, enabled
from mc_pipelines.foundation.ids import KeyId, TenantId
from mc_pipelines.foundation.tenants import key_holder
from mc_pipelines.sla import ledger
from mc_pipelines.sla.assessment import gather
from mc_pipelines.sla.calendar import Period
from mc_pipelines.sla.contract_store import Assigned, get_contract
from mc_pipelines.sla.draft import end_draft
from mc_pipelines.sla.draft_store import (
    EXPIRED,
    ISSUED,
    OPEN,
    SUPERSEDED,
    Draft,
    get_draft,
    list_drafts,
    lock,
    write_event,
)
from mc_pipelines.sla.evidence import parse_evidence
from mc_pipelines.sla.note import plain_numbers, seal_note
from mc_pipelines.sla.note_store import Issued, find_note, list_notes, next_number, write_note
from mc_pipelines.sla.outcome_store import link_incidents
from mc_pipelines.sla.review import public_key

NOTE_ISSUED = "credits.note-issued"
"""The act in the audit log; its subject is the note's number, its content the envelope."""


def issue_completed(database: Database, clock: Clock, *, tenant: TenantId | None = None) -> list[Issued]:
    """Issue the note of every draft that has all its signatures; what the sensor calls, again and again.

    Each note is one transaction: a crash leaves either everything of it or nothing, and a retry finds it done.
    """
    with database.begin() as connection:
        ready = [draft for draft in list_drafts(connection, tenant=tenant, state=OPEN) if draft.complete]
        ready = [draft for draft in ready if enabled(connection, SLA_CREDITS, tenant=draft.subject.tenant)]
    issued = [complete(database, clock, draft.draft_id) for draft in ready]
    return [one for one in issued if one is not None]


def complete(database: Database, clock: Clock, draft_id: str) -> Issued | None:
    """Issue the note of one draft if everybody has signed; a draft whose facts have changed is superseded.

    Returns:
        The note, also where it was issued before; None while a signature is missing or the draft has ended.

    Raises:
        VerificationError: a recorded signature does not hold any more.
    """
    now = clock.now()
    with database.begin() as connection:
        draft = get_draft(connection, draft_id)
        lock(connection, repr(draft.subject))
        draft = get_draft(connection, draft.draft_id)
        if draft.state == ISSUED:
            return find_note(connection, draft.draft_id)
        if draft.state != OPEN or not draft.complete:
            return None
        if now >= draft.expires_at:
            end_draft(connection, draft, EXPIRED, now=now)
            return None
        if _facts_changed(connection, draft):
            end_draft(connection, draft, SUPERSEDED, now=now, reason="the facts have changed since it was drafted")
            return None
        _verify_signatures(connection, draft)
        return _issue(connection, draft, now)


def _facts_changed(connection: Connection, draft: Draft) -> bool:
    subject = draft.subject
    sealed = get_contract(connection, subject.contract)
    assigned = Assigned(subject.tenant, sealed, subject.first, subject.last)
    evidence = gather(connection, assigned, Period(subject.first, subject.last, sealed.contract.zone))
    return replace(evidence, reversal=parse_evidence(draft.evidence).reversal).to_bytes() != draft.evidence


def _verify_signatures(connection: Connection, draft: Draft) -> None:
    keys: dict[KeyId, bytes] = {}
    people = set()
    for signed in draft.signatures:
        holder = key_holder(connection, signed.key_id, at=signed.signed_at)
        if holder is None or holder.person_id != signed.person_id:
            raise VerificationError("A signature's key was not its person's then", field="keyid", value=signed.key_id)
        people.add(holder.person_id)
        keys[signed.key_id] = public_key(connection, signed.key_id)
    verify(draft.envelope, keys, threshold=draft.signatures_needed)
    if len(people) < draft.signatures_needed:
        raise VerificationError("Too few different people have signed", field="signatures", value=len(people))


def _issue(connection: Connection, draft: Draft, now: datetime) -> Issued:
    if len(list_notes(connection, subject=draft.subject)) != draft.restatement:
        raise VerificationError("Another document was issued for this period", field="draft", value=draft.draft_id)
    number = next_number(connection)
    envelope = draft.envelope.to_json()
    leaf_id = append(connection, act=NOTE_ISSUED, subject=number, content=envelope, at=now, keep=False)
    issued = Issued(
        number,
        draft.draft_id,
        draft.kind,
        draft.subject,
        draft.restatement,
        draft.amount,
        seal_note(draft.note, draft.envelope),
        envelope,
        digest_of(plain_numbers(parse_json(draft.note, what="note"))),
        leaf_id,
        now,
    )
    write_note(connection, issued)
    write_event(connection, draft.draft_id, ISSUED, at=now)
    ledger.post(connection, draft.draft_id, draft.subject.tenant, draft.amount, now=now)
    link_incidents(connection, draft, issued, now=now)
    return issued
