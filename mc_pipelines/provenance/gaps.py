"""What nobody can vouch for, ranked by how many bundles stand on it: the list to work through from the top.

Looked for among the ancestors of the live bundles (of all bundles, where none is recorded as live), or of one node:

- ``unverified``: a receipt whose signature was not proved, or a bundle that no verified receipt signs;
- ``stub``: named by a document, described by none;
- ``pruned``: retention removed claims at it;
- ``conflicting``: several executions claim to have produced it.

Where equally many bundles are affected the more urgent sort comes first, then what was named first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.ancestry import Ancestry, ancestry
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.cone import kinds_of
from mc_pipelines.provenance.considered import MAXIMUM_BUNDLES, considered_bundles, flagged
from mc_pipelines.provenance.location import Opened, find_node, open_view, pruned_keys, tombstones
from mc_pipelines.provenance.model import KIND_CODE, KINDS, TYPE_CODE
from mc_pipelines.provenance.rank import STUB
from mc_pipelines.provenance.request import GapQuery
from mc_pipelines.provenance.roots import live_nodes
from mc_pipelines.provenance.seen import seen_kinds
from mc_pipelines.provenance.store import GraphStore

Array = NDArray[Any]
KINDS_OF_GAPS = ("conflicting", "unverified", "pruned", "stub")
"""In order of urgency, where equally many bundles are affected."""
_BUNDLE, _RECEIPT = KIND_CODE["bundle"], KIND_CODE["receipt"]
_PRODUCES, _SIGNS, _VERIFIES = TYPE_CODE["produces"], TYPE_CODE["signs"], TYPE_CODE["verifies"]


def gaps_answer(store: GraphStore, tenant: TenantId, query: GapQuery, allowed: Filter) -> Answer:
    """Return what is missing or contradictory, most urgent first.

    Raises:
        NotFoundError: the node asked for is none that this reader may know of.
    """
    with timed("gaps"):
        opened = open_view(store, tenant, query, allowed)
        live = live_nodes(store.database, tenant, now=store.clock.now())
        bundles, which = considered_bundles(opened, live)
        chosen = bundles[:MAXIMUM_BUNDLES]
        root = None if query.node is None else find_node(opened, query.node, query.resolve)
        starts = chosen if root is None else [*chosen, root.number]
        above = ancestry(opened.snapshot, opened.view.visible, starts)
        affected = above.count(above.place[chosen])
        among = np.ones(len(above.nodes), dtype=np.bool_)
        if root is not None:
            among = above.count(above.place[[root.number]]) > 0
        found = _gaps(opened, above, among)
        total = sum(map(len, found.values()))
        listed = _listed(opened, above, affected, _ranked(found, affected, above.nodes, query.limit))
        kinds = {gap["node"]: gap["kind"] for gap in listed}
        return tagged(
            {
                "nodes": [{"id": name, "kind": kind} for name, kind in kinds.items()],
                "edges": [],
                "gaps": listed,
                "counts": {name: len(places) for name, places in found.items() if len(places)},
                "considered": {"bundles": len(chosen), "of": len(bundles), "which": which},
                "root": None if root is None else root.node,
                "complete": above.whole and len(bundles) <= MAXIMUM_BUNDLES and total <= query.limit,
                "snapshot": {"seq": opened.view.position[0], "shared": opened.view.position[1]},
            }
        )


def _gaps(opened: Opened, above: Ancestry, among: Array) -> dict[str, Array]:
    """Return the places of what is missing, by sort of gap, in order of urgency."""
    size = len(above.nodes)
    described = seen_kinds(opened.snapshot, above.nodes, opened.view.visible)
    kinds = described & 7
    verified, record, signed = (np.zeros(size, dtype=np.bool_) for _ in range(3))
    checked = above.code == _VERIFIES
    verified[above.lower[checked]] = True
    record[above.upper[checked]] = True
    names = above.code == _SIGNS
    signed[above.lower[names][verified[above.upper[names]]]] = True
    unverified = ((kinds == _RECEIPT) & ~verified & ~record) | ((kinds == _BUNDLE) & ~signed)
    found = {
        "conflicting": _makers(above) > 1,
        "unverified": unverified,
        "pruned": flagged(opened, above, list(pruned_keys(opened))),
        "stub": (described & STUB) != 0,
    }
    return {name: np.flatnonzero(found[name] & among) for name in KINDS_OF_GAPS}


def _makers(above: Ancestry) -> Array:
    """Return, per place, how many executions claim to have produced it."""
    return np.bincount(above.lower[above.code == _PRODUCES], minlength=len(above.nodes))


def _ranked(found: dict[str, Array], affected: Array, numbers: Array, limit: int) -> list[tuple[str, int]]:
    """Return (sort, place) of the most urgent gaps."""
    places = np.concatenate(list(found.values()))
    urgency = np.repeat(np.arange(len(found)), [len(each) for each in found.values()])
    order = np.lexsort((numbers[places], urgency, -affected[places]))[:limit]
    return [(KINDS_OF_GAPS[urgency[row]], int(places[row])) for row in order]


def _listed(opened: Opened, above: Ancestry, affected: Array, ranked: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return gaps as members of an answer, each with its sentence."""
    names = [opened.snapshot.id_of(int(above.nodes[place])) for _, place in ranked]
    gone: dict[str, list[str]] = {}
    for each in tombstones(opened, [name for name, (sort, _) in zip(names, ranked, strict=True) if sort == "pruned"]):
        gone.setdefault(each["node"], []).append(f"{each['edges']} {each['type']} towards {each['direction']}")
    makers = _makers(above)

    def why(sort: str, place: int, name: str, kind: int) -> str:
        if sort == "conflicting":
            return f"{makers[place]} executions claim to have produced it."
        if sort == "pruned":
            return f"Retention removed {', '.join(gone[name])}."
        if sort == "stub":
            return "Documents name it and none describes it."
        return "No verified receipt signs it." if kind == _BUNDLE else "Its signature was not proved."

    kinds = kinds_of(opened, above.nodes[[place for _, place in ranked]])
    return [
        {
            "node": name,
            "kind": KINDS[int(kind)].value,
            "gap": sort,
            "bundles": int(affected[place]),
            "why": why(sort, place, name, int(kind)),
        }
        for name, kind, (sort, place) in zip(names, kinds, ranked, strict=True)
    ]
