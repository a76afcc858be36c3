"""The Merkle tree of RFC 6962 section 2.1: hashes, proofs and their verification; pure, no storage.

A *node* ``(level, index)`` is the root of the complete subtree over leaves
``[index * 2**level, (index + 1) * 2**level)``. A tree of any size is a handful of such nodes, so a store that keeps
every node once proves inclusion and consistency with O(log n) reads (:func:`prove_inclusion`).

Verification is stricter than the usual code: every hash is 32 bytes, an empty tree proves nothing (not the inclusion
of an empty leaf, not consistency with a later tree), and a proof has exactly the length it must have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mc_pipelines.foundation.errors import InputError, VerificationError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

NodeId = tuple[int, int]
"""Level and index of a complete subtree."""
ReadNodes = Callable[[Sequence[NodeId]], Mapping[NodeId, bytes]]
"""Reads the named nodes of a store; all of them exist, or the store is damaged."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def covering_nodes(start: int, end: int) -> list[NodeId]:
    """Return the complete subtrees that cover leaves ``[start, end)``, from left to right.

    ``start`` is a multiple of the smallest power of two not less than ``end - start``, as in every range that RFC 6962
    names.
    """
    found: list[NodeId] = []
    position = start
    while position < end:
        level = (end - position).bit_length() - 1
        found.append((level, position >> level))
        position += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees given from left to right, as :func:`covering_nodes` orders them."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, straight from the definition; O(n)."""
    size = len(leaf_hashes)
    if size == 0:
        return EMPTY_ROOT
    if size == 1:
        return leaf_hashes[0]
    split = _split(size)
    return node_hash(root_of(leaf_hashes[:split]), root_of(leaf_hashes[split:]))


def grow(size: int, frontier: Mapping[NodeId, bytes], leaf_hashes: Iterable[bytes]) -> Iterator[tuple[NodeId, bytes]]:
    """Yield every node that becomes complete when leaves are appended, leaves included (level 0).

    Args:
        size: leaves in the tree so far.
        frontier: the nodes ``covering_nodes(0, size)`` names, with their hashes.
        leaf_hashes: hashes of the new leaves, in order.
    """
    pending = dict(frontier)
    for index, first in enumerate(leaf_hashes, start=size):
        level, at, current = 0, index, _hash32(first, "leaf hash")
        yield (level, at), current
        while at & 1:
            current = node_hash(pending.pop((level, at - 1)), current)
            level, at = level + 1, at >> 1
            yield (level, at), current
        pending[level, at] = current


def tree_root(read: ReadNodes, size: int) -> bytes:
    """Return the root of the first ``size`` leaves of a store."""
    return _ranges_from(read, [(0, size)])[0]


def prove_inclusion(read: ReadNodes, index: int, size: int) -> list[bytes]:
    """Return the audit path of leaf ``index`` in the tree of the first ``size`` leaves, leaf's sibling first.

    Raises:
        InputError: the leaf is not in that tree.
    """
    if not 0 <= index < size:
        raise InputError("The leaf is not in a tree of this size", field="index", value=index, size=size)
    ranges: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return _ranges_from(read, ranges[::-1])


def prove_consistency(read: ReadNodes, old_size: int, new_size: int) -> list[bytes]:
    """Return the proof that the first ``old_size`` leaves are those of the tree of that size.

    Raises:
        InputError: the old tree is empty (which proves nothing) or larger than the new one.
    """
    if not 1 <= old_size <= new_size:
        raise InputError(
            "Consistency is proved from a tree that is neither empty nor larger", field="old size", value=old_size
        )
    ranges: list[tuple[int, int]] = []
    start, end = 0, new_size
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start != 0:  # the old root itself is what the verifier holds when the old tree is a complete subtree at 0
        ranges.append((start, end))
    return _ranges_from(read, ranges[::-1])


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that an audit path leads to (RFC 9162 section 2.1.3.2).

    Raises:
        VerificationError: the leaf cannot be in such a tree, or the path has another length than it must.
    """
    if not 0 <= index < size:
        raise VerificationError("The leaf is not in a tree of this size", field="index", value=index)
    current = _hash32(leaf, "leaf hash")
    at, last = index, size - 1
    for sibling in proof:
        _hash32(sibling, "proof")
        if last == 0:
            raise VerificationError("The inclusion proof is too long", field="proof", value=len(proof))
        if at & 1 or at == last:
            current = node_hash(sibling, current)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise VerificationError("The inclusion proof is too short", field="proof", value=len(proof))
    return current


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with this hash is number ``index`` of the tree with this size and root.

    Raises:
        VerificationError: it is not proved.
    """
    if root_from_inclusion(leaf, index, size, proof) != _hash32(root, "root"):
        raise VerificationError("The inclusion proof does not lead to the root", field="proof")


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the new tree begins with the leaves of the old one (RFC 9162 section 2.1.4.2).

    Raises:
        VerificationError: it is not proved. An empty old tree is consistent with anything and therefore refused.
    """
    if not 1 <= old_size <= new_size:
        raise VerificationError("The old tree is empty or larger than the new one", field="old size", value=old_size)
    _hash32(old_root, "old root")
    _hash32(new_root, "new root")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise VerificationError("Trees of one size have two roots, or a proof where none belongs", field="proof")
        return
    path = [_hash32(one, "proof") for one in proof]
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    old_found, new_found = _roots_from_consistency(old_size, new_size, path)
    if old_found != old_root or new_found != new_root:
        raise VerificationError("The consistency proof does not lead to both roots", field="proof")


def _roots_from_consistency(old_size: int, new_size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    if not path:
        raise VerificationError("The consistency proof is too short", field="proof", value=0)
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise VerificationError("The consistency proof is too long", field="proof", value=len(path))
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise VerificationError("The consistency proof is too short", field="proof", value=len(path))
    return old, new


def _ranges_from(read: ReadNodes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    covers = [covering_nodes(start, end) for start, end in ranges]
    wanted = [node for cover in covers for node in cover]
    nodes = read(wanted) if wanted else {}
    return [fold([nodes[node] for node in cover]) for cover in covers]


def _split(size: int) -> int:
    """Return the largest power of two less than ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _hash32(value: bytes, field: str) -> bytes:
    if len(value) != HASH_BYTES:
        raise VerificationError("A hash is 32 bytes", field=field, value=f"{len(value)} bytes")
    return value
