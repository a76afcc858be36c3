"""The latency of evaluations, as a histogram of this process."""

from __future__ import annotations

from prometheus_client import Histogram

from mc_pipelines.decision.engine import Verdict
from mc_pipelines.foundation.metrics import registry

EVALUATION_SECONDS = Histogram(
    "mc_policy_evaluation_seconds",
    "Time that an engine took for a verdict; a rollout aborts when more than 5 % take longer than 50 ms.",
    labelnames=("pack", "outcome"),
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0),
    registry=registry,
)


def observed(pack: str, verdict: Verdict) -> Verdict:
    """Count a verdict and return it."""
    outcome = "value" if verdict.defined else "error"
    EVALUATION_SECONDS.labels(pack, outcome).observe(verdict.elapsed_ns / 1e9)
    return verdict
