"""Every Parquet trace in the data folder becomes facts whose totals are the trace's own."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mc_pipelines.executions.facts import scan_facts
from mc_pipelines.executions.ingest import ingest_traces
from mc_pipelines.executions.overlay import Overlay
from mc_pipelines_tests.executions.stores import MemoryStore


def test_every_trace_is_ingested_whole(data_dir: Path) -> None:
    traces = sorted((data_dir / "estimator").glob("*.parquet"))
    if not traces:
        pytest.skip(f"no Parquet traces in {data_dir / 'estimator'}")
    for path in traces:
        store = MemoryStore()
        (report,) = ingest_traces(store, [path], Overlay())
        raw = pl.read_parquet(path)
        facts = scan_facts(store, first_day=report.first_day, last_day=report.last_day).collect()
        assert len(facts) == len(raw), path.name
        held = next((name for name in ("cores", "nodes") if name in raw.columns), None)
        allocated = pl.lit(1.0) if held is None else pl.col(held).cast(pl.Float64).fill_null(1.0)
        expected = raw.select((pl.col("runtime_s") * allocated).sum()).item()
        assert facts["resource_seconds"].sum() == pytest.approx(expected, rel=1e-9), path.name
        assert facts["execution_id"].n_unique() == len(raw), path.name
