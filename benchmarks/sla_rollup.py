"""Execution facts into SLA slices: the product's own rollup against pandas and DuckDB on the same files, in one run.

`python -m benchmarks.sla_rollup --json --events 100000000`. Every engine is a process of its own, so that its CPU
seconds and peak memory are its own, and works day by day on the same Parquet files: 15-minute slices per tenant and
service, one file a day.

- ours: `sla.rollup.roll_day`: reads, looks for replaced rows, counts, sorts, writes the canonical documents, their
  digests and the day's Merkle root. `stored` is `sla.rollup.roll_up` over the same files, into PostgreSQL.
- rivals: the same counts as one table a day, in the same order; the ratios compare it with ours (`ours_counts`). Ratios
  `_with_documents` set our whole rollup against the rivals' bare tables. pandas gets a few days only.
- equal: the rivals' tables are compared with ours, row by row, and ours with itself cut into files in other ways.
- pieces: a day in eight files with one row in a hundred corrected: only the newest row of each attempt counts, in
  DuckDB too.
- many_files: a day in a thousand small files, as a runner writes it, and one more such file.
- restate: one late file of one tenant arrives for a closed month; roll up, judge again, and say what changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from benchmarks._month_of_facts import DAYS, FIRST_DAY, facts_of, write_month
from mc_pipelines.executions.facts import paths_by_day, write_facts
from mc_pipelines.foundation.object_store_local import LocalObjectStore

TARGETS = {"rows_per_cpu_s": 6e6, "ratio_pandas": 4.0, "ratio_duckdb": 2.0, "peak_rss_mb": 512.0, "restate_s": 1.0}
SLICE_US = 900_000_000
EXCLUDED = "(excluded_reason is not null or fault_owner = 'customer' or outcome in ('cancelled', 'denied'))"
BAD = "outcome in ('failed', 'lost')"
SQL = f"""
select tenant, service, epoch_us(finished_at) // {SLICE_US} as number, count(*) as total,
       count(*) filter (where {BAD} and not {EXCLUDED}) as bad, count(*) filter (where {EXCLUDED}) as excluded,
       count(*) filter (where source <> 'real') as constructed
from {{facts}} group by all order by all
"""
NEWEST = """(select * from read_parquet({files}) qualify row_number() over (
             partition by execution_id, attempt order by recorded_at desc) = 1)"""
CONTRACT = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: bench, displayName: Benchmark}
spec:
  service: pipelines
  indicator: {metadata: {name: availability}}
  timeWindow: [{duration: 1M, isRolling: false, calendar: {startTime: "2026-01-01 00:00:00", timeZone: UTC}}]
  budgetingMethod: RatioTimeslices
  objectives: [{target: 0.999}]
  x-credit:
    version: 1
    measure: slice-mean
    slice: 15m
    source: executions
    currency: USD
    rounding: half-up
    exclusions: both
    tiers: [{below: 99.9, credit: 10}, {below: 99.0, credit: 25}]
"""

Files = dict[date, list[Path]]


def files_in(folder: Path) -> Files:
    """Return the files of each day."""
    found = paths_by_day(LocalObjectStore(folder))
    return {day: [folder / path for path in paths] for day, paths in found.items()}


def table_digest(frame: pl.DataFrame) -> str:
    """Return a digest of a sorted table of counts."""
    columns = ("tenant", "service", "number", "total", "bad", "excluded", "constructed")
    text = frame.select(pl.col(columns[:2]).cast(pl.String), pl.col(columns[2:]).cast(pl.Int64)).write_csv()
    return hashlib.sha256(text.encode()).hexdigest()


def ours(files: Files, threads: int) -> Callable[[date], Any]:
    """The product's rollup of a day, with digests and root."""
    from mc_pipelines.sla.rollup import BASE, roll_day
    from mc_pipelines.sla.slices import documents_root

    def work(day: date) -> Any:
        documents = roll_day(files[day], [BASE], day, threads=threads)
        return documents, [one.digest for one in documents], documents_root(one.content for one in documents)

    return work


def ours_counts(files: Files, threads: int) -> Callable[[date], Any]:
    """The product's count of a day alone, as a table like those of the rivals."""
    from mc_pipelines.executions.fact_versions import replaced_rows
    from mc_pipelines.sla.counting import count_slices
    from mc_pipelines.sla.rollup import BASE

    def work(day: date) -> Any:
        replaced = replaced_rows(files[day], BASE.columns)
        return count_slices(files[day], BASE, day, replaced=replaced, threads=threads)

    return work


def ours_table(result: Any) -> pl.DataFrame:
    """The counts that our documents hold, read back from their bytes."""
    rows = []
    for one in result[0]:
        document = orjson.loads(one.content)
        # constructed is counted by day, and everything here is
        rows += [(one.tenant, one.service, *row, row[1]) for row in document["slices"]]
    names = ["tenant", "service", "number", "total", "bad", "excluded", "constructed"]
    return pl.DataFrame(rows, schema=names, orient="row")


def duckdb_counts(files: Files, threads: int, *, newest: bool = False) -> Callable[[date], Any]:
    """DuckDB's counts of a day."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"set threads = {threads}")
    # Text of sha256 names only: no quoting is needed.

    def work(day: date) -> Any:
        listed = str([str(path) for path in files[day]])
        facts = NEWEST.format(files=listed) if newest else f"read_parquet({listed})"
        return connection.sql(SQL.format(facts=facts)).to_arrow_table()

    return work


def pandas_counts(files: Files, _threads: int) -> Callable[[date], Any]:
    """Counts of a day in pandas."""
    import pandas as pd

    columns = ["tenant", "service", "finished_at", "outcome", "fault_owner", "excluded_reason", "source"]

    def work(day: date) -> Any:
        facts = pd.concat([pd.read_parquet(path, columns=columns) for path in files[day]], ignore_index=True)
        excluded = (
            facts["excluded_reason"].notna()
            | (facts["fault_owner"] == "customer")
            | facts["outcome"].isin(["cancelled", "denied"])
        )
        table = pd.DataFrame(
            {
                "tenant": facts["tenant"],
                "service": facts["service"],
                "number": facts["finished_at"].astype("int64") // SLICE_US,
                "total": 1,
                "bad": facts["outcome"].isin(["failed", "lost"]) & ~excluded,
                "excluded": excluded,
                "constructed": facts["source"] != "real",
            }
        )
        return table.groupby(["tenant", "service", "number"], sort=True).sum().reset_index()

    return work


def polars_counts(files: Files, _threads: int) -> Callable[[date], Any]:
    """Counts of a day in streaming polars, on its own threads."""
    excluded = (
        pl.col("excluded_reason").is_not_null()
        | (pl.col("fault_owner") == "customer")
        | pl.col("outcome").is_in(["cancelled", "denied"])
    )
    bad = pl.col("outcome").is_in(["failed", "lost"])
    keys = ("tenant", "service", "number")

    def work(day: date) -> Any:
        return (
            pl.scan_parquet(files[day])
            .select(
                "tenant",
                "service",
                (pl.col("finished_at").to_physical() // SLICE_US).alias("number"),
                (bad & ~excluded).alias("bad"),
                excluded.alias("excluded"),
                (pl.col("source") != "real").alias("constructed"),
            )
            .group_by(keys)
            .agg(pl.len().alias("total"), pl.col("bad", "excluded", "constructed").sum())
            .sort(keys)
            .collect(engine="streaming")
        )

    return work


ENGINES: dict[str, Callable[..., Callable[[date], Any]]] = {
    "ours": ours,
    "ours_counts": ours_counts,
    "duckdb": duckdb_counts,
    "duckdb_newest": lambda files, threads: duckdb_counts(files, threads, newest=True),
    "pandas": pandas_counts,
    "polars": polars_counts,
}


def child(engine: str, folder: str, days: list[date], equal_days: int, threads: int, sends: Any) -> None:
    """Work through the days with one engine and send what it cost."""
    files = files_in(Path(folder))
    work = ENGINES[engine](files, threads)
    cpu, wall = time.process_time(), time.perf_counter()
    roots = []
    for day in days:
        result = work(day)
        roots.append(result[2] if engine == "ours" else None)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = peak_rss_mb()
    digests = []
    for day in days[:equal_days]:
        result = work(day)
        frame = ours_table(result) if engine == "ours" else pl.DataFrame(result)
        digests.append(table_digest(frame))
    sends.send({"cpu_s": cpu, "wall_s": wall, "peak_rss_mb": peak, "digests": digests, "roots": roots})


def peak_rss_mb() -> float:
    """Return the most memory this program has held; ``ru_maxrss`` would count what its parent held before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def measured(target: Callable[..., None], *arguments: Any) -> Any:
    """Run a function in a process of its own and return what it sends."""
    receives, sends = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=target, args=(*arguments, sends))
    process.start()
    sends.close()
    try:
        return receives.recv()
    finally:
        process.join()


def cut(folder: Path, target: Path, days: list[date]) -> None:
    """Write days again in eight files each, rows dealt out at random, one in a hundred corrected later."""
    store, rng = LocalObjectStore(target), np.random.default_rng(3)
    for day in days:
        facts = pl.concat([pl.read_parquet(path) for path in files_in(folder)[day]])
        corrected = facts.filter(pl.lit(rng.random(len(facts)) < 0.01)).with_columns(
            pl.lit("failed").alias("outcome"),
            pl.lit("provider").alias("fault_owner"),
            pl.lit(None, pl.String).alias("excluded_reason"),
            (pl.col("recorded_at") + timedelta(hours=5)).alias("recorded_at"),
        )
        everything = pl.concat([facts, corrected])
        part = pl.lit(rng.integers(0, 8, len(everything)))
        for number in range(8):
            write_facts(store, everything.filter(part == number))


def orders(folder: str, day: date, sends: Any) -> None:
    """Roll one day with its files and threads in different orders and numbers, and send the digests."""
    from mc_pipelines.sla.rollup import BASE, roll_day

    files, found = files_in(Path(folder))[day], set()
    for threads, listed in ((1, files), (2, files[::-1]), (5, files[3:] + files[:3])):
        content = b"".join(one.content for one in roll_day(listed, [BASE], day, threads=threads))
        found.add(hashlib.sha256(content).hexdigest())
    sends.send(sorted(found))


def many_files(folder: str, number: int, sends: Any) -> None:
    """Count a day that a runner wrote in many small files, and add one more such file to it; send the CPU seconds."""
    from mc_pipelines.executions.fact_versions import changed_rows
    from mc_pipelines.sla.late_counts import late_shifts
    from mc_pipelines.sla.rollup import BASE, roll_day

    store, rows = LocalObjectStore(Path(folder)), 200
    for piece in range(number + 1):
        write_facts(store, facts_of(FIRST_DAY, rows, np.random.default_rng((5, piece))))
    [files] = files_in(Path(folder)).values()
    cpu = time.process_time()
    roll_day(files[:-1], [BASE], FIRST_DAY)
    whole = time.process_time() - cpu
    cpu = time.process_time()
    gone, come = changed_rows(files, [False] * number + [True], sorted(BASE.columns))
    late_shifts(gone, come, BASE, FIRST_DAY)
    sends.send({"files": number, "rows": number * rows, "cpu_s": whole, "one_more_cpu_s": time.process_time() - cpu})


@contextmanager
def house(home: Path) -> Iterator[Any]:
    """Open an embedded PostgreSQL in a temporary folder; yield its database and a function for its CPU seconds."""
    from mc_pipelines.composition import open_database
    from mc_pipelines.foundation import embedded
    from mc_pipelines.foundation.settings import Settings

    settings = Settings(home=home)
    database = open_database(settings)
    postmaster = int((home / "pg" / "postmaster.pid").read_text().splitlines()[0])
    try:
        yield database, lambda: server_cpu(postmaster)
    finally:
        database.dispose()
        embedded.stop(settings)


def server_cpu(postmaster: int) -> float:
    """Return the CPU seconds of a PostgreSQL server: its postmaster, its children and those that have ended."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.parent.name) == postmaster:
            ticks += sum(int(fields[place]) for place in (11, 12, 13, 14))
        elif int(fields[1]) == postmaster:
            ticks += sum(int(fields[place]) for place in (11, 12))
    return ticks / os.sysconf("SC_CLK_TCK")


def stored(folder: str, sends: Any) -> None:
    """Roll the month up into PostgreSQL, let a late file arrive, and restate; send what both cost."""
    from mc_pipelines.attest.signer import LocalSigner
    from mc_pipelines.foundation.clock import FrozenClock
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.foundation.tenants import Tenant, put_tenant
    from mc_pipelines.sla.assessment import assess_all
    from mc_pipelines.sla.contract_store import assign_contract, register_contract
    from mc_pipelines.sla.document import load_contract
    from mc_pipelines.sla.restatement import restated
    from mc_pipelines.sla.rollup import roll_up

    tenant, clock = TenantId("tenant-0003"), FrozenClock(datetime(2026, 2, 10, tzinfo=UTC))
    store = LocalObjectStore(Path(folder))
    late = None
    with tempfile.TemporaryDirectory(prefix="mc-bench-") as home, house(Path(home)) as (database, server):
        sealed = load_contract(CONTRACT)
        with database.begin() as connection:
            put_tenant(connection, Tenant(tenant, "UTC", "USD"), now=clock.now())
            register_contract(connection, sealed, LocalSigner.generate(), now=clock.now())
            assign_contract(
                connection, tenant, sealed.digest, first_day=FIRST_DAY, last_day=date(2026, 1, 31), now=clock.now()
            )
        cpu, wall, served = time.process_time(), time.perf_counter(), server()
        rolled = roll_up(database, store, clock)
        figures = {
            "client_cpu_s": time.process_time() - cpu,
            "server_cpu_s": server() - served,
            "wall_s": time.perf_counter() - wall,
            "tenant_days": sum(one.changed for one in rolled),
            "peak_rss_mb": peak_rss_mb(),
        }
        [before] = assess_all(database, clock, tenant=tenant)
        clock.advance(timedelta(days=1))
        try:
            # One late row in ten thousand of the tenant's day, and all of them failed by our fault.
            facts = facts_of(date(2026, 1, 17), 500, np.random.default_rng(11), tenant=tenant).with_columns(
                pl.lit("failed").alias("outcome"),
                pl.lit("provider").alias("fault_owner"),
                pl.lit(None, pl.String).alias("excluded_reason"),
                pl.lit(clock.now()).cast(pl.Datetime("us", "UTC")).alias("recorded_at"),
            )
            [late] = write_facts(store, facts)
            cpu, wall = time.process_time(), time.perf_counter()
            again = roll_up(database, store, clock)
            [after] = assess_all(database, clock, tenant=tenant)
            difference = restated(before, after)
            digest = difference.digest
            restate = {
                "restate_s": time.perf_counter() - wall,
                "restate_cpu_s": time.process_time() - cpu,
                "days_read": len(again),
                "tenant_days_written": sum(one.changed for one in again),
                "slices_changed": len(difference.slices),
                "figures_changed": [change.name for change in difference.figures],
                "diff": digest,
            }
        finally:
            if late is not None:
                (Path(folder) / late.path).unlink()
    sends.send({"stored": figures, "restate": restate})


def run(folder: Path, events: int, threads: int, pandas_days: int) -> dict[str, Any]:
    """Measure everything on one month of facts."""
    rows = write_month(folder / "month", events)
    days = [FIRST_DAY + timedelta(days=number) for number in range(DAYS)]
    month, some = str(folder / "month"), days[:pandas_days]
    rivals = {
        "ours": measured(child, "ours", month, days, pandas_days, threads),
        "ours_counts": measured(child, "ours_counts", month, days, pandas_days, threads),
        "duckdb": measured(child, "duckdb", month, days, pandas_days, threads),
        "polars": measured(child, "polars", month, days, pandas_days, threads),
        "pandas": measured(child, "pandas", month, some, pandas_days, threads),
        "ours_again": measured(child, "ours", month, days, 0, 1),
    }
    with tempfile.TemporaryDirectory(prefix="mc-bench-", dir=folder) as pieces:
        cut(folder / "month", Path(pieces), days[:1])
        in_pieces = {name: measured(child, name, pieces, days[:1], 1, threads) for name in ("ours", "duckdb_newest")}
        found_orders = measured(orders, pieces, days[0])
    with tempfile.TemporaryDirectory(prefix="mc-bench-", dir=folder) as small:
        small_files = measured(many_files, small, 1000)
    database = measured(stored, month)
    per_second = {name: rows / rivals[name]["cpu_s"] for name in ("ours", "ours_counts", "duckdb", "polars")}
    per_second["pandas"] = rows * len(some) / DAYS / rivals["pandas"]["cpu_s"]
    equal = (
        all(
            rivals[name]["digests"] == rivals["ours"]["digests"]
            for name in ("ours_counts", "duckdb", "polars", "pandas")
        )
        and rivals["ours"]["roots"] == rivals["ours_again"]["roots"]
        and in_pieces["ours"]["digests"] == in_pieces["duckdb_newest"]["digests"]
        and len(found_orders) == 1
    )
    found = {
        "benchmark": "sla_rollup",
        "rows": rows,
        "rows_per_cpu_s": per_second["ours"],
        "cpu_s": rivals["ours"]["cpu_s"],
        "wall_s": rivals["ours"]["wall_s"],
        "ratio_pandas": per_second["ours_counts"] / per_second["pandas"],
        "ratio_duckdb": per_second["ours_counts"] / per_second["duckdb"],
        "ratio_pandas_with_documents": per_second["ours"] / per_second["pandas"],
        "ratio_duckdb_with_documents": per_second["ours"] / per_second["duckdb"],
        "peak_rss_mb": max(rivals["ours"]["peak_rss_mb"], database["stored"]["peak_rss_mb"]),
        "restate_s": database["restate"]["restate_s"],
        "results_equal": equal,
        "threads": threads,
        "rivals": {
            name: {"rows_per_cpu_s": per_second[name], "peak_rss_mb": rivals[name]["peak_rss_mb"]}
            for name in ("ours_counts", "duckdb", "polars", "pandas")
        },
        "stored": database["stored"] | {"rows_per_client_cpu_s": rows / database["stored"]["client_cpu_s"]},
        "restate": database["restate"],
        "many_files": small_files,
        "pieces": {
            "rows_per_cpu_s": rows / DAYS / in_pieces["ours"]["cpu_s"],
            "ratio_duckdb": in_pieces["duckdb_newest"]["cpu_s"] / in_pieces["ours"]["cpu_s"],
        },
    }
    below = {"peak_rss_mb", "restate_s"}
    found["met"] = {
        name: found[name] <= limit if name in below else found[name] >= limit for name, limit in TARGETS.items()
    } | {"results_equal": equal}
    return found


def main() -> None:
    """Print the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--events", type=int, default=3_100_000, help="in the month; the target speaks of 100 million")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pandas-days", type=int, default=2, help="days that pandas works through, and compared")
    parser.add_argument("--folder", type=Path, help="keeps the facts for another run; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mc-bench-") as temporary:
        folder = Path(temporary) if options.folder is None else options.folder
        folder.mkdir(parents=True, exist_ok=True)
        found = run(folder, options.events, options.threads, options.pandas_days)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:16} {value}")
    sys.exit(0 if found["results_equal"] else 1)


if __name__ == "__main__":
    main()
