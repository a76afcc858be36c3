"""A real package index asked through the graph's queries: reach of every probe, in one answer and page by page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.composition import Context
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.readers import read_document
from mc_pipelines.provenance.request import MAXIMUM_EDGES, MAXIMUM_FAN_OUT, MAXIMUM_NODES, parse_query
from mc_pipelines.provenance.trust_roots import TrustRoots
from mc_pipelines_tests.conformance.provenance.test_debian import name_of
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
ACME = TenantId("acme")
DIRECTIONS = {"ancestors": "dependencies_within_1to5_incl_self", "descendants": "dependents_within_1to5_incl_self"}
Answer = tuple[set[str], set[tuple[str, str]]]


def ask(context: Context, node: str, depth: int, direction: str, limit: int) -> Answer:
    """All pages of a query: nodes and edges; no node or edge may come twice, nor an edge before its ends."""
    nodes: set[str] = set()
    edges: set[tuple[str, str]] = set()
    given = {"node": node, "depth": str(depth), "direction": direction, "types": "uses", "limit": str(limit)}
    given |= {"fanOut": str(MAXIMUM_FAN_OUT), "edgeLimit": str(MAXIMUM_EDGES)}
    cursor: str | None = None
    while True:
        query = parse_query(given | ({"cursor": cursor} if cursor else {}))
        answer = graph_answer(context.graph_store, ACME, query, EVERYTHING, context.cursors)
        body: dict[str, Any] = json.loads(answer.body)
        page = [node["id"] for node in body["nodes"]]
        assert len(set(page)) == len(page)
        assert nodes.isdisjoint(page)
        nodes.update(page)
        pairs = {(edge["from"], edge["to"]) for edge in body["edges"]}
        assert {end for pair in pairs for end in pair} <= nodes
        edges |= pairs
        cursor = answer.cursor
        if cursor is None:
            return nodes, edges


def test_reach_of_every_probe_in_one_answer_and_by_pages(
    provenance: Path, expected: dict[str, Any], database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    context = Context(Settings(home=tmp_path), database.app, clock)
    for name, fact in expected["debian"].items():
        content = (provenance / name).read_bytes()
        [result] = ingest_documents(database.app, ACME, [Document(name, content)], TrustRoots(), clock=clock)
        assert result.status == "accepted"
        claims = read_document(content, name)
        names = name_of(claims)
        starts: dict[str, list[str]] = {}
        for node in claims.nodes:
            if node.label and node.id != claims.document:
                starts.setdefault(names[node.id], []).append(node.id)
        for probe, reach in fact["probes"].items():
            for direction, member in DIRECTIONS.items():
                for depth in (1, 2, 5):
                    wanted = reach[member][depth - 1]
                    if wanted + len(starts[probe]) + 1 > MAXIMUM_NODES:
                        continue
                    whole = [ask(context, one, depth, direction, MAXIMUM_NODES) for one in starts[probe]]
                    found = {names[node] for nodes, _ in whole for node in nodes if node != claims.document}
                    assert len(found) == wanted, (probe, direction, depth)
                    if depth == 2:
                        pages = [ask(context, one, depth, direction, 211) for one in starts[probe]]
                        assert pages == whole, (probe, direction)
