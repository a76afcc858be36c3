"""What ends the validity of documents' claims: newer versions of their series."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, text

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.model import Claims

_SUPERSEDED = "superseded"

# All documents of the batch are in the log by now, so the order among them does not matter.
_FRESH = "unnest(cast(:seqs as bigint[])) as fresh(seq) join provenance_documents as this"
# Older versions close when this one begins; if a newer one is here already, this one closes when that begins.
_CLOSE_OLDER = text(f"""
insert into provenance_closures (tenant, seq, closed_seq, valid_to, rule, recorded_at)
select :tenant, this.seq, older.seq, this.valid_from, :rule, :now
from {_FRESH} on this.tenant = :tenant and this.seq = fresh.seq
join provenance_documents as older
    on older.tenant = :tenant and older.series = this.series and older.version < this.version
where not exists (
    select from provenance_documents as between_them
    where between_them.tenant = :tenant and between_them.series = this.series and between_them.seq <> this.seq
      and between_them.version > older.version and between_them.version < this.version)
""")
_CLOSE_THIS = text(f"""
insert into provenance_closures (tenant, seq, closed_seq, valid_to, rule, recorded_at)
select :tenant, this.seq, this.seq, min(newer.valid_from), :rule, :now
from {_FRESH} on this.tenant = :tenant and this.seq = fresh.seq
join provenance_documents as newer
    on newer.tenant = :tenant and newer.series = this.series and newer.version > this.version
group by this.seq
""")


def supersede(
    connection: Connection, tenant: TenantId, documents: Iterable[tuple[int, Claims]], *, now: datetime
) -> None:
    """Record which documents end with new ones of the same series, and which of the new ones have ended already.

    Nothing is overwritten: a closure is an event of its own, so that what was known before stays answerable.

    Args:
        connection: a transaction of the tenant in which the new documents were recorded.
        tenant: whose.
        documents: the new documents, each with its event.
        now: when.
    """
    seqs = [seq for seq, claims in documents if claims.series is not None]
    if seqs:
        facts = {"tenant": tenant, "seqs": seqs, "rule": _SUPERSEDED, "now": now}
        connection.execute(_CLOSE_OLDER, facts)
        connection.execute(_CLOSE_THIS, facts)
