"""From edges to sorted adjacency: numbering of keys, lists of both directions, and the index of keys.

Numbers are given in order of first mention in the log, so they are the same whoever builds, and a compaction
only appends. All functions are deterministic: the same rows give the same arrays.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance import log_reader
from mc_pipelines.provenance.compiling import compiled
from mc_pipelines.provenance.offsets import pack_offsets

Array = NDArray[Any]
_SHORT = 24
"""Lists up to this length are sorted by insertion."""


@compiled
def number_keys(high: Array, low: Array, table: Array, keys_high: Array, keys_low: Array, known: int) -> Array:
    """Return the number of each key, giving new numbers from ``known`` on in order of appearance.

    Args:
        high: first eight bytes of each key, as uint64.
        low: last eight bytes.
        table: open addressing, int32, a power of two at least twice the keys; -1 = free; changed.
        keys_high: the keys by number; changed.
        keys_low: the same for the last eight bytes; changed.
        known: how many numbers are given already.
    """
    mask = len(table) - 1
    numbers = np.empty(len(high), dtype=np.int32)
    for row in range(len(high)):
        slot = np.int64(high[row] & np.uint64(mask))
        while True:
            number = table[slot]
            if number < 0:
                number = known
                table[slot] = number
                keys_high[number] = high[row]
                keys_low[number] = low[row]
                known += 1
                break
            if keys_high[number] == high[row] and keys_low[number] == low[row]:
                break
            slot = (slot + 1) & mask
        numbers[row] = number
    return numbers


def number_ends(claims: log_reader.Claims) -> tuple[Array, Array, Array, Array]:
    """Number the ends of claims in order of first mention: keys (high, low), hash table, number of each end."""
    rows = len(claims.seq)
    high, low = np.empty(2 * rows, dtype=np.uint64), np.empty(2 * rows, dtype=np.uint64)
    high[0::2], high[1::2] = claims.source_high, claims.target_high
    low[0::2], low[1::2] = claims.source_low, claims.target_low
    table = np.full(1 << max(4, (2 * rows).bit_length()), -1, dtype=np.int32)
    keys_high, keys_low = np.empty(2 * rows, dtype=np.uint64), np.empty(2 * rows, dtype=np.uint64)
    numbers = number_keys(high, low, table, keys_high, keys_low, 0)
    count = int(numbers.max()) + 1 if rows else 0
    return keys_high[:count].copy(), keys_low[:count].copy(), table, numbers


@compiled
def find_keys(high: Array, low: Array, table: Array, keys_high: Array, keys_low: Array) -> Array:
    """Return the number of each key, -1 for one without."""
    mask = len(table) - 1
    numbers = np.empty(len(high), dtype=np.int32)
    for row in range(len(high)):
        slot = np.int64(high[row] & np.uint64(mask))
        number = table[slot]
        while number >= 0 and not (keys_high[number] == high[row] and keys_low[number] == low[row]):
            slot = (slot + 1) & mask
            number = table[slot]
        numbers[row] = number
    return numbers


@compiled
def _fill(owner: Array, value: Array, seq: Array, count: int) -> tuple[Array, Array]:
    start = np.zeros(count + 1, dtype=np.int64)
    for row in range(len(owner)):
        start[owner[row] + 1] += 1
    for node in range(count):
        start[node + 1] += start[node]
    place = start[:-1].copy()
    entries = np.empty(len(owner), dtype=np.uint64)
    for row in range(len(owner)):
        node = owner[row]
        entries[place[node]] = np.uint64(value[row]) << np.uint64(32) | np.uint64(seq[row])
        place[node] += 1
    return start, entries


@compiled
def _sort_list(entries: Array, begin: int, end: int) -> None:
    if end - begin > _SHORT:
        entries[begin:end].sort()
        return
    for place in range(begin + 1, end):
        entry = entries[place]
        before = place - 1
        while before >= begin and entries[before] > entry:
            entries[before + 1] = entries[before]
            before -= 1
        entries[before + 1] = entry


@compiled
def _finish(
    start: Array, entries: Array, permanent: Array, label: Array, valid_from: Array
) -> tuple[Array, Array, Array]:
    count = len(start) - 1
    out_start = np.zeros(count + 1, dtype=np.uint32)
    out = np.empty(len(entries), dtype=np.uint32)
    out_seq = np.empty(len(entries), dtype=np.uint32)
    at = 0
    for node in range(count):
        begin, end = start[node], start[node + 1]
        _sort_list(entries, begin, end)
        first = at
        for place in range(begin, end):
            value = np.uint32(entries[place] >> np.uint64(32))
            seq = np.uint32(entries[place] & np.uint64(0xFFFFFFFF))
            implied = False
            earlier = at - 1
            while earlier >= first and out[earlier] == value and not implied:
                old = out_seq[earlier]
                implied = permanent[old] and label[old] == label[seq] and valid_from[old] <= valid_from[seq]
                earlier -= 1
            if not implied:
                out[at] = value
                out_seq[at] = seq
                at += 1
        out_start[node + 1] = at
    return out_start, out[:at].copy(), out_seq[:at].copy()


def build_lists(
    source: Array, target: Array, kind: Array, seq: Array, count: int, documents: dict[str, Array]
) -> dict[str, Array]:
    """Return the adjacency sections of ``count`` nodes.

    A claim of an edge that an earlier one makes already, under the same label, from as early on and for ever,
    is dropped; any other claim stays as a parallel entry, since one of them may end while the other holds.

    Args:
        source: number of each edge's source.
        target: number of its target.
        kind: its type code; 0 (uses) leads from source to an ancestor, any other to a descendant.
        seq: the event that claimed it.
        count: how many nodes there are.
        documents: ``permanent``, ``label``, ``valid_from`` by event.
    """
    uses = kind == 0
    lower, upper = np.where(uses, source, target), np.where(uses, target, source)
    code = kind.astype(np.uint32)

    def one(owner: Array, neighbour: Array) -> tuple[Array, Array, Array]:
        value = neighbour.astype(np.uint32) << np.uint32(2) | code
        start, entries = _fill(owner, value, seq, count)
        finished: tuple[Array, Array, Array] = _finish(
            start, entries, documents["permanent"], documents["label"], documents["valid_from"]
        )
        return finished

    with ThreadPoolExecutor(2) as pool:
        up, down = pool.map(one, (lower, upper), (upper, lower))
    return {
        "up_start": pack_offsets(up[0]),
        "up": up[1],
        "down_start": pack_offsets(down[0]),
        "down": down[1],
        "up_seq": up[2],
        "down_seq": down[2],
    }


def index_keys(keys_high: Array) -> dict[str, Array]:
    """Return the sections that find a node by its key: ``bucket``, ``by_key`` and ``check``."""
    count = len(keys_high)
    bits = max(1, min(30, int(count // 16).bit_length()))
    order = np.argsort(keys_high, kind="stable").astype(np.uint32)
    ordered = keys_high[order]
    edges = np.arange(2**bits + 1, dtype=np.uint64) << np.uint64(64 - bits)
    bucket = np.searchsorted(ordered, edges[:-1]).astype(np.uint32)
    bucket = np.append(bucket, np.uint32(count))
    check = (ordered & np.uint64(0xFF)).astype(np.uint8)
    return {"bucket": bucket, "by_key": order, "check": check}


@compiled
def candidates(high: Array, bucket: Array, check: Array, by_key: Array) -> tuple[Array, Array]:
    """Return rows of keys and the nodes that may be theirs; which one is, only the whole key tells."""
    bits = 0
    while (1 << bits) + 1 < len(bucket):
        bits += 1
    shift = np.uint64(64 - bits)
    rows = np.empty(2 * len(high) + 16, dtype=np.int64)
    nodes = np.empty(len(rows), dtype=np.int64)
    count = 0
    for row in range(len(high)):
        slot = np.int64(high[row] >> shift)
        wanted = np.uint8(high[row] & np.uint64(0xFF))
        for place in range(bucket[slot], bucket[slot + 1]):
            if check[place] == wanted:
                if count == len(rows):
                    rows = np.append(rows, np.empty(count, dtype=np.int64))
                    nodes = np.append(nodes, np.empty(count, dtype=np.int64))
                rows[count] = row
                nodes[count] = by_key[place]
                count += 1
    return rows[:count].copy(), nodes[:count].copy()
