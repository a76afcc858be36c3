"""A proven answer: a subgraph with all that shows, to who trusts only the audit log, that it is right and whole.

It is read at the event of the tenant's generation and of the shared one, and encloses, for every node that the walk
expands, its whole list out of each, with the hashes that lead to the roots in the audit log. A list that is shown whole
shows every claim in it, also those that have ended; so a proof is made only for who may read every claim there could
be, decided by roles and purposes alone, and never by what there is (:func:`decide_whole`). What is not adjacency
(kinds) is not proven. :mod:`mc_pipelines.provenance.answer_check` checks a proof without this code, and does so before
it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import Connection

from mc_pipelines.attest.log import find_content, inclusion_proof
from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, VerificationError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.access import Filter, Reader, decide
from mc_pipelines.provenance.answer import Answer, tagged, timed
from mc_pipelines.provenance.answer_check import FORMAT, check_answer
from mc_pipelines.provenance.commitment import Leaves, path_hashes
from mc_pipelines.provenance.committing import Commitment, commitment_of, tree_of
from mc_pipelines.provenance.cursor import Cursor, CursorKey
from mc_pipelines.provenance.id_codec import decode_id
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.log_reader import microseconds
from mc_pipelines.provenance.model import EDGE_TYPES, MAXIMUM_CLASSIFICATION, Purpose, VerificationStatus
from mc_pipelines.provenance.partition import Partition
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import (
    MAXIMUM_EDGES,
    MAXIMUM_FAN_OUT,
    MAXIMUM_NODES,
    GraphQuery,
    ProofQuery,
    QueryError,
)
from mc_pipelines.provenance.store import GraphStore

Array = NDArray[Any]
Logged = Callable[[Commitment], tuple[Digest, str | None]]
"""Returns a commitment's leaf in the audit log, and its log proof once it is sequenced; raises where there is none."""
MAXIMUM_ENTRIES = 100_000
"""Entries that a proof may enclose: of all lists together, those that have ended included."""
_SIDES = {"ancestors": "up", "descendants": "down"}
_PASSES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "ancestors": (("ancestors",),),
    "descendants": (("descendants",),),
    "both": (("ancestors",), ("descendants",)),
    "undirected": (("ancestors", "descendants"),),
}


class TooLargeError(InputError):
    """An answer that is not whole, or whose proof would be too large: of a part nothing is proven."""

    slug, title, status = "answer-too-large", "Answer too large to prove", 422


class NotCommittedError(ConflictError):
    """The graph has no generation yet whose root is in the audit log."""

    slug, title = "not-committed", "Not committed"


class WholeViewError(ForbiddenError):
    """A reader whom some claim could be hidden from asks for a proof."""

    slug, title = "whole-view-needed", "A proof needs a whole view"


def decide_whole(engine: PolicyEngine, revision: Digest, reader: Reader) -> Filter:
    """Return the filter of a reader whom the policy shows every claim there could be, whatever there is.

    Raises:
        WholeViewError: some claim could be hidden from the reader; whether one is, is not looked at.
        UnavailableError: the policy gave no filter.
    """
    filters = [decide(engine, revision, replace(reader, purpose=purpose)) for purpose in Purpose]
    highest = min(each.maximum_classification for each in filters)
    purposes = frozenset[str]().union(*(each.purposes for each in filters))
    statuses = frozenset[str](VerificationStatus).intersection(*(each.statuses for each in filters))
    if highest < MAXIMUM_CLASSIFICATION or purposes != set(Purpose) or statuses != set(VerificationStatus):
        raise WholeViewError(
            "That an answer is whole is proven only to who may read every classification, purpose and status",
            mend="ask for the answer without a proof, or ask an auditor",
        )
    return Filter(highest, purposes, statuses, revision)


def proven_answer(
    store: GraphStore, tenant: TenantId, query: ProofQuery, allowed: Filter, cursors: CursorKey
) -> Answer:
    """Return an answer and its proof as one document (docs/provenance/proofs.md).

    Args:
        store: open snapshots.
        tenant: whose graph, from the verified credential.
        query: what is asked.
        allowed: what :func:`decide_whole` returned.
        cursors: pins the answer to the events of the generations.

    Raises:
        NotFoundError: there is no such node at that event.
        NotCommittedError: a generation is missing or was pruned since, or its root is not in the audit log.
        TooLargeError: the answer would be truncated, or its proof too large.
    """
    with timed("proof"):

        def logged(made: Commitment) -> tuple[Digest, str | None]:
            with store.database.begin() as connection:
                return _logged(connection, made)

        return tagged(proven_document(store, tenant, query, allowed, cursors, logged))


def proven_document(
    store: GraphStore,
    tenant: TenantId,
    query: ProofQuery,
    allowed: Filter,
    cursors: CursorKey,
    logged: Logged,
) -> dict[str, Any]:
    """Return the document of :func:`proven_answer`, checked.

    Args:
        store: open snapshots.
        tenant: whose graph.
        query: what is asked.
        allowed: what :func:`decide_whole` returned.
        cursors: pins the answer to the events of the generations.
        logged: finds a commitment in the audit log.
    """
    snapshot = store.snapshot(tenant)
    parts = [_opened(snapshot.own)]
    if snapshot.shared is not None and snapshot.shared.seq > 0:
        parts.append(_opened(snapshot.shared))
    moment = store.clock.now() if query.as_of is None else query.as_of
    shared = parts[1].seq if len(parts) > 1 else 0
    answer = _answer(store, tenant, replace(query, as_of=moment), (parts[0].seq, shared), allowed, cursors)
    _walk(parts, answer, microseconds(moment))
    texts: dict[str, int] = {}
    partitions = [each.document(logged, texts) for each in parts]
    document = {"format": FORMAT, "answer": answer, "partitions": partitions, "ids": list(texts)}
    found = check_answer(document, own_only=len(parts) == 1)
    if not found.ok:
        raise VerificationError("The proof does not hold, so it is not given out", value=found.problems[0])
    return document


def _logged(connection: Connection, made: Commitment) -> tuple[Digest, str | None]:
    entries = find_content(connection, made.content)
    if not entries:
        raise NotCommittedError(
            "The root of this generation is not in the audit log yet", mend="`mc provenance commit`"
        )
    leaf = entries[0].leaf_id
    return leaf, None if entries[0].index is None else str(inclusion_proof(connection, leaf))


def _answer(
    store: GraphStore,
    tenant: TenantId,
    query: ProofQuery,
    position: tuple[int, int],
    allowed: Filter,
    cursors: CursorKey,
) -> dict[str, Any]:
    assert query.as_of is not None  # noqa: S101 - the caller sets it
    asked = GraphQuery(
        node=query.node,
        depth=query.depth,
        direction=query.direction,
        limit=MAXIMUM_NODES,
        edge_limit=MAXIMUM_EDGES,
        fan_out=MAXIMUM_FAN_OUT,
        as_of=query.as_of,
        resolve="none",
    )
    first_page = Cursor(0, 0, 0, position, microseconds(query.as_of))
    pinned = replace(asked, cursor=cursors.write(first_page, tenant, asked, allowed.digest))
    try:
        answer = graph_answer(store, tenant, pinned, allowed, cursors)
    except QueryError as error:
        raise NotCommittedError(
            "Retention removed claims since the generation was built",
            mend="`mc provenance build`, then `mc provenance commit`",
        ) from error
    if not answer.complete:
        raise TooLargeError(
            "Only a whole answer can be proven, and this one would be cut",
            field="depth",
            value=query.depth,
            mend="ask for fewer steps, for one direction, or from a node with fewer neighbours",
        )
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


def _opened(partition: Partition) -> _Part:
    if partition.base is None:
        raise NotCommittedError(
            "The graph has no generation yet", mend="`mc provenance build`, then `mc provenance commit`"
        )
    return _Part(partition, Leaves(partition.base, partition.closures))


@dataclass
class _Part:
    """A generation, and what of it the walk asks for.

    Attributes:
        partition: whose generation.
        leaves: of its commitment.
        lists: every list that the walk needs, by node and direction.
        places: of the nodes it needs that are there.
        around: places of the leaves that show that others are not.
    """

    partition: Partition
    leaves: Leaves
    lists: dict[tuple[str, str], list[tuple[Any, ...]]] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    around: set[int] = field(default_factory=set)
    _asked: set[str] = field(default_factory=set)
    _texts: dict[int, str] = field(default_factory=dict)

    @property
    def seq(self) -> int:
        """The generation's event."""
        return self.leaves.seq

    def find(self, nodes: Iterable[str]) -> None:
        """Find nodes in the order of the tree, or what stands around the place where they would be."""
        fresh = [node for node in dict.fromkeys(nodes) if node not in self._asked]
        self._asked.update(fresh)
        file = self.leaves.file
        bits = (len(file["bucket"]) - 1).bit_length() - 1
        for node in fresh:
            key = node_key(node)
            slot = int.from_bytes(key[:8]) >> 64 - bits
            first, last = int(file["bucket"][slot]), int(file["bucket"][slot + 1])
            near = file["by_key"][first:last].astype(np.int64)
            keys = [each.tobytes() for each in self.leaves.keys(near)] if len(near) else []
            if key in keys:
                self.places[node] = first + keys.index(key)
                continue
            before = first + sum(each[:8] < key[:8] for each in keys)
            behind = first + sum(each[:8] <= key[:8] for each in keys)
            self.around.update(place for place in range(before - 1, behind + 1) if 0 <= place < self.leaves.nodes)

    def read(self, nodes: Iterable[str], direction: str) -> int:
        """Read the lists of nodes in a direction; return how many entries they have."""
        wanted = [node for node in nodes if node in self.places and (node, direction) not in self.lists]
        if not wanted:
            return 0
        file, name, events = self.leaves.file, _SIDES[direction], self.leaves.events
        numbers = file["by_key"][[self.places[node] for node in wanted]].astype(np.int64)
        bounds, places = self.leaves.spans(name, numbers)
        if bounds[-1] > MAXIMUM_ENTRIES:
            return int(bounds[-1])
        entries, seqs = file[name][places].tolist(), file[f"{name}_seq"][places].tolist()
        for row, node in enumerate(wanted):
            self.lists[node, direction] = [
                (
                    self._text(entry >> 2),
                    EDGE_TYPES[entry & 3].value,
                    seq,
                    int(events.label[seq]),
                    int(events.begin[seq]),
                    int(events.end[seq]),
                )
                for entry, seq in zip(
                    entries[bounds[row] : bounds[row + 1]], seqs[bounds[row] : bounds[row + 1]], strict=True
                )
            ]
        return int(bounds[-1])

    def document(self, logged: Logged, texts: dict[str, int]) -> dict[str, Any]:
        """Return what a proof encloses of this generation; ids go by their place in ``texts``, which grows."""
        tree = tree_of(self.leaves)
        made = commitment_of(self.partition.tenant, self.leaves.file, tree)
        leaf, proof = logged(made)
        named = {place: node for node, place in self.places.items()}
        places = sorted(self.around | set(named))
        return {
            "tenant": made.tenant,
            "generation": made.generation,
            "seq": made.seq,
            "nodes": made.nodes,
            "root": made.root.hex(),
            "logLeaf": leaf,
            "logProof": proof,
            "leaves": self._leaf_documents(places, named, texts),
            "hashes": [each.hex() for each in path_hashes(self.leaves, tree, places)],
        }

    def _leaf_documents(
        self, places: list[int], named: Mapping[int, str], texts: dict[str, int]
    ) -> list[dict[str, Any]]:
        if not places:
            return []
        order = np.array(places, dtype=np.int64)
        digests = self.leaves.hashes(order)[1]
        keys = self.leaves.keys(self.leaves.file["by_key"][order].astype(np.int64))

        def place_of(text: str) -> int:
            return texts.setdefault(text, len(texts))

        found: list[dict[str, Any]] = []
        for row, place in enumerate(places):
            node = named.get(place)
            leaf: dict[str, Any] = {"index": place}
            leaf |= {"key": keys[row].tobytes().hex()} if node is None else {"node": place_of(node)}
            for direction, words in (("ancestors", digests[row, :4]), ("descendants", digests[row, 4:])):
                read = None if node is None else self.lists.get((node, direction))
                shown = None if read is None else [[place_of(entry[0]), *entry[1:]] for entry in read]
                leaf[direction] = words.tobytes().hex() if shown is None else shown
            found.append(leaf)
        return found

    def _text(self, number: int) -> str:
        if number not in self._texts:
            self._texts[number] = decode_id(self.partition.encoded_id(number))
        return self._texts[number]


def _walk(parts: list[_Part], answer: Mapping[str, Any], moment: int) -> None:
    """Read every list that the walk of an answer expands."""
    passes = _PASSES[answer["direction"]]
    queues, seen = [[answer["root"]] for _ in passes], [{answer["root"]} for _ in passes]
    enclosed = 0
    for _ in range(answer["depth"]):
        for number, ways in enumerate(passes):
            following: dict[str, None] = {}
            for part in parts:
                part.find(queues[number])
                for way in ways:
                    enclosed += part.read(queues[number], way)
                    if enclosed > MAXIMUM_ENTRIES:
                        raise TooLargeError(
                            f"A proof encloses at most {MAXIMUM_ENTRIES} entries, those that have ended included",
                            field="depth",
                            value=answer["depth"],
                            mend="ask for fewer steps, or for one direction",
                        )
                    for node in queues[number]:
                        claims = part.lists.get((node, way), ())
                        following |= dict.fromkeys(each[0] for each in claims if each[4] <= moment < each[5])
            queues[number] = [node for node in following if node not in seen[number]]
            seen[number].update(queues[number])
