"""Reads and writes slices and the record of rollups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.ids import Digest, ServiceId, TenantId
from mc_pipelines.sla import records
from mc_pipelines.sla.slices import SliceDay, merkle_root, slice_day_of

_TABLE = records.slice_day


def newest_rollup(connection: Connection, day: date, profiles: str) -> str | None:
    """Return the digest of the files that the newest rollup of a day read."""
    table = records.rollup
    return connection.execute(
        select(table.c.files)
        .where(table.c.day == day, table.c.profiles == profiles)
        .order_by(table.c.revision.desc())
        .limit(1)
    ).scalar()


def write_rollup(
    connection: Connection, day: date, found: Sequence[SliceDay], *, profiles: str, files: Digest, now: datetime
) -> int:
    """Record a rollup of a day and the slices that changed; return how many did.

    The Merkle root over the day's slices of all tenants goes into the audit log in the same transaction, so
    that what a note later rests on was fixed before anybody knew what it would cost.
    """
    connection.execute(text("select pg_advisory_xact_lock(hashtext('mc_sla_rollup'))"))
    table = records.rollup
    revision = connection.execute(
        select(func.coalesce(func.max(table.c.revision), 0) + 1).where(table.c.day == day, table.c.profiles == profiles)
    ).scalar_one()
    newest = _newest(connection, day)
    changed = 0
    for slices in found:
        key = (slices.tenant, slices.service, slices.granule_ms, slices.threshold_ms)
        known_revision, known_digest = newest.get(key, (0, None))
        if known_digest == slices.digest:
            continue
        changed += 1
        connection.execute(
            insert(_TABLE).values(
                tenant=slices.tenant,
                service=slices.service,
                day=day,
                granule_ms=slices.granule_ms,
                threshold_ms=slices.threshold_ms,
                revision=known_revision + 1,
                rows=canonical_json(slices.to_document()),
                digest=slices.digest,
                events=slices.events,
                constructed=slices.constructed,
                recorded_at=now,
            )
        )
    root = merkle_root(found)
    connection.execute(
        insert(table).values(day=day, profiles=profiles, revision=revision, files=files, root=root, recorded_at=now)
    )
    content = canonical_json({"day": day.isoformat(), "files": files, "root": root, "revision": revision})
    append(connection, act="sla.rolled-up", subject=day.isoformat(), content=content, at=now)
    return changed


def _newest(connection: Connection, day: date) -> dict[tuple[str, str, int, int], tuple[int, str]]:
    rows = connection.execute(
        select(
            _TABLE.c.tenant,
            _TABLE.c.service,
            _TABLE.c.granule_ms,
            _TABLE.c.threshold_ms,
            _TABLE.c.revision,
            _TABLE.c.digest,
        )
        .where(_TABLE.c.day == day)
        .order_by(_TABLE.c.revision)
    )
    return {(r.tenant, r.service, r.granule_ms, r.threshold_ms): (r.revision, r.digest) for r in rows}


def load_slices(
    connection: Connection,
    tenant: TenantId,
    service: ServiceId,
    days: Sequence[date],
    *,
    granule_ms: int,
    threshold_ms: int,
    as_known_at: datetime | None = None,
) -> list[SliceDay]:
    """Return the newest slices of some UTC days, or the newest that were known at a moment."""
    conditions = [
        _TABLE.c.tenant == tenant,
        _TABLE.c.service == service,
        _TABLE.c.granule_ms == granule_ms,
        _TABLE.c.threshold_ms == threshold_ms,
        _TABLE.c.day.between(days[0], days[-1]),
    ]
    if as_known_at is not None:
        conditions.append(_TABLE.c.recorded_at <= as_known_at)
    rows = connection.execute(
        select(_TABLE.c.rows)
        .where(*conditions)
        .ext(distinct_on(_TABLE.c.day))
        .order_by(_TABLE.c.day, _TABLE.c.revision.desc())
    )
    return [slice_day_of(parse_json(bytes(row.rows), what="slices")) for row in rows]
