"""Reads and writes judgements, drafts, their signatures and their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, text
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, Signature
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import Digest, KeyId, PersonId, ServiceId, TenantId
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla import records
from mc_pipelines.sla.contract import Objective

REJECTED, EXPIRED, SUPERSEDED, ISSUED, REMINDED = "rejected", "expired", "superseded", "issued", "reminded"
OPEN = "open"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What a credit is about: one billing period of one contract of one tenant."""

    tenant: TenantId
    service: ServiceId
    objective: Objective
    contract: Digest
    first: date
    last: date

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that name it in every table."""
        return {
            "tenant": self.tenant,
            "service": self.service,
            "objective": self.objective.value,
            "contract_digest": self.contract,
            "period_first": self.first,
            "period_last": self.last,
        }


@dataclass(frozen=True, slots=True)
class Draft:
    """A note that waits for people.

    Args:
        draft_id: idempotency key, derived from the content.
        subject: what it is about.
        restatement: 0 for the first document of the period.
        attempt: counts drafts of this restatement that died.
        kind: credit_note or reversal.
        amount: of the document.
        signatures_needed: two, or three above a limit.
        note: canonical, without its signature.
        payload: the bytes that people sign.
        evidence: canonical.
        created_at: when it was made.
        expires_at: when it dies.
        state: open, rejected, expired, superseded or issued.
        reason: of a rejection.
        signatures: in order.
    """

    draft_id: str
    subject: Subject
    restatement: int
    attempt: int
    kind: str
    amount: Money
    signatures_needed: int
    note: bytes
    payload: bytes
    evidence: bytes
    created_at: datetime
    expires_at: datetime
    state: str = OPEN
    reason: str | None = None
    signatures: tuple[Signed, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everybody who must sign has."""
        return len(self.signatures) >= self.signatures_needed

    @property
    def envelope(self) -> Envelope:
        """The payload with the signatures so far, in the order of their keys' ids."""
        ordered = sorted(self.signatures, key=lambda one: one.position)
        signatures = tuple(Signature(one.key_id, one.signature) for one in ordered)
        return Envelope(IN_TOTO_PAYLOAD_TYPE, self.payload, signatures)


@dataclass(frozen=True, slots=True)
class Signed:
    """A person's signature on a draft; position 1 is the maker."""

    position: int
    person_id: PersonId
    key_id: KeyId
    signature: bytes
    signed_at: datetime


def lock(connection: Connection, name: str) -> None:
    """Serialise transactions that speak about the same thing; released at the end of the transaction."""
    connection.execute(text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"mc_sla:{name}"})


def write_draft(connection: Connection, draft: Draft) -> bool:
    """Record a draft; False where it is there already."""
    values = draft.subject.columns | {
        "draft_id": draft.draft_id,
        "restatement": draft.restatement,
        "attempt": draft.attempt,
        "kind": draft.kind,
        "amount_minor": draft.amount.minor,
        "currency": draft.amount.currency,
        "signatures_needed": draft.signatures_needed,
        "note": draft.note,
        "payload": draft.payload,
        "evidence": draft.evidence,
        "created_at": draft.created_at,
        "expires_at": draft.expires_at,
    }
    table = records.draft
    added = insert(table).values(values).on_conflict_do_nothing().returning(table.c.draft_id)
    return connection.execute(added).first() is not None


def write_event(
    connection: Connection,
    draft_id: str,
    event: str,
    *,
    at: datetime,
    person: UUID | None = None,
    reason: str | None = None,
) -> bool:
    """Record what became of a draft; False where that is recorded already.

    Raises:
        IntegrityError: the draft ended in another way.
    """
    table = records.draft_event
    statement = (
        insert(table)
        .values(draft_id=draft_id, event=event, person_id=person, reason=reason, at=at)
        .on_conflict_do_nothing(index_elements=[table.c.draft_id, table.c.event])
        .returning(table.c.draft_id)
    )
    return connection.execute(statement).first() is not None


def write_signature(connection: Connection, draft_id: str, signed: Signed) -> None:
    """Record a signature.

    Raises:
        IntegrityError: this person or this key has signed the draft already.
    """
    connection.execute(
        insert(records.signature).values(
            draft_id=draft_id,
            position=signed.position,
            person_id=signed.person_id,
            key_id=signed.key_id,
            signature=signed.signature,
            signed_at=signed.signed_at,
        )
    )


def get_draft(connection: Connection, draft_id: str) -> Draft:
    """Return a draft by its id or an unambiguous beginning of it.

    Raises:
        NotFoundError: there is none, or several.
    """
    table, ids = records.draft, list[str]()
    if draft_id.isalnum():
        query = select(table.c.draft_id).where(table.c.draft_id.startswith(draft_id, autoescape=True)).limit(2)
        ids = list(connection.execute(query).scalars())
    if len(ids) != 1:
        raise NotFoundError("No such draft", field="draft", value=draft_id, mend="`mc credits ls` lists them")
    return _drafts(connection, ids)[0]


def list_drafts(
    connection: Connection, *, tenant: TenantId | None = None, subject: Subject | None = None, state: str | None = None
) -> list[Draft]:
    """Return drafts, oldest first."""
    table = records.draft
    query = select(table.c.draft_id)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    if subject is not None:
        query = query.where(*(table.c[name] == value for name, value in subject.columns.items()))
    ids = list(connection.execute(query).scalars())
    return [draft for draft in _drafts(connection, ids) if state is None or draft.state == state]


def _drafts(connection: Connection, ids: Sequence[str]) -> list[Draft]:
    if not ids:
        return []
    table, event, signature = records.draft, records.draft_event, records.signature
    ends = {
        row.draft_id: row
        for row in connection.execute(select(event).where(event.c.draft_id.in_(ids), event.c.event != REMINDED))
    }
    signed: dict[str, list[Signed]] = {}
    for row in connection.execute(
        select(signature).where(signature.c.draft_id.in_(ids)).order_by(signature.c.position)
    ):
        one = Signed(row.position, PersonId(row.person_id), KeyId(row.key_id), bytes(row.signature), row.signed_at)
        signed.setdefault(row.draft_id, []).append(one)
    rows = connection.execute(
        select(table).where(table.c.draft_id.in_(ids)).order_by(table.c.created_at, table.c.draft_id)
    )
    return [_draft(row, ends.get(row.draft_id), signed.get(row.draft_id, [])) for row in rows]


def subject_of(row: Row[Any]) -> Subject:
    """Return the subject that the columns of a row name."""
    return Subject(
        TenantId(row.tenant),
        ServiceId(row.service),
        Objective(row.objective),
        Digest(row.contract_digest),
        row.period_first,
        row.period_last,
    )


def _draft(row: Row[Any], end: Row[Any] | None, signatures: Sequence[Signed]) -> Draft:
    return Draft(
        row.draft_id,
        subject_of(row),
        row.restatement,
        row.attempt,
        row.kind,
        Money(row.currency, row.amount_minor),
        row.signatures_needed,
        bytes(row.note),
        bytes(row.payload),
        bytes(row.evidence),
        row.created_at,
        row.expires_at,
        OPEN if end is None else end.event,
        None if end is None else end.reason,
        tuple(signatures),
    )


def write_judgement(
    connection: Connection,
    subject: Subject,
    *,
    state: str,
    entitled_minor: int | None,
    currency: str,
    reason: str | None,
    figures: dict[str, Any],
    evidence: bytes,
    evidence_digest: Digest,
    closed: bool,
    now: datetime,
) -> bool:
    """Record a judgement unless the newest one is the same; return whether it was new."""
    table = records.judgement
    newest = newest_judgement(connection, subject)
    if newest is not None and (newest.figures, newest.evidence_digest, newest.closed) == (
        figures,
        evidence_digest,
        closed,
    ):
        return False
    connection.execute(
        insert(table).values(
            **subject.columns,
            revision=1 if newest is None else newest.revision + 1,
            state=state,
            entitled_minor=entitled_minor,
            currency=currency,
            reason=reason,
            figures=figures,
            days=figures["days"],
            evidence=evidence,
            evidence_digest=evidence_digest,
            closed=closed,
            recorded_at=now,
        )
    )
    return True


def newest_judgement(
    connection: Connection, subject: Subject, *, as_known_at: datetime | None = None
) -> Row[Any] | None:
    """Return the newest judgement of a period, or the newest known at a moment."""
    table = records.judgement
    query = select(table).where(*(table.c[name] == value for name, value in subject.columns.items()))
    if as_known_at is not None:
        query = query.where(table.c.recorded_at <= as_known_at)
    return connection.execute(query.order_by(table.c.revision.desc()).limit(1)).first()


def newest_judgements(
    connection: Connection, *, tenant: TenantId | None = None, as_known_at: datetime | None = None
) -> list[Row[Any]]:
    """Return the newest judgement of every period, by tenant, service, objective and period."""
    table = records.judgement
    key = (
        table.c.tenant,
        table.c.service,
        table.c.objective,
        table.c.contract_digest,
        table.c.period_first,
        table.c.period_last,
    )
    ranked = select(table, func.rank().over(partition_by=key, order_by=table.c.revision.desc()).label("rank"))
    if tenant is not None:
        ranked = ranked.where(table.c.tenant == tenant)
    if as_known_at is not None:
        ranked = ranked.where(table.c.recorded_at <= as_known_at)
    newest = ranked.subquery()
    order = [newest.c[column.name] for column in key]
    return list(connection.execute(select(newest).where(newest.c.rank == 1).order_by(*order)))
