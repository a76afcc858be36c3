"""Takes an issued credit note back: a further document, signed by two people, never a change of the first."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, MaestroError
from mc_pipelines.foundation.tenants import Person
from mc_pipelines.sla.assessment import Assessment, assess
from mc_pipelines.sla.calendar import Period
from mc_pipelines.sla.contract_store import Assigned, get_contract
from mc_pipelines.sla.credit import CREDIT_NOTE, REVERSAL
from mc_pipelines.sla.draft import end_draft, make_draft, require_writable
from mc_pipelines.sla.draft_store import EXPIRED, ISSUED, OPEN, Draft, list_drafts, lock
from mc_pipelines.sla.evidence import Reversal, parse_evidence
from mc_pipelines.sla.judgement import judge
from mc_pipelines.sla.limits import DEFAULT_LIMITS, Limits
from mc_pipelines.sla.note_store import Issued, get_note
from mc_pipelines.sla.review import CHECKER, LONGEST_REASON, MAKER, audit_refusal, is_reason


def draft_reversal(
    database: Database, clock: Clock, name: str, person: Person, reason: str, *, limits: Limits = DEFAULT_LIMITS
) -> Draft:
    """Draft the reversal of a credit note; it moves no money until two people have signed it.

    The draft's evidence names the note and the reason, so both are signed, and a verifier recomputes the amount from
    the note that is taken back. Asking again for the same note returns the same draft, open or issued.

    Args:
        database: as mc_app.
        clock: now.
        name: number of the note, or its draft's id.
        person: who asks; asking is no signature.
        reason: why, in a sentence.
        limits: from when a third person must sign, and when the draft expires.

    Raises:
        NotFoundError: no such note.
        InputError: there is no reason, or what is to be reversed is a reversal.
        ForbiddenError: the person is neither maker nor checker.
        ConflictError: another draft of the period waits, or the period is on hold.
        UnavailableError: credits are read-only.
    """
    now = clock.now()
    try:
        with database.begin() as connection:
            issued = get_note(connection, name)
            lock(connection, repr(issued.subject))
            require_writable(connection, issued.subject.tenant)
            _check(issued, person, reason)
            drafts = list_drafts(connection, subject=issued.subject)
            known = next((one for one in drafts if one.state in {OPEN, ISSUED} and _takes_back(one, issued)), None)
            if known is not None and (known.state == ISSUED or now < known.expires_at):
                return known
            waiting = next((one for one in drafts if one.state == OPEN), None)
            if waiting is not None:
                if now < waiting.expires_at:
                    raise ConflictError(
                        "Another draft of this period waits",
                        field="draft",
                        value=waiting.draft_id,
                        mend="complete or reject it first",
                    )
                end_draft(connection, waiting, EXPIRED, now=now)
            assessment = _reassess(connection, issued, reason.strip(), now)
            restatement = len(assessment.evidence.earlier)
            attempt = sum(one.restatement == restatement for one in drafts)
            return make_draft(connection, assessment, restatement, attempt, now=now, limits=limits)
    except MaestroError as error:
        audit_refusal(database, "credits.reversal-refused", name, person, error, now)
        raise


def _check(issued: Issued, person: Person, reason: str) -> None:
    if not person.roles & {MAKER, CHECKER}:
        raise ForbiddenError("Asking for a reversal takes the role of a maker or a checker", field="role")
    if not is_reason(reason):
        raise InputError(
            f"A reversal needs a reason of at most {LONGEST_REASON} characters",
            field="reason",
            mend="say why in a sentence",
        )
    if issued.kind != CREDIT_NOTE:
        raise InputError("Only a credit note can be reversed", field="number", value=issued.number)


def _takes_back(draft: Draft, issued: Issued) -> bool:
    if draft.kind != REVERSAL:
        return False
    asked = parse_evidence(draft.evidence).reversal
    return asked is not None and asked.number == issued.number


def _reassess(connection: Connection, issued: Issued, reason: str, now: datetime) -> Assessment:
    subject = issued.subject
    sealed = get_contract(connection, subject.contract)
    assigned = Assigned(subject.tenant, sealed, subject.first, subject.last)
    found = assess(connection, assigned, Period(subject.first, subject.last, sealed.contract.zone), now=now)
    if found.judgement.hold is not None:
        raise ConflictError(
            f"The period is on hold: {found.judgement.hold}", field="period", mend="mend the facts, then ask again"
        )
    evidence = replace(found.evidence, reversal=Reversal(issued.number, reason))
    return replace(found, evidence=evidence, judgement=judge(sealed.contract, evidence))
