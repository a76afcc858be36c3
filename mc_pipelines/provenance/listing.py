"""Which nodes there are: those that a tenant's own documents name, newest first, as far as the reader may know of them.

For who does not know an id to begin with. A page goes on behind the last node of the one before, by its id, so there is
nothing to decode and nothing that says how many nodes are hidden. Only what has a visible edge is listed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.id_texts import ids_of
from mc_pipelines.provenance.kernel import have_edges
from mc_pipelines.provenance.location import Opened, find_node, open_view
from mc_pipelines.provenance.model import KINDS
from mc_pipelines.provenance.request import ListQuery
from mc_pipelines.provenance.seen import seen_kinds
from mc_pipelines.provenance.store import GraphStore

Array = NDArray[Any]
_FEW, _MANY = 1024, 1 << 16
"""Nodes that are looked at together, first and at most."""
_STUB = 8


def nodes_answer(store: GraphStore, tenant: TenantId, query: ListQuery, allowed: Filter) -> Answer:
    """Return the newest nodes of some kinds, or those whose id holds a text.

    Raises:
        NotFoundError: the page before ended at a node that this reader may not know of.
    """
    with timed("nodes"):
        opened = open_view(store, tenant, query, allowed)
        until = opened.snapshot.own.nodes
        if query.after is not None:
            until = min(until, find_node(opened, query.after, "none", field="after").number)
        found = _newest(opened, query, until)
        page = found[: query.limit]
        more = len(found) > query.limit
        view = opened.view
        return tagged(
            {
                "nodes": page,
                "edges": [],
                "complete": not more,
                "snapshot": {"seq": view.position[0], "shared": view.position[1]},
                "next": page[-1]["id"] if more else None,
            }
        )


def _newest(opened: Opened, query: ListQuery, until: int) -> list[dict[str, Any]]:
    """Return the nodes of a page and one more, from those below a number."""
    found: list[dict[str, Any]] = []
    size = _FEW
    while until > 0 and len(found) <= query.limit:
        numbers = np.arange(until - 1, max(-1, until - 1 - size), -1)
        until -= len(numbers)
        size = min(2 * size, _MANY)
        numbers = numbers[have_edges(opened.snapshot, opened.view.visible, numbers)]
        kinds = seen_kinds(opened.snapshot, numbers, opened.view.visible)
        wanted = (query.kinds >> (kinds & 7) & 1).astype(np.bool_)
        numbers, kinds = numbers[wanted], kinds[wanted]
        if not query.contains:  # what is not on the page need not be spelt out
            numbers, kinds = numbers[: query.limit + 1 - len(found)], kinds[: query.limit + 1 - len(found)]
        for name, kind in zip(ids_of(opened.snapshot, numbers), kinds.tolist(), strict=True):
            if query.contains in name:
                stub = {"stub": True} if kind & _STUB else {}
                found.append({"id": name, "kind": KINDS[kind & 7], **stub})
    return found
