"""Reads and writes slices and the record of rollups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, LargeBinary, func, insert, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on

from mc_pipelines.attest.log import append
from mc_pipelines.attest.merkle import root_of
from mc_pipelines.foundation.canonical import canonical_json, digest_of, parse_json
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla import records
from mc_pipelines.sla.counting import Profile
from mc_pipelines.sla.late_counts import Pair, Shift, empty_day, shifted
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


@dataclass(frozen=True, slots=True)
class RolledUp:
    """The newest rollup of a day and profile: its number and the paths of the files it counted."""

    revision: int
    paths: tuple[str, ...]


def newest_rollup(connection: Connection, day: date, profile: Profile) -> RolledUp | None:
    """Return the newest rollup of a day and profile, if there is any."""
    table = records.rollup
    row = connection.execute(
        select(table.c.revision, table.c.paths)
        .where(table.c.day == day, table.c.profiles == profile.digest)
        .order_by(table.c.revision.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else RolledUp(row.revision, tuple(row.paths))


def write_rollup(
    connection: Connection,
    day: date,
    profile: Profile,
    found: Sequence[SliceDocument],
    *,
    paths: Sequence[str],
    now: datetime,
) -> int:
    """Record a rollup of a whole day and the slices that changed; return how many did.

    The Merkle root over the day's slices of all tenants goes into the audit log in the same transaction, so
    that what a note later rests on was fixed before anybody knew what it would cost.
    """
    _lock(connection)
    known = newest_rollup(connection, day, profile)
    newest = _newest(connection, day, profile)
    emptied = _emptied(newest, found, day, profile)
    changed = [one for one in (*found, *emptied) if newest.get(_key(one), _NONE)[1] != one.digest]
    _copy(connection, [(one, newest.get(_key(one), _NONE)[0] + 1) for one in changed], now)
    revision = 1 if known is None else known.revision + 1
    root = documents_root(one.content for one in found)
    _write_root(connection, day, profile, RolledUp(revision, tuple(paths)), root, now)
    return len(changed)


def write_late(
    connection: Connection,
    day: date,
    profile: Profile,
    shifts: Mapping[Pair, Shift],
    *,
    known: RolledUp,
    paths: Sequence[str],
    now: datetime,
) -> int | None:
    """Add what late files change to the stored slices of a day, and record the rollup, as :func:`write_rollup` does.

    Args:
        connection: a transaction.
        day: the UTC day.
        profile: how it was sliced.
        shifts: by how much counts change against those of ``known``.
        known: the rollup that counted all files but the late ones.
        paths: the files of the day, the late ones too.
        now: when this is recorded.

    Returns:
        How many tenant-days changed; None, with nothing written, where another rollup came in between.

    Raises:
        VerificationError: stored counts are not those of the files they name.
    """
    _lock(connection)
    if newest_rollup(connection, day, profile) != known:
        return None
    newest, changed = _newest_of(connection, day, profile, shifts), []
    for pair, shift in shifts.items():
        revision, before = newest.get(pair, (0, None))
        after = shifted(before or empty_day(pair, day, profile), shift)
        if after != before:
            changed.append((after.to_stored(), revision + 1))
    _copy(connection, changed, now)
    root = _stored_root(connection, day, profile)
    _write_root(connection, day, profile, RolledUp(known.revision + 1, tuple(paths)), root, now)
    return len(changed)


def _lock(connection: Connection) -> None:
    connection.execute(text("select pg_advisory_xact_lock(hashtext('mc_sla_rollup'))"))


def _write_root(connection: Connection, day: date, profile: Profile, done: RolledUp, root: str, now: datetime) -> None:
    files = digest_of(done.paths)
    connection.execute(
        insert(records.rollup).values(
            day=day,
            profiles=profile.digest,
            revision=done.revision,
            files=files,
            paths=list(done.paths),
            root=root,
            recorded_at=now,
        )
    )
    content = canonical_json({"day": day.isoformat(), "files": files, "root": root, "revision": done.revision})
    append(connection, act="sla.rolled-up", subject=day.isoformat(), content=content, at=now)


def _of(day: date, profile: Profile) -> tuple[ColumnElement[bool], ...]:
    return (
        _TABLE.c.day == day,
        _TABLE.c.granule_ms == profile.granule_ms,
        _TABLE.c.threshold_ms == profile.threshold_ms,
    )


def _stored_root(connection: Connection, day: date, profile: Profile) -> str:
    """Return :func:`documents_root` of the newest slices of a day; the database hashes them, so none is fetched."""
    pair = (_TABLE.c.tenant, _TABLE.c.service)
    leaf = literal(b"\x00", LargeBinary).concat(_TABLE.c.rows).label("leaf")
    newest = (
        select(leaf, _TABLE.c.events)
        .where(*_of(day, profile))
        .ext(distinct_on(*pair))
        .order_by(*pair, _TABLE.c.revision.desc())
        .subquery()
    )
    hashes = select(func.sha256(newest.c.leaf)).where(newest.c.events > 0).order_by(newest.c.leaf)
    return root_of([bytes(one) for one in connection.execute(hashes).scalars()]).hex()


def _newest_of(
    connection: Connection, day: date, profile: Profile, pairs: Iterable[Pair]
) -> dict[Pair, tuple[int, SliceDay]]:
    """Return revision and slices of some tenants and services."""
    pair = (_TABLE.c.tenant, _TABLE.c.service)
    rows = connection.execute(
        select(_TABLE.c.revision, _TABLE.c.rows)
        .where(*_of(day, profile), tuple_(*pair).in_(list(pairs)))
        .ext(distinct_on(*pair))
        .order_by(*pair, _TABLE.c.revision.desc())
    )
    found = [(row.revision, slice_day_of(parse_json(bytes(row.rows), what="slices"))) for row in rows]
    return {(day.tenant, day.service): (revision, day) for revision, day in found}


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


def _key(one: SliceDocument) -> Pair:
    return one.tenant, one.service


def _emptied(
    newest: Mapping[Pair, tuple[int, str]], found: Sequence[SliceDocument], day: date, profile: Profile
) -> list[SliceDocument]:
    """Return empty days for tenants whose every attempt of the day a correction has moved to another."""
    gone = sorted(set(newest) - {_key(one) for one in found})
    return [empty_day(pair, day, profile).to_stored() for pair in gone]


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


def _newest(connection: Connection, day: date, profile: Profile) -> dict[Pair, tuple[int, str]]:
    rows = connection.execute(
        select(_TABLE.c.tenant, _TABLE.c.service, _TABLE.c.revision, _TABLE.c.digest)
        .where(*_of(day, profile))
        .order_by(_TABLE.c.revision)
    )
    return {(TenantId(row.tenant), ServiceId(row.service)): (row.revision, row.digest) for row in rows}


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
