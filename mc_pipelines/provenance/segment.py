# Numba infers the integers of compiled loops.
# mypy: disable-error-code="assignment"
"""What the log added since a generation, in small immutable pieces that are merged like with like.

A segment holds what some consecutive events added: new nodes, numbered on from where the one before ended, and
sorted adjacency of both directions. :func:`add_segment` merges the newest two while they are of like size, so that
a batch costs its own sorting and each entry is merged a logarithmic number of times; merging renumbers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled

Array = NDArray[Any]
MAXIMUM_SEGMENTS = 6
"""Segments beside a generation; a byte per node says which of them know it."""
_LIKE = 2


class Lists(NamedTuple):
    """Adjacency of one direction: sorted owners, where each one's entries begin, entries and their events."""

    owners: Array
    start: Array
    entries: Array
    seq: Array


@dataclass(frozen=True)
class Segment:
    """What some consecutive events added.

    Attributes:
        first_node: number of its first new node.
        high: first eight bytes of the keys of its new nodes, in order of number.
        low: last eight bytes.
        by_key: its new nodes in order of key.
        id_start: where each new node's encoded id begins; one more than nodes.
        ids: those ids.
        kind: what its new nodes are, see :mod:`mc_pipelines.provenance.described`.
        changed: numbers of older nodes of which it changes that, ascending.
        changed_kind: what they are.
        said: descriptions that stand as rows.
        up: adjacency towards ancestors.
        down: towards descendants.
    """

    first_node: int
    high: Array
    low: Array
    by_key: Array
    id_start: Array
    ids: Array
    kind: Array
    changed: Array
    changed_kind: Array
    said: Lists
    up: Lists
    down: Lists

    @property
    def size(self) -> int:
        """Nodes, edges and descriptions."""
        return len(self.high) + len(self.up.entries) + len(self.said.entries)

    def find_keys(self, high: Array, low: Array) -> Array:
        """Return the number of each key, -1 where it is none of this segment's new nodes."""
        if not len(self.high):
            return np.full(len(high), -1, dtype=np.int64)
        found: Array = _find(high, low, self.high, self.low, self.by_key)
        found[found >= 0] += self.first_node
        return found


@compiled
def _find(high: Array, low: Array, keys_high: Array, keys_low: Array, by_key: Array) -> Array:
    numbers = np.full(len(high), -1, dtype=np.int64)
    count = len(by_key)
    for row in range(len(high)):
        wanted = high[row]
        begin, end = 0, count
        while begin < end:
            middle = (begin + end) >> 1
            if keys_high[by_key[middle]] < wanted:
                begin = middle + 1
            else:
                end = middle
        while begin < count and keys_high[by_key[begin]] == wanted:
            if keys_low[by_key[begin]] == low[row]:
                numbers[row] = by_key[begin]
                break
            begin += 1
    return numbers


def sorted_lists(owner: Array, entry: Array, seq: Array) -> Lists:
    """Return lists of entries in any order; entries that are equal stay in the order of their rows."""
    packed = owner.astype(np.uint64) << np.uint64(32) | entry.astype(np.uint64)
    order = np.argsort(packed, kind="stable")
    ordered = packed[order]
    return _lists((ordered >> np.uint64(32)).astype(np.uint32), ordered.astype(np.uint32), seq[order].astype(np.uint32))


def _lists(owner: Array, entries: Array, seq: Array) -> Lists:
    starts = np.flatnonzero(np.diff(owner.astype(np.int64), prepend=-1) > 0)
    return Lists(owner[starts], np.append(starts, len(owner)).astype(np.uint32), entries, seq)


def add_segment(segments: tuple[Segment, ...], newest: Segment) -> tuple[Segment, ...]:
    """Return the segments with one more, merged so far that they are few and their sizes fall."""
    stack = [*segments, newest]
    while len(stack) > 1 and (len(stack) > MAXIMUM_SEGMENTS or stack[-2].size < _LIKE * stack[-1].size):
        later = stack.pop()
        stack[-1] = merge_segments(stack[-1], later)
    return tuple(stack)


def merge_segments(first: Segment, second: Segment) -> Segment:
    """Return one segment of two consecutive ones."""
    high, low = np.append(first.high, second.high), np.append(first.low, second.low)
    kind = np.append(first.kind, second.kind)
    later = second.changed >= first.first_node
    kind[second.changed[later] - first.first_node] = second.changed_kind[later]
    changed, place = np.unique(np.append(second.changed[~later], first.changed), return_index=True)
    return Segment(
        first.first_node,
        high,
        low,
        np.argsort(high, kind="stable").astype(np.uint32),
        np.append(first.id_start, second.id_start[1:] + first.id_start[-1]).astype(np.uint32),
        np.append(first.ids, second.ids),
        kind,
        changed,
        np.append(second.changed_kind[~later], first.changed_kind)[place],
        _merge_lists(first.said, second.said),
        _merge_lists(first.up, second.up),
        _merge_lists(first.down, second.down),
    )


def _merge_lists(first: Lists, second: Lists) -> Lists:
    return Lists(*_merge(*first, *second))


@compiled
def _merge(
    a_owners: Array,
    a_start: Array,
    a_entries: Array,
    a_seq: Array,
    b_owners: Array,
    b_start: Array,
    b_entries: Array,
    b_seq: Array,
) -> tuple[Array, Array, Array, Array]:
    """Merge two sorted sets of lists in one pass; where entries are equal, those of the first come first."""
    owners = np.empty(len(a_owners) + len(b_owners), dtype=np.uint32)
    start = np.zeros(len(owners) + 1, dtype=np.uint32)
    entries = np.empty(len(a_entries) + len(b_entries), dtype=np.uint32)
    seq = np.empty(len(entries), dtype=np.uint32)
    a, b, count, at = 0, 0, 0, 0
    while a < len(a_owners) or b < len(b_owners):
        take_a = a < len(a_owners) and (b == len(b_owners) or a_owners[a] <= b_owners[b])
        take_b = b < len(b_owners) and (a == len(a_owners) or b_owners[b] <= a_owners[a])
        owners[count] = a_owners[a] if take_a else b_owners[b]
        left, left_end, right, right_end = 0, 0, 0, 0
        if take_a:
            left, left_end = np.int64(a_start[a]), np.int64(a_start[a + 1])
            a += 1
        if take_b:
            right, right_end = np.int64(b_start[b]), np.int64(b_start[b + 1])
            b += 1
        while left < left_end or right < right_end:
            if right == right_end or (left < left_end and a_entries[left] <= b_entries[right]):
                entries[at] = a_entries[left]
                seq[at] = a_seq[left]
                left += 1
            else:
                entries[at] = b_entries[right]
                seq[at] = b_seq[right]
                right += 1
            at += 1
        count += 1
        start[count] = at
    return owners[:count].copy(), start[: count + 1].copy(), entries, seq
