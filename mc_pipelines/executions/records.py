"""Tables of executions: the present state of each, and every move it ever made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Identity,
    Index,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.executions.states import State
from mc_pipelines.foundation.database import metadata
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import ExecutionId

execution = Table(
    "execution",
    metadata,
    Column("execution_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("manifest_digest", Text, nullable=False),
    Column("manifest", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("attempt_id", Uuid),
    Column("cloud", Text),
    Column("region", Text),
    Column("placement", JSONB),
    Column("estimate", JSONB),
    Column("lease_owner", Text),
    Column("lease_until", DateTime(timezone=True)),
    Column("not_before", DateTime(timezone=True)),
    Column("published_at", DateTime(timezone=True), nullable=False),
    Column("claimed_at", DateTime(timezone=True)),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("receipt_path", Text),
    Column("receipt_digest", Text),
    UniqueConstraint("tenant", "idempotency_key"),
    Index("ix_execution_queue", "published_at", postgresql_where=text("state = 'queued'")),
    Index("ix_execution_leases", "lease_until", postgresql_where=text("state in ('claimed', 'running')")),
    Index("ix_execution_tenant_published_at", "tenant", "published_at"),
)

execution_transition = Table(
    "execution_transition",
    metadata,
    Column("transition_id", BigInteger, Identity(always=True), primary_key=True),
    Column("execution_id", Uuid, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("state_before", Text),
    Column("state_after", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("execution_id", "fence", "state_after"),
)


@dataclass(frozen=True, slots=True)
class Transition:
    """One move of one execution."""

    execution_id: ExecutionId
    fence: int
    before: State | None
    after: State
    at: datetime
    reason: str = ""


def record_transitions(connection: Connection, transitions: Iterable[Transition]) -> None:
    """Append moves; the same move of the same fence is kept once."""
    rows = [
        {
            "execution_id": each.execution_id,
            "fence": each.fence,
            "state_before": None if each.before is None else str(each.before),
            "state_after": str(each.after),
            "reason": each.reason,
            "at": each.at,
        }
        for each in transitions
    ]
    if rows:
        from sqlalchemy.dialects.postgresql import insert

        connection.execute(insert(execution_transition).on_conflict_do_nothing(), rows)


def find_execution(connection: Connection, execution_id: UUID) -> Row[Any]:
    """Return the row of an execution.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(select(execution).where(execution.c.execution_id == execution_id)).one_or_none()
    if row is None:
        raise NotFoundError("No such execution", field="execution_id", value=str(execution_id))
    return row


def list_executions(
    connection: Connection, *, tenant: str | None = None, state: str | None = None, limit: int = 50
) -> Sequence[Row[Any]]:
    """Return executions, newest first."""
    query = select(execution).order_by(execution.c.published_at.desc(), execution.c.execution_id.desc()).limit(limit)
    if tenant is not None:
        query = query.where(execution.c.tenant == tenant)
    if state is not None:
        query = query.where(execution.c.state == state)
    return connection.execute(query).all()


def transitions_of(connection: Connection, execution_id: UUID) -> Sequence[Row[Any]]:
    """Return every move of an execution, oldest first."""
    query = select(execution_transition).where(execution_transition.c.execution_id == execution_id)
    return connection.execute(query.order_by(execution_transition.c.transition_id)).all()
