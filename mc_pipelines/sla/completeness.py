"""Proves that nothing was left out: incidents == notes + determinations, breaches == notes, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from mc_pipelines.attest.log import append, contents_of_act
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement
from mc_pipelines.attest.statement import Subject as Signed
from mc_pipelines.foundation.canonical import digest_of, sha256_digest
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.sla import ledger
from mc_pipelines.sla.credit import REVERSAL
from mc_pipelines.sla.determination import NO_DRAFT, affected, ending_of
from mc_pipelines.sla.draft import reversal_in_force
from mc_pipelines.sla.draft_store import OPEN, REJECTED, Subject, list_drafts, lock, newest_judgements, subject_of
from mc_pipelines.sla.evidence import parse_evidence
from mc_pipelines.sla.issue import NOTE_ISSUED
from mc_pipelines.sla.note_store import Issued, list_notes
from mc_pipelines.sla.outcome_store import ended
from mc_pipelines.sla.verification import COMPLETENESS_TYPE

CHECKED = "credits.completeness-checked"
_END_OF_TIME = datetime.max.replace(tzinfo=UTC) - timedelta(days=400)
"""Whether a period is closed is read from its judgement here, not from a clock."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """What is missing on either side; all empty when nothing is.

    Args:
        incidents_without_outcome: closed incidents, with the tenant, that ended in nothing and wait for nobody.
        outcomes_without_incident: outcomes of incidents that are not known or not closed.
        breaches_without_note: closed periods in which more is owed than was given, and nobody was asked or has refused.
        notes_without_breach: periods in which more was given than is owed and the contract takes back.
        numbers_missing: gaps in the numbers of notes.
        unbalanced: ledger transactions that do not sum to zero.
        notes_without_leaf: notes that the audit log does not know, or knows with another envelope.
        leaves_without_note: notes that the audit log knows and the records have lost.
        incidents_waiting: closed incidents that wait for a period to close, for billing, or for people.
        breaches_waiting: breaches whose drafts wait for people.
    """

    incidents_without_outcome: tuple[str, ...]
    outcomes_without_incident: tuple[str, ...]
    breaches_without_note: tuple[str, ...]
    notes_without_breach: tuple[str, ...]
    numbers_missing: tuple[str, ...]
    unbalanced: tuple[str, ...]
    notes_without_leaf: tuple[str, ...] = ()
    leaves_without_note: tuple[str, ...] = ()
    incidents_waiting: tuple[str, ...] = ()
    breaches_waiting: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How much is missing of each."""
        return {name: len(lines) for name, lines in asdict(self).items()}

    @property
    def lost(self) -> dict[str, int]:
        """How much is missing of what nobody is about to bring: the part that is never in order."""
        return {name: count for name, count in self.counts.items() if count and not name.endswith("_waiting")}

    @property
    def ok(self) -> bool:
        """Whether nothing is missing and nothing waits."""
        return not any(self.counts.values())


def check_completeness(connection: Connection, *, as_known_at: datetime | None = None) -> Completeness:
    """Compare both sides; the blocking check of the control plane, and `mc credits check`."""
    touched = affected(connection)
    pairs = {(incident.fact_id, str(tenant)) for incident, tenant in touched}
    outcomes = set(ended(connection))
    unended = [(incident, tenant) for incident, tenant in touched if (incident.fact_id, str(tenant)) not in outcomes]
    waiting = {
        (incident.fact_id, str(tenant))
        for incident, tenant in unended
        if ending_of(connection, incident, tenant, _END_OF_TIME).waits_for not in {None, NO_DRAFT}
    }
    notes = list_notes(connection)
    rows = {subject_of(row): row for row in newest_judgements(connection, as_known_at=as_known_at) if row.closed}
    taken_back = {note.subject for note in notes if note.kind == REVERSAL}
    owed = {
        subject: 0 if _reversed(connection, row, taken_back) else row.entitled_minor or 0
        for subject, row in rows.items()
    }
    given: dict[Subject, int] = {}
    for note in notes:
        given[note.subject] = given.get(note.subject, 0) + note.amount.minor
    short = [subject for subject, amount in owed.items() if given.get(subject, 0) < amount]
    standing = {subject: _standing(connection, subject, rows[subject]) for subject in sorted(short)}
    over = [subject for subject, amount in given.items() if subject not in owed or (amount > 0 and owed[subject] == 0)]
    unlogged, lost = _against_log(connection, notes)
    return Completeness(
        _names(pairs - outcomes - waiting),
        _names(outcomes - pairs),
        tuple(_text(subject) for subject, state in standing.items() if state is None),
        tuple(_text(subject) for subject in sorted(over)),
        _gaps(notes),
        tuple(ledger.unbalanced(connection)),
        unlogged,
        lost,
        _names(waiting),
        tuple(_text(subject) for subject, state in standing.items() if state == OPEN),
    )


def _standing(connection: Connection, subject: Subject, row: Row[Any]) -> str | None:
    """Return ``open`` where people are asked, ``rejected`` where they refused on these facts, else None."""
    drafts = list_drafts(connection, subject=subject)
    if not drafts:
        return None
    newest = max(drafts, key=lambda draft: (draft.restatement, draft.attempt))
    if newest.state == OPEN:
        return OPEN
    same = (
        newest.state == REJECTED and parse_evidence(newest.evidence).basis == parse_evidence(bytes(row.evidence)).basis
    )
    return REJECTED if same else None


def _gaps(notes: Sequence[Issued]) -> tuple[str, ...]:
    numbers = {int(note.number.rpartition("-")[2]) for note in notes}
    return tuple(str(number) for number in sorted(set(range(1, max(numbers, default=0) + 1)) - numbers))


def _against_log(connection: Connection, notes: Sequence[Issued]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare notes with the leaves of the audit log: (notes without a leaf, leaves without a note), by number."""
    leaves = dict(contents_of_act(connection, NOTE_ISSUED))
    known = {note.number: sha256_digest(note.envelope) for note in notes}
    unlogged = sorted(number for number, digest in known.items() if leaves.get(number) != digest)
    return tuple(unlogged), tuple(sorted(set(leaves) - set(known)))


def attest_completeness(database: Database, clock: Clock, signer: Signer) -> Completeness:
    """Compare both sides, sign the result and log it: one statement a day, and one more for each change.

    Args:
        database: as mc_app.
        clock: now.
        signer: the service's; the statement says what the records showed, it decides nothing.
    """
    now = clock.now()
    with database.begin() as connection:
        found = check_completeness(connection)
        day = now.date().isoformat()
        predicate = plain({"day": day, "missing": asdict(found), "counts": found.counts, "ok": found.ok})
        digest = digest_of(predicate)
        lock(connection, CHECKED)
        before = sorted(name for name, _ in contents_of_act(connection, CHECKED))
        result = digest.removeprefix("sha256:")[:16]
        if not before or before[-1].partition("/")[0] != day or not before[-1].endswith(result):
            name = f"{day}/{len(before):06d}/{result}"
            subject = Signed.of(f"completeness/{day}", digest)
            envelope = Statement((subject,), COMPLETENESS_TYPE, predicate).sign([signer]).to_json()
            append(connection, act=CHECKED, subject=name, content=envelope, at=now)
    return found


def plain(value: Any) -> Any:
    """Return a value with tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _reversed(connection: Connection, row: Row[Any], taken_back: set[Subject]) -> bool:
    """Tell whether two people took the period's credit back and nothing new was seen since."""
    subject = subject_of(row)
    if subject not in taken_back:
        return False
    return reversal_in_force(list_drafts(connection, subject=subject), parse_evidence(bytes(row.evidence))) is not None


def _names(pairs: set[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{incident} for {tenant}" for incident, tenant in sorted(pairs))


def _text(subject: Subject) -> str:
    return f"{subject.tenant} {subject.service} {subject.objective.value} {subject.first}/{subject.last}"
