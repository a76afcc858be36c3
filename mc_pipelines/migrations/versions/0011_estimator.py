"""Schema of estimator: prediction ledger, model registry, verdicts and alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mc_pipelines.foundation.database import insert_only

revision = "0011_estimator"
down_revision = "0010_provenance"
branch_labels = None
depends_on = None

_TABLES = (
    "estimator_prediction",
    "estimator_model",
    "estimator_champion",
    "estimator_v1_mean",
    "estimator_drift",
    "estimator_alert",
)


def upgrade() -> None:
    """Create the tables; all are INSERT-only."""
    _create_ledger()
    _create_registry()
    _create_verdicts()
    for table in _TABLES:
        for statement in insert_only(table):
            op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(_TABLES):
        op.drop_table(table)


def _create_ledger() -> None:
    op.create_table(
        "estimator_prediction",
        sa.Column("estimate_id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Numeric(24, 6)) for name in ("cost", "low", "high", "v1", "v2")),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("price_id", sa.Text, nullable=False),
        sa.Column("resource_seconds", sa.Float(53)),
        sa.Column("confidence", sa.Float(53), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reasons", ARRAY(sa.Text), nullable=False),
        sa.Column("model_id", sa.Text),
        sa.Column("features_digest", sa.Text, nullable=False),
        sa.CheckConstraint("source in ('v1', 'v2')", name="source_known"),
        sa.CheckConstraint("cardinality(reasons) > 0", name="reasons_given"),
        sa.UniqueConstraint("tenant", "run_id", name="uq_estimator_prediction_tenant_run_id"),
    )
    op.create_index(
        "ix_estimator_prediction_workflow_submitted_at", "estimator_prediction", ["workflow", "submitted_at"]
    )


def _create_registry() -> None:
    op.create_table(
        "estimator_model",
        sa.Column("model_id", sa.Text, primary_key=True),
        sa.Column("parent_id", sa.Text),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("envelope", sa.Text, nullable=False),
        sa.Column("metrics", JSONB, nullable=False),
        sa.Column("proposed_by", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "estimator_champion",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("previous_model_id", sa.Text),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("proposed_by", sa.Text, nullable=False),
        sa.Column("approved_by", sa.Text, nullable=False),
        sa.Column(
            "approval", sa.Text, nullable=False, comment="the move with the approver's signature, a DSSE envelope"
        ),
        sa.Column("checks", JSONB, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("act in ('promote', 'rollback')", name="act_known"),
        sa.CheckConstraint("act = 'rollback' or proposed_by <> approved_by", name="two_people"),
    )
    op.create_table(
        "estimator_v1_mean",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("workflow", sa.Text, primary_key=True),
        sa.Column("mean_seconds", sa.Float(53), nullable=False),
        sa.Column("last_price", sa.Float(53)),
    )


def _create_verdicts() -> None:
    op.create_table(
        "estimator_drift",
        sa.Column("as_of", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("window_days", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("workflow", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Float(53)) for name in ("drift", "low", "high")),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("runs", sa.BigInteger, nullable=False),
        sa.Column("spend_usd", sa.Numeric(24, 6), nullable=False),
        sa.CheckConstraint("state in ('OK', 'DRIFT', 'UNDETERMINED')", name="state_known"),
    )
    op.create_table(
        "estimator_alert",
        sa.Column("alert_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", JSONB, nullable=False),
    )
