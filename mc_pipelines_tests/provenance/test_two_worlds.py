"""Two worlds that differ in another tenant's documents only: random graphs and filters, every question, every byte.

Bodies, tags, cursors, counts and errors of one tenant are compared before and after another tenant recorded documents
about the same content, and after generations were built of all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.diff import diff_answer
from mc_pipelines.provenance.edge_log import ingest_many
from mc_pipelines.provenance.formats import Form
from mc_pipelines.provenance.gaps import gaps_answer
from mc_pipelines.provenance.gate import gate_answer
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.impact import impact_answer
from mc_pipelines.provenance.model import PUBLIC, Alias, Claims, Edge, EdgeType, Kind, Node
from mc_pipelines.provenance.paths import paths_answer
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import BundleQuery, DiffQuery, GapQuery, GraphQuery, ImpactQuery, PathQuery
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.trust_logic import GatePolicy
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_oracles import FILTERS, KEY

pytestmark = pytest.mark.database
NAMES = [f"pkg:npm/p{number}@1" for number in range(6)]
EDGES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=6)
DOCUMENTS = st.lists(st.tuples(EDGES, st.integers(0, 3), st.booleans()), min_size=1, max_size=3)
Ask = Callable[[], Any]
_worlds = 0


def claims(tenant: str, number: int, edges: list[tuple[str, str]], classification: int, *, alias: bool) -> Claims:
    nodes = tuple(Node(name, Kind.BUNDLE if name == NAMES[0] else Kind.PACKAGE) for name in NAMES)  # type: ignore[arg-type]
    return Claims(
        document=sha256_digest(f"{tenant}{number}{edges}{classification}{alias}".encode()),
        name="x",
        format="x",
        nodes=nodes,
        edges=tuple(Edge(a, b, EdgeType.USES) for a, b in edges),  # type: ignore[arg-type]
        aliases=(Alias(NAMES[5], NAMES[1]),) if alias else (),  # type: ignore[arg-type]
        classification=classification,
    )


def questions(store: GraphStore, tenant: TenantId, allowed: Filter) -> list[Ask]:
    one, other = NAMES[0], NAMES[3]
    asked: list[Ask] = []
    for name in (*NAMES, "pkg:npm/never@1"):
        for limit in (1, 500):
            query = GraphQuery(name, 5, "both", limit=limit, resolve="claimed")  # type: ignore[arg-type]
            asked.append(lambda query=query: graph_answer(store, tenant, query, allowed, KEY))
        asked.append(lambda name=name: impact_answer(store, tenant, ImpactQuery(name, limit=2), allowed, KEY))
    svg = GraphQuery(one, 3, evidence=True)  # type: ignore[arg-type]
    asked += [
        lambda: graph_answer(store, tenant, svg, allowed, KEY, form=Form.SVG),
        lambda: paths_answer(store, tenant, PathQuery(one, other), allowed),  # type: ignore[arg-type]
        lambda: diff_answer(store, tenant, DiffQuery(one, other), allowed),  # type: ignore[arg-type]
        lambda: gaps_answer(store, tenant, GapQuery(), allowed),
        lambda: gate_answer(store, tenant, BundleQuery(one), allowed, GatePolicy())[0],  # type: ignore[arg-type]
    ]
    return asked


def observe(store: GraphStore, tenant: TenantId, allowed: Filter) -> list[Any]:
    seen: list[Any] = []
    for ask in questions(store, tenant, allowed):
        try:
            answer = ask()
        except MaestroError as error:
            seen.append(error.problem())
        else:
            seen.append((answer.body, answer.etag, answer.cursor, answer.nodes, answer.edges, answer.complete))
    return seen


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS, FILTERS)
def test_no_byte_tells_what_another_tenant_holds(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, mine: Any, theirs: Any, shared: Any, allowed: Filter
) -> None:
    global _worlds  # noqa: PLW0603 - tenants of their own for each world, in one database
    _worlds += 1
    us, them = TenantId(f"us{_worlds}"), TenantId(f"them{_worlds}")
    store = GraphStore(database.app, tmp_path, clock, refresh_seconds=0)

    def record(tenant: TenantId, documents: Any) -> list[str]:
        batch = [claims(tenant, place, *rest, alias=alias) for place, (*rest, alias) in enumerate(documents)]
        done = ingest_many(database.app, tenant, batch, clock=clock, operator=tenant == PUBLIC)
        return [each.status for each in done]

    record(PUBLIC, shared)
    record(us, mine)
    before = observe(store, us, allowed)
    assert "known" not in record(them, theirs) or len(theirs) > 1, "ingest does not tell whether others have it"
    assert observe(store, us, allowed) == before
    for tenant in (them, us, PUBLIC):
        build_generation(database.app, tmp_path, tenant, clock=clock)
    assert observe(store, us, allowed) == before
