"""Seeded runs with a known shape, for tests that need shifts and failures on demand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mc_pipelines.estimator.history import DAY, History

FIRST = 20_000 * DAY


def make_history(
    *,
    workflows: int = 4,
    runs_a_day: int = 24,
    days: int = 20,
    scatter: float = 0.3,
    seed: int = 7,
    base: float = 30.0,
) -> History:
    """Runs spread over the days; log runtime = level + 0.8 log size + normal scatter."""
    generator = np.random.default_rng(seed)
    count = workflows * runs_a_day * days
    submitted = FIRST + np.sort(generator.integers(0, days * DAY, count))
    workflow = generator.integers(0, workflows, count)
    size = np.exp(generator.normal(0.0, 0.5, count))
    noise = np.exp(generator.normal(-(scatter**2) / 2, scatter, count))
    runtime = base * (1 + workflow) * size**0.8 * noise
    return History(
        source="synthetic",
        constructed=True,
        run_ids=np.array([f"run-{index}" for index in range(count)], dtype=object),
        workflow_names=tuple(f"family{index % 2}/task{index}" for index in range(workflows)),
        workflow=workflow.astype(np.int64),
        family_of_workflow=tuple(f"family{index % 2}" for index in range(workflows)),
        variant=np.array(["|1"] * count, dtype=object),
        submitted=submitted.astype(np.int64),
        finished=(submitted + runtime * 1e6).astype(np.int64),
        resources=np.ones(count),
        runtime=runtime,
        price=np.full(count, 0.05747),
        price_ids=np.array(["default"] * count, dtype=object),
        succeeded=np.ones(count, dtype=bool),
        number_names=("size",),
        numbers=(size * 100)[:, None],
    )


def with_runtime(history: History, runtime: np.ndarray) -> History:
    """The same runs with other runtimes, finishing accordingly."""
    return replace(history, runtime=runtime, finished=(history.submitted + runtime * 1e6).astype(np.int64))
