# Numba infers the integers of compiled loops.
# mypy: disable-error-code="assignment"
"""Hashes of a generation's commitment, many at a time: BLAKE2b-256 (RFC 7693) over messages of 64-bit words, compiled.

The tree is that of RFC 6962 section 2.1 with prefixes of eight bytes, so that every message is whole words (all numbers
little-endian):

- an *entry* is 40 bytes: the neighbour's key (16), the event that claims it (uint32), the label of its document
  (uint16), type (uint8), a zero, and from when until when the claim holds (int64 each, microseconds since 1970);
- a *list* is ``H(tag, 3 zeros, number of entries (uint32), entries)`` with tag 2 towards ancestors and 3 towards
  descendants, its entries as the generation has them: by the neighbour's number (first mention), type, event;
- a *leaf* is ``H(8 zeros, the node's key, its list towards ancestors, its list towards descendants)``;
- an *inner node* is ``H(1, 7 zeros, left, right)``; the last of an odd row goes up as it is.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.key_hash import BLAKE2B_IV, BLAKE2B_SIGMA

Array = NDArray[Any]
ENTRY = struct.Struct("<16sIHBxqq")
LIST = struct.Struct("<B3xI")
LEAF_PREFIX, NODE_PREFIX = bytes(8), b"\x01" + bytes(7)
ANCESTORS_TAG, DESCENDANTS_TAG = 2, 3
_ENTRY_WORDS = 5
_BLOCK_WORDS = 16
_PARAMETERS = 0x01010020  # fan-out 1, depth 1, no key, 32 bytes of digest


class Lists(NamedTuple):
    """The lists of some nodes in one direction.

    Attributes:
        bounds: where each node's begin; int64, one more than nodes.
        keys: of the neighbours, as two words of their bytes each; uint64.
        code: types; uint8.
        seq: events; uint32.
    """

    bounds: Array
    keys: Array
    code: Array
    seq: Array


class Events(NamedTuple):
    """What entries say by their event: label (uint16), from when and until when claims hold (int64, microseconds)."""

    label: Array
    begin: Array
    end: Array


@compiled
def _mixed(a: Any, b: Any, c: Any, d: Any, x: Any, y: Any) -> Any:
    a = a + b + x
    d ^= a
    d = d >> np.uint64(32) | d << np.uint64(32)
    c += d
    b ^= c
    b = b >> np.uint64(24) | b << np.uint64(40)
    a = a + b + y
    d ^= a
    d = d >> np.uint64(16) | d << np.uint64(48)
    c += d
    b ^= c
    b = b >> np.uint64(63) | b << np.uint64(1)
    return a, b, c, d


@compiled
def _compress(state: Array, m: Array, length: int, last: bool, iv: Array, sigma: Array) -> None:
    """As in :mod:`mc_pipelines.provenance.key_hash`, with the work in registers."""
    v0, v1, v2, v3 = state[0], state[1], state[2], state[3]
    v4, v5, v6, v7 = state[4], state[5], state[6], state[7]
    v8, v9, v10, v11 = iv[0], iv[1], iv[2], iv[3]
    v12, v13, v14, v15 = iv[4] ^ np.uint64(length), iv[5], iv[6], iv[7]
    if last:
        v14 = ~v14
    for turn in range(12):
        s = sigma[turn]
        v0, v4, v8, v12 = _mixed(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mixed(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mixed(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mixed(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mixed(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mixed(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mixed(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mixed(v3, v4, v9, v14, m[s[14]], m[s[15]])
    state[0] ^= v0 ^ v8
    state[1] ^= v1 ^ v9
    state[2] ^= v2 ^ v10
    state[3] ^= v3 ^ v11
    state[4] ^= v4 ^ v12
    state[5] ^= v5 ^ v13
    state[6] ^= v6 ^ v14
    state[7] ^= v7 ^ v15


@compiled
def _hash(message: Array, count: int, out: Array, state: Array, block: Array, iv: Array, sigma: Array) -> None:
    """Write the digest of the first ``count`` words (at least one) of a message into four words."""
    state[:] = iv
    state[0] ^= np.uint64(_PARAMETERS)
    done = 0
    while done < count:
        here = min(_BLOCK_WORDS, count - done)
        for place in range(here):
            block[place] = message[done + place]
        for place in range(here, _BLOCK_WORDS):
            block[place] = np.uint64(0)
        done += here
        _compress(state, block, 8 * done, done == count, iv, sigma)
    for place in range(4):
        out[place] = state[place]


@compiled
def _fill_list(message: Array, lists: Lists, node: int, tag: int, events: Events) -> int:
    begin, end = lists.bounds[node], lists.bounds[node + 1]
    message[0] = np.uint64(tag) | np.uint64(end - begin) << np.uint64(32)
    at = 1
    for place in range(begin, end):
        seq = np.int64(lists.seq[place])
        message[at] = lists.keys[place, 0]
        message[at + 1] = lists.keys[place, 1]
        code = np.uint64(lists.code[place]) << np.uint64(48)
        message[at + 2] = code | np.uint64(events.label[seq]) << np.uint64(32) | np.uint64(seq)
        message[at + 3] = np.uint64(events.begin[seq])
        message[at + 4] = np.uint64(events.end[seq])
        at += _ENTRY_WORDS
    return at


@compiled
def _leaves(keys: Array, up: Lists, down: Lists, events: Events, iv: Array, sigma: Array) -> tuple[Array, Array]:
    longest = 11
    for node in range(len(keys)):
        longest = max(longest, 1 + _ENTRY_WORDS * (up.bounds[node + 1] - up.bounds[node]))
        longest = max(longest, 1 + _ENTRY_WORDS * (down.bounds[node + 1] - down.bounds[node]))
    message, state, block = np.empty(longest, np.uint64), np.empty(8, np.uint64), np.empty(_BLOCK_WORDS, np.uint64)
    made, digests = np.empty((len(keys), 4), np.uint64), np.empty((len(keys), 8), np.uint64)
    empty = np.empty((2, 4), np.uint64)  # a list without entries, which most nodes have in one direction
    for tag in (2, 3):
        message[0] = np.uint64(tag)
        _hash(message, 1, empty[tag - 2], state, block, iv, sigma)
    for node in range(len(keys)):
        if up.bounds[node] == up.bounds[node + 1]:
            digests[node, :4] = empty[0]
        else:
            _hash(message, _fill_list(message, up, node, 2, events), digests[node, :4], state, block, iv, sigma)
        if down.bounds[node] == down.bounds[node + 1]:
            digests[node, 4:] = empty[1]
        else:
            _hash(message, _fill_list(message, down, node, 3, events), digests[node, 4:], state, block, iv, sigma)
        message[0] = np.uint64(0)
        message[1], message[2] = keys[node, 0], keys[node, 1]
        message[3:11] = digests[node]
        _hash(message, 11, made[node], state, block, iv, sigma)
    return made, digests


@compiled
def _parents(row: Array, iv: Array, sigma: Array) -> Array:
    count = (len(row) + 1) // 2
    above = np.empty((count, 4), np.uint64)
    message, state, block = np.empty(9, np.uint64), np.empty(8, np.uint64), np.empty(_BLOCK_WORDS, np.uint64)
    message[0] = np.uint64(1)
    for place in range(count):
        if 2 * place + 1 == len(row):
            above[place] = row[2 * place]
        else:
            message[1:5] = row[2 * place]
            message[5:9] = row[2 * place + 1]
            _hash(message, 9, above[place], state, block, iv, sigma)
    return above


def leaf_hashes(keys: Array, up: Lists, down: Lists, events: Events) -> tuple[Array, Array]:
    """Return the leaf of each node (four words), and the digests of its two lists (eight words).

    Args:
        keys: of the nodes, as two words of their bytes each.
        up: their lists towards ancestors.
        down: their lists towards descendants.
        events: what the entries' events say.
    """
    if COMPILES:
        made: tuple[Array, Array] = _leaves(keys, up, down, events, BLAKE2B_IV, BLAKE2B_SIGMA)
        return made
    leaves, digests = [], []
    for node in range(len(keys)):
        both = b"".join(
            list_digest(tag, _entries(lists, node, events))
            for tag, lists in ((ANCESTORS_TAG, up), (DESCENDANTS_TAG, down))
        )
        digests.append(both)
        leaves.append(_digest(LEAF_PREFIX + keys[node].tobytes() + both))
    return _words(leaves, 4), _words(digests, 8)


def parents(row: Array) -> Array:
    """Return the row of a tree above a row of hashes (four words each)."""
    if COMPILES:
        made: Array = _parents(np.ascontiguousarray(row), BLAKE2B_IV, BLAKE2B_SIGMA)
        return made
    pairs = [row[place : place + 2] for place in range(0, len(row), 2)]
    return _words([_digest(NODE_PREFIX + p.tobytes()) if len(p) > 1 else p.tobytes() for p in pairs], 4)


def list_digest(tag: int, entries: bytes) -> bytes:
    """Return the digest of a list: its tag, and its entries packed by :data:`ENTRY`."""
    return _digest(LIST.pack(tag, len(entries) // ENTRY.size) + entries)


def _entries(lists: Lists, node: int, events: Events) -> bytes:
    packed = []
    for place in range(int(lists.bounds[node]), int(lists.bounds[node + 1])):
        seq = int(lists.seq[place])
        said = int(events.label[seq]), int(lists.code[place]), int(events.begin[seq]), int(events.end[seq])
        packed.append(ENTRY.pack(lists.keys[place].tobytes(), seq, *said))
    return b"".join(packed)


def _digest(message: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=32).digest()


def _words(hashes: list[bytes], each: int) -> Array:
    return np.frombuffer(b"".join(hashes), dtype="<u8").astype(np.uint64).reshape(-1, each)
