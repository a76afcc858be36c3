"""Proves that nothing was left out: incidents == notes + determinations, breaches == notes, both ways."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from mc_pipelines.sla import ledger
from mc_pipelines.sla.credit import REVERSAL
from mc_pipelines.sla.determination import affected
from mc_pipelines.sla.draft import reversal_in_force
from mc_pipelines.sla.draft_store import Subject, list_drafts, newest_judgements, subject_of
from mc_pipelines.sla.evidence import parse_evidence
from mc_pipelines.sla.note_store import list_notes
from mc_pipelines.sla.outcome_store import ended


@dataclass(frozen=True, slots=True)
class Completeness:
    """What is missing on either side; all empty when nothing is.

    Args:
        incidents_without_outcome: closed incidents, with the tenant, that ended in nothing.
        outcomes_without_incident: outcomes of incidents that are not known or not closed.
        breaches_without_note: closed periods in which more is owed than was given.
        notes_without_breach: periods in which more was given than is owed and the contract takes back.
        numbers_missing: gaps in the numbers of notes.
        unbalanced: ledger transactions that do not sum to zero.
    """

    incidents_without_outcome: tuple[str, ...]
    outcomes_without_incident: tuple[str, ...]
    breaches_without_note: tuple[str, ...]
    notes_without_breach: tuple[str, ...]
    numbers_missing: tuple[str, ...]
    unbalanced: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return not any(
            (
                self.incidents_without_outcome,
                self.outcomes_without_incident,
                self.breaches_without_note,
                self.notes_without_breach,
                self.numbers_missing,
                self.unbalanced,
            )
        )


def check_completeness(connection: Connection, *, as_known_at: datetime | None = None) -> Completeness:
    """Compare both sides; the blocking check of the control plane, and `mc credits check`."""
    touched = {(incident.fact_id, str(tenant)) for incident, tenant in affected(connection)}
    outcomes = set(ended(connection))
    notes = list_notes(connection)
    taken_back = {note.subject for note in notes if note.kind == REVERSAL}
    owed: dict[Subject, int] = {}
    for row in newest_judgements(connection, as_known_at=as_known_at):
        if row.closed:
            owed[subject_of(row)] = 0 if _reversed(connection, row, taken_back) else row.entitled_minor or 0
    given: dict[Subject, int] = {}
    for note in notes:
        given[note.subject] = given.get(note.subject, 0) + note.amount.minor
    short = [subject for subject, amount in owed.items() if given.get(subject, 0) < amount]
    over = [subject for subject, amount in given.items() if subject not in owed or (amount > 0 and owed[subject] == 0)]
    numbers = sorted(int(note.number.rpartition("-")[2]) for note in notes)
    gaps = sorted(set(range(1, (numbers[-1] if numbers else 0) + 1)) - set(numbers))
    return Completeness(
        _names(touched - outcomes),
        _names(outcomes - touched),
        tuple(_text(subject) for subject in sorted(short)),
        tuple(_text(subject) for subject in sorted(over)),
        tuple(str(number) for number in gaps),
        tuple(ledger.unbalanced(connection)),
    )


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
