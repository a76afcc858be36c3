"""Answering a subgraph: from a reader's filter and a query to JSON bytes with a strong ETag.

An answer is a function of the log up to the two events it names, of the query and of the filter. It says
whether it is complete, and where and why not: ``truncated`` (a cap, with the nodes at its edge and a cursor),
``fanOut`` (nodes with more neighbours than were followed, with their visible degree) and ``pruned`` (what
retention removed, with the rule).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from prometheus_client import Histogram
from sqlalchemy import text

from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter, View
from mc_pipelines.provenance.identity import NodeId, node_key
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.log_reader import microseconds
from mc_pipelines.provenance.model import EDGE_TYPES, VerificationStatus
from mc_pipelines.provenance.request import MAXIMUM_PAGED, Cursor, CursorKey, GraphQuery, QueryError
from mc_pipelines.provenance.serialise import write_answer
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Reached, Stop, Walk

GRAPH_QUERY_MS = Histogram(
    "mc_graph_query_ms",
    "Milliseconds from a graph query to its bytes, by operation; never by tenant or node.",
    ["operation"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 200, 350, 500, 1000, 5000),
)
DIRECTION_BITS = {
    "ancestors": ANCESTORS,
    "descendants": DESCENDANTS,
    "both": ANCESTORS | DESCENDANTS,
    "undirected": ANCESTORS | DESCENDANTS,
}
_NAMED = 50
"""Nodes at the edge of a truncated answer, and fan-outs, that are named; all are counted."""
_SCANNED = 5_000_000


@contextmanager
def _timed(operation: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        GRAPH_QUERY_MS.labels(operation).observe((time.perf_counter() - started) * 1000)


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of an answer.

    Attributes:
        body: JSON.
        etag: strong, quoted.
        nodes: nodes in the body.
        edges: edges in the body.
        complete: whether nothing was left out.
        cursor: continues a truncated answer.
    """

    body: bytes
    etag: str
    nodes: int
    edges: int
    complete: bool
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Located:
    """A snapshot, what of it may be seen, and the node asked for."""

    snapshot: Snapshot
    view: View
    start: int


def graph_answer(store: GraphStore, tenant: TenantId, query: GraphQuery, allowed: Filter, cursors: CursorKey) -> Answer:
    """Return the subgraph that ``query`` asks for.

    Args:
        store: open snapshots.
        tenant: whose graph, from the verified credential.
        query: what is asked.
        allowed: what the policy lets the reader see.
        cursors: makes and reads cursors.

    Raises:
        NotFoundError: no such node, or none that this reader may know of; the two cannot be told apart.
        QueryError: the cursor is none of this query.
    """
    with _timed("subgraph"):
        if query.verified_only:
            allowed = allowed.narrowed([VerificationStatus.VERIFIED])
        before = None if query.cursor is None else cursors.read(query.cursor, tenant, query, allowed.digest)
        located = locate(store, tenant, query, allowed, before=before)
        first_node, first_edge = (0, 0) if before is None else (before.nodes, before.edges)
        if first_node + query.limit > MAXIMUM_PAGED:
            raise QueryError(f"All pages together hold at most {MAXIMUM_PAGED} nodes", field="cursor")
        reached = walk_compiled(
            located.snapshot,
            Walk(
                located.start,
                query.depth,
                DIRECTION_BITS[query.direction],
                query.direction == "undirected",
                query.types,
                query.kinds,
                query.fan_out,
                first_node + query.limit,
                first_edge + query.edge_limit,
                _SCANNED,
            ),
            located.view.visible,
        )
        cursor = None
        if reached.stop in {Stop.NODES, Stop.EDGES}:
            place = Cursor(
                len(reached.nodes), len(reached.lower), located.view.position, _valid_at(query, before, store)
            )
            cursor = cursors.write(place, tenant, query, allowed.digest)
        return _answer(store, tenant, query, allowed, located, reached, cursor, (first_node, first_edge))


def locate(
    store: GraphStore,
    tenant: TenantId,
    query: GraphQuery,
    allowed: Filter,
    *,
    before: Cursor | None = None,
    node: NodeId | None = None,
) -> Located:
    """Find the node asked for in what the reader may see.

    Raises:
        NotFoundError: no such node, or none that this reader may know of.
    """
    snapshot = store.snapshot(tenant, min_seq=query.min_seq)
    position = None if before is None else before.position
    valid_at = None if query.as_of is None else microseconds(query.as_of)
    if before is not None:
        valid_at = before.valid_at
    if query.known_at is not None and before is None:
        position = known_at(snapshot, microseconds(query.known_at))
    view = store.view(tenant, snapshot, allowed, valid_at=valid_at, position=position)
    wanted = node or query.node
    start = snapshot.find(wanted)
    if not _has_edges(snapshot, start, view) and not _is_mentioned(store, tenant, wanted, view):
        raise NotFoundError("There is no such node", field="node")
    return Located(snapshot, view, start)


def known_at(snapshot: Snapshot, moment: int) -> tuple[int, int]:
    """Return the last events recorded up to ``moment`` (microseconds since 1970): the tenant's and the shared."""

    def last(recorded: Any) -> int:
        return int(np.searchsorted(np.maximum.accumulate(recorded), moment, side="right")) - 1

    shared = 0 if snapshot.shared is None else last(snapshot.shared.documents["doc_recorded"])
    return last(snapshot.own.documents["doc_recorded"]), shared


def _has_edges(snapshot: Snapshot, start: int, view: View) -> bool:
    if start < 0:
        return False
    nearest = Walk(start, 1, fan_out=1, maximum_nodes=2, maximum_edges=1)
    return bool(len(walk_compiled(snapshot, nearest, view.visible).lower))


def _is_mentioned(store: GraphStore, tenant: TenantId, node: str, view: View) -> bool:
    """Tell whether a visible document names the node without an edge; asked alike for unknown and for hidden ones."""
    with store.database.begin(tenant=tenant) as connection:
        rows = connection.execute(
            text(
                "select tenant, seq from provenance_claims"
                " where source = :node and type = 4 and tenant in (:tenant, 'public')"
            ),
            {"node": str(UUID(bytes=node_key(node))), "tenant": tenant},
        ).all()
    own, shared = view.visible.own, view.visible.shared
    return any(
        (own if row.tenant == tenant else shared)[row.seq]
        for row in rows
        if row.seq < len(own if row.tenant == tenant else shared)
    )


def _valid_at(query: GraphQuery, before: Cursor | None, store: GraphStore) -> int:
    if before is not None:
        return before.valid_at
    return microseconds(store.clock.now() if query.as_of is None else query.as_of)


def _answer(
    store: GraphStore,
    tenant: TenantId,
    query: GraphQuery,
    allowed: Filter,
    located: Located,
    reached: Reached,
    cursor: str | None,
    first: tuple[int, int],
) -> Answer:
    snapshot, view = located.snapshot, located.view
    pruned = pruned_at(store, tenant, snapshot, reached, view)
    fan_out = [
        {
            "node": snapshot.id_of(int(reached.nodes[place])),
            "direction": "ancestors" if bit == ANCESTORS else "descendants",
            "degree": int(degree),
            "followed": int(followed),
        }
        for place, bit, degree, followed in reached.pruned[:_NAMED]
    ]
    complete = reached.stop is Stop.NONE and not fan_out and not pruned
    tail: dict[str, Any] = {
        "root": query.node,
        "depth": query.depth,
        "direction": query.direction,
        "complete": complete,
        "snapshot": {"seq": view.position[0], "shared": view.position[1]},
        "truncated": None if reached.stop is Stop.NONE else _truncated(snapshot, reached, cursor),
        "fanOut": fan_out,
        "fanOutCount": len(reached.pruned),
        "pruned": pruned,
    }
    for name, moment in (("asOf", query.as_of), ("knownAt", query.known_at)):
        if moment is not None:
            tail[name] = rfc3339(moment)
    body = write_answer(snapshot, reached, orjson.dumps(tail), first_node=first[0], first_edge=first[1])
    key = canonical_json([query.canonical(), query.cursor, list(view.position), view.since, allowed.digest, tenant])
    etag = f'"{hashlib.blake2b(key, digest_size=16).hexdigest()}"'
    return Answer(body, etag, len(reached.nodes) - first[0], len(reached.lower) - first[1], complete, cursor)


def _truncated(snapshot: Snapshot, reached: Reached, cursor: str | None) -> dict[str, Any]:
    edge = reached.unexpanded
    return {
        "reason": reached.stop.name.lower(),
        "frontier": [snapshot.id_of(int(reached.nodes[place])) for place in edge[:_NAMED]],
        "frontierCount": len(edge),
        "cursor": cursor,
    }


def pruned_at(
    store: GraphStore, tenant: TenantId, snapshot: Snapshot, reached: Reached, view: View
) -> list[dict[str, Any]]:
    """Return what retention removed at the nodes reached; nothing is looked up where nothing ever was."""
    if not bool(np.any(snapshot.own.closures.valid_to == -1)):
        return []
    by_key = {str(UUID(bytes=node_key(name))): name for name in map(snapshot.id_of, map(int, reached.nodes))}
    with store.database.begin(tenant=tenant) as connection:
        rows = connection.execute(
            text(
                "select node, type, direction, sum(edges) as edges, rule, max(pruned_at) as pruned_at"
                " from provenance_tombstones where tenant = :tenant and node = any(cast(:keys as uuid[]))"
                " and seq <= :seq group by node, type, direction, rule order by node, type, direction, rule"
            ),
            {"tenant": tenant, "keys": list(by_key), "seq": view.position[0]},
        ).all()
    return [
        {
            "node": by_key[str(row.node)],
            "type": EDGE_TYPES[row.type],
            "direction": ("ancestors", "descendants")[row.direction],
            "edges": int(row.edges),
            "rule": row.rule,
            "when": rfc3339(row.pruned_at),
        }
        for row in rows
    ]
