"""One tenant's part of the graph as a reader holds it: a generation, and what the log has added since.

A partition is immutable; :func:`advance` returns the next one. What is newer than the generation is read from the
log straight into segments in memory (:mod:`mc_pipelines.provenance.segment`), so a document is visible to every
process as soon as it is committed, without a file being written; the next generation takes it in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mc_pipelines.foundation.errors import ConflictError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import csr, id_codec, log_reader
from mc_pipelines.provenance.described import Before, Said, rows_of, said_lists_in, take_in
from mc_pipelines.provenance.edge_log import head_of
from mc_pipelines.provenance.generation_file import MAXIMUM_NODES, GenerationFile, OtherLayoutError, open_generation
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.key_hash import keys_of
from mc_pipelines.provenance.log_reader import Closures
from mc_pipelines.provenance.offsets import offset_at
from mc_pipelines.provenance.pointer import current_generation, name_of_none
from mc_pipelines.provenance.records import TYPE_MENTIONS
from mc_pipelines.provenance.segment import Segment, add_segment, sorted_lists

Array = NDArray[Any]
DOCUMENT_COLUMNS = ("doc_label", "doc_valid_from", "doc_valid_to", "doc_recorded", "doc_standing", "doc_permanent")


@dataclass(frozen=True)
class Partition:
    """One tenant's part of the graph, as it stood after event ``seq``.

    Attributes:
        tenant: whose.
        generation: digest of the generation; before the first empty, after a deletion the name of that.
        base: that generation's file.
        seq: the last event inside.
        segments: what came after the generation, oldest and largest first.
        recent: columns of the documents after the generation.
        closures: what ended documents.
    """

    tenant: TenantId
    generation: str
    base: GenerationFile | None
    seq: int
    segments: tuple[Segment, ...]
    recent: dict[str, Array]
    closures: Closures

    @cached_property
    def base_nodes(self) -> int:
        """Nodes of the generation."""
        return 0 if self.base is None else len(self.base["kind"])

    @cached_property
    def nodes(self) -> int:
        """All nodes."""
        last = self.segments[-1] if self.segments else None
        return self.base_nodes if last is None else last.first_node + len(last.high)

    @cached_property
    def documents(self) -> dict[str, Array]:
        """Columns of all documents by event, the generation's and the recent ones together."""
        if self.base is None:
            return self.recent
        return {name: np.append(self.base[name], self.recent[name]) for name in DOCUMENT_COLUMNS}

    def kinds(self, numbers: Array) -> Array:
        """Return what all documents together say that nodes are; see :mod:`mc_pipelines.provenance.described`."""
        found = np.zeros(len(numbers), dtype=np.uint8)
        if self.base is not None:
            inside = numbers < self.base_nodes
            found[inside] = self.base["kind"][numbers[inside]]
        for segment in self.segments:
            inside = (numbers >= segment.first_node) & (numbers < segment.first_node + len(segment.kind))
            found[inside] = segment.kind[numbers[inside] - segment.first_node]
            changed = np.isin(numbers, segment.changed)
            found[changed] = segment.changed_kind[np.searchsorted(segment.changed, numbers[changed])]
        return found

    def rows(self, numbers: Array) -> Said:
        """Return the descriptions of nodes (numbers ascending) that stand as rows."""
        found = Said(*(np.empty(0, dtype=dtype) for dtype in (np.int64, np.int64, np.uint8)))
        lists = [] if self.base is None else [said_lists_in(self.base.sections)]
        for each in (*lists, *(segment.said for segment in self.segments)):
            found = found.joined(rows_of(each, numbers))
        return found

    def encoded_id(self, number: int) -> bytes:
        """Return the encoded id of a node."""
        if number < self.base_nodes:
            assert self.base is not None  # noqa: S101 - a number below base_nodes comes from a base
            starts = self.base["id_start"]
            encoded = bytes(self.base["ids"][offset_at(starts, number) : offset_at(starts, number + 1)])
            return id_codec.unshared(encoded, self.base["prefix"], self.base["prefix_start"])
        holder = next(each for each in reversed(self.segments) if each.first_node <= number)
        place = number - holder.first_node
        return bytes(holder.ids[holder.id_start[place] : holder.id_start[place + 1]])

    def find(self, node: str) -> int:
        """Return the number of a node by its id, -1 where it has none."""
        key = np.frombuffer(node_key(node), dtype=">u8").astype(np.uint64)
        return int(self.find_keys(key[:1], key[1:])[0])

    def find_keys(self, high: Array, low: Array) -> Array:
        """Return the number of each key (its halves), -1 where it has none."""
        numbers = self._find_in_generation(high, low)
        for segment in self.segments:
            numbers = np.maximum(numbers, segment.find_keys(high, low))
        return numbers

    def keys_after(self, number: int) -> tuple[Array, Array]:
        """Return the keys (halves) of the nodes from ``number`` on; of the generation only where its file keeps them.

        Raises:
            KeyError: the file of a tenant's own generation keeps no keys.
        """
        high, low = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.uint64)]
        if number < self.base_nodes and self.base is not None:
            high.append(self.base["key_high"][number:])
            low.append(self.base["key_low"][number:])
        for segment in self.segments:
            skip = max(0, number - segment.first_node)
            high.append(segment.high[skip:])
            low.append(segment.low[skip:])
        return np.concatenate(high), np.concatenate(low)

    def _find_in_generation(self, high: Array, low: Array) -> Array:
        numbers = np.full(len(high), -1, dtype=np.int64)
        if self.base is None or not len(high) or not self.base_nodes:
            return numbers
        high, low = np.ascontiguousarray(high), np.ascontiguousarray(low)
        rows, found = csr.candidates(high, self.base["bucket"], self.base["check"], self.base["by_key"])
        base = self.base
        keys = keys_of(base["ids"], base["id_start"], found, base["prefix"], base["prefix_start"])
        right = (keys[:, 0] == high[rows]) & (keys[:, 1] == low[rows])
        numbers[rows[right]] = found[right]
        return numbers


def open_partition(connection: Connection, folder: Path, tenant: TenantId) -> Partition:
    """Open a tenant's current generation and read what the log has added since.

    Where another release wrote the generation, all is read from the log until the next one is built.
    """
    current = current_generation(connection, tenant)
    base = None
    if current is not None:
        with suppress(OtherLayoutError):
            base = open_generation(folder / current.path)
    name = name_of_none(connection, tenant) if current is None else current.generation
    return advance(connection, unread(tenant, name, base))


def unread(tenant: TenantId, generation: str, base: GenerationFile | None) -> Partition:
    """Return a partition as its generation left it, with nothing read from the log since."""
    none = np.empty(0, dtype=np.int64)
    rows = 0 if base is not None else 1  # event 0 is none; a generation has it
    recent: dict[str, Array] = {
        "doc_label": np.zeros(rows, dtype=np.uint16),
        "doc_valid_from": np.full(rows, log_reader.FOREVER, dtype=np.int64),
        "doc_valid_to": np.full(rows, log_reader.FOREVER, dtype=np.int64),
        "doc_recorded": np.zeros(rows, dtype=np.int64),
        "doc_standing": np.zeros(rows, dtype=np.uint8),
        "doc_permanent": np.zeros(rows, dtype=np.bool_),
    }
    seq = 0 if base is None else int(base.facts["seq"])
    return Partition(tenant, generation, base, seq, (), recent, Closures(none, none, none))


def advance(connection: Connection, partition: Partition) -> Partition:
    """Return the partition as of the log's newest event."""
    tenant, after = partition.tenant, partition.seq
    upto = head_of(connection, tenant)
    closures = log_reader.read_closures(connection, tenant, upto=upto)
    if upto == after:
        return Partition(
            tenant, partition.generation, partition.base, after, partition.segments, partition.recent, closures
        )
    documents = log_reader.read_documents(connection, tenant, after=after, upto=upto)
    return extend(
        partition,
        documents,
        log_reader.read_claims(connection, tenant, documents),
        *log_reader.read_names(connection, tenant, documents),
        closures,
        Older(
            lambda high, low: log_reader.read_nodes_by_key(connection, tenant, high, low),
            lambda high, low: log_reader.read_descriptions_by_key(connection, tenant, high, low, upto=upto),
        ),
    )


@dataclass(frozen=True, slots=True)
class Older:
    """Reads rows of the log by keys (halves) of nodes.

    Attributes:
        nodes: those that were known before, but of which nothing stands in the generation; in the order of the keys.
        descriptions: all that was ever said of some, up to the event that is read up to.
    """

    nodes: Callable[[Array, Array], log_reader.Nodes]
    descriptions: Callable[[Array, Array], log_reader.Descriptions]


def _nothing(high: Array, _low: Array) -> Any:
    raise ConflictError("The log names nodes that it does not describe", field="nodes", value=len(high))


_NO_OLDER = Older(_nothing, _nothing)


def extend(
    partition: Partition,
    documents: log_reader.Documents,
    claims: log_reader.Claims,
    nodes: log_reader.Nodes,
    descriptions: log_reader.Descriptions,
    closures: Closures,
    older: Older = _NO_OLDER,
) -> Partition:
    """Return the partition with the log's next rows taken in.

    Args:
        partition: as it was.
        documents: the next documents.
        claims: their claims.
        nodes: what they were the first to name.
        descriptions: what else they say of nodes.
        closures: everything that ended documents.
        older: reads what else it takes.
    """
    columns = {
        "doc_label": documents.label,
        "doc_valid_from": documents.valid_from,
        "doc_valid_to": documents.valid_to,
        "doc_recorded": documents.recorded,
        "doc_standing": documents.exists.astype(np.uint8),
        "doc_permanent": documents.permanent,
    }
    recent = {name: np.append(partition.recent[name], columns[name]) for name in DOCUMENT_COLUMNS}
    segments = partition.segments
    if len(claims.seq):
        segments = add_segment(segments, _segment(partition, claims, nodes, descriptions, older))
    return Partition(partition.tenant, partition.generation, partition.base, documents.last, segments, recent, closures)


def _segment(
    partition: Partition,
    claims: log_reader.Claims,
    nodes: log_reader.Nodes,
    descriptions: log_reader.Descriptions,
    older: Older,
) -> Segment:
    numbering = csr.Numbering()
    local = numbering.add(claims.ends.reshape(-1, 2))
    high, low = numbering.high, numbering.low
    numbers = partition.find_keys(high, low)
    fresh = np.flatnonzero(numbers < 0)
    first = partition.nodes
    if first + len(fresh) > MAXIMUM_NODES:
        raise ConflictError(f"A graph holds at most {MAXIMUM_NODES} nodes", field="tenant", value=partition.tenant)
    numbers[fresh] = first + np.arange(len(fresh))
    edges = claims.type != TYPE_MENTIONS

    def numbered(rows: log_reader.Nodes | log_reader.Descriptions) -> Array:
        place = numbering.find(rows.high, rows.low)
        return np.where(place >= 0, numbers[place], -1)

    def everything(wanted: Array) -> Said:
        at = np.flatnonzero(np.isin(numbers, wanted))
        rows = older.descriptions(high[at], low[at])
        return Said(numbered(rows), rows.seq, rows.kind)  # of the keys asked for, which all have numbers

    named = numbered(nodes)
    ids, starts = _name(nodes, named, first, (high[fresh], low[fresh]), older)
    said = Said(named, nodes.seq, nodes.kind).joined(Said(numbered(descriptions), descriptions.seq, descriptions.kind))
    news = take_in(
        said.where(said.node >= 0),  # a document may be removed between the statements that read it
        (numbers[local[0::2][~edges]], claims.seq[~edges]),
        first,
        len(fresh),
        Before(partition.kinds, partition.rows, everything),
    )
    uses = claims.type[edges] == 0
    source, target = numbers[local[0::2][edges]], numbers[local[1::2][edges]]
    lower, upper = np.where(uses, source, target), np.where(uses, target, source)
    code, seq = claims.type[edges].astype(np.uint32), claims.seq[edges]
    keys_high = high[fresh]
    return Segment(
        first,
        keys_high,
        low[fresh],
        np.argsort(keys_high, kind="stable").astype(np.uint32),
        starts,
        ids,
        news.kind,
        news.changed,
        news.changed_kind,
        news.lists,
        sorted_lists(lower, upper.astype(np.uint32) << np.uint32(2) | code, seq),
        sorted_lists(upper, lower.astype(np.uint32) << np.uint32(2) | code, seq),
    )


def _name(
    nodes: log_reader.Nodes, numbers: Array, first: int, fresh: tuple[Array, Array], older: Older
) -> tuple[Array, Array]:
    """Return ids of the new nodes, and their starts, in order of number."""
    count = len(fresh[0])
    row_of = np.full(count, -1, dtype=np.int64)
    mine = np.flatnonzero(numbers >= first)
    row_of[numbers[mine] - first] = mine
    missing = np.flatnonzero(row_of < 0)
    if len(missing):
        found = older.nodes(fresh[0][missing], fresh[1][missing])
        row_of[missing] = len(nodes.high) + np.arange(len(missing))
        nodes = log_reader.Nodes.joined([nodes, found])
    starts, ids = id_codec.encode_texts(
        nodes.text, nodes.begin[row_of], nodes.length[row_of], id_codec.SHA256_PREFIX, id_codec.GITOID_PREFIX
    )
    return ids, starts
