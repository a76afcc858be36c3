"""Business metrics of keys, read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection, func, select, text

from mc_pipelines.foundation.metrics import business_metrics
from mc_pipelines.keys.records import OPEN_STATES, kms_rotation


@business_metrics("keys")
def key_metrics(connection: Connection) -> Iterable[Metric]:
    """Yield the rotation metrics as of the database's own clock."""
    return rotation_metrics(connection, connection.execute(select(func.clock_timestamp())).scalar_one())


def rotation_metrics(connection: Connection, now: datetime) -> Iterable[Metric]:
    """Yield ``mc_kms_rotations_total`` by provider, key and outcome, and the age of the oldest open rotation."""
    total = CounterMetricFamily(
        "mc_kms_rotations", "Rotations that ended, by outcome", labels=["provider", "key", "outcome"]
    )
    columns = (kms_rotation.c.provider, kms_rotation.c.key, kms_rotation.c.state)
    ended = select(*columns, func.count()).where(text(f"not ({OPEN_STATES})")).group_by(*columns)
    for provider, key, state, count in connection.execute(ended):
        total.add_metric([provider, key, "retired" if state == "RETIRED" else "held"], count)
    yield total
    pending = GaugeMetricFamily(
        "mc_kms_rotation_pending_seconds", "Age of the rotation that is under way", labels=["provider", "key"]
    )
    under_way = select(kms_rotation.c.provider, kms_rotation.c.key, kms_rotation.c.planned_at).where(text(OPEN_STATES))
    for provider, key, planned_at in connection.execute(under_way):
        pending.add_metric([provider, key], (now - planned_at).total_seconds())
    yield pending
