# Numba infers the integers of compiled loops.
# mypy: disable-error-code="arg-type,return-value"
"""Pages of a walk that was walked once: each is cut out of what was kept, not walked to again.

A walk that stops at a cap is a prefix of the walk without it, so the page that ends after so many nodes is known from
the whole: its edges are those followed before the first that leads to a node beyond it. That holds for walks in one
direction, in which nodes are expanded in the order in which they were reached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.access import View
from mc_pipelines.provenance.compiling import compiled
from mc_pipelines.provenance.walk import Reached, Stop

Array = NDArray[Any]


@compiled
def _renumber(
    lower: Array, upper: Array, first: int, place: Array, earlier: Array, new_lower: Array, new_upper: Array
) -> int:
    """Number the nodes before ``first`` that edges end at, then those from there on; return how many the former are.

    Args:
        lower: places of the edges' lower ends.
        upper: places of their upper ends.
        first: the place from which nodes keep their order.
        place: zeros, one for each place before ``first``.
        earlier: filled with the places before ``first``, in order of appearance.
        new_lower: filled with the new places of the lower ends.
        new_upper: filled with those of the upper ends.
    """
    count = 0
    for row in range(len(lower)):
        for end in (lower[row], upper[row]):
            if end < first and place[end] == 0:
                earlier[count] = end
                count += 1
                place[end] = count
    shift = first - count
    for row in range(len(lower)):
        below, above = lower[row], upper[row]
        new_lower[row] = place[below] - 1 if below < first else below - shift
        new_upper[row] = place[above] - 1 if above < first else above - shift
    return count


@dataclass(frozen=True)
class Whole:
    """A one-way walk that pages are cut from.

    Attributes:
        reached: all of it.
        depth: how many steps it was allowed.
    """

    reached: Reached
    depth: int

    @classmethod
    def of(cls, reached: Reached, depth: int) -> Whole:
        """Keep a walk, without the room that it was walked in."""
        return cls(
            replace(
                reached,
                nodes=reached.nodes.astype(np.int32),
                levels=reached.levels.copy(),
                lower=reached.lower.astype(np.int32),
                upper=reached.upper.astype(np.int32),
                code=reached.code.astype(np.uint8),
                kind=reached.kind.copy(),
            ),
            depth,
        )

    @cached_property
    def _newest(self) -> Array:
        """Of each edge, the last place among the ends of all edges up to it."""
        return np.maximum.accumulate(np.maximum(self.reached.lower, self.reached.upper))

    @property
    def size(self) -> int:
        """Bytes that it holds on to, once a page was cut from it."""
        return 6 * len(self.reached.nodes) + 13 * len(self.reached.lower) + self.reached.unexpanded.nbytes

    def page(self, first: tuple[int, int], limit: int) -> Page:
        """Return the page that begins after ``first`` nodes and edges and holds at most ``limit`` nodes."""
        reached = self.reached
        until = first[0] + limit
        if until >= len(reached.nodes):
            return self._page(first, (len(reached.nodes), len(reached.lower)), reached.stop, reached.unexpanded)
        edges = int(np.searchsorted(self._newest, until))
        # The end of that edge that was there before is the node that was being expanded.
        expanding = int(min(reached.lower[edges], reached.upper[edges]))
        waiting = np.arange(expanding, until)
        return self._page(first, (until, edges), Stop.NODES, waiting[reached.levels[expanding:until] < self.depth])

    def _page(self, first: tuple[int, int], until: tuple[int, int], stop: Stop, waiting: Array) -> Page:
        """Cut out a page: its own nodes behind those of earlier pages at which its edges end."""
        reached = self.reached
        rows = slice(first[1], until[1])
        lower, upper = np.empty((2, until[1] - first[1]), dtype=np.int32)
        earlier = np.empty(min(first[0], 2 * len(lower)), dtype=np.int32)
        scratch = np.zeros(first[0], dtype=np.int32)
        count = _renumber(reached.lower[rows], reached.upper[rows], first[0], scratch, earlier, lower, upper)
        chosen = np.concatenate([earlier[:count], np.arange(first[0], until[0], dtype=np.int32)])
        cut = Reached(
            reached.nodes[chosen],
            reached.levels[chosen],
            lower,
            upper,
            reached.code[rows].astype(np.int32),
            reached.pruned,
            stop,
            waiting,
            until[1],
            reached.kind[chosen],
        )
        return Page(cut, count, until, reached.nodes[waiting] if len(waiting) else waiting)


@dataclass(frozen=True)
class Page:
    """A part of a walk.

    Attributes:
        reached: its nodes behind nodes of earlier pages at which its edges end, and its edges.
        earlier: how many nodes of earlier pages those are.
        until: nodes and edges up to its end, all pages before included.
        waiting: numbers of the nodes that were still to be expanded.
    """

    reached: Reached
    earlier: int
    until: tuple[int, int]
    waiting: Array


def page_of(reached: Reached) -> Page:
    """Return a walk that was walked for one page alone as that page."""
    waiting = reached.nodes[reached.unexpanded]
    return Page(reached, 0, (len(reached.nodes), len(reached.lower)), waiting)


class Shelf:
    """Walks that are kept for their next pages, up to so many bytes; they go with the view that they were walked in.

    Args:
        room: bytes.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[tuple[int, Hashable], tuple[ref[View], Whole]] = OrderedDict()
        self._lock = Lock()

    def get(self, view: View, key: Hashable) -> Whole | None:
        """Return what was kept under a key for this very view."""
        with self._lock:
            found = self._held.get((id(view), key))
            if found is None or found[0]() is not view:
                return None
            self._held.move_to_end((id(view), key))
            return found[1]

    def put(self, view: View, key: Hashable, whole: Whole) -> Whole:
        """Keep a walk; what was asked for longest ago makes room."""
        with self._lock:
            self._held[id(view), key] = (ref(view), whole)
            gone = [name for name, (holder, _) in self._held.items() if holder() is None]
            for name in gone:
                del self._held[name]
            used = sum(each.size for _, each in self._held.values())
            while used > self._room:
                used -= self._held.popitem(last=False)[1][1].size
        return whole
