"""docs/showback.md shows what the code gives; exports read back and reconcile; the command line says its sources."""

import csv
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from mc_pipelines.cli import context as cli_context
from mc_pipelines.cli.showback import app
from mc_pipelines.executions.facts import write_facts
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import InputError, NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.showback.costs import showback_costs
from mc_pipelines.showback.export import to_csv, to_parquet
from mc_pipelines.showback.focus import FOCUS_SCHEMA
from mc_pipelines.showback.reconciliation import reconcile
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.showback.frames import fact, facts

DOCUMENT = Path(__file__).parents[2] / "docs" / "showback.md"
ZONES = {"acme": "America/Denver"}
MARCH = {"first_day": date(2026, 3, 1), "last_day": date(2026, 3, 31)}
# Two attempts on the evening of 31 March in Denver, which is 1 April in UTC, and one on 1 April in Denver.
WORKED = facts(
    fact(1, finished_at=datetime(2026, 4, 1, 4, tzinfo=UTC), cost_minor=1234, resource_seconds=9255.0),
    fact(
        2,
        finished_at=datetime(2026, 4, 1, 5, 30, tzinfo=UTC),
        cost_minor=66,
        resource_seconds=495.5,
        outcome="lost",
        fault_owner="provider",
    ),
    fact(3, finished_at=datetime(2026, 4, 1, 6, tzinfo=UTC), cost_minor=5000),
)


def worked_example() -> str:
    [row] = csv.DictReader(io.StringIO(to_csv(showback_costs(WORKED, zones=ZONES, **MARCH)).decode()))
    return "".join(f"{name:<22} {value}\n" for name, value in row.items() if value)


def test_the_worked_example_is_what_the_code_gives() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert f"```\n{worked_example()}```" in text
    for name in FOCUS_SCHEMA:
        assert f"`{name}`" in text, name


def test_exports_read_back_to_the_cent() -> None:
    costs = showback_costs(WORKED, zones=ZONES, **MARCH)
    again = pl.read_parquet(io.BytesIO(to_parquet(costs)))
    assert again.equals(costs)
    assert reconcile(again, WORKED, zones=ZONES, **MARCH) == []
    metadata = pyarrow.parquet.read_metadata(io.BytesIO(to_parquet(costs))).metadata
    assert (metadata[b"FocusVersion"], b"constructed" in metadata[b"x_Sources"]) == (b"1.2", True)
    parsed = pl.read_csv(io.BytesIO(to_csv(costs)), schema_overrides={"BilledCost": pl.Decimal(38, 3)})
    assert parsed.columns == FOCUS_SCHEMA.names()
    assert parsed["BilledCost"].sum() == costs["BilledCost"].sum()
    assert to_csv(costs).startswith(b"BilledCost,BillingAccountId,")


@pytest.mark.database
def test_command_line(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_object_store(f"file://{tmp_path}/objects")
    write_facts(store, WORKED.collect())
    with database.app.begin() as connection:
        put_tenant(connection, Tenant(TenantId("acme"), "America/Denver", "USD"), now=clock.now())
    context = SimpleNamespace(database=database.app, object_store=store, clock=clock)
    monkeypatch.setattr(cli_context, "open_context", lambda: context)
    runner = CliRunner()

    def run(*arguments: str) -> str:
        result = runner.invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    shown = json.loads(run("report", "2026-03", "--by", "tenant,cloud", "--json"))
    assert "constructed" in shown["sources"]
    assert [(one["tenant"], one["billed"], one["unsuccessful"]) for one in shown["costs"]] == [
        ("acme", "13.000", "0.660")
    ]
    assert "constructed" in run("report", "2026-04")
    csv_file, parquet_file = tmp_path / "a.csv", tmp_path / "a.parquet"
    assert "constructed" in run("export", "2026-03", "--out", str(csv_file))
    assert csv_file.read_bytes() == to_csv(showback_costs(WORKED, zones=ZONES, **MARCH))
    written = json.loads(run("export", "2026-03", "--out", str(parquet_file), "--by-execution", "--json"))
    assert (written["rows"], "constructed" in written["sources"]) == (2, True)
    assert pl.read_parquet(parquet_file)["ResourceId"].n_unique() == 2
    # A correction recorded later changes the month, and the month as it was known before is still there.
    late = fact(1, finished_at=datetime(2026, 4, 1, 4, tzinfo=UTC), cost_minor=1000, resource_seconds=9255.0)
    write_facts(store, facts(late | {"recorded_at": datetime(2026, 4, 9, tzinfo=UTC)}).collect())
    for known, billed in (((), "10.660"), (("--as-known-at", "2026-04-02T00:00:00Z"), "13.000")):
        shown = json.loads(run("report", "2026-03", "--by", "tenant", "--json", *known))
        assert [one["billed"] for one in shown["costs"]] == [billed]
    with pytest.raises(NotFoundError):
        run("report", "2025-01")
    for bad in (("report", "2026-03", "--by", "colour"), ("export", "2026-03", "--out", str(tmp_path / "a.txt"))):
        with pytest.raises(InputError):
            run(*bad)
    assert not (tmp_path / "a.txt").exists()
