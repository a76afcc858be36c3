"""Which machine serves a tenant's shard, where there are several: rendezvous hashing (Thaler and Ravishankar, 1998).

Every machine ranks all machines for a tenant by a hash of both and agrees with every other without a table. One that
leaves gives up only its own tenants, spread over those that stay; one that comes takes only what is now its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId


def ranked(tenant: TenantId, nodes: Iterable[str]) -> list[str]:
    """Return the machines for a tenant, the one that serves it first, then its replicas in order.

    Raises:
        InputError: there is none.
    """
    found = sorted(set(nodes), key=lambda node: (_weight(tenant, node), node), reverse=True)
    if not found:
        raise InputError("No machine serves the graph", field="nodes")
    return found


def _weight(tenant: TenantId, node: str) -> bytes:
    return hashlib.blake2b(f"{len(node)}:{node}{tenant}".encode(), digest_size=16).digest()
