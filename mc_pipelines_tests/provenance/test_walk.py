"""The compiled walk, the plain walk and brute force agree, with additions, shared nodes, hidden and ended claims."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.provenance.kernel import have_edges, walk_compiled
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS
from mc_pipelines.provenance.page import Whole
from mc_pipelines.provenance.reach import reach
from mc_pipelines.provenance.serialise import _write_plainly, write_graph
from mc_pipelines.provenance.snapshot import Snapshot, take_snapshot
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Reached, Stop, Visible, Walk, walk_plainly
from mc_pipelines_tests.provenance.small_graphs import IDS, Document, brute_force, partition, seen_kinds_by_force

ends = st.integers(0, len(IDS) - 1)
kinds_said = st.dictionaries(ends, st.sampled_from([0, 1, 4, 8, 9, 12]), max_size=8).map(lambda says: (*says.items(),))
documents = st.lists(
    st.builds(
        Document,
        edges=st.lists(st.tuples(ends, ends, st.integers(0, 3)) | ends.map(lambda end: (end, end, 4)), max_size=12).map(
            tuple
        ),
        label=st.integers(0, 3),
        valid_from=st.integers(0, 3),
        permanent=st.booleans(),
        says=kinds_said | st.just(()),
    ),
    min_size=1,
    max_size=6,
)
walks = st.builds(
    Walk,
    start=st.just(0),
    depth=st.integers(1, 5),
    directions=st.integers(1, 3),
    undirected=st.booleans(),
    types=st.integers(1, 15),
    kinds=st.sampled_from([31, 31, 0b10101, 0b01011]),
    fan_out=st.sampled_from([1, 2, 1000]),
    maximum_nodes=st.sampled_from([1, 3, 8, 5000]),
    maximum_edges=st.sampled_from([2, 9, 20_000]),
    maximum_scanned=st.sampled_from([5, 1_000_000]),
)


def same(first: Reached, second: Reached) -> None:
    for name in ("nodes", "levels", "lower", "upper", "code", "pruned", "unexpanded", "kind"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert first.stop is second.stop


def visible(snapshot: Snapshot, own: list[bool], shared: list[bool]) -> Visible:
    return Visible(
        np.array([False, *own], dtype=np.uint8), np.array([False, *shared], dtype=np.uint8), all(own) and all(shared)
    )


def named_edges(snapshot: Snapshot, reached: Reached) -> set[tuple[int, int, int]]:
    place = {snapshot.id_of(int(number)): at for at, number in enumerate(reached.nodes)}
    back = {at: IDS.index(name) for name, at in place.items()}
    made = set()
    for lower, upper, code in zip(reached.lower, reached.upper, reached.code, strict=True):
        source, target = (lower, upper) if code == 0 else (upper, lower)
        made.add((back[int(source)], back[int(target)], int(code)))
    return made


def world(
    own: list[Document], shared: list[Document], compacted: int, step: int
) -> tuple[Snapshot, TemporaryDirectory[str]]:
    folder = TemporaryDirectory()
    mine = partition(own, Path(folder.name), compacted=min(compacted, len(own)), steps=(step,))
    theirs = partition(shared, Path(folder.name), compacted=min(step, len(shared)), tenant="public")
    made = take_snapshot(mine, theirs)
    # The same, step by step from an earlier one, as a service does it.
    earlier = partition(own[: max(compacted, step)], Path(folder.name), compacted=min(compacted, len(own)))
    fewer = partition(shared[:step], Path(folder.name), compacted=min(step, len(shared)), tenant="public")
    grown = take_snapshot(mine, theirs, take_snapshot(mine, fewer, take_snapshot(earlier, fewer)))
    for ours, again in zip(made.common, grown.common, strict=True):
        assert ours.tolist() == again.tolist()
    assert made.part.touched.tolist() == grown.part.touched.tolist()
    return grown, folder


@settings(max_examples=150, deadline=None)
@given(documents, documents, st.integers(0, 6), st.integers(0, 6), ends, walks, st.data())
def test_three_ways_agree(own, shared, compacted, step, start, walk, data) -> None:
    snapshot, folder = world(own, shared, compacted, step)
    with folder:
        number = snapshot.find(IDS[start])
        if number < 0:
            return
        allowed = data.draw(filters(own, shared))
        claims = [*zip(allowed[0], own, strict=True), *zip(allowed[1], shared, strict=True)]
        kinds = seen_kinds_by_force(claims)
        may = visible(snapshot, *allowed)
        walk = Walk(**{name: getattr(walk, name) for name in Walk.__slots__} | {"start": number})
        compiled, plain = walk_compiled(snapshot, walk, may), walk_plainly(snapshot, walk, may)
        same(compiled, plain)
        written, expected = write_graph(snapshot, compiled), _write_plainly(snapshot, plain, 0, 0)
        assert written == expected
        check_json(snapshot, compiled, written, kinds)
        if walk.undirected or compiled.stop is not Stop.NONE or len(compiled.pruned):
            return
        nodes, edges = {start}, set()
        for bit, up in ((1, True), (2, False)):
            if walk.directions & bit:
                found = brute_force(claims, start, walk.depth, up=up, types=walk.types, kinds=walk.kinds)
                nodes, edges = nodes | found[0], edges | found[1]
        assert {IDS.index(snapshot.id_of(int(each))) for each in compiled.nodes} == nodes
        assert named_edges(snapshot, compiled) == edges


@settings(max_examples=150, deadline=None)
@given(documents, documents, st.integers(0, 6), st.integers(0, 6), ends, walks, st.data())
def test_nodes_alone_and_pages_are_those_of_the_walk(own, shared, compacted, step, start, walk, data) -> None:
    snapshot, folder = world(own, shared, compacted, step)
    with folder:
        number = snapshot.find(IDS[start])
        if number < 0:
            return
        allowed = [data.draw(st.lists(st.booleans(), min_size=len(each), max_size=len(each))) for each in (own, shared)]
        if data.draw(st.booleans()):
            allowed = [[True] * len(own), [True] * len(shared)]
        may = visible(snapshot, *allowed)
        directions = data.draw(st.sampled_from([ANCESTORS, DESCENDANTS]))
        walk = replace(walk, start=number, directions=directions, undirected=False, maximum_scanned=1_000_000)
        whole, nodes = walk_compiled(snapshot, walk, may), reach(snapshot, walk, may)
        assert nodes.nodes.tolist() == whole.nodes.tolist()
        assert nodes.levels.tolist() == whole.levels.tolist()
        assert nodes.stop is whole.stop
        assert (nodes.cut > 0) == (len(whole.pruned) > 0) or whole.stop is not Stop.NONE
        everybody = np.arange(-1, snapshot.nodes)
        assert set(everybody[nodes.holds(everybody)].tolist()) == set(whole.nodes.tolist())
        nearest = walk_plainly(snapshot, Walk(number, 1), may)
        assert have_edges(snapshot, may, np.array([number])).tolist() == [bool(len(nearest.lower))]
        check_pages(snapshot, walk, may, data.draw(st.integers(1, 4)))


def check_pages(snapshot: Snapshot, walk: Walk, may: Visible, limit: int) -> None:
    """Pages cut from a walk that was kept are those that are walked to, byte for byte."""
    kept, first = Whole.of(walk_compiled(snapshot, walk, may), walk.depth), (0, 0)
    while True:
        page = kept.page(first, limit)
        until = min(first[0] + limit, walk.maximum_nodes)
        again = walk_compiled(snapshot, replace(walk, maximum_nodes=until), may)
        assert page.until == (len(again.nodes), len(again.lower))
        assert page.reached.stop is again.stop
        assert page.waiting.tolist() == again.nodes[again.unexpanded].tolist()
        expected = write_graph(snapshot, again, first_node=first[0], first_edge=first[1])
        assert write_graph(snapshot, page.reached, first_node=page.earlier) == expected
        if page.until[0] < first[0] + limit or page.reached.stop is not Stop.NODES or until == walk.maximum_nodes:
            return
        first = page.until


def filters(own: list[Document], shared: list[Document]) -> st.SearchStrategy[list[list[bool]]]:
    """Which documents a reader may see: all; or by label, moment and knowledge, without some of those that end."""
    every = [[True] * len(own), [True] * len(shared)]

    def seen(rule: tuple[set[int], int, int, set[int]]) -> list[list[bool]]:
        labels, moment, known, ended = rule
        return [
            [
                each.label in labels
                and each.valid_from <= moment
                and place < known
                and (each.permanent or place not in ended)
                for place, each in enumerate(part)
            ]
            for part in (own, shared)
        ]

    places = st.integers(0, 6)
    return st.just(every) | st.tuples(st.sets(st.integers(0, 3)), st.integers(0, 3), places, st.sets(places)).map(seen)


def check_json(snapshot: Snapshot, reached: Reached, written: tuple[bytes, bytes], kinds: dict[int, int]) -> None:
    nodes, edges = json.loads(b"[%b]" % written[0]), json.loads(b"[%b]" % written[1])
    assert [node["id"] for node in nodes] == [snapshot.id_of(int(each)) for each in reached.nodes]
    for node in nodes:
        kind = kinds.get(IDS.index(node["id"]))
        if kind is not None:  # a start that nothing visible names is nowhere asked for
            assert (node["kind"], node.get("stub", False)) == (KINDS[kind & 7], bool(kind & 8))
    assert [edge["type"] for edge in edges] == [EDGE_TYPES[int(code)] for code in reached.code]


@settings(max_examples=60, deadline=None)
@given(documents, documents, st.integers(0, 6), st.integers(0, 6), st.integers(1, 3), st.integers(1, 4))
def test_compaction_changes_no_answer(own, shared, compacted, step, directions, room) -> None:
    first, one = world(own, shared, compacted, step)
    second, two = world(own, shared, len(own), len(shared))
    with one, two:
        for name in IDS:
            answers = []
            for snapshot in (first, second):
                number = snapshot.find(name)
                if number < 0:
                    answers.append(None)
                    continue
                everything = visible(snapshot, [True] * len(own), [True] * len(shared))
                walk = Walk(number, 4, directions, maximum_nodes=room, fan_out=3)
                answers.append(write_graph(snapshot, walk_compiled(snapshot, walk, everything)))
            assert answers[0] == answers[1]


@settings(max_examples=60, deadline=None)
@given(documents, st.integers(0, 6), st.integers(1, 3), st.integers(1, 5), ends)
def test_a_capped_walk_is_a_prefix_of_the_whole(own, compacted, directions, room, start) -> None:
    snapshot, folder = world(own, [Document(())], compacted, 3)
    with folder:
        number = snapshot.find(IDS[start])
        if number < 0:
            return
        everything = visible(snapshot, [True] * len(own), [True])
        whole = walk_compiled(snapshot, Walk(number, 5, directions), everything)
        part = walk_compiled(snapshot, Walk(number, 5, directions, maximum_nodes=room), everything)
        assert part.nodes.tolist() == whole.nodes[: len(part.nodes)].tolist()
        assert part.lower.tolist() == whole.lower[: len(part.lower)].tolist()
        assert (part.stop is Stop.NODES) == (len(whole.nodes) > room)
        assert (len(part.unexpanded) > 0) == (part.stop is not Stop.NONE)
