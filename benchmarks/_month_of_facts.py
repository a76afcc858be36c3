"""A month of constructed execution facts, one Parquet file a day, as `mc ingest` writes them: for sla_rollup."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mc_pipelines.executions.fact_schema import FACTS_SCHEMA, MOMENT
from mc_pipelines.executions.facts import write_facts
from mc_pipelines.foundation.object_store_local import LocalObjectStore

FIRST_DAY = date(2026, 1, 1)
DAYS = 31
TENANTS, SERVICES = 2000, ("pipelines", "reports", "ingest", "search")
_DAY_US = 86_400_000_000


def write_month(folder: Path, events: int, *, seed: int = 7) -> int:
    """Write a month unless it is there; return its number of events.

    2,000 tenants by Zipf's law x 4 services x 31 days; 0.4 % failed, 0.1 % lost, 0.2 % cancelled, 0.3 % in maintenance.
    """
    per_day = events // DAYS
    store = LocalObjectStore(folder)
    for number in range(DAYS):
        day = FIRST_DAY + timedelta(days=number)
        if not (folder / "facts" / f"day={day.isoformat()}").is_dir():
            write_facts(store, facts_of(day, per_day, np.random.default_rng((seed, number))))
    return per_day * DAYS


def facts_of(day: date, events: int, rng: Any, *, tenant: str | None = None) -> pl.DataFrame:
    """Return a day of facts; of one tenant alone where it is named."""
    start = int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) * 1_000_000
    finished = start + rng.integers(0, _DAY_US, events)
    started = finished - rng.integers(10_000, 600_000_000, events)
    published = started - rng.integers(1_000, 5_000_000, events)
    names = [f"tenant-{number:04d}" for number in range(TENANTS)]
    weights = 1 / np.arange(1, TENANTS + 1)
    chosen = rng.choice(TENANTS, size=events, p=weights / weights.sum())
    kind = rng.choice(4, size=events, p=[0.993, 0.004, 0.001, 0.002])
    provider = np.where((kind == 1) & (rng.random(events) < 0.8), 1, np.where(kind == 1, 2, np.where(kind == 2, 1, 0)))
    return (
        pl.DataFrame(
            {
                "execution_id": _uuids(rng, events),
                "attempt": np.ones(events, np.int32),
                "tenant": _pick(names, chosen) if tenant is None else [tenant] * events,
                "workflow": _pick([f"workflow-{number:02d}" for number in range(20)], rng.integers(0, 20, events)),
                "service": _pick(SERVICES, rng.integers(0, len(SERVICES), events)),
                "cloud": _pick(["AWS", "AZURE", "GCP"], rng.integers(0, 3, events)),
                "region": _pick(["us-east-1", "eu-west-1"], rng.integers(0, 2, events)),
                "published_at": published,
                "started_at": started,
                "finished_at": finished,
                "outcome": _pick(["succeeded", "failed", "lost", "cancelled"], kind),
                "fault_owner": _pick(["none", "provider", "customer"], provider),
                "excluded_reason": _pick([None, "maintenance"], (rng.random(events) < 0.003).astype(np.int64)),
                "resource_seconds": rng.random(events) * 100,
                "price_id": _pick(["p1"], np.zeros(events, np.int64)),
                "cost_minor": rng.integers(0, 500, events),
                "currency": _pick(["USD"], np.zeros(events, np.int64)),
                "estimate_id": _pick([None], np.zeros(events, np.int64)),
                "receipt_digest": _pick([None], np.zeros(events, np.int64)),
                "source": _pick(["constructed"], np.zeros(events, np.int64)),
                "recorded_at": finished + 60_000_000,
            }
        )
        .with_columns(
            pl.col("published_at", "started_at", "finished_at", "recorded_at").cast(MOMENT),
            pl.lit([], dtype=FACTS_SCHEMA["features"]).alias("features"),
        )
        .select(FACTS_SCHEMA.names())
    )


def _pick(values: Any, chosen: Any) -> pl.Series:
    return pl.Series(list(values), dtype=pl.String).gather(chosen)


def _uuids(rng: Any, events: int) -> pl.Series:
    raw = rng.bytes(16 * events)
    text = pl.Series("id", [raw[place : place + 16] for place in range(0, len(raw), 16)], dtype=pl.Binary).bin
    cuts, frame = (0, 8, 12, 16, 20, 32), text.encode("hex").to_frame()
    parts = [pl.col("id").str.slice(low, high - low) for low, high in pairwise(cuts)]
    return frame.select(pl.concat_str(parts, separator="-"))["id"]
