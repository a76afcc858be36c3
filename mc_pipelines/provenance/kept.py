"""Whether retention kept its promise: nothing below a live bundle or a legal hold goes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.marks import read_marks
from mc_pipelines.provenance.roots import list_roots


def pruned_below_roots(database: Database, tenant: TenantId, *, now: datetime) -> int:
    """Count the roots and ancestors of roots that lost ancestors after the root was recorded."""
    with database.begin(tenant=tenant) as connection:
        roots = [root for root in list_roots(connection, tenant) if root.until is None or root.until > now]
        marks = read_marks(connection, tenant, ())
        unnamed: dict[bytes, datetime] = {}
        above: dict[int, datetime] = {}
        for root in sorted(roots, key=lambda each: each.since):  # so the first mark at a node is the earliest
            key = node_key(root.node)
            number = marks.number(key)
            if number < 0:
                unnamed.setdefault(key, root.since)
            else:
                above |= dict.fromkeys(marks.mark([number]), root.since)
        rows = connection.execute(
            text(
                "select node, max(pruned_at) as pruned_at from provenance_tombstones"
                " where tenant = :tenant and direction = 0 group by node"
            ),
            {"tenant": tenant},
        ).all()
        keys = [row.node.bytes for row in rows]
        begun = [
            unnamed.get(key) if number < 0 else above.get(number)
            for key, number in zip(keys, marks.numbers(keys).tolist(), strict=True)
        ]
        return sum(since is not None and row.pruned_at > since for row, since in zip(rows, begun, strict=True))
