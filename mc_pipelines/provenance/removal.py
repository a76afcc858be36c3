"""Documents leaving the hot tier: what ends them, what stands at each node in their place, and what is deleted.

All of a slice goes by one statement a table, whatever the number of documents: what is done under the lock of the
tenant's log is what an ingest waits for.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.records import TYPE_MENTIONS

_UPWARD, _DOWNWARD = 0, 1
_CLOSE = text("""
insert into provenance_closures (tenant, seq, closed_seq, valid_to, rule, recorded_at, cold)
select :tenant, event, closed, null, rule, :now, cold from
    unnest(cast(:event as bigint[]), cast(:closed as bigint[]), cast(:rule as text[]), cast(:cold as text[]))
    as gone(event, closed, rule, cold)
""")
# Claims lie in a partition a day and are found by it; reading the days of a slice reads nothing of the others.
_MINE = "recorded_on = any(cast(:days as date[])) and tenant = :tenant and seq = any(cast(:closed as bigint[]))"
_CLAIMS = text(f"select seq, source, target, type from provenance_claims where {_MINE}")
_BURY = text("""
insert into provenance_tombstones (tenant, seq, node, type, direction, edges, rule, pruned_at, root)
select :tenant, event, node, type, direction, edges, rule, :now, root from
    unnest(cast(:event as bigint[]), cast(:node as uuid[]), cast(:type as smallint[]), cast(:direction as smallint[]),
        cast(:edges as integer[]), cast(:rule as text[]), cast(:root as bytea[]))
    as stone(event, node, type, direction, edges, rule, root)
""")
_DELETE = (
    text(f"delete from provenance_claims where {_MINE}"),
    text("delete from provenance_aliases where tenant = :tenant and seq = any(cast(:closed as bigint[]))"),
)
_SAID = "tenant = :tenant and seq >= 0 and seq = any(cast(:closed as bigint[])) returning node"
_UNSAY = (
    text(f"delete from provenance_descriptions where {_SAID}"),
    text(f"update provenance_nodes set seq = 0 where {_SAID}"),
)
# A name stays with its node; label and facts stay where others say the same.
_SAID_BY_NOBODY = text("""
update provenance_nodes as n set kind = 0, stub = true, rank = -1, label = null, attributes = null
where tenant = :tenant and node = any(:said) and seq = 0 and not exists (
    select from provenance_descriptions as other
    where other.tenant = :tenant and other.node = n.node and other.rank = n.rank)
""")


@dataclass(frozen=True, slots=True)
class Removal:
    """A document that goes.

    Attributes:
        event: the event by which it goes.
        closed: the event that recorded it.
        recorded_at: when that was.
        rule: under which it goes.
        cold: path of the file that holds its claims; None = they are gone for good.
    """

    event: int
    closed: int
    recorded_at: datetime
    rule: str
    cold: str | None


def remove(connection: Connection, tenant: TenantId, removals: Sequence[Removal], *, now: datetime) -> None:
    """Remove documents; the caller holds the lock of the tenant's log.

    Args:
        connection: a transaction of the tenant.
        tenant: whose.
        removals: the documents.
        now: when.
    """
    if not removals:
        return
    facts: dict[str, Any] = {
        "tenant": tenant,
        "now": now,
        "event": [each.event for each in removals],
        "closed": [each.closed for each in removals],
        "rule": [each.rule for each in removals],
        "cold": [each.cold for each in removals],
        "days": sorted({each.recorded_at.astimezone(UTC).date() for each in removals}),
    }
    connection.execute(_CLOSE, facts)
    claims: dict[int, list[tuple[UUID, UUID, int]]] = defaultdict(list)
    for row in connection.execute(_CLAIMS, facts):
        claims[row.seq].append((row.source, row.target, row.type))
    stones = [
        (each.event, *stone, each.rule, root) for each in removals for *stone, root in _stones(claims[each.closed])
    ]
    if stones:
        names = ("event", "node", "type", "direction", "edges", "rule", "root")
        columns = dict(zip(names, map(list, zip(*stones, strict=True)), strict=True))
        connection.execute(_BURY, {"tenant": tenant, "now": now} | columns)
    for statement in _DELETE:
        connection.execute(statement, facts)
    said = [row.node for statement in _UNSAY for row in connection.execute(statement, facts)]
    connection.execute(_SAID_BY_NOBODY, facts | {"said": said})


def _stones(claims: Iterable[tuple[UUID, UUID, int]]) -> list[tuple[UUID, int, int, int, bytes]]:
    """Return what stands at each node in place of a document's claims.

    Rows of (node, type, direction, how many there were, SHA-256 over them in order).
    """
    gone: dict[tuple[UUID, int, int], list[bytes]] = {}
    for source, target, code in claims:
        said = source.bytes + target.bytes + bytes([code])
        if code == TYPE_MENTIONS:
            gone.setdefault((source, 0, _UPWARD), [])
            continue
        lower, upper = (source, target) if code == 0 else (target, source)
        gone.setdefault((lower, code, _UPWARD), []).append(said)
        gone.setdefault((upper, code, _DOWNWARD), []).append(said)
    return [(*key, len(parts), hashlib.sha256(b"".join(sorted(parts))).digest()) for key, parts in gone.items()]
