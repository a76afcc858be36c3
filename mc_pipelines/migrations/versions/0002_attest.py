"""Schema of attest: the audit log and the key history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mc_pipelines.foundation.database import grant_app, insert_only

revision = "0002_attest"
down_revision = "0001_foundation"
branch_labels = None
depends_on = None

_TABLES = (
    "attest_log_leaf",
    "attest_log_content",
    "attest_log_pending",
    "attest_log_entry",
    "attest_log_node",
    "attest_log_checkpoint",
    "attest_log_cosignature",
    "attest_key_revision",
    "attest_trust_version",
)
_ERASABLE = "attest_log_content"
_QUEUE = "attest_log_pending"


def upgrade() -> None:
    """Create the tables."""
    _create_leaves()
    _create_tree()
    _create_key_history()
    for table in _TABLES:
        if table == _QUEUE:
            op.execute(grant_app(table, "select", "insert", "delete"))
        elif table == _ERASABLE:
            op.execute(grant_app(table, "select", "insert"))
        else:
            for statement in insert_only(table):
                op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(_TABLES):
        op.drop_table(table)


def _create_leaves() -> None:
    op.create_table(
        "attest_log_leaf",
        sa.Column("leaf_id", sa.Text, primary_key=True),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("content_digest", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("octet_length(leaf_hash) = 32", name="leaf_hash_is_sha256"),
        sa.CheckConstraint("octet_length(entry) between 1 and 65535", name="entry_fits_a_tile"),
    )
    op.create_index("ix_attest_log_leaf_content_digest", "attest_log_leaf", ["content_digest"])
    op.create_index("ix_attest_log_leaf_subject", "attest_log_leaf", ["subject"])
    op.create_table(
        "attest_log_content",
        sa.Column("content_digest", sa.Text, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "attest_log_pending",
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("leaf_id", sa.Text, nullable=False),
        sa.UniqueConstraint("leaf_id", name="uq_attest_log_pending_leaf_id"),
    )


def _create_tree() -> None:
    op.create_table(
        "attest_log_entry",
        sa.Column("leaf_index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("leaf_id", sa.Text, nullable=False),
        sa.Column("sequenced_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("leaf_id", name="uq_attest_log_entry_leaf_id"),
        sa.CheckConstraint("leaf_index >= 0", name="leaf_index_is_a_number"),
    )
    op.create_table(
        "attest_log_node",
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("node_index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
    )
    op.create_table(
        "attest_log_checkpoint",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "attest_log_cosignature",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("witness", sa.Text, primary_key=True, comment="verifier key"),
        sa.Column("line", sa.Text, nullable=False, comment="signature line over the checkpoint of this size"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )


def _create_key_history() -> None:
    op.create_table(
        "attest_trust_version",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False, comment="DSSE, as it is given out"),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "attest_key_revision",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("public_key_pem", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True)),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status in ('pending', 'active', 'retired', 'compromised')", name="status_is_known"),
        sa.CheckConstraint("valid_until is null or valid_until >= valid_from", name="validity_is_a_window"),
    )
