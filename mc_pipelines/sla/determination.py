"""Every closed incident ends, for each tenant it touched, in a credit note or in a signed reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from mc_pipelines.attest.log import append
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.sla.assessment import is_closed, subject_of_period
from mc_pipelines.sla.calendar import Period, local_date
from mc_pipelines.sla.contract import Objective
from mc_pipelines.sla.contract_store import Assigned, list_assignments
from mc_pipelines.sla.credit import CREDIT_NOTE
from mc_pipelines.sla.draft_store import OPEN, REJECTED, list_drafts, lock, newest_judgement
from mc_pipelines.sla.draft_store import Subject as PeriodSubject
from mc_pipelines.sla.fact_store import load_facts
from mc_pipelines.sla.facts import Fact, FaultOwner, Kind
from mc_pipelines.sla.note_store import Issued, list_notes
from mc_pipelines.sla.outcome_store import ended, has_ended, link_incident, write_determination
from mc_pipelines.sla.verification import NO_CREDIT_TYPE

NO_DRAFT = "a draft"
NO_CONTRACT = "no contract covers the service for this tenant on these days"
_MOMENT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an incident ends for a tenant.

    Args:
        incident: the closed incident.
        tenant: whom it touched.
        note: the credit note it ends in, or
        reason: why there is no credit; both None while it is not decided.
        waits_for: what is missing while it is not decided.
    """

    incident: Fact
    tenant: TenantId
    note: Issued | None = None
    reason: str | None = None
    waits_for: str | None = None


def affected(connection: Connection) -> list[tuple[Fact, TenantId]]:
    """Return every closed incident with every tenant it touched; one for all touches those with a contract."""
    incidents = [
        fact
        for fact in load_facts(connection, Kind.INCIDENT)
        if fact.details["state"] == "closed" and fact.ends_at is not None
    ]
    assignments = list_assignments(connection)
    found: list[tuple[Fact, TenantId]] = []
    for incident in incidents:
        if incident.tenant is not None:
            found.append((incident, incident.tenant))
            continue
        tenants = {a.tenant for a in assignments if a.contract.service == incident.service and _periods(a, incident)}
        found += [(incident, tenant) for tenant in sorted(tenants)]
    return found


def _periods(assigned: Assigned, incident: Fact) -> list[Period]:
    """Return the billing periods of a contract that an incident touches, oldest first."""
    contract = assigned.contract
    assert incident.ends_at is not None  # noqa: S101 - callers pass closed incidents
    first = local_date(incident.starts_at, contract.zone)
    last = local_date(incident.ends_at - _MOMENT, contract.zone)
    if not assigned.overlaps(first, last):
        return []
    return sorted({assigned.billing_period(day) for day in (first, last)})


def ending_of(connection: Connection, incident: Fact, tenant: TenantId, now: datetime) -> Ending:
    """Decide how an incident ends for a tenant, from the records."""
    assignments = [
        assigned
        for assigned in list_assignments(connection, tenant=tenant)
        if assigned.contract.service == incident.service
        and assigned.contract.objective is Objective.AVAILABILITY
        and _periods(assigned, incident)
    ]
    if not assignments:
        return Ending(incident, tenant, reason=NO_CONTRACT)
    reasons: list[str] = []
    for assigned in assignments:
        for period in _periods(assigned, incident):
            ending = _in_period(connection, assigned, period, incident, now)
            if ending.note is not None or ending.waits_for is not None:
                return ending
            reasons += [ending.reason or ""]
    if incident.details["faultOwner"] == FaultOwner.CUSTOMER.value:
        return Ending(incident, tenant, reason="the incident was the customer's fault")
    return Ending(incident, tenant, reason="; ".join(dict.fromkeys(reasons)))


def _in_period(connection: Connection, assigned: Assigned, period: Period, incident: Fact, now: datetime) -> Ending:
    subject = subject_of_period(assigned, period)
    tenant = assigned.tenant
    notes = [note for note in list_notes(connection, subject=subject) if note.kind == CREDIT_NOTE]
    if notes:
        return Ending(incident, tenant, note=notes[0])
    waits_for, reason = _why_not(connection, subject, is_closed(assigned.contract, period, now))
    return Ending(incident, tenant, reason=reason, waits_for=waits_for)


def _why_not(connection: Connection, subject: PeriodSubject, closed: bool) -> tuple[str | None, str | None]:
    """Return what a period without a note waits for, or why it gives none."""
    drafts = list_drafts(connection, subject=subject)
    judgement = newest_judgement(connection, subject)
    rejected = [draft for draft in drafts if draft.state == REJECTED]
    if not closed or judgement is None or not judgement.closed:
        return f"period {subject.first}/{subject.last} to close and be judged", None
    if any(draft.state == OPEN for draft in drafts):
        return "two people to decide on the draft", None
    if judgement.entitled_minor is None:
        return judgement.reason, None
    if judgement.entitled_minor == 0:
        return None, judgement.reason or "no breach"
    return (None, f"rejected on review: {rejected[-1].reason}") if rejected else (NO_DRAFT, None)


def determine(database: Database, clock: Clock, signer: Signer) -> list[Ending]:
    """End every incident that can be ended and return those that were, and those that wait.

    A no-credit determination is signed by the service: its reason follows from records that people can check.
    A second call finds the ended ones ended.
    """
    now = clock.now()
    with database.begin() as connection:
        done = ended(connection)
        waiting = [(fact, tenant) for fact, tenant in affected(connection) if (fact.fact_id, tenant) not in done]
    endings: list[Ending] = []
    for incident, tenant in waiting:
        with database.begin() as connection:
            lock(connection, f"incident {incident.fact_id} {tenant}")
            if has_ended(connection, incident.fact_id, tenant):
                continue
            ending = ending_of(connection, incident, tenant, now)
            if ending.note is not None:
                link_incident(connection, incident.fact_id, tenant, ending.note, now=now)
            elif ending.reason is not None:
                _sign(connection, ending, ending.reason, signer, now)
            endings.append(ending)
    return endings


def _sign(connection: Connection, ending: Ending, reason: str, signer: Signer, now: datetime) -> None:
    incident = ending.incident
    statement = Statement(
        (Subject.of(f"incident/{incident.fact_id}", incident.digest),),
        NO_CREDIT_TYPE,
        {
            "incident": incident.fact_id,
            "tenant": ending.tenant,
            "service": incident.service,
            "from": rfc3339(incident.starts_at),
            "until": None if incident.ends_at is None else rfc3339(incident.ends_at),
            "faultOwner": incident.details["faultOwner"],
            "reason": reason,
            "constructed": incident.details["source"] == "constructed",
            "determinedAt": rfc3339(now),
        },
    )
    envelope = statement.sign([signer]).to_json()
    subject = f"{incident.fact_id}/{ending.tenant}"
    leaf_id = append(connection, act="credits.no-credit-determined", subject=subject, content=envelope, at=now)
    write_determination(
        connection,
        incident.fact_id,
        ending.tenant,
        reason=reason,
        envelope=envelope,
        leaf_id=leaf_id,
        now=now,
    )
