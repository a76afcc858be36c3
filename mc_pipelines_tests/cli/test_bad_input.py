"""What a person can get wrong: one sentence that names field, value and mend; exit code 2; nothing half-written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import text

from mc_pipelines.cli.main import main
from mc_pipelines.executions.manifest import example_manifest
from mc_pipelines.foundation import server
from mc_pipelines.foundation.clock import SystemClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
MANIFEST = example_manifest("acme").document()
MC = str(Path(sys.executable).with_name("mc"))
Mc = Callable[..., tuple[int, str]]


@pytest.fixture
def mc(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Mc:
    """Returns a function that runs `mc` in this process -> exit code and what it said on standard error."""
    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_DAGSTER_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with database.app.begin() as connection:
        put_tenant(connection, Tenant(TenantId("acme"), "UTC", "USD", residency=("local",)), now=SystemClock().now())

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        spoken = capsys.readouterr()
        assert spoken.out == ""
        return int(end.value.code or 0), spoken.err

    return run


def traces(count: int = 200) -> pl.DataFrame:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    return pl.DataFrame(
        {
            "ts": [start + timedelta(minutes=11 * number) for number in range(count)],
            "workflow": ["nightly"] * count,
            "runtime_s": [60.0 + number for number in range(count)],
            "cores": [4] * count,
        }
    )


def _manifest(change: dict[str, Any]) -> Callable[[Path], list[str]]:
    def given(folder: Path) -> list[str]:
        (folder / "m.json").write_text(json.dumps(MANIFEST | change))
        return ["publish", "m.json"]

    return given


def _wrong_digest(folder: Path) -> list[str]:
    (folder / "m.json").write_text(json.dumps(MANIFEST))
    return ["publish", "m.json", "--digest", "sha256:" + "0" * 64]


def _other_file(folder: Path) -> list[str]:
    named = {"inputs": [{"path": "data.csv", "digest": "sha256:" + "1" * 64}]}
    (folder / "m.json").write_text(json.dumps(MANIFEST | named))
    (folder / "data.csv").write_text("not that file")
    return ["publish", "m.json", "--input", "data.csv=data.csv"]


def _truncated(folder: Path) -> list[str]:
    traces().write_parquet(folder / "t.parquet")
    content = (folder / "t.parquet").read_bytes()
    (folder / "t.parquet").write_bytes(content[: len(content) // 2])
    return ["executions", "ingest", "t.parquet"]


def _lacking(folder: Path) -> list[str]:
    traces().drop("runtime_s").write_parquet(folder / "t.parquet")
    return ["executions", "ingest", "t.parquet"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (_manifest({"surprise": 1}), ("field surprise = 1", "Mend: docs/reference/manifest.md")),
        (_wrong_digest, ("another digest", "--digest = sha256:000", "Mend: it is sha256:")),
        (_other_file, ("field inputs.data.csv = sha256:111", "Mend: its digest is sha256:")),
        (_manifest({"budget": {"amount": 12.4, "currency": "USD"}}), ("never a float", "budget.amount", "Mend")),
        (_manifest({"deadline": "2099-01-01T00:00:00"}), ("without a zone", "deadline = 2099-01-01", "Mend")),
        (_truncated, ("t.parquet", "Mend")),
        (_lacking, ("runtime_s", "t.parquet", "Mend")),
    ],
    ids=["unknown-field", "digest", "other-file", "float", "naive", "truncated", "missing-column"],
)
def test_bad_content_is_named_and_nothing_is_written(
    mc: Mc, database: TestDatabase, tmp_path: Path, given: Callable[[Path], list[str]], names: tuple[str, ...]
) -> None:
    code, said = mc(*given(tmp_path))
    assert code == 2
    assert said.startswith("mc: ")
    assert said.count("\n") == 1
    for name in names:
        assert name in said
    assert not (tmp_path / "home" / "objects").exists()
    with database.app.begin() as connection:
        assert connection.execute(text("select count(*) from execution")).scalar_one() == 0


def test_a_database_that_is_down(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", "postgresql://mc_app:geheim@127.0.0.1:1/mc")
    code, said = mc("executions", "ls")
    assert (code, said.count("\n")) == (2, 1)
    assert "does not answer" in said
    assert "MC_DATABASE_URL = postgresql+psycopg://mc_app:***@127.0.0.1:1/mc" in said
    assert "Mend: start it" in said


def test_a_database_that_is_too_old(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MINIMUM_SERVER_VERSION", 99)
    code, said = mc("executions", "ls")
    assert (code, said.count("\n")) == (2, 1)
    assert "is too old: 99 is the oldest supported" in said
    assert "Mend" in said


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


@pytest.mark.parametrize("variable", ["MC_UI_PORT", "MC_API_PORT"])
def test_a_port_in_use_starts_nothing(
    mc: Mc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken_port: int, variable: str
) -> None:
    monkeypatch.setenv("MC_UI_PORT", "0")
    monkeypatch.setenv(variable, str(taken_port))
    code, said = mc("up", "--no-runner")
    assert (code, said.count("\n")) == (2, 1)
    assert f"The port is in use; field {variable} = {taken_port}" in said
    assert f"set {variable} to another port" in said
    assert not (tmp_path / "home" / "logs").exists()


LOCAL_DEFAULTS = {
    "MC_DATABASE_URL": "postgresql://mc_app@db.example/mc",
    "MC_DAGSTER_DATABASE_URL": "postgresql://mc_dagster@db.example/mc_dagster",
    "MC_OIDC_ISSUER": "https://idp.example",
    "MC_SIGNING_KEY_URL": "awskms:///alias/mc",
    "MC_KEYRING_PASSPHRASE": "geheim",
    "MC_OPA_URL": "http://opa.example:8181",
}


@pytest.mark.parametrize("missing", LOCAL_DEFAULTS)
def test_production_with_one_local_default(
    mc: Mc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setenv("MC_PROFILE", "production")
    for name, value in LOCAL_DEFAULTS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    code, said = mc("executions", "ls")
    assert (code, said.count("\n")) == (2, 1)
    assert "The production profile refuses" in said
    assert f"({missing})" in said
    assert f"Mend: {missing}: name" in said
    assert not (tmp_path / "home").exists()


@pytest.fixture
def small_disk(
    need_program: Callable[[str, str], str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Returns a function that runs a script with a disk of some bytes at ``disk``; it is gone with the script."""
    bwrap = need_program("bwrap", "Debian package bubblewrap")
    (tmp_path / "disk").mkdir()

    def run(script: str, size: int, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [bwrap, "--dev-bind", "/", "/", "--size", str(size), "--tmpfs", str(tmp_path / "disk"), "sh", "-c", script],
            env=os.environ | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.system
def test_a_disk_that_is_full_keeps_what_is_whole_and_a_repeat_finishes(
    database: TestDatabase, small_disk: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    traces(4_000).write_parquet(tmp_path / "t.parquet")
    script = f"""
    {MC} executions ingest t.parquet; echo "code $?"
    ls -A disk/objects/.incoming
    echo "files $(find disk/objects -name '*.parquet' | wc -l)"
    rm disk/filler; {MC} executions ingest t.parquet --json
    """
    found = small_disk(
        f"head -c 900000 /dev/zero > disk/filler; {script}",
        1 << 20,
        MC_DATABASE_URL=database.app.url,
        MC_HOME=str(tmp_path / "home"),
        MC_OBJECT_STORE_URL=(tmp_path / "disk" / "objects").as_uri(),
    )
    before, _, after = found.stdout.partition("files ")
    assert before.split() == ["code", "2"], found
    assert found.stderr.startswith("mc: ")
    assert found.stderr.count("\n") == 1
    assert "No space left on device" in found.stderr
    assert "Mend: free space on that disk, then repeat" in found.stderr
    (report,) = json.loads(after.partition("\n")[2])
    assert report["rows"] == 4_000
    assert 0 < int(after.split()[0]) < report["files"] == report["filesWritten"] + int(after.split()[0])


def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def export(args: list[str] | None) -> None:
        (tmp_path / "no folder" / "credits.csv").write_text(str(args))

    monkeypatch.setattr("mc_pipelines.cli.main.app", export)
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    assert "No such file or directory" in capsys.readouterr().err
