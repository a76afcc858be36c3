"""A subgraph over the real log: read your writes, pages, time travel, clearance, and two worlds that look alike."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from mc_pipelines.decision.packs import load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import NotFoundError, UnavailableError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import impact
from mc_pipelines.provenance.access import EVERYTHING, Reader, decide
from mc_pipelines.provenance.cone import cone, cone_nodes
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.edge_log import ingest_claims, ingest_many
from mc_pipelines.provenance.generations import build_generation, check_structure
from mc_pipelines.provenance.identity import package_id
from mc_pipelines.provenance.model import PUBLIC, Claims, Edge, EdgeType, Kind, Node, Purpose
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import GraphQuery, ImpactQuery, QueryError, parse_query
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, BOLT, sbom

pytestmark = pytest.mark.database
KEY = CursorKey(b"secret")
SCHEMA = json.loads((Path(__file__).parents[2] / "docs/provenance/GRAPH.schema.json").read_text())


def purl(name: str) -> str:
    return package_id(f"pkg:deb/debian/{name}")


def ask(store: GraphStore, query: GraphQuery, tenant: TenantId = ACME, allowed=EVERYTHING) -> dict:
    answer = graph_answer(store, tenant, query, allowed, KEY)
    body = json.loads(answer.body)
    jsonschema.validate(body, SCHEMA)
    return body


def names(body: dict) -> list[str]:
    return [node["id"].removeprefix("pkg:deb/debian/") for node in body["nodes"]]


def store_of(database: TestDatabase, folder: Path, clock: FrozenClock) -> GraphStore:
    return GraphStore(database.app, folder, clock, refresh_seconds=0)


def test_the_seam(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    store = store_of(database, tmp_path, clock)
    first = ingest_claims(database.app, ACME, sbom("one", {"app": ["libc6", "zlib1g"]}), clock=clock)
    query = GraphQuery(purl("app"), min_seq=first.seq or 0)
    before = ask(store, query)
    assert names(before) == ["app", "zlib1g", "libc6"]
    assert {(edge["from"], edge["to"], edge["type"]) for edge in before["edges"]} == {
        (purl("app"), purl("libc6"), "uses"),
        (purl("app"), purl("zlib1g"), "uses"),
    }
    assert before["complete"]
    generation = build_generation(database.app, tmp_path, ACME, clock=clock)
    check_structure(tmp_path / generation.path)
    assert ask(store, query) == before
    second = ingest_claims(database.app, ACME, sbom("two", {"zlib1g": ["libc6", "new"]}), clock=clock)
    after = ask(store, GraphQuery(purl("app"), min_seq=second.seq or 0))
    assert names(after) == ["app", "zlib1g", "libc6", "new"]
    assert [node.get("stub", False) for node in after["nodes"]] == [False, False, True, True]


def test_unknown_foreign_and_future_are_refused_alike(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    store = store_of(database, tmp_path, clock)
    ingest_claims(database.app, ACME, sbom("a", {"mine": ["x"], "alone": []}), clock=clock)
    ingest_claims(database.app, BOLT, sbom("b", {"theirs": ["x"]}), clock=clock)
    errors = []
    for name in ("theirs", "never"):
        with pytest.raises(NotFoundError) as refused:
            ask(store, GraphQuery(purl(name)))
        errors.append(refused.value.problem())
    assert errors[0] == errors[1]
    assert names(ask(store, GraphQuery(purl("alone")))) == ["alone"]
    with pytest.raises(QueryError):
        graph_answer(store, ACME, GraphQuery(purl("mine"), cursor="AAAA"), EVERYTHING, KEY)


def test_pages_join_to_the_whole_across_ingest_and_compaction(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    chance = random.Random(5)  # noqa: S311 - a seeded graph, not a secret  # noqa: S311
    store = store_of(database, tmp_path, clock)
    ingest_claims(
        database.app, PUBLIC, sbom("pub", {f"p{n}": [f"p{n + 1}"] for n in range(20)}), clock=clock, operator=True
    )
    for number in range(6):
        needs = {f"p{chance.randrange(40)}": [f"p{chance.randrange(40)}" for _ in range(5)] for _ in range(8)}
        ingest_claims(database.app, ACME, sbom(f"d{number}", needs | {"root": ["p1", "p2", "p3"]}), clock=clock)
    query = GraphQuery(purl("root"), depth=5, direction="both", limit=4)
    whole = ask(store, GraphQuery(purl("root"), depth=5, direction="both", limit=500))
    assert len(whole["nodes"]) > 15
    nodes, edges, cursor, pages = [], [], None, 0
    while True:
        answer = graph_answer(store, ACME, GraphQuery(purl("root"), 5, "both", limit=4, cursor=cursor), EVERYTHING, KEY)
        page = json.loads(answer.body)
        nodes += page["nodes"]
        edges += page["edges"]
        seen = {node["id"] for node in nodes}
        assert all(edge["from"] in seen and edge["to"] in seen for edge in page["edges"])
        pages += 1
        if answer.cursor is None:
            break
        cursor = answer.cursor
        if pages == 1:
            ingest_claims(database.app, ACME, sbom("late", {"root": ["p9", "later"], "p1": ["p30"]}), clock=clock)
        if pages == 2:
            build_generation(database.app, tmp_path, ACME, clock=clock)
            build_generation(database.app, tmp_path, PUBLIC, clock=clock)
        if pages == 3:
            ingest_claims(database.app, ACME, sbom("later", {"p5": ["p6"], "p15": ["root"]}), clock=clock)
    assert nodes == whole["nodes"]
    assert edges == whole["edges"]
    assert query.limit == 4


def test_time_travel(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    store = store_of(database, tmp_path, clock)
    start = clock.now()
    ingest_claims(
        database.app, ACME, sbom("v1", {"app": ["old"]}, series="s", version=1, valid_from=start), clock=clock
    )
    switch = clock.advance(timedelta(days=10))
    clock.advance(timedelta(days=5))
    ingest_claims(
        database.app, ACME, sbom("v2", {"app": ["new"]}, series="s", version=2, valid_from=switch), clock=clock
    )
    learnt = clock.now()
    clock.advance(timedelta(days=1))
    for build in (False, True):
        if build:
            build_generation(database.app, tmp_path, ACME, clock=clock)
        root = purl("app")
        assert names(ask(store, GraphQuery(root))) == ["app", "new"]
        assert names(ask(store, GraphQuery(root, as_of=switch - timedelta(days=1)))) == ["app", "old"]
        assert names(ask(store, GraphQuery(root, as_of=switch))) == ["app", "new"]
        before = learnt - timedelta(seconds=1)
        assert names(ask(store, GraphQuery(root, known_at=before))) == ["app", "old"]
        with pytest.raises(NotFoundError):
            ask(store, GraphQuery(root, as_of=start - timedelta(seconds=1)))


def test_clearance_and_purpose_hide_claims_within_a_tenant(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    store = store_of(database, tmp_path, clock)
    ingest_many(
        database.app,
        ACME,
        [
            sbom("open", {"a": ["b"]}),
            sbom("secret", {"b": ["c"], "hidden": ["a"]}, classification=3),
            sbom("money", {"a": ["d"]}, purposes=frozenset({Purpose.FINANCE})),
        ],
        clock=clock,
    )
    pack = load_pack("graph")
    engine = RegorusEngine(pack)

    def reader(roles: set[str], clearance: int, purpose: Purpose) -> dict:
        allowed = decide(engine, pack.revision, Reader(ACME, frozenset(roles), clearance, purpose))
        return ask(store, GraphQuery(purl("a"), depth=5), allowed=allowed)

    assert names(reader({"tenant-reader"}, 2, Purpose.SECURITY)) == ["a", "b"]
    assert set(names(reader({"auditor"}, 3, Purpose.FINANCE))) == {"a", "b", "c", "d", "hidden"}
    assert set(names(reader({"auditor"}, 3, Purpose.AUDIT))) == {"a", "b", "c", "hidden"}
    with pytest.raises(NotFoundError):
        reader(set(), 3, Purpose.AUDIT)


def test_the_policy_failing_closes_the_graph() -> None:
    class Broken:
        name = "broken"

        def evaluate(self, query: str, input_document: object):  # noqa: ARG002  # noqa: ARG002
            from mc_pipelines.decision.engine import Verdict

            return Verdict(None, "engine on fire") if query else None

    with pytest.raises(UnavailableError):
        decide(Broken(), sha256_digest(b""), Reader(ACME, frozenset({"auditor"})))  # type: ignore[arg-type]


def test_two_worlds_look_alike_to_a_tenant(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    """Whatever another tenant holds, the bytes this tenant gets are the same: bodies, ETags, cursors, errors."""

    def observe(folder: Path) -> list[object]:
        store = store_of(database, folder, clock)
        seen: list[object] = []
        for name in ("app", "libc6", "zlib1g", "theirs", "never"):
            for direction in ("ancestors", "descendants", "both", "undirected"):
                for limit in (1, 2, 500):
                    try:
                        answer = graph_answer(
                            store, ACME, GraphQuery(purl(name), 5, direction, limit=limit), EVERYTHING, KEY
                        )
                        seen.append((answer.body, answer.etag, answer.cursor))
                    except NotFoundError as error:
                        seen.append(error.problem())
        return seen

    ingest_claims(database.app, PUBLIC, sbom("pub", {"libc6": ["gcc"]}), clock=clock, operator=True)
    ingest_claims(database.app, ACME, sbom("mine", {"app": ["libc6"], "libc6": ["zlib1g"]}), clock=clock)
    one = observe(tmp_path / "one")
    results = [
        ingest_claims(
            database.app, BOLT, sbom("forged", {"libc6": ["theirs"], "theirs": ["app"], "zlib1g": ["x"]}), clock=clock
        ),
        ingest_claims(database.app, BOLT, sbom("mine", {"app": ["libc6"], "libc6": ["zlib1g"]}), clock=clock),
    ]
    build_generation(database.app, tmp_path / "two", BOLT, clock=clock)
    assert [each.status for each in results] == ["accepted", "accepted"]
    assert observe(tmp_path / "two") == one


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"node": "nothing"},
        {"node": "pkg:broken"},
        {"node": "run:a/b", "depth": "0"},
        {"node": "run:a/b", "depth": "6"},
        {"node": "run:a/b", "depth": "2.0"},
        {"node": "run:a/b", "depth": "٣"},
        {"node": "run:a/b", "depth": "NaN"},
        {"node": "run:a/b", "direction": "up"},
        {"node": "run:a/b", "kinds": "package,thing"},
        {"node": "run:a/b", "asOf": "2026-01-01T00:00:00"},
        {"node": "run:a/b", "tenant": "bolt"},
        {"node": "run:a/b", "limit": "5001"},
    ],
)
def test_queries_that_mean_nothing_are_refused_by_name(given: dict[str, str]) -> None:
    with pytest.raises(QueryError) as refused:
        parse_query(given)
    assert refused.value.status == 400
    assert refused.value.field


def test_a_claim_counts_once_however_often_it_is_made(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    store = store_of(database, tmp_path, clock)
    run = Node("run:ci/1", Kind.EXECUTION)  # type: ignore[arg-type]
    out = Node(package_id("pkg:npm/a@1"), Kind.PACKAGE)
    for number in range(4):
        claims = Claims(
            document=sha256_digest(b"%d" % number),
            name="x",
            format="x",
            nodes=(run, out),
            edges=(Edge(run.id, out.id, EdgeType.PRODUCES), Edge(run.id, out.id, EdgeType.USES)),
            series="s" if number % 2 else None,
            version=number,
        )
        ingest_claims(database.app, ACME, claims, clock=clock)
    assert len(ask(store, GraphQuery(run.id))["edges"]) == 2
    build_generation(database.app, tmp_path, ACME, clock=clock)
    assert len(ask(store, GraphQuery(run.id))["edges"]) == 2


def test_pages_of_an_impact_count_what_is_affected_once(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page counts; the second walks everything; those after it are cut from that walk."""
    counted, walked = [], []
    monkeypatch.setattr(impact, "cone_nodes", lambda *given, **more: counted.append(1) or cone_nodes(*given, **more))
    monkeypatch.setattr(impact, "cone", lambda *given, **more: walked.append(1) or cone(*given, **more))
    store = store_of(database, tmp_path, clock)
    ingest_claims(database.app, ACME, sbom("hub", {f"p{n}": ["libc6"] for n in range(20)}), clock=clock)
    pages, cursor = [], None
    while True:
        query = ImpactQuery(purl("libc6"), limit=4, cursor=cursor)
        answer = impact.impact_answer(store, ACME, query, EVERYTHING, KEY)
        pages.append(json.loads(answer.body))
        cursor = answer.cursor
        if cursor is None:
            break
    assert len(pages) == 6
    assert (len(counted), len(walked)) == (1, 1)
    assert {page["counts"]["total"]["package"] for page in pages} == {20}
    assert len({node["id"] for page in pages for node in page["nodes"]}) == 21
    ingest_claims(database.app, ACME, sbom("more", {"p20": ["libc6"]}), clock=clock)
    newest = json.loads(impact.impact_answer(store, ACME, ImpactQuery(purl("libc6")), EVERYTHING, KEY).body)
    assert newest["counts"]["total"] == {"package": 21}
