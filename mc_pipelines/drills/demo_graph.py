"""One question to the provenance graph: what is connected with a receipt of the demo, two steps around."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from mc_pipelines.composition import Context
from mc_pipelines.decision.engine import open_engine
from mc_pipelines.decision.packs import loaded
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Reader, decide
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.identity import NodeId, receipt_id
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import GraphQuery
from mc_pipelines.provenance.store import GraphStore


@dataclass(frozen=True)
class GraphAnswer:
    """What the graph answered, for people and machines."""

    node: str
    found: dict[str, Any]
    milliseconds: float

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        if not self.found:
            return "there is no receipt to ask about yet."
        kinds = Counter(node["kind"] for node in self.found["nodes"])
        types = Counter(edge["type"] for edge in self.found["edges"])
        nodes = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        edges = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items()))
        return f"around receipt {self.node[:20]}…, 2 steps: {nodes}; edges: {edges} ({self.milliseconds:.1f} ms)."

    def document(self) -> dict[str, Any]:
        """Return the answer as JSON members."""
        return {"node": self.node, "answer": self.found, "milliseconds": round(self.milliseconds, 2)}


def one_answer(context: Context) -> GraphAnswer:
    """Ask about the first succeeded execution's receipt, as an operator of its tenant."""
    with context.database.begin() as connection:
        row = connection.execute(
            text(
                "select r.path, r.tenant from execution_receipt r join execution_transition t using (execution_id)"
                " where t.state = 'succeeded' order by r.path limit 1"
            )
        ).one_or_none()
    if row is None:
        return GraphAnswer("", {}, 0)
    tenant = TenantId(row.tenant)
    node: NodeId = receipt_id(context.encrypted_store.get(row.path, tenant=row.tenant))
    pack = loaded("graph")
    reader = Reader(tenant, frozenset({"operator"}), clearance=3)
    allowed = decide(open_engine(context.settings, pack), pack.revision, reader)
    store = GraphStore(context.database, context.generations_folder, context.clock)
    query = GraphQuery(node, depth=2, direction="both")
    graph_answer(store, tenant, query, allowed, CursorKey(os.urandom(32)))  # opens the generation, compiles the walk
    started = time.perf_counter()
    answer = graph_answer(store, tenant, query, allowed, CursorKey(os.urandom(32)))
    return GraphAnswer(str(node), json.loads(answer.body), (time.perf_counter() - started) * 1000)
