"""Rows a second from a trace to the lake of facts, against polars copying the same rows in the same run.

`python -m benchmarks.ingest --json`. Measured: overlay, the checks of every rule, sort, one Parquet file a day, digests
and the store's writes. The rival reads the finished facts and writes them back, one file a day, and checks nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from mc_pipelines.executions.facts import scan_facts, write_facts
from mc_pipelines.executions.overlay import Overlay, overlay_facts
from mc_pipelines.executions.simulator import simulate_trace
from mc_pipelines.foundation.object_store_local import LocalObjectStore

FIRST_DAY, LAST_DAY = date(2025, 9, 1), date(2025, 12, 31)
TARGET_ROWS_PER_SECOND = 100_000


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run(rows: int, rounds: int) -> dict[str, Any]:
    """Measure each step ``rounds`` times; the quickest round counts, since others share the machine."""
    trace = simulate_trace(first_day=FIRST_DAY, days=90, runs=rows)
    overlay = Overlay()
    facts = overlay_facts(trace, overlay)
    steps: dict[str, list[float]] = {"overlay": [], "write": [], "again": [], "copy": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="mc-bench-") as folder:
            store = LocalObjectStore(Path(folder) / "objects")
            steps["overlay"].append(timed(lambda: overlay_facts(trace, overlay)))
            steps["write"].append(timed(lambda store=store: write_facts(store, facts)))  # type: ignore[misc]
            steps["again"].append(timed(lambda store=store: write_facts(store, facts)))  # type: ignore[misc]
            copied = scan_facts(store, first_day=FIRST_DAY, last_day=LAST_DAY).collect()
            assert len(copied) == rows, number
            steps["copy"].append(timed(lambda folder=folder, copied=copied: copy(copied, Path(folder))))  # type: ignore[misc]
    best = {name: min(found) for name, found in steps.items()}
    rate = rows / (best["overlay"] + best["write"])
    return {
        "benchmark": "ingest",
        "rows": rows,
        "seconds": best,
        "rows_per_second": rate,
        "polars_copy_rows_per_second": rows / best["copy"],
        "ratio_to_copy": (best["overlay"] + best["write"]) / best["copy"],
        "target_rows_per_second": TARGET_ROWS_PER_SECOND,
        "met": rate >= TARGET_ROWS_PER_SECOND,
    }


def copy(facts: pl.DataFrame, folder: Path) -> None:
    """Write facts by day with polars alone."""
    days = facts.with_columns(pl.col("finished_at").dt.date().alias("_day")).partition_by("_day", include_key=False)
    for number, day in enumerate(days):
        day.write_parquet(folder / f"{number}.parquet", compression="zstd", compression_level=3)


def main() -> None:
    """Print the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = run(options.rows, options.rounds)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["seconds"].items()))
    met = "met" if found["met"] else "MISSED"
    print(
        f"{found['rows']} rows: {found['rows_per_second']:,.0f} rows/s; polars copies"
        f" {found['polars_copy_rows_per_second']:,.0f} rows/s ({found['ratio_to_copy']:.1f} times our time less);"
        f" target {TARGET_ROWS_PER_SECOND:,}: {met}"
    )


if __name__ == "__main__":
    main()
