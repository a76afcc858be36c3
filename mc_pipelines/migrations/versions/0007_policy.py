"""Schema of policy: rollouts, transitions, evidence, pointers to bundles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import grant_app, insert_only

revision = "0007_policy"
down_revision = "0006_runner"
branch_labels = None
depends_on = None

_COUNTS = (
    "decisions",
    "harmed",
    "widened",
    "undeclared",
    "reasons_changed",
    "errors",
    "denied_old",
    "denied_new",
    "denied_both",
    "slow",
    "units",
    "units_harmed",
    "units_touched",
    "units_denied_old",
    "units_denied_new",
    "units_denied_both",
    "units_slow",
    "unreplayable",
)


def upgrade() -> None:
    """Create the tables."""
    _create_rollouts()
    _create_evidence_and_pointers()
    _create_approvals()
    op.execute(grant_app("policy_rollout", "select", "insert", "update"))
    op.execute(grant_app("policy_pointer", "select", "insert", "update"))
    for table in ("policy_transition", "policy_evidence", "policy_approval"):
        for statement in insert_only(table):
            op.execute(statement)


def _create_rollouts() -> None:
    op.create_table(
        "policy_rollout",
        sa.Column("rollout_id", sa.Uuid, nullable=False),
        sa.Column("pack", sa.Text, nullable=False),
        sa.Column("cohort", sa.Text, nullable=False),
        sa.Column("baseline", sa.Text, nullable=False),
        sa.Column("challenger", sa.Text, nullable=False),
        sa.Column("steps", JSONB, nullable=False),
        sa.Column("declared", JSONB, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("step_started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", name="pk_policy_rollout"),
    )
    op.create_index(
        "uq_policy_rollout_active",
        "policy_rollout",
        ["pack", "cohort"],
        unique=True,
        postgresql_where=sa.text("phase in ('simulate', 'warn', 'enforce')"),
    )
    op.create_table(
        "policy_transition",
        sa.Column("rollout_id", sa.Uuid, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "sequence", name="pk_policy_transition"),
    )


def _create_evidence_and_pointers() -> None:
    op.create_table(
        "policy_evidence",
        sa.Column("rollout_id", sa.Uuid, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
        sa.PrimaryKeyConstraint("rollout_id", "step", "window_start", "tenant", name="pk_policy_evidence"),
    )
    op.create_table(
        "policy_pointer",
        sa.Column("pack", sa.Text, nullable=False),
        sa.Column("cohort", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("active", sa.Text, nullable=False),
        sa.Column("last_known_good", sa.Text),
        sa.Column("challenger", sa.Text),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("warn_percent", sa.Integer, nullable=False),
        sa.Column("rollout_id", sa.Uuid),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pack", "cohort", name="pk_policy_pointer"),
    )


def _create_approvals() -> None:
    op.create_table(
        "policy_approval",
        sa.Column("rollout_id", sa.Uuid, nullable=False),
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column(
            "signature",
            sa.LargeBinary,
            nullable=False,
            comment="DER, over the DSSE encoding of the rollout's proposal",
        ),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "person_id", name="pk_policy_approval"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("policy_approval", "policy_pointer", "policy_evidence", "policy_transition", "policy_rollout"):
        op.drop_table(table)
