# Numba infers the integers of compiled loops.
# mypy: disable-error-code="assignment"
"""Keys of nodes from their encoded ids, many at a time: BLAKE2b (RFC 7693) compiled, as ``node_key`` computes it.

The store keeps no keys beside ids, so whether a candidate of the index is the node asked for is decided by
hashing its id again; 50,000 of those at once must not take a Python call each.

Offsets of a generation are packed, see :mod:`mc_pipelines.provenance.offsets`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.id_codec import decode_id, put_id, unshared
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.offsets import offset_at

Array = NDArray[Any]
BLAKE2B_IV = np.array(
    [
        *(0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
        *(0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
    ],
    dtype=np.uint64,
)
BLAKE2B_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    dtype=np.uint8,
)
_LANES = np.array(
    [
        *([0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]),
        *([0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]),
    ],
    dtype=np.uint8,
)
_BLOCK = 128
_LONGEST_TEXT = 4 * 4096 + 256
"""Bytes of the longest id (4,096 characters of UTF-8)."""


@compiled
def _rotated(word: int, by: int) -> Any:
    return word >> np.uint64(by) | word << np.uint64(64 - by)


@compiled
def _compress(state: Array, words: Array, work: Array, length: int, last: bool, iv: Array) -> None:
    for place in range(8):
        work[place] = state[place]
        work[place + 8] = iv[place]
    work[12] ^= np.uint64(length)
    if last:
        work[14] = ~work[14]
    for turn in range(12):
        for lane in range(8):
            a, b, c, d = _LANES[lane]
            work[a] = work[a] + work[b] + words[BLAKE2B_SIGMA[turn, 2 * lane]]
            work[d] = _rotated(work[d] ^ work[a], 32)
            work[c] = work[c] + work[d]
            work[b] = _rotated(work[b] ^ work[c], 24)
            work[a] = work[a] + work[b] + words[BLAKE2B_SIGMA[turn, 2 * lane + 1]]
            work[d] = _rotated(work[d] ^ work[a], 16)
            work[c] = work[c] + work[d]
            work[b] = _rotated(work[b] ^ work[c], 63)
    for place in range(8):
        state[place] ^= work[place] ^ work[place + 8]


@compiled
def _hash(text: Array, length: int, state: Array, words: Array, work: Array, iv: Array) -> None:
    for place in range(8):
        state[place] = iv[place]
    state[0] ^= np.uint64(0x01010010)  # fan-out 1, depth 1, no key, 16 bytes of digest
    done = 0
    while True:
        here = min(_BLOCK, length - done)
        for place in range(16):
            word = np.uint64(0)
            for byte in range(7, -1, -1):
                at = 8 * place + byte
                word = word << np.uint64(8)
                if at < here:
                    word |= np.uint64(text[done + at])
            words[place] = word
        done += here
        _compress(state, words, work, done, done == length, iv)
        if done == length:
            return


@compiled
def _swapped(word: int) -> Any:
    out = np.uint64(0)
    for _ in range(8):
        out = out << np.uint64(8) | word & np.uint64(0xFF)
        word = word >> np.uint64(8)
    return out


@compiled
def _keys(ids: Array, start: Array, rows: Array, prefixes: Array, prefix_start: Array, iv: Array) -> Array:
    keys = np.empty((len(rows), 2), dtype=np.uint64)
    text = np.empty(_LONGEST_TEXT, dtype=np.uint8)
    state, words, work = np.empty(8, np.uint64), np.empty(16, np.uint64), np.empty(16, np.uint64)
    for row in range(len(rows)):
        node = rows[row]
        begin, end = offset_at(start, node), offset_at(start, node + 1)
        length = put_id(text, 0, ids, begin, end, prefixes, prefix_start, False)  # noqa: FBT003
        _hash(text, length, state, words, work, iv)
        keys[row, 0], keys[row, 1] = _swapped(state[0]), _swapped(state[1])
    return keys


def keys_of(ids: Array, start: Array, rows: Array, prefixes: Array, prefix_start: Array) -> Array:
    """Return the keys (rows of two uint64, big-endian halves) of encoded ids.

    Args:
        ids: encoded ids, one after the other.
        start: where each begins; one more than ids, packed.
        rows: which of them.
        prefixes: the generation's table of prefixes.
        prefix_start: where each begins in it.
    """
    if COMPILES:
        made: Array = _keys(ids, start, rows, prefixes, prefix_start, BLAKE2B_IV)
        return made
    spans = [(offset_at(start, row), offset_at(start, row + 1)) for row in rows]
    encoded = [unshared(ids[begin:end].tobytes(), prefixes, prefix_start) for begin, end in spans]
    keys = [node_key(decode_id(each)) for each in encoded]
    return np.frombuffer(b"".join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
