"""Metrics of the runner: latencies of this process, and what the queue and the executions look like in the database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from prometheus_client import Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection, func, select

from mc_pipelines.executions.records import FINAL, execution_transition
from mc_pipelines.foundation.metrics import business_metrics, registry
from mc_pipelines.runner import queue
from mc_pipelines.runner.lake import waiting
from mc_pipelines.runner.records import run_queue

_BUCKETS = (5, 10, 25, 50, 100, 250, 500, 900, 1_500, 2_500, 4_200, 10_000, 30_000, 120_000)

QUEUE_MS = Histogram(
    "mc_queue_ms",
    "From publish, before the first insert, until the first claim was committed, in milliseconds.",
    buckets=_BUCKETS,
    registry=registry,
)
START_MS = Histogram(
    "mc_start_ms",
    "From publish to the start of the command in the attempt that counts, in milliseconds.",
    labelnames=("cloud", "region", "start_class"),
    buckets=_BUCKETS,
    registry=registry,
)


@business_metrics("runner")
def runner_metrics(connection: Connection) -> Iterable[Metric]:
    """Yield the queue's depth and age, executions by final state, and the facts that wait for the lake."""
    depth = GaugeMetricFamily("mc_run_queue_depth", "Executions that wait or are held by a runner.", labels=["state"])
    for state, count in queue.depth(connection).items():
        depth.add_metric([state], count)
    yield depth
    oldest = connection.execute(
        select(func.extract("epoch", func.clock_timestamp() - func.min(run_queue.c.enqueued_at))).where(
            run_queue.c.state == queue.QUEUED, run_queue.c.not_before <= func.clock_timestamp()
        )
    ).scalar()
    yield GaugeMetricFamily(
        "mc_run_queue_oldest_seconds", "How long the oldest execution that could run has waited.", value=oldest or 0
    )
    day = func.clock_timestamp() - timedelta(days=1)
    ended = GaugeMetricFamily(
        "mc_executions_ended_last_day", "Executions that ended in the last 24 hours, by final state.", labels=["state"]
    )
    steps = (
        select(execution_transition.c.state, func.count())
        .where(execution_transition.c.at >= day, execution_transition.c.state.in_(sorted(FINAL)))
        .group_by(execution_transition.c.state)
    )
    for state, count in connection.execute(steps):
        ended.add_metric([str(state)], count)
    yield ended
    count, _, _ = waiting(connection)
    yield GaugeMetricFamily("mc_facts_waiting", "Rows of facts that are not in the lake yet.", value=count)
