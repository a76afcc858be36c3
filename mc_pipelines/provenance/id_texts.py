# Numba infers the integers of compiled loops.
# mypy: disable-error-code="return-value,arg-type"
# ruff: noqa: FBT003 - what compiles takes no keywords
"""The ids of some nodes of a snapshot as text, together: one call into compiled code instead of one for each.

Offsets of a generation are packed, see :mod:`mc_pipelines.provenance.offsets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.id_codec import put_id
from mc_pipelines.provenance.offsets import offset_at, offset_count
from mc_pipelines.provenance.snapshot import Names, Part, Snapshot

Array = NDArray[Any]
_LONGEST = 4 * 4096 + 256
"""Bytes of the longest id (4,096 characters of UTF-8)."""


@compiled
def _put(names: Names, node: int, out: Array, at: int) -> int:
    generation = offset_count(names.start) - 1
    if node < generation:
        begin, end = offset_at(names.start, node), offset_at(names.start, node + 1)
        return put_id(out, at, names.ids, begin, end, names.prefixes, names.prefix_start, False)
    node -= generation
    begin, end = np.int64(names.more_start[node]), np.int64(names.more_start[node + 1])
    return put_id(out, at, names.more_ids, begin, end, names.prefixes, names.prefix_start, False)


@compiled
def _put_all(nodes: Array, own: int, part: Part, shared: Part, out: Array, ends: Array) -> int:
    """Write ids behind each other and where each ends; return how many there was room for."""
    at = 0
    for row in range(len(nodes)):
        if at + _LONGEST > len(out):
            return row
        node = np.int64(nodes[row])
        at = _put(part.names, node, out, at) if node < own else _put(shared.names, node - own, out, at)
        ends[row + 1] = at
    return len(nodes)


def ids_of(snapshot: Snapshot, numbers: Array | Sequence[int]) -> list[str]:
    """Return the ids of nodes, in the order of their numbers as given."""
    nodes = np.ascontiguousarray(numbers, dtype=np.int64)
    if not COMPILES:
        return [snapshot.id_of(int(number)) for number in nodes]
    found: list[str] = []
    out = np.empty(_LONGEST + 256 * len(nodes), dtype=np.uint8)
    while len(found) < len(nodes):
        rest = nodes[len(found) :]
        ends = np.zeros(len(rest) + 1, dtype=np.int64)
        done = _put_all(rest, snapshot.own.nodes, snapshot.part, snapshot.shared_part, out, ends)
        text = out[: ends[done]].tobytes()
        found += [text[begin:end].decode() for begin, end in pairwise(ends[: done + 1].tolist())]
    return found
