"""Proven answers: every honest one holds, and no file in which anything is changed; what a generation commits to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance import leaf_hash
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.answer_check import check_answer
from mc_pipelines.provenance.commitment import Leaves, grow_tree
from mc_pipelines.provenance.cursor import CursorKey
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.log_reader import FOREVER, Closures
from mc_pipelines.provenance.proving import NotCommittedError, TooLargeError, proven_document
from mc_pipelines.provenance.request import DIRECTIONS, ProofQuery
from mc_pipelines.provenance.snapshot import take_snapshot
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.provenance.memory_store import MemoryStore
from mc_pipelines_tests.provenance.small_graphs import IDS, Document, partition

KEY = CursorKey(b"secret")
ACME = TenantId("acme")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NONE = np.empty(0, dtype=np.int64)
ends = st.integers(0, len(IDS) - 1)
documents = st.lists(
    st.builds(
        Document,
        edges=st.lists(st.tuples(ends, ends, st.integers(0, 3)), min_size=1, max_size=10).map(tuple),
        label=st.integers(0, 3),
        valid_from=st.integers(0, 3),
        valid_to=st.sampled_from([2, 5, FOREVER, FOREVER]),
        permanent=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def prove(own: Any, shared: Any, query: ProofQuery) -> dict[str, Any]:
    """The document of a query over two partitions, as it is read from a file."""
    store = cast("GraphStore", MemoryStore(take_snapshot(own, shared)))
    made = proven_document(
        store, ACME, query, EVERYTHING, KEY, lambda each: (Digest("sha256:" + each.generation), None)
    )
    found: dict[str, Any] = json.loads(json.dumps(made))
    return found


def chain(folder: Path, length: int = 6) -> dict[str, Any]:
    """A proof over a chain of packages and, in the shared partition, a producer and a signer."""
    own = partition([Document(tuple((n, n + 1, 0) for n in range(length)))], folder / "own", compacted=1)
    shared = partition([Document(((9, 1, 1), (14, 9, 2)))], folder / "shared", compacted=1, tenant="public")
    query = ProofQuery(node=NodeId(IDS[0]), depth=3, as_of=EPOCH + timedelta(seconds=1))
    return prove(own, shared, query)


@settings(max_examples=80, deadline=None)
@given(documents, documents, st.data())
def test_every_honest_answer_holds_and_no_changed_one(own: list[Document], shared: list[Document], data: Any) -> None:
    with TemporaryDirectory() as folder:
        compacted = data.draw(st.integers(1, len(own))), data.draw(st.integers(1, len(shared)))
        ended = Closures(
            np.array([compacted[0], compacted[0] + 1]), np.array([1, 1]), np.array([data.draw(st.integers(1, 6)), 1])
        )
        parts = (
            partition(own, Path(folder), compacted=compacted[0], closures=ended),
            partition(shared, Path(folder), compacted=compacted[1], tenant="public"),
        )
        query = ProofQuery(
            node=NodeId(data.draw(st.sampled_from(IDS))),
            depth=data.draw(st.integers(1, 3)),
            direction=data.draw(st.sampled_from(DIRECTIONS)),
            as_of=EPOCH + timedelta(microseconds=data.draw(st.integers(0, 7))),
        )
        try:
            document = prove(*parts, query)
        except NotFoundError:
            assume(False)  # noqa: FBT003 - hypothesis has it so
            return
    found = check_answer(document)
    assert found.ok, found.problems
    assert len(found.commitments) == 2
    changed = deepcopy(document)
    place = data.draw(st.sampled_from(sorted(changes(changed))))
    changes(changed)[place]()
    assume(changed != document)
    found = check_answer(changed)
    assert not found.ok, place


class Changes:
    """All single changes of what a proof shows, by name: every scalar that counts, every member dropped or moved."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.found: dict[str, Callable[[], None]] = {}
        answer = document["answer"]
        self.scalars("answer", answer, ["root"])
        for name in ("nodes", "edges"):
            self.members(name, answer[name])
            for place, each in enumerate(answer[name]):
                self.scalars(f"{name} {place}", each, sorted(each.keys() & {"id", "from", "to", "type"}))
        self.scalars("ids", document["ids"], range(len(document["ids"])))
        for number, part in enumerate(document["partitions"]):
            self.scalars(f"{number}", part, ["seq", "nodes", "root"])
            self.members(f"{number} hashes", part["hashes"])
            self.scalars(f"{number} hashes", part["hashes"], range(len(part["hashes"])))
            self.members(f"{number} leaves", part["leaves"], moved=False)
            for leaf in part["leaves"]:
                self.leaf(f"{number} leaf {leaf['index']}", leaf)

    def leaf(self, name: str, leaf: dict[str, Any]) -> None:
        for member, value in leaf.items():
            if not isinstance(value, list):
                self.scalars(name, leaf, [member])
                continue
            self.members(f"{name} {member}", value)
            for row, entry in enumerate(value):
                self.scalars(f"{name} {member} {row}", entry, range(len(entry)))

    def scalars(self, name: str, holder: Any, places: Iterable[Any]) -> None:
        for place in places:
            self.found[f"{name} {place} changed"] = partial(change, holder, place)

    def members(self, name: str, many: list[Any], *, moved: bool = True) -> None:
        for place in range(len(many)):
            self.found[f"{name} {place} dropped"] = partial(many.pop, place)
            self.found[f"{name} {place} twice"] = partial(many.insert, place, many[place])
            if moved:
                self.found[f"{name} {place} moved"] = partial(move, many, place)


def change(holder: Any, place: Any) -> None:
    holder[place] = other(holder[place])


def move(many: list[Any], place: int) -> None:
    many.append(many.pop(place))


def changes(document: dict[str, Any]) -> dict[str, Callable[[], None]]:
    return Changes(document).found


def other(value: Any) -> Any:
    """Another value of the same sort."""
    if isinstance(value, int):
        return value + 1 if value < FOREVER else value - 1
    if value in {"uses", "produces", "signs", "verifies"}:
        return "uses" if value != "uses" else "produces"
    return value[:-1] + ("0" if value[-1] != "0" else "1")


def test_every_change_of_one_proof_is_found(tmp_path: Path) -> None:
    document = chain(tmp_path)
    assert check_answer(document).ok
    assert len(document["answer"]["nodes"]) == 6
    names = sorted(changes(document))
    assert len(names) > 150
    for name in names:
        changed = deepcopy(document)
        changes(changed)[name]()
        assert changed == document or not check_answer(changed).ok, name


def test_a_shared_partition_that_is_cut_out_is_missed(tmp_path: Path) -> None:
    """All of it and all that it says: what is left is consistent, and is not taken for the whole answer."""
    document = chain(tmp_path)
    assert [each["tenant"] for each in document["partitions"]] == ["acme", "public"]
    del document["partitions"][1]
    document["answer"]["snapshot"]["shared"] = 0
    found = check_answer(document)
    assert not found.ok
    assert not any("the whole walk from" in each and "own documents" not in each for each in found.proved)


def test_two_lists_that_are_swapped_are_found(tmp_path: Path) -> None:
    document = chain(tmp_path)
    shown = [leaf for leaf in document["partitions"][0]["leaves"] if isinstance(leaf["ancestors"], list)]
    shown[0]["ancestors"], shown[1]["ancestors"] = shown[1]["ancestors"], shown[0]["ancestors"]
    assert not check_answer(document).ok


def test_an_edge_hidden_in_answer_and_list_alike_is_found(tmp_path: Path) -> None:
    document = chain(tmp_path)
    answer = document["answer"]
    last = answer["nodes"].pop()["id"]
    answer["edges"] = [each for each in answer["edges"] if last not in {each["from"], each["to"]}]
    place = document["ids"].index(last)
    for part in document["partitions"]:
        for leaf in part["leaves"]:
            for direction in ("ancestors", "descendants"):
                if isinstance(leaf[direction], list):
                    leaf[direction] = [entry for entry in leaf[direction] if entry[0] != place]
    found = check_answer(document)
    assert any("root" in problem for problem in found.problems), found


@pytest.mark.parametrize("bad", [None, [], {}, {"format": "x"}, "text", 7])
def test_what_is_no_proof_is_said_to_be_none(bad: Any) -> None:
    assert not check_answer(bad).ok


def test_a_tampered_root_names_another_commitment(tmp_path: Path) -> None:
    document = chain(tmp_path)
    before = check_answer(document).commitments
    document["partitions"][0]["generation"] = "0" * 40
    document["partitions"][0]["tenant"] = "bolt"
    assert set(before) - set(check_answer(document).commitments) == {before[0]}


@settings(max_examples=40, deadline=None)
@given(documents, st.integers(1, 6))
@example([Document(((0, 1, 0),) * 3, valid_to=5)], 3)
def test_the_compiled_tree_is_the_plain_one(own: list[Document], until: int) -> None:
    closures = Closures(np.array([1]), np.array([1]), np.array([until]))
    with TemporaryDirectory() as folder:
        made = partition(own, Path(folder), compacted=len(own))
        assert made.base is not None
        compiled = grow_tree(Leaves(made.base, closures))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(leaf_hash, "COMPILES", False)
            assert grow_tree(Leaves(made.base, closures)).root == compiled.root
        # What happened after the generation's event is not part of it; what happened before is.
        later = Closures(np.array([len(own) + 1]), np.array([1]), np.array([until]))
        assert grow_tree(Leaves(made.base, later)).root == grow_tree(Leaves(made.base, Closures(NONE, NONE, NONE))).root
        edges = [edge for edge in own[0].edges if edge[2] < 4]
        if until < own[0].valid_to and edges:
            assert grow_tree(Leaves(made.base, later)).root != compiled.root


def test_a_large_tree_has_proofs_across_chunks(tmp_path: Path) -> None:
    names = [f"sha256:{number:064x}" for number in range(300)]
    import mc_pipelines_tests.provenance.small_graphs as small

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(small, "IDS", names)
        own = small.partition(
            [Document(tuple((n, (7 * n + 1) % 300, n % 3) for n in range(300)))], tmp_path / "own", compacted=1
        )
        shared = small.partition([Document(((0, 299, 0),))], tmp_path / "shared", compacted=1, tenant="public")
        query = ProofQuery(node=NodeId(names[0]), depth=3, direction="undirected", as_of=EPOCH + timedelta(seconds=1))
        document = prove(own, shared, query)
    assert document["partitions"][0]["nodes"] == 300
    assert document["partitions"][0]["hashes"]
    assert check_answer(document).ok


def test_what_would_be_cut_or_has_no_generation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotCommittedError):
        prove(
            partition([Document(((0, 1, 0),))], tmp_path, compacted=0),
            partition([Document(((0, 1, 0),))], tmp_path, compacted=1, tenant="public"),
            ProofQuery(node=NodeId(IDS[0])),
        )
    monkeypatch.setattr("mc_pipelines.provenance.proving.MAXIMUM_NODES", 2)
    with pytest.raises(TooLargeError):
        chain(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("mc_pipelines.provenance.proving.MAXIMUM_ENTRIES", 2)
    with pytest.raises(TooLargeError):
        chain(tmp_path)
