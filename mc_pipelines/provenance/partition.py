"""One tenant's part of the graph as a reader holds it: a generation, and what the log has added since.

A partition is immutable; :func:`advance` returns the next one. What is newer than the generation is read from the
log straight into memory, so a document is visible to every process as soon as it is committed, without a file
being written; the next generation takes it in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import csr, log_reader
from mc_pipelines.provenance.edge_log import head_of
from mc_pipelines.provenance.generation_file import GenerationFile, open_generation
from mc_pipelines.provenance.generations import current_generation
from mc_pipelines.provenance.id_codec import decode_id, encode_id
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.log_reader import Closures
from mc_pipelines.provenance.records import TYPE_MENTIONS

Array = NDArray[Any]
_DOCUMENT_COLUMNS = ("doc_label", "doc_valid_from", "doc_valid_to", "doc_recorded", "doc_standing", "doc_nodes")


@dataclass(frozen=True)
class Added:
    """What the log holds beyond the generation.

    Attributes:
        lower: number of each edge's lower end: from it, the edge leads to an ancestor.
        upper: number of its other end.
        type: its type code.
        seq: the event that claimed it.
        keys: the keys of new nodes, in order of number.
        ids: their encoded ids.
        kinds: their kinds, plus 8 for a stub.
        changed: kinds of older nodes that were described since.
        numbers: number of each new node by key.
    """

    lower: Array
    upper: Array
    type: Array
    seq: Array
    keys: list[bytes] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    changed: dict[int, int] = field(default_factory=dict)
    numbers: dict[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """One tenant's part of the graph, as it stood after event ``seq``."""

    tenant: TenantId
    generation: str
    base: GenerationFile | None
    seq: int
    added: Added
    documents: dict[str, Array]
    closures: Closures

    @property
    def base_nodes(self) -> int:
        """Nodes of the generation."""
        return 0 if self.base is None else len(self.base["kind"])

    @property
    def nodes(self) -> int:
        """All nodes."""
        return self.base_nodes + len(self.added.keys)

    def encoded_id(self, number: int) -> bytes:
        """Return the encoded id of a node."""
        if number >= self.base_nodes:
            return self.added.ids[number - self.base_nodes]
        assert self.base is not None  # noqa: S101 - a number below base_nodes comes from a base
        start = self.base["id_start"]
        return self.base["ids"][start[number] : start[number + 1]].tobytes()

    def find(self, node: str) -> int:
        """Return the number of a node by its id, -1 where it has none."""
        key = node_key(node)
        found = self.added.numbers.get(key)
        if found is not None:
            return found
        return int(self.find_keys(np.frombuffer(key, dtype=">u8").astype(np.uint64).reshape(1, 2))[0])

    def find_keys(self, keys: Array) -> Array:
        """Return the number in the generation of each key (rows of two uint64), -1 where it is not there."""
        numbers = np.full(len(keys), -1, dtype=np.int64)
        if self.base is None or not len(keys) or not self.base_nodes:
            return numbers
        place, fitting = csr.candidates(np.ascontiguousarray(keys[:, 0]), self.base["bucket"], self.base["check"])
        by_key = self.base["by_key"]
        wanted = keys.astype(">u8")
        for row in np.flatnonzero(fitting):
            key, at = wanted[row].tobytes(), int(place[row])
            last = min(at + 64, len(by_key))  # equal check bits within a bucket lie close together
            for candidate in by_key[at:last]:
                if node_key(decode_id(self.encoded_id(int(candidate)))) == key:
                    numbers[row] = candidate
                    break
        return numbers


def open_partition(connection: Connection, folder: Path, tenant: TenantId) -> Partition:
    """Open a tenant's current generation and read what the log has added since."""
    current = current_generation(connection, tenant)
    base = None if current is None else open_generation(folder / current.path)
    return advance(connection, unread(tenant, "" if current is None else current.generation, base))


def unread(tenant: TenantId, generation: str, base: GenerationFile | None) -> Partition:
    """Return a partition as its generation left it, with nothing read from the log since."""
    none = np.empty(0, dtype=np.int64)
    if base is None:
        start = np.array([log_reader.FOREVER], dtype=np.int64)
        documents: dict[str, Array] = {
            "doc_label": np.zeros(1, dtype=np.uint16),
            "doc_valid_from": start,
            "doc_valid_to": start,
            "doc_recorded": np.zeros(1, dtype=np.int64),
            "doc_standing": np.zeros(1, dtype=np.uint8),
            "doc_nodes": np.zeros(1, dtype=np.uint32),
        }
    else:
        documents = {name: base[name] for name in _DOCUMENT_COLUMNS}
    seq = 0 if base is None else int(base.facts["seq"])
    return Partition(
        tenant, generation, base, seq, Added(none, none, none, none), documents, Closures(none, none, none)
    )


def advance(connection: Connection, partition: Partition) -> Partition:
    """Return the partition as of the log's newest event."""
    tenant, after = partition.tenant, partition.seq
    upto = head_of(connection, tenant)
    closures = log_reader.read_closures(connection, tenant, upto=upto)
    if upto == after:
        return Partition(
            tenant, partition.generation, partition.base, after, partition.added, partition.documents, closures
        )
    return extend(
        partition,
        log_reader.read_documents(connection, tenant, after=after, upto=upto),
        log_reader.read_claims(connection, tenant, after=after, upto=upto),
        log_reader.read_nodes(connection, tenant, after=after),
        closures,
    )


def extend(
    partition: Partition,
    documents: log_reader.Documents,
    claims: log_reader.Claims,
    nodes: log_reader.Nodes,
    closures: Closures,
) -> Partition:
    """Return the partition with the log's next rows taken in."""
    upto = documents.last
    added, known = _add(partition, claims, nodes, upto)
    columns = {
        "doc_label": documents.label,
        "doc_valid_from": documents.valid_from,
        "doc_valid_to": documents.valid_to,
        "doc_recorded": documents.recorded,
        "doc_standing": documents.exists.astype(np.uint8),
        "doc_nodes": known,
    }
    joined = {name: np.append(partition.documents[name], columns[name]) for name in _DOCUMENT_COLUMNS}
    return Partition(partition.tenant, partition.generation, partition.base, upto, added, joined, closures)


def _add(partition: Partition, claims: log_reader.Claims, nodes: log_reader.Nodes, upto: int) -> tuple[Added, Array]:
    rows = len(claims.seq)
    high, low = np.empty(2 * rows, dtype=np.uint64), np.empty(2 * rows, dtype=np.uint64)
    high[0::2], high[1::2] = claims.source_high, claims.target_high
    low[0::2], low[1::2] = claims.source_low, claims.target_low
    table = np.full(1 << max(4, (2 * rows).bit_length()), -1, dtype=np.int32)
    keys_high, keys_low = np.empty(2 * rows, dtype=np.uint64), np.empty(2 * rows, dtype=np.uint64)
    local = csr.number_keys(high, low, table, keys_high, keys_low, 0)
    count = int(local.max()) + 1 if rows else 0
    pairs = np.stack([keys_high[:count], keys_low[:count]], axis=1)
    numbers = partition.find_keys(pairs)
    old = partition.added
    keys, taken = list(old.keys), dict(old.numbers)
    wire = pairs.astype(">u8")
    first_row = np.flatnonzero(np.diff(np.maximum.accumulate(local), prepend=-1) > 0) // 2
    fresh_by_event = np.zeros(upto - partition.seq, dtype=np.int64)
    for place in np.flatnonzero(numbers < 0):
        key = wire[place].tobytes()
        number = taken.get(key)
        if number is None:
            number = taken[key] = partition.base_nodes + len(keys)
            keys.append(key)
            fresh_by_event[claims.seq[first_row[place]] - partition.seq - 1] += 1
        numbers[place] = number
    ids, kinds, changed = _describe(partition, nodes, taken, len(keys))
    ends = numbers[local]
    edges = claims.type != TYPE_MENTIONS
    uses = claims.type[edges] == 0
    source, target = ends[0::2][edges], ends[1::2][edges]
    added = Added(
        np.append(old.lower, np.where(uses, source, target)),
        np.append(old.upper, np.where(uses, target, source)),
        np.append(old.type, claims.type[edges]),
        np.append(old.seq, claims.seq[edges]),
        keys,
        ids,
        kinds,
        changed,
        taken,
    )
    known = int(partition.documents["doc_nodes"][-1]) + np.cumsum(fresh_by_event)
    return added, known.astype(np.uint32)


def _describe(
    partition: Partition, nodes: log_reader.Nodes, taken: dict[bytes, int], count: int
) -> tuple[list[bytes], list[int], dict[int, int]]:
    old = partition.added
    ids = [*old.ids, *[b""] * (count - len(old.ids))]
    kinds = [*old.kinds, *[0] * (count - len(old.kinds))]
    changed = dict(old.changed)
    wire = np.stack([nodes.high, nodes.low], axis=1).astype(">u8")
    older: list[int] = []
    text = nodes.text.tobytes()
    for row in range(len(nodes.high)):
        kind = int(nodes.kind[row]) | int(nodes.stub[row]) << 3
        number = taken.get(wire[row].tobytes())
        if number is None:
            older.append(row)
            continue
        place = number - partition.base_nodes
        begin = int(nodes.begin[row])
        ids[place] = encode_id(text[begin : begin + int(nodes.length[row])].decode())
        kinds[place] = kind
    if older:
        found = partition.find_keys(np.stack([nodes.high, nodes.low], axis=1)[older])
        changed |= {
            int(number): int(nodes.kind[row]) | int(nodes.stub[row]) << 3
            for row, number in zip(older, found, strict=True)
            if number >= 0
        }
    return ids, kinds, changed
