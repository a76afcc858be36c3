"""What one request walks: a tenant's partition and the shared one, under one numbering, at fixed events.

Numbers: the tenant's own nodes first, as its partition numbers them; then the shared partition's nodes, of which
those that the tenant knows itself go by their own number. Neither partition is copied: both are walked where they
lie, generation in the mapped file and segments in memory, and what is kept per tenant is which nodes the two have in
common. A byte per node says which segments, and whether the shared partition, have anything there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled
from mc_pipelines.provenance.described import better_of, said_lists_in
from mc_pipelines.provenance.id_codec import PREFIX_START, PREFIXES, decode_id
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.offsets import offset_at, offset_count, pack_offsets
from mc_pipelines.provenance.partition import Partition, unread
from mc_pipelines.provenance.rank import ORDER_OF, ORDERS, STUB
from mc_pipelines.provenance.segment import Lists

Array = NDArray[Any]
SHARED = np.uint32(1 << 31)
"""Marks, in an entry's event, an event of the shared partition."""
BLOCK = 64
"""Numbers that are looked up together."""
SHARED_BIT = 128
"""Marks a node of the tenant that the shared partition knows too."""
UP, DOWN = 1, 2


class Side(NamedTuple):
    """One direction of a partition: the generation's lists, and its segments' lists one after the other.

    Attributes:
        start: per node of the generation, where its entries begin; one more than nodes, packed.
        entries: neighbour and type, ascending per node.
        seq: the event that claimed each.
        bounds: where each segment's owners begin; one more than segments.
        owners: nodes with entries in a segment, ascending per segment.
        first: where each owner's entries begin; one more than owners.
        more: those entries.
        more_seq: the event that claimed each.
    """

    start: Array
    entries: Array
    seq: Array
    bounds: Array
    owners: Array
    first: Array
    more: Array
    more_seq: Array


class Names(NamedTuple):
    """Encoded ids of a partition: the generation's with its table of prefixes, then those of the segments."""

    start: Array
    ids: Array
    prefixes: Array
    prefix_start: Array
    more_start: Array
    more_ids: Array


class Rows(NamedTuple):
    """Descriptions of a partition that stand as rows: the generation's, and its segments' one after the other.

    Attributes:
        owners: nodes with rows in the generation, ascending.
        start: where each one's rows begin; one more than owners.
        entries: what each row says, see :func:`~mc_pipelines.provenance.described.said_lists`; ascending per node.
        seq: the event that says so.
        bounds: where each segment's owners begin; one more than segments.
        more_owners: nodes with rows in a segment, ascending per segment.
        first: where each one's rows begin; one more than owners.
        more: those rows.
        more_seq: the event that says each.
    """

    owners: Array
    start: Array
    entries: Array
    seq: Array
    bounds: Array
    more_owners: Array
    first: Array
    more: Array
    more_seq: Array


class Part(NamedTuple):
    """A partition as the kernel walks it.

    Attributes:
        up: towards ancestors.
        down: towards descendants.
        touched: per node, a bit for each segment that knows it, and SHARED_BIT.
        kind: per node, kind plus 8 for a stub, plus SEVERAL; see :mod:`mc_pipelines.provenance.described`.
        said: descriptions that stand as rows.
        names: encoded ids.
    """

    up: Side
    down: Side
    touched: Array
    kind: Array
    said: Rows
    names: Names


class Common(NamedTuple):
    """Which nodes two partitions have in common, and what both together say that nodes are.

    Attributes:
        to_own: per shared node, its number in the tenant's partition, -1 for none.
        own: numbers in the tenant's partition of the nodes in common, ascending.
        shared: their numbers in the shared partition.
        begins: of each :data:`BLOCK` of the tenant's numbers, where those in common begin; one more than blocks.
        kind: per node of the tenant, kind plus 8 for a stub of the better description, plus SEVERAL where it depends.
    """

    to_own: Array
    own: Array
    shared: Array
    begins: Array
    kind: Array


@dataclass(frozen=True)
class Snapshot:
    """An immutable graph that a tenant may see, before any filter.

    Attributes:
        own: the tenant's partition.
        shared: the shared partition; None for the shared partition itself.
        part: the tenant's partition as it is walked.
        shared_part: the shared one; empty where there is none.
        common: which nodes they have in common.
    """

    own: Partition
    shared: Partition | None
    part: Part
    shared_part: Part
    common: Common

    @property
    def position(self) -> tuple[int, int]:
        """The events up to which this snapshot reads: the tenant's and the shared partition's."""
        return self.own.seq, 0 if self.shared is None else self.shared.seq

    @property
    def nodes(self) -> int:
        """How many numbers there are; a shared node that the tenant knows itself leaves its own number unused."""
        return self.own.nodes + len(self.common.to_own)

    def candidates(self, kind: int) -> Array:
        """Return the numbers of nodes that some document calls a ``kind`` (code), described or not, ascending."""
        there = _called(self.shared_part, kind)
        here = self.common.to_own[there].astype(np.int64)
        return np.union1d(_called(self.part, kind), np.where(here < 0, self.own.nodes + there, here))

    def find(self, node: str) -> int:
        """Return the number of a node, -1 where neither partition knows it."""
        number = self.own.find(node)
        if number >= 0 or self.shared is None:
            return number
        there = self.shared.find(node)
        return -1 if there < 0 else self.own.nodes + there

    def find_all(self, nodes: Sequence[str]) -> Array:
        """Return the number of each node, -1 for one that neither partition knows."""
        keys = np.frombuffer(b"".join(map(node_key, nodes)), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        high, low = np.ascontiguousarray(keys[:, 0]), np.ascontiguousarray(keys[:, 1])
        numbers = self.own.find_keys(high, low)
        if self.shared is not None:
            there = self.shared.find_keys(high, low)
            numbers = np.where((numbers < 0) & (there >= 0), self.own.nodes + there, numbers)
        return numbers

    def encoded_id(self, number: int) -> bytes:
        """Return the encoded id of a node."""
        own = self.own.nodes
        if number < own:
            return self.own.encoded_id(number)
        assert self.shared is not None  # noqa: S101 - only the shared partition has numbers from there on
        return self.shared.encoded_id(number - own)

    def id_of(self, number: int) -> str:
        """Return the id of a node."""
        return decode_id(self.encoded_id(number))

    def own_slices(self, direction: int, number: int) -> Iterator[tuple[Array, Array]]:
        """Yield the tenant's own entries and events at a node, generation first, then segment by segment."""
        if number < self.own.nodes:
            yield from _slices(self.part, direction, number)

    def shared_slices(self, direction: int, number: int) -> Iterator[tuple[Array, Array]]:
        """Yield the shared entries at a node, in the shared numbering, and their events."""
        there = self.shared_number(number)
        if there >= 0:
            yield from _slices(self.shared_part, direction, there)

    def slices(self, direction: int, number: int) -> Iterator[tuple[Array, Array]]:
        """Yield all entries and events at a node, in this snapshot's numbering, shared events marked SHARED."""
        yield from self.own_slices(direction, number)
        for entries, seq in self.shared_slices(direction, number):
            yield self.translated(entries), seq | SHARED

    def translated(self, entries: Array) -> Array:
        """Return shared entries in this snapshot's numbering."""
        there = (entries >> np.uint32(2)).astype(np.int64)
        here = self.common.to_own[there].astype(np.int64)
        here = np.where(here < 0, self.own.nodes + there, here)
        return here.astype(np.uint32) << np.uint32(2) | entries & np.uint32(3)

    def rows_at(self, part: Part, number: int) -> Iterator[tuple[int, int]]:
        """Yield the entries and events of a node's rows in one partition, by its number there."""
        rows = part.said
        spans = [(0, len(rows.owners), rows.owners, rows.start, rows.entries, rows.seq)]
        spans += [
            (int(rows.bounds[each]), int(rows.bounds[each + 1]), rows.more_owners, rows.first, rows.more, rows.more_seq)
            for each in range(len(rows.bounds) - 1)
        ]
        for begin, end, owners, start, entries, seq in spans:
            place = int(position_of(owners, begin, end, number))
            if place >= 0:
                at = slice(int(start[place]), int(start[place + 1]))
                yield from zip(entries[at].tolist(), seq[at].tolist(), strict=True)

    def shared_number(self, number: int) -> int:
        """Return the number that a node has in the shared partition, -1 for none."""
        own = self.own.nodes
        if number >= own:
            return number - own
        return int(shared_number(self.common, number))


def take_snapshot(own: Partition, shared: Partition | None, before: Snapshot | None = None) -> Snapshot:
    """Lay a tenant's partition and the shared one under one numbering.

    Args:
        own: the tenant's partition.
        shared: the shared partition; None where ``own`` is that itself.
        before: an earlier snapshot of the same tenant, of which is taken over what still holds.
    """
    if before is not None and before.own.generation != own.generation:
        before = None
    if before is not None and shared is not None and before.shared is shared:
        shared_part = before.shared_part
    else:
        shared_part = _EMPTY if shared is None else part_of(shared)
    part = part_of(own)
    common = _common(own, shared, before, part, shared_part)
    touched = part.touched.copy() if len(common.own) else part.touched
    touched[common.own] |= SHARED_BIT
    return Snapshot(own, shared, part._replace(touched=_frozen(touched)), _frozen_part(shared_part), common)


def part_of(partition: Partition) -> Part:
    """Return a partition as the kernel walks it."""
    base, segments = partition.base, partition.segments
    touched = np.zeros(partition.nodes, dtype=np.uint8)
    for bit, segment in enumerate(segments):
        for lists in (segment.up, segment.down):
            touched[lists.owners] |= 1 << bit
    kind = np.zeros(0, dtype=np.uint8) if base is None else base["kind"]
    if segments:
        kind = np.concatenate([kind, *(segment.kind for segment in segments)])
        for segment in segments:
            kind[segment.changed] = segment.changed_kind
    names = Names(
        _NO_OFFSETS if base is None else base["id_start"],
        _frozen(np.zeros(0, dtype=np.uint8)) if base is None else base["ids"],
        _frozen(PREFIXES) if base is None else base["prefix"],
        _frozen(PREFIX_START) if base is None else base["prefix_start"],
        _frozen(_joined_starts([segment.id_start for segment in segments])),
        _frozen(_joined([segment.ids for segment in segments], np.uint8)),
    )
    return Part(_side(partition, "up"), _side(partition, "down"), touched, _frozen(kind), _rows(partition), names)


def _rows(partition: Partition) -> Rows:
    none = np.zeros(0, dtype=np.uint32)
    generation = Lists(none, np.zeros(1, dtype=np.uint32), np.zeros(0, dtype=np.uint8), none)
    if partition.base is not None:
        generation = said_lists_in(partition.base.sections)
    lists = [segment.said for segment in partition.segments]
    return Rows(
        _frozen(generation.owners),
        _frozen(generation.start),
        _frozen(generation.entries),
        _frozen(generation.seq),
        _frozen(np.cumsum([0, *(len(each.owners) for each in lists)]).astype(np.int64)),
        _frozen(_joined([each.owners for each in lists], np.uint32)),
        _frozen(_joined_starts([each.start for each in lists])),
        _frozen(_joined([each.entries for each in lists], np.uint8)),
        _frozen(_joined([each.seq for each in lists], np.uint32)),
    )


def _called(part: Part, kind: int) -> Array:
    """Return the numbers of nodes of a partition that some document calls a ``kind``."""
    rows = part.said
    codes = np.array([ORDERS - 1 - ORDER_OF[kind], ORDERS - 1 - ORDER_OF[kind | STUB]])
    found = [np.flatnonzero((part.kind & 7) == kind)]
    for owners, start, entries in ((rows.owners, rows.start, rows.entries), (rows.more_owners, rows.first, rows.more)):
        found.append(np.repeat(owners, (start[1:] - start[:-1]).astype(np.int64))[np.isin(entries, codes)])
    called: Array = np.unique(np.concatenate(found)).astype(np.int64)
    return called


def _side(partition: Partition, name: str) -> Side:
    if partition.base is None:
        empty = _frozen(np.zeros(0, dtype=np.uint32))
        generation = (_NO_OFFSETS, empty, empty)
    else:
        base = partition.base
        generation = (base[f"{name}_start"], base[name], base[f"{name}_seq"])
    lists = [getattr(segment, name) for segment in partition.segments]
    return Side(
        *generation,
        _frozen(np.cumsum([0, *(len(each.owners) for each in lists)]).astype(np.int64)),
        _frozen(_joined([each.owners for each in lists], np.uint32)),
        _frozen(_joined_starts([each.start for each in lists])),
        _frozen(_joined([each.entries for each in lists], np.uint32)),
        _frozen(_joined([each.seq for each in lists], np.uint32)),
    )


def _joined(arrays: list[Array], dtype: Any) -> Array:
    return np.concatenate([np.zeros(0, dtype=dtype), *arrays]).astype(dtype, copy=False)


def _joined_starts(starts: list[Array]) -> Array:
    """Join offsets of arrays that are joined themselves; all but the last end where the next begins."""
    parts, ended = [], 0
    for start in starts:
        parts.append(start[:-1] + np.uint32(ended))
        ended += int(start[-1])
    return np.append(_joined(parts, np.uint32), np.uint32(ended))


def _frozen(array: Array) -> Array:
    """Return a read-only view: one type for the compiled kernel, whether mapped or in memory."""
    view = array.view()
    view.flags.writeable = False
    return view


def _frozen_part(part: Part) -> Part:
    return part._replace(touched=_frozen(part.touched))


_NO_OFFSETS = _frozen(pack_offsets(np.zeros(1, dtype=np.uint32)))
_EMPTY = part_of(unread(PUBLIC, "", None))
_NOTHING = np.zeros(0, dtype=np.int32)


def _common(own: Partition, shared: Partition | None, before: Snapshot | None, part: Part, shared_part: Part) -> Common:
    """Find the nodes in common, of those that either partition has learnt since ``before``."""
    if shared is None:
        none = _frozen(_NOTHING)
        return Common(none, none, none, _begins(_NOTHING, own.nodes), part.kind)
    known_own, known_shared = 0, 0
    to_own: Array = np.full(shared.nodes, -1, dtype=np.int32)
    if before is not None and before.shared is not None and before.shared.generation == shared.generation:
        known_own, known_shared = before.own.nodes, before.shared.nodes
        to_own[:known_shared] = before.common.to_own
    # Shared nodes that are new are looked up among all own ones, and own ones that are new among all shared ones.
    to_own[known_shared:] = own.find_keys(*shared.keys_after(known_shared))
    if known_shared:
        there = shared.find_keys(*own.keys_after(known_own))
        mine = np.flatnonzero(there >= 0)
        to_own[there[mine]] = known_own + mine
    both = np.flatnonzero(to_own >= 0)
    mine = to_own[both]
    order = np.argsort(mine, kind="stable")
    mine, theirs = mine[order], both[order].astype(np.int32)
    kind = part.kind
    if len(mine):
        kind = kind.copy()
        kind[mine] = better_of(part.kind[mine], shared_part.kind[theirs])
    return Common(_frozen(to_own), _frozen(mine), _frozen(theirs), _begins(mine, own.nodes), _frozen(kind))


def _begins(mine: Array, nodes: int) -> Array:
    counts = np.bincount(mine // BLOCK, minlength=nodes // BLOCK + 1)
    return _frozen(np.append([0], np.cumsum(counts)).astype(np.int32))


@compiled
def shared_number(common: Common, node: int) -> Any:
    """Return the number in the shared partition of a node of the tenant's, -1 where that does not know it.

    A search over all of them would wait for memory at every step; of a block there are a few, side by side.
    """
    block = np.int64(node) // BLOCK
    for place in range(common.begins[block], common.begins[block + 1]):
        if common.own[place] == node:
            return np.int64(common.shared[place])
    return np.int64(-1)


@compiled
def position_of(nodes: Array, begin: int, end: int, node: int) -> int:
    """Return where ``node`` stands in sorted ``nodes[begin:end]``, -1 where it does not."""
    low, high = begin, end
    while low < high:
        middle = (low + high) >> 1
        if nodes[middle] < node:
            low = middle + 1
        else:
            high = middle
    return low if low < end and nodes[low] == node else -1


def _slices(part: Part, direction: int, node: int) -> Iterator[tuple[Array, Array]]:
    side = part.up if direction == UP else part.down
    if node + 1 < offset_count(side.start):
        begin, end = int(offset_at(side.start, node)), int(offset_at(side.start, node + 1))
        yield side.entries[begin:end], side.seq[begin:end]
    for segment in range(len(side.bounds) - 1):
        place = int(position_of(side.owners, int(side.bounds[segment]), int(side.bounds[segment + 1]), node))
        if place >= 0:
            begin, end = int(side.first[place]), int(side.first[place + 1])
            yield side.more[begin:end], side.more_seq[begin:end]
