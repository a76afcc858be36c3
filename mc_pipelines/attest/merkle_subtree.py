"""Proofs about a subtree ``[start, end)`` of an RFC 6962 tree (draft-ietf-plants-merkle-tree-certs, section 4).

A log that publishes in batches can name one batch, prove an entry inside it, and prove the batch a part of every later
tree. A subtree is *valid* when ``start`` is a multiple of the smallest power of two not less than its size.
"""

from __future__ import annotations

from collections.abc import Sequence

from mc_pipelines.attest.merkle import EMPTY_ROOT, HASH_BYTES, node_hash, verify_inclusion
from mc_pipelines.foundation.errors import VerificationError


def verify_subtree_inclusion(
    leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf with this hash is number ``index`` of the whole tree, inside subtree ``[start, end)``.

    Raises:
        VerificationError: it is not proved.
    """
    _require_valid(start, end)
    verify_inclusion(leaf, index - start, end - start, proof, root)


def verify_subtree_consistency(
    start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes, root: bytes
) -> None:
    """Check that subtree ``[start, end)`` with this root is a part of the tree of ``size`` leaves with that root.

    The empty subtree is a part of every tree; whoever relies on a subtree asks for one with leaves.

    Raises:
        VerificationError: it is not proved.
    """
    if start == end and 0 <= start <= size:
        if proof or subtree_root != EMPTY_ROOT:
            raise VerificationError("An empty subtree has the empty root and no proof", field="proof")
        return
    _require_valid(start, end)
    if end > size:
        raise VerificationError("The subtree ends behind the tree", field="end", value=end)
    if any(len(one) != HASH_BYTES for one in (*proof, subtree_root, root)):
        raise VerificationError("A hash is 32 bytes", field="proof")
    if _roots(start, end, size, proof, subtree_root) != (subtree_root, root):
        raise VerificationError("The consistency proof does not lead to both roots", field="proof")


def _roots(start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes) -> tuple[bytes, bytes]:
    first, at, last = start, end - 1, size - 1
    while first != at and (at == last or at & 1):
        first, at, last = first >> 1, at >> 1, last >> 1
    path = list(proof)
    if first == at:
        path.insert(0, subtree_root)
    if not path:
        raise VerificationError("The consistency proof is too short", field="proof", value=0)
    part = whole = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise VerificationError("The consistency proof is too long", field="proof", value=len(proof))
        if at & 1 or at == last:
            if first < at:
                part = node_hash(sibling, part)
            whole = node_hash(sibling, whole)
            while not at & 1:
                first, at, last = first >> 1, at >> 1, last >> 1
        else:
            whole = node_hash(whole, sibling)
        first, at, last = first >> 1, at >> 1, last >> 1
    if last != 0:
        raise VerificationError("The consistency proof is too short", field="proof", value=len(proof))
    return part, whole


def _require_valid(start: int, end: int) -> None:
    if not 0 <= start < end or start % (1 << (end - start - 1).bit_length()):
        raise VerificationError("Not a subtree of an RFC 6962 tree", field="start", value=f"[{start}, {end})")
