# mypy: disable-error-code="arg-type,assignment,return-value"
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917, PLR2004 - loops kept whole, with flat arguments, so that they compile to one
"""The compiled walk: one function, without the GIL; same answers as :func:`~mc_pipelines.provenance.walk.walk_plainly`.

Where the time goes is memory: a list is read where it lies in the mapped file, what was reached is kept in a
hash table small enough for the second-level cache, and an entry's event is looked up only where a filter hides
anything at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.snapshot import Lists, Snapshot, position_of
from mc_pipelines.provenance.walk import ALL_KINDS, Reached, Stop, Visible, Walk, walk_plainly

Array = NDArray[Any]
_FREE = -1
_NO_STOP, _STOP_NODES, _STOP_EDGES, _STOP_SCANNED = 0, 1, 2, 3


@compiled
def _may_read(seq: int, own: Array, shared: Array) -> bool:
    if seq >> 31:
        return bool(shared[seq & 0x7FFFFFFF])
    return bool(own[seq])


@compiled
def _passes(entry: int, types: int, kinds: int, kind: Array) -> bool:
    if not types >> (entry & 3) & 1:
        return False
    return bool(kinds == ALL_KINDS or kinds >> (kind[entry >> 2] & 7) & 1)


@compiled
def _from_generation(
    node: int,
    start: Array,
    entries: Array,
    seq: Array,
    everything: bool,
    own: Array,
    shared: Array,
    types: int,
    kinds: int,
    kind: Array,
    out: Array,
) -> tuple[int, int]:
    """Put a node's newest visible entries into ``out``; return how many, and how many there are."""
    degree = 0
    kept = 0
    begin = np.int64(start[node])
    place = np.int64(start[node + 1]) - 1
    taken = np.int64(-1)
    limit = len(out)
    while place >= begin:
        entry = np.int64(entries[place])
        if (
            entry != taken
            and (everything or _may_read(np.int64(seq[place]), own, shared))
            and _passes(entry, types, kinds, kind)
        ):
            taken = entry
            if kept < limit:
                out[kept] = entry
                kept += 1
            degree += 1
        place -= 1
    return kept, degree


@compiled
def _gather(
    node: int,
    start: Array,
    entries: Array,
    seq: Array,
    own_lists: Lists,
    shared_lists: Lists,
    everything: bool,
    own: Array,
    shared: Array,
    types: int,
    kinds: int,
    kind: Array,
    out: Array,
) -> tuple[int, int]:
    """The same for a node that an overlay knows: own entries of both sources merged, then the shared ones."""
    here = position_of(own_lists.nodes, node)
    there = position_of(shared_lists.nodes, node)
    size = 0
    if node + 1 < len(start):
        size += np.int64(start[node + 1]) - np.int64(start[node])
    if here >= 0:
        size += np.int64(own_lists.start[here + 1]) - np.int64(own_lists.start[here])
    found = np.empty(size, dtype=np.int64)
    count = 0
    if node + 1 < len(start):
        for place in range(np.int64(start[node]), np.int64(start[node + 1])):
            if everything or _may_read(np.int64(seq[place]), own, shared):
                found[count] = entries[place]
                count += 1
    if here >= 0:
        for place in range(np.int64(own_lists.start[here]), np.int64(own_lists.start[here + 1])):
            if everything or _may_read(np.int64(own_lists.seq[place]), own, shared):
                found[count] = own_lists.entries[place]
                count += 1
    found = found[:count]
    found.sort()
    kept, degree, limit = 0, 0, len(out)
    for place in range(count - 1, -1, -1):
        entry = found[place]
        if place + 1 < count and found[place + 1] == entry:
            continue
        if _passes(entry, types, kinds, kind):
            if kept < limit:
                out[kept] = entry
                kept += 1
            degree += 1
    if there >= 0:
        taken = np.int64(-1)
        first = np.int64(shared_lists.start[there])
        for place in range(np.int64(shared_lists.start[there + 1]) - 1, first - 1, -1):
            entry = np.int64(shared_lists.entries[place])
            if entry == taken or not _passes(entry, types, kinds, kind):
                continue
            if not (everything or _may_read(np.int64(shared_lists.seq[place]), own, shared)):
                continue
            if position_of(found, entry) >= 0:
                continue
            taken = entry
            if kept < limit:
                out[kept] = entry
                kept += 1
            degree += 1
    return kept, degree


@compiled
def _slot_of(node: int, table: Array, order: Array) -> int:
    """Return the slot of ``node`` in the hash table: where it is, or the free one where it belongs."""
    mask = len(table) - 1
    slot = (node * 0x9E3779B1 >> 8) & mask
    while table[slot] != _FREE and order[table[slot]] != node:
        slot = (slot + 1) & mask
    return slot


@compiled
def _walk(
    first: int,
    depth: int,
    passes: int,
    undirected: bool,
    up_start: Array,
    up_entries: Array,
    up_seq: Array,
    up_own: Lists,
    up_shared: Lists,
    down_start: Array,
    down_entries: Array,
    down_seq: Array,
    down_own: Lists,
    down_shared: Lists,
    touched: Array,
    kind: Array,
    everything: bool,
    own: Array,
    shared: Array,
    types: int,
    kinds: int,
    maximum_nodes: int,
    maximum_edges: int,
    maximum_scanned: int,
    table: Array,
    order: Array,
    level_of: Array,
    seen: Array,
    queue: Array,
    edges: Array,
    pruned: Array,
    marks: Array,
    buffer: Array,
) -> tuple[int, int, int, int, bool, int]:
    table[_slot_of(first, table, order)] = 0
    order[0] = first
    level_of[0] = 0
    nodes, found, cut, scanned, stop, level = 1, 0, 0, 0, _NO_STOP, 0
    repeats = undirected
    seen[0] = 3
    queue[0, 0], queue[1, 0] = 0, 0
    # Of each queue: the next place to expand, the end of the current level, the end.
    marks[:, 0], marks[:, 1], marks[:, 2] = 0, 1, 1
    while level < depth and stop == _NO_STOP:
        level += 1
        marks[:, 1] = marks[:, 2]
        for each in range(2):
            if not passes >> each & 1:
                continue
            while stop == _NO_STOP and marks[each, 0] < marks[each, 1]:
                place = queue[each, marks[each, 0]]
                node = np.int64(order[place])
                for way in range(2):
                    if stop != _NO_STOP or not (undirected or way == each):
                        continue
                    if way == 0:
                        start, entries, seq, mine, theirs = up_start, up_entries, up_seq, up_own, up_shared
                    else:
                        start, entries, seq, mine, theirs = down_start, down_entries, down_seq, down_own, down_shared
                    if touched[node]:
                        kept, degree = _gather(
                            node, start, entries, seq, mine, theirs, everything, own, shared, types, kinds, kind, buffer
                        )
                    elif node + 1 < len(start):
                        kept, degree = _from_generation(
                            node, start, entries, seq, everything, own, shared, types, kinds, kind, buffer
                        )
                    else:
                        kept, degree = 0, 0
                    if degree > kept:
                        pruned[cut, 0], pruned[cut, 1], pruned[cut, 2], pruned[cut, 3] = place, way + 1, degree, kept
                        cut += 1
                    for index in range(kept):
                        if scanned >= maximum_scanned:
                            stop = _STOP_SCANNED
                            break
                        if found >= maximum_edges:
                            stop = _STOP_EDGES
                            break
                        entry = np.int64(buffer[index])
                        other = entry >> 2
                        slot = _slot_of(other, table, order)
                        target = np.int64(table[slot])
                        if target == _FREE:
                            if nodes >= maximum_nodes:
                                stop = _STOP_NODES
                                break
                            target = nodes
                            table[slot] = target
                            order[target] = other
                            level_of[target] = level
                            seen[target] = 0
                            nodes += 1
                        scanned += 1
                        if not seen[target] >> each & 1:
                            seen[target] |= 1 << each
                            queue[each, marks[each, 2]] = target
                            marks[each, 2] += 1
                        if seen[target] == 3:
                            repeats = True
                        edges[found, way] = place
                        edges[found, 1 - way] = target
                        edges[found, 2] = entry & 3
                        found += 1
                if stop == _NO_STOP:
                    marks[each, 0] += 1
    return nodes, found, cut, stop, repeats, level


def walk_compiled(snapshot: Snapshot, walk: Walk, visible: Visible) -> Reached:
    """Walk with the compiled kernel, or plainly where there is no compiler."""
    if not COMPILES:
        return walk_plainly(snapshot, walk, visible)
    room = walk.maximum_nodes + 1
    edge_room = min(walk.maximum_edges, walk.maximum_scanned) + 1
    table = np.full(1 << (2 * room).bit_length(), _FREE, dtype=np.int32)
    order, levels = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.uint8)
    queue = np.empty((2, room), dtype=np.int32)
    edges = np.empty((edge_room, 3), dtype=np.int32)
    pruned = np.empty((2 * room + 2, 4), dtype=np.int64)
    marks = np.empty((2, 3), dtype=np.int64)
    up, down = snapshot.up, snapshot.down
    nodes, found, cut, stop, repeats, level = _walk(
        walk.start,
        walk.depth,
        1 if walk.undirected else walk.directions,
        walk.undirected,
        up.start,
        up.entries,
        up.seq,
        up.own,
        up.shared,
        down.start,
        down.entries,
        down.seq,
        down.own,
        down.shared,
        snapshot.touched,
        snapshot.kind,
        visible.everything,
        visible.own,
        visible.shared,
        walk.types,
        walk.kinds,
        walk.maximum_nodes,
        walk.maximum_edges,
        walk.maximum_scanned,
        table,
        order,
        levels,
        np.empty(room, dtype=np.uint8),
        queue,
        edges,
        pruned,
        marks,
        np.empty(walk.fan_out, dtype=np.int64),
    )
    lower, upper, code = edges[:found].T
    if repeats:
        lower, upper, code = _first_of_each(lower, upper, code)
    return Reached(
        order[:nodes],
        levels[:nodes],
        lower,
        upper,
        code,
        pruned[:cut],
        Stop(stop),
        _left(queue, marks, walk, stop=stop, level=level),
    )


def _left(queue: Array, marks: Array, walk: Walk, *, stop: int, level: int) -> Array:
    if stop == _NO_STOP:
        return np.empty(0, dtype=np.int64)
    until = 2 if level < walk.depth else 1
    ways = [0] if walk.undirected else [each for each in range(2) if walk.directions >> each & 1]
    return np.unique(np.concatenate([queue[each, marks[each, 0] : marks[each, until]] for each in ways])).astype(
        np.int64
    )


def _first_of_each(lower: Array, upper: Array, code: Array) -> tuple[Array, Array, Array]:
    """Drop repetitions of an edge, keeping the first and the order."""
    packed = lower.astype(np.int64) << 34 | upper.astype(np.int64) << 2 | code
    keep = np.sort(np.unique(packed, return_index=True)[1])
    return lower[keep], upper[keep], code[keep]
