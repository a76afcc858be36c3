"""Offsets of a generation in a little over two bytes a node instead of four.

Where the entries of a node begin is kept for every 32nd node in full; the others say in two bytes how much further
on theirs begin. What does not fit (behind a node with tens of thousands of entries, at most 31 nodes each) is looked
up in a short sorted list. Full offsets are few enough to stay in the cache, so that none costs more than before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled

Array = NDArray[Any]
_BITS = 5
"""Binary logarithm of how many nodes share a full offset."""
_FAR = 0xFFFF
"""Says that an offset is too far from its full one for two bytes."""


class Offsets(NamedTuple):
    """Packed ascending offsets.

    Attributes:
        full: of every 32nd, uint32.
        rest: how much more each is, uint16; 65,535 for one that is in the list.
        far: which are in the list, ascending, uint32.
        far_start: those offsets, uint32.
    """

    full: Array
    rest: Array
    far: Array
    far_start: Array


def pack_offsets(name: str, starts: Array) -> dict[str, Array]:
    """Return the sections ``<name>_start``, ``_rest``, ``_far`` and ``_far_start`` of ascending offsets (uint32)."""
    full = np.ascontiguousarray(starts[:: 1 << _BITS], dtype=np.uint32)
    more = starts - np.repeat(full, 1 << _BITS)[: len(starts)]
    far = np.flatnonzero(more >= _FAR)
    rest = np.minimum(more, _FAR).astype(np.uint16)
    return {
        f"{name}_start": full,
        f"{name}_rest": rest,
        f"{name}_far": far.astype(np.uint32),
        f"{name}_far_start": starts[far].astype(np.uint32),
    }


def offsets_of(sections: Mapping[str, Array], name: str) -> Offsets:
    """Return the packed offsets that a generation keeps under a name."""
    return Offsets(*(sections[f"{name}_{part}"] for part in ("start", "rest", "far", "far_start")))


def unpack_offsets(offsets: Offsets) -> Array:
    """Return all offsets, uint32; for work that reads every one."""
    starts = np.repeat(offsets.full, 1 << _BITS)[: len(offsets.rest)] + offsets.rest
    starts[offsets.far] = offsets.far_start
    return starts


@compiled
def _far_offset(far: Array, far_start: Array, place: int) -> Any:
    low, high = 0, len(far) - 1
    while low < high:
        middle = (low + high) >> 1
        if far[middle] < place:
            low = middle + 1
        else:
            high = middle
    return np.int64(far_start[low])


@compiled
def offset_at(offsets: Offsets, place: int) -> Any:
    """Return one offset; what is rare is apart, so that the rest is compiled into its callers."""
    more = offsets.rest[place]
    if more == _FAR:
        return _far_offset(offsets.far, offsets.far_start, place)
    return np.int64(offsets.full[place >> _BITS]) + np.int64(more)
