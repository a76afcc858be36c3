"""One thousand outbox rows and a real Dagster daemon that is killed twice: how many effects, in how many runs.

`python -m benchmarks.outbox --json`. An embedded server in a temporary folder, the real daemon with the whole code
location, no runner. Rows are facts of ended executions that wait for the lake. The daemon's process group (daemon, code
server, run workers) gets SIGKILL as soon as a run has started, twice, while more rows arrive; a third daemon finishes.

An effect is a row in a file of the lake; the issue asks for exactly 1,000 and fewer than 20 runs. The rival is a sensor
that asks for one run a row: 1,000 runs by definition.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
from sqlalchemy import create_engine, text

from mc_pipelines.cli.instance import environment
from mc_pipelines.composition import Context, open_context
from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.foundation import embedded
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.runner.lake import FINISHED

ROWS, KILLS, MOST_RUNS = 1_000, 2, 20
_STEP_SECONDS = 360
"""The longest that one phase may take before the benchmark gives up."""


def fact(number: int, ended: datetime) -> dict[str, Any]:
    """Return the facts of one ended execution, as the runner writes them into the outbox."""
    moments = {
        name: rfc3339(ended - timedelta(seconds=before))
        for name, before in (("published_at", 3), ("started_at", 2), ("finished_at", 1), ("recorded_at", 0))
    }
    return moments | {
        "execution_id": str(UUID(int=number)),
        "attempt": 1,
        "tenant": "acme",
        "workflow": "w",
        "service": "executions",
        "cloud": "LOCAL",
        "region": "local",
        "outcome": "succeeded",
        "fault_owner": "none",
        "excluded_reason": None,
        "resource_seconds": 1.0,
        "price_id": "p",
        "cost_minor": 0,
        "currency": "USD",
        "estimate_id": None,
        "receipt_digest": sha256_digest(str(number).encode()),
        "features": [],
        "source": "real",
    }


def publish(context: Context, first: int, rows: int) -> None:
    """Insert rows that have waited two minutes: longer than the sensor waits for a runner."""
    ended = datetime.now(UTC) - timedelta(minutes=2)
    with context.database.begin() as connection:
        connection.execute(
            text(
                "insert into outbox (topic, key, payload, created_at)"
                " select :topic, row->>'execution_id', row, :ended from jsonb_array_elements(cast(:rows as jsonb)) row"
            ),
            {
                "topic": FINISHED,
                "ended": ended,
                "rows": json.dumps([fact(number, ended) for number in range(first, first + rows)]),
            },
        )


class Daemon:
    """The daemon of one instance, as a process group that can be killed whole."""

    def __init__(self, variables: dict[str, str], log: Path) -> None:
        workspace = f"{variables['DAGSTER_HOME']}/workspace.yaml"
        self._output = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", workspace],
            env=variables,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def kill(self) -> None:
        """End it and all that it started, without a word."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


@contextmanager
def instance() -> Iterator[tuple[Context, dict[str, str], Any]]:
    """Yield a context, the environment of its daemon, and an engine on Dagster's own database."""
    with tempfile.TemporaryDirectory(prefix="mc-outbox-") as folder:
        settings = Settings(home=Path(folder))
        context = open_context(settings)
        urls = embedded.ensure_running(settings)
        engine = create_engine(urls.dagster)
        try:
            yield context, environment(settings, urls), engine
        finally:
            engine.dispose()
            context.database.dispose()
            embedded.stop(settings)


def runs_by_status(engine: Any) -> dict[str, int]:
    """Return Dagster's runs by status; none before its tables are there."""
    with engine.connect() as connection:
        if connection.execute(text("select to_regclass('runs')")).scalar_one() is None:
            return {}
        rows = connection.execute(text("select status, count(*) from runs group by status")).all()
    return {row[0]: int(row[1]) for row in rows}


def waiting(context: Context) -> int:
    """Return how many rows wait."""
    with context.database.begin() as connection:
        return int(connection.execute(text("select count(*) from outbox where processed_at is null")).scalar_one())


def wait_for(what: str, done: Any) -> None:
    """Wait until ``done()``; give up loudly."""
    deadline = time.monotonic() + _STEP_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {_STEP_SECONDS} s: {what}")
        time.sleep(0.05)


def run() -> dict[str, Any]:
    """Kill, restart, finish, count."""
    begun = time.monotonic()
    with instance() as (context, variables, engine):
        log = Path(variables["MC_HOME"]) / "daemon.log"
        publish(context, 0, ROWS // 2)
        published = ROWS // 2
        killed_while = []
        for number in range(KILLS):
            daemon = Daemon(variables, log)
            try:
                before = sum(runs_by_status(engine).values()) if number else 0
                wait_for(
                    "a run that has started",
                    lambda before=before: (
                        (found := runs_by_status(engine)).get("STARTED", 0) > 0 and sum(found.values()) > before
                    ),
                )
            finally:
                daemon.kill()
            killed_while.append(runs_by_status(engine))
            publish(context, published, ROWS // 4)
            published += ROWS // 4
        daemon = Daemon(variables, log)
        try:
            wait_for("no row waits", lambda: waiting(context) == 0)
            wait_for("no run is under way", lambda: not _under_way(runs_by_status(engine)))
        finally:
            daemon.kill()
        days = days_with_facts(context.object_store)
        seen = scan_facts(context.object_store, first_day=days[0], last_day=days[-1]).collect()
        files = sorted((Path(variables["MC_HOME"]) / "objects" / "facts").rglob("*.parquet"))
        written = sum(int(pl.scan_parquet(file).select(pl.len()).collect().item()) for file in files)
        runs = runs_by_status(engine)
    effects = seen.select("execution_id", "attempt").n_unique()
    return {
        "benchmark": "outbox",
        "rows": ROWS,
        "kills": KILLS,
        "runs_when_killed": killed_while,
        "effects": effects,
        "rows_seen_by_readers": len(seen),
        "rows_in_files": written,
        "files": len(files),
        "runs": sum(runs.values()),
        "runs_by_status": runs,
        "limit_runs": MOST_RUNS,
        "rival_runs_one_a_row": ROWS,
        "seconds": round(time.monotonic() - begun, 1),
        "load": os.getloadavg()[0],
        "met": effects == len(seen) == ROWS and sum(runs.values()) < MOST_RUNS,
    }


def _under_way(runs: dict[str, int]) -> bool:
    return bool({"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"} & set(runs))


def main() -> None:
    """Print the figures as text, or as JSON; exit code 1 where they miss the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = run()
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(
            f"{found['rows']} rows, daemon killed {found['kills']} times: {found['effects']} effects"
            f" ({found['rows_in_files']} rows in {found['files']} files), {found['runs']} runs"
            f" ({found['runs_by_status']}; limit {MOST_RUNS}, one a row would be {ROWS}), {found['seconds']} s:"
            f" {'met' if found['met'] else 'MISSED'}"
        )
    if not found["met"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
