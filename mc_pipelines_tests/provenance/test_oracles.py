"""Every kind of question against brute force over sets of edges: random graphs, random filters, random compaction.

The oracle deletes what the filter hides before it looks, so these tests also say that a path through a hidden claim
is no path, that counts never count one, and that nothing hidden can be asked for.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import networkx as nx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.diff import diff_answer
from mc_pipelines.provenance.formats import Form
from mc_pipelines.provenance.gaps import gaps_answer
from mc_pipelines.provenance.impact import impact_answer
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS, Purpose, VerificationStatus
from mc_pipelines.provenance.paths import paths_answer
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import DiffQuery, GapQuery, GraphQuery, ImpactQuery, PathQuery
from mc_pipelines.provenance.snapshot import take_snapshot
from mc_pipelines_tests.provenance.memory_store import MemoryStore
from mc_pipelines_tests.provenance.small_graphs import IDS, Document, partition, seen_kinds_by_force

ACME = TenantId("acme")
KEY = CursorKey(b"secret")
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs/provenance/GRAPH.schema.json").read_text())
)
ENDS = st.integers(0, len(IDS) - 1)
DOCUMENTS = st.lists(
    st.builds(
        Document,
        edges=st.lists(st.tuples(ENDS, ENDS, st.integers(0, 3)), max_size=14).map(tuple),
        label=st.integers(0, 511),
        permanent=st.booleans(),
        says=st.dictionaries(ENDS, st.sampled_from([0, 1, 3, 4, 9, 12]), max_size=6).map(lambda says: (*says.items(),)),
    ),
    min_size=1,
    max_size=6,
)
FILTERS = st.builds(
    Filter,
    st.integers(-1, 3),
    st.frozensets(st.sampled_from(list(Purpose))),
    st.frozensets(st.sampled_from(list(VerificationStatus)), min_size=3),
    st.just(Digest("sha256:" + "1" * 64)),
)
EVERYTHING = Filter(3, frozenset(Purpose), frozenset(VerificationStatus), Digest("sha256:" + "0" * 64))
Edges = set[tuple[int, int, int]]


class World:
    """A tenant's documents and shared ones, part compacted, part added; and what a filter leaves of their edges."""

    def __init__(self, own: list[Document], shared: list[Document], compacted: int, allowed: Filter) -> None:
        with TemporaryDirectory() as name:  # a mapped file stays readable after it is unlinked
            folder = Path(name)
            mine = partition(own, folder, compacted=min(compacted, len(own)), steps=(compacted + 1,))
            theirs = partition(shared, folder, compacted=len(shared) // 2, tenant="public")
        self.snapshot = take_snapshot(mine, theirs)
        self.store: Any = MemoryStore(self.snapshot)
        self.allowed = allowed
        self.edges: Edges = {
            edge for document in (*own, *shared) if allowed.allowed[document.label] for edge in document.edges
        }
        self.known = {end for edge in self.edges for end in edge[:2]}
        kinds = seen_kinds_by_force([(bool(allowed.allowed[each.label]), each) for each in (*own, *shared)])
        self.kind = {place: kind & 7 for place, kind in kinds.items()}
        self.stubs = {place for place, kind in kinds.items() if kind & 8}

    def steps(self, *, up: bool) -> set[tuple[int, int]]:
        """(near, far) of every step towards ancestors, or towards descendants."""
        lower_upper = {(edge[0], edge[1]) if edge[2] == 0 else (edge[1], edge[0]) for edge in self.edges}
        return lower_upper if up else {(far, near) for near, far in lower_upper}

    def graph(self, *, up: bool) -> nx.DiGraph:
        made = nx.DiGraph(self.steps(up=up))
        made.add_nodes_from(range(len(IDS)))
        return made

    def reach(self, start: int, *, up: bool, depth: int = 300) -> dict[int, int]:
        return dict(nx.single_source_shortest_path_length(self.graph(up=up), start, cutoff=depth))


WORLDS = st.builds(World, DOCUMENTS, DOCUMENTS, st.integers(0, 6), FILTERS | st.just(EVERYTHING))


def places(document: dict[str, Any]) -> set[int]:
    return {IDS.index(node["id"]) for node in document["nodes"]}


def check_kinds(world: World, document: dict[str, Any]) -> None:
    for node in document["nodes"]:
        assert node["kind"] == KINDS[world.kind[IDS.index(node["id"])]].value, node


def triples(document: dict[str, Any]) -> Edges:
    codes = {name.value: code for code, name in enumerate(EDGE_TYPES)}
    return {(IDS.index(edge["from"]), IDS.index(edge["to"]), codes[edge["type"]]) for edge in document["edges"]}


def read(answer: Any, *, closed: bool = True) -> dict[str, Any]:
    """Parse an answer; it follows the published schema and, if it is no later page, every edge ends inside it."""
    document: dict[str, Any] = json.loads(answer.body)
    SCHEMA.validate(document)
    ids = {node["id"] for node in document["nodes"]}
    assert not closed or all(edge[end] in ids for edge in document["edges"] for end in ("from", "to"))
    return document


@settings(max_examples=50, deadline=None)
@given(WORLDS, ENDS, st.integers(1, 5), st.sampled_from(["ancestors", "descendants", "both"]), st.booleans())
def test_subgraphs(world: World, start: int, depth: int, direction: str, evidence: bool) -> None:
    query = GraphQuery(IDS[start], depth, direction, evidence=evidence)  # type: ignore[arg-type]
    try:
        document = read(graph_answer(world.store, ACME, query, world.allowed, KEY))
    except NotFoundError:
        assert start not in world.known
        return
    nodes, edges = set(), set()
    for up in (True, False):
        if direction in {"both", "ancestors" if up else "descendants"}:
            levels = world.reach(start, up=up, depth=depth)
            nodes |= set(levels)
            for edge in world.edges:
                near, far = edge[:2] if (edge[2] == 0) == up else (edge[1], edge[0])
                if levels.get(near, depth) < depth and far in levels:
                    edges.add(edge)
    assert (places(document), triples(document)) == (nodes, edges)
    assert document["complete"]
    check_kinds(world, document)
    assert {IDS.index(node["id"]) for node in document["nodes"] if node.get("stub")} == nodes & world.stubs
    producers = Counter(edge[1] for edge in edges if edge[2] == 1)
    assert {IDS.index(each["node"]) for each in document["conflicts"]} == {n for n, c in producers.items() if c > 1}
    if evidence:
        check_evidence(world, document)


def check_evidence(world: World, document: dict[str, Any]) -> None:
    assert all(edge["claims"] >= 1 for edge in document["edges"])
    assert all((edge["status"] == "verified") == edge["verified"] for edge in document["edges"])


@settings(max_examples=40, deadline=None)
@given(WORLDS, ENDS, st.integers(1, 5), st.integers(1, 9), st.sampled_from(["graph", "impact"]))
def test_pages_join_to_the_whole(world: World, start: int, limit: int, edge_limit: int, question: str) -> None:
    assume(start in world.known)

    def ask(size: int, edges: int, cursor: str | None) -> Any:
        if question == "impact":
            return impact_answer(
                world.store,
                ACME,
                ImpactQuery(IDS[start], limit=size, cursor=cursor),
                world.allowed,
                KEY,  # type: ignore[arg-type]
            )
        query = GraphQuery(IDS[start], 5, "both", limit=size, edge_limit=edges, cursor=cursor)  # type: ignore[arg-type]
        return graph_answer(world.store, ACME, query, world.allowed, KEY)

    whole = read(ask(5000, 20_000, None))
    nodes: list[Any] = []
    edges: list[Any] = []
    cursor, first = None, True
    while first or cursor is not None:
        answer = ask(limit, edge_limit, cursor)
        page = read(answer, closed=False)
        nodes += page["nodes"]
        edges += page["edges"]
        seen = {node["id"] for node in nodes}
        assert all(edge[end] in seen for edge in page["edges"] for end in ("from", "to"))
        assert (page["truncated"] is None) == (answer.cursor is None)
        cursor, first = answer.cursor, False
    assert (nodes, edges) == (whole["nodes"], whole["edges"])


@settings(max_examples=70, deadline=None)
@given(WORLDS, ENDS, ENDS, st.sampled_from(["ancestors", "descendants", "both", "undirected"]), st.integers(1, 12))
def test_paths(world: World, source: int, target: int, direction: str, longest: int) -> None:
    assume({source, target} <= world.known)
    query = PathQuery(IDS[source], IDS[target], direction, maximum_length=longest, limit=100)  # type: ignore[arg-type]
    document = read(paths_answer(world.store, ACME, query, world.allowed))
    graphs = {"ancestors": world.graph(up=True), "descendants": world.graph(up=False)}
    graphs["undirected"] = nx.compose(graphs["ancestors"], graphs["descendants"])
    ways = ["ancestors", "descendants"] if direction == "both" else [direction]
    lengths = {
        way: nx.shortest_path_length(graphs[way], source, target)
        for way in ways
        if nx.has_path(graphs[way], source, target)
    }
    lengths = {way: length for way, length in lengths.items() if length <= longest}
    if not lengths:
        assert (document["found"], document["count"], document["complete"]) == ("no", 0, True)
        return
    best = min(lengths, key=lambda way: lengths[way])
    assert (document["found"], document["direction"], document["length"]) == ("yes", best, lengths[best])
    check_kinds(world, document)
    expected = {tuple(path) for path in nx.all_shortest_paths(graphs[best], source, target)}
    found = [tuple(IDS.index(each) for each in path) for path in document["paths"]]
    assert document["count"] == len(expected)
    assert len(found) == min(100, len(expected))
    assert set(found) <= expected
    if len(expected) <= 100:
        assert set(found) == expected
        steps = {step for path in expected for step in pairwise(path)}
        both = {*steps, *((far, near) for near, far in steps)} if best == "undirected" else steps
        kept = {edge for edge in world.edges if oriented(edge, best) & both}
        assert triples(document) == kept


def oriented(edge: tuple[int, int, int], way: str) -> set[tuple[int, int]]:
    up = edge[:2] if edge[2] == 0 else (edge[1], edge[0])
    return {up} if way == "ancestors" else {up[::-1]} if way == "descendants" else {up, up[::-1]}


@settings(max_examples=50, deadline=None)
@given(WORLDS, ENDS, st.lists(ENDS, max_size=4))
def test_impact(world: World, start: int, live: list[int]) -> None:
    assume(start in world.known)
    world.store = MemoryStore(world.snapshot, sorted({IDS[each] for each in live}))
    document = read(impact_answer(world.store, ACME, ImpactQuery(IDS[start], plan=True), world.allowed, KEY))  # type: ignore[arg-type]
    levels = world.reach(start, up=False)
    kinds = Counter(KINDS[world.kind[place]].value for place in levels if place != start)
    assert document["counts"]["total"] == dict(kinds)
    assert document["counts"]["direct"] == dict(
        Counter(KINDS[world.kind[place]].value for place, level in levels.items() if level == 1)
    )
    assert document["counts"]["live"] == len(set(live) & set(levels))
    assert places(document) == set(levels)
    check_kinds(world, document)
    bundles = {IDS.index(each["id"]): each["live"] for each in document["bundles"]}
    assert bundles == {n: n in live for n in levels if world.kind[n] == KINDS.index("bundle") and n != start}  # type: ignore[arg-type]
    check_plan(world, document, set(levels))


def check_plan(world: World, document: dict[str, Any], reached: set[int]) -> None:
    """A step needs only what earlier steps made, and comes as early as that allows."""
    receipt = KINDS.index("receipt")  # type: ignore[arg-type]
    step = {IDS.index(name): each["step"] for each in document["plan"] for name in each["nodes"]}
    assert set(step) == {n for n in reached if world.kind[n] != receipt}
    whole = nx.DiGraph([(near, far) for near, far in world.steps(up=False) if {near, far} <= reached])
    whole.add_nodes_from(reached)
    part = nx.condensation(whole)
    member = part.graph["mapping"]
    for near, far in part.edges:
        first = {step[n] for n in part.nodes[near]["members"] if n in step}
        then = {step[n] for n in part.nodes[far]["members"] if n in step}
        assert not first or not then or max(first) < min(then)
    assert len({(member[node], at) for node, at in step.items()}) == len({member[node] for node in step})


@settings(max_examples=50, deadline=None)
@given(WORLDS, ENDS, ENDS, st.sampled_from(["ancestors", "descendants"]), st.none() | st.integers(1, 5))
def test_diff(world: World, a: int, b: int, direction: str, depth: int | None) -> None:
    assume({a, b} <= world.known)
    query = DiffQuery(IDS[a], IDS[b], direction, depth)  # type: ignore[arg-type]
    document = read(diff_answer(world.store, ACME, query, world.allowed))
    check_kinds(world, document)
    up = direction == "ancestors"
    cones = [world.reach(each, up=up, depth=depth or 300) for each in (a, b)]
    only_a, only_b = set(cones[0]) - set(cones[1]), set(cones[1]) - set(cones[0])
    sides = {IDS.index(node["id"]): node["side"] for node in document["nodes"]}
    assert {n for n, side in sides.items() if side == "a"} == only_a
    assert {n for n, side in sides.items() if side == "b"} == only_b
    edges = []
    for levels in cones:
        kept = set()
        for edge in world.edges:
            near = edge[0] if (edge[2] == 0) == up else edge[1]
            if near in levels and levels[near] < (depth or 300):
                kept.add(edge)
        edges.append(kept)
    assert triples(document) == edges[0] ^ edges[1]
    assert document["counts"]["edgesOnlyA"] == len(edges[0] - edges[1])
    assert sum(document["counts"]["both"].values()) == len(set(cones[0]) & set(cones[1]))
    roots = {a, b} if a != b else set()
    differ = (only_a | only_b) - roots or {e for e in edges[0] ^ edges[1] if not roots & set(e[:2])}
    assert document["same"] == ("no" if differ else "yes")


@settings(max_examples=50, deadline=None)
@given(WORLDS, st.lists(ENDS, max_size=4), st.none() | ENDS)
def test_gaps(world: World, live: list[int], node: int | None) -> None:
    assume(node is None or node in world.known)
    world.store = MemoryStore(world.snapshot, sorted({IDS[each] for each in live}))
    query = GapQuery(node=None if node is None else IDS[node])  # type: ignore[arg-type]
    document = read(gaps_answer(world.store, ACME, query, world.allowed))
    bundle, receipt = KINDS.index("bundle"), KINDS.index("receipt")  # type: ignore[arg-type]
    # Of what is live the reader learns what she may see, and nothing of the rest.
    considered = set(live) & world.known if live else {n for n in world.known if world.kind[n] == bundle}
    cones = {each: set(world.reach(each, up=True)) for each in considered}
    affected = Counter(n for cone in cones.values() for n in cone)
    among = set(affected) if node is None else set(world.reach(node, up=True))
    within = set(affected) | among
    # An edge is inside the union of the cones exactly where its lower end is.
    inside = {e for e in world.edges if (e[0] if e[2] == 0 else e[1]) in within}
    verified = {e[1] for e in inside if e[2] == 3}
    records = {e[0] for e in inside if e[2] == 3}
    signed = {e[1] for e in inside if e[2] == 2 and e[0] in verified}
    producers: dict[int, set[int]] = {}
    for e in inside:
        if e[2] == 1:
            producers.setdefault(e[1], set()).add(e[0])
    expected = {(n, "unverified") for n in among if world.kind[n] == receipt and n not in verified | records}
    expected |= {(n, "unverified") for n in among if world.kind[n] == bundle and n not in signed}
    expected |= {(n, "stub") for n in among if n in world.stubs}
    expected |= {(n, "conflicting") for n in among if len(producers.get(n, ())) > 1}
    assert {(IDS.index(gap["node"]), gap["gap"]) for gap in document["gaps"]} == expected
    assert all(gap["bundles"] == affected[IDS.index(gap["node"])] for gap in document["gaps"])
    check_kinds(world, document)
    ranks = [gap["bundles"] for gap in document["gaps"]]
    assert ranks == sorted(ranks, reverse=True)


@settings(max_examples=15, deadline=None)
@given(WORLDS, ENDS)
def test_forms_hold_what_the_answer_holds(world: World, start: int) -> None:
    assume(start in world.known)
    query = GraphQuery(IDS[start], 3)  # type: ignore[arg-type]
    document = read(graph_answer(world.store, ACME, query, world.allowed, KEY))
    count = (len(document["nodes"]), len(document["edges"]))
    for form in Form:
        answer = graph_answer(world.store, ACME, query, world.allowed, KEY, form=form)
        assert (answer.nodes, answer.edges) == count
        again = graph_answer(world.store, ACME, query, world.allowed, KEY, form=form)
        assert answer.body == again.body
        assert answer.etag == again.etag
        assert graph_answer(world.store, ACME, query, world.allowed, KEY, form=form, unless=[answer.etag]).body == b""
