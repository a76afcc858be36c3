"""Nodes under which nothing is pruned: bundles that are live, and what a legal hold names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, text

from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import lock_head
from mc_pipelines.provenance.identity import NodeId, node_key, parse_node_id


class Reason(StrEnum):
    """Why a node is kept."""

    LIVE = "live"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Root:
    """A node that is kept with all that it stands on."""

    node: NodeId
    reason: Reason
    since: datetime
    until: datetime | None


def keep_root(connection: Connection, tenant: TenantId, node: str, reason: Reason, *, by: str, now: datetime) -> bool:
    """Keep a node with all that it stands on; return whether that is new. A node need not be known yet.

    Args:
        connection: a transaction of the tenant.
        tenant: whose node.
        node: its id.
        reason: why.
        by: id of the person or service that says so; for the audit log.
        now: when.

    Raises:
        InputError: no node id.
    """
    identifier = parse_node_id(node)
    lock_head(connection, tenant)  # retention plans under this lock, so a root is seen or comes after
    changed = connection.execute(
        text(
            "insert into provenance_roots as known (tenant, node, reason, id, since)"
            " values (:tenant, cast(:node as uuid), :reason, :id, :now)"
            " on conflict (tenant, node, reason) do update set since = excluded.since, until = null"
            " where known.until is not null"
        ),
        _key(tenant, identifier, reason) | {"id": identifier, "now": now},
    )
    if changed.rowcount:
        _record(connection, tenant, identifier, f"provenance.{reason}-begun", by=by, now=now)
    return bool(changed.rowcount)


def release_root(
    connection: Connection, tenant: TenantId, node: str, reason: Reason, *, by: str, now: datetime
) -> bool:
    """End keeping a node; return whether that changed anything.

    Raises:
        NotFoundError: it was never kept for this reason.
    """
    identifier = parse_node_id(node)
    key = _key(tenant, identifier, reason)
    changed = connection.execute(
        text(
            "update provenance_roots set until = :now where tenant = :tenant and node = cast(:node as uuid)"
            " and reason = :reason and until is null"
        ),
        key | {"now": now},
    )
    if changed.rowcount:
        _record(connection, tenant, identifier, f"provenance.{reason}-ended", by=by, now=now)
        return True
    if not any(each.node == identifier and each.reason is reason for each in list_roots(connection, tenant)):
        raise NotFoundError(f"The node was never kept as {reason}", field="node", value=identifier)
    return False


def list_roots(connection: Connection, tenant: TenantId) -> list[Root]:
    """Return all roots of a tenant, ended ones too, in order."""
    rows = connection.execute(
        text("select id, reason, since, until from provenance_roots where tenant = :tenant order by reason, id"),
        {"tenant": tenant},
    )
    return [Root(NodeId(row.id), Reason(row.reason), row.since, row.until) for row in rows]


def live_nodes(database: Database, tenant: TenantId, *, now: datetime) -> list[str]:
    """Return the ids of a tenant's live bundles, in order."""
    with database.begin(tenant=tenant) as connection:
        rows = connection.execute(
            text(
                "select id from provenance_roots where tenant = :tenant and reason = 'live'"
                " and (until is null or until > :now) order by id"
            ),
            {"tenant": tenant, "now": now},
        )
        return [row.id for row in rows]


def _key(tenant: TenantId, node: NodeId, reason: Reason) -> dict[str, str]:
    return {"tenant": tenant, "node": str(UUID(bytes=node_key(node))), "reason": reason.value}


def _record(connection: Connection, tenant: TenantId, node: NodeId, act: str, *, by: str, now: datetime) -> None:
    content = canonical_json({"tenant": tenant, "node": node, "by": by, "at": rfc3339(now)})
    append(connection, act=act, subject=f"{tenant}/{node_key(node).hex()}", content=content, at=now)
