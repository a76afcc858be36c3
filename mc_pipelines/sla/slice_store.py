"""Reads and writes slices and the record of rollups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.ids import Digest, ServiceId, TenantId
from mc_pipelines.sla import records
from mc_pipelines.sla.slices import SliceDay, SliceDocument, documents_root, slice_day_of

_TABLE = records.slice_day


def newest_rollups(connection: Connection) -> dict[tuple[date, str], str]:
    """Return, by day and profile, the digest of the files that the newest rollup read."""
    table = records.rollup
    rows = connection.execute(
        select(table.c.day, table.c.profiles, table.c.files)
        .ext(distinct_on(table.c.day, table.c.profiles))
        .order_by(table.c.day, table.c.profiles, table.c.revision.desc())
    )
    return {(row.day, row.profiles): row.files for row in rows}


def write_rollup(
    connection: Connection, day: date, found: Sequence[SliceDocument], *, profiles: str, files: Digest, now: datetime
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
    emptied = _emptied(newest, found, day)
    changed = [one for one in (*found, *emptied) if newest.get(_key(one), _NONE)[1] != one.digest]
    _copy(connection, [(one, newest.get(_key(one), _NONE)[0] + 1) for one in changed], now)
    root = documents_root(one.content for one in found)
    connection.execute(
        insert(table).values(day=day, profiles=profiles, revision=revision, files=files, root=root, recorded_at=now)
    )
    content = canonical_json({"day": day.isoformat(), "files": files, "root": root, "revision": revision})
    append(connection, act="sla.rolled-up", subject=day.isoformat(), content=content, at=now)
    return len(changed)


_Key = tuple[str, str, int, int]
_NONE: tuple[int, str | None] = (0, None)
_COLUMNS = {
    "tenant": "text",
    "service": "text",
    "day": "date",
    "granule_ms": "int4",
    "threshold_ms": "int4",
    "revision": "int4",
    "rows": "bytea",
    "digest": "text",
    "events": "int8",
    "constructed": "int8",
    "recorded_at": "timestamptz",
}


def _key(one: SliceDocument) -> _Key:
    return one.tenant, one.service, one.granule_ms, one.threshold_ms


def _emptied(newest: Mapping[_Key, tuple[int, str]], found: Sequence[SliceDocument], day: date) -> list[SliceDocument]:
    """Return empty days for tenants whose every attempt of the day a correction has moved to another."""
    profiles = {(one.granule_ms, one.threshold_ms) for one in found}
    gone = [key for key in set(newest) - {_key(one) for one in found} if key[2:] in profiles]
    empty = [SliceDay(TenantId(key[0]), ServiceId(key[1]), day, key[2], key[3], ()) for key in sorted(gone)]
    return [one.to_stored() for one in empty]


def _copy(connection: Connection, rows: Sequence[tuple[SliceDocument, int]], now: datetime) -> None:
    """Insert by COPY, in the same transaction: thousands of tenants a day are one statement."""
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection is closed")
    statement = f"copy {_TABLE.name} ({', '.join(_COLUMNS)}) from stdin (format binary)"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(_COLUMNS.values()))
        for one, revision in rows:
            copy.write_row((*_values(one, revision), now))


def _values(one: SliceDocument, revision: int) -> tuple[object, ...]:
    key = (one.tenant, one.service, one.day, one.granule_ms, one.threshold_ms)
    return (*key, revision, one.content, one.digest, one.events, one.constructed)


def _newest(connection: Connection, day: date) -> dict[_Key, tuple[int, str]]:
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
