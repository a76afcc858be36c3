"""The tables of SLA and credits. All are INSERT-only but the note counter: what was once known stays known.

Facts are bitemporal: ``starts_at``/``ends_at`` say when something was so, ``recorded_at`` when we learnt it. A
correction is a further revision, so "as known on D" is a filter on ``recorded_at``.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import metadata

MOMENT = DateTime(timezone=True)

contract = Table(
    "sla_contract",
    metadata,
    Column("digest", Text, primary_key=True, comment="sha256 of the canonical document"),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("envelope", LargeBinary, nullable=False, comment="DSSE envelope of the service's statement about it"),
    Column("recorded_at", MOMENT, nullable=False),
    UniqueConstraint("name", "version"),
)

assignment = Table(
    "sla_assignment",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("objective", Text, primary_key=True),
    Column("first_day", Date, primary_key=True, comment="local day of the contract's zone"),
    Column("last_day", Date, comment="null: until further notice"),
    Column("contract_digest", Text, ForeignKey("sla_contract.digest"), nullable=False),
    Column("recorded_at", MOMENT, nullable=False),
    CheckConstraint("last_day >= first_day", name="days"),
)

fact = Table(
    "sla_fact",
    metadata,
    Column("kind", Text, primary_key=True, comment="incident, maintenance, deployment, charge or probe"),
    Column("fact_id", Text, primary_key=True, comment="the id that its source gave it"),
    Column("revision", Integer, primary_key=True),
    Column("tenant", Text, comment="null: all tenants"),
    Column("service", Text, nullable=False),
    Column("starts_at", MOMENT, nullable=False),
    Column("ends_at", MOMENT, comment="null: not over yet"),
    Column("content", JSONB, nullable=False),
    Column("digest", Text, nullable=False, comment="sha256 of the canonical content"),
    Column("recorded_at", MOMENT, nullable=False),
    CheckConstraint("kind in ('incident', 'maintenance', 'deployment', 'charge', 'probe')", name="kind"),
    CheckConstraint("ends_at > starts_at", name="interval"),
)
Index("ix_sla_fact_lookup", fact.c.kind, fact.c.service, fact.c.starts_at)

slice_day = Table(
    "sla_slice_day",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("day", Date, primary_key=True, comment="UTC day"),
    Column("granule_ms", Integer, primary_key=True),
    Column("threshold_ms", Integer, primary_key=True, comment="0: availability"),
    Column("revision", Integer, primary_key=True),
    Column("rows", LargeBinary, nullable=False, comment="canonical JSON of the counts per slice"),
    Column("digest", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("constructed", BigInteger, nullable=False, comment="events whose source is not a real execution"),
    Column("recorded_at", MOMENT, nullable=False),
    Index("ix_sla_slice_day_day", "day", "granule_ms", "threshold_ms"),
)

rollup = Table(
    "sla_rollup",
    metadata,
    Column("day", Date, primary_key=True),
    Column("profiles", Text, primary_key=True, comment="digest of the granules and thresholds rolled up"),
    Column("revision", Integer, primary_key=True),
    Column("files", Text, nullable=False, comment="digest of the sorted names of the fact files read"),
    Column("paths", ARRAY(Text), nullable=False, comment="the sorted names themselves"),
    Column("root", Text, nullable=False, comment="Merkle root over the day's slice digests of all tenants"),
    Column("recorded_at", MOMENT, nullable=False),
)

commitment = Table(
    "sla_commitment",
    metadata,
    Column("day", Date, primary_key=True, comment="UTC day"),
    Column("revision", Integer, primary_key=True),
    Column("leaves", LargeBinary, nullable=False, comment="salted leaf hashes of all tenants, 32 bytes each, in order"),
    Column("content", LargeBinary, nullable=False, comment="what the leaf of the audit log commits to"),
    Column("leaf_id", Text, nullable=False),
    Column("recorded_at", MOMENT, nullable=False),
)

commitment_leaf = Table(
    "sla_commitment_leaf",
    metadata,
    Column("day", Date, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("granule_ms", Integer, primary_key=True),
    Column("threshold_ms", Integer, primary_key=True),
    Column("leaf_index", Integer, nullable=False),
    Column("salt", LargeBinary, nullable=False, comment="the tenant's secret: without it the leaf cannot be guessed"),
    Column("digest", Text, nullable=False, comment="of the day's slices"),
    ForeignKeyConstraint(["day", "revision"], ["sla_commitment.day", "sla_commitment.revision"]),
    CheckConstraint("octet_length(salt) = 32", name="salt"),
)

judgement = Table(
    "sla_judgement",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("objective", Text, primary_key=True),
    Column("contract_digest", Text, ForeignKey("sla_contract.digest"), primary_key=True),
    Column("period_first", Date, primary_key=True),
    Column("period_last", Date, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("entitled_minor", BigInteger, comment="null: on hold"),
    Column("currency", Text, nullable=False),
    Column("reason", Text, comment="why nothing is due, or why it is on hold"),
    Column("figures", JSONB, nullable=False),
    Column("days", JSONB, nullable=False, comment="per local day: state, shown percentage, share in minor units"),
    Column("evidence", LargeBinary, nullable=False, comment="canonical evidence document"),
    Column("evidence_digest", Text, nullable=False),
    Column("closed", Boolean, nullable=False, comment="the period was over and its watermark passed"),
    Column("recorded_at", MOMENT, nullable=False),
    CheckConstraint("state in ('met', 'breached', 'no data')", name="state"),
)

draft = Table(
    "sla_draft",
    metadata,
    Column("draft_id", Text, primary_key=True, comment="idempotency key, derived from the content"),
    Column("tenant", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("objective", Text, nullable=False),
    Column("contract_digest", Text, ForeignKey("sla_contract.digest"), nullable=False),
    Column("period_first", Date, nullable=False),
    Column("period_last", Date, nullable=False),
    Column("restatement", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("signatures_needed", Integer, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="canonical note without its signature"),
    Column("payload", LargeBinary, nullable=False, comment="the statement that people sign"),
    Column("evidence", LargeBinary, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("expires_at", MOMENT, nullable=False),
    UniqueConstraint(
        "tenant",
        "service",
        "objective",
        "contract_digest",
        "period_first",
        "period_last",
        "restatement",
        "attempt",
        name="uq_sla_draft_content",
    ),
    CheckConstraint("signatures_needed >= 2", name="two_people"),
    CheckConstraint("kind in ('credit_note', 'reversal')", name="kind"),
)

draft_event = Table(
    "sla_draft_event",
    metadata,
    Column("draft_id", Text, ForeignKey("sla_draft.draft_id"), primary_key=True),
    Column("event", Text, primary_key=True),
    Column("person_id", Uuid),
    Column("reason", Text),
    Column("at", MOMENT, nullable=False),
    CheckConstraint("event in ('rejected', 'expired', 'superseded', 'issued', 'reminded')", name="event"),
)
Index(
    "uq_sla_draft_event_end",
    draft_event.c.draft_id,
    unique=True,
    postgresql_where=text("event <> 'reminded'"),
)

signature = Table(
    "sla_signature",
    metadata,
    Column("draft_id", Text, ForeignKey("sla_draft.draft_id"), primary_key=True),
    Column("position", Integer, primary_key=True, comment="1 maker, 2 checker, 3 second checker"),
    Column("person_id", Uuid, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False, comment="DER, over the DSSE encoding of the payload"),
    Column("signed_at", MOMENT, nullable=False),
    UniqueConstraint("draft_id", "person_id"),
    UniqueConstraint("draft_id", "key_id"),
    CheckConstraint("position between 1 and 3", name="position"),
)

counter = Table(
    "sla_counter",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("last", BigInteger, nullable=False, comment="a row, not a sequence: a rollback leaves no gap"),
)

note = Table(
    "sla_note",
    metadata,
    Column("number", Text, primary_key=True),
    Column("draft_id", Text, ForeignKey("sla_draft.draft_id"), nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("objective", Text, nullable=False),
    Column("contract_digest", Text, ForeignKey("sla_contract.digest"), nullable=False),
    Column("period_first", Date, nullable=False),
    Column("period_last", Date, nullable=False),
    Column("restatement", Integer, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="the signed note, canonical"),
    Column("envelope", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False, comment="sha256 of the note without its signature"),
    Column("leaf_id", Text, nullable=False, comment="its leaf in the audit log"),
    Column("issued_at", MOMENT, nullable=False),
    UniqueConstraint(
        "tenant",
        "service",
        "objective",
        "contract_digest",
        "period_first",
        "period_last",
        "restatement",
        name="uq_sla_note_content",
    ),
)

timestamp = Table(
    "sla_timestamp",
    metadata,
    Column("number", Text, ForeignKey("sla_note.number"), primary_key=True),
    Column("response", LargeBinary, nullable=False, comment="RFC 3161 response over the note's envelope, DER"),
    Column("recorded_at", MOMENT, nullable=False),
)

outcome = Table(
    "sla_outcome",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("number", Text, ForeignKey("sla_note.number"), comment="the credit note, or"),
    Column("reason", Text, comment="why there is no credit"),
    Column("envelope", LargeBinary, comment="the signed no-credit determination"),
    Column("leaf_id", Text, nullable=False),
    Column("recorded_at", MOMENT, nullable=False),
    CheckConstraint("(number is null) = (envelope is not null and reason is not null)", name="one_of_two"),
)

ledger_transaction = Table(
    "sla_ledger_transaction",
    metadata,
    Column("draft_id", Text, ForeignKey("sla_draft.draft_id"), primary_key=True),
    Column("phase", Text, primary_key=True),
    Column("at", MOMENT, nullable=False),
    CheckConstraint("phase in ('pending', 'posted', 'voided')", name="phase"),
)
Index(
    "uq_sla_ledger_transaction_end",
    ledger_transaction.c.draft_id,
    unique=True,
    postgresql_where=text("phase <> 'pending'"),
)

ledger_entry = Table(
    "sla_ledger_entry",
    metadata,
    Column("draft_id", Text, primary_key=True),
    Column("phase", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("amount_minor", BigInteger, nullable=False, comment="debit positive, credit negative"),
    Column("currency", Text, nullable=False),
)
