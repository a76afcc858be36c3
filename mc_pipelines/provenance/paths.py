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
from mc_pipelines.provenance.cone import cone
from mc_pipelines.provenance.location import Opened, find_node, open_view, tombstones
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS
from mc_pipelines.provenance.request import PathQuery
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Reached, Stop

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
        reached: everything it walked.
        length: steps to the target; None where it was not reached.
        steps: (near, far) places of the steps that lie on a shortest path, without repetition, nearest first.
        edges: rows of ``reached`` that are those steps.
        whole: whether every shortest path is among them or, without any, none can have been missed.
    """

    direction: str
    reached: Reached
    length: int | None
    steps: tuple[tuple[int, int], ...]
    edges: Array
    whole: bool


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
    none = np.empty(0, dtype=np.int64)
    place = np.flatnonzero(reached.nodes == target)
    whole = reached.stop is Stop.NONE and not len(reached.pruned)
    if not len(place):
        return Search(name, reached, None, (), none, whole)
    levels = reached.levels.astype(np.int64)
    length = int(levels[place[0]])
    # A walk that stopped has looked at all that is nearer than the level at which it stopped.
    whole = whole or (length < int(levels.max()) and not len(reached.pruned))
    kept = _on_the_way(reached, levels, int(place[0]), name)
    near, far = _oriented(reached, kept, levels)
    steps = sorted(set(zip(near.tolist(), far.tolist(), strict=True)), key=lambda step: (levels[step[0]], step))
    return Search(name, reached, length, tuple(steps), kept, whole)


def _on_the_way(reached: Reached, levels: Array, target: int, name: str) -> Array:
    """Return the rows of edges that lie on a shortest path, found backwards from the target."""
    lower, upper = np.asarray(reached.lower, dtype=np.int64), np.asarray(reached.upper, dtype=np.int64)
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


def _oriented(reached: Reached, rows: Array, levels: Array) -> tuple[Array, Array]:
    lower, upper = np.asarray(reached.lower)[rows], np.asarray(reached.upper)[rows]
    forward = levels[upper] > levels[lower]
    return np.where(forward, lower, upper), np.where(forward, upper, lower)


def _nothing(opened: Opened, searches: list[Search]) -> dict[str, Any]:
    pruned = [
        gone
        for each in searches
        for gone in tombstones(opened, map(opened.snapshot.id_of, map(int, each.reached.nodes)))
    ]
    whole = all(each.whole for each in searches) and not pruned
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
    snapshot, reached = opened.snapshot, best.reached
    levels = reached.levels.astype(np.int64)
    places = sorted({0, *(end for step in best.steps for end in step)}, key=lambda place: (levels[place], place))
    names = {place: snapshot.id_of(int(reached.nodes[place])) for place in places}
    kinds = {place: KINDS[int(snapshot.kind[reached.nodes[place]]) & 7].value for place in places}
    edges = []
    for row in best.edges:
        ends = (names[int(reached.lower[row])], names[int(reached.upper[row])])
        code = int(reached.code[row])
        source, target = ends if code == 0 else ends[::-1]
        edges.append({"from": source, "to": target, "type": EDGE_TYPES[code].value})
    following: dict[int, list[int]] = defaultdict(list)
    for near, far in best.steps:
        following[near].append(far)
    target_place = places[-1]
    total = _count(following, places, target_place)
    return {
        "nodes": [{"id": names[place], "kind": kinds[place], "level": int(levels[place])} for place in places],
        "edges": edges,
        "found": "yes",
        "complete": best.whole,
        "direction": best.direction,
        "length": best.length,
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
