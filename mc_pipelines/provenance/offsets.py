"""Offsets of a generation in a little over two bytes a node instead of four.

A line of 64 bytes holds thirty offsets: the first in full, and how much further on each of the thirty is, in two bytes.
So an offset costs one line of the cache, and the one after it is mostly in the same. What does not fit in two bytes
(behind a node with tens of thousands of entries, at most 29 offsets each) is looked up in a short sorted list at the
end.

All in one array of uint16, because the walk hands its arrays on at every step: a line of header (how many offsets, how
many are in the list; 32 bits each, low half first), the lines, the places in the list, and their offsets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled

Array = NDArray[Any]
_LINE = 32
"""Numbers of two bytes in a line of the cache."""
_HELD = 30
"""Offsets of a line; the other two places are the full one."""
_FAR = 0xFFFF
"""Says that an offset is too far from its full one for two bytes."""


def pack_offsets(starts: Array) -> Array:
    """Return ascending offsets (uint32) packed."""
    count, lines = len(starts), -(-len(starts) // _HELD)
    full = np.ascontiguousarray(starts[::_HELD], dtype=np.uint32)
    more = starts - np.repeat(full, _HELD)[:count]
    far = np.flatnonzero(more >= _FAR)
    body = np.zeros((lines, _LINE), dtype=np.uint16)
    body[:, :2] = _halves(full).reshape(-1, 2)
    rest = np.zeros(lines * _HELD, dtype=np.uint16)
    rest[:count] = np.minimum(more, _FAR)
    body[:, 2:] = rest.reshape(-1, _HELD)
    header = np.zeros(_LINE, dtype=np.uint16)
    header[:4] = _halves(np.array([count, len(far)]))
    return np.concatenate([header, body.ravel(), _halves(far), _halves(starts[far])])


def unpack_offsets(packed: Array) -> Array:
    """Return all offsets, uint32; for work that reads every one."""
    count, listed = (int(each) for each in _wholes(packed[:4]))
    end = _LINE * (1 + -(-count // _HELD))
    body = packed[_LINE:end].reshape(-1, _LINE)
    full = _wholes(np.ascontiguousarray(body[:, :2]).ravel())
    starts = (full[:, None] + body[:, 2:]).ravel()[:count]
    starts[_wholes(packed[end : end + 2 * listed])] = _wholes(packed[end + 2 * listed : end + 4 * listed])
    return np.ascontiguousarray(starts, dtype=np.uint32)


@compiled
def offset_count(packed: Array) -> Any:
    """Return how many offsets there are: one more than nodes."""
    return np.int64(packed[0]) | np.int64(packed[1]) << 16


@compiled
def _far_offset(packed: Array, place: int) -> Any:
    count = np.int64(packed[0]) | np.int64(packed[1]) << 16
    listed = np.int64(packed[2]) | np.int64(packed[3]) << 16
    begin = _LINE * (1 + (count + _HELD - 1) // _HELD)
    low, high = np.int64(0), listed - 1
    while low < high:
        middle = (low + high) >> 1
        at = begin + 2 * middle
        if (np.int64(packed[at]) | np.int64(packed[at + 1]) << 16) < place:
            low = middle + 1
        else:
            high = middle
    at = begin + 2 * (listed + low)
    return np.int64(packed[at]) | np.int64(packed[at + 1]) << 16


@compiled
def offset_at(packed: Array, place: int) -> Any:
    """Return one offset; what is rare is apart, so that the rest is compiled into its callers."""
    line = np.uint64(place) // np.uint64(_HELD)
    at = _LINE * (np.int64(line) + 1)
    more = np.int64(packed[at + 2 + place - _HELD * np.int64(line)])
    if more == _FAR:
        return _far_offset(packed, place)
    return more + (np.int64(packed[at]) | np.int64(packed[at + 1]) << 16)


def _halves(numbers: Array) -> Array:
    return np.ascontiguousarray(numbers, dtype="<u4").view("<u2").astype(np.uint16, copy=False)


def _wholes(halves: Array) -> Array:
    return np.ascontiguousarray(halves, dtype="<u2").view("<u4").astype(np.uint32, copy=False)


@compiled
def _offsets_at(packed: Array, places: Array) -> Array:
    found = np.empty(len(places), dtype=np.int64)
    for row in range(len(places)):
        found[row] = offset_at(packed, places[row])
    return found


def offsets_at(packed: Array, places: Array) -> Array:
    """Return many offsets; ``places`` are int64."""
    found: Array = _offsets_at(packed, np.ascontiguousarray(places, dtype=np.int64))
    return found
