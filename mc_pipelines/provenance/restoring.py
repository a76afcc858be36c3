"""Bringing a pruned document back: its claims enter again as a new event, and its tombstones go."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.cold import Archive
from mc_pipelines.provenance.edge_log import lock_head, move_head
from mc_pipelines.provenance.identity import node_key

# For who holds a generation from before: the event that is left stays hidden, and the next generation is built anew.
_LEAVE = """
insert into provenance_closures (tenant, seq, closed_seq, valid_to, rule, recorded_at)
select tenant, :seq, :old, null, rule, :now from provenance_closures
where tenant = :tenant and seq = :event and closed_seq = :old
"""
_CLOSE_AGAIN = """
insert into provenance_closures (tenant, seq, closed_seq, valid_to, rule, recorded_at)
select tenant, :seq, :seq, min(valid_to), min(rule), :now from provenance_closures
where tenant = :tenant and closed_seq = :old and valid_to is not null group by tenant
"""
_MOVED = """
create temporary table moved on commit drop as
select * from provenance_documents where tenant = :tenant and seq = :old
"""
# What never ends is never pruned, so that what comes back covers nothing.
_NODE = """
insert into provenance_nodes (tenant, node, id, seq, rank, mark, kind, stub, label, attributes)
select :tenant, :source_key, :source, :seq, :rank, document.label, :kind, :stub, :label, cast(:attributes as jsonb)
from provenance_documents as document where tenant = :tenant and seq = :seq
on conflict (tenant, node) do nothing
"""
_DESCRIPTION = """
insert into provenance_descriptions (tenant, seq, node, rank, mark, kind, stub, label, attributes)
select :tenant, :seq, :source_key, :rank, document.label, :kind, :stub,
    case when known.rank <> :rank then :label end,
    case when known.rank <> :rank then cast(:attributes as jsonb) end
from provenance_documents as document join provenance_nodes as known on known.tenant = document.tenant
where document.tenant = :tenant and document.seq = :seq and known.node = :source_key and known.seq <> :seq
"""
_CLAIM = """
insert into provenance_claims (recorded_on, tenant, seq, ordinal, source, target, type)
values (:day, :tenant, :seq, :ordinal, :source_key, :target_key, :type)
"""
_ALIAS = """
insert into provenance_aliases (tenant, seq, first, second)
values (:tenant, :seq, :source_key, :target_key) on conflict do nothing
"""
_MOVE = (
    "delete from provenance_tombstones where tenant = :tenant and seq = :event",
    _LEAVE,
    _CLOSE_AGAIN,
    _MOVED,
    "delete from provenance_documents where tenant = :tenant and seq = :old",
    "update moved set seq = :seq",
    "insert into provenance_documents select * from moved",
    "select mc_provenance_partition(:day)",
)


def restore(database: Database, tenant: TenantId, digest: str, *, archive: Archive, clock: Clock) -> int:
    """Bring a pruned document back from the cold tier, as a new event; return that event.

    Raises:
        NotFoundError: the document is not known, was not pruned, or its cold file is gone.
    """
    now = clock.now()
    with database.begin(tenant=tenant) as connection:
        head = lock_head(connection, tenant)
        facts: dict[str, Any] = {"tenant": tenant, "digest": digest, "seq": head + 1, "now": now}
        gone = connection.execute(
            text(
                "select d.seq, c.seq as event, c.cold, (d.recorded_at at time zone 'UTC')::date as day"
                " from provenance_documents d join provenance_closures c"
                " on c.tenant = d.tenant and c.closed_seq = d.seq and c.valid_to is null"
                " where d.tenant = :tenant and d.digest = :digest"
            ),
            facts,
        ).one_or_none()
        if gone is None or gone.cold is None:
            raise NotFoundError("No such document was pruned to the cold tier", field="document", value=digest)
        rows = archive.read(gone.cold, digest).to_dicts()
        # Claims lie in the partition of the day on which their document was recorded, which stays what it was.
        facts |= {"old": gone.seq, "event": gone.event, "day": gone.day}
        for statement in _MOVE:
            connection.execute(text(statement), facts)
        _put_back(connection, rows, facts)
        move_head(connection, tenant, head + 1)
        return head + 1


def _put_back(connection: Connection, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    def keyed(row: dict[str, Any]) -> dict[str, Any]:
        ends = {name: UUID(bytes=node_key(row[name])) for name in ("source", "target") if row[name] is not None}
        return facts | row | {f"{name}_key": key for name, key in ends.items()}

    for sort, statements in (("node", (_NODE, _DESCRIPTION)), ("claim", (_CLAIM,)), ("alias", (_ALIAS,))):
        many = [keyed(row) for row in rows if row["row"] == sort]
        for statement in statements if many else ():
            connection.execute(text(statement), many)
