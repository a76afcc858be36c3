"""A generation's commitment: one hash for all that a tenant's graph says about every node, and about none but these.

A leaf of the tree (:mod:`mc_pipelines.provenance.leaf_hash`) is a node with both of its lists whole, so that one path
to the root shows that a list is in the generation *and* that nothing of it is left out. Leaves stand in the order of
the first eight bytes of their keys, equal ones in order of first mention, which is what the file's index has: that a
node is not there is shown by its neighbours in that order. Until when a claim holds is part of its entry, after
everything that ended its document up to the generation's event; so the root is a function of the log up to that event.

Of the tree are kept the roots of every :data:`CHUNK` leaves; what is below is computed again where it is needed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.generation_file import GenerationFile
from mc_pipelines.provenance.key_hash import keys_of
from mc_pipelines.provenance.leaf_hash import Events, Lists, leaf_hashes, parents
from mc_pipelines.provenance.log_reader import Closures
from mc_pipelines.provenance.offsets import offsets_at

Array = NDArray[Any]
CHUNK_LEVEL = 6
CHUNK = 1 << CHUNK_LEVEL
"""Leaves below one kept hash: 32 bytes for 64 nodes, half a byte a node."""
_AT_ONCE = 1024 * CHUNK
_THREADS = 2
_ROOT, _ROOT_TAG = struct.Struct("<B7xQQ"), 4
_NO_TOP = bytes(32)
Keys = Callable[[Array], Array]
"""Keys of nodes by number, as two words of their bytes each."""


@dataclass(frozen=True)
class Tree:
    """The kept rows of a commitment.

    Attributes:
        nodes: how many leaves.
        seq: the event up to which the generation reads.
        rows: hashes (four words each), the roots of chunks first and the root last; empty for no leaves.
    """

    nodes: int
    seq: int
    rows: tuple[Array, ...]

    @classmethod
    def of(cls, nodes: int, seq: int, chunks: Array) -> Tree:
        """Return the tree over the roots of its chunks."""
        rows = [chunks] if nodes else []
        while rows and len(rows[-1]) > 1:
            rows.append(parents(rows[-1]))
        return cls(nodes, seq, tuple(rows))

    @property
    def root(self) -> bytes:
        """``H(4, 7 zeros, nodes (uint64), seq (uint64), top)``; a path does not bind how many leaves there are."""
        top = self.rows[-1].tobytes() if self.rows else _NO_TOP
        return hashlib.blake2b(_ROOT.pack(_ROOT_TAG, self.nodes, self.seq) + top, digest_size=32).digest()


class Leaves:
    """The leaves of a generation, by place in the order of the tree.

    Args:
        file: the generation.
        closures: what ended documents; only what happened up to the generation's event counts.
    """

    def __init__(self, file: GenerationFile, closures: Closures) -> None:
        self.file = file
        self.nodes, self.seq = len(file["kind"]), int(file.facts["seq"])
        self.events = events_at(file, closures)

    def all_keys(self) -> Array:
        """Return the keys of all nodes by number, for work that needs every one."""
        return _as_bytes(self._keys(np.arange(self.nodes, dtype=np.int64)))

    def keys(self, numbers: Array) -> Array:
        """Return the keys of some nodes."""
        some, again = np.unique(numbers, return_inverse=True)
        return _as_bytes(self._keys(some.astype(np.int64)))[again.ravel()]

    def hashes(self, places: Array, keys: Keys | None = None) -> tuple[Array, Array]:
        """Return leaves, and the digests of both lists of each, by place."""
        numbers = self.file["by_key"][places].astype(np.int64)
        lookup = keys or self.keys
        up, down = (self.lists(name, numbers, lookup) for name in ("up", "down"))
        return leaf_hashes(lookup(numbers), up, down, self.events)

    def lists(self, name: str, numbers: Array, keys: Keys) -> Lists:
        """Return the lists of nodes in one direction (``up`` or ``down``)."""
        bounds, places = self.spans(name, numbers)
        entries = self.file[name][places]
        neighbours = (entries >> np.uint32(2)).astype(np.int64)
        code = (entries & np.uint32(3)).astype(np.uint8)
        return Lists(bounds, keys(neighbours), code, self.file[f"{name}_seq"][places])

    def spans(self, name: str, numbers: Array) -> tuple[Array, Array]:
        """Return bounds of nodes' lists when they are laid one after the other, and where each entry lies."""
        begins = offsets_at(self.file[f"{name}_start"], numbers)
        sizes = offsets_at(self.file[f"{name}_start"], numbers + 1) - begins
        bounds = np.zeros(len(numbers) + 1, dtype=np.int64)
        np.cumsum(sizes, out=bounds[1:])
        return bounds, np.repeat(begins - bounds[:-1], sizes) + np.arange(bounds[-1])

    def chunks(self, which: Sequence[int]) -> dict[tuple[int, int], bytes]:
        """Return all hashes inside some chunks by level and index, leaves (level 0) to below the chunks' own roots."""
        found: dict[tuple[int, int], bytes] = {}
        if not len(which):
            return found
        places = np.concatenate([np.arange(each * CHUNK, min((each + 1) * CHUNK, self.nodes)) for each in which])
        made, _ = self.hashes(places)
        at = 0
        for each in which:
            row = made[at : at + min(CHUNK, self.nodes - each * CHUNK)]
            at += len(row)
            for level in range(CHUNK_LEVEL):
                first = each << CHUNK_LEVEL - level
                found |= {(level, first + place): one.tobytes() for place, one in enumerate(row)}
                row = parents(row)
        return found

    def _keys(self, numbers: Array) -> Array:
        file = self.file
        return keys_of(file["ids"], file["id_start"], numbers, file["prefix"], file["prefix_start"])


def grow_tree(leaves: Leaves) -> Tree:
    """Return the tree of a generation: every key and every list is hashed, on two cores."""
    known = leaves.all_keys()

    def roots(begin: int) -> Array:
        made, _ = leaves.hashes(np.arange(begin, min(begin + _AT_ONCE, leaves.nodes)), known.__getitem__)
        for _ in range(CHUNK_LEVEL):
            made = parents(made)
        return made

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="commitment") as pool:
        chunks = list(pool.map(roots, range(0, leaves.nodes, _AT_ONCE)))
    return Tree.of(leaves.nodes, leaves.seq, np.concatenate([np.empty((0, 4), dtype=np.uint64), *chunks]))


def events_at(file: GenerationFile, closures: Closures) -> Events:
    """Return label, begin and end of every event's claims, as they stood at the generation's event."""
    end = np.array(file["doc_valid_to"], dtype=np.int64)
    then = (closures.seq <= int(file.facts["seq"])) & (closures.closed_seq < len(end))
    np.minimum.at(end, closures.closed_seq[then], closures.valid_to[then])
    begin = np.array(file["doc_valid_from"], dtype=np.int64)
    return Events(np.array(file["doc_label"], dtype=np.uint16), begin, end)


def siblings(nodes: int, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield level and index of the hashes that lead from some leaves to the root, in the order of the checker.

    Row by row from the leaves, in each from left to right: every sibling that is neither known nor missing.
    """
    level, known = 0, sorted(set(places))
    while nodes > 1:
        row = set(known)
        for place in known:
            if place ^ 1 not in row and place ^ 1 < nodes:
                yield level, place ^ 1
        known = sorted({place >> 1 for place in known})
        nodes, level = (nodes + 1) // 2, level + 1


def path_hashes(leaves: Leaves, tree: Tree, places: Sequence[int]) -> list[bytes]:
    """Return the hashes of :func:`siblings`: kept ones from the tree, the others computed from the generation."""
    wanted = list(siblings(leaves.nodes, places))
    below = sorted({place >> CHUNK_LEVEL - level for level, place in wanted if level < CHUNK_LEVEL})
    inside = leaves.chunks(below)
    return [
        inside[level, place] if level < CHUNK_LEVEL else tree.rows[level - CHUNK_LEVEL][place].tobytes()
        for level, place in wanted
    ]


def _as_bytes(keys: Array) -> Array:
    """Return big-endian halves as words whose little-endian bytes are the key's."""
    return keys.byteswap()
