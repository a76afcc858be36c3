# Numba infers the integers of compiled loops.
# mypy: disable-error-code="return-value,assignment"
"""From edges to sorted adjacency: numbering of keys, lists of both directions, and the index of keys.

Numbers are given in order of first mention in the log, so they are the same whoever builds, and a compaction
only appends. All functions are deterministic: the same rows give the same arrays.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled
from mc_pipelines.provenance.offsets import pack_offsets
from mc_pipelines.provenance.records import TYPE_MENTIONS

Array = NDArray[Any]
_SHORT = 24
"""Lists up to this length are sorted by insertion."""
_AHEAD = 256
"""Keys whose memory is asked for before the first of them is looked at."""
_FULL = 0.6
"""Share of a hash table that may be taken."""


@compiled
def _look_ahead(ends: Array, begin: int, until: int, table: Array, keys: Array, numbers: Array) -> Any:
    """Look at the slots of some keys and then at what stands there, so that the memory is waited for together.

    What is returned means nothing, but callers hand it on, or the compiler would not look.
    """
    seen = np.uint64(0)
    for row in range(begin, until):
        numbers[row] = table[np.int64(ends[row, 0] & np.uint64(len(table) - 1))]
    for row in range(begin, until):
        seen |= keys[max(numbers[row], 0), 0]
    return seen


@compiled
def _slot_of(high: int, low: int, table: Array, keys: Array) -> Any:
    """Return the slot of a key: where its number stands, or the free one where it belongs."""
    mask = np.int64(len(table) - 1)
    slot = np.int64(high & np.uint64(mask))
    number = table[slot]
    while number >= 0 and not (keys[number, 0] == high and keys[number, 1] == low):
        slot = (slot + 1) & mask
        number = table[slot]
    return slot


@compiled
def _number(ends: Array, table: Array, keys: Array, known: int) -> tuple[Array, int, Any]:
    """Return the number of each key, new ones from ``known`` on in order of appearance, and how many there are then.

    Args:
        ends: keys (high, low), uint64.
        table: open addressing, int32, a power of two; -1 = free; changed.
        keys: the keys by number; changed.
        known: how many numbers are given already.
    """
    numbers = np.empty(len(ends), dtype=np.int32)
    seen = np.uint64(0)
    for begin in range(0, len(ends), _AHEAD):
        until = min(begin + _AHEAD, len(ends))
        seen |= _look_ahead(ends, begin, until, table, keys, numbers)
        for row in range(begin, until):
            high, low = ends[row, 0], ends[row, 1]
            slot = _slot_of(high, low, table, keys)
            if table[slot] < 0:
                table[slot] = known
                keys[known, 0], keys[known, 1] = high, low
                known += 1
            numbers[row] = table[slot]
    return numbers, known, seen


@compiled
def _find(ends: Array, table: Array, keys: Array) -> tuple[Array, Any]:
    """Return the number of each key, -1 for one without; see :func:`_number`."""
    numbers = np.empty(len(ends), dtype=np.int32)
    seen = np.uint64(0)
    for begin in range(0, len(ends), _AHEAD):
        until = min(begin + _AHEAD, len(ends))
        seen |= _look_ahead(ends, begin, until, table, keys, numbers)
        for row in range(begin, until):
            numbers[row] = table[_slot_of(ends[row, 0], ends[row, 1], table, keys)]
    return numbers, seen


@compiled
def _place_again(keys: Array, known: int, table: Array) -> None:
    mask = np.int64(len(table) - 1)
    for number in range(known):
        slot = np.int64(keys[number, 0]) & mask
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = number


class Numbering:
    """Numbers of keys in order of first mention, for keys that come in batches.

    Args:
        expected: how many different keys there will be, as far as is known; memory grows where there are more.
    """

    def __init__(self, expected: int = 0) -> None:
        self.count = 0
        self._keys = np.zeros((expected + 1, 2), dtype=np.uint64)
        self._table = _free_table(expected)

    def add(self, ends: Array) -> Array:
        """Return the number of each key (rows of high, low), those of new keys following on the ones before."""
        wanted = self.count + len(ends)
        if wanted >= len(self._keys):
            keys = np.zeros((max(wanted + 1, len(self._keys) * 3 // 2), 2), dtype=np.uint64)
            keys[: self.count] = self._keys[: self.count]
            self._keys = keys
        if wanted > _FULL * len(self._table):
            self._table = _free_table(wanted)
            _place_again(self._keys, self.count, self._table)
        numbers, self.count, _ = _number(np.ascontiguousarray(ends), self._table, self._keys, self.count)
        return numbers

    def find(self, high: Array, low: Array) -> Array:
        """Return the number of each key (its halves), -1 for one without."""
        return _find(np.stack([high, low], axis=1), self._table, self._keys)[0]

    @property
    def high(self) -> Array:
        """First eight bytes of each key, by number."""
        return self._keys[: self.count, 0].copy()

    @property
    def low(self) -> Array:
        """Last eight bytes of each key, by number."""
        return self._keys[: self.count, 1].copy()


def _free_table(keys: int) -> Array:
    return np.full(1 << max(4, int(keys / _FULL).bit_length()), -1, dtype=np.int32)


@compiled
def _fill(ends: Array, kind: Array, seq: Array, standing: Array, count: int, up: bool) -> tuple[Array, Array]:
    """Sort edges by owner: where each node's begin, and neighbour, type and event of each in one number."""
    start = np.zeros(count + 1, dtype=np.int64)
    for row in range(len(ends)):
        if kind[row] < TYPE_MENTIONS and standing[seq[row]]:
            start[ends[row, np.int64((kind[row] == 0) != up)] + 1] += 1
    for node in range(count):
        start[node + 1] += start[node]
    place = start[:-1].copy()
    entries = np.empty(start[count], dtype=np.uint64)
    for row in range(len(ends)):
        if kind[row] < TYPE_MENTIONS and standing[seq[row]]:
            mine = np.int64((kind[row] == 0) != up)
            node = ends[row, mine]
            value = np.uint64(ends[row, 1 - mine]) << np.uint64(2) | np.uint64(kind[row])
            entries[place[node]] = value << np.uint64(32) | np.uint64(seq[row])
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


def build_lists(ends: Array, kind: Array, seq: Array, count: int, documents: dict[str, Array]) -> dict[str, Array]:
    """Return the adjacency sections of ``count`` nodes.

    A claim of an edge that an earlier one makes already, under the same label, from as early on and for ever,
    is dropped; any other claim stays as a parallel entry, since one of them may end while the other holds.

    Args:
        ends: numbers of each claim's source and target.
        kind: its type code; 0 (uses) leads from source to an ancestor, any other edge to a descendant; what is no edge
            is left out.
        seq: the event that claimed it, uint32.
        count: how many nodes there are.
        documents: ``standing``, ``permanent``, ``label``, ``valid_from`` by event; claims of what does not stand are
            left out.
    """

    def one(up: bool) -> tuple[Array, Array, Array]:
        start, entries = _fill(ends, kind, seq, documents["standing"], count, up)
        finished: tuple[Array, Array, Array] = _finish(
            start, entries, documents["permanent"], documents["label"], documents["valid_from"]
        )
        return finished

    with ThreadPoolExecutor(2) as pool:
        up, down = pool.map(one, (True, False))
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
    order, bucket = _order_by_key(keys_high, bits)
    ordered = keys_high[order]
    check = (ordered & np.uint64(0xFF)).astype(np.uint8)
    return {"bucket": bucket, "by_key": order, "check": check}


@compiled
def _order_by_key(keys_high: Array, bits: int) -> tuple[Array, Array]:
    """Return nodes in order of key, equal ones in order of number, and where each bucket of first bits begins."""
    shift = np.uint64(64 - bits)
    bucket = np.zeros((1 << bits) + 1, dtype=np.uint32)
    for node in range(len(keys_high)):
        bucket[np.int64(keys_high[node] >> shift) + 1] += np.uint32(1)
    for slot in range(1 << bits):
        bucket[slot + 1] += bucket[slot]
    place = bucket[:-1].copy()
    order = np.empty(len(keys_high), dtype=np.uint32)
    for node in range(len(keys_high)):
        slot = np.int64(keys_high[node] >> shift)
        at = np.int64(place[slot])
        place[slot] += np.uint32(1)
        while at > bucket[slot] and keys_high[order[at - 1]] > keys_high[node]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = np.uint32(node)
    return order, bucket


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
