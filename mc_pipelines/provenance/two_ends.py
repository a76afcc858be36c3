"""Shortest paths searched from both ends, each step at the end where it costs less.

A hub reaches half the graph while what stands on it leads back to it in a few steps: from one end the search would walk
all of that, from both it walks next to nothing. What is found is the same as from one end, in the same order: of the
walk from the source, exactly what lies on a shortest path. (A node's place within its level is decided by whoever
reached it first, and that is on a shortest path itself.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.reach import Front, among, steps_between
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Stop, Visible, Walk

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Between:
    """What lies on shortest paths between two nodes.

    Attributes:
        length: steps; None where no path was found.
        nodes: numbers, in the order of a walk from the source.
        levels: steps from the source.
        lower: place in ``nodes`` of each edge's lower end.
        upper: place of its other end.
        code: its type.
        whole: whether every shortest path is there or, without any, none can have been missed.
        seen: numbers of all nodes that were looked at.
    """

    length: int | None
    nodes: Array
    levels: Array
    lower: Array
    upper: Array
    code: Array
    whole: bool
    seen: Array


def shortest_between(snapshot: Snapshot, visible: Visible, walk: Walk, target: int) -> Between:
    """Search for the shortest paths.

    Args:
        snapshot: the graph.
        visible: which events may be read.
        walk: one-way, from the source, into all kinds; its depth is the greatest length of a path.
        target: number of the other end.
    """
    back = replace(walk, start=target, directions=ANCESTORS ^ DESCENDANTS ^ walk.directions)
    near, far = (Front(snapshot, each, visible, _no_bits(snapshot)) for each in (walk, back))
    met = near.order[:1] if walk.start == target else near.order[:0]
    over = False
    while not len(met) and not over:
        front, other = _next(near, far)
        over = front is None or near.level + far.level >= walk.depth
        if front is not None and not over:
            fresh = front.step()
            over = not len(fresh) and front.stop is Stop.NONE
            met = fresh[among(other.bits, fresh)]
    cut = near.cut or far.cut
    if len(met):
        return _between(snapshot, visible, walk, back, near, far, met, whole=not cut)
    none = np.empty(0, dtype=np.int64)
    seen = np.concatenate([near.order[: near.nodes], far.order[: far.nodes]])
    stopped = near.stop is not Stop.NONE and far.stop is not Stop.NONE
    return Between(None, none, none, none, none, none, not (cut or stopped), np.unique(seen))


def _next(near: Front, far: Front) -> tuple[Front | None, Front]:
    """Return the front that takes the next step, None where a cap ended both, and the other one."""
    if far.stop is not Stop.NONE or (near.stop is Stop.NONE and near.weight() <= far.weight()):
        return (near if near.stop is Stop.NONE else None), far
    return far, near


def _between(
    snapshot: Snapshot, visible: Visible, walk: Walk, back: Walk, near: Front, far: Front, met: Array, *, whole: bool
) -> Between:
    """Walk from the source through what leads to where the fronts met, and from there to the target."""
    length = near.level + far.level
    ways = [met]
    for level in range(near.level - 1, -1, -1):
        rows = steps_between(snapshot, visible, ways[0], near.at(level), back)
        ways.insert(0, np.unique(rows[:, 1]))
    ways += [far.at(length - level) for level in range(near.level + 1, length + 1)]
    found, levels, edges, begin = [near.order[:1].astype(np.int64)], [np.zeros(1, dtype=np.int64)], [], 0
    for level in range(1, length + 1):
        rows = steps_between(snapshot, visible, found[-1], ways[level], walk)
        numbers, first, place = np.unique(rows[:, 1], return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        end = begin + len(found[-1])
        edges.append(np.stack([begin + rows[:, 0], end + rank[place], rows[:, 2]], axis=1))
        found.append(numbers[order])
        levels.append(np.full(len(order), level, dtype=np.int64))
        begin = end
    rows = np.concatenate(edges) if edges else np.empty((0, 3), dtype=np.int64)
    here, there = rows[:, 0], rows[:, 1]
    lower, upper = (here, there) if walk.directions == ANCESTORS else (there, here)
    nodes = np.concatenate(found)
    return Between(length, nodes, np.concatenate(levels), lower, upper, rows[:, 2], whole, nodes)


def _no_bits(snapshot: Snapshot) -> Array:
    return np.zeros((snapshot.nodes >> 3) + 1, dtype=np.uint8)
