"""The table of the runner: the queue."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, Table, Text, Uuid, text

from mc_pipelines.foundation.database import metadata

CHANNEL = "mc_runner"
"""PostgreSQL channel that is notified once per statement that queues something."""

run_queue = Table(
    "run_queue",
    metadata,
    Column("execution_id", Uuid, primary_key=True),
    Column("state", Text, nullable=False, comment="queued | claimed | done"),
    Column("enqueued_at", DateTime(timezone=True), nullable=False),
    Column("not_before", DateTime(timezone=True), nullable=False),
    Column("attempt", Integer, nullable=False, comment="claims so far"),
    Column("fence", BigInteger, nullable=False, comment="grows with every claim; an older one may write nothing"),
    Column("owner", Text),
    Column("claimed_at", DateTime(timezone=True)),
    Column("lease_until", DateTime(timezone=True)),
)
Index(
    "ix_run_queue_waiting",
    run_queue.c.not_before,
    run_queue.c.execution_id,
    postgresql_where=text("state = 'queued'"),
)
Index("ix_run_queue_leases", run_queue.c.lease_until, postgresql_where=text("state = 'claimed'"))
