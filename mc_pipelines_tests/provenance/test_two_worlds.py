"""Two worlds that differ in what a reader may not see only: random graphs and filters, every question, every byte.

Bodies, tags, cursors, counts and errors of one tenant are compared before and after another tenant recorded documents
about the same content, and after generations were built of all. Within a tenant, a document that is above the reader's
clearance, not yet valid, not yet known or no longer valid is compared with one that says nothing of the matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
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
from mc_pipelines.provenance.model import KIND_CODE, PUBLIC, Alias, Claims, Edge, EdgeType, Kind, Node
from mc_pipelines.provenance.paths import paths_answer
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import (
    BundleQuery,
    DiffQuery,
    GapQuery,
    GraphQuery,
    ImpactQuery,
    PathQuery,
)
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.trust_logic import GatePolicy
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_oracles import EVERYTHING, FILTERS, KEY

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


def questions(store: GraphStore, tenant: TenantId, allowed: Filter, **scope: Any) -> list[Ask]:
    one, other = NAMES[0], NAMES[3]
    asked: list[Ask] = []

    def at(query: Any) -> Any:
        return replace(query, **scope)

    for name in (*NAMES, "pkg:npm/never@1"):
        queries = [GraphQuery(name, 5, "both", limit=limit, resolve="claimed") for limit in (1, 500)]  # type: ignore[arg-type]
        queries.append(GraphQuery(name, 5, kinds=1 << KIND_CODE["bundle"]))  # type: ignore[arg-type]
        queries.append(GraphQuery(name, 2, evidence=True))  # type: ignore[arg-type]
        asked += [lambda query=query: graph_answer(store, tenant, at(query), allowed, KEY) for query in queries]
        asked.append(lambda name=name: impact_answer(store, tenant, at(ImpactQuery(name, limit=2)), allowed, KEY))
    svg = GraphQuery(one, 3, evidence=True)  # type: ignore[arg-type]
    asked += [
        lambda: graph_answer(store, tenant, at(svg), allowed, KEY, form=Form.SVG),
        lambda: paths_answer(store, tenant, at(PathQuery(one, other)), allowed),  # type: ignore[arg-type]
        lambda: diff_answer(store, tenant, at(DiffQuery(one, other)), allowed),  # type: ignore[arg-type]
        lambda: gaps_answer(store, tenant, at(GapQuery()), allowed),
        lambda: gate_answer(store, tenant, at(BundleQuery(one)), allowed, GatePolicy())[0],  # type: ignore[arg-type]
    ]
    return asked


def observe(store: GraphStore, tenant: TenantId, allowed: Filter, **scope: Any) -> list[Any]:
    seen: list[Any] = []
    for ask in questions(store, tenant, allowed, **scope):
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


def bundle(about: list[str], **more: Any) -> Claims:
    """A document that calls every other node a bundle, with a label and facts, and lets it stand on the next."""
    nodes = tuple(
        Node(name, Kind.BUNDLE, "release", place % 2 == 1, {"owner": "x"})  # type: ignore[arg-type]
        for place, name in enumerate(about)
    )
    edges = tuple(Edge(a.id, b.id, EdgeType.USES) for a, b in pairwise(nodes))
    document = sha256_digest(f"bundle{about}".encode())
    return Claims(document=document, name="x", format="x", nodes=nodes, edges=edges, **more)


def without_cursors(seen: list[Any]) -> list[Any]:
    """What a reader sees but for tags and cursors, which are bound to the tenant."""
    return [
        each if isinstance(each, dict) else (re.sub(rb'"cursor":"[^"]*"', b"", each[0]), each[2] is None, *each[3:])
        for each in seen
    ]


MARKINGS: dict[str, dict[str, Any]] = {
    "clearance": {"classification": 3},
    "as of": {"valid_from": datetime(2031, 1, 1, tzinfo=UTC)},
    "known at": {},
    "superseded": {"series": "s", "version": 1},
}
"""Why a reader may not see a document."""


@pytest.mark.parametrize("why", MARKINGS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS, DOCUMENTS, st.sets(st.sampled_from(NAMES), min_size=2), st.booleans())
def test_no_byte_tells_what_a_hidden_document_calls_a_node(
    database: TestDatabase,
    clock: FrozenClock,
    tmp_path: Path,
    why: str,
    mine: Any,
    shared: Any,
    about: set[str],
    built: bool,
) -> None:
    global _worlds  # noqa: PLW0603 - tenants of their own for each world, in one database
    _worlds += 1
    store = GraphStore(database.app, tmp_path, clock, refresh_seconds=0)
    tenants = TenantId(f"with{_worlds}"), TenantId(f"without{_worlds}")

    def record(first: list[Claims], second: list[Claims]) -> None:
        clock.advance(timedelta(seconds=1))
        for tenant, batch in zip(tenants, (first, second), strict=True):
            ingest_many(database.app, tenant, batch, clock=clock)
            if built:
                build_generation(database.app, tmp_path, tenant, clock=clock)

    public = [claims(f"public{_worlds}", place, *rest, alias=alias) for place, (*rest, alias) in enumerate(shared)]
    ingest_many(database.app, PUBLIC, public, clock=clock, operator=True)
    both = [claims("one", place, edges, 0, alias=alias) for place, (edges, _, alias) in enumerate(mine)]
    record(both, both)
    scope = {"known_at": clock.now()} if why == "known at" else {}
    record([bundle(sorted(about), **MARKINGS[why])], [bundle(["pkg:npm/x@1", "pkg:npm/y@1"], **MARKINGS[why])])
    record(*[[bundle(["pkg:npm/v@1", "pkg:npm/w@1"], series="s", version=2)]] * 2)
    allowed = replace(EVERYTHING, maximum_classification=2 if why == "clearance" else 3)
    with_it, without_it = (without_cursors(observe(store, tenant, allowed, **scope)) for tenant in tenants)
    for one, other in zip(with_it, without_it, strict=True):
        assert one == other
    if why != "superseded":
        seen = without_cursors(observe(store, tenants[0], EVERYTHING, as_of=datetime(2032, 1, 1, tzinfo=UTC)))
        assert seen != with_it, "who may see the document sees what it says"
