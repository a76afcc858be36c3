"""Tables of keys: data keys and their wrappings, rotations and their history."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import metadata

OPEN_STATES = "state not in ('RETIRED', 'FAILED_HELD')"
"""A key has at most one rotation in such a state."""

data_encryption_key = Table(
    "data_encryption_key",
    metadata,
    Column("dek_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("reserved_objects", BigInteger, nullable=False, server_default="0"),
    Column("reserved_bytes", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("kind in ('receipt', 'log', 'input')", name="kind"),
    CheckConstraint("reserved_objects between 0 and 16777216", name="objects"),
    CheckConstraint("reserved_bytes between 0 and 1099511627776", name="bytes"),
    Index("uq_data_encryption_key_epoch", "tenant", "kind", "epoch", unique=True),
)

data_encryption_key_slot = Table(
    "data_encryption_key_slot",
    metadata,
    Column("dek_id", Uuid, primary_key=True),
    Column("kek_ref", Text, primary_key=True),
    Column("provider", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("wrapped_at", DateTime(timezone=True), nullable=False),
    Index("ix_data_encryption_key_slot_kek_ref", "kek_ref", "dek_id"),
)

kms_rotation = Table(
    "kms_rotation",
    metadata,
    Column("rotation_id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("use", Text, nullable=False),
    Column("old_ref", Text, nullable=False),
    Column("new_ref", Text),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("planned_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("evidence", LargeBinary),
    CheckConstraint("use in ('sign', 'wrap')", name="use"),
    CheckConstraint(
        "state in ('PLANNED', 'CREATED', 'PUBLISHED', 'PROMOTED', 'REWRAPPING', 'VERIFIED', 'RETIRED', 'FAILED_HELD')",
        name="state",
    ),
    Index("uq_kms_rotation_open", "provider", "key", unique=True, postgresql_where=text(OPEN_STATES)),
)

kms_rotation_history = Table(
    "kms_rotation_history",
    metadata,
    Column("rotation_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
)
"""Append-only; ``digest`` is of this row and the one before, so a row cannot be taken out unseen."""
