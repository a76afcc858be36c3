"""Schema of runner."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mc_pipelines.foundation.database import grant_app

revision = "0006_runner"
down_revision = "0005_executions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "run_queue",
        sa.Column("execution_id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.Text, nullable=False, comment="queued | claimed | done"),
        sa.Column("enqueued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, comment="claims so far"),
        sa.Column(
            "fence", sa.BigInteger, nullable=False, comment="grows with every claim; an older one may write nothing"
        ),
        sa.Column("owner", sa.Text),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
    )
    op.create_index(
        "ix_run_queue_waiting",
        "run_queue",
        ["not_before", "execution_id"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_run_queue_leases", "run_queue", ["lease_until"], postgresql_where=sa.text("state = 'claimed'"))
    op.execute(grant_app("run_queue", "select", "insert", "update"))
    op.execute(
        "create function mc_notify_runner() returns trigger language plpgsql as "
        "$$ begin perform pg_notify('mc_runner', ''); return null; end $$"
    )
    op.execute(
        "create trigger run_queue_notify after insert on run_queue "
        "for each statement execute function mc_notify_runner()"
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("run_queue")
    op.execute("drop function mc_notify_runner()")
