"""Answering a subgraph: from a reader's filter and a query to bytes with a strong ETag.

An answer is a function of the log up to the two events it names, of the query and of the filter. It says
whether it is complete, and where and why not: ``truncated`` (a cap, with the nodes at its edge and a cursor),
``fanOut`` (nodes with more neighbours than were followed, with their visible degree) and ``pruned`` (what
retention removed, with the rule). ``conflicts`` names what several executions claim to have produced.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, Precondition, etag_of, timed
from mc_pipelines.provenance.cursor import Cursor, CursorKey
from mc_pipelines.provenance.formats import Form, write_form
from mc_pipelines.provenance.id_texts import ids_of
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.location import Found, Opened, aliases_of, find_node, open_view, tombstones_at
from mc_pipelines.provenance.model import TYPE_CODE
from mc_pipelines.provenance.request import MAXIMUM_PAGED, GraphQuery, QueryError, Scope
from mc_pipelines.provenance.serialise import write_answer
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.subgraph import Subgraph, read_subgraph
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Reached, Stop, Walk

Array = NDArray[Any]
DIRECTION_BITS = {
    "ancestors": ANCESTORS,
    "descendants": DESCENDANTS,
    "both": ANCESTORS | DESCENDANTS,
    "undirected": ANCESTORS | DESCENDANTS,
}
NAMED = 50
"""Nodes at the edge of a truncated answer, fan-outs and conflicts that are named; all are counted."""
SCANNED = 5_000_000
"""Entries that one question may look at."""
_PRODUCES = TYPE_CODE["produces"]


def graph_answer(
    store: GraphStore,
    tenant: TenantId,
    query: GraphQuery,
    allowed: Filter,
    cursors: CursorKey,
    *,
    form: Form = Form.JSON,
    unless: Precondition = (),
) -> Answer:
    """Return the subgraph that ``query`` asks for.

    Args:
        store: open snapshots.
        tenant: whose graph, from the verified credential.
        query: what is asked.
        allowed: what the policy lets the reader see.
        cursors: makes and reads cursors.
        form: in which form.
        unless: ETags that the reader holds; if one of them still holds, nothing is walked.

    Raises:
        NotFoundError: no such node, or none that this reader may know of; the two cannot be told apart.
        QueryError: the cursor is none of this query.
        AmbiguousAliasError: the node stands for several.
        PrunedError: retention removed the claims about the node.
    """
    with timed("subgraph"):
        before = None if query.cursor is None else cursors.read(query.cursor, tenant, query, allowed.digest)
        opened = open_view(store, tenant, query, allowed, before)
        found = find_node(opened, query.node, query.resolve)
        etag = etag_of(opened, query, query.cursor, form)
        if etag in unless:
            return Answer.unchanged(etag, form)
        first = (0, 0) if before is None else (before.nodes, before.edges)
        if first[0] + query.limit > MAXIMUM_PAGED:
            raise QueryError(f"All pages together hold at most {MAXIMUM_PAGED} nodes", field="cursor")
        reached = walk_compiled(opened.snapshot, walk_of(query, found.number, before), opened.view.visible)
        cursor = next_cursor(opened, query, reached, allowed, cursors)
        facts = graph_facts(opened, query, found, reached, cursor)
        complete = bool(facts["complete"])
        size = (len(reached.nodes) - first[0], len(reached.lower) - first[1])
        if form is Form.JSON and not query.evidence:
            further = orjson.dumps(facts)
            body = write_answer(opened.snapshot, reached, further, first_node=first[0], first_edge=first[1])
        else:
            body = write_form(_with_evidence(opened, found, reached, facts, first), form)
        return Answer(body, etag, form.media_type, *size, complete, cursor)


def graph_of(
    store: GraphStore, tenant: TenantId, query: GraphQuery, allowed: Filter
) -> tuple[Opened, Found, Reached, dict[str, Any]]:
    """Return what the first page of a query reaches, for who works on with it."""
    opened = open_view(store, tenant, query, allowed)
    found = find_node(opened, query.node, query.resolve)
    reached = walk_compiled(opened.snapshot, walk_of(query, found.number, None), opened.view.visible)
    return opened, found, reached, graph_facts(opened, query, found, reached, None)


def walk_of(query: GraphQuery, start: int, before: Cursor | None) -> Walk:
    """Return the walk of a query that ends where the page after ``before`` does."""
    nodes, followed = (0, 0) if before is None else (before.nodes, before.followed)
    return Walk(
        start,
        query.depth,
        DIRECTION_BITS[query.direction],
        query.direction == "undirected",
        query.types,
        query.kinds,
        query.fan_out,
        nodes + query.limit,
        followed + query.edge_limit,
        SCANNED,
    )


def next_cursor(opened: Opened, query: Scope, reached: Reached, allowed: Filter, cursors: CursorKey) -> str | None:
    """Return the cursor of the page after, None where a page holds all."""
    if reached.stop not in {Stop.NODES, Stop.EDGES}:
        return None
    return cursor_at(opened, query, (len(reached.nodes), len(reached.lower), reached.followed), allowed, cursors)


def cursor_at(opened: Opened, query: Scope, until: tuple[int, int, int], allowed: Filter, cursors: CursorKey) -> str:
    """Return the cursor of the page that begins after so many nodes, edges and edges followed."""
    place = Cursor(*until, opened.view.position, opened.valid_at)
    return cursors.write(place, opened.tenant, query, allowed.digest)


def graph_facts(
    opened: Opened, query: GraphQuery, found: Found, reached: Reached, cursor: str | None
) -> dict[str, Any]:
    """Return the members of an answer beside nodes and edges."""
    snapshot, view = opened.snapshot, opened.view
    pruned = tombstones_at(opened, reached.nodes)
    hubs = reached.pruned[:NAMED]
    cut = [
        {
            "node": name,
            "direction": "ancestors" if bit == ANCESTORS else "descendants",
            "degree": int(degree),
            "followed": int(followed),
        }
        for name, (_, bit, degree, followed) in zip(ids_of(snapshot, reached.nodes[hubs[:, 0]]), hubs, strict=True)
    ]
    conflicts, conflict_count = conflicts_of(snapshot, reached)
    facts: dict[str, Any] = {
        "root": found.node,
        "depth": query.depth,
        "direction": query.direction,
        "complete": reached.stop is Stop.NONE and not cut and not pruned,
        "snapshot": {"seq": view.position[0], "shared": view.position[1]},
        "truncated": truncation(snapshot, reached.stop, reached.nodes[reached.unexpanded], cursor),
        "fanOut": cut,
        "fanOutCount": len(reached.pruned),
        "pruned": pruned,
        "conflicts": conflicts,
        "conflictCount": conflict_count,
    }
    if found.status is not None:
        facts["resolved"] = found.document()
    for name, moment in (("asOf", query.as_of), ("knownAt", query.known_at)):
        if moment is not None:
            facts[name] = rfc3339(moment)
    return facts


def conflicts_of(snapshot: Snapshot, reached: Reached) -> tuple[list[dict[str, Any]], int]:
    """Return what several executions of an answer claim to have produced, in its order: the first, and how many."""
    made = np.flatnonzero(np.asarray(reached.code) == _PRODUCES)
    if not len(made):
        return [], 0
    lower, upper = np.asarray(reached.lower)[made], np.asarray(reached.upper)[made]
    several = np.flatnonzero(np.bincount(lower) > 1)
    named = []
    for product in several[:NAMED]:
        name, *producers = ids_of(snapshot, reached.nodes[[product, *np.sort(upper[lower == product])]])
        named.append({"node": name, "producers": producers})
    return named, len(several)


def truncation(snapshot: Snapshot, stop: Stop, waiting: Array, cursor: str | None) -> dict[str, Any] | None:
    """Say where and why a walk ended early, ``waiting`` being what it still meant to expand; None where it did not."""
    if stop is Stop.NONE:
        return None
    return {
        "reason": stop.name.lower(),
        "frontier": ids_of(snapshot, waiting[:NAMED]),
        "frontierCount": len(waiting),
        "cursor": cursor,
    }


def _with_evidence(
    opened: Opened, found: Found, reached: Reached, facts: dict[str, Any], first: tuple[int, int]
) -> Subgraph:
    graph = read_subgraph(opened, reached, facts, found.node, first=first)
    names = aliases_of(opened, found.node)
    also = [{"id": each.node, "status": None if each.status is None else each.status.value} for each in names]
    return replace(graph, facts=facts | {"aliases": also})
