"""Reading the log in bulk: pieces of it, each joined by the server to one value, straight into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mc_pipelines.foundation.errors import ConflictError
from mc_pipelines.foundation.ids import TenantId

Array = NDArray[Any]
FOREVER = np.iinfo(np.int64).max
"""A validity without end, in microseconds since 1970."""

ROWS_AT_ONCE = 500_000
"""Nodes and edges in one piece of the log."""
_DOCUMENTS_AT_ONCE = 5_000_000
"""Rows of documents that are joined to one value, of which PostgreSQL makes none beyond a gigabyte."""
_CLAIM_NUMBERS = 5
"""Numbers of eight bytes in a claim: its order and type, and two keys of two."""
_TYPE_BITS, _ORDINAL_BITS = 3, 26
_DOCUMENT = np.dtype(
    [
        ("seq", ">i8"),
        ("label", ">i2"),
        ("valid_from", ">i8"),
        ("valid_to", ">i8"),
        ("recorded_at", ">i8"),
        ("permanent", ">i2"),
        ("rows", ">i4"),
    ]
)
_SAID = np.dtype([("high", ">u8"), ("low", ">u8"), ("said", ">i8")])
_KIND_BITS = 4
_SAYS = f"uuid_send(node) || int8send((seq << {_KIND_BITS}) | (stub::int << 3) | kind)"
"""A row of nodes or of descriptions: its key, then its event and kind in one number, where 8 stands for a stub."""
_POSTGRESQL_EPOCH = 946_684_800_000_000
"""Microseconds from 1970 to 2000, from which PostgreSQL counts."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000
_LINE_END = 10


@dataclass(frozen=True)
class Claims:
    """Claim rows of a tenant, in order of seq and then of ordinal.

    Attributes:
        seq: the event of each.
        ends: keys of source and target, as four numbers (source high, source low, target high, target low); uint64.
        type: type codes.
    """

    seq: Array
    ends: Array
    type: Array

    @classmethod
    def joined(cls, parts: Sequence[Claims]) -> Claims:
        """Return the rows of consecutive parts as one."""
        return cls(
            np.concatenate([np.empty(0, dtype=np.int64), *(part.seq for part in parts)]),
            np.concatenate([np.empty((0, 4), dtype=np.uint64), *(part.ends for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.int8), *(part.type for part in parts)]),
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of events and the days of the log on which they were recorded.

    Attributes:
        days: partitions that hold their claims.
        after: the event before the first.
        upto: the last.
    """

    days: tuple[date, ...]
    after: int
    upto: int


@dataclass(frozen=True)
class Descriptions:
    """What documents say that nodes are: keys, events, and kinds plus 8 for a stub."""

    high: Array
    low: Array
    seq: Array
    kind: Array

    @classmethod
    def joined(cls, parts: Sequence[Descriptions]) -> Descriptions:
        """Return the rows of consecutive parts as one."""
        return cls(
            np.concatenate([np.empty(0, dtype=np.uint64), *(part.high for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.uint64), *(part.low for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.seq for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.uint8), *(part.kind for part in parts)]),
        )


@dataclass(frozen=True)
class Nodes:
    """Node rows of a tenant: keys, what the first event that named each says it is, and ids (as slices of ``text``).

    ``kind`` is the kind plus 8 for a stub; ``seq`` is 0 where retention removed that event's document.
    """

    high: Array
    low: Array
    seq: Array
    kind: Array
    begin: Array
    length: Array
    text: Array

    @classmethod
    def joined(cls, parts: Sequence[Nodes]) -> Nodes:
        """Return the rows of consecutive parts as one."""
        before = np.cumsum([0, *(len(part.text) for part in parts)])
        text_ = np.concatenate([np.empty(0, dtype=np.uint8), *(part.text for part in parts)])
        text_.flags.writeable = False  # as it is in each part: one type for what is compiled
        return cls(
            np.concatenate([np.empty(0, dtype=np.uint64), *(part.high for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.uint64), *(part.low for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.seq for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.uint8), *(part.kind for part in parts)]),
            np.concatenate(
                [np.empty(0, dtype=np.int64), *(part.begin + skip for part, skip in zip(parts, before, strict=False))]
            ),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.length for part in parts)]),
            text_,
        )


@dataclass(frozen=True)
class Documents:
    """Documents ``first`` to ``last`` of a tenant by event; an event without a document is never visible.

    Attributes:
        first: the first event.
        last: the last.
        exists: whether it recorded a document.
        label: of the document, packed; see :mod:`mc_pipelines.provenance.labels`.
        valid_from: microseconds since 1970.
        valid_to: the same.
        recorded: the same.
        permanent: whether it never ends and is never pruned.
        rows: how many nodes and edges it has.
    """

    first: int
    last: int
    exists: Array
    label: Array
    valid_from: Array
    valid_to: Array
    recorded: Array
    permanent: Array
    rows: Array


@dataclass(frozen=True)
class Closures:
    """What ended documents: by which event, which document, from when on (-1: pruned)."""

    seq: Array
    closed_seq: Array
    valid_to: Array


def pieces_of(documents: Documents) -> list[Piece]:
    """Cut the events of documents into pieces that can be read one by one, in order of seq.

    A piece holds some :data:`ROWS_AT_ONCE` rows, or one document that has more. Which days it was recorded on is said
    with it, so that every release of PostgreSQL goes straight there: the log's key begins with the day, and only
    PostgreSQL 18 skips over a column that it was not told.
    """
    if documents.last < documents.first:
        return []
    piece = np.cumsum(documents.rows) // ROWS_AT_ONCE
    begins = np.flatnonzero(np.diff(piece, prepend=-1))
    ends = np.append(begins[1:], len(piece))
    days = documents.recorded // _DAY
    return [
        Piece(
            tuple((_EPOCH + timedelta(days=day)).date() for day in np.unique(days[begin:end]).tolist()),
            documents.first + begin - 1,
            documents.first + end - 1,
        )
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
    ]


def read_piece(connection: Connection, tenant: TenantId, piece: Piece) -> Claims:
    """Read the claims of one piece.

    The server joins the rows to one value: a row of its own costs both sides more than what is in it.
    """
    found = _aggregates(
        connection,
        f"select string_agg(int8send((seq << {_ORDINAL_BITS + _TYPE_BITS}) | (ordinal << {_TYPE_BITS}) | type)"
        " || uuid_send(source) || uuid_send(target), '') from provenance_claims"
        " where tenant = %s and recorded_on = any(%s) and seq > %s and seq <= %s",
        (tenant, list(piece.days), piece.after, piece.upto),
    )
    return claims_of(found[0])


def read_claims(connection: Connection, tenant: TenantId, documents: Documents) -> Claims:
    """Read the claims of documents."""
    return Claims.joined([read_piece(connection, tenant, piece) for piece in pieces_of(documents)])


def read_piece_of_names(connection: Connection, tenant: TenantId, piece: Piece) -> tuple[Nodes, Descriptions]:
    """Read the nodes that the events of one piece were the first to name, and what else they say of nodes."""
    return (
        read_nodes(connection, tenant, after=piece.after, upto=piece.upto),
        read_descriptions(connection, tenant, after=piece.after, upto=piece.upto),
    )


def joined_names(parts: Sequence[tuple[Nodes, Descriptions]]) -> tuple[Nodes, Descriptions]:
    """Return what was read of consecutive pieces as one."""
    return Nodes.joined([nodes for nodes, _ in parts]), Descriptions.joined([said for _, said in parts])


def read_names(connection: Connection, tenant: TenantId, documents: Documents) -> tuple[Nodes, Descriptions]:
    """Read the nodes that documents were the first to name, and what else they say of nodes."""
    return joined_names([read_piece_of_names(connection, tenant, piece) for piece in pieces_of(documents)])


def claims_of(joined: bytes) -> Claims:
    """Return claims from their joined rows: seq, ordinal and type in one number, source, target; big-endian."""
    rows = np.frombuffer(joined, dtype=">u8").astype(np.uint64).reshape(-1, _CLAIM_NUMBERS)
    order = rows[:, 0]
    if bool(np.any(order[1:] < order[:-1])):
        rows = rows[np.argsort(order, kind="stable")]
        order = rows[:, 0]
    return Claims(
        (order >> np.uint64(_ORDINAL_BITS + _TYPE_BITS)).astype(np.int64),
        np.ascontiguousarray(rows[:, 1:]),
        (order & np.uint64((1 << _TYPE_BITS) - 1)).astype(np.int8),
    )


def row_of(seq: int, ordinal: int, code: int, source: bytes, target: bytes) -> bytes:
    """Return a claim as the server joins it; see :func:`claims_of`."""
    order = seq << _ORDINAL_BITS + _TYPE_BITS | ordinal << _TYPE_BITS | code
    return order.to_bytes(8, "big") + source + target


def read_nodes(connection: Connection, tenant: TenantId, *, after: int, upto: int) -> Nodes:
    """Read the nodes that events ``after`` < seq <= ``upto`` were the first to name.

    Names that outlived the document that named them first are under event 0.
    """
    found = _aggregates(
        connection,
        f"select string_agg({_SAYS}, ''), string_agg(id, chr(10)) from provenance_nodes"
        " where tenant = %s and seq >= 0 and seq > %s and seq <= %s",
        (tenant, after, upto),
    )
    return nodes_of(*found)


def nodes_of(joined: bytes, ids: bytes) -> Nodes:
    """Return nodes from their joined rows (key, event and kind; big-endian) and their ids, a line each.

    Raises:
        ConflictError: an id holds a line's end, which no reader of documents lets in.
    """
    rows = descriptions_of(joined)
    raw = np.frombuffer(ids, dtype=np.uint8)
    count = len(rows.seq)
    ends = np.append(np.flatnonzero(raw == _LINE_END), len(raw)) if count else np.empty(0, dtype=np.int64)
    if len(ends) != count:
        raise ConflictError("The log holds ids with control characters", field="nodes", value=count)
    begins = np.append([0], ends[:-1] + 1)[:count]
    return Nodes(rows.high, rows.low, rows.seq, rows.kind, begins, ends - begins, raw)


def read_nodes_by_key(connection: Connection, tenant: TenantId, high: Array, low: Array) -> Nodes:
    """Read the nodes of these keys, in the order of the keys.

    Raises:
        ConflictError: the log has no node of one of them.
    """
    found = nodes_of(
        *_aggregates(
            connection,
            f"select string_agg({_SAYS}, '' order by at), string_agg(id, chr(10) order by at)"
            " from unnest(%s::uuid[]) with ordinality as wanted(node, at)"
            " join provenance_nodes as n using (node) where n.tenant = %s",
            (_uuids(high, low), tenant),
        )
    )
    if len(found.high) != len(high):
        raise ConflictError("The log names nodes that it does not describe", field="tenant", value=tenant)
    return found


def read_descriptions(connection: Connection, tenant: TenantId, *, after: int, upto: int) -> Descriptions:
    """Read what events ``after`` < seq <= ``upto`` say of nodes that earlier ones had named."""
    found = _aggregates(
        connection,
        f"select string_agg({_SAYS}, '') from provenance_descriptions"
        " where tenant = %s and seq >= 0 and seq > %s and seq <= %s",
        (tenant, after, upto),
    )
    return descriptions_of(found[0])


def read_descriptions_by_key(
    connection: Connection, tenant: TenantId, high: Array, low: Array, *, upto: int
) -> Descriptions:
    """Read all that events up to ``upto`` say of the nodes of these keys."""
    parts = [
        _aggregates(
            connection,
            f"select string_agg({_SAYS}, '') from provenance_{table}"
            " where tenant = %s and node = any(%s::uuid[]) and seq <> 0 and seq <= %s",
            (tenant, _uuids(high, low), upto),
        )[0]
        for table in ("nodes", "descriptions")
    ]
    return descriptions_of(b"".join(parts))


def descriptions_of(joined: bytes) -> Descriptions:
    """Return descriptions from their joined rows: key, event and kind in one number; big-endian."""
    rows = np.frombuffer(joined, dtype=_SAID)
    said = rows["said"].astype(np.int64)
    kind = (said & (1 << _KIND_BITS) - 1).astype(np.uint8)
    return Descriptions(rows["high"].astype(np.uint64), rows["low"].astype(np.uint64), said >> _KIND_BITS, kind)


def said_row(key: bytes, seq: int, kind: int) -> bytes:
    """Return a node's row or a description as the server joins it; see :func:`descriptions_of`."""
    return key + (seq << _KIND_BITS | kind).to_bytes(8, "big")


def _uuids(high: Array, low: Array) -> list[str]:
    keys = np.stack([high, low], axis=1).astype(">u8")
    return [each.tobytes().hex() for each in keys]


def read_documents(connection: Connection, tenant: TenantId, *, after: int, upto: int) -> Documents:
    """Read the documents of events ``after`` < seq <= ``upto``."""
    query = (
        "select string_agg(int8send(seq) || int2send(label) || timestamptz_send(valid_from)"
        " || timestamptz_send(coalesce(valid_to, 'infinity')) || timestamptz_send(recorded_at)"
        " || int2send((series is null and not prunable and valid_to is null)::int::int2)"
        " || int4send(nodes + edges), '')"
        " from provenance_documents where tenant = %s and seq > %s and seq <= %s"
    )
    joined = (
        _aggregates(connection, query, (tenant, begin, min(begin + _DOCUMENTS_AT_ONCE, upto)))[0]
        for begin in range(after, upto, _DOCUMENTS_AT_ONCE)
    )
    rows = np.frombuffer(b"".join(joined), dtype=_DOCUMENT)
    place = rows["seq"].astype(np.int64) - after - 1
    count = upto - after

    def column(name: str, dtype: Any, missing: int) -> Array:
        values = np.full(count, missing, dtype=dtype)
        values[place] = rows[name]
        return values

    def moments(name: str, missing: int) -> Array:
        values = column(name, np.int64, FOREVER)
        known = values != FOREVER  # PostgreSQL's infinity is the same number
        values[known] += _POSTGRESQL_EPOCH
        values[~known] = missing
        return values

    exists = np.zeros(count, dtype=np.bool_)
    exists[place] = True
    return Documents(
        after + 1,
        upto,
        exists,
        column("label", np.uint16, 0),
        moments("valid_from", FOREVER),
        moments("valid_to", FOREVER),
        moments("recorded_at", 0),
        column("permanent", np.bool_, 0),
        column("rows", np.int64, 0),
    )


def read_closures(connection: Connection, tenant: TenantId, *, upto: int) -> Closures:
    """Read everything that ended a document, up to event ``upto``."""
    rows = connection.execute(
        text(
            "select seq, closed_seq, valid_to from provenance_closures where tenant = :tenant and seq <= :upto"
            " order by seq, closed_seq"
        ),
        {"tenant": tenant, "upto": upto},
    ).all()
    return Closures(
        np.array([row.seq for row in rows], dtype=np.int64),
        np.array([row.closed_seq for row in rows], dtype=np.int64),
        np.array([-1 if row.valid_to is None else microseconds(row.valid_to) for row in rows], dtype=np.int64),
    )


def microseconds(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware moment, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _aggregates(connection: Connection, query: str, values: tuple[Any, ...]) -> list[bytes]:
    """Return the columns of a query of one row as bytes, empty for null."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        # Workers of the server would hand back what they joined in any order; who wants more cores opens connections.
        cursor.execute("set local max_parallel_workers_per_gather = 0")
        row = cursor.execute(query, values).fetchone()
    return [b"" if value is None else value.encode() if isinstance(value, str) else value for value in row]
