"""The business gauge of rollouts, read from PostgreSQL at scrape time."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Connection

from mc_pipelines.foundation.metrics import business_metrics
from mc_pipelines.policy.controller import list_rollouts
from mc_pipelines.policy.rollout import Phase, Rollout


@business_metrics("policy")
def rollout_phase_metrics(connection: Connection) -> Iterable[GaugeMetricFamily]:
    """Yield ``mc_policy_rollout_phase``: 1 for the phase of each pack's newest rollout, else 0."""
    gauge = GaugeMetricFamily(
        "mc_policy_rollout_phase",
        "Phase of the newest rollout of a pack and cohort: 1 for the phase it is in.",
        labels=["pack", "cohort", "phase"],
    )
    newest: dict[tuple[str, str], Rollout] = {}
    for rollout in list_rollouts(connection):
        newest.setdefault((rollout.pack, rollout.cohort), rollout)
    for (pack, cohort), rollout in sorted(newest.items()):
        for phase in Phase:
            gauge.add_metric([pack, cohort, phase.value], float(rollout.phase is phase))
    yield gauge
