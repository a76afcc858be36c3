"""Schema of foundation: the function behind INSERT-only tables; outbox, flags, tenants and people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mc_pipelines.foundation.database import grant_app

revision = "0001_foundation"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.execute("grant usage on schema public to mc_app")
    op.execute("grant select on alembic_version to mc_app")
    op.execute(
        """
        create function mc_refuse_change() returns trigger language plpgsql as $$
        begin
            raise exception 'table % is insert-only: % refused', tg_table_name, tg_op using errcode = 'P0001';
        end $$
        """
    )
    _create_outbox()
    _create_flag()
    _create_tenant()
    _create_people()


def downgrade() -> None:
    """Drop the tables."""
    for table in ("person_key", "person", "tenant", "flag", "outbox"):
        op.drop_table(table)
    op.execute("drop function mc_refuse_change()")


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("outbox_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column(
            "key", sa.Text, nullable=False, comment="derived from the content, so that a retry publishes nothing twice"
        ),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("processed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("outbox_id", name="pk_outbox"),
        sa.UniqueConstraint("topic", "key", name="uq_outbox_topic_key"),
    )
    op.create_index(
        "ix_outbox_waiting", "outbox", ["topic", "outbox_id"], postgresql_where=sa.text("processed_at is null")
    )
    # Updating processed_at is all the application may do to a row; the column grant also lets it lock rows.
    op.execute(grant_app("outbox", "select", "insert", "update (processed_at)"))


def _create_flag() -> None:
    op.create_table(
        "flag",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False, comment="a tenant, or * for all others"),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "scope", name="pk_flag"),
    )
    op.execute(grant_app("flag", "select", "insert", "update"))


def _create_tenant() -> None:
    op.create_table(
        "tenant",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("zone", sa.Text, nullable=False, comment="IANA zone of the billing calendar"),
        sa.Column("currency", sa.Text, nullable=False, comment="ISO 4217 code"),
        sa.Column(
            "residency", ARRAY(sa.Text), nullable=False, comment="jurisdictions its data may rest in; empty: any"
        ),
        sa.Column("data_class", sa.Text, nullable=False),
        sa.Column("contracts", ARRAY(sa.Text), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_tenant"),
    )
    op.execute(grant_app("tenant", "select", "insert", "update"))


def _create_people() -> None:
    op.create_table(
        "person",
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("roles", ARRAY(sa.Text), nullable=False),
        sa.Column("demo", sa.Boolean, nullable=False, comment="made by `mc demo`; refused in production"),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("person_id", name="pk_person"),
        sa.UniqueConstraint("issuer", "subject", name="uq_person_issuer_subject"),
    )
    op.execute(grant_app("person", "select", "insert", "update (name, roles, demo, updated_at)"))
    op.create_table(
        "person_key",
        sa.Column(
            "key_id", sa.Text, nullable=False, comment="RFC 7638 thumbprint: one key belongs to one person, for ever"
        ),
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("public_key_pem", sa.Text, nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), comment="null: still valid"),
        sa.PrimaryKeyConstraint("key_id", name="pk_person_key"),
        sa.ForeignKeyConstraint(["person_id"], ["person.person_id"], name="fk_person_key_person_id"),
        sa.CheckConstraint("valid_until > valid_from", name="ck_person_key_interval"),
    )
    op.create_index("ix_person_key_person_id", "person_key", ["person_id"])
    op.execute(grant_app("person_key", "select", "insert", "update (valid_until)"))
