"""Reads and writes facts bitemporally: a correction is a further revision, never an update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, case, func, insert, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from mc_pipelines.attest.log import append
from mc_pipelines.attest.merkle import leaf_hash, root_of
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla import records
from mc_pipelines.sla.calendar import Period
from mc_pipelines.sla.facts import WITHDRAWN, Fact, Kind, fact_of

_TABLE = records.fact


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did."""

    new: int
    corrected: int
    known: int


def ingest_facts(connection: Connection, facts: Sequence[Fact], *, now: datetime) -> Ingested:
    """Record facts; one that is known with the same content is left alone, one that changed gets a revision.

    An incident that names fewer tenants than before is withdrawn for those it no longer names. A load enters the
    audit log as one leaf, the Merkle root over what was new in it.

    Raises:
        InputError: a fact says what cannot be known yet: a closed incident's end, or an announcement, after now.
    """
    for fact in facts:
        _require_past(fact, now)
    connection.execute(text("select pg_advisory_xact_lock(hashtext('mc_sla_fact'))"))
    new = corrected = known = 0
    written: list[bytes] = []
    for fact in (*facts, *_withdrawn(connection, facts)):
        revision, digest = _newest(connection, fact)
        if digest == fact.digest:
            known += 1
            continue
        new, corrected = (new + 1, corrected) if digest is None else (new, corrected + 1)
        written.append(canonical_json(fact.content | {"revision": revision + 1}))
        connection.execute(
            insert(_TABLE).values(
                kind=fact.kind.value,
                fact_id=fact.fact_id,
                revision=revision + 1,
                tenant=fact.tenant,
                service=fact.service,
                starts_at=fact.starts_at,
                ends_at=fact.ends_at,
                content=fact.content,
                digest=fact.digest,
                recorded_at=now,
            )
        )
    if written:
        root = root_of([leaf_hash(content) for content in sorted(written)]).hex()
        content = canonical_json({"kind": facts[0].kind.value, "count": len(written), "root": root})
        append(connection, act="sla.facts-ingested", subject=facts[0].kind.value, content=content, at=now)
    return Ingested(new, corrected, known)


def _require_past(fact: Fact, now: datetime) -> None:
    if fact.details.get("state") == "closed" and fact.ends_at is not None and fact.ends_at > now:
        raise InputError(
            "A closed incident cannot end in the future",
            field="incident.until",
            value=f"{fact.fact_id} {rfc3339(fact.ends_at)}",
            mend="leave it open until it is over",
        )
    if fact.announced_at is not None and fact.announced_at > now:
        raise InputError(
            "An announcement cannot be in the future",
            field="maintenance.announcedAt",
            value=f"{fact.fact_id} {rfc3339(fact.announced_at)}",
            mend="say when customers were told",
        )


def _withdrawn(connection: Connection, facts: Sequence[Fact]) -> list[Fact]:
    """Return the revisions that take incidents back from tenants whom their source no longer names."""
    given = {fact.fact_id for fact in facts if fact.kind is Kind.INCIDENT}
    reported = {fact.reported_id for fact in facts if fact.kind is Kind.INCIDENT}
    if not reported:
        return []
    own = _TABLE.c.fact_id.endswith(func.concat("@", _TABLE.c.tenant))
    base = case((own, func.left(_TABLE.c.fact_id, -func.length(_TABLE.c.tenant) - 1)), else_=_TABLE.c.fact_id)
    rows = connection.execute(
        select(_TABLE.c.content)
        .ext(distinct_on(_TABLE.c.fact_id))
        .where(_TABLE.c.kind == Kind.INCIDENT.value, base.in_(sorted(reported)))
        .order_by(_TABLE.c.fact_id, _TABLE.c.revision.desc())
    )
    known = [fact_of(Kind.INCIDENT, row.content) for row in rows]
    gone = [one for one in known if one.fact_id not in given and one.details["state"] != WITHDRAWN]
    return [replace(one, details=one.details | {"state": WITHDRAWN}) for one in gone]


def _newest(connection: Connection, fact: Fact) -> tuple[int, str | None]:
    row = connection.execute(
        select(_TABLE.c.revision, _TABLE.c.digest)
        .where(_TABLE.c.kind == fact.kind.value, _TABLE.c.fact_id == fact.fact_id)
        .order_by(_TABLE.c.revision.desc())
        .limit(1)
    ).first()
    return (0, None) if row is None else (row.revision, row.digest)


def load_facts(
    connection: Connection,
    kind: Kind,
    *,
    service: ServiceId | None = None,
    tenant: TenantId | None = None,
    period: Period | None = None,
    as_known_at: datetime | None = None,
) -> list[Fact]:
    """Return the newest revision of the facts that touch a period, by id.

    Args:
        connection: any transaction.
        kind: which facts.
        service: only of this service.
        tenant: only those of this tenant or of all tenants.
        period: only those that touch it.
        as_known_at: the newest revision known at this moment.
    """
    ranked = select(
        _TABLE, func.rank().over(partition_by=_TABLE.c.fact_id, order_by=_TABLE.c.revision.desc()).label("rank")
    ).where(_TABLE.c.kind == kind.value)
    if as_known_at is not None:
        ranked = ranked.where(_TABLE.c.recorded_at <= as_known_at)
    newest = ranked.subquery()
    # The filters come after the ranking: a correction may have moved a fact to another service or time.
    query = select(newest.c.content).where(newest.c.rank == 1)
    if service is not None:
        query = query.where(newest.c.service == service)
    if tenant is not None:
        query = query.where(or_(newest.c.tenant.is_(None), newest.c.tenant == tenant))
    if period is not None:
        query = query.where(
            newest.c.starts_at < period.end, or_(newest.c.ends_at.is_(None), newest.c.ends_at > period.start)
        )
    rows = connection.execute(query.order_by(newest.c.fact_id))
    return [fact_of(kind, row.content) for row in rows]
