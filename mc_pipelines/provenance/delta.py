"""How far the log is ahead of a tenant's generation, and when that is worth a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import text

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import head_of, known_tenants
from mc_pipelines.provenance.pointer import current_generation

SHARE = 0.05
"""Of the generation's edges: what may wait in memory before a merge is due."""
MOST = 1_000_000
"""Claims that may wait, however large the generation is."""
LEAST = 10_000
"""Claims that wait for the hourly build, however small the generation is: reading them back costs milliseconds."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A shard whose news should be merged into its generation.

    Attributes:
        tenant: whose.
        built: the event that the generation ends with; 0 before the first.
        head: the log's last event.
        claims: how many claims wait, counted up to one more than may.
    """

    tenant: TenantId
    built: int
    head: int
    claims: int


def due_deltas(database: Database, *, share: float = SHARE, most: int = MOST, least: int = LEAST) -> Iterator[Delta]:
    """Yield the shards of which more waits than ``share`` of their edges, or than ``most``, and more than ``least``."""
    with database.begin() as connection:
        tenants = known_tenants(connection)
    for tenant in tenants:
        with database.begin(tenant=tenant) as connection:
            head = head_of(connection, tenant)
            current = current_generation(connection, tenant)
            built, edges = (0, 0) if current is None else (current.seq, current.edges)
            allowed = max(least, min(most, int(share * edges)))
            claims = connection.execute(
                text(
                    "select count(*) from (select from provenance_claims"
                    " where tenant = :tenant and seq > :built limit :enough) as waiting"
                ),
                {"tenant": tenant, "built": built, "enough": allowed + 1},
            ).scalar_one()
        if claims > allowed:
            yield Delta(tenant, built, head, claims)
