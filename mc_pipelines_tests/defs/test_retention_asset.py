"""Retention as Dagster runs it: the asset prunes, its check looks, and neither tells of a tenant's content."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mc_pipelines.defs import resources
from mc_pipelines.defs.provenance.assets import nothing_live_was_pruned, provenance_retention
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.provenance.edge_log import ingest_many
from mc_pipelines.provenance.roots import Reason, keep_root
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, sbom
from mc_pipelines_tests.provenance.test_query import purl
from mc_pipelines_tests.provenance.test_retention import low_value

pytestmark = pytest.mark.database


def test_the_asset_prunes_and_its_check_passes(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path))
    resources._context.cache_clear()
    then = FrozenClock(datetime.now(UTC) - timedelta(days=40))
    documents = [
        low_value("old", {"tool": ["helper"]}),
        low_value("base", {"base": ["libc6"]}),
        sbom("a", {"app": ["base"]}),
    ]
    ingest_many(database.app, ACME, documents, clock=then)
    with database.app.begin(tenant=ACME) as connection:
        keep_root(connection, ACME, purl("app"), Reason.LIVE, by="test", now=then.now())
    try:
        result = dg.materialize([provenance_retention, nothing_live_was_pruned], resources={"maestro": Maestro()})
    finally:
        resources._context.cache_clear()
    assert result.success
    (made,) = result.asset_materializations_for_node("provenance_retention")
    assert (made.metadata["documents"].value, made.metadata["edges"].value) == (1, 1)
    assert "acme" not in str(made.metadata)
    assert "helper" not in str(made.metadata)
    assert [each.passed for each in result.get_asset_check_evaluations()] == [True]
