"""Business metrics of the estimator, read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection, func, select

from mc_pipelines.estimator.records import alert, latest_drift, prediction
from mc_pipelines.foundation.metrics import business_metrics


@business_metrics("estimator")
def estimator_metrics(connection: Connection) -> Iterable[Metric]:
    """Yield drift per workflow, window and source, estimates served, fallbacks by reason, and alerts."""
    drift = GaugeMetricFamily(
        "mc_estimator_drift", "sum(predicted) / sum(actual) - 1 in USD", labels=["workflow", "window", "source"]
    )
    undetermined = GaugeMetricFamily(
        "mc_estimator_undetermined",
        "1: the data cannot tell whether it drifts",
        labels=["workflow", "window", "source"],
    )
    for row in latest_drift(connection):
        labels = [row.workflow, f"{row.window_days}d", row.source]
        if row.drift is not None:
            drift.add_metric(labels, row.drift)
        undetermined.add_metric(labels, float(row.state == "UNDETERMINED"))
    yield drift
    yield undetermined
    served = CounterMetricFamily("mc_estimator_estimates", "estimates in the ledger", labels=["source"])
    for source, count in connection.execute(
        select(prediction.c.source, func.count()).group_by(prediction.c.source).order_by(prediction.c.source)
    ):
        served.add_metric([source], count)
    yield served
    reason = func.unnest(prediction.c.reasons).label("reason")
    fallback = CounterMetricFamily("mc_estimator_fallback", "estimates served v1, by reason", labels=["reason"])
    for name, count in connection.execute(
        select(reason, func.count()).where(prediction.c.source == "v1").group_by(reason).order_by(reason)
    ):
        fallback.add_metric([name], count)
    yield fallback
    alerts = CounterMetricFamily("mc_estimator_alerts", "early warnings and unreadable models", labels=["kind"])
    for kind, count in connection.execute(
        select(alert.c.kind, func.count()).group_by(alert.c.kind).order_by(alert.c.kind)
    ):
        alerts.add_metric([kind], count)
    yield alerts
