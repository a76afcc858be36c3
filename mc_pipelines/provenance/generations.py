"""Generations: build a tenant's graph from the log into one immutable file, and move the pointer to it.

Building reads the log up to an event, before which nothing changes, and writes a file; nothing is locked.
Publishing is a compare-and-set of one row: the pointer moves forward only, so a slow builder cannot undo a
fast one, and a builder killed anywhere leaves the old generation current. The last three files stay for rollback
and for readers that still hold them; a mapped file stays readable after it is unlinked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import csr, id_codec, log_reader
from mc_pipelines.provenance.compaction import can_compact, compact
from mc_pipelines.provenance.described import Said, said_of
from mc_pipelines.provenance.edge_log import head_of, known_tenants
from mc_pipelines.provenance.generation_file import (
    LAYOUT,
    MAXIMUM_NODES,
    ROOTS,
    OtherLayoutError,
    open_generation,
    write_generation,
)
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.offsets import pack_offsets, unpack_offsets
from mc_pipelines.provenance.partition import open_partition
from mc_pipelines.provenance.pointer import Generation, current_generation, publish_generation
from mc_pipelines.provenance.records import TYPE_MENTIONS

_T = TypeVar("_T")
_READERS = 2
"""Connections that read the log for a whole build."""
_PIECES_AHEAD = 6
_NO_CLAIMS = (np.empty((0, 2), dtype=np.int32), np.empty(0, dtype=np.int8), np.empty(0, dtype=np.uint32))

KEPT = 3
"""Generations of a tenant that stay on disk."""
ABANDONED_SECONDS = 6 * 3600
"""After this long nobody can still be writing a file, or be about to record it."""


def build_generation(
    database: Database, folder: Path, tenant: TenantId, *, clock: Clock, whole: bool = False
) -> Generation:
    """Build the tenant's generation as the log stands and make it current.

    Where the current generation is as new as the log already, that one is returned and nothing is written.

    Args:
        database: the log, as the application role.
        folder: the folder of generations; the file goes below ``<folder>/<tenant>``.
        tenant: whose graph to build; ``public`` for the shared partition.
        clock: tells when it was built.
        whole: read the log from its beginning, also where the generation before could be merged with the news.
    """
    with database.begin(tenant=tenant) as connection:
        seq = head_of(connection, tenant)
        current = current_generation(connection, tenant)
        if not whole and current is not None and current.seq == seq and _usable(folder / current.path):
            return current
        merged = None if whole else _merged(connection, folder, tenant, current)
    sections, seq = merged or (read_graph(database, tenant, seq), seq)
    nodes, edges = len(sections["kind"]), len(sections["up"])
    facts = {"layout": LAYOUT, "tenant": tenant, "seq": seq, "nodes": nodes, "edges": edges}
    path, digest = write_generation(folder / tenant, facts, sections)
    built = Generation(tenant, digest, seq, f"{tenant}/{path.name}", nodes, edges, path.stat().st_size)
    with database.begin(tenant=tenant) as connection:
        publish_generation(connection, built, clock=clock)
    _forget_old(database, folder, tenant)
    return built


def _usable(path: Path) -> bool:
    try:
        open_generation(path)
    except (FileNotFoundError, OtherLayoutError):
        return False
    return True


def _merged(
    connection: Connection, folder: Path, tenant: TenantId, current: Generation | None
) -> tuple[dict[str, NDArray[Any]], int] | None:
    """Return the sections of the next generation, made of the current one, and its event; None where that cannot be."""
    if current is None or not _usable(folder / current.path):
        return None
    partition = open_partition(connection, folder, tenant)
    return (compact(partition), partition.seq) if can_compact(partition) else None


def build_all(database: Database, folder: Path, *, clock: Clock) -> list[Generation]:
    """Build the generation of every tenant with a log; see :func:`build_generation`."""
    with database.begin() as connection:
        tenants = known_tenants(connection)
    return [build_generation(database, folder, tenant, clock=clock) for tenant in tenants]


def read_graph(database: Database, tenant: TenantId, seq: int) -> dict[str, NDArray[Any]]:
    """Return all sections of the graph that the log holds up to event ``seq``.

    Two connections read pieces of the log while this thread numbers the piece before. What they read does not change
    any more, save by retention, whose closures every reader of the generation looks at.

    Raises:
        ConflictError: the tenant has more nodes than one generation holds.
    """

    def reading(
        read: Callable[[Connection, TenantId, log_reader.Piece], _T],
    ) -> Callable[[log_reader.Piece], _T]:
        def one(piece: log_reader.Piece) -> _T:
            with database.begin(tenant=tenant) as connection:
                return read(connection, tenant, piece)

        return one

    with database.begin(tenant=tenant) as connection:
        documents = log_reader.read_documents(connection, tenant, after=0, upto=seq)
        closures = log_reader.read_closures(connection, tenant, upto=seq)
    pieces = log_reader.pieces_of(documents)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="log-reader") as pool:
        names = _ahead(pool, reading(log_reader.read_piece_of_names), _and_the_nameless(pieces))
        nodes, descriptions = log_reader.joined_names(list(names))
        claims = _ahead(pool, reading(log_reader.read_piece), pieces)
        return assemble(tenant, documents, claims, nodes, descriptions, closures)


def _and_the_nameless(pieces: list[log_reader.Piece]) -> list[log_reader.Piece]:
    """Return pieces of which the first holds event 0, too: names that outlived the document that was first to name."""
    return [*(replace(first, after=-1) for first in pieces[:1]), *pieces[1:]]


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[log_reader.Piece], _T], pieces: Iterable[log_reader.Piece]
) -> Iterator[_T]:
    """Yield what is read of each piece, in their order, a few of them ahead."""
    waiting: deque[Future[_T]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(read, piece))
        if len(waiting) > _PIECES_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def assemble(
    tenant: TenantId,
    documents: log_reader.Documents,
    claims: Iterable[log_reader.Claims],
    nodes: log_reader.Nodes,
    descriptions: log_reader.Descriptions,
    closures: log_reader.Closures,
) -> dict[str, NDArray[Any]]:
    """Return all sections of the graph that these rows of the log make; see :func:`read_graph`.

    Args:
        tenant: whose graph.
        documents: all of them.
        claims: all of them in order, in pieces, of which one at a time is held.
        nodes: all of them.
        descriptions: all of them.
        closures: all of them.
    """
    pruned = closures.closed_seq[closures.valid_to == -1]
    numbering = csr.Numbering(expected=len(nodes.high))
    numbered = [
        (numbering.add(piece.ends.reshape(-1, 2)).reshape(-1, 2), piece.type, piece.seq.astype(np.uint32))
        for piece in claims
    ]
    count = numbering.count
    if count > MAXIMUM_NODES:
        raise ConflictError(f"A generation holds at most {MAXIMUM_NODES} nodes", field="tenant", value=tenant)
    columns = document_columns(documents, pruned)
    ends, kinds, seqs = (np.concatenate(column) for column in zip(_NO_CLAIMS, *numbered, strict=True))
    high, standing = numbering.high, columns.pop("standing")
    place, alone = numbering.find(nodes.high, nodes.low), kinds == TYPE_MENTIONS
    again = numbering.find(descriptions.high, descriptions.low)
    said = Said(place, nodes.seq, nodes.kind).joined(Said(again, descriptions.seq, descriptions.kind))
    said = said.where((said.node >= 0) & standing[said.seq])
    with ThreadPoolExecutor(1) as pool:
        # The lists of both directions take two cores; names and the index of keys are made beside them.
        names = pool.submit(node_sections, nodes, place)
        index = pool.submit(csr.index_keys, high)
        told = pool.submit(said_of, count, said, (ends[alone, 0], seqs[alone]))
        lists = csr.build_lists(
            ends,
            kinds,
            seqs,
            count,
            {
                "standing": standing,
                "permanent": columns["doc_permanent"],
                "label": columns["doc_label"],
                "valid_from": columns["doc_valid_from"],
            },
        )
        hot, cold = split_lists(lists)
        kind, rows = told.result()
        cold |= rows
        if tenant == PUBLIC:  # every tenant's reader looks the shared nodes up by key
            cold |= {"key_high": high, "key_low": numbering.low}
        return hot | {"kind": kind} | names.result() | index.result() | cold | columns


def document_columns(documents: log_reader.Documents, pruned: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the columns by event; event 0 is none and never visible. ``standing`` says what was not pruned."""
    empty = np.zeros(1, dtype=np.int64) + log_reader.FOREVER
    standing = np.append([False], documents.exists)
    standing[pruned] = False
    return {
        "standing": standing,
        "doc_label": np.append(np.zeros(1, dtype=np.uint16), documents.label),
        "doc_valid_from": np.append(empty, documents.valid_from),
        "doc_valid_to": np.append(empty, documents.valid_to),
        "doc_recorded": np.append([0], documents.recorded),
        "doc_standing": standing.astype(np.uint8),
        "doc_permanent": np.append([False], documents.permanent),
    }


def node_sections(nodes: log_reader.Nodes, place: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return encoded ids in order of number; ``place`` is the number of each node row."""
    keep = place >= 0
    order = np.argsort(place[keep], kind="stable")
    rows = np.flatnonzero(keep)[order]
    starts, encoded = id_codec.encode_texts(
        nodes.text, nodes.begin[rows], nodes.length[rows], id_codec.SHA256_PREFIX, id_codec.GITOID_PREFIX
    )
    starts, encoded, prefixes, prefix_starts = id_codec.share_prefixes(starts, encoded)
    return {
        "id_start": pack_offsets(starts),
        "ids": encoded,
        "prefix": prefixes,
        "prefix_start": prefix_starts,
    }


def split_lists(lists: dict[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Separate what every walk reads from what only a filtered one reads."""
    cold = {name: lists[name] for name in ("up_seq", "down_seq")}
    return {name: array for name, array in lists.items() if name not in cold}, cold


def check_structure(path: Path) -> None:
    """Check that both directions of a generation hold the same edges and that every list is in order.

    Raises:
        ConflictError: they do not; the generation must not be served.
    """
    file = open_generation(path)
    nodes = len(file["kind"])
    pairs = []
    for name in ("up", "down"):
        degrees: NDArray[np.int64] = np.diff(unpack_offsets(file[f"{name}_start"]).astype(np.int64))  # type: ignore[assignment]
        owner = np.repeat(np.arange(nodes, dtype=np.uint64), degrees)
        entry = file[name].astype(np.uint64)
        same_owner = owner[1:] == owner[:-1]
        if bool(np.any(same_owner & (entry[1:] < entry[:-1]))):
            raise ConflictError("A list of the generation is out of order", field="section", value=name)
        neighbour, code = entry >> np.uint64(2), entry & np.uint64(3)
        lower, upper = (owner, neighbour) if name == "up" else (neighbour, owner)
        pairs.append(np.sort(lower << np.uint64(32) | upper << np.uint64(2) | code))
    if not np.array_equal(pairs[0], pairs[1]):
        raise ConflictError("The two directions of the generation differ", field="path", value=path.name)


def _forget_old(database: Database, folder: Path, tenant: TenantId) -> None:
    """Remove all but the newest generations, and what builders that were killed have left."""
    with database.begin(tenant=tenant) as connection:
        rows = connection.execute(
            text(
                "select generation, path from provenance_generations where tenant = :tenant"
                " order by seq desc, built_at desc"
            ),
            {"tenant": tenant},
        ).all()
        for row in rows[KEPT:]:
            connection.execute(
                text("delete from provenance_generations where tenant = :tenant and generation = :generation"),
                {"tenant": tenant, "generation": row.generation},
            )
    for row in rows[KEPT:]:
        for path in (folder / row.path, (folder / row.path).with_suffix(ROOTS)):
            path.unlink(missing_ok=True)
    recorded = {folder / row.path for row in rows}
    for path in (folder / tenant).iterdir():
        if path.with_suffix(".mcgraph") not in recorded and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
