"""Writing to the log: a document's claims enter whole and once, or not at all.

A batch is one transaction. It locks the tenant's head, so that documents commit in the order of their seq;
rows travel by binary COPY into temporary tables (COPY into a table under row-level security is refused by
PostgreSQL, rightly) and from there by one INSERT a table, past the policies. Rows are made before the lock is
taken, and :func:`ingest_stream` makes those of the next batch while the server writes this one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import orjson
from sqlalchemy import Connection, text

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ForbiddenError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance import closing
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.labels import classification_of, pack_label, purposes_of
from mc_pipelines.provenance.model import KIND_CODE, PUBLIC, TYPE_CODE, Claims, EdgeType, Node, validate
from mc_pipelines.provenance.rank import rank_of
from mc_pipelines.provenance.records import TYPE_MENTIONS

DELETED = "deleted-"
"""Begins the name that stands for the generation of a tenant whose graph was deleted."""
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
_COPY_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# One binary COPY tuple: field count, then length and value of each field; all big-endian.
_CLAIM_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("seq_length", ">i4"),
        ("seq", ">i8"),
        ("ordinal_length", ">i4"),
        ("ordinal", ">i4"),
        ("source_length", ">i4"),
        ("source", "V16"),
        ("target_length", ">i4"),
        ("target", "V16"),
        ("type_length", ">i4"),
        ("type", ">i2"),
    ]
)
CHANNEL = "mc_provenance"
"""PostgreSQL notifies it, at commit, of each tenant whose log or generation has news; the payload is the tenant."""

_STAGING = """
create temporary table if not exists staged_nodes
    (seq bigint, node uuid, id text, kind smallint, stub boolean, label text, attributes jsonb, rank bigint,
     mark smallint, valid_from timestamptz, covers_from timestamptz, first boolean)
    on commit delete rows;
create temporary table if not exists staged_claims
    (seq bigint, ordinal integer, source uuid, target uuid, type smallint) on commit delete rows;
create temporary table if not exists staged_documents
    (seq bigint, digest text, name text, format text, valid_from timestamptz, valid_to timestamptz, series text,
     version bigint, label smallint, prunable boolean, verification text, remarks text, nodes integer, edges integer)
    on commit delete rows
"""
_STAGED_TYPES = (
    *("int8", "text", "text", "text", "timestamptz", "timestamptz", "text"),
    *("int8", "int2", "bool", "text", "text", "int4", "int4"),
)
# Whatever else a batch says of a node that is new enters as it is. Of any other node, what was said before is looked
# up; `offset 0` keeps the look-ups from becoming joins: of large tables few rows are read, and of a hub never all.
_INSERT_NODES = """
with made as (
    insert into provenance_nodes (tenant, node, id, seq, rank, covers_from, mark, kind, stub, label, attributes)
    select :tenant, node, id, seq, rank, covers_from, mark, kind, stub, label, attributes from staged_nodes where first
    on conflict (tenant, node) do nothing returning node, rank
), again as (
    select staged.*, known.rank as known_rank from staged_nodes as staged cross join lateral (
        select rank, mark, covers_from from provenance_nodes as one
        where one.tenant = :tenant and one.node = staged.node offset 0
    ) as known
    where not exists (select from made where made.node = staged.node) and (known.rank < staged.rank
        or known.mark <> staged.mark or known.covers_from is null or known.covers_from > staged.valid_from)
    offset 0
), said as (
    select staged.*, made.rank as known_rank
    from staged_nodes as staged join made on made.node = staged.node where not staged.first
    union all
    select * from again where not exists (select from provenance_descriptions as earlier
        where earlier.tenant = :tenant and earlier.node = again.node and earlier.rank >= again.rank
            and earlier.mark = again.mark and earlier.covers_from <= again.valid_from offset 0)
)
insert into provenance_descriptions (tenant, seq, node, rank, covers_from, mark, kind, stub, label, attributes)
select :tenant, seq, node, rank, covers_from, mark, kind, stub,
    case when rank <> known_rank then label end, case when rank <> known_rank then attributes end
from said
"""
_INSERT_CLAIMS = """
insert into provenance_claims (recorded_on, tenant, seq, ordinal, source, target, type)
select :day, :tenant, seq, ordinal, source, target, type from staged_claims
"""
_INSERT_DOCUMENTS = text("""
insert into provenance_documents (tenant, seq, digest, name, format, recorded_at, valid_from, valid_to, series,
    version, label, prunable, verification, remarks, nodes, edges)
select :tenant, seq, digest, name, format, :recorded_at, valid_from, valid_to, series,
    version, label, prunable, cast(verification as jsonb), cast(remarks as jsonb), nodes, edges from staged_documents
""")
_NOTIFY = text(f"select pg_notify('{CHANNEL}', :tenant)")
_KNOWN = text(
    "select digest, seq, nodes, edges, label from provenance_documents where tenant = :tenant and digest = any(:all)"
)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of one document.

    Attributes:
        document: its digest.
        status: ``accepted`` (now recorded), ``known`` (was recorded before; nothing changed) or ``refused``.
        reason: why it was refused.
        seq: the event that recorded it; pass it as ``min_seq`` to read your own write.
        nodes: distinct nodes it names.
        edges: distinct edges it claims.
        verification: our verdict on its signatures.
        remarks: what was odd in it.
    """

    document: Digest
    status: str
    reason: str | None
    seq: int | None
    nodes: int
    edges: int
    verification: str
    remarks: tuple[str, ...]


def ingest_claims(
    database: Database, tenant: TenantId, claims: Claims, *, clock: Clock, operator: bool = False
) -> IngestResult:
    """Record one document's claims for ``tenant``; the same document again changes nothing.

    Args:
        database: the log, as the application role.
        tenant: from the caller's verified credential, never from the document.
        claims: what the document says; a refused one is answered and not recorded.
        clock: tells when we learnt it.
        operator: whether the caller may write the shared partition.

    Raises:
        ForbiddenError: a tenant tries to write the shared partition.
        InputError: malformed claims (see :func:`mc_pipelines.provenance.model.validate`).
    """
    return ingest_many(database, tenant, [claims], clock=clock, operator=operator)[0]


def ingest_many(
    database: Database, tenant: TenantId, batch: Sequence[Claims], *, clock: Clock, operator: bool = False
) -> list[IngestResult]:
    """Record a batch of documents in one transaction; see :func:`ingest_claims`."""
    return _record(database, tenant, _prepare(tenant, batch, operator=operator), clock)


def ingest_stream(
    database: Database, tenant: TenantId, batches: Iterable[Sequence[Claims]], *, clock: Clock, operator: bool = False
) -> Iterator[list[IngestResult]]:
    """Record batches in their order, one transaction each, making the rows of one while another is written.

    What was yielded is committed; a batch that is refused ends the stream after the ones before it. See
    :func:`ingest_claims` for arguments and errors.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ingest") as writer:
        pending: Future[list[IngestResult]] | None = None
        for batch in batches:
            prepared = _prepare(tenant, batch, operator=operator)
            if pending is not None:
                yield pending.result()
            pending = writer.submit(_record, database, tenant, prepared, clock)
        if pending is not None:
            yield pending.result()


@dataclass(frozen=True, slots=True)
class _Batch:
    """A checked batch: its documents as they came, and the rows of those that claim anything, first ones first."""

    claims: Sequence[Claims]
    rows: dict[Digest, _Rows]


def _prepare(tenant: TenantId, batch: Sequence[Claims], *, operator: bool) -> _Batch:
    if tenant == PUBLIC and not operator:
        raise ForbiddenError("Only an operator writes the shared partition", field="tenant", value=tenant)
    for claims in batch:
        validate(claims)
    rows: dict[Digest, _Rows] = {}
    for claims in batch:
        if claims.refused is None and claims.document not in rows:
            rows[claims.document] = _Rows.of(claims)
    return _Batch(batch, rows)


def _record(database: Database, tenant: TenantId, batch: _Batch, clock: Clock) -> list[IngestResult]:
    if not batch.rows:
        return [_refusal(claims) for claims in batch.claims]
    with database.begin(tenant=tenant) as connection:
        head = lock_head(connection, tenant)
        known = _known(connection, tenant, batch.rows)
        fresh = [row for document, row in batch.rows.items() if document not in known]
        seqs = {row.claims.document: head + 1 + place for place, row in enumerate(fresh)}
        if fresh:
            _write(connection, tenant, fresh, head + 1, clock.now())
            move_head(connection, tenant, head + len(fresh))
            connection.execute(_NOTIFY, {"tenant": tenant})
    return _answers(batch, seqs, known)


def lock_head(connection: Connection, tenant: TenantId) -> int:
    """Lock the tenant's head until the transaction ends and return its last seq."""
    connection.execute(
        text("insert into provenance_heads (tenant, seq) values (:tenant, 0) on conflict do nothing"),
        {"tenant": tenant},
    )
    found = connection.execute(
        text("select seq from provenance_heads where tenant = :tenant for update"), {"tenant": tenant}
    )
    return int(found.scalar_one())


def move_head(connection: Connection, tenant: TenantId, seq: int) -> None:
    """Set the tenant's last seq; the caller holds the lock of :func:`lock_head`."""
    connection.execute(
        text("update provenance_heads set seq = :seq where tenant = :tenant"), {"tenant": tenant, "seq": seq}
    )


def head_of(connection: Connection, tenant: TenantId) -> int:
    """Return the tenant's last committed seq; 0 where there is nothing."""
    found = connection.execute(
        text("select seq from provenance_heads where tenant = :tenant"), {"tenant": tenant}
    ).scalar()
    return int(found or 0)


def known_tenants(connection: Connection) -> list[TenantId]:
    """Return every tenant that has a log, the shared partition included; not one whose graph was deleted."""
    rows = connection.execute(
        text(
            "select h.tenant from provenance_heads h where not exists (select from provenance_pointers p"
            " where p.tenant = h.tenant and p.seq = h.seq and starts_with(p.generation, :deleted)) order by h.tenant"
        ),
        {"deleted": DELETED},
    )
    return [TenantId(row.tenant) for row in rows]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A document's claims, deduplicated and in the form in which they travel, but for the seq."""

    claims: Claims
    described: dict[str, Node]
    keys: list[bytes]
    ranks: list[int]
    rows: bytes
    edges: int
    only_uses: bool

    @property
    def prunable(self) -> bool:
        """Whether retention may remove it for its low value."""
        return self.claims.low_value and self.only_uses

    @property
    def permanent(self) -> bool:
        """Whether it never ends: neither superseded nor removed."""
        return self.claims.series is None and self.claims.valid_to is None and not self.prunable

    @classmethod
    def of(cls, claims: Claims) -> _Rows:
        described: dict[str, Node] = {}
        for node in claims.nodes:
            first = described.get(node.id)
            if first is None or (first.stub and not node.stub):
                described[node.id] = node
        position = {identifier: place for place, identifier in enumerate(described)}
        edges = dict.fromkeys(
            (position[edge.source], position[edge.target], TYPE_CODE[edge.type])
            for edge in (*claims.edges, *claims.earned)
        )
        ends = {end for source, target, _ in edges for end in (source, target)}
        alone = [(place, place, TYPE_MENTIONS) for place in range(len(described)) if place not in ends]
        keys = [node_key(identifier) for identifier in described]
        rows = _claim_rows(b"".join(keys), [*edges, *alone])
        only_uses = all(code == TYPE_CODE[EdgeType.USES] for _, _, code in edges)
        ranks = [rank_of(node) for node in described.values()]
        return cls(claims, described, keys, ranks, rows, len(edges), only_uses)


def _claim_rows(keys: bytes, triples: list[tuple[int, int, int]]) -> bytes:
    ends = np.array(triples, dtype=np.int64).reshape(-1, 3)
    every_key = np.frombuffer(keys, dtype="V16")
    rows = np.empty(len(ends), dtype=_CLAIM_ROW)
    rows["fields"] = 5
    for name, width in (("seq", 8), ("ordinal", 4), ("source", 16), ("target", 16), ("type", 2)):
        rows[f"{name}_length"] = width
    rows["ordinal"] = np.arange(len(ends))
    rows["source"] = every_key[ends[:, 0]]
    rows["target"] = every_key[ends[:, 1]]
    rows["type"] = ends[:, 2]
    return rows.tobytes()


def _field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _node_rows(rows: Sequence[_Rows], first_seq: int, now: datetime) -> Iterator[bytes]:
    """Yield what a batch says of nodes, in order of its documents, but for what an earlier one of them implies.

    A description is implied by an earlier one that ranks as high, of a document under the same label, which holds
    from as early on and never ends: whoever may see the later one, at whatever moment, sees the earlier one too.
    """
    covering: dict[int, dict[bytes, tuple[int, int]]] = defaultdict(dict)
    named: set[bytes] = set()
    for seq, row in enumerate(rows, start=first_seq):
        mark, begun = pack_label(row.claims), _microseconds(row.claims.valid_from or now)
        permanent, covered = row.permanent, covering[mark]
        head = b"\0\x0c\0\0\0\x08%b\0\0\0\x10" % seq.to_bytes(8, "big")
        moment = b"\0\0\0\x08" + begun.to_bytes(8, "big", signed=True)
        tail = b"\0\0\0\2%b%b%b\0\0\0\1" % (mark.to_bytes(2, "big"), moment, moment if permanent else _NULL)
        for key, rank, node in zip(row.keys, row.ranks, row.described.values(), strict=True):
            best = covered.get(key)
            if best is not None and best[0] >= rank and best[1] <= begun:
                continue
            if permanent and (best is None or best[0] <= rank):
                covered[key] = (rank, begun)
            first = key not in named
            named.add(key)
            yield b"%b%b%b\0\0\0\2\0%c\0\0\0\1%c%b%b\0\0\0\x08%b%b%c" % (
                head,
                key,
                _field(node.id.encode()),
                KIND_CODE[node.kind],
                node.stub,
                _NULL if node.label is None else _field(_storable(node.label)),
                _NULL if node.attributes is None else _field(b"\1" + _storable_json(node.attributes)),
                rank.to_bytes(8, "big"),
                tail,
                first,
            )


def _microseconds(moment: datetime) -> int:
    """Return microseconds since 2000, as PostgreSQL counts them."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _storable(label: str) -> bytes:
    """Return a label as PostgreSQL can keep it: no NUL, whole characters, at most 4,000 bytes."""
    cut = label.replace("\0", "").encode(errors="replace")[:4000]
    return cut.decode(errors="ignore").encode()


def _storable_json(value: Any) -> bytes:
    """Return JSON as PostgreSQL can keep it: jsonb holds no NUL, which documents may write as an escape."""
    encoded = orjson.dumps(value)
    return orjson.dumps(_without_nul(value)) if b"\\u0000" in encoded else encoded


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(each) for each in value]
    return value


def _write(connection: Connection, tenant: TenantId, rows: list[_Rows], first_seq: int, now: datetime) -> None:
    for statement in _STAGING.split(";"):
        connection.execute(text(statement))
    _copy(connection, "staged_nodes", [b"".join(_node_rows(rows, first_seq, now))])
    claims = np.frombuffer(bytearray().join(row.rows for row in rows), dtype=_CLAIM_ROW)
    claims["seq"] = np.repeat(
        np.arange(first_seq, first_seq + len(rows)), [len(row.rows) // _CLAIM_ROW.itemsize for row in rows]
    )
    _copy(connection, "staged_claims", [claims.tobytes()])
    _copy_documents(connection, rows, first_seq, now)
    day: date = now.date()
    connection.execute(text("select mc_provenance_partition(:day)"), {"day": day})
    connection.execute(text(_INSERT_NODES), {"tenant": tenant})
    connection.execute(text(_INSERT_CLAIMS), {"tenant": tenant, "day": day})
    connection.execute(_INSERT_DOCUMENTS, {"tenant": tenant, "recorded_at": now})
    _write_aliases(connection, tenant, rows, first_seq)
    closing.supersede(connection, tenant, [(first_seq + place, row.claims) for place, row in enumerate(rows)], now=now)


def _copy_documents(connection: Connection, rows: list[_Rows], first_seq: int, now: datetime) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy("copy staged_documents from stdin (format binary)") as copy:
        copy.set_types(_STAGED_TYPES)
        for place, row in enumerate(rows):
            copy.write_row(_document(row, first_seq + place, now))


def _write_aliases(connection: Connection, tenant: TenantId, rows: list[_Rows], first_seq: int) -> None:
    pairs = [
        (first_seq + place, node_key(alias.first).hex(), node_key(alias.second).hex())
        for place, row in enumerate(rows)
        for alias in row.claims.aliases
    ]
    if pairs:
        seqs, firsts, seconds = map(list, zip(*pairs, strict=True))
        connection.execute(
            text(
                "insert into provenance_aliases (tenant, seq, first, second) select :tenant, * from"
                " unnest(cast(:seqs as bigint[]), cast(:firsts as uuid[]), cast(:seconds as uuid[]))"
                " on conflict do nothing"
            ),
            {"tenant": tenant, "seqs": seqs, "firsts": firsts, "seconds": seconds},
        )


def _copy(connection: Connection, table: str, chunks: Iterable[bytes]) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"copy {table} from stdin (format binary)") as copy:
        copy.write(_COPY_HEADER)
        for chunk in chunks:
            copy.write(chunk)
        copy.write(_COPY_TRAILER)


def _document(row: _Rows, seq: int, now: datetime) -> tuple[Any, ...]:
    claims = row.claims
    return (
        seq,
        claims.document,
        _storable(claims.name).decode(),
        claims.format,
        claims.valid_from or now,
        claims.valid_to,
        claims.series,
        claims.version,
        pack_label(claims),
        row.prunable,
        _storable_json(msgspec.to_builtins(claims.verification)).decode(),
        _storable_json(claims.remarks).decode(),
        len(row.described),
        row.edges,
    )


def _known(connection: Connection, tenant: TenantId, accepted: Iterable[Digest]) -> dict[Digest, Any]:
    found = connection.execute(_KNOWN, {"tenant": tenant, "all": list(accepted)})
    return {Digest(row.digest): row for row in found}


def _refusal(claims: Claims) -> IngestResult:
    return IngestResult(
        claims.document, "refused", claims.refused, None, 0, 0, claims.verification.status, claims.remarks
    )


def _kept_marking(claims: Claims, label: int) -> tuple[str, ...]:
    """Return what to say where a known document is sent again for other readers than it was recorded for."""
    classification, purposes = classification_of(label), purposes_of(label)
    if (classification, purposes) == (claims.classification, claims.purposes):
        return ()
    read_for = ", ".join(sorted(purposes)) or "any purpose"
    return (f"It was recorded with classification {classification} for {read_for}, and stays so.",)


def _answers(batch: _Batch, seqs: dict[Digest, int], known: dict[Digest, Any]) -> list[IngestResult]:
    answers: list[IngestResult] = []
    reported: set[Digest] = set()
    for claims in batch.claims:
        verdict = claims.verification.status
        if claims.refused is not None:
            answers.append(_refusal(claims))
        elif claims.document in known:
            old = known[claims.document]
            remarks = (*claims.remarks, *_kept_marking(claims, old.label))
            answers.append(
                IngestResult(claims.document, "known", None, old.seq, old.nodes, old.edges, verdict, remarks)
            )
        else:
            row, seq = batch.rows[claims.document], seqs[claims.document]
            status = "known" if claims.document in reported else "accepted"
            answers.append(
                IngestResult(claims.document, status, None, seq, len(row.described), row.edges, verdict, claims.remarks)
            )
        reported.add(claims.document)
    return answers
