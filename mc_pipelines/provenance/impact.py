"""What stands on something bad: its blast radius. Counts of all come first, then the nodes, page by page."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, Precondition, etag_of, timed
from mc_pipelines.provenance.cone import MAXIMUM_EDGES, MAXIMUM_STEPS, cone, count_kinds, is_whole
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.formats import Form
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.location import Found, Opened, find_node, open_view, tombstones
from mc_pipelines.provenance.model import KIND_CODE
from mc_pipelines.provenance.query import NAMED, next_cursor, truncation
from mc_pipelines.provenance.rebuild import rebuild_steps
from mc_pipelines.provenance.request import MAXIMUM_PAGED, ImpactQuery, QueryError
from mc_pipelines.provenance.roots import live_nodes
from mc_pipelines.provenance.serialise import write_graph
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import DESCENDANTS, Reached, Stop, Walk

_BUNDLE, _RECEIPT = KIND_CODE["bundle"], KIND_CODE["receipt"]
_KEPT = 16
"""Answers whose counts a view keeps."""
_PLURAL = {"execution": "executions", "receipt": "receipts", "manifest": "manifests", "package": "packages"}


def impact_answer(
    store: GraphStore,
    tenant: TenantId,
    query: ImpactQuery,
    allowed: Filter,
    cursors: CursorKey,
    *,
    unless: Precondition = (),
) -> Answer:
    """Return what stands on a node.

    Raises:
        NotFoundError: no such node, or none that this reader may know of.
        QueryError: the cursor is none of this query.
    """
    with timed("impact"):
        before = None if query.cursor is None else cursors.read(query.cursor, tenant, query, allowed.digest)
        opened = open_view(store, tenant, query, allowed, before)
        found = find_node(opened, query.node, query.resolve)
        live = live_nodes(store.database, tenant, now=store.clock.now())
        etag = etag_of(opened, query, "\n".join([query.cursor or "", *live]), Form.JSON)
        if etag in unless:
            return Answer.unchanged(etag, Form.JSON)
        first = (0, 0) if before is None else (before.nodes, before.edges)
        if first[0] + query.limit > MAXIMUM_PAGED:
            raise QueryError(f"All pages together hold at most {MAXIMUM_PAGED} nodes", field="cursor")
        facts = _counted(opened, query, found, live)
        page = _page(opened, query, found, first)
        cursor = next_cursor(opened, query, page, allowed, cursors)
        facts["truncated"] = truncation(opened.snapshot, page, cursor)
        facts["complete"] = complete = facts["countsComplete"] and page.stop is Stop.NONE
        nodes, edges = write_graph(opened.snapshot, page, first_node=first[0], first_edge=first[1])
        body = b'{%b,"nodes":[%b],"edges":[%b]}' % (orjson.dumps(facts)[1:-1], nodes, edges)
        size = (len(page.nodes) - first[0], len(page.lower) - first[1])
        return Answer(body, etag, Form.JSON.media_type, *size, complete, cursor)


def _counted(opened: Opened, query: ImpactQuery, found: Found, live: list[str]) -> dict[str, Any]:
    """Return what is said of all that stands on the node, counted once for the pages of an answer."""
    key = (impact_answer.__name__, found, query.types, query.kinds, query.plan, tuple(live))
    kept = opened.view.derived
    facts: dict[str, Any] | None = kept.get(key)
    if facts is None:
        everything = cone(opened, found.number, DESCENDANTS, types=query.types, kinds=query.kinds)
        facts = _facts(opened, query, found, everything, live)
        if len(kept) >= _KEPT:
            kept.clear()
        kept[key] = facts
    return dict(facts)


def _page(opened: Opened, query: ImpactQuery, found: Found, first: tuple[int, int]) -> Reached:
    walk = Walk(
        found.number,
        MAXIMUM_STEPS,
        DESCENDANTS,
        types=query.types,
        kinds=query.kinds,
        fan_out=1_000_000,
        maximum_nodes=first[0] + query.limit,
        maximum_edges=MAXIMUM_EDGES,
        maximum_scanned=2 * MAXIMUM_EDGES,
    )
    return walk_compiled(opened.snapshot, walk, opened.view.visible)


def _facts(opened: Opened, query: ImpactQuery, found: Found, everything: Reached, live: list[str]) -> dict[str, Any]:
    snapshot = opened.snapshot
    affected = everything.nodes[1:]
    bundles = affected[(snapshot.kind[affected] & 7) == _BUNDLE]
    numbers = np.array([snapshot.find(name) for name in live], dtype=np.int64)
    is_live = np.isin(bundles, numbers)
    live_count = int(np.isin(numbers, everything.nodes).sum())
    counts = {
        "direct": count_kinds(opened, everything.nodes[everything.levels == 1]),
        "total": count_kinds(opened, affected),
        "live": live_count,
    }
    pruned = tombstones(opened, map(snapshot.id_of, map(int, everything.nodes)))
    whole = is_whole(everything) and not pruned
    ordered = np.concatenate([bundles[is_live], bundles[~is_live]])[:NAMED]
    facts: dict[str, Any] = {
        "says": _sentence(found.node, counts, whole=whole),
        "counts": counts,
        "countsComplete": whole,
        "root": found.node,
        "direction": "descendants",
        "bundles": [
            {"id": snapshot.id_of(int(each)), "live": bool(place < int(is_live.sum()))}
            for place, each in enumerate(ordered)
        ],
        "snapshot": {"seq": opened.view.position[0], "shared": opened.view.position[1]},
        "counted": len(affected),
        "pruned": pruned,
    }
    if found.status is not None:
        facts["resolved"] = found.document()
    if query.plan:
        facts["plan"] = _plan(opened, everything)
    return facts


def _sentence(node: str, counts: dict[str, Any], *, whole: bool) -> str:
    total = counts["total"]
    if not total:
        return f"Nothing that you may see stands on {node}." if whole else f"What stands on {node} is not wholly known."
    bundles = total.get("bundle", 0)
    parts = [f"{bundles} bundle{'s' * (bundles != 1)}, {counts['live']} of what is live"] if bundles else []
    parts += [
        f"{total[kind]} {plural if total[kind] != 1 else kind}" for kind, plural in _PLURAL.items() if kind in total
    ]
    verb = "stands" if sum(total.values()) == 1 else "stand"
    return f"{'' if whole else 'At least '}{', '.join(parts)} {verb} on {node}."


def _plan(opened: Opened, everything: Reached) -> list[dict[str, Any]]:
    """Steps of rebuilding; receipts are evidence about what is rebuilt and are left out."""
    steps = rebuild_steps(len(everything.nodes), np.asarray(everything.upper), np.asarray(everything.lower))
    built = (opened.snapshot.kind[everything.nodes] & 7) != _RECEIPT
    found = []
    for number in np.unique(steps[built]):
        members = np.flatnonzero(built & (steps == number))
        names = [opened.snapshot.id_of(int(everything.nodes[place])) for place in members[:NAMED]]
        found.append({"count": len(members), "nodes": names})
    return [{"step": place, **each} for place, each in enumerate(found)]
