# mypy: disable-error-code="arg-type,assignment,return-value"
# ruff: noqa: C901, FBT003, PLR0917 - loops kept whole, with flat arguments, so that they compile to one
"""What many nodes stand on, in one walk: who stands on what is then counted without walking again.

Builds share most of what they stand on, so walking from each of a thousand bundles reads the same lists a thousand
times. Here each list is read once, into a graph of its own. Its strongly connected components (Tarjan, SIAM Journal on
Computing 1972) come out with ancestors first; in that order one pass over the edges carries a bit for each of some
hundred bundles from every node to all that it stands on, cycles or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled
from mc_pipelines.provenance.kernel import gather
from mc_pipelines.provenance.segment import MAXIMUM_SEGMENTS
from mc_pipelines.provenance.sight import Sight, sight_of
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.walk import ALL_KINDS, ALL_TYPES, Visible

Array = NDArray[Any]
MAXIMUM_EDGES = 16_000_000
"""Edges that one walk takes in; where there are more, it says so."""
_FAN_OUT = 1_000_000
_FIRST_ROOM = 1 << 16
_WORDS = 8
"""Words of 64 bits that are carried at once: a line of the cache."""
_CURSOR, _NODES, _EDGES, _CUT = 0, 1, 2, 3
"""Places of a walk's state: the next node to expand, how many there are, edges, and lists that were cut."""
_NONE = -1


@dataclass(frozen=True)
class Ancestry:
    """Some nodes and all their visible ancestors, with every edge between them; nodes go by their place here.

    Attributes:
        nodes: numbers in the snapshot; the starts first.
        place: per number of the snapshot, its place; -1 = not here.
        first: per place, where its edges begin; one more than nodes.
        upper: per edge, the place of the end that is the ancestor; the other end is the node whose list it is in.
        code: per edge, its type.
        whole: whether nothing was left out.
    """

    nodes: Array
    place: Array
    first: Array
    upper: Array
    code: Array
    whole: bool

    @cached_property
    def lower(self) -> Array:
        """Per edge, the place of the end that stands on the other."""
        return np.repeat(np.arange(len(self.nodes), dtype=np.int32), np.diff(self.first))

    @cached_property
    def _components(self) -> tuple[Array, Array, int]:
        """Per place its component, the places with ancestors first, and how many components there are."""
        component = np.full(len(self.nodes), _NONE, dtype=np.int32)
        ordered = np.empty(len(self.nodes), dtype=np.int32)
        return component, ordered, int(_find_components(self.first, self.upper, component, ordered))

    def count(self, starts: Array) -> Array:
        """Return, per place, how many of the nodes at ``starts`` (places) are it or stand on it."""
        component, ordered, components = self._components
        counted = np.zeros(components, dtype=np.int64)
        for begin in range(0, len(starts), 64 * _WORDS):
            some = starts[begin : begin + 64 * _WORDS]
            bits = np.zeros((components, min(_WORDS, (len(some) + 63) // 64)), dtype=np.uint64)
            each = np.arange(len(some))
            np.bitwise_or.at(bits, (component[some], each >> 6), np.uint64(1) << (each & 63).astype(np.uint64))
            _carry(self.first, self.upper, component, ordered, bits)
            counted += np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
        return counted[component]

    def below(self, marked: Array) -> Array:
        """Return, per place, whether it or anything that it stands on is ``marked`` (a flag per place)."""
        component, ordered, components = self._components
        found = np.zeros(components, dtype=np.bool_)
        found[component[marked]] = True
        _spread_down(self.first, self.upper, component, ordered, found)
        return found[component]


def ancestry(snapshot: Snapshot, visible: Visible, starts: Sequence[int]) -> Ancestry:
    """Return nodes and all that they stand on, as may be seen.

    Args:
        snapshot: the graph.
        visible: what of it may be seen.
        starts: numbers of the nodes; of one that comes twice, one stays.
    """
    begin = np.array(list(dict.fromkeys(starts)), dtype=np.int32)
    place = np.full(snapshot.nodes, _NONE, dtype=np.int32)
    place[begin] = np.arange(len(begin), dtype=np.int32)
    order = np.empty(snapshot.nodes, dtype=np.int32)
    order[: len(begin)] = begin
    first = np.zeros(snapshot.nodes + 1, dtype=np.int64)
    upper, code = np.empty(_FIRST_ROOM, dtype=np.int32), np.empty(_FIRST_ROOM, dtype=np.uint8)
    marks = np.zeros(4, dtype=np.int64)
    marks[_NODES] = len(begin)
    state, buffer = np.empty((3, MAXIMUM_SEGMENTS + 1), dtype=np.int64), np.empty(_FAN_OUT, dtype=np.int64)
    while True:
        needed = _collect(
            sight_of(snapshot, visible),
            place,
            order,
            first,
            upper,
            code,
            marks,
            state,
            buffer,
        )
        if not needed or len(upper) >= MAXIMUM_EDGES:
            break
        room = min(max(2 * len(upper), int(needed)), MAXIMUM_EDGES)
        upper, code = _grown(upper, room), _grown(code, room)
    nodes, edges, expanded = int(marks[_NODES]), int(marks[_EDGES]), int(marks[_CURSOR])
    first[expanded : nodes + 1] = edges
    whole = expanded == nodes and not marks[_CUT]
    return Ancestry(order[:nodes].copy(), place, first[: nodes + 1].copy(), upper[:edges], code[:edges], whole)


def _grown(array: Array, room: int) -> Array:
    larger = np.empty(room, dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@compiled
def _collect(
    sight: Sight,
    place: Array,
    order: Array,
    first: Array,
    upper: Array,
    code: Array,
    marks: Array,
    state: Array,
    buffer: Array,
) -> int:
    """Expand nodes in their order until there are none left; return 0, or how many edges there must be room for."""
    cursor, nodes, edges = marks[_CURSOR], marks[_NODES], marks[_EDGES]
    needed = 0
    while cursor < nodes:
        kept, degree = gather(
            np.int64(order[cursor]),
            True,
            sight,
            ALL_TYPES,
            ALL_KINDS,
            state,
            buffer,
        )
        if edges + kept > len(upper):
            needed = edges + kept
            break
        if degree > kept:
            marks[_CUT] += 1
        first[cursor] = edges
        for index in range(kept):
            entry = np.int64(buffer[index])
            target = np.int64(place[entry >> 2])
            if target < 0:
                target = nodes
                place[entry >> 2] = target
                order[target] = entry >> 2
                nodes += 1
            upper[edges] = target
            code[edges] = entry & 3
            edges += 1
        cursor += 1
    marks[_CURSOR], marks[_NODES], marks[_EDGES] = cursor, nodes, edges
    return needed


@compiled
def _find_components(first: Array, upper: Array, component: Array, ordered: Array) -> int:
    """Number strongly connected components, ancestors before what stands on them; return how many there are."""
    count = len(component)
    index, low = np.full(count, -1, dtype=np.int32), np.empty(count, dtype=np.int32)
    path, frames = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
    edge = np.empty(count, dtype=np.int64)
    visited, open_, done, components = 0, 0, 0, 0
    for root in range(count):
        if index[root] >= 0:
            continue
        depth = 0
        frames[0] = root
        while depth >= 0:
            node = np.int64(frames[depth])
            if index[node] < 0:
                index[node] = low[node] = visited
                visited += 1
                path[open_] = node
                open_ += 1
                edge[node] = first[node]
            descended = False
            while edge[node] < first[node + 1]:
                target = np.int64(upper[edge[node]])
                if index[target] < 0:
                    depth += 1
                    frames[depth] = target
                    descended = True
                    break
                if component[target] < 0 and low[target] < low[node]:
                    low[node] = low[target]
                edge[node] += 1
            if descended:
                continue  # the edge is looked at again when its target is done
            if low[node] == index[node]:
                while True:
                    open_ -= 1
                    member = np.int64(path[open_])
                    component[member] = components
                    ordered[done] = member
                    done += 1
                    if member == node:
                        break
                components += 1
            depth -= 1
    return components


@compiled
def _carry(first: Array, upper: Array, component: Array, ordered: Array, bits: Array) -> None:
    """Give every component the bits of all that stand on it."""
    words = bits.shape[1]
    for place in range(len(ordered) - 1, -1, -1):
        node = np.int64(ordered[place])
        here = np.int64(component[node])
        for edge in range(first[node], first[node + 1]):
            there = np.int64(component[upper[edge]])
            if there != here:
                for word in range(words):
                    bits[there, word] |= bits[here, word]


@compiled
def _spread_down(first: Array, upper: Array, component: Array, ordered: Array, found: Array) -> None:
    """Mark every component that stands on a marked one."""
    for place in range(len(ordered)):
        node = np.int64(ordered[place])
        here = np.int64(component[node])
        if not found[here]:
            for edge in range(first[node], first[node + 1]):
                if found[component[upper[edge]]]:
                    found[here] = True
                    break
