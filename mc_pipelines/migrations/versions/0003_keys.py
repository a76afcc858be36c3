"""Schema of keys: data keys and their wrappings, rotations and their history."""

from __future__ import annotations

from alembic import op

from mc_pipelines.foundation.database import grant_app, insert_only

revision = "0003_keys"
down_revision = "0002_attest"
branch_labels = None
depends_on = None

_TABLES = ("kms_rotation_history", "kms_rotation", "data_encryption_key_slot", "data_encryption_key")


def upgrade() -> None:
    """Create the tables."""
    op.execute(
        """
        create table data_encryption_key (
            dek_id uuid not null constraint pk_data_encryption_key primary key,
            tenant text not null,
            kind text not null constraint ck_data_encryption_key_kind check (kind in ('receipt', 'log', 'input')),
            epoch integer not null,
            created_at timestamptz not null,
            expires_at timestamptz not null,
            reserved_objects bigint not null default 0
                constraint ck_data_encryption_key_objects check (reserved_objects between 0 and 16777216),
            reserved_bytes bigint not null default 0
                constraint ck_data_encryption_key_bytes check (reserved_bytes between 0 and 1099511627776)
        )
        """
    )
    op.execute("create unique index uq_data_encryption_key_epoch on data_encryption_key (tenant, kind, epoch)")
    op.execute(
        """
        create table data_encryption_key_slot (
            dek_id uuid not null,
            kek_ref text not null,
            provider integer not null,
            wrapped bytea not null,
            wrapped_at timestamptz not null,
            constraint pk_data_encryption_key_slot primary key (dek_id, kek_ref)
        )
        """
    )
    op.execute("create index ix_data_encryption_key_slot_kek_ref on data_encryption_key_slot (kek_ref, dek_id)")
    op.execute(
        """
        create table kms_rotation (
            rotation_id uuid not null constraint pk_kms_rotation primary key,
            provider text not null,
            key text not null,
            use text not null constraint ck_kms_rotation_use check (use in ('sign', 'wrap')),
            old_ref text not null,
            new_ref text,
            state text not null constraint ck_kms_rotation_state check (state in (
                'PLANNED', 'CREATED', 'PUBLISHED', 'PROMOTED', 'REWRAPPING', 'VERIFIED', 'RETIRED', 'FAILED_HELD')),
            version integer not null,
            reason text not null,
            planned_at timestamptz not null,
            updated_at timestamptz not null,
            detail jsonb not null,
            evidence bytea
        )
        """
    )
    op.execute(
        "create unique index uq_kms_rotation_open on kms_rotation (provider, key) "
        "where state not in ('RETIRED', 'FAILED_HELD')"
    )
    op.execute(
        """
        create table kms_rotation_history (
            rotation_id uuid not null,
            version integer not null,
            state text not null,
            at timestamptz not null,
            detail jsonb not null,
            previous text not null,
            digest text not null,
            constraint pk_kms_rotation_history primary key (rotation_id, version)
        )
        """
    )
    op.execute(grant_app("data_encryption_key", "select", "insert", "update"))
    op.execute(grant_app("data_encryption_key_slot", "select", "insert", "delete"))
    op.execute(grant_app("kms_rotation", "select", "insert", "update"))
    for statement in insert_only("kms_rotation_history"):
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    for table in _TABLES:
        op.execute(f"drop table {table}")
