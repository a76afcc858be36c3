"""Tables of attest: the audit log and the key history.

Everything is INSERT-only except two tables: ``attest_log_pending``, the sequencer's queue, and ``attest_log_content``,
which only the owner may delete from (an erasure), and without which the log still verifies.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from mc_pipelines.foundation.database import metadata

log_leaf = Table(
    "attest_log_leaf",
    metadata,
    Column("leaf_id", Text, primary_key=True),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("content_digest", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    CheckConstraint("octet_length(leaf_hash) = 32", name="leaf_hash_is_sha256"),
    CheckConstraint("octet_length(entry) between 1 and 65535", name="entry_fits_a_tile"),
    Index("ix_attest_log_leaf_content_digest", "content_digest"),
    Index("ix_attest_log_leaf_subject", "subject"),
)
"""What happened: one row an act, inserted in the act's own transaction."""

log_content = Table(
    "attest_log_content",
    metadata,
    Column("content_digest", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
"""The content a leaf names by digest; erasable without breaking the tree."""

log_pending = Table(
    "attest_log_pending",
    metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("leaf_id", Text, nullable=False),
    UniqueConstraint("leaf_id", name="uq_attest_log_pending_leaf_id"),
)
"""Leaves that wait for their index; the sequencer takes them out."""

log_entry = Table(
    "attest_log_entry",
    metadata,
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf_id", Text, nullable=False),
    Column("sequenced_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("leaf_id", name="uq_attest_log_entry_leaf_id"),
    CheckConstraint("leaf_index >= 0", name="leaf_index_is_a_number"),
)
"""Which leaf has which index."""

log_node = Table(
    "attest_log_node",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("node_index", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
)
"""Roots of complete subtrees: level 0 holds the leaf hashes."""

log_checkpoint = Table(
    "attest_log_checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
)
"""Signed heads; one size has one head, so the log cannot sign two views of itself."""

log_cosignature = Table(
    "attest_log_cosignature",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("witness", Text, primary_key=True, comment="verifier key"),
    Column("line", Text, nullable=False, comment="signature line over the checkpoint of this size"),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
)
"""What witnesses signed, each verified before it was stored."""

trust_version = Table(
    "attest_trust_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False, comment="DSSE, as it is given out"),
    Column("issued_at", DateTime(timezone=True), nullable=False),
)
"""Every version of the trust file that was given out; INSERT-only."""

key_revision = Table(
    "attest_key_revision",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("public_key_pem", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("valid_from", DateTime(timezone=True), nullable=False),
    Column("valid_until", DateTime(timezone=True)),
    Column("status", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("status in ('pending', 'active', 'retired', 'compromised')", name="status_is_known"),
    CheckConstraint("valid_until is null or valid_until >= valid_from", name="validity_is_a_window"),
)
"""The key history: a change of a key's status or validity is a new revision."""
