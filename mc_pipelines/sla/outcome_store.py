"""Which incident ended in which note or determination, per tenant; one line each, never changed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.sla import records
from mc_pipelines.sla.credit import CREDIT_NOTE
from mc_pipelines.sla.draft_store import Draft
from mc_pipelines.sla.evidence import parse_evidence
from mc_pipelines.sla.note_store import Issued

_TABLE = records.outcome


def link_incidents(connection: Connection, draft: Draft, issued: Issued, *, now: datetime) -> None:
    """Record that the closed incidents of a credit note's period ended in it, unless they ended before."""
    if draft.kind != CREDIT_NOTE:
        return
    for incident in parse_evidence(draft.evidence).closed_incidents:
        link_incident(connection, incident.fact_id, draft.subject.tenant, issued, now=now)


def link_incident(connection: Connection, incident_id: str, tenant: TenantId, issued: Issued, *, now: datetime) -> None:
    """Record that an incident ended in a note for a tenant; a retry writes nothing."""
    connection.execute(
        insert(_TABLE)
        .values(
            incident_id=incident_id,
            tenant=tenant,
            number=issued.number,
            leaf_id=issued.leaf_id,
            recorded_at=now,
        )
        .on_conflict_do_nothing()
    )


def write_determination(
    connection: Connection,
    incident_id: str,
    tenant: TenantId,
    *,
    reason: str,
    envelope: bytes,
    leaf_id: str,
    now: datetime,
) -> None:
    """Record a signed no-credit determination.

    Raises:
        IntegrityError: the incident has ended in something for this tenant already.
    """
    connection.execute(
        insert(_TABLE).values(
            incident_id=incident_id,
            tenant=tenant,
            reason=reason,
            envelope=envelope,
            leaf_id=leaf_id,
            recorded_at=now,
        )
    )


def has_ended(connection: Connection, incident_id: str, tenant: TenantId) -> bool:
    """Tell whether an incident has ended for a tenant."""
    query = select(_TABLE.c.tenant).where(_TABLE.c.incident_id == incident_id, _TABLE.c.tenant == tenant)
    return connection.execute(query).first() is not None


def ended(connection: Connection) -> dict[tuple[str, str], str | None]:
    """Return how each (incident, tenant) ended: the number of a note, or None for a determination."""
    rows = connection.execute(select(_TABLE.c.incident_id, _TABLE.c.tenant, _TABLE.c.number))
    return {(row.incident_id, row.tenant): row.number for row in rows}
