"""Facts for tests of showback: every row valid, what matters given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl

from mc_pipelines.executions.fact_checks import check_facts
from mc_pipelines.executions.facts import facts_frame

NOON = datetime(2026, 1, 19, 12, tzinfo=UTC)


def fact(number: int, **given: Any) -> dict[str, Any]:
    finished = given.get("finished_at", NOON)
    row = {
        "execution_id": str(UUID(int=number)),
        "attempt": 1,
        "tenant": "acme",
        "workflow": "nightly",
        "service": "executions",
        "cloud": "AWS",
        "region": "us-east-1",
        "published_at": finished - timedelta(minutes=2),
        "started_at": finished - timedelta(minutes=1),
        "finished_at": finished,
        "outcome": "succeeded",
        "fault_owner": "none",
        "resource_seconds": 60.0,
        "price_id": "p/1",
        "cost_minor": 125,
        "currency": "USD",
        "features": [],
        "source": "constructed",
        "recorded_at": finished + timedelta(minutes=1),
    }
    return row | given


def facts(*rows: dict[str, Any]) -> pl.LazyFrame:
    frame = facts_frame(rows)
    check_facts(frame)
    return frame.lazy()
