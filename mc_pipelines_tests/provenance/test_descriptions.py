"""What a node is called in answers: the best that any document says which this reader may see, and nothing else."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import log_reader
from mc_pipelines.provenance.access import EVERYTHING, Filter
from mc_pipelines.provenance.cold import Archive
from mc_pipelines.provenance.edge_log import ingest_many
from mc_pipelines.provenance.gaps import gaps_answer
from mc_pipelines.provenance.generations import build_generation
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.location import Opened, describe, open_view
from mc_pipelines.provenance.model import KIND_CODE, PUBLIC, Claims, Edge, EdgeType, Kind, Node
from mc_pipelines.provenance.pruning import prune
from mc_pipelines.provenance.rank import KIND_OF, ORDER_OF, ORDERS, rank_of
from mc_pipelines.provenance.request import GapQuery, GraphQuery
from mc_pipelines.provenance.restoring import restore
from mc_pipelines.provenance.retention import Rule, Selects
from mc_pipelines.provenance.root_hash import root_hash
from mc_pipelines.provenance.roots import Reason, keep_root
from mc_pipelines.provenance.seen import seen_kinds
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME
from mc_pipelines_tests.provenance.test_oracles import FILTERS
from mc_pipelines_tests.provenance.test_query import ask, names, purl, store_of
from mc_pipelines_tests.provenance.test_retention import archive

__all__ = ["archive"]  # a fixture
_worlds = 0
NUMBERS = range(4)
_DAY = timedelta(days=1)
SAID = st.tuples(
    st.sampled_from([Kind.MANIFEST, Kind.PACKAGE, Kind.BUNDLE]),
    st.sampled_from([None, "one", "two"]),
    st.booleans(),
    st.sampled_from([None, {"a": 1}, {"a": 1, "b": "x" * 9}]),
)
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "says": st.dictionaries(st.sampled_from(NUMBERS), SAID, min_size=1),
            "edge": st.booleans(),
            "classification": st.integers(0, 2),
            "valid_from": st.none() | st.integers(-3, 2),
            "valid_to": st.none() | st.integers(3, 5),
            "series": st.none() | st.sampled_from(["s", "t"]),
            "low_value": st.booleans(),
        }
    ),
    min_size=1,
    max_size=8,
)


def claims_of(world: int, number: int, given: dict[str, Any], now: datetime) -> Claims:
    """A document about the nodes of one world, edges between them only if it says so."""
    nodes = tuple(
        Node(NodeId(f"pkg:npm/w{world}n{place}@1"), kind, label, stub, facts)
        for place, (kind, label, stub, facts) in given["says"].items()
    )
    ends = given["valid_to"]
    return Claims(
        document=sha256_digest(f"{world} {number} {given}".encode()),
        name="x",
        format="x",
        nodes=nodes,
        edges=tuple(Edge(nodes[0].id, each.id, EdgeType.USES) for each in nodes[1:]) if given["edge"] else (),
        classification=given["classification"],
        valid_from=None if given["valid_from"] is None else now + given["valid_from"] * _DAY,
        valid_to=None if ends is None else now + ends * _DAY,
        series=given["series"] and f"{world}{given['series']}",
        version=number,
        low_value=given["low_value"],
    )


@pytest.mark.database
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS, DOCUMENTS, st.integers(1, 4), st.sets(st.integers(0, 8)), FILTERS | st.just(EVERYTHING), st.data())
def test_answers_say_the_best_that_may_be_seen(  # noqa: PLR0917 - fixtures and what is drawn
    database: TestDatabase,
    clock: FrozenClock,
    tmp_path: Path,
    own: list[dict[str, Any]],
    shared: list[dict[str, Any]],
    size: int,
    builds: set[int],
    allowed: Filter,
    data: st.DataObject,
) -> None:
    global _worlds  # noqa: PLW0603 - names of their own for each world, in one database
    _worlds += 1
    now, tenant, store = clock.now(), TenantId(f"t{_worlds}"), GraphStore(database.app, tmp_path, clock)
    told: list[tuple[TenantId, int, Claims]] = []
    moments = []
    batches = {
        owner: [claims_of(_worlds, at, each, now) for at, each in enumerate(given)]
        for owner, given in ((tenant, own), (PUBLIC, shared))
    }
    for at in range(0, 8, size):
        for owner, documents in batches.items():
            if batch := documents[at : at + size]:
                done = ingest_many(database.app, owner, batch, clock=clock, operator=True)
                told += [(owner, one.seq or 0, each) for one, each in zip(done, batch, strict=True)]
            if at in builds:
                build_generation(database.app, tmp_path, owner, clock=clock)
        moments.append(clock.now())
        clock.advance(timedelta(minutes=1))
    scope = {
        "as_of": data.draw(st.none() | st.integers(-4, 6).map(lambda day: now + day * _DAY)),
        "known_at": data.draw(st.none() | st.sampled_from(moments)),
    }
    for built in (False, True):
        if built:
            for owner in batches:
                build_generation(database.app, tmp_path, owner, clock=clock, whole=data.draw(st.booleans()))
        store.forget(tenant)
        query = GraphQuery(NodeId("pkg:npm/x@1"), **scope)
        check(open_view(store, tenant, query, allowed), told)
    other = TenantId(f"other{_worlds}")
    for each in data.draw(st.permutations(batches[tenant])):
        ingest_many(database.app, other, [each], clock=clock)
    with database.app.begin(tenant=tenant) as connection:
        roots = [root_hash(connection, tenant)]
    with database.app.begin(tenant=other) as connection:
        roots.append(root_hash(connection, other))
    assert roots[0] == roots[1], "whatever the order and the batches"


def check(opened: Opened, told: list[tuple[TenantId, int, Claims]]) -> None:
    """Compare with all descriptions of all documents that may be seen."""
    best: dict[str, Node] = {}
    for owner, seq, document in told:
        if opened.may_read(owner, seq):
            for node in document.nodes:
                best[node.id] = max(best.get(node.id, node), node, key=rank_of)
    said = describe(opened, list(best))
    numbers = np.array([opened.snapshot.find(each) for each in best], dtype=np.int64)
    assert (numbers >= 0).all()
    kinds = seen_kinds(opened.snapshot, numbers, opened.view.visible).tolist()
    for (identifier, node), kind in zip(best.items(), kinds, strict=True):
        assert kind == KIND_CODE[node.kind] | node.stub << 3, identifier
        assert (said[identifier].label, said[identifier].attributes) == (node.label, node.attributes), identifier


def test_orders_are_those_of_ranks() -> None:
    for kind in Kind:
        for stub in (False, True):
            node = Node(NodeId("sha256:" + "a" * 64), kind, "x", stub, {"a": 1})
            code = KIND_CODE[kind] | stub << 3
            assert ORDER_OF[code] == rank_of(node) >> 59 < ORDERS
            assert KIND_OF[ORDER_OF[code]] == code


def described(name: str, kind: Kind, needs: str, *, stub: bool = False, **more: Any) -> Claims:
    """A document that calls ``app`` something and lets it use a package."""
    node = Node(NodeId(purl("app")), kind, None if stub else f"{name} app", stub, None if stub else {"by": name})
    return Claims(
        document=sha256_digest(name.encode()),
        name=name,
        format="x",
        nodes=(node, Node(NodeId(purl(needs)), Kind.PACKAGE, stub=True)),
        edges=(Edge(node.id, NodeId(purl(needs)), EdgeType.USES),),
        **more,
    )


def app_in(store: GraphStore, **query: Any) -> dict[str, Any]:
    allowed = query.pop("allowed", EVERYTHING)
    body = ask(store, GraphQuery(NodeId(purl("app")), evidence=True, **query), allowed=allowed)
    return {name: body["nodes"][0].get(name) for name in ("kind", "stub", "label", "attributes")}


@pytest.mark.database
def test_a_mention_of_ones_own_hides_no_shared_description(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    store = store_of(database, tmp_path, clock)
    ingest_many(database.app, ACME, [described("own", Kind.PACKAGE, "a", stub=True)], clock=clock)
    mention = {"kind": "package", "stub": True, "label": None, "attributes": None}
    assert app_in(store) == mention
    public = described("public", Kind.BUNDLE, "b", classification=1)
    ingest_many(database.app, PUBLIC, [public], clock=clock, operator=True)
    shared = {"kind": "bundle", "stub": None, "label": "public app", "attributes": {"by": "public"}}
    open_only = Filter(0, EVERYTHING.purposes, EVERYTHING.statuses, EVERYTHING.policy)
    for built in (False, True):
        if built:
            for tenant in (ACME, PUBLIC):
                build_generation(database.app, tmp_path, tenant, clock=clock)
        assert app_in(store) == shared
        assert app_in(store, allowed=open_only) == mention
        body = ask(store, GraphQuery(NodeId(purl("a")), kinds=1 << KIND_CODE["bundle"]))
        assert names(body) == ["a", "app"]
        body = ask(store, GraphQuery(NodeId(purl("a")), kinds=1 << KIND_CODE["bundle"]), allowed=open_only)
        assert names(body) == ["a"]


@pytest.mark.database
def test_what_was_not_known_yet_describes_nothing(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    store = store_of(database, tmp_path, clock)
    for number, kind in enumerate((Kind.PACKAGE, Kind.MANIFEST, Kind.BUNDLE)):
        clock.advance(_DAY)
        ingest_many(database.app, ACME, [described(f"d{number}", kind, "a")], clock=clock)
    for ago, kind in enumerate(("bundle", "manifest", "package")):
        moment = clock.now() - ago * _DAY
        assert app_in(store, known_at=moment)["kind"] == kind
        assert app_in(store, as_of=moment)["label"] == f"d{2 - ago} app"


@pytest.mark.database
def test_a_live_bundle_that_only_hidden_documents_name_is_no_gap(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    store = store_of(database, tmp_path, clock)
    ingest_many(database.app, ACME, [described("secret", Kind.BUNDLE, "a", classification=3)], clock=clock)
    with database.app.begin(tenant=ACME) as connection:
        keep_root(connection, ACME, purl("app"), Reason.LIVE, by="test", now=clock.now())
    found = {}
    for clearance in (2, 3):
        allowed = Filter(clearance, EVERYTHING.purposes, EVERYTHING.statuses, EVERYTHING.policy)
        body = json.loads(gaps_answer(store, ACME, GapQuery(), allowed).body)
        found[clearance] = (body["counts"], body["considered"]["of"])
    assert found == {2: ({}, 0), 3: ({"unverified": 1, "stub": 1}, 1)}


@pytest.mark.database
def test_a_hub_costs_what_is_new_of_it(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents that may end keep a row each; a service reads those of a node once, when it turns out to be several."""
    read: list[int] = []
    by_key = log_reader.read_descriptions_by_key

    def counted(*arguments: Any, **more: Any) -> log_reader.Descriptions:
        found = by_key(*arguments, **more)
        read.append(len(found.seq))
        return found

    monkeypatch.setattr(log_reader, "read_descriptions_by_key", counted)
    store = store_of(database, tmp_path, clock)

    def record(number: int, kind: Kind) -> None:
        given = described(f"d{number}", kind, "a", series=f"s{number}", version=1)
        ingest_many(database.app, ACME, [given], clock=clock)
        app_in(store)

    for number in range(20):
        record(number, Kind.PACKAGE)
    assert read == []
    record(20, Kind.BUNDLE)
    assert read == [21]
    record(21, Kind.MANIFEST)
    assert read == [21]
    assert app_in(store)["kind"] == "bundle"


_KEPT = text(
    "select seq, label from provenance_nodes where id = :id union all"
    " select said.seq, said.label from provenance_descriptions as said"
    " join provenance_nodes as named using (tenant, node) where id = :id order by seq"
)


@pytest.mark.database
def test_what_a_removed_document_said_goes_and_comes_back(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, archive: Archive
) -> None:
    """Two documents call ``app`` the same, a third less; the first leaves, then the second, then both are back."""
    store = store_of(database, tmp_path, clock)
    rules = (Rule(Selects.LOW_VALUE, 30),)
    first = described("same", Kind.BUNDLE, "a", low_value=True)
    for document in (
        first,
        msgspec.structs.replace(first, document=sha256_digest(b"again")),
        described("less", Kind.PACKAGE, "a", stub=True),
    ):
        ingest_many(database.app, ACME, [document], clock=clock)
        clock.advance(_DAY)

    def root() -> str:
        with database.app.begin(tenant=ACME) as connection:
            return root_hash(connection, ACME)

    def kept() -> list[tuple[int, str | None]]:
        with database.app.begin(tenant=ACME) as connection:
            rows = connection.execute(_KEPT, {"id": purl("app")}).all()
        return [(row.seq, row.label) for row in rows]

    same = {"kind": "bundle", "stub": None, "label": "same app", "attributes": {"by": "same"}}
    mention = {"kind": "package", "stub": True, "label": None, "attributes": None}
    whole = root()
    assert kept() == [(1, "same app"), (2, None), (3, None)]
    clock.advance(timedelta(days=27))
    assert len(prune(database.app, ACME, archive=archive, clock=clock, rules=rules).pruned) == 1
    assert kept() == [(0, "same app"), (2, None), (3, None)], "another document says the same"
    assert app_in(store) == same
    clock.advance(_DAY)
    assert len(prune(database.app, ACME, archive=archive, clock=clock, rules=rules).pruned) == 1
    assert kept() == [(0, None), (3, None)], "what nobody says any more is gone"
    for built in (False, True):
        if built:
            build_generation(database.app, tmp_path, ACME, clock=clock)
        assert app_in(store) == mention
    for document in ("same", "again"):
        restore(database.app, ACME, sha256_digest(document.encode()), archive=archive, clock=clock)
        for built in (False, True):
            if built:
                build_generation(database.app, tmp_path, ACME, clock=clock)
            assert app_in(store) == same
    assert root() == whole


@pytest.mark.database
def test_of_many_descriptions_the_best_visible_one_is_found(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    store = store_of(database, tmp_path, clock)
    documents = [described("open", Kind.PACKAGE, "a", stub=True)]
    documents += [described(f"secret {n}", Kind.BUNDLE, "a", classification=3, series=f"s{n}") for n in range(90)]
    documents.insert(40, described("public", Kind.MANIFEST, "a"))
    ingest_many(database.app, ACME, documents, clock=clock)
    allowed = Filter(2, EVERYTHING.purposes, EVERYTHING.statuses, EVERYTHING.policy)
    assert app_in(store, allowed=allowed)["label"] == "public app"
    assert app_in(store)["label"].startswith("secret")
