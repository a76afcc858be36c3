"""Which nodes there are: newest first, by kind and text, by pages, and never one that the reader may not know of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import EVERYTHING, Filter
from mc_pipelines.provenance.edge_log import ingest_many
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.listing import nodes_answer
from mc_pipelines.provenance.request import ListQuery, QueryError
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, BOLT, sbom
from mc_pipelines_tests.provenance.test_query import SCHEMA, names, purl, store_of

pytestmark = pytest.mark.database
OPEN = Filter(0, EVERYTHING.purposes, EVERYTHING.statuses, EVERYTHING.policy)


def listed(store: GraphStore, allowed: Filter = EVERYTHING, tenant: TenantId = ACME, **given: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(nodes_answer(store, tenant, ListQuery.parse(given), allowed).body)
    jsonschema.validate(body, SCHEMA)
    return body


@pytest.mark.parametrize("built", [False, True])
def test_newest_first_by_kind_and_text(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, *, built: bool
) -> None:
    store = store_of(database, tmp_path, clock)
    documents = [sbom("one", {"app": ["libc6", "zlib1g"]}), sbom("two", {"shop": ["zlib1g"]})]
    ingest_many(database.app, ACME, documents, clock=clock)
    if built:
        build_generation(database.app, tmp_path, ACME, clock=clock)
    whole = listed(store)
    packages = [name for name in names(whole) if not name.startswith("sha256:")]
    assert packages == ["shop", "zlib1g", "libc6", "app"]
    assert whole["complete"]
    assert whole["next"] is None
    assert {node["id"]: node.get("stub", False) for node in whole["nodes"]}[purl("libc6")]
    assert names(listed(store, contains="lib")) == ["zlib1g", "libc6"]
    assert names(listed(store, kinds="package", contains="sh")) == ["shop"]
    assert listed(store, kinds="execution")["nodes"] == []
    paged, after = [], {}
    while True:
        page = listed(store, limit="1", **after)
        paged += page["nodes"]
        assert page["complete"] == (page["next"] is None)
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert paged == whole["nodes"]


def test_what_is_hidden_is_not_there(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    store = store_of(database, tmp_path, clock)
    documents = [sbom("one", {"app": ["libc6"]}), sbom("secret", {"plan": ["libc6"]}, classification=3)]
    ingest_many(database.app, ACME, documents, clock=clock)
    ingest_many(database.app, BOLT, [sbom("theirs", {"bolt": ["libc6"]})], clock=clock)
    assert "plan" in names(listed(store))
    assert "plan" not in names(listed(store, OPEN))
    assert "bolt" not in names(listed(store))
    refused = []
    for foreign in ("plan", "bolt", "nobody"):
        with pytest.raises(NotFoundError) as unknown:
            listed(store, OPEN, after=purl(foreign))
        refused.append(unknown.value.problem())
    assert refused[0] == refused[1] == refused[2]


@pytest.mark.parametrize("given", [{"kinds": "thing"}, {"limit": "0"}, {"after": "x"}, {"resolve": "none"}])
def test_what_means_nothing_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(QueryError) as refused:
        ListQuery.parse(given)
    assert refused.value.field == next(iter(given))
