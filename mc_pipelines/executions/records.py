"""Tables of executions: what was published, what happened to it, and its one receipt. All INSERT-only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    cast,
    column,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.database import metadata
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import Digest


class State(StrEnum):
    """Where an execution stands; the last five are final."""

    PUBLISHED = "published"
    QUEUED = "queued"
    CLAIMED = "claimed"
    PLACED = "placed"
    RUNNING = "running"
    UNKNOWN = "unknown"
    """Its runner died, stopped or failed: the attempt counts no more, and another follows."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    DENIED = "denied"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST, State.DENIED})
_FINAL_SQL = ", ".join(f"'{state}'" for state in sorted(FINAL))

execution = Table(
    "execution",
    metadata,
    Column("execution_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("manifest_digest", Text, nullable=False),
    Column("manifest", JSONB, nullable=False),
    Column("idempotency_key", Text, nullable=False, comment="as published, else the digest of the manifest"),
    Column("published_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("tenant", "idempotency_key"),
)
Index("ix_execution_published_at", execution.c.published_at)

execution_transition = Table(
    "execution_transition",
    metadata,
    Column("transition_id", BigInteger, Identity(always=True), primary_key=True),
    Column("execution_id", Uuid, ForeignKey("execution.execution_id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False, comment="of the claim that wrote it; only the newest claim may write"),
    Column("state", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("detail", JSONB, nullable=False),
    UniqueConstraint("execution_id", "attempt", "state"),
)
Index(
    "uq_execution_transition_final",
    execution_transition.c.execution_id,
    unique=True,
    postgresql_where=text(f"state in ({_FINAL_SQL})"),
)
Index("ix_execution_transition_ended", execution_transition.c.at, postgresql_where=text(f"state in ({_FINAL_SQL})"))

execution_receipt = Table(
    "execution_receipt",
    metadata,
    Column("execution_id", Uuid, ForeignKey("execution.execution_id"), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("receipt_digest", Text, nullable=False, comment="sha256 of the signed envelope"),
    Column("path", Text, nullable=False, comment="of the sealed envelope in the object store"),
    Column("sealed_digest", Text, nullable=False, comment="sha256 of the sealed bytes"),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
)
Index("ix_execution_receipt_recorded_at", execution_receipt.c.recorded_at)


@dataclass(frozen=True, slots=True)
class Published:
    """One execution as it was published."""

    execution_id: UUID
    tenant: str
    workflow: str
    service: str
    manifest_digest: Digest
    manifest: dict[str, Any]
    idempotency_key: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of an execution."""

    execution_id: UUID
    attempt: int
    fence: int
    state: State
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReceiptRecord:
    """Where an execution's receipt is."""

    execution_id: UUID
    attempt: int
    tenant: str
    receipt_digest: Digest
    path: str
    sealed_digest: Digest
    recorded_at: datetime


def add_executions(connection: Connection, published: Sequence[Published]) -> set[UUID]:
    """Record executions, each unless its tenant published one under its key; return the ids of those recorded."""
    if not published:
        return set()
    rows = [
        {
            "execution_id": str(one.execution_id),
            "tenant": one.tenant,
            "workflow": one.workflow,
            "service": one.service,
            "manifest_digest": one.manifest_digest,
            "manifest": one.manifest,
            "idempotency_key": one.idempotency_key,
            "published_at": rfc3339(one.published_at),
        }
        for one in published
    ]
    query = _insert_from_json(execution, list(execution.c), rows)
    added = query.on_conflict_do_nothing(index_elements=["tenant", "idempotency_key"])
    return set(connection.execute(added.returning(execution.c.execution_id)).scalars())


def find_execution(connection: Connection, tenant: str, idempotency_key: str) -> Published:
    """Return the execution that a tenant published under a key.

    Raises:
        NotFoundError: there is none.
    """
    row = (
        connection.execute(
            select(execution).where(execution.c.tenant == tenant, execution.c.idempotency_key == idempotency_key)
        )
        .mappings()
        .first()
    )
    if row is None:
        raise NotFoundError("No execution of this key", field="idempotency_key", value=idempotency_key)
    return Published(**row)


def add_transitions(connection: Connection, transitions: Iterable[Transition]) -> None:
    """Append steps; the same step of the same attempt again changes nothing, a second final state is refused."""
    rows = [
        {
            "execution_id": str(one.execution_id),
            "attempt": one.attempt,
            "fence": one.fence,
            "state": str(one.state),
            "at": rfc3339(one.at),
            "detail": dict(one.detail),
        }
        for one in transitions
    ]
    if rows:
        columns = [one for one in execution_transition.c if one.name != "transition_id"]
        added = _insert_from_json(execution_transition, columns, rows)
        connection.execute(added.on_conflict_do_nothing(index_elements=["execution_id", "attempt", "state"]))


def _insert_from_json(table: Table, columns: Sequence[Column[Any]], rows: Sequence[Mapping[str, Any]]) -> Insert:
    """Return an insert of many rows as one statement with one parameter, in the order given.

    Thousands of bound parameters cost more to compile and to send than to insert.
    """
    source = (
        func.jsonb_to_recordset(cast(rows, JSONB))
        .table_valued(*(column(one.name, one.type) for one in columns), name="source")
        .render_derived(with_types=True)
    )
    return insert(table).from_select([one.name for one in columns], select(*source.c))


def add_receipt(connection: Connection, receipt: ReceiptRecord) -> None:
    """Record the one receipt of an execution; a second one breaks the primary key."""
    connection.execute(
        execution_receipt.insert().values(
            {name: getattr(receipt, name) for name in execution_receipt.c.keys()}  # noqa: SIM118
        )
    )


def get_execution(connection: Connection, execution_id: UUID) -> Published:
    """Return an execution.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = connection.execute(select(execution).where(execution.c.execution_id == execution_id)).mappings().first()
    if row is None:
        raise NotFoundError("No such execution", field="execution_id", value=str(execution_id), mend="mc executions ls")
    return Published(**row)


def get_executions(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Published]:
    """Return executions by their ids; one that does not exist is left out."""
    rows = connection.execute(select(execution).where(execution.c.execution_id.in_(ids))).mappings()
    return {row["execution_id"]: Published(**row) for row in rows}


def get_transitions(connection: Connection, execution_id: UUID) -> list[Transition]:
    """Return the steps of an execution, in the order in which they were written."""
    rows = connection.execute(
        select(execution_transition)
        .where(execution_transition.c.execution_id == execution_id)
        .order_by(execution_transition.c.transition_id)
    ).mappings()
    return [
        Transition(row["execution_id"], row["attempt"], row["fence"], State(row["state"]), row["at"], row["detail"])
        for row in rows
    ]


def get_receipt(connection: Connection, execution_id: UUID) -> ReceiptRecord | None:
    """Return where an execution's receipt is, once it has one."""
    row = (
        connection.execute(select(execution_receipt).where(execution_receipt.c.execution_id == execution_id))
        .mappings()
        .first()
    )
    return None if row is None else ReceiptRecord(**row)


def list_executions(connection: Connection, *, tenant: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Return the newest executions with their latest state."""
    latest = (
        select(execution_transition.c.state, execution_transition.c.attempt, execution_transition.c.at)
        .where(execution_transition.c.execution_id == execution.c.execution_id)
        .order_by(execution_transition.c.transition_id.desc())
        .limit(1)
        .lateral("latest")
    )
    query = (
        select(
            execution.c.execution_id,
            execution.c.tenant,
            execution.c.workflow,
            execution.c.service,
            execution.c.published_at,
            latest.c.state,
            latest.c.attempt,
            latest.c.at.label("since"),
        )
        .join(latest, text("true"), isouter=True)
        .order_by(execution.c.published_at.desc(), execution.c.execution_id.desc())
        .limit(limit)
    )
    if tenant is not None:
        query = query.where(execution.c.tenant == tenant)
    return [dict(row) for row in connection.execute(query).mappings()]
