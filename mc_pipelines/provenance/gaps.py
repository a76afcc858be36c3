"""What nobody can vouch for, ranked by how many bundles stand on it: the list to work through from the top.

Looked for among the ancestors of the live bundles (of all bundles, where none is recorded as live), or of one node:

- ``unverified``: a receipt whose signature was not proved, or a bundle that no verified receipt signs;
- ``stub``: named by a document, described by none;
- ``pruned``: retention removed claims at it;
- ``conflicting``: several executions claim to have produced it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.cone import cone, is_whole
from mc_pipelines.provenance.location import Opened, find_node, open_view, tombstones
from mc_pipelines.provenance.model import KIND_CODE, KINDS, TYPE_CODE
from mc_pipelines.provenance.request import GapQuery
from mc_pipelines.provenance.roots import live_nodes
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import ANCESTORS, Reached

Array = NDArray[Any]
MAXIMUM_BUNDLES = 2000
"""Bundles whose ancestors are looked at; where there are more, the answer says so."""
KINDS_OF_GAPS = ("conflicting", "unverified", "pruned", "stub")
"""In order of urgency, where equally many bundles are affected."""
_BUNDLE, _RECEIPT = KIND_CODE["bundle"], KIND_CODE["receipt"]
_PRODUCES, _SIGNS, _VERIFIES = TYPE_CODE["produces"], TYPE_CODE["signs"], TYPE_CODE["verifies"]
_STUB = 8


@dataclass
class _Survey:
    """What the cones of all considered bundles hold together."""

    size: int
    affected: Array = field(init=False)
    inside: Array = field(init=False)
    verified: Array = field(init=False)
    record: Array = field(init=False)
    signs: list[Array] = field(default_factory=list)
    made: list[Array] = field(default_factory=list)
    whole: bool = True

    def __post_init__(self) -> None:
        self.affected = np.zeros(self.size, dtype=np.int64)
        self.inside, self.verified, self.record = (np.zeros(self.size, dtype=np.bool_) for _ in range(3))

    def add(self, reached: Reached, *, counts: bool) -> None:
        """Take in one cone; ``counts`` says whether it is a bundle's, so that its nodes affect one bundle more."""
        nodes = reached.nodes.astype(np.int64)
        lower, upper, code = nodes[reached.lower], nodes[reached.upper], np.asarray(reached.code)
        self.affected[nodes] += counts
        self.inside[nodes] = True
        self.verified[lower[code == _VERIFIES]] = True
        self.record[upper[code == _VERIFIES]] = True
        for kept, wanted in ((self.signs, _SIGNS), (self.made, _PRODUCES)):
            rows = code == wanted
            kept.append(np.stack([lower[rows], upper[rows]], axis=1))
        self.whole &= is_whole(reached)


def gaps_answer(store: GraphStore, tenant: TenantId, query: GapQuery, allowed: Filter) -> Answer:
    """Return what is missing or contradictory, most urgent first.

    Raises:
        NotFoundError: the node asked for is none that this reader may know of.
    """
    with timed("gaps"):
        opened = open_view(store, tenant, query, allowed)
        live = live_nodes(store.database, tenant, now=store.clock.now())
        bundles, which = considered_bundles(opened, live)
        survey = _Survey(opened.snapshot.nodes)
        for number in bundles[:MAXIMUM_BUNDLES]:
            survey.add(cone(opened, number, ANCESTORS), counts=True)
        among = survey.inside
        root = None
        if query.node is not None:
            root = find_node(opened, query.node, query.resolve)
            own = cone(opened, root.number, ANCESTORS)
            survey.add(own, counts=False)
            among = np.zeros(opened.snapshot.nodes, dtype=np.bool_)
            among[own.nodes] = True
        found = sorted(
            _gaps(opened, survey, among),
            key=lambda gap: (-gap["bundles"], KINDS_OF_GAPS.index(gap["gap"]), gap["node"]),
        )
        whole = survey.whole and len(bundles) <= MAXIMUM_BUNDLES
        listed = found[: query.limit]
        names = dict.fromkeys(gap["node"] for gap in listed)
        kinds = {gap["node"]: gap["kind"] for gap in listed}
        return tagged(
            {
                "nodes": [{"id": name, "kind": kinds[name]} for name in names],
                "edges": [],
                "gaps": listed,
                "counts": dict(Counter(gap["gap"] for gap in found)),
                "considered": {"bundles": min(len(bundles), MAXIMUM_BUNDLES), "of": len(bundles), "which": which},
                "root": None if root is None else root.node,
                "complete": whole and len(found) <= query.limit,
                "snapshot": {"seq": opened.view.position[0], "shared": opened.view.position[1]},
            }
        )


def considered_bundles(opened: Opened, live: list[str]) -> tuple[list[int], str]:
    """Return the numbers of the bundles that a survey looks at, and which they are: the live ones, else ``all``."""
    if live:
        return sorted(number for number in map(opened.snapshot.find, live) if number >= 0), "live"
    snapshot = opened.snapshot
    # A shared node that the tenant knows itself goes by its own number; the other is not in use.
    used = np.append(np.ones(snapshot.own.nodes, dtype=np.bool_), snapshot.common.to_own < 0)
    bundles = np.flatnonzero(((snapshot.kind & 7) == _BUNDLE) & used)
    return [int(number) for number in bundles if _is_visible(opened, int(number))], "all"


def _is_visible(opened: Opened, number: int) -> bool:
    return len(cone(opened, number, ANCESTORS | 2, depth=1, maximum_nodes=2).lower) > 0


def _gaps(opened: Opened, survey: _Survey, among: Array) -> Iterator[dict[str, Any]]:
    snapshot = opened.snapshot
    kinds = snapshot.kind & 7

    def gap(number: int, name: str, why: str) -> dict[str, Any]:
        return {
            "node": snapshot.id_of(number),
            "kind": KINDS[int(kinds[number])].value,
            "gap": name,
            "bundles": int(survey.affected[number]),
            "why": why,
        }

    for number in np.flatnonzero(among & ((snapshot.kind & _STUB) != 0)):
        yield gap(int(number), "stub", "Documents name it and none describes it.")
    for number in np.flatnonzero(among & (kinds == _RECEIPT) & ~survey.verified & ~survey.record):
        yield gap(int(number), "unverified", "Its signature was not proved.")
    signed = np.zeros(snapshot.nodes, dtype=np.bool_)
    pairs = np.concatenate(survey.signs) if survey.signs else np.empty((0, 2), dtype=np.int64)
    signed[pairs[survey.verified[pairs[:, 1]], 0]] = True
    for number in np.flatnonzero(among & (kinds == _BUNDLE) & ~signed):
        yield gap(int(number), "unverified", "No verified receipt signs it.")
    made = np.unique(np.concatenate(survey.made), axis=0) if survey.made else np.empty((0, 2), dtype=np.int64)
    targets, counts = np.unique(made[:, 0], return_counts=True)
    for number, count in zip(targets, counts, strict=True):
        if count > 1 and among[number]:
            yield gap(int(number), "conflicting", f"{count} executions claim to have produced it.")
    gone: dict[str, list[str]] = {}
    for each in tombstones(opened, map(snapshot.id_of, map(int, np.flatnonzero(among)))):
        gone.setdefault(each["node"], []).append(f"{each['edges']} {each['type']} towards {each['direction']}")
    for name, parts in gone.items():
        yield gap(snapshot.find(name), "pruned", f"Retention removed {', '.join(parts)}.")
