"""Why does this reach that: all shortest paths between two nodes, as a graph, as a number and some of them in words.

The answer has three values. ``yes`` is proved by a path; ``no`` means that every node within the steps asked for was
looked at and nothing was pruned there; ``unknown`` that something was left out on the way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.compiling import COMPILES
from mc_pipelines.provenance.cone import FAN_OUT, MAXIMUM_EDGES, MAXIMUM_NODES, cone, kinds_of
from mc_pipelines.provenance.id_texts import ids_of
from mc_pipelines.provenance.location import Opened, find_node, open_view, tombstones_at
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS
from mc_pipelines.provenance.request import PathQuery
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.two_ends import Between, shortest_between
from mc_pipelines.provenance.walk import ALL_KINDS, ANCESTORS, DESCENDANTS, Stop, Walk

Array = NDArray[Any]
_WAYS = {
    "ancestors": (("ancestors", ANCESTORS),),
    "descendants": (("descendants", DESCENDANTS),),
    "both": (("ancestors", ANCESTORS), ("descendants", DESCENDANTS)),
    "undirected": (("undirected", ANCESTORS | DESCENDANTS),),
}
_EXACT = 2**53
"""Numbers up to here survive JSON in every reader."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a search in one direction found.

    Attributes:
        direction: in which it went.
        between: what lies on shortest paths, and what was looked at.
        steps: (near, far) places of the steps that lie on a shortest path, without repetition, nearest first.
    """

    direction: str
    between: Between
    steps: tuple[tuple[int, int], ...] = ()

    @property
    def length(self) -> int | None:
        """Steps to the target; None where it was not reached."""
        return self.between.length


def paths_answer(store: GraphStore, tenant: TenantId, query: PathQuery, allowed: Filter) -> Answer:
    """Return the shortest paths that ``query`` asks for.

    Raises:
        NotFoundError: one of the nodes is none that this reader may know of.
    """
    with timed("paths"):
        opened = open_view(store, tenant, query, allowed)
        source = find_node(opened, query.source, query.resolve, field="from")
        target = find_node(opened, query.target, query.resolve, field="to")
        searches = [
            search(opened, source.number, target.number, name, bits, query) for name, bits in _WAYS[query.direction]
        ]
        found = [each for each in searches if each.length is not None]
        best = min(found, key=lambda each: each.length or 0) if found else None
        facts: dict[str, Any] = {
            "from": source.node,
            "to": target.node,
            "snapshot": {"seq": opened.view.position[0], "shared": opened.view.position[1]},
            "maxLength": query.maximum_length,
            "resolved": [each.document() for each in (source, target) if each.status is not None],
        }
        if best is None:
            return tagged(_nothing(opened, searches) | facts)
        return tagged(_document(opened, best, query.limit) | facts)


def search(opened: Opened, source: int, target: int, name: str, bits: int, query: PathQuery) -> Search:
    """Search for the shortest paths in one direction."""
    if COMPILES and name != "undirected" and query.kinds == ALL_KINDS:
        walk = Walk(
            source,
            query.maximum_length,
            bits,
            types=query.types,
            fan_out=FAN_OUT,
            maximum_nodes=MAXIMUM_NODES,
            maximum_edges=MAXIMUM_EDGES,
        )
        between = shortest_between(opened.snapshot, opened.view.visible, walk, target)
    else:
        between = search_from_source(opened, source, target, name, bits, query)
    near, far = _oriented(between)
    levels = between.levels
    steps = sorted(set(zip(near.tolist(), far.tolist(), strict=True)), key=lambda step: (levels[step[0]], step))
    return Search(name, between, tuple(steps))


def search_from_source(opened: Opened, source: int, target: int, name: str, bits: int, query: PathQuery) -> Between:
    """Search by walking everything from the source; the one way for undirected paths and for some kinds only."""
    undirected = name == "undirected"
    reached = cone(
        opened,
        source,
        bits,
        depth=query.maximum_length,
        types=query.types,
        kinds=query.kinds,
        undirected=undirected,
    )
    nodes, levels = reached.nodes.astype(np.int64), reached.levels.astype(np.int64)
    lower, upper = np.asarray(reached.lower, dtype=np.int64), np.asarray(reached.upper, dtype=np.int64)
    place = np.flatnonzero(nodes == target)
    whole = reached.stop is Stop.NONE and not len(reached.pruned)
    if not len(place):
        none = np.empty(0, dtype=np.int64)
        return Between(None, none, none, none, none, none, whole, nodes)
    length = int(levels[place[0]])
    # A walk that stopped has looked at all that is nearer than the level at which it stopped.
    whole = whole or (length < int(levels.max()) and not len(reached.pruned))
    kept = _on_the_way(lower, upper, levels, int(place[0]), name)
    code = np.asarray(reached.code, dtype=np.int64)[kept]
    return Between(length, nodes, levels, lower[kept], upper[kept], code, whole, nodes)


def _on_the_way(lower: Array, upper: Array, levels: Array, target: int, name: str) -> Array:
    """Return the rows of edges that lie on a shortest path, found backwards from the target."""
    towards_upper, towards_lower = name != "descendants", name != "ancestors"
    fits = np.zeros(len(lower), dtype=np.bool_)
    if towards_upper:
        fits |= levels[lower] + 1 == levels[upper]
    if towards_lower:
        fits |= levels[upper] + 1 == levels[lower]
    rows = np.flatnonzero(fits)
    far = np.where(levels[upper[rows]] > levels[lower[rows]], upper[rows], lower[rows])
    near = np.where(levels[upper[rows]] > levels[lower[rows]], lower[rows], upper[rows])
    wanted = np.zeros(len(levels), dtype=np.bool_)
    wanted[target] = True
    keep = np.zeros(len(rows), dtype=np.bool_)
    for level in range(int(levels[target]), 0, -1):
        here = (levels[far] == level) & wanted[far]
        keep |= here
        wanted[near[here]] = True
    return rows[keep]


def _oriented(between: Between) -> tuple[Array, Array]:
    lower, upper, levels = between.lower, between.upper, between.levels
    forward = levels[upper] > levels[lower]
    return np.where(forward, lower, upper), np.where(forward, upper, lower)


def _nothing(opened: Opened, searches: list[Search]) -> dict[str, Any]:
    pruned = [gone for each in searches for gone in tombstones_at(opened, each.between.seen)]
    whole = all(each.between.whole for each in searches) and not pruned
    return {
        "nodes": [],
        "edges": [],
        "found": "no" if whole else "unknown",
        "complete": whole,
        "length": None,
        "count": 0,
        "paths": [],
        "pruned": pruned,
    }


def _document(opened: Opened, best: Search, limit: int) -> dict[str, Any]:
    between = best.between
    levels = between.levels
    places = sorted({0, *(end for step in best.steps for end in step)}, key=lambda place: (levels[place], place))
    names = dict(zip(places, ids_of(opened.snapshot, between.nodes[places]), strict=True))
    kinds = kinds_of(opened, between.nodes[places])
    edges = []
    for lower, upper, code in zip(between.lower.tolist(), between.upper.tolist(), between.code.tolist(), strict=True):
        ends = (names[lower], names[upper])
        source, target = ends if code == 0 else ends[::-1]
        edges.append({"from": source, "to": target, "type": EDGE_TYPES[code].value})
    following: dict[int, list[int]] = defaultdict(list)
    for near, far in best.steps:
        following[near].append(far)
    target_place = places[-1]
    total = _count(following, places, target_place)
    return {
        "nodes": [
            {"id": names[place], "kind": KINDS[kind].value, "level": int(levels[place])}
            for place, kind in zip(places, kinds.tolist(), strict=True)
        ],
        "edges": edges,
        "found": "yes",
        "complete": between.whole,
        "direction": best.direction,
        "length": between.length,
        "count": total if total < _EXACT else str(total),
        "paths": [[names[place] for place in path] for path in _spell(following, target_place, limit)],
        "pruned": [],
    }


def _count(following: dict[int, list[int]], places: list[int], target: int) -> int:
    """Count the paths; places come nearest first, so each is counted before its followers."""
    ways: dict[int, int] = defaultdict(int, {0: 1})
    for place in places:
        for after in following[place]:
            ways[after] += ways[place]
    return ways[target]


def _spell(following: dict[int, list[int]], target: int, limit: int) -> list[tuple[int, ...]]:
    """Return the first paths, in the order of the walk; every step leads to the target, so none is a dead end."""
    found: list[tuple[int, ...]] = []
    stack: list[tuple[int, ...]] = [(0,)]
    while stack and len(found) < limit:
        path = stack.pop()
        if path[-1] == target:
            found.append(path)
        else:
            stack += [(*path, after) for after in reversed(following[path[-1]])]
    return found
