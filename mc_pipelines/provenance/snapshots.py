"""Which events answers are read at now, and which generations are kept: what ``minSeq`` and ``knownAt`` refer to."""

from __future__ import annotations

from sqlalchemy import text

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.store import GraphStore


def snapshots_answer(store: GraphStore, tenant: TenantId) -> Answer:
    """Return the tenant's newest event, the shared one, and the tenant's generations, newest first."""
    with timed("snapshots"):
        position = store.snapshot(tenant).position
        with store.database.begin(tenant=tenant) as connection:
            rows = connection.execute(
                text(
                    "select g.generation, g.seq, g.nodes, g.edges, g.built_at, p.generation is not null as current"
                    " from provenance_generations g left join provenance_pointers p on p.tenant = g.tenant"
                    " and p.generation = g.generation where g.tenant = :tenant order by g.seq desc, g.built_at desc"
                ),
                {"tenant": tenant},
            ).all()
        return tagged(
            {
                "seq": position[0],
                "shared": position[1],
                "generations": [
                    {
                        "generation": row.generation,
                        "seq": row.seq,
                        "nodes": row.nodes,
                        "edges": row.edges,
                        "builtAt": rfc3339(row.built_at),
                        "current": row.current,
                    }
                    for row in rows
                ],
            }
        )
