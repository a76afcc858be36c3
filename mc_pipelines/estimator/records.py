"""Tables of the estimator: prediction ledger, model registry, verdicts and alerts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Float,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from mc_pipelines.estimator.alerts import Alarm, Split
from mc_pipelines.estimator.drift import Drift
from mc_pipelines.estimator.serving import Estimate
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.database import metadata
from mc_pipelines.foundation.ids import Digest

USD = Numeric(24, 6)

prediction = Table(
    "estimator_prediction",
    metadata,
    Column("estimate_id", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("submitted_at", DateTime(timezone=True), nullable=False),
    Column("cost", USD),
    Column("low", USD),
    Column("high", USD),
    Column("v1", USD),
    Column("v2", USD),
    Column("currency", Text, nullable=False),
    Column("price_id", Text, nullable=False),
    Column("resource_seconds", Float(53)),
    Column("confidence", Float(53), nullable=False),
    Column("source", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("model_id", Text),
    Column("features_digest", Text, nullable=False),
    CheckConstraint("source in ('v1', 'v2')", name="source_known"),
    CheckConstraint("cardinality(reasons) > 0", name="reasons_given"),
    UniqueConstraint("tenant", "run_id", name="uq_estimator_prediction_tenant_run_id"),
    Index("ix_estimator_prediction_workflow_submitted_at", "workflow", "submitted_at"),
)
"""What was served for each run, frozen with model, price and a digest of the features."""

model = Table(
    "estimator_model",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("parent_id", Text),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("path", Text, nullable=False),
    Column("envelope", Text, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
)
"""Every model that was ever registered; its document lies in the object store under its digest."""

champion = Table(
    "estimator_champion",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("model_id", Text, nullable=False),
    Column("previous_model_id", Text),
    Column("act", Text, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("approval", Text, nullable=False, comment="the move with the approver's signature, a DSSE envelope"),
    Column("checks", JSONB, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    CheckConstraint("act in ('promote', 'rollback')", name="act_known"),
    CheckConstraint("act = 'rollback' or proposed_by <> approved_by", name="two_people"),
)
"""The pointer: the row with the highest version. INSERT-only; the primary key is the compare-and-swap."""

v1_mean = Table(
    "estimator_v1_mean",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("workflow", Text, primary_key=True),
    Column("mean_seconds", Float(53), nullable=False),
    Column("last_price", Float(53)),
)
"""v1's table of each midnight (day: days since the epoch); the empty workflow is the mean of all."""

drift = Table(
    "estimator_drift",
    metadata,
    Column("as_of", DateTime(timezone=True), primary_key=True),
    Column("window_days", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, primary_key=True),
    Column("workflow", Text, primary_key=True),
    Column("drift", Float(53)),
    Column("low", Float(53)),
    Column("high", Float(53)),
    Column("state", Text, nullable=False),
    Column("runs", BigInteger, nullable=False),
    Column("spend_usd", USD, nullable=False),
    CheckConstraint("state in ('OK', 'DRIFT', 'UNDETERMINED')", name="state_known"),
)
"""Verdicts of each backtest, per workflow, window and source (v1, v2, served)."""

alert = Table(
    "estimator_alert",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("workflow", Text),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("detail", JSONB, nullable=False),
)
"""Early warnings and unreadable models, once each."""


def freeze_estimate(connection: Connection, estimate: Estimate, *, tenant: str) -> Digest:
    """Write an estimate into the ledger; the first of a run stands, whatever comes later.

    Returns:
        The id of the estimate that stands.
    """
    members = {
        "run_id": estimate.run_id,
        "tenant": tenant,
        "workflow": estimate.workflow,
        "submitted_at": estimate.submitted_at,
        "cost": estimate.cost,
        "low": estimate.low,
        "high": estimate.high,
        "v1": estimate.v1,
        "v2": estimate.v2,
        "currency": estimate.currency,
        "price_id": estimate.price_id,
        "resource_seconds": estimate.resource_seconds,
        "confidence": estimate.confidence,
        "source": estimate.source,
        "reasons": list(estimate.reasons),
        "model_id": estimate.model_id,
        "features_digest": estimate.features_digest,
    }
    named = {key: str(value) for key, value in members.items()} | {"submitted_at": rfc3339(estimate.submitted_at)}
    found = connection.execute(
        insert(prediction)
        .values(estimate_id=digest_of(named), **members)
        .on_conflict_do_nothing(constraint="uq_estimator_prediction_tenant_run_id")
        .returning(prediction.c.estimate_id)
    ).scalar()
    if found is None:
        found = connection.execute(
            select(prediction.c.estimate_id).where(
                prediction.c.tenant == tenant, prediction.c.run_id == estimate.run_id
            )
        ).scalar_one()
    return Digest(found)


def record_drift(
    connection: Connection, rows: Iterable[tuple[str, Drift]], *, as_of: datetime, window_days: int
) -> None:
    """Write the verdicts of a backtest, ``(source, drift)`` each; the same backtest again writes nothing."""
    values = [
        {
            "as_of": as_of,
            "window_days": window_days,
            "source": source,
            "workflow": row.workflow,
            "drift": _finite(row.drift),
            "low": _finite(row.low),
            "high": _finite(row.high),
            "state": str(row.state),
            "runs": row.runs,
            "spend_usd": round(row.spend_usd, 6),
        }
        for source, row in rows
    ]
    if values:
        connection.execute(insert(drift).on_conflict_do_nothing(), values)


def latest_drift(connection: Connection) -> Sequence[Any]:
    """Return the verdicts of the newest backtest of each window."""
    newest = (
        select(drift.c.window_days, func.max(drift.c.as_of).label("as_of")).group_by(drift.c.window_days).subquery()
    )
    return connection.execute(
        select(drift)
        .join(newest, (drift.c.window_days == newest.c.window_days) & (drift.c.as_of == newest.c.as_of))
        .order_by(drift.c.window_days, drift.c.source, drift.c.workflow)
    ).all()


def record_alert(
    connection: Connection, *, kind: str, workflow: str | None, at: datetime, detail: dict[str, Any]
) -> bool:
    """Write an alert once; return whether it is new."""
    alert_id = digest_of({"kind": kind, "workflow": workflow, "at": rfc3339(at)})
    inserted = connection.execute(
        insert(alert)
        .values(alert_id=alert_id, kind=kind, workflow=workflow, at=at, detail=detail)
        .on_conflict_do_nothing()
        .returning(alert.c.alert_id)
    ).scalar()
    return inserted is not None


def record_warnings(connection: Connection, alarms: Iterable[Alarm], changes: Iterable[Split], *, at: datetime) -> int:
    """Write early warnings, and what moved the spend, once each; return how many are new.

    A change is of kind ``spend-`` and its first cause, so a dearer price is never counted as model drift.
    """
    new = 0
    for alarm in alarms:
        detail: dict[str, Any] = {"runs_since_change": alarm.runs_since_change}
        new += record_alert(connection, kind="early-warning", workflow=alarm.workflow, at=alarm.at, detail=detail)
    for split in changes:
        detail = {
            "causes": [str(cause) for cause in split.causes],
            "before_usd_a_day": round(split.before, 6),
            "after_usd_a_day": round(split.after, 6),
            "parts_usd_a_day": {name: round(getattr(split, name), 6) for name in ("price", "volume", "mix", "model")},
        }
        new += record_alert(connection, kind=f"spend-{split.causes[0]}", workflow=split.workflow, at=at, detail=detail)
    return new


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
