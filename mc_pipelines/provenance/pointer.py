"""Which generation of a tenant is current: a row of PostgreSQL, moved forward by compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import CHANNEL, DELETED


@dataclass(frozen=True, slots=True)
class Generation:
    """One built generation, as its row says.

    Attributes:
        tenant: whose graph it is.
        generation: digest of the file (hex).
        seq: everything up to this event is inside.
        path: below the folder of generations.
        nodes: how many nodes.
        edges: how many distinct claims of edges (entries of one direction).
        bytes: size of the file.
    """

    tenant: TenantId
    generation: str
    seq: int
    path: str
    nodes: int
    edges: int
    bytes: int


def current_generation(connection: Connection, tenant: TenantId) -> Generation | None:
    """Return the tenant's current generation, None before the first."""
    row = connection.execute(
        text(
            "select g.generation, g.seq, g.path, g.nodes, g.edges, g.bytes from provenance_pointers p"
            " join provenance_generations g on g.tenant = p.tenant and g.generation = p.generation"
            " where p.tenant = :tenant"
        ),
        {"tenant": tenant},
    ).one_or_none()
    if row is None:
        return None
    return Generation(tenant, row.generation, row.seq, row.path, row.nodes, row.edges, row.bytes)


def name_of_none(connection: Connection, tenant: TenantId) -> str:
    """Return the name that stands where there is no generation: of the tenant's last deletion, empty without any."""
    name = connection.execute(
        text("select generation from provenance_pointers where tenant = :tenant and starts_with(generation, :deleted)"),
        {"tenant": tenant, "deleted": DELETED},
    ).scalar()
    return str(name or "")


def publish_generation(connection: Connection, built: Generation, *, clock: Clock) -> bool:
    """Record a generation and move the pointer to it if it is newer; False where a newer one is current."""
    facts = {
        "tenant": built.tenant,
        "generation": built.generation,
        "seq": built.seq,
        "path": built.path,
        "nodes": built.nodes,
        "edges": built.edges,
        "bytes": built.bytes,
        "built_at": clock.now(),
    }
    connection.execute(
        text(
            "insert into provenance_generations (tenant, generation, seq, path, nodes, edges, bytes, built_at)"
            " values (:tenant, :generation, :seq, :path, :nodes, :edges, :bytes, :built_at) on conflict do nothing"
        ),
        facts,
    )
    moved = connection.execute(
        text(
            "insert into provenance_pointers as current (tenant, generation, seq) values (:tenant, :generation, :seq)"
            " on conflict (tenant) do update set generation = excluded.generation, seq = excluded.seq"
            " where current.seq <= excluded.seq"
        ),
        facts,
    )
    if moved.rowcount:
        connection.execute(text(f"select pg_notify('{CHANNEL}', :tenant)"), {"tenant": built.tenant})
    return bool(moved.rowcount)
