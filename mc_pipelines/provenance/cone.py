"""All that a node stands on, or all that stands on it: walks without a limit of steps, under a cap that is told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.location import Opened
from mc_pipelines.provenance.model import KINDS
from mc_pipelines.provenance.reach import Reach, reach
from mc_pipelines.provenance.seen import seen_kinds
from mc_pipelines.provenance.walk import ALL_KINDS, ALL_TYPES, Reached, Stop, Walk

Array = NDArray[Any]
MAXIMUM_STEPS = 255
"""Steps that a walk can count."""
MAXIMUM_NODES = 200_000
MAXIMUM_EDGES = 4_000_000
FAN_OUT = 1_000_000


def cone(
    opened: Opened,
    start: int,
    directions: int,
    *,
    depth: int = MAXIMUM_STEPS,
    types: int = ALL_TYPES,
    kinds: int = ALL_KINDS,
    undirected: bool = False,
    maximum_nodes: int = MAXIMUM_NODES,
) -> Reached:
    """Return everything that can be seen in one direction from a node.

    Args:
        opened: what may be seen.
        start: number of the node.
        directions: ANCESTORS, DESCENDANTS, or both as two one-way walks.
        depth: steps.
        types: bit mask of edge types to follow.
        kinds: bit mask of kinds to enter.
        undirected: follow both directions from every node.
        maximum_nodes: where to stop.
    """
    walk = Walk(
        start, depth, directions, undirected, types, kinds, FAN_OUT, maximum_nodes, MAXIMUM_EDGES, 2 * MAXIMUM_EDGES
    )
    return walk_compiled(opened.snapshot, walk, opened.view.visible)


def cone_nodes(opened: Opened, start: int, directions: int, *, types: int = ALL_TYPES, kinds: int = ALL_KINDS) -> Reach:
    """Return the nodes of :func:`cone` in one direction, in the same order, without its edges; for a fraction."""
    walk = Walk(
        start,
        MAXIMUM_STEPS,
        directions,
        types=types,
        kinds=kinds,
        fan_out=FAN_OUT,
        maximum_nodes=MAXIMUM_NODES,
        maximum_edges=MAXIMUM_EDGES,
    )
    return reach(opened.snapshot, walk, opened.view.visible)


def is_whole(reached: Reached | Reach, depth: int = MAXIMUM_STEPS) -> bool:
    """Tell whether a walk left nothing out but what lies beyond its steps."""
    deepest = int(reached.levels.max()) if len(reached.levels) else 0
    all_steps = depth < MAXIMUM_STEPS or deepest < MAXIMUM_STEPS
    cut = reached.cut if isinstance(reached, Reach) else len(reached.pruned)
    return reached.stop is Stop.NONE and not cut and all_steps


def kinds_of(opened: Opened, nodes: Array) -> Array:
    """Return the kind code of each node that may be seen, as what may be seen calls it."""
    return seen_kinds(opened.snapshot, nodes, opened.view.visible) & np.uint8(7)


def count_kinds(opened: Opened, nodes: Array) -> dict[str, int]:
    """Count nodes by kind; kinds without any are left out."""
    return counts_of(kinds_of(opened, nodes))


def counts_of(kinds: Array) -> dict[str, int]:
    """Count kind codes by name; kinds without any are left out."""
    counted = np.bincount(kinds, minlength=len(KINDS))
    return {kind.value: int(counted[place]) for place, kind in enumerate(KINDS) if counted[place]}
