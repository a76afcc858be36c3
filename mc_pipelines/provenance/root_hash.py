"""One hash over all that a tenant's log says, whatever the order and number of attempts in which it came to say it.

A leaf is a document: its digest, its label and verdict, its place in its series, and its claims and aliases sorted by
the keys of their ends. The root is the hash over the leaves sorted by digest and over the nodes sorted by key, each as
the highest-ranked of its descriptions has it: which others are kept depends on the order of arrival. Events (seq),
times of recording and closures, which follow from series and versions, are not part of it.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, text

from mc_pipelines.foundation.ids import Digest, TenantId

_LEAVES = text("""
select document.digest, document.label, document.verification ->> 'status' as status, document.series,
    document.version, document.nodes, document.edges, claimed.hash as claims, aliased.hash as aliases
from provenance_documents as document
left join lateral (
    select sha256(string_agg(uuid_send(source) || uuid_send(target) || int2send(type), ''::bytea
        order by source, target, type)) as hash
    from provenance_claims as claim
    where claim.tenant = :tenant and claim.seq = document.seq
        and claim.recorded_on = (document.recorded_at at time zone 'UTC')::date
) as claimed on true
left join lateral (
    select sha256(string_agg(uuid_send(first) || uuid_send(second), ''::bytea order by first, second)) as hash
    from provenance_aliases as alias
    where alias.tenant = :tenant and alias.seq = document.seq
) as aliased on true
where document.tenant = :tenant
order by document.digest collate "C"
""")
_NODES = text("""
select node.id, best.kind, best.stub,
    case when best.rank = node.rank then node.label else best.label end as label,
    (case when best.rank = node.rank then node.attributes else best.attributes end)::text as attributes
from provenance_nodes as node cross join lateral (
    select kind, stub, rank, label, attributes from (
        select node.kind, node.stub, node.rank, node.label, node.attributes where node.seq > 0
        union all
        (select kind, stub, rank, label, attributes from provenance_descriptions as later
            where later.tenant = :tenant and later.node = node.node order by rank desc limit 1)
    ) as said order by rank desc limit 1
) as best
where node.tenant = :tenant order by node.node
""")
_AT_ONCE = 10_000


def root_hash(connection: Connection, tenant: TenantId) -> Digest:
    """Return the root of a tenant's log, as one snapshot of ``connection`` sees it."""
    total = hashlib.sha256(b"mc-provenance-root-v1\0")
    for statement in (_LEAVES, _NODES):
        rows = connection.execution_options(yield_per=_AT_ONCE).execute(statement, {"tenant": tenant})
        for row in rows:
            total.update(hashlib.sha256(b"\0".join(map(_bytes, row))).digest())
        total.update(b"\0")
    return Digest("sha256:" + total.hexdigest())


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    return repr(value).encode()
