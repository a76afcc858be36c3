"""Schema of sla: contracts, facts, slices, judgements, drafts, notes, outcomes and the ledger; INSERT-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import grant_app, insert_only

revision = "0008_sla"
down_revision = "0007_policy"
branch_labels = None
depends_on = None

_TABLES = (
    "sla_contract",
    "sla_counter",
    "sla_fact",
    "sla_ledger_entry",
    "sla_rollup",
    "sla_slice_day",
    "sla_commitment",
    "sla_commitment_leaf",
    "sla_assignment",
    "sla_draft",
    "sla_judgement",
    "sla_draft_event",
    "sla_ledger_transaction",
    "sla_note",
    "sla_timestamp",
    "sla_signature",
    "sla_outcome",
)
_COUNTER = "sla_counter"


def upgrade() -> None:
    """Create the tables."""
    for table in _TABLES:
        globals()[f"_create_{table}"]()
        if table != _COUNTER:
            for statement in insert_only(table):
                op.execute(statement)
    # The counter of note numbers is the one row that changes: locked, raised, committed with its note.
    op.execute(grant_app(_COUNTER, "select", "insert", "update (last)"))
    op.execute(
        """
        create function mc_sla_ledger_balances() returns trigger language plpgsql as $$
        begin
            if exists (
                select from sla_ledger_entry where draft_id = new.draft_id and phase = new.phase
                group by currency having sum(amount_minor) <> 0
            ) then
                raise exception 'ledger transaction % % does not balance', new.draft_id, new.phase
                    using errcode = '23514';
            end if;
            return null;
        end $$
        """
    )
    op.execute(
        "create constraint trigger sla_ledger_entry_balances after insert on sla_ledger_entry "
        "deferrable initially deferred for each row execute function mc_sla_ledger_balances()"
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.execute("drop function mc_sla_ledger_balances()")


def _create_sla_contract() -> None:
    op.create_table(
        "sla_contract",
        sa.Column("digest", sa.Text, nullable=False, comment="sha256 of the canonical document"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column(
            "envelope", sa.LargeBinary, nullable=False, comment="DSSE envelope of the service's statement about it"
        ),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_sla_contract"),
        sa.UniqueConstraint("name", "version", name="uq_sla_contract_name_version"),
    )


def _create_sla_counter() -> None:
    op.create_table(
        "sla_counter",
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False, comment="a row, not a sequence: a rollback leaves no gap"),
        sa.PrimaryKeyConstraint("issuer", name="pk_sla_counter"),
    )


def _create_sla_fact() -> None:
    op.create_table(
        "sla_fact",
        sa.Column("kind", sa.Text, nullable=False, comment="incident, maintenance, deployment, charge or probe"),
        sa.Column("fact_id", sa.Text, nullable=False, comment="the id that its source gave it"),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("tenant", sa.Text, comment="null: all tenants"),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), comment="null: not over yet"),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("digest", sa.Text, nullable=False, comment="sha256 of the canonical content"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('incident', 'maintenance', 'deployment', 'charge', 'probe')", name="ck_sla_fact_kind"
        ),
        sa.CheckConstraint("ends_at > starts_at", name="ck_sla_fact_interval"),
        sa.PrimaryKeyConstraint("kind", "fact_id", "revision", name="pk_sla_fact"),
    )
    op.create_index("ix_sla_fact_lookup", "sla_fact", ["kind", "service", "starts_at"], unique=False)


def _create_sla_ledger_entry() -> None:
    op.create_table(
        "sla_ledger_entry",
        sa.Column("draft_id", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False, comment="debit positive, credit negative"),
        sa.Column("currency", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("draft_id", "phase", "account", name="pk_sla_ledger_entry"),
    )


def _create_sla_rollup() -> None:
    op.create_table(
        "sla_rollup",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("profiles", sa.Text, nullable=False, comment="digest of the granules and thresholds rolled up"),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("files", sa.Text, nullable=False, comment="digest of the sorted names of the fact files read"),
        sa.Column("paths", sa.ARRAY(sa.Text), nullable=False, comment="the sorted names themselves"),
        sa.Column("root", sa.Text, nullable=False, comment="Merkle root over the day's slice digests of all tenants"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("day", "profiles", "revision", name="pk_sla_rollup"),
    )


def _create_sla_slice_day() -> None:
    op.create_table(
        "sla_slice_day",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("day", sa.Date, nullable=False, comment="UTC day"),
        sa.Column("granule_ms", sa.Integer, nullable=False),
        sa.Column("threshold_ms", sa.Integer, nullable=False, comment="0: availability"),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("rows", sa.LargeBinary, nullable=False, comment="canonical JSON of the counts per slice"),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("constructed", sa.BigInteger, nullable=False, comment="events whose source is not a real execution"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "service", "day", "granule_ms", "threshold_ms", "revision", name="pk_sla_slice_day"
        ),
    )
    op.create_index("ix_sla_slice_day_day", "sla_slice_day", ["day", "granule_ms", "threshold_ms"], unique=False)


def _create_sla_assignment() -> None:
    op.create_table(
        "sla_assignment",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("objective", sa.Text, nullable=False),
        sa.Column("first_day", sa.Date, nullable=False, comment="local day of the contract's zone"),
        sa.Column("last_day", sa.Date, comment="null: until further notice"),
        sa.Column("contract_digest", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("last_day >= first_day", name="ck_sla_assignment_days"),
        sa.ForeignKeyConstraint(["contract_digest"], ["sla_contract.digest"], name="fk_sla_assignment_contract_digest"),
        sa.PrimaryKeyConstraint("tenant", "service", "objective", "first_day", name="pk_sla_assignment"),
    )


def _create_sla_draft() -> None:
    op.create_table(
        "sla_draft",
        sa.Column("draft_id", sa.Text, nullable=False, comment="idempotency key, derived from the content"),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("objective", sa.Text, nullable=False),
        sa.Column("contract_digest", sa.Text, nullable=False),
        sa.Column("period_first", sa.Date, nullable=False),
        sa.Column("period_last", sa.Date, nullable=False),
        sa.Column("restatement", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("signatures_needed", sa.Integer, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False, comment="canonical note without its signature"),
        sa.Column("payload", sa.LargeBinary, nullable=False, comment="the statement that people sign"),
        sa.Column("evidence", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind in ('credit_note', 'reversal')", name="ck_sla_draft_kind"),
        sa.CheckConstraint("signatures_needed >= 2", name="ck_sla_draft_two_people"),
        sa.ForeignKeyConstraint(["contract_digest"], ["sla_contract.digest"], name="fk_sla_draft_contract_digest"),
        sa.PrimaryKeyConstraint("draft_id", name="pk_sla_draft"),
        sa.UniqueConstraint(
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
    )


def _create_sla_judgement() -> None:
    op.create_table(
        "sla_judgement",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("objective", sa.Text, nullable=False),
        sa.Column("contract_digest", sa.Text, nullable=False),
        sa.Column("period_first", sa.Date, nullable=False),
        sa.Column("period_last", sa.Date, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("entitled_minor", sa.BigInteger, comment="null: on hold"),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, comment="why nothing is due, or why it is on hold"),
        sa.Column("figures", JSONB, nullable=False),
        sa.Column(
            "days", JSONB, nullable=False, comment="per local day: state, shown percentage, share in minor units"
        ),
        sa.Column("evidence", sa.LargeBinary, nullable=False, comment="canonical evidence document"),
        sa.Column("evidence_digest", sa.Text, nullable=False),
        sa.Column("closed", sa.Boolean, nullable=False, comment="the period was over and its watermark passed"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state in ('met', 'breached', 'no data')", name="ck_sla_judgement_state"),
        sa.ForeignKeyConstraint(["contract_digest"], ["sla_contract.digest"], name="fk_sla_judgement_contract_digest"),
        sa.PrimaryKeyConstraint(
            "tenant",
            "service",
            "objective",
            "contract_digest",
            "period_first",
            "period_last",
            "revision",
            name="pk_sla_judgement",
        ),
    )


def _create_sla_draft_event() -> None:
    op.create_table(
        "sla_draft_event",
        sa.Column("draft_id", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("person_id", sa.Uuid),
        sa.Column("reason", sa.Text),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "event in ('rejected', 'expired', 'superseded', 'issued', 'reminded')", name="ck_sla_draft_event_event"
        ),
        sa.ForeignKeyConstraint(["draft_id"], ["sla_draft.draft_id"], name="fk_sla_draft_event_draft_id"),
        sa.PrimaryKeyConstraint("draft_id", "event", name="pk_sla_draft_event"),
    )
    op.create_index(
        "uq_sla_draft_event_end",
        "sla_draft_event",
        ["draft_id"],
        unique=True,
        postgresql_where=sa.text("event <> 'reminded'"),
    )


def _create_sla_ledger_transaction() -> None:
    op.create_table(
        "sla_ledger_transaction",
        sa.Column("draft_id", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("phase in ('pending', 'posted', 'voided')", name="ck_sla_ledger_transaction_phase"),
        sa.ForeignKeyConstraint(["draft_id"], ["sla_draft.draft_id"], name="fk_sla_ledger_transaction_draft_id"),
        sa.PrimaryKeyConstraint("draft_id", "phase", name="pk_sla_ledger_transaction"),
    )
    op.create_index(
        "uq_sla_ledger_transaction_end",
        "sla_ledger_transaction",
        ["draft_id"],
        unique=True,
        postgresql_where=sa.text("phase <> 'pending'"),
    )


def _create_sla_note() -> None:
    op.create_table(
        "sla_note",
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("draft_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("objective", sa.Text, nullable=False),
        sa.Column("contract_digest", sa.Text, nullable=False),
        sa.Column("period_first", sa.Date, nullable=False),
        sa.Column("period_last", sa.Date, nullable=False),
        sa.Column("restatement", sa.Integer, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False, comment="the signed note, canonical"),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.Text, nullable=False, comment="sha256 of the note without its signature"),
        sa.Column("leaf_id", sa.Text, nullable=False, comment="its leaf in the audit log"),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["contract_digest"], ["sla_contract.digest"], name="fk_sla_note_contract_digest"),
        sa.ForeignKeyConstraint(["draft_id"], ["sla_draft.draft_id"], name="fk_sla_note_draft_id"),
        sa.PrimaryKeyConstraint("number", name="pk_sla_note"),
        sa.UniqueConstraint("draft_id", name="uq_sla_note_draft_id"),
        sa.UniqueConstraint(
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


def _create_sla_signature() -> None:
    op.create_table(
        "sla_signature",
        sa.Column("draft_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, comment="1 maker, 2 checker, 3 second checker"),
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False, comment="DER, over the DSSE encoding of the payload"),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("position between 1 and 3", name="ck_sla_signature_position"),
        sa.ForeignKeyConstraint(["draft_id"], ["sla_draft.draft_id"], name="fk_sla_signature_draft_id"),
        sa.PrimaryKeyConstraint("draft_id", "position", name="pk_sla_signature"),
        sa.UniqueConstraint("draft_id", "key_id", name="uq_sla_signature_draft_id_key_id"),
        sa.UniqueConstraint("draft_id", "person_id", name="uq_sla_signature_draft_id_person_id"),
    )


def _create_sla_commitment() -> None:
    op.create_table(
        "sla_commitment",
        sa.Column("day", sa.Date, nullable=False, comment="UTC day"),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column(
            "leaves",
            sa.LargeBinary,
            nullable=False,
            comment="salted leaf hashes of all tenants, 32 bytes each, in order",
        ),
        sa.Column("content", sa.LargeBinary, nullable=False, comment="what the leaf of the audit log commits to"),
        sa.Column("leaf_id", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("day", "revision", name="pk_sla_commitment"),
    )


def _create_sla_commitment_leaf() -> None:
    op.create_table(
        "sla_commitment_leaf",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("granule_ms", sa.Integer, nullable=False),
        sa.Column("threshold_ms", sa.Integer, nullable=False),
        sa.Column("leaf_index", sa.Integer, nullable=False),
        sa.Column(
            "salt",
            sa.LargeBinary,
            nullable=False,
            comment="the tenant's secret: without it the leaf cannot be guessed",
        ),
        sa.Column("digest", sa.Text, nullable=False, comment="of the day's slices"),
        sa.CheckConstraint("octet_length(salt) = 32", name="ck_sla_commitment_leaf_salt"),
        sa.ForeignKeyConstraint(
            ["day", "revision"], ["sla_commitment.day", "sla_commitment.revision"], name="fk_sla_commitment_leaf_day"
        ),
        sa.PrimaryKeyConstraint(
            "day", "revision", "tenant", "service", "granule_ms", "threshold_ms", name="pk_sla_commitment_leaf"
        ),
    )


def _create_sla_timestamp() -> None:
    op.create_table(
        "sla_timestamp",
        sa.Column("number", sa.Text, nullable=False),
        sa.Column(
            "response", sa.LargeBinary, nullable=False, comment="RFC 3161 response over the note's envelope, DER"
        ),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["sla_note.number"], name="fk_sla_timestamp_number"),
        sa.PrimaryKeyConstraint("number", name="pk_sla_timestamp"),
    )


def _create_sla_outcome() -> None:
    op.create_table(
        "sla_outcome",
        sa.Column("incident_id", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("number", sa.Text, comment="the credit note, or"),
        sa.Column("reason", sa.Text, comment="why there is no credit"),
        sa.Column("envelope", sa.LargeBinary, comment="the signed no-credit determination"),
        sa.Column("leaf_id", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(number is null) = (envelope is not null and reason is not null)", name="ck_sla_outcome_one_of_two"
        ),
        sa.ForeignKeyConstraint(["number"], ["sla_note.number"], name="fk_sla_outcome_number"),
        sa.PrimaryKeyConstraint("incident_id", "tenant", name="pk_sla_outcome"),
    )
