"""Whether retention kept its promise: nothing below a live bundle or a legal hold goes."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import head_of
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.pruning import read_edges
from mc_pipelines.provenance.retention import ancestors_of
from mc_pipelines.provenance.roots import list_roots


def pruned_below_roots(database: Database, tenant: TenantId, *, now: datetime) -> int:
    """Count the roots and ancestors of roots that lost ancestors after the root was recorded."""
    with database.begin(tenant=tenant) as connection:
        roots = [root for root in list_roots(connection, tenant) if root.until is None or root.until > now]
        keys, edges = read_edges(connection, tenant, head_of(connection, tenant))
        found: set[UUID] = set()
        for root in roots:
            number = keys.get(node_key(root.node))
            marked = ancestors_of(edges, [] if number is None else [number])
            names = [UUID(bytes=key) for key, place in keys.items() if marked[place]]
            rows = connection.execute(
                text(
                    "select distinct node from provenance_tombstones where tenant = :tenant and direction = 0"
                    " and pruned_at > :since and node = any(:names)"
                ),
                {"tenant": tenant, "since": root.since, "names": [*names, UUID(bytes=node_key(root.node))]},
            )
            found.update(row.node for row in rows)
        return len(found)
