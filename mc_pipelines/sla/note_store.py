"""Reads and writes issued notes and the counter of their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, func, select, true, update
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla import records
from mc_pipelines.sla.draft_store import REMINDED, Subject, lock, subject_of
from mc_pipelines.sla.evidence import Earlier

ISSUER = "MC"
_TABLE = records.note


@dataclass(frozen=True, slots=True)
class Issued:
    """A note as issued; nothing about it ever changes."""

    number: str
    draft_id: str
    kind: str
    subject: Subject
    restatement: int
    amount: Money
    note: bytes
    envelope: bytes
    digest: Digest
    leaf_id: Digest
    issued_at: datetime


def next_number(connection: Connection, *, issuer: str = ISSUER) -> str:
    """Return the next number of an issuer, without gaps.

    The counter is a row that stays locked until the transaction ends: a rollback gives the number back, and
    two transactions never hold the same one.
    """
    table = records.counter
    connection.execute(insert(table).values(issuer=issuer, last=0).on_conflict_do_nothing())
    last = connection.execute(
        update(table).where(table.c.issuer == issuer).values(last=table.c.last + 1).returning(table.c.last)
    ).scalar_one()
    return f"{issuer}-{last:08d}"


def write_note(connection: Connection, issued: Issued) -> None:
    """Record an issued note.

    Raises:
        IntegrityError: the draft has a note, or the period has one of this restatement.
    """
    connection.execute(
        insert(_TABLE).values(
            **issued.subject.columns,
            number=issued.number,
            draft_id=issued.draft_id,
            kind=issued.kind,
            restatement=issued.restatement,
            amount_minor=issued.amount.minor,
            currency=issued.amount.currency,
            note=issued.note,
            envelope=issued.envelope,
            digest=issued.digest,
            leaf_id=issued.leaf_id,
            issued_at=issued.issued_at,
        )
    )


def get_note(connection: Connection, name: str) -> Issued:
    """Return a note by its number or its draft's id.

    Raises:
        NotFoundError: there is none.
    """
    # The database takes no NUL, and no name of a note has one.
    query = select(_TABLE).where((_TABLE.c.number == name) | (_TABLE.c.draft_id == name))
    row = connection.execute(query).first() if name.isprintable() else None
    if row is None:
        raise NotFoundError("No such credit note", field="number", value=name, mend="`mc credits ls` lists them")
    return _issued(row)


def find_note(connection: Connection, draft_id: str) -> Issued | None:
    """Return the note of a draft, if it was issued."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.draft_id == draft_id)).first()
    return None if row is None else _issued(row)


def list_notes(
    connection: Connection, *, tenant: TenantId | None = None, subject: Subject | None = None
) -> list[Issued]:
    """Return notes by number."""
    query = select(_TABLE)
    if tenant is not None:
        query = query.where(_TABLE.c.tenant == tenant)
    if subject is not None:
        query = query.where(*(_TABLE.c[name] == value for name, value in subject.columns.items()))
    return [_issued(row) for row in connection.execute(query.order_by(_TABLE.c.number))]


def earlier_notes(connection: Connection, subject: Subject) -> tuple[Earlier, ...]:
    """Return the documents already issued for a period, in order."""
    return tuple(Earlier(one.number, one.amount, one.digest) for one in list_notes(connection, subject=subject))


def given_in_month(connection: Connection, subject: Subject, currency: str) -> int:
    """Return what a tenant's notes and open drafts of periods that end in the same month give, in minor units.

    Open drafts count, or many small ones made together would pass under the limit one by one. Drafts of one tenant are
    made one after the other from here to the end of the transaction.
    """
    lock(connection, f"month of {subject.tenant}")
    draft, ended = records.draft, records.draft_event
    gone = select(ended.c.draft_id).where(ended.c.event != REMINDED)
    waiting = draft.c.draft_id.not_in(gone) & (draft.c.amount_minor > 0)
    return sum(
        int(connection.execute(_in_month(table, subject, currency).where(condition)).scalar_one())
        for table, condition in ((_TABLE, true()), (draft, waiting))
    )


def _in_month(table: Table, subject: Subject, currency: str) -> Select[int]:
    return select(func.coalesce(func.sum(table.c.amount_minor), 0)).where(
        table.c.tenant == subject.tenant,
        table.c.currency == currency,
        func.date_trunc("month", table.c.period_last) == subject.last.replace(day=1),
    )


def _issued(row: Row[Any]) -> Issued:
    return Issued(
        row.number,
        row.draft_id,
        row.kind,
        subject_of(row),
        row.restatement,
        Money(row.currency, row.amount_minor),
        bytes(row.note),
        bytes(row.envelope),
        Digest(row.digest),
        Digest(row.leaf_id),
        row.issued_at,
    )
