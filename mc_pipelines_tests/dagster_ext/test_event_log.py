"""A real Dagster instance, watched from the command line: the edges are those of its own tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from mc_pipelines.cli.main import main
from mc_pipelines.dagster_ext.event_log import document, new_materializations
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.marking import Marking
from mc_pipelines.provenance.model import Kind, Purpose
from mc_pipelines.provenance.readers import read_document
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])


@dg.asset
def orders() -> int:
    return 1


@dg.asset(key_prefix="shop", code_version="7")
def report(orders: int) -> int:
    return orders + 1


@dg.asset(ins={"report": dg.AssetIn(key_prefix="shop")})
def mail(orders: int, report: int) -> int:
    return orders + report


@dg.asset(partitions_def=DAYS)
def daily() -> int:
    return 3


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return folder


def run(home: Path, *assets: Any, **over: Any) -> str:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        result = dg.materialize(list(assets), instance=instance, **over)
    assert result.success
    return result.run_id


def records(home: Path) -> list[dg.EventLogRecord]:
    """Everything in the log, read in the simplest way."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return [
            record
            for key in instance.get_asset_keys()
            for record in instance.fetch_materializations(key, 1000, ascending=True).records
        ]


def wanted(found: list[dg.EventLogRecord]) -> set[tuple[str, str, str]]:
    """The edges between steps and assets that the tags of materialisations give."""
    edges = set()
    for record in found:
        materialization = record.asset_materialization
        assert materialization is not None
        tags = materialization.tags or {}
        step = f"run:lab/{record.run_id}/{record.event_log_entry.step_key}"
        name = materialization.asset_key.to_user_string()
        if materialization.partition:
            name += f"[{materialization.partition}]"
        edges.add((step, "produces", f"asset:lab/{name}@{tags['dagster/data_version']}"))
        for tag, version in tags.items():
            prefix = "dagster/input_data_version/"
            if tag.startswith(prefix):
                edges.add((step, "uses", f"asset:lab/{tag.removeprefix(prefix)}@{version}"))
    return edges


def graph_edges(database: TestDatabase) -> set[tuple[str, str, str]]:
    with database.app.begin(tenant="acme") as connection:
        rows = connection.execute(
            text(
                "select source.id as source, claim.type, target.id as target from provenance_claims as claim"
                " join provenance_nodes as source on source.node = claim.source"
                " join provenance_nodes as target on target.node = claim.target where claim.type < 4"
            )
        ).all()
    names = ("uses", "produces", "signs", "verifies")
    return {(row.source, names[row.type], row.target) for row in rows}


def between_steps_and_assets(edges: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    return {edge for edge in edges if edge[0].startswith("run:") and edge[2].startswith("asset:")}


@pytest.fixture
def watch(database: TestDatabase, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Any:
    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path / "mc"))

    def once(*more: str) -> dict[str, int]:
        with pytest.raises(SystemExit) as end:
            main(["provenance", "watch-dagster", str(home), "--tenant", "acme", "--issuer", "lab", "--json", *more])
        spoken = capfd.readouterr()
        assert end.value.code == 0, spoken.err
        found: dict[str, int] = json.loads(spoken.out)
        return found

    return once


def test_a_real_run_of_three_assets(watch: Any, home: Path, database: TestDatabase, tmp_path: Path) -> None:
    first_run = run(home, orders, report, mail)
    assert watch("--classification", "2", "--purpose", "audit") == {"accepted": 3, "known": 0, "refused": 0}
    with database.app.begin(tenant=TenantId("acme")) as connection:
        labels = connection.execute(text("select distinct label from provenance_documents")).scalars().all()
    assert [Marking.of_label(label) for label in labels] == [Marking(2, frozenset({Purpose.AUDIT}))]
    first = wanted(records(home))
    assert len(first) == 3 + 3
    assert between_steps_and_assets(graph_edges(database)) == first
    assert (f"run:lab/{first_run}/shop__report", "uses", "job:lab/shop/report@7") in graph_edges(database)
    assert (f"run:lab/{first_run}/orders", "uses", "job:lab/orders") in graph_edges(database)  # a version made up

    assert watch() == {"accepted": 0, "known": 0, "refused": 0}  # it knows where it went on
    for kept in (tmp_path / "mc" / "watch").iterdir():
        kept.unlink()
    assert watch() == {"accepted": 0, "known": 3, "refused": 0}  # and needs not know
    assert between_steps_and_assets(graph_edges(database)) == first

    run(home, orders, report, mail)  # again: new versions, and the old ones stay
    assert watch()["accepted"] == 3
    second = wanted(records(home))
    assert first < second
    assert len({edge for edge in second - first if edge[1] == "produces"}) == 3
    assert between_steps_and_assets(graph_edges(database)) == second
    versions = {edge[2] for edge in graph_edges(database) if edge[:2] == ("asset:lab/orders", "uses")}
    assert len(versions) == 2


def test_partitions_and_pages(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mc_pipelines.dagster_ext.event_log.BATCH", 2)
    for day in ("monday", "tuesday", "monday"):
        run(home, daily, partition_key=day)
    positions: dict[str, str] = {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        found = list(new_materializations(instance, "lab", positions))
        assert list(new_materializations(instance, "lab", positions)) == []
    assert [one["partition"] for one in found] == ["monday", "tuesday", "monday"]
    assert len({one["event"] for one in found}) == 3
    claims = read_document(json.dumps(found[0]).encode(), "x")
    assert ("asset:lab/daily", "asset:lab/daily[monday]") in {(one.source, one.target) for one in claims.edges}


def test_one_event_is_always_the_same_document(home: Path) -> None:
    run(home, orders)
    [record] = records(home)
    first, again = (json.dumps(document(record, "lab"), sort_keys=True).encode() for _ in range(2))
    assert sha256_digest(first) == sha256_digest(again)
    claims = read_document(first, "x")
    assert claims.valid_from is not None
    assert abs(claims.valid_from.timestamp() - record.timestamp) < 1e-5
    assert sum(node.kind is Kind.EXECUTION for node in claims.nodes) == 1


def test_what_another_program_recorded_without_tags(home: Path) -> None:
    """An external materialisation: no run, no version; the event's own id tells its versions apart."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for _ in range(2):
            instance.report_runless_asset_event(dg.AssetMaterialization("outside", tags={}))
        found = list(new_materializations(instance, "lab", {}))
    made = set()
    for one in found:
        claims = read_document(json.dumps(one).encode(), "x")
        made |= {edge.target for edge in claims.edges if edge.type.value == "produces"}
    assert len(made) == 2
