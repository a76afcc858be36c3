"""One walk for many: who stands on what equals walking from each apart, and so do the gate's rulings."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.provenance import ancestry as module
from mc_pipelines.provenance.ancestry import Ancestry, ancestry
from mc_pipelines.provenance.cone import cone
from mc_pipelines.provenance.gate import rule
from mc_pipelines.provenance.kernel import have_edges
from mc_pipelines.provenance.location import open_view
from mc_pipelines.provenance.request import GapQuery
from mc_pipelines.provenance.rulings import rule_all
from mc_pipelines.provenance.trust_logic import GatePolicy
from mc_pipelines.provenance.walk import ANCESTORS
from mc_pipelines_tests.provenance.small_graphs import IDS
from mc_pipelines_tests.provenance.test_oracles import ACME, ENDS, WORLDS, World


def made_of(size: int, edges: np.ndarray[Any, Any]) -> Ancestry:
    ordered = edges[np.argsort(edges[:, 0], kind="stable")]
    first = np.searchsorted(ordered[:, 0], np.arange(size + 1))
    places = np.arange(size, dtype=np.int32)
    upper = ordered[:, 1].astype(np.int32)
    return Ancestry(places, places, first.astype(np.int64), upper, np.zeros(len(edges), dtype=np.uint8), whole=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 150), st.integers(0, 2**32), st.integers(0, 1300))
def test_counts_are_those_of_walks_from_each(size: int, count: int, seed: int, starts: int) -> None:
    """Cycles, loops and edges that come twice; more starts than are carried at once, some of them the same."""
    draw = np.random.default_rng(seed)
    edges = draw.integers(0, size, (count, 2))
    above = made_of(size, edges)
    graph = nx.DiGraph(edges.tolist())
    graph.add_nodes_from(range(size))
    cones = {node: nx.descendants(graph, node) | {node} for node in graph}
    chosen = draw.integers(0, size, starts)
    expected = np.zeros(size, dtype=np.int64)
    for start in chosen:
        expected[list(cones[int(start)])] += 1
    assert above.count(chosen).tolist() == expected.tolist()
    marked = draw.random(size) < 0.1
    assert above.below(marked).tolist() == [any(marked[list(cones[node])]) for node in range(size)]


@settings(max_examples=40, deadline=None)
@given(WORLDS, st.lists(ENDS, min_size=1, max_size=4), st.booleans())
def test_the_walk_takes_in_what_walks_from_each_do(world: World, ends: list[int], tight: bool) -> None:
    opened = open_view(world.store, ACME, GapQuery(), world.allowed)
    snapshot, visible = world.snapshot, opened.view.visible
    starts = [number for end in ends if (number := snapshot.find(IDS[end])) >= 0]
    with pytest.MonkeyPatch.context() as patch:
        if tight:
            patch.setattr(module, "_FIRST_ROOM", 1)  # room is made again and again
        above = ancestry(snapshot, visible, starts)
    assert above.whole
    nodes, edges = set(), set()
    for start in starts:
        reached = cone(opened, start, ANCESTORS)
        nodes |= set(reached.nodes.tolist())
        ends_of = (reached.nodes[reached.lower], reached.nodes[reached.upper], reached.code)
        edges |= set(zip(*(each.tolist() for each in ends_of), strict=True))
    assert sorted(above.nodes.tolist()) == sorted(nodes)
    found = zip(above.nodes[above.lower].tolist(), above.nodes[above.upper].tolist(), above.code.tolist(), strict=True)
    assert sorted(found) == sorted(edges)
    everywhere = np.array([number for each in IDS if (number := snapshot.find(each)) >= 0])
    known = {snapshot.find(IDS[end]) for end in world.known}
    assert set(everywhere[have_edges(snapshot, visible, everywhere)].tolist()) == known


@settings(max_examples=60, deadline=None)
@given(WORLDS, st.booleans(), st.lists(ENDS, max_size=2))
def test_ruling_on_all_is_ruling_on_each(world: World, inputs: bool, forbidden: list[int]) -> None:
    opened = open_view(world.store, ACME, GapQuery(), world.allowed)
    policy = GatePolicy(inputs=inputs, forbidden=tuple(IDS[each] for each in forbidden))
    numbers = sorted({world.snapshot.find(IDS[end]) for end in world.known})
    rulings = rule_all(opened, numbers, policy)
    expected = {opened.snapshot.id_of(number): rule(opened, number, policy).result for number in numbers}
    assert rulings.results == expected
