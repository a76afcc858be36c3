"""Reading the log in bulk: binary COPY straight into arrays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mc_pipelines.foundation.errors import ConflictError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.compiling import compiled

Array = NDArray[Any]
FOREVER = np.iinfo(np.int64).max
"""A validity without end, in microseconds since 1970."""

HEADER = 19
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("key_length", ">i4"),
        ("order", ">i8"),
        ("ends_length", ">i4"),
        ("source_high", ">u8"),
        ("source_low", ">u8"),
        ("target_length", ">i4"),
        ("target_high", ">u8"),
        ("target_low", ">u8"),
        ("type_length", ">i4"),
        ("type", ">i2"),
    ]
)
_DOCUMENT = np.dtype(
    [
        ("fields", ">i2"),
        ("seq_length", ">i4"),
        ("seq", ">i8"),
        ("label_length", ">i4"),
        ("label", ">i2"),
        ("from_length", ">i4"),
        ("valid_from", ">i8"),
        ("to_length", ">i4"),
        ("valid_to", ">i8"),
        ("recorded_length", ">i4"),
        ("recorded_at", ">i8"),
        ("permanent_length", ">i4"),
        ("permanent", ">i4"),
    ]
)
_POSTGRESQL_EPOCH = 946_684_800_000_000
"""Microseconds from 1970 to 2000, from which PostgreSQL counts."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ORDINAL_BITS = 26


@dataclass(frozen=True)
class Claims:
    """Claim rows of a tenant, in order of seq and then of ordinal."""

    seq: Array
    source_high: Array
    source_low: Array
    target_high: Array
    target_low: Array
    type: Array


@dataclass(frozen=True)
class Nodes:
    """Node rows of a tenant: keys, kinds and ids (as slices of ``text``)."""

    high: Array
    low: Array
    kind: Array
    stub: Array
    begin: Array
    length: Array
    text: Array

    def joined(self, other: Nodes) -> Nodes:
        """Return these rows and then those of ``other``."""
        return Nodes(
            np.append(self.high, other.high),
            np.append(self.low, other.low),
            np.append(self.kind, other.kind),
            np.append(self.stub, other.stub),
            np.append(self.begin, other.begin + len(self.text)),
            np.append(self.length, other.length),
            np.append(self.text, other.text),
        )


@dataclass(frozen=True)
class Documents:
    """Documents ``first`` to ``last`` of a tenant by event; an event without a document is never visible."""

    first: int
    last: int
    exists: Array
    label: Array
    valid_from: Array
    valid_to: Array
    recorded: Array
    permanent: Array


@dataclass(frozen=True)
class Closures:
    """What ended documents: by which event, which document, from when on (-1: pruned)."""

    seq: Array
    closed_seq: Array
    valid_to: Array


def read_claims(connection: Connection, tenant: TenantId, *, after: int, upto: int) -> Claims:
    """Read the claims of events ``after`` < seq <= ``upto``."""
    return claims_of(
        _copy_out(
            connection,
            f"select seq << {ORDINAL_BITS} | ordinal, source, target, type from provenance_claims"
            " where tenant = %s and seq > %s and seq <= %s",
            (tenant, after, upto),
        )
    )


def claims_of(raw: bytearray) -> Claims:
    """Return the claims of binary COPY output: seq and ordinal in one number, source, target, type."""
    rows = np.frombuffer(raw[HEADER:-2], dtype=_ROW)
    order = rows["order"].astype(np.int64)
    if len(order) > 1 and not bool(np.all(order[1:] > order[:-1])):
        place = np.argsort(order, kind="stable")
        rows, order = rows[place], order[place]
    return Claims(
        order >> ORDINAL_BITS,
        rows["source_high"].astype(np.uint64),
        rows["source_low"].astype(np.uint64),
        rows["target_high"].astype(np.uint64),
        rows["target_low"].astype(np.uint64),
        rows["type"].astype(np.int8),
    )


def read_nodes(connection: Connection, tenant: TenantId, *, after: int) -> Nodes:
    """Read the nodes that events ``after`` < seq created or first described.

    There is no upper end: a later event may move a node's ``changed_seq`` forward at any moment.
    """
    return nodes_of(
        _copy_out(
            connection,
            "select uuid_send(node), kind, stub, id from provenance_nodes where tenant = %s and changed_seq > %s",
            (tenant, after),
        )
    )


def nodes_of(copied: bytearray) -> Nodes:
    """Return the nodes of binary COPY output: key, kind, stub, id."""
    raw = np.frombuffer(copied, dtype=np.uint8)
    return Nodes(*_parse_nodes(raw), raw)


def read_nodes_by_key(connection: Connection, tenant: TenantId, high: Array, low: Array) -> Nodes:
    """Read the nodes of these keys, in the order of the keys.

    Raises:
        ConflictError: the log has no node of one of them.
    """
    keys = np.stack([high, low], axis=1).astype(">u8")
    found = nodes_of(
        _copy_out(
            connection,
            "select uuid_send(n.node), n.kind, n.stub, n.id from unnest(%s::uuid[]) with ordinality as wanted(node, at)"
            " join provenance_nodes as n on n.node = wanted.node and n.tenant = %s order by wanted.at",
            ([each.tobytes().hex() for each in keys], tenant),
        )
    )
    if len(found.high) != len(high):
        raise ConflictError("The log names nodes that it does not describe", field="tenant", value=tenant)
    return found


def read_documents(connection: Connection, tenant: TenantId, *, after: int, upto: int) -> Documents:
    """Read the documents of events ``after`` < seq <= ``upto``."""
    raw = _copy_out(
        connection,
        "select seq, label, valid_from, coalesce(valid_to, 'infinity'), recorded_at,"
        " (series is null and not prunable and valid_to is null)::int4 from provenance_documents"
        " where tenant = %s and seq > %s and seq <= %s",
        (tenant, after, upto),
    )
    rows = np.frombuffer(raw[HEADER:-2], dtype=_DOCUMENT)
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


def _copy_out(connection: Connection, query: str, values: tuple[Any, ...]) -> bytearray:
    driver: Any = connection.connection.driver_connection
    out = bytearray()
    with driver.cursor() as cursor, cursor.copy(f"copy ({query}) to stdout (format binary)", values) as copy:
        for block in copy:
            out += block
    return out


@compiled
def _big_endian(raw: Array, at: int) -> Any:
    return np.int64(raw[at]) << 24 | np.int64(raw[at + 1]) << 16 | np.int64(raw[at + 2]) << 8 | np.int64(raw[at + 3])


@compiled
def _parse_nodes(raw: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    rows = 0
    at = 19
    while raw[at] == 0:  # field count 4 = bytes 0, 4; the trailer is -1 = bytes 255, 255
        length = _big_endian(raw, at + 33)
        at += 37 + length
        rows += 1
    high = np.zeros(rows, dtype=np.uint64)
    low = np.zeros(rows, dtype=np.uint64)
    kind = np.empty(rows, dtype=np.uint8)
    stub = np.empty(rows, dtype=np.uint8)
    begin = np.empty(rows, dtype=np.int64)
    lengths = np.empty(rows, dtype=np.int64)
    at = 19
    for row in range(rows):
        for place in range(8):
            high[row] = high[row] << np.uint64(8) | np.uint64(raw[at + 6 + place])
            low[row] = low[row] << np.uint64(8) | np.uint64(raw[at + 14 + place])
        kind[row] = raw[at + 27]
        stub[row] = raw[at + 32]
        length = _big_endian(raw, at + 33)
        begin[row] = at + 37
        lengths[row] = length
        at += 37 + length
    return high, low, kind, stub, begin, lengths
