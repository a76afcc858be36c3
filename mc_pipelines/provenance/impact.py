"""What stands on something bad: its blast radius. Counts of all come first, then the nodes, page by page."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, Precondition, etag_of, timed
from mc_pipelines.provenance.cone import (
    FAN_OUT,
    MAXIMUM_EDGES,
    MAXIMUM_STEPS,
    cone,
    cone_nodes,
    counts_of,
    is_whole,
    kinds_of,
)
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.formats import Form
from mc_pipelines.provenance.id_texts import ids_of
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.location import Found, Opened, find_node, open_view, tombstones_at
from mc_pipelines.provenance.model import KIND_CODE
from mc_pipelines.provenance.page import Page, Shelf, Whole, page_of
from mc_pipelines.provenance.query import NAMED, cursor_at, truncation
from mc_pipelines.provenance.reach import Reach
from mc_pipelines.provenance.rebuild import rebuild_steps
from mc_pipelines.provenance.request import MAXIMUM_PAGED, ImpactQuery, QueryError
from mc_pipelines.provenance.roots import live_nodes
from mc_pipelines.provenance.serialise import write_graph
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import DESCENDANTS, Reached, Stop, Walk

_BUNDLE, _RECEIPT = KIND_CODE["bundle"], KIND_CODE["receipt"]
_KEPT = 16
"""Answers whose counts a view keeps."""
_SHELF = Shelf(64 << 20)
"""Walks of all tenants together, kept for their next pages."""
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
        more = page.reached.stop is Stop.NODES
        cursor = cursor_at(opened, query, (*page.until, page.until[1]), allowed, cursors) if more else None
        facts["truncated"] = truncation(opened.snapshot, page.reached.stop, page.waiting, cursor)
        facts["complete"] = complete = facts["countsComplete"] and page.reached.stop is Stop.NONE
        nodes, edges = write_graph(opened.snapshot, page.reached, first_node=page.earlier)
        body = b"".join((b"{", orjson.dumps(facts)[1:-1], b',"nodes":[', nodes, b'],"edges":[', edges, b"]}"))
        size = (len(page.reached.nodes) - page.earlier, len(page.reached.lower))
        return Answer(body, etag, Form.JSON.media_type, *size, complete, cursor)


def _counted(opened: Opened, query: ImpactQuery, found: Found, live: list[str]) -> dict[str, Any]:
    """Return what is said of all that stands on the node, counted once for the pages of an answer."""
    key = (impact_answer.__name__, found, query.types, query.kinds, query.plan, tuple(live))
    kept = opened.view.derived
    facts: dict[str, Any] | None = kept.get(key)
    if facts is None:
        everything = cone_nodes(opened, found.number, DESCENDANTS, types=query.types, kinds=query.kinds)
        facts = _facts(opened, query, found, everything, live)
        if len(kept) >= _KEPT:
            kept.clear()
        kept[key] = facts
    return dict(facts)


def _page(opened: Opened, query: ImpactQuery, found: Found, first: tuple[int, int]) -> Page:
    """Return a page: the first from a walk of its own, later ones and those of a plan from one that is kept."""
    if first == (0, 0) and not query.plan and _SHELF.get(opened.view, _key(query, found)) is None:
        walk = Walk(
            found.number,
            MAXIMUM_STEPS,
            DESCENDANTS,
            types=query.types,
            kinds=query.kinds,
            fan_out=FAN_OUT,
            maximum_nodes=query.limit,
            maximum_edges=MAXIMUM_EDGES,
            maximum_scanned=2 * MAXIMUM_EDGES,
        )
        return page_of(walk_compiled(opened.snapshot, walk, opened.view.visible))
    return _whole(opened, query, found).page(first, query.limit)


def _whole(opened: Opened, query: ImpactQuery, found: Found) -> Whole:
    key = _key(query, found)
    kept = _SHELF.get(opened.view, key)
    if kept is not None:
        return kept
    made = cone(opened, found.number, DESCENDANTS, types=query.types, kinds=query.kinds)
    return _SHELF.put(opened.view, key, Whole.of(made, MAXIMUM_STEPS))


def _key(query: ImpactQuery, found: Found) -> tuple[int, int, int]:
    return (found.number, query.types, query.kinds)


def _facts(opened: Opened, query: ImpactQuery, found: Found, everything: Reach, live: list[str]) -> dict[str, Any]:
    snapshot = opened.snapshot
    affected = everything.nodes[1:]
    kinds = kinds_of(opened, affected)
    bundles = affected[kinds == _BUNDLE]
    numbers = snapshot.find_all(live)
    affected_live = numbers[everything.holds(numbers)]
    is_live = np.isin(bundles, affected_live) if len(affected_live) else np.zeros(len(bundles), dtype=np.bool_)
    counts = {
        "direct": counts_of(kinds[everything.levels[1:] == 1]),
        "total": counts_of(kinds),
        "live": len(affected_live),
    }
    pruned = tombstones_at(opened, everything.nodes)
    whole = is_whole(everything) and not pruned
    ordered = np.concatenate([bundles[is_live], bundles[~is_live]])[:NAMED]
    reached_live = int(is_live.sum())
    facts: dict[str, Any] = {
        "says": _sentence(found.node, counts, whole=whole),
        "counts": counts,
        "countsComplete": whole,
        "root": found.node,
        "direction": "descendants",
        "bundles": [{"id": name, "live": place < reached_live} for place, name in enumerate(ids_of(snapshot, ordered))],
        "snapshot": {"seq": opened.view.position[0], "shared": opened.view.position[1]},
        "counted": len(affected),
        "pruned": pruned,
    }
    if found.status is not None:
        facts["resolved"] = found.document()
    if query.plan:
        facts["plan"] = _plan(opened, _whole(opened, query, found).reached)
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
    built = kinds_of(opened, everything.nodes) != _RECEIPT
    found = []
    for number in np.unique(steps[built]):
        members = np.flatnonzero(built & (steps == number))
        names = ids_of(opened.snapshot, everything.nodes[members[:NAMED]])
        found.append({"count": len(members), "nodes": names})
    return [{"step": place, **each} for place, each in enumerate(found)]
