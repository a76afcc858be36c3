"""A request for a credit, as POST /api/credits makes it: the figure is ours, the status says how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.foundation.canonical import parse_json
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, InputError, MaestroError, NotFoundError
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.foundation.money import Money, exact
from mc_pipelines.foundation.tenants import Person
from mc_pipelines.sla.assessment import is_closed, subject_of_period
from mc_pipelines.sla.calendar import Period, parse_period
from mc_pipelines.sla.contract import Objective
from mc_pipelines.sla.contract_store import Assigned, find_assigned, list_assignments
from mc_pipelines.sla.draft import DraftOutcome, draft_period, require_writable
from mc_pipelines.sla.issue import complete
from mc_pipelines.sla.limits import DEFAULT_LIMITS, Limits
from mc_pipelines.sla.note import plain_numbers
from mc_pipelines.sla.note_store import Issued, list_notes
from mc_pipelines.sla.review import audit_refusal

CREATED, ACCEPTED, REPLAYED = 201, 202, 200


@dataclass(frozen=True, slots=True)
class Answer:
    """Status code and body: 202 and the draft, 201 and the note, 200 and the same note again."""

    status: int
    body: dict[str, Any]


def create_credit(
    database: Database,
    clock: Clock,
    *,
    tenant: TenantId,
    service: ServiceId,
    period: str,
    contract: str,
    objective: Objective = Objective.AVAILABILITY,
    expected: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    person: Person | None = None,
) -> Answer:
    """Draft, complete or repeat the credit of a period.

    Args:
        database: as mc_app.
        clock: now.
        tenant: for whom.
        service: of which service.
        period: the billing period, such as ``2026-01-19/2026-01-25``.
        contract: digest of the contract the caller believes holds.
        objective: availability or latency.
        expected: the caller's own figure in major units; never used, only compared.
        limits: from when a third person must sign.
        person: who asks; a refusal is audited under them.

    Raises:
        UnavailableError: credits are read-only (503).
        NotFoundError: the tenant has no such contract then (404).
        ConflictError: another contract holds, or the caller's figure differs; carries both (409).
        InputError: no data, no breach, no charge, a period that is not the contract's or not closed (422).
    """
    now = clock.now()
    try:
        with database.begin() as connection:
            require_writable(connection, tenant)
            assigned, billing = _resolve(connection, tenant, service, objective, period, contract)
            _require_closed(assigned, billing, now)
            outcome = draft_period(connection, assigned, billing, now=now, limits=limits)
            notes = list_notes(connection, subject=subject_of_period(assigned, billing))
            # Compared before anything is committed: a refusal leaves no draft behind.
            if outcome.draft is not None:
                _compare(expected, outcome.draft.amount)
            elif notes:
                _compare(expected, _sum(notes))
            else:
                raise _nothing(outcome)
    except MaestroError as error:
        if person is not None:
            audit_refusal(database, "credits.request-refused", f"{tenant} {service}", person, error, now)
        raise
    if outcome.draft is None:
        return Answer(REPLAYED, note_body(notes[-1]))
    issued = complete(database, clock, outcome.draft.draft_id)
    if issued is not None:
        return Answer(CREATED, note_body(issued))
    return Answer(ACCEPTED, draft_body(outcome))


def _require_closed(assigned: Assigned, period: Period, now: datetime) -> None:
    if not is_closed(assigned.contract, period, now):
        raise InputError(
            "The period is not closed: late facts may still come",
            field="period",
            value=period.text,
            mend="ask again once the contract's closeAfter has passed",
        )


def _resolve(
    connection: Connection, tenant: TenantId, service: ServiceId, objective: Objective, period: str, contract: str
) -> tuple[Assigned, Period]:
    first = parse_period(period, "UTC").first
    assigned = find_assigned(list_assignments(connection, tenant=tenant), service, objective, first)
    if assigned is None:
        raise NotFoundError("The tenant has no contract for this service then", field="service", value=service)
    if assigned.sealed.digest != contract:
        raise ConflictError("Another contract holds", field="contract", value=contract, recorded=assigned.sealed.digest)
    terms = assigned.contract
    given = parse_period(period, terms.zone)
    billing = assigned.billing_period(given.first)
    if billing != given:
        raise InputError(
            "Not a billing period of the contract", field="period", value=period, mend=f"ask for {billing.text}"
        )
    return assigned, billing


def _nothing(outcome: DraftOutcome) -> InputError:
    return InputError(
        f"No credit: {outcome.reason}",
        field="period",
        value=outcome.assessment.evidence.period.text,
        mend="`mc sla report` shows what was measured",
        state=outcome.assessment.judgement.state.value,
        outcome=outcome.status,
    )


def _compare(expected: str | None, ours: Money) -> None:
    if expected is None:
        return
    if exact(expected, field="expected") != exact(ours.amount, field="amount"):
        raise ConflictError(
            "The caller's figure is not what the facts give",
            field="expected",
            value=expected,
            mend="compare the evidence; the disclosure pack shows every step",
            expected=str(expected),
            computed=str(ours.amount),
            currency=ours.currency,
        )


def _sum(notes: list[Issued]) -> Money:
    return sum((note.amount for note in notes[1:]), notes[0].amount)


def note_body(issued: Issued) -> dict[str, Any]:
    """Return an issued note as the API shows it."""
    return {
        "number": issued.number,
        "id": issued.draft_id,
        "state": "issued",
        "kind": issued.kind,
        "amount": str(issued.amount.amount),
        "currency": issued.amount.currency,
        "issuedAt": _text(issued.issued_at),
        "note": plain_numbers(parse_json(issued.note, what="note")),
    }


def draft_body(outcome: DraftOutcome) -> dict[str, Any]:
    """Return a draft as the API shows it."""
    draft = outcome.draft
    if draft is None:
        return {"state": outcome.status, "reason": outcome.reason}
    return {
        "id": draft.draft_id,
        "state": draft.state,
        "kind": draft.kind,
        "amount": str(draft.amount.amount),
        "currency": draft.amount.currency,
        "signatures": len(draft.signatures),
        "signaturesNeeded": draft.signatures_needed,
        "expiresAt": _text(draft.expires_at),
        "note": plain_numbers(parse_json(draft.note, what="note")),
    }


def _text(moment: datetime) -> str:
    from mc_pipelines.foundation.clock import rfc3339

    return rfc3339(moment)
