"""The tree against its definition: every size up to 70, every leaf, every pair of sizes, every changed byte."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.attest.merkle import (
    EMPTY_ROOT,
    NodeId,
    covering_nodes,
    fold,
    grow,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    root_from_inclusion,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from mc_pipelines.attest.merkle_subtree import verify_subtree_consistency, verify_subtree_inclusion
from mc_pipelines.foundation.errors import InputError, VerificationError

LEAVES = [leaf_hash(str(number).encode()) for number in range(70)]


class Store(dict[NodeId, bytes]):
    """Nodes in memory, counting reads."""

    reads = 0

    def read(self, wanted: Sequence[NodeId]) -> Mapping[NodeId, bytes]:
        self.reads += len(wanted)
        return {node: self[node] for node in wanted}


def store_of(leaves: Sequence[bytes], batches: Sequence[int] = ()) -> Store:
    store, size = Store(), 0
    for batch in (*batches, len(leaves)):
        frontier = store.read(covering_nodes(0, size))
        store.update(grow(size, frontier, leaves[size : size + batch]))
        size = min(size + batch, len(leaves))
    return store


STORE = store_of(LEAVES)


def test_the_hashes_are_those_of_the_rfc() -> None:
    assert hashlib.sha256().digest() == EMPTY_ROOT == root_of([]) == tree_root(STORE.read, 0)
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
    assert node_hash(b"l", b"r") == hashlib.sha256(b"\1lr").digest()
    assert root_of(LEAVES[:3]) == node_hash(node_hash(LEAVES[0], LEAVES[1]), LEAVES[2])


@given(st.lists(st.integers(0, 20), max_size=8))
def test_batches_make_the_tree_that_one_append_makes(batches: list[int]) -> None:
    assert store_of(LEAVES, batches) == STORE


@pytest.mark.parametrize("size", range(1, len(LEAVES) + 1))
def test_inclusion_of_every_leaf(size: int) -> None:
    root = root_of(LEAVES[:size])
    assert tree_root(STORE.read, size) == root
    for index in range(size):
        proof = prove_inclusion(STORE.read, index, size)
        verify_inclusion(LEAVES[index], index, size, proof, root)
        assert len(proof) <= (size - 1).bit_length()
        with pytest.raises(VerificationError):
            verify_inclusion(LEAVES[index], (index + 1) % size if size > 1 else 1, size, proof, root)


@pytest.mark.parametrize("new", range(1, len(LEAVES) + 1))
def test_consistency_of_every_pair(new: int) -> None:
    for old in range(1, new + 1):
        proof = prove_consistency(STORE.read, old, new)
        verify_consistency(old, new, proof, root_of(LEAVES[:old]), root_of(LEAVES[:new]))
        if old < new:
            with pytest.raises(VerificationError):
                verify_consistency(old, new, proof, root_of([*LEAVES[: old - 1], LEAVES[69]]), root_of(LEAVES[:new]))


@given(st.integers(1, 70), st.data())
@settings(max_examples=300)
def test_no_changed_proof_holds(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root = root_of(LEAVES[:size])
    proof = prove_inclusion(STORE.read, index, size)
    mutation = data.draw(st.sampled_from(["flip", "drop", "add", "swap", "short hash"]))
    changed = list(proof)
    if mutation == "add" or not changed:
        changed.insert(data.draw(st.integers(0, len(changed))), data.draw(st.sampled_from([root, LEAVES[0]])))
    else:
        at = data.draw(st.integers(0, len(changed) - 1))
        if mutation == "flip":
            position = data.draw(st.integers(0, 31))
            changed[at] = bytes(byte ^ (number == position) for number, byte in enumerate(changed[at]))
        elif mutation == "drop":
            changed.pop(at)
        elif mutation == "short hash":
            changed[at] = changed[at][:-1]
        else:
            changed.reverse()
    if changed == proof:
        return
    with pytest.raises(VerificationError):
        verify_inclusion(LEAVES[index], index, size, changed, root)


@given(st.integers(1, 70), st.integers(1, 70), st.data())
@settings(max_examples=300)
def test_no_changed_consistency_proof_holds(one: int, other: int, data: st.DataObject) -> None:
    old, new = sorted((one, other))
    proof = prove_consistency(STORE.read, old, new)
    changed = list(proof)
    if changed and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = bytes([changed[at][0] ^ data.draw(st.integers(1, 255))]) + changed[at][1:]
    else:
        changed.append(LEAVES[0])
    with pytest.raises(VerificationError):
        verify_consistency(old, new, changed, root_of(LEAVES[:old]), root_of(LEAVES[:new]))


def test_an_empty_tree_proves_nothing() -> None:
    with pytest.raises(VerificationError):
        verify_consistency(0, 5, [], EMPTY_ROOT, root_of(LEAVES[:5]))
    with pytest.raises(VerificationError):
        verify_inclusion(b"", 0, 0, [], EMPTY_ROOT)
    with pytest.raises(VerificationError):
        verify_inclusion(b"", 0, 1, [], b"")
    with pytest.raises(VerificationError):
        root_from_inclusion(LEAVES[0], 0, 0, [])
    with pytest.raises(InputError):
        prove_consistency(STORE.read, 0, 5)
    with pytest.raises(InputError):
        prove_consistency(STORE.read, 6, 5)
    with pytest.raises(InputError):
        prove_inclusion(STORE.read, 5, 5)
    with pytest.raises(VerificationError):
        list(grow(0, {}, [b"short"]))


def test_a_proof_reads_few_nodes() -> None:
    leaves = [leaf_hash(str(number).encode()) for number in range(5000)]
    store = store_of(leaves)
    store.reads = 0
    prove_inclusion(store.read, 1234, 5000)
    assert store.reads <= 2 * (5000).bit_length()
    store.reads = 0
    prove_consistency(store.read, 1237, 5000)
    assert store.reads <= 3 * (5000).bit_length()


def test_every_valid_subtree_holds_and_no_other() -> None:
    size = 21
    root = root_of(LEAVES[:size])
    checked = 0
    for start in range(size):
        for end in range(start + 1, size + 1):
            part = root_of(LEAVES[start:end])
            if start % (1 << (end - start - 1).bit_length()):
                with pytest.raises(VerificationError, match="subtree"):
                    verify_subtree_consistency(start, end, size, [], part, root)
                continue
            verify_subtree_consistency(start, end, size, subtree_proof(start, end, 0, size), part, root)
            local = store_of(LEAVES[start:end])
            for index in range(start, end):
                proof = prove_inclusion(local.read, index - start, end - start)
                verify_subtree_inclusion(LEAVES[index], index, start, end, proof, part)
            assert fold([STORE[node] for node in covering_nodes(start, end)]) == part
            checked += 1
    assert checked > 60


def subtree_proof(start: int, end: int, low: int, high: int, *, known: bool = True) -> list[bytes]:
    """The proof by recursion over the definition: from the subtree up to the root of leaves [low, high)."""
    if (start, end) == (low, high):
        return [] if known else [root_of(LEAVES[low:high])]
    middle = low + (1 << ((high - low - 1).bit_length() - 1))
    if end <= middle:
        return [*subtree_proof(start, end, low, middle, known=known), root_of(LEAVES[middle:high])]
    if start >= middle:
        return [*subtree_proof(start, end, middle, high, known=known), root_of(LEAVES[low:middle])]
    return [*subtree_proof(middle, end, middle, high, known=False), root_of(LEAVES[low:middle])]
