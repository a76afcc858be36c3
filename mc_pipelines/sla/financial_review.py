"""The financial review of a month: the figures of its credits, as two people of finance sign them.

The statement follows from the records alone, so two people who review the same month sign the same bytes, and a figure
that changed between them is refused. docs/sla/financial-review.md says what they look at before they sign.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, add_signature, sign
from mc_pipelines.attest.log import append
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject
from mc_pipelines.attest.verify import Evidence as Signed
from mc_pipelines.attest.verify import register_verifier
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, VerificationError
from mc_pipelines.foundation.tenants import Person, get_person, is_same_person, key_holder
from mc_pipelines.sla import ledger
from mc_pipelines.sla.completeness import check_completeness
from mc_pipelines.sla.credit import REVERSAL
from mc_pipelines.sla.draft_store import get_draft
from mc_pipelines.sla.limits import THREE
from mc_pipelines.sla.note_store import Issued, list_notes
from mc_pipelines.sla.register import register_of
from mc_pipelines.sla.review import CHECKER, MAKER
from mc_pipelines.sla.verification import FINANCIAL_REVIEW_TYPE

QUESTIONS = (
    "register-equals-ledger",
    "numbers-without-gap",
    "every-breach-has-its-note",
    "large-notes-have-three-signatures",
    "reversals-have-a-reason",
    "a-sample-of-packs-was-recomputed",
)
"""What both people affirm with their signature, in the order of docs/sla/financial-review.md."""
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_TWO = 2


def review_statement(connection: Connection, month: str) -> Statement:
    """Return the statement of a month, from the records alone.

    Args:
        connection: any transaction.
        month: UTC month of issue, such as 2026-01.

    Raises:
        InputError: it is no month.
    """
    first = _first_day(month)
    notes = [note for note in list_notes(connection) if note.issued_at.date().replace(day=1) == first]
    register = register_of(notes).encode()
    missing = check_completeness(connection).counts
    return Statement(
        (Subject.of(f"credit-register/{month}", sha256_digest(register)),),
        FINANCIAL_REVIEW_TYPE,
        {
            "month": month,
            "notes": len(notes),
            "reversals": sum(note.kind == REVERSAL for note in notes),
            "firstNumber": notes[0].number if notes else None,
            "lastNumber": notes[-1].number if notes else None,
            "sumMinor": {currency: str(total) for currency, total in sorted(_sums(notes).items())},
            "ledgerMinor": {currency: str(total) for currency, total in sorted(_posted(connection, notes).items())},
            "largestMinor": {currency: str(size) for currency, size in sorted(_largest(notes).items())},
            "threeSignatures": sum(get_draft(connection, one.draft_id).signatures_needed >= THREE for one in notes),
            "missing": missing,
            "affirmed": list(QUESTIONS),
        },
    )


def _first_day(month: str) -> date:
    if not _MONTH.fullmatch(month):
        raise InputError("Not a month", field="month", value=month, mend="write it such as 2026-01")
    return date.fromisoformat(f"{month}-01")


def _sums(notes: list[Issued]) -> Counter[str]:
    found: Counter[str] = Counter()
    for note in notes:
        found[note.amount.currency] += note.amount.minor
    return found


def _largest(notes: list[Issued]) -> dict[str, int]:
    found: dict[str, int] = {}
    for note in notes:
        found[note.amount.currency] = max(found.get(note.amount.currency, 0), abs(note.amount.minor))
    return found


def _posted(connection: Connection, notes: list[Issued]) -> Counter[str]:
    drafts, found = {note.draft_id for note in notes}, Counter[str]()
    for entry in ledger.entries(connection):
        if entry.account == ledger.EXPENSE and entry.draft_id in drafts:
            found[entry.amount.currency] += entry.amount.minor
    return found


def sign_review(
    database: Database, clock: Clock, month: str, person: Person, signer: Signer, *, onto: bytes | None = None
) -> bytes:
    """Sign the review of a month, as the first person or onto another's signature; return the envelope.

    The second signature puts the review into the audit log.

    Args:
        database: as mc_app.
        clock: now.
        month: UTC month of issue.
        person: who reviews; a maker or checker of finance.
        signer: a key of that person.
        onto: the envelope that the other person signed.

    Raises:
        InputError: it is no month, or ``onto`` is no envelope.
        ForbiddenError: the wrong role, the same person again, or a key that is not the person's.
        ConflictError: the figures have changed since the other person signed.
    """
    now = clock.now()
    with database.begin() as connection:
        if not person.roles & {MAKER, CHECKER}:
            raise ForbiddenError("Reviewing takes the role of a maker or a checker", field="role")
        _require_own_key(connection, signer, person, now)
        payload = review_statement(connection, month).to_bytes()
        if onto is None:
            return sign(payload, IN_TOTO_PAYLOAD_TYPE, [signer]).to_json()
        earlier = Envelope.from_json(onto)
        if earlier.payload != payload:
            raise ConflictError("The figures have changed since the other person signed", field="review", value=month)
        for one in earlier.signatures:
            other = key_holder(connection, one.keyid, at=now)
            if other is None or is_same_person(person, get_person(connection, other.person_id)):
                raise ForbiddenError("Two different people review a month", field="person", mend="let another sign")
        both = add_signature(earlier, signer).to_json()
        append(connection, act="credits.month-reviewed", subject=month, content=both, at=now)
        return both


def _require_own_key(connection: Connection, signer: Signer, person: Person, now: Any) -> None:
    holder = key_holder(connection, signer.key_id, at=now)
    if holder is None or holder.person_id != person.person_id:
        raise ForbiddenError("The key is not one of the person who reviews", field="--key", value=signer.key_id)


def verify_review(signed: Signed, report: Report) -> None:
    """Check that two different people signed, and that register and ledger agree and nothing was missing.

    Raises:
        VerificationError: it does not hold.
    """
    predicate = signed.statement.predicate
    if len(signed.holders) < _TWO:
        raise VerificationError(f"{len(signed.holders)} of the 2 different people who review a month", field="holders")
    if predicate.get("sumMinor") != predicate.get("ledgerMinor"):
        raise VerificationError("Register and ledger differ", field="ledgerMinor", value=predicate.get("ledgerMinor"))
    gaps = {name: count for name, count in dict(predicate.get("missing") or {}).items() if count}
    sums = ", ".join(f"{total} minor units of {name}" for name, total in dict(predicate["sumMinor"]).items())
    report.proved.append(
        f"Two people reviewed the {predicate['notes']} notes of {predicate['month']}: {sums or 'nothing'}; the ledger"
        " says the same."
    )
    if gaps:
        report.not_proved.append(f"That nothing was missing when they signed: {gaps}.")


register_verifier(FINANCIAL_REVIEW_TYPE, verify_review)
