"""What differs between two builds, or between what one stood on then and now.

Both cones are walked in one snapshot, each at its own moment, and compared by node and by edge. Packages of which
one version left and another came are paired, which is what people look for first.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.cone import MAXIMUM_STEPS, cone, count_kinds, is_whole, kinds_of
from mc_pipelines.provenance.location import Found, Opened, find_node, open_view, tombstones_at
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS
from mc_pipelines.provenance.purls import versions_of
from mc_pipelines.provenance.request import MAXIMUM_EDGES, DiffQuery, Scope
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Reached

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two cones that are compared.

    Attributes:
        opened: what may be seen at its moment.
        found: where it begins.
        nodes: numbers, sorted.
        edges: packed (lower, upper, type), sorted.
        whole: whether nothing was left out.
        pruned: what retention removed in it.
    """

    opened: Opened
    found: Found
    nodes: Array
    edges: Array
    whole: bool
    pruned: list[dict[str, Any]]


def diff_answer(store: GraphStore, tenant: TenantId, query: DiffQuery, allowed: Filter) -> Answer:
    """Return what differs between the two nodes of a query.

    Raises:
        NotFoundError: one of the nodes is none that this reader may know of, at its moment.
    """
    with timed("diff"):
        snapshot = store.snapshot(tenant, min_seq=query.min_seq)
        first, second = (_side(store, tenant, query, allowed, which, snapshot) for which in ("a", "b"))
        return tagged(_compare(first, second, query))


def _side(
    store: GraphStore, tenant: TenantId, query: DiffQuery, allowed: Filter, which: str, snapshot: Snapshot
) -> Side:
    as_of, known_at = (
        (query.first_as_of, query.first_known_at) if which == "a" else (query.second_as_of, query.second_known_at)
    )
    scope: Scope = replace(query, as_of=as_of or query.as_of, known_at=known_at or query.known_at)
    opened = open_view(store, tenant, scope, allowed, snapshot=snapshot)
    node = query.first if which == "a" else query.second
    found = find_node(opened, node, query.resolve, field=which)
    bits = ANCESTORS if query.direction == "ancestors" else DESCENDANTS
    depth = query.depth or MAXIMUM_STEPS
    reached = cone(opened, found.number, bits, depth=depth)
    pruned = tombstones_at(opened, reached.nodes)
    whole = is_whole(reached, depth) and not pruned
    return Side(opened, found, np.sort(reached.nodes.astype(np.int64)), _packed(reached), whole, pruned)


def _packed(reached: Reached) -> Array:
    nodes = reached.nodes.astype(np.int64)
    lower, upper = nodes[reached.lower], nodes[reached.upper]
    return np.sort(lower << 33 | upper << 2 | np.asarray(reached.code, dtype=np.int64))


def _compare(a: Side, b: Side, query: DiffQuery) -> dict[str, Any]:
    snapshot = a.opened.snapshot
    only_a, only_b = (np.setdiff1d(one.nodes, other.nodes) for one, other in ((a, b), (b, a)))
    edges_a, edges_b = (np.setdiff1d(one.edges, other.edges) for one, other in ((a, b), (b, a)))
    whole = a.whole and b.whole
    differing = _beyond_roots(a, b, (only_a, only_b), (edges_a, edges_b))
    nodes, edges = _listed(snapshot, a, b, (only_a, only_b), (edges_a, edges_b), query.limit)
    return {
        "nodes": nodes,
        "edges": edges,
        "a": _moment(a, query.first_as_of, query.first_known_at),
        "b": _moment(b, query.second_as_of, query.second_known_at),
        "direction": query.direction,
        "same": "no" if differing else "yes" if whole else "unknown",
        "complete": whole and len(only_a) + len(only_b) <= query.limit and len(edges) < MAXIMUM_EDGES,
        "counts": {
            "onlyA": count_kinds(a.opened, only_a),
            "onlyB": count_kinds(b.opened, only_b),
            "both": count_kinds(b.opened, np.intersect1d(a.nodes, b.nodes)),
            "edgesOnlyA": len(edges_a),
            "edgesOnlyB": len(edges_b),
        },
        "changed": _changed(a, b, only_a, only_b, query),
        "pruned": a.pruned + [each for each in b.pruned if each not in a.pruned],
        "snapshot": {"seq": a.opened.snapshot.own.seq},
    }


def _beyond_roots(a: Side, b: Side, only: tuple[Array, Array], edges: tuple[Array, Array]) -> bool:
    """Tell whether anything differs but the two nodes themselves and their own edges."""
    roots = np.unique([a.found.number, b.found.number])
    if len(roots) == 1:
        return any(len(part) for part in (*only, *edges))
    ends = [(part >> 33, part >> 2 & 0x7FFFFFFF) for part in edges]
    return any(len(np.setdiff1d(part, roots)) for part in only) or any(
        bool(np.any(~np.isin(lower, roots) & ~np.isin(upper, roots))) for lower, upper in ends
    )


def _moment(side: Side, as_of: Any, known_at: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"node": side.found.node, "nodes": len(side.nodes), "edges": len(side.edges)}
    for name, moment in (("asOf", as_of), ("knownAt", known_at)):
        if moment is not None:
            document[name] = rfc3339(moment)
    if side.found.status is not None:
        document["resolved"] = side.found.document()
    return document


def _listed(
    snapshot: Snapshot, a: Side, b: Side, only: tuple[Array, Array], edges: tuple[Array, Array], limit: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """List differing nodes up to the limit, and the differing edges between nodes that are listed or in both."""
    names = {int(number): snapshot.id_of(int(number)) for part in only for number in part}
    order = sorted(names, key=lambda number: names[number])[:limit]
    side = dict.fromkeys(only[0].tolist(), "a") | dict.fromkeys(only[1].tolist(), "b")
    side |= {
        number: "both" if number in b.nodes and number in a.nodes else side[number]
        for number in (a.found.number, b.found.number)
    }
    listed = dict.fromkeys([a.found.number, b.found.number, *order])
    written: list[dict[str, Any]] = []
    for name, packed in zip(("a", "b"), edges, strict=True):
        for value in packed.tolist():
            ends = (value >> 33, value >> 2 & 0x7FFFFFFF)
            if len(written) >= MAXIMUM_EDGES:
                break
            if any(end in side and end not in listed for end in ends):
                continue  # an end beyond the limit
            listed |= dict.fromkeys(ends)
            source, target = ends if value & 3 == 0 else ends[::-1]
            written.append(
                {
                    "from": snapshot.id_of(source),
                    "to": snapshot.id_of(target),
                    "type": EDGE_TYPES[value & 3].value,
                    "side": name,
                }
            )
    # What is in both is what it is in b, which is now where a is then.
    numbers = np.array(list(listed), dtype=np.int64)
    kinds = np.where(np.isin(numbers, b.nodes), kinds_of(b.opened, numbers), kinds_of(a.opened, numbers)).tolist()
    nodes = [
        {"id": snapshot.id_of(number), "kind": KINDS[kind].value, "side": side.get(number, "both")}
        for number, kind in zip(listed, kinds, strict=True)
    ]
    return nodes, written


def _changed(a: Side, b: Side, only_a: Array, only_b: Array, query: DiffQuery) -> list[dict[str, Any]]:
    """Pair packages of which some versions are only in one cone and others only in the other."""
    moved: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    how: dict[str, str] = {}
    for place, (side, numbers) in enumerate(((a, only_a), (b, only_b))):
        names = [side.opened.snapshot.id_of(int(number)) for number in numbers]
        for version in versions_of(side.opened, names, query.resolve).values():
            moved[version.package][place].add(version.version or "")
            how.setdefault(version.package, version.by)
    return [
        {"package": package, "from": sorted(before), "to": sorted(after), "by": how[package]}
        for package, (before, after) in sorted(moved.items())
        if before and after and before != after
    ]
