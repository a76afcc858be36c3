# mypy: disable-error-code="arg-type,assignment,return-value"

"""What nodes are to one reader: of what documents call each, the best that she may see; compiled.

Same answers as :func:`mc_pipelines.provenance.walk.kind_seen`. Mostly a byte is looked up. Only of a node of which
documents say different things, to a reader from whom anything is hidden, it is asked which of them she may see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.described import KIND_AND_STUB, SEVERAL
from mc_pipelines.provenance.offsets import offset_at, offset_count
from mc_pipelines.provenance.rank import KIND_OF, ORDER_OF, ORDERS
from mc_pipelines.provenance.sight import Sight, sight_of
from mc_pipelines.provenance.snapshot import SHARED_BIT, Part, Rows, Side, Snapshot, position_of, shared_number
from mc_pipelines.provenance.walk import Visible, kind_seen

Array = NDArray[Any]
_SEGMENT_BITS = SHARED_BIT - 1
_NONE = -1
"""The order of no description at all."""


@compiled
def _best_row(rows: Rows, node: int, mask: Array) -> int:
    """Return the order of the best visible row of a node."""
    best = np.int64(ORDERS)
    place = position_of(rows.owners, 0, len(rows.owners), node)
    if place >= 0:
        for at in range(rows.start[place], rows.start[place + 1]):
            if mask[rows.seq[at]]:
                best = np.int64(rows.entries[at])
                break
    for segment in range(len(rows.bounds) - 1):
        place = position_of(rows.more_owners, rows.bounds[segment], rows.bounds[segment + 1], node)
        if place >= 0:
            for at in range(rows.first[place], rows.first[place + 1]):
                if rows.more[at] >= best:
                    break
                if mask[rows.more_seq[at]]:
                    best = np.int64(rows.more[at])
                    break
    return ORDERS - 1 - best  # _NONE where there is none


@compiled
def _has_visible(side: Side, node: int, bits: int, mask: Array) -> bool:
    """Tell whether any entry of a node's lists in one direction is visible."""
    if node + 1 < offset_count(side.start):
        begin, place = offset_at(side.start, node), offset_at(side.start, node + 1) - 1
        while place >= begin:
            if mask[side.seq[place]]:
                return True
            place -= 1
    segment = 0
    while bits:
        if bits & 1:
            owner = position_of(side.owners, side.bounds[segment], side.bounds[segment + 1], node)
            if owner >= 0:
                for place in range(side.first[owner], side.first[owner + 1]):
                    if mask[side.more_seq[place]]:
                        return True
        bits >>= 1
        segment += 1
    return False


@compiled
def _order_in(part: Part, node: int, mask: Array) -> int:
    """Return the order of the best visible description of a node in one partition."""
    best = _best_row(part.said, node, mask)
    kind = np.int64(part.kind[node])
    if kind & SEVERAL or best != _NONE:
        return best
    bits = np.int64(part.touched[node]) & _SEGMENT_BITS
    if _has_visible(part.up, node, bits, mask) or _has_visible(part.down, node, bits, mask):
        return np.int64(ORDER_OF[kind])
    return _NONE


@compiled
def judged_kind(node: int, sight: Sight) -> int:
    """Return the kind, plus 8 for a stub, of a node marked SEVERAL; a package's stub where nothing visible names it."""
    if node >= sight.own_nodes:
        return np.int64(KIND_OF[max(0, _best_row(sight.shared.said, node - sight.own_nodes, sight.shared_mask))])
    if not sight.part.touched[node] & SHARED_BIT:
        return np.int64(KIND_OF[max(0, _best_row(sight.part.said, node, sight.own_mask))])
    there = shared_number(sight.common, node)
    own_best, shared_best = (
        ORDER_OF[sight.part.kind[node] & KIND_AND_STUB],
        ORDER_OF[sight.shared.kind[there] & KIND_AND_STUB],
    )
    if own_best >= shared_best:
        best = _order_in(sight.part, node, sight.own_mask)
        if best < shared_best:
            best = max(best, _order_in(sight.shared, there, sight.shared_mask))
    else:
        best = _order_in(sight.shared, there, sight.shared_mask)
        if best < own_best:
            best = max(best, _order_in(sight.part, node, sight.own_mask))
    return np.int64(KIND_OF[max(0, best)])


@compiled
def _seen_kinds(nodes: Array, sight: Sight, out: Array) -> None:
    own_kinds, shared_kinds = sight.common.kind, sight.shared.kind
    for row in range(len(nodes)):
        node = np.int64(nodes[row])
        kind = own_kinds[node] if node < sight.own_nodes else shared_kinds[node - sight.own_nodes]
        out[row] = kind & KIND_AND_STUB
        if kind & SEVERAL and not sight.everything:  # apart, because a call costs more than all of the above
            out[row] = judged_kind(node, sight)


def seen_kinds(snapshot: Snapshot, nodes: Array, visible: Visible) -> Array:
    """Return what nodes, of which some visible document tells, are to a reader: the kind, plus 8 for a stub.

    Args:
        snapshot: the graph.
        nodes: their numbers.
        visible: which events may be read.
    """
    if not COMPILES:
        return np.array([kind_seen(snapshot, int(node), visible) for node in nodes], dtype=np.uint8)
    numbers = np.ascontiguousarray(nodes, dtype=np.int32)
    out = np.empty(len(numbers), dtype=np.uint8)
    _seen_kinds(
        numbers,
        sight_of(snapshot, visible),
        out,
    )
    return out
