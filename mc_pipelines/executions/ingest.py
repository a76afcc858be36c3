"""Take a trace, or the simulator's, into the lake of facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from mc_pipelines.executions.facts import FactsStore, write_facts
from mc_pipelines.executions.overlay import Overlay, overlay_facts
from mc_pipelines.executions.simulator import simulate_trace
from mc_pipelines.executions.trace import read_trace


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one ingestion did; every table and picture made from it names ``constructed``."""

    origin: str
    rows: int
    first_day: date
    last_day: date
    files: int
    files_written: int
    overlay_seed: int
    tenants: tuple[str, ...]
    constructed: tuple[str, ...] = (
        *("tenant", "service", "cloud", "region", "started_at", "outcome", "fault_owner", "excluded_reason"),
        *("price_id", "cost_minor", "currency", "recorded_at"),
    )

    def document(self) -> dict[str, Any]:
        """Return the report as JSON members."""
        return {
            "origin": self.origin,
            "rows": self.rows,
            "firstDay": self.first_day.isoformat(),
            "lastDay": self.last_day.isoformat(),
            "files": self.files,
            "filesWritten": self.files_written,
            "overlaySeed": self.overlay_seed,
            "tenants": list(self.tenants),
            "source": "constructed",
            "constructedColumns": list(self.constructed),
        }


def ingest_traces(store: FactsStore, paths: Sequence[Path], overlay: Overlay) -> list[Ingested]:
    """Read all traces, then write their facts; a bad file stops before anything is written.

    Raises:
        InputError: a trace is refused; names file, column, row and value.
    """
    traces = [(path.name, read_trace(path)) for path in paths]
    return [_write(store, name, trace, overlay) for name, trace in traces]


def ingest_simulation(
    store: FactsStore, *, first_day: date, overlay: Overlay, days: int = 90, runs: int = 20_000
) -> Ingested:
    """Write the facts of a simulated trace."""
    trace = simulate_trace(first_day=first_day, days=days, runs=runs, seed=overlay.seed)
    return _write(store, f"simulator, seed {overlay.seed}", trace, overlay)


def _write(store: FactsStore, origin: str, trace: pl.DataFrame, overlay: Overlay) -> Ingested:
    facts = overlay_facts(trace, overlay)
    files = write_facts(store, facts)
    return Ingested(
        origin=origin,
        rows=len(facts),
        first_day=files[0].day,
        last_day=files[-1].day,
        files=len(files),
        files_written=sum(file.written for file in files),
        overlay_seed=overlay.seed,
        tenants=overlay.tenants,
    )
