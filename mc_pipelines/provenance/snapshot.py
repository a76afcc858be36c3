"""What one request walks: a tenant's partition and the shared one, under one numbering, at fixed events.

Numbers: the tenant's generation first, then the tenant's newer nodes, then nodes that only the shared
partition knows. The generation is walked where it lies in the mapped file; what is newer and what is shared are
two small overlays of sorted lists, and a byte per node says whether an overlay has anything there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled
from mc_pipelines.provenance.id_codec import decode_id, join_encoded
from mc_pipelines.provenance.partition import Partition

Array = NDArray[Any]
SHARED = np.uint32(1 << 31)
"""Marks, in an entry's event, an event of the shared partition."""
OWN_BIT, SHARED_BIT = 1, 2


class Lists(NamedTuple):
    """Adjacency of one direction: sorted owners, where each one's entries start, entries and their events."""

    nodes: Array
    start: Array
    entries: Array
    seq: Array


class Direction(NamedTuple):
    """All adjacency towards ancestors, or towards descendants."""

    start: Array
    entries: Array
    seq: Array
    own: Lists
    shared: Lists


@dataclass(frozen=True)
class Snapshot:
    """An immutable graph that a tenant may see, before any filter.

    Attributes:
        own: the tenant's partition.
        shared: the shared partition; None for the shared partition itself.
        nodes: how many numbers there are.
        touched: per node, whether the own (1) and the shared (2) overlay know it.
        kind: per node, kind plus 8 for a stub.
        up: towards ancestors.
        down: towards descendants.
        extra_start: offsets of the encoded ids of numbers beyond the generation.
        extra_ids: those ids.
        shared_only: encoded id to number, of nodes that only the shared partition knows.
    """

    own: Partition
    shared: Partition | None
    nodes: int
    touched: Array
    kind: Array
    up: Direction
    down: Direction
    extra_start: Array
    extra_ids: Array
    shared_numbers: Array

    @property
    def position(self) -> tuple[int, int]:
        """The events up to which this snapshot reads: the tenant's and the shared partition's."""
        return self.own.seq, 0 if self.shared is None else self.shared.seq

    @cached_property
    def id_start(self) -> Array:
        """Offsets of the encoded ids of the generation."""
        return np.zeros(1, dtype=np.uint32) if self.own.base is None else self.own.base["id_start"]

    @cached_property
    def ids(self) -> Array:
        """The encoded ids of the generation."""
        return _frozen(np.zeros(0, dtype=np.uint8)) if self.own.base is None else self.own.base["ids"]

    def find(self, node: str) -> int:
        """Return the number of a node, -1 where neither partition knows it."""
        number = self.own.find(node)
        if number >= 0 or self.shared is None:
            return number
        there = self.shared.find(node)
        return -1 if there < 0 else int(self.shared_numbers[there])

    def encoded_id(self, number: int) -> bytes:
        """Return the encoded id of a node."""
        base = self.own.base_nodes
        if number < base:
            return self.own.encoded_id(number)
        place = number - base
        return self.extra_ids[self.extra_start[place] : self.extra_start[place + 1]].tobytes()

    def id_of(self, number: int) -> str:
        """Return the id of a node."""
        return decode_id(self.encoded_id(number))


def take_snapshot(own: Partition, shared: Partition | None) -> Snapshot:
    """Lay a tenant's partition and the shared one under one numbering."""
    base, first = own.base, own.base_nodes
    shared_numbers, extra_shared = _number_shared(own, shared)
    nodes = own.nodes + len(extra_shared)
    touched = np.zeros(nodes, dtype=np.uint8)
    kind = np.zeros(nodes, dtype=np.uint8)
    if base is not None:
        kind[:first] = base["kind"]
    kind[first : own.nodes] = own.added.kinds
    for number, value in own.added.changed.items():
        kind[number] = value
    extra = [*own.added.ids]
    if shared is not None:
        extra += [shared.encoded_id(int(place)) for place in extra_shared]
        kind[own.nodes :] = _kinds(shared)[extra_shared]
    start, ids = join_encoded(extra)
    upper, lower = own.added.upper, own.added.lower
    directions = {}
    for name, owner, other in (("up", lower, upper), ("down", upper, lower)):
        own_lists = _own_lists(owner, other, own)
        shared_lists = _shared_lists(name, shared, shared_numbers)
        touched[own_lists.nodes] |= OWN_BIT
        touched[shared_lists.nodes] |= SHARED_BIT
        directions[name] = Direction(*_base_lists(own, name), own_lists, shared_lists)
    return Snapshot(
        own,
        shared,
        nodes,
        _frozen(touched),
        _frozen(kind),
        directions["up"],
        directions["down"],
        _frozen(start),
        _frozen(ids),
        _frozen(shared_numbers),
    )


def _frozen(array: Array) -> Array:
    """Return a read-only view: one type for the compiled kernel, whether mapped or in memory."""
    view = array.view()
    view.flags.writeable = False
    return view


def _base_lists(own: Partition, name: str) -> tuple[Array, Array, Array]:
    if own.base is None:
        empty = np.zeros(0, dtype=np.uint32)
        return _frozen(np.zeros(1, dtype=np.uint32)), _frozen(empty), _frozen(empty)
    return own.base[f"{name}_start"], own.base[name], own.base[f"{name}_seq"]


def _own_lists(owner: Array, other: Array, own: Partition) -> Lists:
    value = other.astype(np.uint64) << np.uint64(2) | own.added.type.astype(np.uint64)
    order = np.argsort(owner.astype(np.uint64) << np.uint64(32) | value, kind="stable")
    return _lists(owner[order], value[order].astype(np.uint32), own.added.seq[order].astype(np.uint32))


def _lists(owner: Array, entries: Array, seq: Array) -> Lists:
    nodes, start = np.unique(owner, return_index=True)
    return Lists(
        _frozen(nodes.astype(np.int64)),
        _frozen(np.append(start, len(owner)).astype(np.uint32)),
        _frozen(entries),
        _frozen(seq),
    )


def whole_lists(partition: Partition, name: str) -> tuple[Array, Array, Array]:
    """Return owner, entry and event of all entries of a direction, generation and additions together, in order."""
    start, entries, seq = _base_lists(partition, name)
    owner: Array = np.repeat(np.arange(len(start) - 1), np.diff(start.astype(np.int64)))  # type: ignore[arg-type]
    added = partition.added
    ends = (added.lower, added.upper) if name == "up" else (added.upper, added.lower)
    new = _own_lists(*ends, partition)
    new_owner: Array = np.repeat(new.nodes, np.diff(new.start.astype(np.int64)))  # type: ignore[arg-type]
    owner, entries = np.append(owner, new_owner), np.append(entries, new.entries)
    seq = np.append(seq, new.seq)
    order = np.argsort(owner.astype(np.uint64) << np.uint64(32) | entries, kind="stable")
    return owner[order], entries[order], seq[order]


def _shared_lists(name: str, shared: Partition | None, numbers: Array) -> Lists:
    """The shared lists under the snapshot's numbers; entries keep the order of the shared numbering.

    That order does not depend on which shared nodes the tenant has come to know itself, so that a page that was
    cut yesterday continues today.
    """
    if shared is None:
        none = np.zeros(0, dtype=np.uint32)
        return _lists(np.zeros(0, dtype=np.int64), none, none)
    owner, entries, seq = whole_lists(shared, name)
    owner = numbers[owner]
    translated = numbers[entries >> np.uint32(2)].astype(np.uint32) << np.uint32(2) | entries & np.uint32(3)
    order = np.argsort(owner, kind="stable")
    return _lists(owner[order], translated[order], seq[order].astype(np.uint32) | SHARED)


def _kinds(partition: Partition) -> Array:
    base = np.zeros(0, dtype=np.uint8) if partition.base is None else np.array(partition.base["kind"])
    for number, value in partition.added.changed.items():
        base[number] = value
    return np.append(base, np.array(partition.added.kinds, dtype=np.uint8))


def _number_shared(own: Partition, shared: Partition | None) -> tuple[Array, Array]:
    """Return the snapshot's number of every shared node, and the shared numbers of those only shared."""
    none = np.zeros(0, dtype=np.int64)
    if shared is None:
        return none, none
    added = np.frombuffer(b"".join(shared.added.keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    base = np.zeros((0, 2), dtype=np.uint64)
    if shared.base is not None:
        base = np.stack([shared.base["key_high"], shared.base["key_low"]], axis=1)
    keys = np.concatenate([base, added])
    numbers = own.find_keys(keys)
    taken = own.added.numbers
    if taken:
        wire = keys.astype(">u8")
        for place in np.flatnonzero(numbers < 0):
            numbers[place] = taken.get(wire[place].tobytes(), -1)
    only = np.flatnonzero(numbers < 0)
    numbers[only] = own.nodes + np.arange(len(only))
    return numbers, only


@compiled
def position_of(nodes: Array, node: int) -> int:
    """Return where ``node`` stands in sorted ``nodes``, -1 where it does not."""
    low, high = 0, len(nodes)
    while low < high:
        middle = (low + high) >> 1
        if nodes[middle] < node:
            low = middle + 1
        else:
            high = middle
    return low if low < len(nodes) and nodes[low] == node else -1
