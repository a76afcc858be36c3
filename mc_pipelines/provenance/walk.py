"""The walk: what is asked, what comes back, and the plain path that any machine can take.

Breadth first, nearest first, newest first. The order of nodes and edges is a function of the log up to the
snapshot's events, of the request and of the filter: not of generations, compactions or threads. A walk that
stops at a cap is a prefix of the walk without it, which is what pages are made of.

:func:`walk_plainly` here and :func:`mc_pipelines.provenance.kernel.walk_compiled` give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.described import KIND_AND_STUB, SEVERAL
from mc_pipelines.provenance.rank import KIND_OF, ORDER_OF, ORDERS
from mc_pipelines.provenance.snapshot import DOWN, UP, Snapshot

Array = NDArray[Any]
ALL_TYPES = 0b1111
ALL_KINDS = 0b11111
ANCESTORS, DESCENDANTS = UP, DOWN
HUBS = 4096
"""Nodes and directions whose degree is kept; a power of two."""


class Stop(IntEnum):
    """Why a walk ended before everything asked for was walked."""

    NONE = 0
    NODES = 1
    EDGES = 2
    SCANNED = 3


@dataclass(frozen=True, slots=True)
class Walk:
    """What to walk.

    Attributes:
        start: number of the node to begin at.
        depth: how many steps.
        directions: ANCESTORS, DESCENDANTS, or both as the union of the two one-way walks.
        undirected: follow both directions from every node.
        types: bit mask of edge types to follow.
        kinds: bit mask of node kinds to enter.
        fan_out: neighbours followed per node and direction.
        maximum_nodes: nodes in the answer.
        maximum_edges: edges in the answer.
        maximum_scanned: entries looked at.
    """

    start: int
    depth: int
    directions: int = ANCESTORS | DESCENDANTS
    undirected: bool = False
    types: int = ALL_TYPES
    kinds: int = ALL_KINDS
    fan_out: int = 1000
    maximum_nodes: int = 5000
    maximum_edges: int = 20_000
    maximum_scanned: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Visible:
    """Which events may be read: a byte per event of the tenant and of the shared partition.

    Attributes:
        own: 1 where the event's claims are visible.
        shared: the same for the shared partition.
        everything: whether all bytes are 1, so that entries need not be looked up.
        degrees: how many visible entries hubs have, as walks have counted them; kept by the kernel.
    """

    own: Array
    shared: Array
    everything: bool
    degrees: Array = field(default_factory=lambda: np.zeros(HUBS, dtype=np.uint64), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Reached:
    """What a walk found.

    Attributes:
        nodes: numbers, in order of reaching.
        levels: steps from the start.
        lower: place in ``nodes`` of each edge's lower end: from there it leads to an ancestor.
        upper: place of its other end.
        code: its type; the lower end is the source of ``uses`` and the target of any other.
        pruned: rows (place, direction, degree, followed) of nodes with more neighbours than were followed.
        stop: why it ended early.
        unexpanded: places of nodes that it meant to expand and did not, or not to the end.
        followed: edges followed, repetitions counted: what the cap on edges counts.
        kind: what each node is to the reader: the kind, plus 8 for a stub.
    """

    nodes: Array
    levels: Array
    lower: Array
    upper: Array
    code: Array
    pruned: Array
    stop: Stop
    unexpanded: Array
    followed: int
    kind: Array


def neighbours(snapshot: Snapshot, direction: int, node: int, visible: Visible, walk: Walk) -> list[int]:
    """Return all visible entries of a node, newest first: the tenant's own, then the shared ones.

    Args:
        snapshot: the graph.
        direction: ANCESTORS or DESCENDANTS.
        node: its number.
        visible: which events may be read.
        walk: which types and kinds to follow.
    """
    own = _shown(snapshot.own_slices(direction, node), visible.own, visible)
    found = sorted(own, reverse=True)
    shared = sorted(_shown(snapshot.shared_slices(direction, node), visible.shared, visible), reverse=True)
    here = snapshot.translated(np.array(shared, dtype=np.uint32)).tolist()
    found += [entry for entry in here if entry not in own]
    return [
        entry
        for entry in found
        if walk.types >> (entry & 3) & 1
        and (walk.kinds == ALL_KINDS or walk.kinds >> (kind_seen(snapshot, entry >> 2, visible) & 7) & 1)
    ]


def kind_seen(snapshot: Snapshot, node: int, visible: Visible) -> int:
    """Return what a node is to a reader, of all that documents she may see call it: the kind, plus 8 for a stub."""
    own = snapshot.own.nodes
    kind = int(snapshot.common.kind[node] if node < own else snapshot.shared_part.kind[node - own])
    if visible.everything or not kind & SEVERAL:
        return kind & KIND_AND_STUB
    orders = [0]
    for part, number, mask, slices in (
        (snapshot.part, node if node < own else -1, visible.own, snapshot.own_slices),
        (snapshot.shared_part, snapshot.shared_number(node), visible.shared, snapshot.shared_slices),
    ):
        if number < 0:
            continue
        rows = [ORDERS - 1 - int(entry) for entry, seq in snapshot.rows_at(part, number) if mask[seq]]
        orders += rows
        if not part.kind[number] & SEVERAL:
            seen = rows or any(mask[seq].any() for way in (UP, DOWN) for _, seq in slices(way, node))
            orders += [int(ORDER_OF[part.kind[number]])] if seen else []
    return int(KIND_OF[max(orders)])


def _shown(slices: Iterable[tuple[Array, Array]], mask: Array, visible: Visible) -> set[int]:
    found: set[int] = set()
    for entries, seq in slices:
        found.update((entries if visible.everything else entries[mask[seq] != 0]).tolist())
    return found


def walk_plainly(snapshot: Snapshot, walk: Walk, visible: Visible) -> Reached:
    """Walk with numpy and Python only."""
    return _PlainWalk(snapshot, walk, visible).run()


class _PlainWalk:
    def __init__(self, snapshot: Snapshot, walk: Walk, visible: Visible) -> None:
        self.snapshot, self.walk, self.visible = snapshot, walk, visible
        self.place: dict[int, int] = {walk.start: 0}
        self.nodes, self.levels = [walk.start], [0]
        self.edges: list[tuple[int, int, int]] = []
        self.pruned: list[tuple[int, int, int, int]] = []
        self.scanned = 0
        self.stop = Stop.NONE

    def run(self) -> Reached:
        walk = self.walk
        passes = [3] if walk.undirected else [bit for bit in (ANCESTORS, DESCENDANTS) if walk.directions & bit]
        seen = {(each, walk.start) for each in passes}
        queues: dict[int, list[int]] = {each: [0] for each in passes}
        left: list[int] = []
        for level in range(1, walk.depth + 1):
            following: dict[int, list[int]] = {each: [] for each in passes}
            for each in passes:
                done = 0
                for place in queues[each]:
                    if self.stop is Stop.NONE:
                        self._expand(each, place, level, seen, following[each])
                    done += self.stop is Stop.NONE
                left += queues[each][done:]
            if self.stop is not Stop.NONE:
                left += [place for queue in following.values() for place in queue if level < walk.depth]
                break
            queues = following
        edges = np.array(list(dict.fromkeys(self.edges)), dtype=np.int64).reshape(-1, 3)
        return Reached(
            np.array(self.nodes, dtype=np.int64),
            np.array(self.levels, dtype=np.uint8),
            edges[:, 0],
            edges[:, 1],
            edges[:, 2],
            np.array(self.pruned, dtype=np.int64).reshape(-1, 4),
            self.stop,
            np.array(sorted(set(left)), dtype=np.int64),
            len(self.edges),
            np.array([kind_seen(self.snapshot, node, self.visible) for node in self.nodes], dtype=np.uint8),
        )

    def _expand(self, each: int, place: int, level: int, seen: set[tuple[int, int]], following: list[int]) -> None:
        for bit in (ANCESTORS, DESCENDANTS):
            if not each & bit or self.stop is not Stop.NONE:
                continue
            entries = neighbours(self.snapshot, bit, self.nodes[place], self.visible, self.walk)
            if len(entries) > self.walk.fan_out:
                self.pruned.append((place, bit, len(entries), self.walk.fan_out))
            for entry in entries[: self.walk.fan_out]:
                if not self._follow(each, bit, place, entry, level, seen, following):
                    return

    def _follow(
        self,
        each: int,
        bit: int,
        place: int,
        entry: int,
        level: int,
        seen: set[tuple[int, int]],
        following: list[int],
    ) -> bool:
        node = entry >> 2
        if self.scanned >= self.walk.maximum_scanned:
            self.stop = Stop.SCANNED
        elif len(self.edges) >= self.walk.maximum_edges:
            self.stop = Stop.EDGES
        elif node not in self.place and len(self.nodes) >= self.walk.maximum_nodes:
            self.stop = Stop.NODES
        if self.stop is not Stop.NONE:
            return False
        self.scanned += 1
        if node not in self.place:
            self.place[node] = len(self.nodes)
            self.nodes.append(node)
            self.levels.append(level)
        if (each, node) not in seen:
            seen.add((each, node))
            following.append(self.place[node])
        self._emit(bit, place, self.place[node], entry & 3)
        return True

    def _emit(self, bit: int, here: int, there: int, code: int) -> None:
        """Note an edge by its lower and its upper end, so that it is the same edge from both."""
        lower, upper = (here, there) if bit == ANCESTORS else (there, here)
        self.edges.append((lower, upper, code))
