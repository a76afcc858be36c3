"""The tables of foundation: outbox, flags, tenants, people."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import metadata

ALL_TENANTS = "*"
"""The scope of a flag that holds for every tenant without a line of its own; no tenant can have this name."""

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False, comment="derived from the content, so that a retry publishes nothing twice"),
    Column("payload", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("processed_at", DateTime(timezone=True)),
    UniqueConstraint("topic", "key"),
)
Index("ix_outbox_waiting", outbox.c.topic, outbox.c.outbox_id, postgresql_where=text("processed_at is null"))

flag = Table(
    "flag",
    metadata,
    Column("name", Text, primary_key=True),
    Column("scope", Text, primary_key=True, comment="a tenant, or * for all others"),
    Column("enabled", Boolean, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)

tenant = Table(
    "tenant",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("zone", Text, nullable=False, comment="IANA zone of the billing calendar"),
    Column("currency", Text, nullable=False, comment="ISO 4217 code"),
    Column("residency", ARRAY(Text), nullable=False, comment="jurisdictions its data may rest in; empty: any"),
    Column("data_class", Text, nullable=False),
    Column("contracts", ARRAY(Text), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

person = Table(
    "person",
    metadata,
    Column("person_id", Uuid, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("demo", Boolean, nullable=False, comment="made by `mc demo`; refused in production"),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("issuer", "subject"),
)

person_key = Table(
    "person_key",
    metadata,
    Column("key_id", Text, primary_key=True, comment="RFC 7638 thumbprint: one key belongs to one person, for ever"),
    Column("person_id", Uuid, ForeignKey("person.person_id"), nullable=False),
    Column("public_key_pem", Text, nullable=False),
    Column("valid_from", DateTime(timezone=True), nullable=False),
    Column("valid_until", DateTime(timezone=True), comment="null: still valid"),
    CheckConstraint("valid_until > valid_from", name="interval"),
)
Index("ix_person_key_person_id", person_key.c.person_id)
