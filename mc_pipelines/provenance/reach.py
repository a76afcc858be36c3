# Numba infers the integers of compiled loops.
# mypy: disable-error-code="arg-type,assignment,return-value"
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917 - loops kept whole, with flat arguments, so that they compile to one
"""Which nodes a one-way walk reaches, without their edges: what counts are made of.

The nodes, their order and their levels are those of :func:`mc_pipelines.provenance.kernel.walk_compiled`. It costs a
fraction, because of a blast radius nearly all time is spent waiting for memory: a bit per node says what was reached
(small enough for the second-level cache, where a hash table of two hundred thousand places is not), no edge is kept,
and nodes are taken a few at a time, so that their offsets, then their entries, are waited for together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.kernel import LISTS, gather
from mc_pipelines.provenance.offsets import offset_at, offset_count
from mc_pipelines.provenance.sight import Sight, sight_of
from mc_pipelines.provenance.snapshot import SHARED_BIT, Snapshot, shared_number
from mc_pipelines.provenance.walk import ALL_KINDS, ANCESTORS, Stop, Visible, Walk, walk_plainly

Array = NDArray[Any]
_AHEAD = 64
"""Nodes whose memory is asked for together."""
_NO_STOP, _STOP_NODES, _STOP_EDGES = 0, 1, 2


@compiled
def _reach(
    nodes: int,
    done: int,
    level: int,
    depth: int,
    up: bool,
    sight: Sight,
    types: int,
    kinds: int,
    maximum_nodes: int,
    maximum_edges: int,
    seen: Array,
    order: Array,
    levels: Array,
    spans: Array,
    state: Array,
    buffer: Array,
) -> tuple[int, int, int, int]:
    """Go on from a level to ``depth``; return nodes, followed, nodes with more neighbours than that, and why it ended.

    Of ``order`` and ``levels``, ``nodes`` places are filled and ``done`` are expanded.
    """
    side = sight.part.up if up else sight.part.down
    held, limit = offset_count(side.start) - 1, len(buffer)
    followed, cut, stop = 0, 0, _NO_STOP
    while level < depth and done < nodes and stop == _NO_STOP:
        level += 1
        until = nodes
        while done < until and stop == _NO_STOP:
            chunk = min(_AHEAD, until - done)
            for place in range(chunk):
                node = np.int64(order[done + place])
                plain = node < sight.own_nodes and node < held and kinds == ALL_KINDS
                spans[place, 0], spans[place, 1] = -1, 0 if plain and sight.part.touched[node] == 0 else -1
            for place in range(chunk):
                if spans[place, 1] == 0:
                    node = np.int64(order[done + place])
                    spans[place, 0], spans[place, 1] = offset_at(side.start, node), offset_at(side.start, node + 1)
            ahead = np.uint32(0)
            for place in range(chunk):
                if spans[place, 0] < spans[place, 1]:
                    ahead |= side.entries[spans[place, 1] - 1]
            spans[_AHEAD, 0] = np.int64(ahead)  # a use of what was read, or the compiler would not read it
            for place in range(chunk):
                begin, at = spans[place, 0], spans[place, 1] - 1
                kept, slow = 0, begin < 0
                if slow:
                    kept, degree = gather(
                        np.int64(order[done + place]),
                        up,
                        sight,
                        types,
                        kinds,
                        state,
                        buffer,
                    )
                    cut += degree > kept
                    begin, at = 0, kept - 1
                taken = 0
                while at >= begin and stop == _NO_STOP:
                    if slow:
                        entry = np.int64(buffer[kept - 1 - at])
                        at -= 1
                    else:
                        entry = np.int64(side.entries[at])
                        shown = sight.everything or sight.own_mask[side.seq[at]] != 0
                        at -= 1
                        while at >= begin and side.entries[at] == entry:
                            shown = shown or sight.own_mask[side.seq[at]] != 0
                            at -= 1
                        if not (shown and types >> (entry & 3) & 1):
                            continue
                    if taken >= limit:
                        cut += 1
                        break
                    taken += 1
                    if followed >= maximum_edges:
                        stop = _STOP_EDGES
                        break
                    other = entry >> 2
                    bit = np.uint8(1 << (other & 7))
                    if not seen[other >> 3] & bit:
                        if nodes >= maximum_nodes:
                            stop = _STOP_NODES
                            break
                        seen[other >> 3] |= bit
                        order[nodes], levels[nodes] = other, level
                        nodes += 1
                    followed += 1
                if stop != _NO_STOP:
                    break
            done += chunk
    return nodes, followed, cut, stop


@dataclass(frozen=True, slots=True)
class Reach:
    """What a one-way walk reaches.

    Attributes:
        nodes: numbers, in order of reaching.
        levels: steps from the start.
        cut: how many nodes have more neighbours than were followed.
        stop: why it ended early.
        bits: of each number of the snapshot, whether it is among the nodes.
    """

    nodes: Array
    levels: Array
    cut: int
    stop: Stop
    bits: Array

    def holds(self, numbers: Array) -> Array:
        """Tell of each number whether it was reached; -1 never is."""
        return (numbers >= 0) & among(self.bits, np.maximum(numbers, 0))


def reach(snapshot: Snapshot, walk: Walk, visible: Visible) -> Reach:
    """Return the nodes of a one-way walk and their levels; its edges are left out.

    Args:
        snapshot: the graph.
        walk: in one direction; the cap on scanned entries is not looked at.
        visible: which events may be read.
    """
    bits = np.zeros((snapshot.nodes >> 3) + 1, dtype=np.uint8)
    if not COMPILES:
        whole = walk_plainly(snapshot, walk, visible)
        mark_bits(bits, whole.nodes)
        return Reach(whole.nodes, whole.levels, len(whole.pruned), whole.stop, bits)
    front = Front(snapshot, walk, visible, bits)
    front.advance(walk.depth)
    return Reach(front.order[: front.nodes], front.levels[: front.nodes], front.cut, front.stop, bits)


class Front:
    """A one-way walk that can be taken level by level.

    Attributes:
        nodes: how many were reached.
        level: steps taken.
        order: numbers, in order of reaching; ``nodes`` of them.
        levels: steps from the start.
        cut: nodes with more neighbours than were followed.
        stop: why it cannot go on.
        bits: of each number of the snapshot, whether it was reached.
        begins: of each level, where its nodes begin in ``order``; one more than levels, while it goes step by step.
    """

    def __init__(self, snapshot: Snapshot, walk: Walk, visible: Visible, bits: Array) -> None:
        self._snapshot, self._walk, self._visible = snapshot, walk, visible
        self.nodes, self.level, self.cut, self._followed = 1, 0, 0, 0
        self.stop = Stop.NONE
        self.order = np.empty(walk.maximum_nodes + 1, dtype=np.int32)
        self.levels = np.empty(walk.maximum_nodes + 1, dtype=np.uint8)
        self.order[0], self.levels[0] = walk.start, 0
        self.bits = bits
        self._set(self.order[:1], present=True)
        self.begins = [0, 1]
        self._buffer = np.empty(walk.fan_out, dtype=np.int64)

    def at(self, level: int) -> Array:
        """Return the nodes of a level."""
        return self.order[self.begins[level] : self.begins[level + 1]]

    def step(self) -> Array:
        """Take one step and return the nodes that are new; where a cap ends it, none, and the step was not taken."""
        until = self.nodes
        self.advance(self.level + 1)
        fresh = self.order[until : self.nodes]
        if self.stop is not Stop.NONE:
            self._set(fresh, present=False)
            self.nodes, self.level = until, self.level - 1
            return fresh[:0]
        self.begins.append(self.nodes)
        return fresh

    def weight(self) -> int:
        """Return about how many entries the next step has to look at."""
        up = self._walk.directions == ANCESTORS
        return int(_weight(self.at(self.level), up, sight_of(self._snapshot, self._visible)))

    def _set(self, numbers: Array, *, present: bool) -> None:
        mark_bits(self.bits, numbers, present=present)

    def advance(self, level: int) -> None:
        """Go on to a level, or to where the walk ends."""
        snapshot, walk, visible = self._snapshot, self._walk, self._visible
        self.nodes, followed, cut, stop = _reach(
            self.nodes,
            self.begins[-2],
            self.level,
            level,
            walk.directions == ANCESTORS,
            sight_of(snapshot, visible),
            walk.types,
            walk.kinds,
            walk.maximum_nodes,
            walk.maximum_edges - self._followed,
            self.bits,
            self.order,
            self.levels,
            np.empty((_AHEAD + 1, 2), dtype=np.int64),
            np.empty((3, LISTS), dtype=np.int64),
            self._buffer,
        )
        self.level = level
        self._followed += followed
        self.cut += cut
        self.stop = Stop(stop)


def mark_bits(bits: Array, numbers: Array, *, present: bool = True) -> None:
    """Set or clear the bits of some numbers."""
    places, masks = numbers >> 3, np.uint8(1) << (numbers & 7).astype(np.uint8)
    if present:
        np.bitwise_or.at(bits, places, masks)
    else:
        np.bitwise_and.at(bits, places, ~masks)


def among(bits: Array, numbers: Array) -> Array:
    """Tell of each number (0 or more) whether its bit is set."""
    found: Array = bits[numbers >> 3] >> (numbers & 7).astype(np.uint8) & 1 != 0
    return found


@compiled
def _weight(nodes: Array, up: bool, sight: Sight) -> int:
    side, theirs = (sight.part.up, sight.shared.up) if up else (sight.part.down, sight.shared.down)
    held, held_there = offset_count(side.start) - 1, offset_count(theirs.start) - 1
    total = 0
    for place in range(len(nodes)):
        node = np.int64(nodes[place])
        there = node - sight.own_nodes
        total += 1
        if node < sight.own_nodes:
            there = np.int64(-1)
            if sight.part.touched[node] & SHARED_BIT:
                there = shared_number(sight.common, node)
            if node < held:
                total += offset_at(side.start, node + 1) - offset_at(side.start, node)
        if 0 <= there < held_there:
            total += offset_at(theirs.start, there + 1) - offset_at(theirs.start, there)
    return total


@compiled
def _steps(
    nodes: Array, up: bool, sight: Sight, types: int, wanted: Array, out: Array, state: Array, buffer: Array
) -> int:
    count = 0
    for place in range(len(nodes)):
        kept, _ = gather(
            np.int64(nodes[place]),
            up,
            sight,
            types,
            ALL_KINDS,
            state,
            buffer,
        )
        for index in range(kept):
            entry = np.int64(buffer[index])
            other = entry >> 2
            if wanted[other >> 3] >> (other & 7) & 1:
                if count < len(out):
                    out[count, 0], out[count, 1], out[count, 2] = place, other, entry & 3
                count += 1
    return count


def steps_between(snapshot: Snapshot, visible: Visible, nodes: Array, wanted: Array, walk: Walk) -> Array:
    """Return rows (place in ``nodes``, number, type) of all entries that lead from ``nodes`` to ``wanted``.

    Args:
        snapshot: the graph.
        visible: which events may be read.
        nodes: numbers.
        wanted: numbers.
        walk: says in which direction, by which types and how many entries of a node are looked at.
    """
    bits = np.zeros((snapshot.nodes >> 3) + 1, dtype=np.uint8)
    mark_bits(bits, wanted)
    room, buffer = 1024, np.empty(walk.fan_out, dtype=np.int64)
    while True:
        out = np.empty((room, 3), dtype=np.int64)
        count = _steps(
            np.ascontiguousarray(nodes, dtype=np.int32),
            walk.directions == ANCESTORS,
            sight_of(snapshot, visible),
            walk.types,
            bits,
            out,
            np.empty((3, LISTS), dtype=np.int64),
            buffer,
        )
        if count <= room:
            return out[:count]
        room = count
