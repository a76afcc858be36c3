# mypy: disable-error-code="arg-type,assignment,return-value"
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917, PLR2004 - loops kept whole, with flat arguments, so that they compile to one
"""The compiled walk: one function, without the GIL; same answers as :func:`~mc_pipelines.provenance.walk.walk_plainly`.

Where the time goes is memory: a list is read where it lies in the mapped file, what was reached is kept in a
hash table small enough for the second-level cache, and an entry's event is looked up only where a filter hides
anything at all. A node that no segment knows is read in one straight run; any other by merging the few sorted
lists it has, newest first, so that a hub costs what is followed of it and a count of the rest.

Offsets of a generation are packed, see :mod:`mc_pipelines.provenance.offsets`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.described import SEVERAL
from mc_pipelines.provenance.offsets import offset_at, offset_count
from mc_pipelines.provenance.seen import judged_kind, seen_kinds
from mc_pipelines.provenance.segment import MAXIMUM_SEGMENTS
from mc_pipelines.provenance.sight import Sight, sight_of
from mc_pipelines.provenance.snapshot import SHARED_BIT, Side, Snapshot, position_of, shared_number
from mc_pipelines.provenance.walk import (
    ALL_KINDS,
    ALL_TYPES,
    ANCESTORS,
    DESCENDANTS,
    Reached,
    Stop,
    Visible,
    Walk,
    walk_plainly,
)

Array = NDArray[Any]
_FREE = -1
_NO_STOP, _STOP_NODES, _STOP_EDGES, _STOP_SCANNED = 0, 1, 2, 3
_END = -1
_SEGMENT_BITS = SHARED_BIT - 1
LISTS = MAXIMUM_SEGMENTS + 1
_AHEAD = 64
"""Nodes whose memory is asked for before the first of them is expanded."""
_CURSOR, _FLOOR, _WHICH = 0, 1, 2
"""Rows of a merge's state: the next place to read, the last one, and 1 for a list of a segment."""


@compiled
def _open(side: Side, node: int, bits: int, state: Array) -> int:
    """Set up a merge of a node's lists; return how many it has."""
    count = 0
    if node + 1 < offset_count(side.start):
        begin, end = offset_at(side.start, node), offset_at(side.start, node + 1)
        if end > begin:
            state[_CURSOR, 0], state[_FLOOR, 0], state[_WHICH, 0] = end - 1, begin, 0
            count = 1
    segment = 0
    while bits:
        if bits & 1:
            place = position_of(side.owners, side.bounds[segment], side.bounds[segment + 1], node)
            if place >= 0:
                state[_CURSOR, count] = np.int64(side.first[place + 1]) - 1
                state[_FLOOR, count] = np.int64(side.first[place])
                state[_WHICH, count] = 1
                count += 1
        bits >>= 1
        segment += 1
    return count


@compiled
def _next(side: Side, count: int, state: Array, everything: bool, mask: Array) -> int:
    """Return the next visible entry, each once, greatest first; _END after the last."""
    while True:
        best = np.int64(_END)
        for place in range(count):
            cursor = state[_CURSOR, place]
            if cursor >= state[_FLOOR, place]:
                entry = np.int64(side.more[cursor] if state[_WHICH, place] else side.entries[cursor])
                best = max(best, entry)
        if best == _END:
            return best
        shown = everything
        for place in range(count):
            cursor, floor = state[_CURSOR, place], state[_FLOOR, place]
            if state[_WHICH, place]:
                while cursor >= floor and side.more[cursor] == best:
                    shown = shown or mask[side.more_seq[cursor]] != 0
                    cursor -= 1
            else:
                while cursor >= floor and side.entries[cursor] == best:
                    shown = shown or mask[side.seq[cursor]] != 0
                    cursor -= 1
            state[_CURSOR, place] = cursor
        if shown:
            return best


@compiled
def _first_not_below(entries: Array, begin: int, end: int, entry: int) -> int:
    low, high = begin, end
    while low < high:
        middle = (low + high) >> 1
        if entries[middle] < entry:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _holds(side: Side, node: int, bits: int, entry: int, everything: bool, mask: Array) -> bool:
    """Tell whether a visible entry of a node's own lists is ``entry``."""
    if node + 1 < offset_count(side.start):
        end = offset_at(side.start, node + 1)
        place = _first_not_below(side.entries, offset_at(side.start, node), end, entry)
        while place < end and side.entries[place] == entry:
            if everything or mask[side.seq[place]]:
                return True
            place += 1
    segment = 0
    while bits:
        if bits & 1:
            owner = position_of(side.owners, side.bounds[segment], side.bounds[segment + 1], node)
            if owner >= 0:
                end = np.int64(side.first[owner + 1])
                place = _first_not_below(side.more, np.int64(side.first[owner]), end, entry)
                while place < end and side.more[place] == entry:
                    if everything or mask[side.more_seq[place]]:
                        return True
                    place += 1
        bits >>= 1
        segment += 1
    return False


@compiled
def _remembered(degrees: Array, node: int, up: bool) -> int:
    """Return how many visible entries a hub has, where this view has counted them before; -1 otherwise."""
    name = (np.int64(node) << 1 | np.int64(up)) + 1
    held = degrees[(name * 0x9E3779B1 >> 12) & (len(degrees) - 1)]
    return np.int64(held & np.uint64(0xFFFFFFFF)) if np.int64(held >> np.uint64(32)) == name else np.int64(-1)


@compiled
def _remember(degrees: Array, node: int, up: bool, degree: int) -> None:
    """Keep how many visible entries a hub has, in one number, so that no thread reads half of it."""
    name = (np.int64(node) << 1 | np.int64(up)) + 1
    degrees[(name * 0x9E3779B1 >> 12) & (len(degrees) - 1)] = np.uint64(name) << np.uint64(32) | np.uint64(degree)


@compiled
def _run(side: Side, node: int, out: Array, degree: int) -> tuple[int, int]:
    """Put the newest entries of a node into ``out``, where the generation has all and hides none.

    They are counted only where ``degree`` does not say how many there are.
    """
    begin, end = offset_at(side.start, node), offset_at(side.start, node + 1)
    kept, limit, place, taken = 0, len(out), end - 1, np.int64(_END)
    while place >= begin and kept < limit:
        entry = np.int64(side.entries[place])
        if entry != taken:
            out[kept] = entry
            kept += 1
            taken = entry
        place -= 1
    if degree >= 0 and kept == limit:
        return kept, degree
    degree = kept
    while place >= begin:  # the rest is counted only
        degree += side.entries[place] != side.entries[place + 1]
        place -= 1
    return kept, degree


@compiled
def gather(node: int, up: bool, sight: Sight, types: int, kinds: int, state: Array, out: Array) -> tuple[int, int]:
    """Put a node's newest visible entries into ``out``; return how many, and how many there are."""
    kept, degree, limit = 0, 0, len(out)
    unfiltered = types == ALL_TYPES and kinds == ALL_KINDS
    known_degree = _remembered(sight.degrees, node, up) if unfiltered else np.int64(-1)
    side = sight.part.up if up else sight.part.down
    bits, there, mine = 0, np.int64(node) - sight.own_nodes, node < sight.own_nodes
    if mine:
        known = sight.part.touched[node]
        bits = np.int64(known & _SEGMENT_BITS)
        there = np.int64(-1)
        if known & SHARED_BIT:
            there = shared_number(sight.common, node)
        if bits == 0 and sight.everything and unfiltered and node + 1 < offset_count(side.start):
            kept, degree = _run(side, node, out, known_degree)
        else:
            lists = _open(side, node, bits, state)
            while True:
                entry = _next(side, lists, state, sight.everything, sight.own_mask)
                if entry == _END:
                    break
                if not types >> (entry & 3) & 1:
                    continue
                if kinds != ALL_KINDS:
                    kind = np.int64(sight.common.kind[entry >> 2])
                    if kind & SEVERAL and not sight.everything:
                        kind = judged_kind(entry >> 2, sight)
                    if not kinds >> (kind & 7) & 1:
                        continue
                if kept < limit:
                    out[kept] = entry
                    kept += 1
                elif known_degree >= 0:
                    return kept, known_degree
                degree += 1
    if kept == limit and known_degree >= 0:
        return kept, known_degree
    if there >= 0:
        theirs = sight.shared.up if up else sight.shared.down
        lists = _open(theirs, there, np.int64(sight.shared.touched[there]), state)
        while True:
            entry = _next(theirs, lists, state, sight.everything, sight.shared_mask)
            if entry == _END:
                break
            if not types >> (entry & 3) & 1:
                continue
            other = entry >> 2
            here = np.int64(sight.common.to_own[other])
            if here >= 0:
                entry = here << 2 | entry & 3
                if mine and _holds(side, node, bits, entry, sight.everything, sight.own_mask):
                    continue
            else:
                entry = (sight.own_nodes + other) << 2 | entry & 3
            if kinds != ALL_KINDS:
                kind = np.int64(sight.common.kind[here] if here >= 0 else sight.shared.kind[other])
                if kind & SEVERAL and not sight.everything:
                    kind = judged_kind(entry >> 2, sight)
                if not kinds >> (kind & 7) & 1:
                    continue
            if kept < limit:
                out[kept] = entry
                kept += 1
            elif known_degree >= 0:
                return kept, known_degree
            degree += 1
    if unfiltered and degree > limit:
        _remember(sight.degrees, node, up, degree)
    return kept, degree


@compiled
def _has_entry(node: int, sight: Sight, state: Array) -> bool:
    """Tell whether a node has any visible entry; no list is read further than to the first."""
    there, bits = np.int64(node) - sight.own_nodes, 0
    if node < sight.own_nodes:
        known = sight.part.touched[node]
        bits = np.int64(known & _SEGMENT_BITS)
        there = np.int64(-1)
        if known & SHARED_BIT:
            there = shared_number(sight.common, node)
        for way in range(2):
            side = sight.part.up if way == 0 else sight.part.down
            if _next(side, _open(side, node, bits, state), state, sight.everything, sight.own_mask) != _END:
                return True
    if there >= 0:
        for way in range(2):
            side = sight.shared.up if way == 0 else sight.shared.down
            lists = _open(side, there, np.int64(sight.shared.touched[there]), state)
            if _next(side, lists, state, sight.everything, sight.shared_mask) != _END:
                return True
    return False


@compiled
def _look(numbers: Array, sight: Sight, found: Array, state: Array) -> None:
    for place in range(len(numbers)):
        found[place] = _has_entry(np.int64(numbers[place]), sight, state)


def have_edges(snapshot: Snapshot, visible: Visible, numbers: Array) -> Array:
    """Return a flag per node number: whether any edge at it may be seen; a hub costs no more than any other node."""
    found = np.zeros(len(numbers), dtype=np.bool_)
    _look(
        np.ascontiguousarray(numbers, dtype=np.int64),
        sight_of(snapshot, visible),
        found,
        np.empty((3, LISTS), dtype=np.int64),
    )
    return found


@compiled
def _slot_of(node: int, table: Array, order: Array) -> int:
    """Return the slot of ``node`` in the hash table: where it is, or the free one where it belongs."""
    mask = len(table) - 1
    slot = (node * 0x9E3779B1 >> 8) & mask
    while table[slot] != _FREE and order[table[slot]] != node:
        slot = (slot + 1) & mask
    return slot


@compiled
def _look_ahead(order: Array, places: Array, up: bool, sight: Sight, spans: Array) -> None:
    """Touch what expanding some nodes reads first, so that their memory is waited for together and not one by one."""
    side, theirs = (sight.part.up, sight.shared.up) if up else (sight.part.down, sight.shared.down)
    held, held_there = offset_count(side.start) - 1, offset_count(theirs.start) - 1
    known = np.uint8(0)
    for index in range(len(places)):
        node = np.int64(order[places[index]])
        spans[index, 0], spans[index, 1] = -1, -1
        if node < sight.own_nodes:
            known |= sight.part.touched[node]
            if node < held:
                spans[index, 0] = offset_at(side.start, node + 1)
    for index in range(len(places)):
        node = np.int64(order[places[index]])
        there = node - sight.own_nodes
        if there < 0 and sight.part.touched[node] & SHARED_BIT:
            there = shared_number(sight.common, node)
        if 0 <= there < held_there:
            spans[index, 1] = offset_at(theirs.start, there + 1)
            known |= sight.shared.touched[there]
    ahead = np.uint32(known)
    for index in range(len(places)):
        if spans[index, 0] > 0:
            ahead |= side.entries[spans[index, 0] - 1]
        if spans[index, 1] > 0:
            ahead |= theirs.entries[spans[index, 1] - 1]
    spans[len(places), 0] = np.int64(ahead)  # a use of what was read, or the compiler would not read it


@compiled
def _walk(
    first: int,
    depth: int,
    passes: int,
    undirected: bool,
    sight: Sight,
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
    state: Array,
    buffer: Array,
    spans: Array,
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
            looked = marks[each, 0]
            while stop == _NO_STOP and marks[each, 0] < marks[each, 1]:
                if marks[each, 0] == looked:
                    looked = min(looked + _AHEAD, marks[each, 1])
                    next_ones = queue[each, marks[each, 0] : looked]
                    for way in range(2):
                        if undirected or way == each:
                            _look_ahead(order, next_ones, way == 0, sight, spans)
                place = queue[each, marks[each, 0]]
                node = np.int64(order[place])
                for way in range(2):
                    if stop != _NO_STOP or not (undirected or way == each):
                        continue
                    kept, degree = gather(
                        node,
                        way == 0,
                        sight,
                        types,
                        kinds,
                        state,
                        buffer,
                    )
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
    nodes, found, cut, stop, repeats, level = _walk(
        walk.start,
        walk.depth,
        1 if walk.undirected else walk.directions,
        walk.undirected,
        sight_of(snapshot, visible),
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
        np.empty((3, LISTS), dtype=np.int64),
        np.empty(walk.fan_out, dtype=np.int64),
        np.empty((_AHEAD + 1, 2), dtype=np.int64),
    )
    lower, upper, code = edges[:found].T
    if repeats and (walk.undirected or walk.directions == ANCESTORS | DESCENDANTS):  # one pass follows no edge twice
        lower, upper, code = edges[: _first_of_each(edges, found)].T
    return Reached(
        order[:nodes],
        levels[:nodes],
        lower,
        upper,
        code,
        pruned[:cut],
        Stop(stop),
        _left(queue, marks, walk, nodes=nodes, stop=stop, level=level),
        found,
        seen_kinds(snapshot, order[:nodes], visible),
    )


def _left(queue: Array, marks: Array, walk: Walk, *, nodes: int, stop: int, level: int) -> Array:
    """Return the places that the walk still meant to expand, ascending."""
    if stop == _NO_STOP:
        return np.empty(0, dtype=np.int64)
    until = 2 if level < walk.depth else 1
    waiting = np.zeros(nodes, dtype=np.bool_)
    for each in range(2):
        if (1 if walk.undirected else walk.directions) >> each & 1:
            waiting[queue[each, marks[each, 0] : marks[each, until]]] = True
    return np.flatnonzero(waiting)


@compiled
def _first_of_each(edges: Array, count: int) -> int:
    """Drop repetitions of an edge in place, keeping the first and the order; return how many stay."""
    size = 16
    while size < 2 * count:
        size *= 2
    table = np.full(size, _FREE, dtype=np.int32)
    kept = 0
    for row in range(count):
        lower, upper, code = edges[row, 0], edges[row, 1], edges[row, 2]
        slot = ((np.int64(lower) << 22 ^ np.int64(upper) << 2 ^ code) * 0x9E3779B1 >> 12) & (size - 1)
        while True:
            known = table[slot]
            if known == _FREE:
                table[slot] = kept
                edges[kept, 0], edges[kept, 1], edges[kept, 2] = lower, upper, code
                kept += 1
                break
            if edges[known, 0] == lower and edges[known, 1] == upper and edges[known, 2] == code:
                break
            slot = (slot + 1) & (size - 1)
    return kept
