"""What if: which bundles would no longer pass the gate if a key or a builder were revoked."""

from __future__ import annotations

from typing import Any

import numpy as np

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Filter
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.cone import kinds_of
from mc_pipelines.provenance.considered import MAXIMUM_BUNDLES, considered_bundles
from mc_pipelines.provenance.gate import PASSED, UNKNOWN
from mc_pipelines.provenance.location import open_view
from mc_pipelines.provenance.model import KINDS
from mc_pipelines.provenance.request import QueryError, RevocationQuery
from mc_pipelines.provenance.roots import live_nodes
from mc_pipelines.provenance.rulings import rule_all
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.trust_logic import GatePolicy, Revoked, trusted


def revocation_answer(
    store: GraphStore, tenant: TenantId, query: RevocationQuery, allowed: Filter, policy: GatePolicy
) -> Answer:
    """Return the bundles that pass now and would not, of the live ones (of all, where none is recorded as live).

    Raises:
        QueryError: neither a key nor a builder is named, or both are.
    """
    if (query.key is None) == (query.builder is None):
        raise QueryError("Name a key or a builder, not both", field="key", mend="give key=… or builder=…")
    revoked = Revoked(
        keys=frozenset() if query.key is None else frozenset({query.key}),
        builders=frozenset() if query.builder is None else frozenset({query.builder}),
    )
    with timed("what-if"):
        opened = open_view(store, tenant, query, allowed)
        live = live_nodes(store.database, tenant, now=store.clock.now())
        bundles, which = considered_bundles(opened, live)
        chosen = bundles[:MAXIMUM_BUNDLES]
        rulings = rule_all(opened, chosen, policy)
        passing = {node for node, result in rulings.results.items() if result == PASSED}
        unknown = sum(result == UNKNOWN for result in rulings.results.values())
        ends = passing - trusted(rulings.gathered.facts, policy, revoked).keys()
        kinds = kinds_of(opened, np.array(chosen, dtype=np.int64)).tolist()
        named = zip(map(opened.snapshot.id_of, chosen), kinds, strict=True)
        lost: list[dict[str, Any]] = [{"id": node, "kind": KINDS[kind].value} for node, kind in named if node in ends]
        lost.sort(key=lambda each: str(each["id"]))
        return tagged(
            {
                "nodes": lost[: query.limit],
                "edges": [],
                "revoked": {"key": query.key, "builder": query.builder},
                "counts": {"lost": len(lost), "passing": len(passing), "unknown": unknown},
                "considered": {"bundles": len(chosen), "of": len(bundles), "which": which},
                "complete": len(bundles) <= MAXIMUM_BUNDLES and len(lost) <= query.limit and not unknown,
                "policy": policy.to_document() | {"digest": policy.digest},
                "snapshot": {"seq": opened.view.position[0], "shared": opened.view.position[1]},
            }
        )
