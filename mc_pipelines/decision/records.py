"""The table of decisions."""

from __future__ import annotations

from sqlalchemy import Column, Date, DateTime, Index, PrimaryKeyConstraint, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import metadata

decisions = Table(
    "policy_decision",
    metadata,
    Column("decided_on", Date, nullable=False),
    Column("decision_id", Uuid, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    Column("pack", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("tenant", Text),
    Column("input_digest", Text, nullable=False),
    Column("input", JSONB, nullable=False),
    Column("erased", JSONB, nullable=False),
    Column("result", JSONB),
    Column("error", Text),
    Column("engine", Text, nullable=False),
    Column("metrics", JSONB, nullable=False),
    PrimaryKeyConstraint("decided_on", "decision_id"),
    Index("ix_policy_decision_pack_day", "pack", "decided_on", "decided_at"),
)
"""One row a decision; INSERT-only. The day leads the key, so that a day is read, exported and detached as one."""
