"""A real runner process, killed in the middle of a burst, again and again: one truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import text

from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.runner.publish import publish_all
from mc_pipelines.runner.sandbox.process import attempts_root
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(sys.platform != "linux", reason="the local driver's sandbox is Linux's"),
]
KILLS, EXECUTIONS = 5, 60


class Runner:
    """`mc runner serve` in a process of its own, on a lease of one second."""

    def __init__(self, database: TestDatabase, home: Path) -> None:
        self.home = home
        self.environment = os.environ | {"MC_DATABASE_URL": database.app.url, "MC_HOME": str(home)}
        self.started = 0

    def start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        with (self.home / f"runner-{self.started}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mc_pipelines.cli.main", "runner", "serve", "--lease", "1"],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return "\n".join(one.read_text() for one in sorted(self.home.glob("runner-*.log")))


def count(database: TestDatabase, query: str) -> int:
    with database.app.begin() as connection:
        return int(connection.execute(text(query)).scalar_one())


def wait(condition: object, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_killed_mid_burst_each_execution_ends_once(database: TestDatabase, tmp_path: Path) -> None:
    now = SystemClock().now()
    manifests = [
        manifest_of({"tenant": "acme", "workflow": "burst", "argv": ["sleep", "0.1"], "idempotency_key": f"k{number}"})
        for number in range(EXECUTIONS)
    ]
    with database.app.begin() as connection:
        put_tenant(connection, Tenant(TenantId("acme"), "UTC", "USD", residency=("local",)), now=now)
        publish_all(connection, manifests, now=now)
    house = sha256(database.app.safe_url.encode()).hexdigest()[:12]
    runner = Runner(database, tmp_path)
    ended = "select count(*) from execution_receipt"
    for kill in range(KILLS):
        process = runner.start()
        share = EXECUTIONS * (kill + 1) // (KILLS + 2)
        assert wait(lambda share=share: count(database, ended) >= share, 60), runner.said()
        process.send_signal(signal.SIGKILL)
        process.wait()
    left_open = count(database, "select count(*) from run_queue where state = 'claimed'")
    assert left_open, "the last kill hit nothing: the burst is too short to test anything"
    process = runner.start()
    assert wait(lambda: count(database, ended) == EXECUTIONS, 90), runner.said()
    assert wait(lambda: not list(attempts_root(house).iterdir()), 15), list(attempts_root(house).iterdir())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0, runner.said()

    with database.app.begin() as connection:
        rows = connection.execute(
            text("select execution_id, attempt, state from execution_transition order by transition_id")
        ).all()
        receipts = {
            row.execution_id: row.attempt
            for row in connection.execute(text("select execution_id, attempt from execution_receipt"))
        }
    ends = Counter(row.state for row in rows if row.state in {"succeeded", "failed", "lost", "denied", "cancelled"})
    assert ends == {"succeeded": EXECUTIONS}
    starts = Counter((row.execution_id, row.attempt) for row in rows if row.state == "running")
    assert set(starts.values()) == {1}
    won = {row.execution_id: row.attempt for row in rows if row.state == "succeeded"}
    assert won == receipts
    assert all(starts[won_attempt] == 1 for won_attempt in won.items())
    assert any(row.state == "unknown" for row in rows)

    store = LocalObjectStore(tmp_path / "objects")
    sealed = [one.path for prefix in ("receipts/", "logs/") for one in store.list(prefix)]
    assert len(sealed) == 2 * EXECUTIONS
    days = days_with_facts(store)
    facts = scan_facts(store, first_day=days[0], last_day=days[-1]).collect()
    assert sorted(facts["execution_id"].to_list()) == sorted(str(one) for one in won)
    assert count(database, "select count(*) from outbox where processed_at is null") == 0
