"""What ends the validity of a document's claims: a newer version of the same series."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.model import Claims

_SUPERSEDED = "superseded"

# Older versions close when this one begins; if a newer one is here already, this one closes when that begins.
_CLOSE_OLDER = text("""
insert into provenance_closures (tenant, seq, closed_seq, valid_to, rule, recorded_at)
select :tenant, :seq, older.seq, :valid_from, :rule, :now from provenance_documents as older
where older.tenant = :tenant and older.series = :series and older.version < :version
  and not exists (
    select from provenance_documents as between_them
    where between_them.tenant = :tenant and between_them.series = :series and between_them.seq <> :seq
      and between_them.version > older.version and between_them.version < :version)
""")
_CLOSE_THIS = text("""
insert into provenance_closures (tenant, seq, closed_seq, valid_to, rule, recorded_at)
select :tenant, :seq, :seq, min(newer.valid_from), :rule, :now from provenance_documents as newer
where newer.tenant = :tenant and newer.series = :series and newer.version > :version
having count(*) > 0
""")


def supersede(connection: Connection, tenant: TenantId, claims: Claims, seq: int, *, now: datetime) -> None:
    """Record which documents of the same series end with this one, and whether this one has ended already.

    Nothing is overwritten: a closure is an event of its own, so that what was known before stays answerable.
    """
    if claims.series is None:
        return
    facts = {
        "tenant": tenant,
        "seq": seq,
        "series": claims.series,
        "version": claims.version,
        "valid_from": claims.valid_from or now,
        "rule": _SUPERSEDED,
        "now": now,
    }
    connection.execute(_CLOSE_OLDER, facts)
    connection.execute(_CLOSE_THIS, facts)
