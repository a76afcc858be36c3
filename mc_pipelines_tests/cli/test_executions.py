"""publish, runner and executions on the command line: from an example manifest to a receipt that verifies."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import polars as pl
import pytest
from sqlalchemy import text

from mc_pipelines.cli.main import main
from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database


class CommandLine:
    """Runs `mc` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        self._monkeypatch.setattr("sys.argv", ["mc", *arguments])
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        spoken = self._capsys.readouterr()
        return int(end.value.code or 0), spoken.out, spoken.err

    def json(self, *arguments: str, stdin: str = "") -> object:
        code, out, err = self(*arguments, "--json", stdin=stdin)
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def mc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def _house(database: TestDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with database.app.begin() as connection:
        acme = Tenant(TenantId("acme"), "UTC", "USD", residency=("local",))
        put_tenant(connection, acme, now=SystemClock().now())


def test_from_the_example_to_a_receipt(mc: CommandLine, tmp_path: Path) -> None:
    code, example, _ = mc("publish", "--example")
    assert code == 0
    published = mc.json("publish", "-", stdin=example)
    assert isinstance(published, dict)
    assert published["new"] is True
    assert mc.json("publish", "-", stdin=example)["new"] is False  # type: ignore[index]
    status = mc.json("runner", "status")
    assert (status["queued"], status["factsWaiting"]) == (1, 0)  # type: ignore[index]
    code, out, err = mc("executions", "receipt", published["executionId"])
    assert (code, out) == (2, "")
    assert "has not ended" in err
    assert mc.json("runner", "drain") == {"ended": 1}
    (row,) = mc.json("executions", "ls", "--tenant", "acme")  # type: ignore[misc]
    assert (row["state"], row["attempt"]) == ("succeeded", 1)  # type: ignore[index]
    shown = mc.json("executions", "show", published["executionId"])
    assert shown["transitions"][-1]["state"] == "succeeded"  # type: ignore[index]
    receipt = tmp_path / "receipt.json"
    assert mc("executions", "receipt", published["executionId"], "--out", str(receipt))[0] == 0
    assert mc("log", "trust", "--out", str(tmp_path / "trust.json"))[0] == 0
    report = mc.json("verify", str(receipt))
    assert report["ok"] is True  # type: ignore[index]
    assert any("succeeded on LOCAL/local" in one for one in report["proved"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("publish",), "mc publish --example | mc publish -"),
        (("publish", "/nowhere.json"), "cannot be read"),
        (("publish", "-", "--digest", "sha256:" + "0" * 64), "another digest"),
        (("publish", "-", "--input", "a"), "PATH=FILE"),
        (("publish", "-", "--input", "a.txt=/nowhere"), "cannot be read"),
        (("executions", "show", "7"), "Not a UUID"),
        (("executions", "show", "019bd7c0-0000-7000-8000-000000000000"), "No such execution"),
        (("executions", "ingest"), "--simulate"),
        (("executions", "ingest", "/nowhere.parquet"), "No such file"),
        (("executions", "ingest", "--simulate", "--tenants", "Not A Name"), "--tenants"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    mc: CommandLine, database: TestDatabase, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    manifest = json.dumps({"tenant": "acme", "workflow": "w", "argv": ["true"]})
    code, out, err = mc(*arguments, stdin=manifest)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert said in err
    with database.app.begin() as connection:
        assert connection.execute(text("select count(*) from execution")).scalar_one() == 0
    assert not (tmp_path / "objects" / "facts").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"surplus": 1}, "surplus"), ({"tenant": "nobody"}, "nobody"), ({"resources": {"cpu_millis": 1.5}}, "cpu_millis")],
)
def test_a_bad_manifest_names_its_field(mc: CommandLine, change: dict[str, object], said: str) -> None:
    manifest = {"tenant": "acme", "workflow": "w", "argv": ["true"]} | change
    code, _, err = mc("publish", "-", stdin=json.dumps(manifest))
    assert code == 2
    assert said in err


def test_a_truncated_trace_stops_before_anything_is_written(mc: CommandLine, tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame({"ts": [SystemClock().now()], "workflow": ["a/b"], "runtime_s": [1.0]}).write_parquet(whole)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(whole.read_bytes()[:-20])
    code, _, err = mc("executions", "ingest", str(whole), str(torn))
    assert code == 2
    assert "torn.parquet" in err
    assert not (tmp_path / "objects" / "facts").exists()
    (report,) = mc.json("executions", "ingest", str(whole))  # type: ignore[misc]
    assert (report["rows"], report["source"]) == (1, "constructed")  # type: ignore[index]
    (again,) = mc.json("executions", "ingest", str(whole))  # type: ignore[misc]
    assert again["filesWritten"] == 0  # type: ignore[index]


@pytest.mark.skipif(sys.platform != "linux", reason="the local driver's sandbox is Linux's")
def test_serve_runs_what_is_published_flushes_and_signs_a_checkpoint(
    mc: CommandLine, database: TestDatabase, tmp_path: Path
) -> None:
    serving = subprocess.Popen(
        [sys.executable, "-m", "mc_pipelines.cli.main", "runner", "serve", "--metrics-port", "0"],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert serving.stdout is not None
        address = serving.stdout.readline().split()[-1]
        assert "serves the queue" in serving.stdout.readline()
        published = mc.json("publish", "-", stdin=mc("publish", "--example")[1])
        assert mc("flags", "set", "sla_credits", "off")[0] == 0  # an act of the audit log
        acted = time.monotonic()
        assert _wait(database, "select count(*) from attest_log_checkpoint") < 5
        assert time.monotonic() - acted < 5
        assert _wait(database, "select count(*) from execution_receipt") < 30
        assert _wait(database, "select count(*) from outbox where processed_at is not null") < 30
        metrics = httpx.get(address, timeout=5).text
        assert "mc_queue_ms_count 1.0" in metrics
        assert 'mc_start_ms_count{cloud="LOCAL",region="local",start_class="warm"} 1.0' in metrics
    finally:
        serving.send_signal(signal.SIGTERM)
        said, _ = serving.communicate(timeout=30)
    assert (serving.returncode, said.splitlines()[-1]) == (0, "1 executions ended here"), said
    store = LocalObjectStore(tmp_path / "objects")
    (day,) = days_with_facts(store)
    (fact,) = scan_facts(store, first_day=day, last_day=day).collect().to_dicts()
    assert fact["execution_id"] == published["executionId"]  # type: ignore[index]


def _wait(database: TestDatabase, query: str) -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < 40:
        with database.app.begin() as connection:
            if connection.execute(text(query)).scalar_one():
                break
        time.sleep(0.05)
    return time.monotonic() - begun
