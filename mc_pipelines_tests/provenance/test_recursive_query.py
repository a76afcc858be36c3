"""Answers equal those of one recursive query over the log: with validity that begins and ends, deltas, compactions."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import Claims, Edge, EdgeType, Kind, Node
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import GraphQuery
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
DAY = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = [NodeId(f"pkg:npm/p{number}@1") for number in range(6)] + [NodeId(f"run:ci/{number}") for number in range(3)]
_COUNTER = itertools.count()
# uses: package -> package, run -> package; produces: run -> package.
edges = st.one_of(
    st.tuples(st.integers(0, 8), st.integers(0, 5), st.just(EdgeType.USES)),
    st.tuples(st.integers(6, 8), st.integers(0, 5), st.just(EdgeType.PRODUCES)),
)
documents = st.lists(
    st.tuples(
        st.lists(edges, min_size=1, max_size=6),
        st.integers(0, 3),
        st.one_of(st.none(), st.integers(1, 4)),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
_RECURSIVE = """
with recursive held as (
    select distinct case when c.type = 0 then c.source else c.target end as lower,
        case when c.type = 0 then c.target else c.source end as upper, c.source, c.target, c.type
    from provenance_claims c join provenance_documents d on d.tenant = c.tenant and d.seq = c.seq
    where c.tenant = :tenant and c.type < 4 and d.valid_from <= :at and (d.valid_to is null or d.valid_to > :at)
), reached(node, level) as (
    select node, 0 from provenance_nodes where tenant = :tenant and id = :start
    union
    select case when :up then upper else lower end, level + 1
    from reached join held on case when :up then lower else upper end = node where level < :depth
), nearest as (select node, min(level) as level from reached group by node)
select s.id as source, t.id as target, held.type from nearest
join held on case when :up then lower else upper end = node and level < :depth
join provenance_nodes s on s.tenant = :tenant and s.node = held.source
join provenance_nodes t on t.tenant = :tenant and t.node = held.target
"""


def claims_of(number: int, place: int, rows: list[tuple[int, int, EdgeType]], begin: int, length: int | None) -> Claims:
    ends = dict.fromkeys(end for row in rows for end in row[:2])
    return Claims(
        document=sha256_digest(f"{number}/{place}".encode()),
        name="generated",
        format="test",
        nodes=tuple(Node(NAMES[end], Kind.EXECUTION if end > 5 else Kind.PACKAGE) for end in ends),
        edges=tuple(Edge(NAMES[source], NAMES[target], kind) for source, target, kind in rows),
        valid_from=DAY + timedelta(days=begin),
        valid_to=None if length is None else DAY + timedelta(days=begin + length),
    )


def by_recursion(database: Database, tenant: TenantId, query: GraphQuery) -> set[tuple[str, str, int]]:
    with database.begin(tenant=tenant) as connection:
        rows = connection.execute(
            text(_RECURSIVE),
            {
                "tenant": tenant,
                "at": query.as_of,
                "start": query.node,
                "depth": query.depth,
                "up": query.direction == "ancestors",
            },
        )
        return {(row.source, row.target, row.type) for row in rows}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents, st.integers(0, 8), st.integers(1, 5), st.sampled_from(["ancestors", "descendants"]), st.integers(0, 7)
)
def test_equal(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, made, start: int, depth: int, direction: str, day: int
) -> None:
    number = next(_COUNTER)
    tenant = TenantId(f"t{number}")
    store = GraphStore(database.app, tmp_path, clock, refresh_seconds=0)
    query = GraphQuery(NAMES[start], depth, direction, as_of=DAY + timedelta(days=day))
    for place, (rows, begin, length, compacts) in enumerate(made):
        ingest_claims(database.app, tenant, claims_of(number, place, rows, begin, length), clock=clock)
        if compacts:
            build_generation(database.app, tmp_path, tenant, clock=clock)
        expected = by_recursion(database.app, tenant, query)
        try:
            answer = json.loads(graph_answer(store, tenant, query, EVERYTHING, CursorKey(b"key")).body)
        except NotFoundError:  # nothing names it at that moment, in either direction
            assert not expected
            continue
        assert answer["complete"]
        codes = {kind.value: code for code, kind in enumerate(EdgeType)}
        assert {(edge["from"], edge["to"], codes[edge["type"]]) for edge in answer["edges"]} == expected
        ends = {query.node, *(end for edge in expected for end in edge[:2])}
        assert {node["id"] for node in answer["nodes"]} == ends
