"""Checking a proven answer offline: from the lists that it encloses to the roots it names, and the walk over them.

Nothing is believed but the roots, which the audit log has. Every list is hashed again, with all of its entries, up to
the root of its generation; a node that a generation does not know is shown by its neighbours in the tree; and the nodes
and edges of the answer are those of the breadth-first walk over these lists, in its order, none more and none less.
This module shares no code with the graph, so that one mistake is not made twice. The format: docs/provenance/proofs.md.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

FORMAT = "https://maestro-conductor.example/provenance-answer/v1"
COMMITMENT_TYPE = "https://maestro-conductor.example/provenance-commitment/v1"
TYPES = ("uses", "produces", "signs", "verifies")
UP, DOWN = "ancestors", "descendants"
_ENTRY, _LIST = struct.Struct("<16sIHBxqq"), struct.Struct("<B3xI")
_ROOT = struct.Struct("<B7xQQ")
_TAGS = {UP: 2, DOWN: 3}
_HASH_BYTES, _KEY_BYTES = 32, 16
_PASSES = {UP: [[UP]], DOWN: [[DOWN]], "both": [[UP], [DOWN]], "undirected": [[UP, DOWN]]}

Claim = tuple[str, str]
"""A neighbour and the type of the edge to it."""


@dataclass
class Checked:
    """What a check found.

    Attributes:
        proved: what holds, one sentence each.
        problems: what does not.
        not_proved: what the file alone cannot show.
        commitments: what must be in the audit log, as the bytes that its entries commit to.
    """

    proved: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    commitments: list[bytes] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return bool(self.proved) and not self.problems


class WrongError(Exception):
    """Something in the file that does not hold."""


def check_answer(document: Any, *, own_only: bool = False) -> Checked:
    """Check a proven answer against the roots that it names; whether the log has them is for who has its keys.

    Args:
        document: the parsed file.
        own_only: be content with the tenant's own generation. Nothing in it says whether there was a shared one, so a
            file from which that was cut out cannot be told from one that never had it, and does not hold otherwise.
    """
    found = Checked()
    try:
        _check(document, found, own_only=own_only)
    except WrongError as wrong:
        found.problems.append(str(wrong))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, struct.error) as error:
        found.problems.append(f"It is no proven answer: {type(error).__name__} {error}")
    return found


def _check(document: Mapping[str, Any], found: Checked, *, own_only: bool) -> None:
    _require(document["format"] == FORMAT, "It is no proven answer of a version known here")
    answer, ids = document["answer"], document["ids"]
    _require(len(set(ids)) == len(ids), "An id is listed twice")
    moment = _microseconds(answer["asOf"])
    parts = [_Partition(each, ids, moment) for each in document["partitions"]]
    seqs = [answer["snapshot"]["seq"], answer["snapshot"]["shared"]]
    expected = seqs if seqs[1] else seqs[:1]
    _require([part.seq for part in parts] == expected, "The answer was not read at the events of its generations")
    _require(len(parts) == 1 or parts[1].tenant == "public", "The second generation is not the shared one")
    nodes, edges = _walk(parts, answer["root"], answer["depth"], answer["direction"])
    _require([each["id"] for each in answer["nodes"]] == nodes, "The nodes are not those of the walk")
    said = [(each["from"], each["to"], each["type"]) for each in answer["edges"]]
    _require(said == edges, "The edges are not those of the walk")
    whole = answer["complete"] is True and answer["truncated"] is None and not answer["fanOut"] and not answer["pruned"]
    _require(whole, "The answer says of itself that it is not whole")
    for part in parts:
        _require(part.used == set(part.places), "A leaf is enclosed that the walk does not need")
        found.commitments.append(part.commitment)
        found.proved.append(
            f"All {part.lists} lists it needs are whole in {part.tenant}'s generation, root {part.root}."
        )
    alone = len(parts) == 1 and parts[0].tenant != "public"
    over = f" over what {parts[0].tenant}'s own documents say" if alone else ""
    found.proved.append(
        f"Its {len(nodes)} nodes and {len(edges)} edges are the whole walk from {answer['root']}{over}."
    )
    found.not_proved.append("What kind each node is, and what `conflicts` names: only adjacency is committed to.")
    found.not_proved.append("That nothing was learnt since: it is the answer of these generations.")
    if alone:
        found.not_proved.append("That the shared partition had nothing to add: its generation is not in the file.")
        _require(own_only, "The shared partition is left out; an answer over the tenant's own documents has to do")


class _Partition:
    """One generation: its enclosed leaves, checked against its root when made."""

    def __init__(self, document: Mapping[str, Any], ids: list[str], moment: int) -> None:
        self.tenant, self.seq, self.root = document["tenant"], document["seq"], document["root"]
        nodes = document["nodes"]
        _require(type(nodes) is int and nodes >= 0 and type(self.seq) is int, "A generation has a number of nodes")
        self.nodes, self.lists, self._ids, self._moment = nodes, 0, ids, moment
        self.places: dict[int, bytes] = {}
        self.used: set[int] = set()
        self._claims: dict[tuple[bytes, str], list[Claim]] = {}
        self._known: dict[bytes, int] = {}
        hashes = {}
        for leaf in document["leaves"]:
            place, key = leaf["index"], _key(ids[leaf["node"]]) if "node" in leaf else bytes.fromhex(leaf["key"])
            _require(type(place) is int and 0 <= place < nodes and place not in hashes, "A leaf has no place")
            _require(len(key) == _KEY_BYTES and key not in self._known, "Two leaves are of one node")
            both = self._list(leaf, key, UP) + self._list(leaf, key, DOWN)
            hashes[place], self.places[place], self._known[key] = _hash(bytes(8) + key + both), key, place
        for one, other in pairwise(sorted(self.places)):
            _require(self.places[one][:8] <= self.places[other][:8], "The leaves are not in order")
        top = _top(nodes, hashes, [bytes.fromhex(each) for each in document["hashes"]])
        root = _hash(_ROOT.pack(4, nodes, self.seq) + top)
        _require(root.hex() == self.root, f"The lists do not lead to the root of {self.tenant}'s generation")
        facts = {name: document[name] for name in ("tenant", "generation", "seq", "nodes", "root")}
        commitment = json.dumps(facts | {"_type": COMMITMENT_TYPE}, sort_keys=True, separators=(",", ":"))
        self.commitment = commitment.encode()

    def claims(self, node: str, direction: str) -> list[Claim]:
        """Return all that this generation claims at a node, newest first, each once."""
        key = _key(node)
        if key in self._known:
            _require((key, direction) in self._claims, f"The {direction} of {node} are not enclosed")
            self.used.add(self._known[key])
            return self._claims[key, direction]
        self._show_absence(node, key[:8])
        return []

    def _show_absence(self, node: str, first: bytes) -> None:
        """Check that leaves side by side leave no place for a node, from one before it to one behind it."""
        same = [place for place in sorted(self.places) if self.places[place][:8] == first]
        before = max((place for place in self.places if self.places[place][:8] < first), default=-1)
        behind = min((place for place in self.places if self.places[place][:8] > first), default=self.nodes)
        window = [before, *same, behind]
        _require(window == list(range(before, behind + 1)), f"That {self.tenant} knows nothing of {node} is not shown")
        self.used.update(place for place in window if 0 <= place < self.nodes)

    def _list(self, leaf: Mapping[str, Any], key: bytes, direction: str) -> bytes:
        """Return the digest of a leaf's list; keep what of it holds at the moment of the answer."""
        given = leaf[direction]
        if isinstance(given, str):
            digest = bytes.fromhex(given)
            _require(len(digest) == _HASH_BYTES, "A hash is 32 bytes")
            return digest
        packed, holds = [], []
        for neighbour, code, seq, label, begin, end in given:
            packed.append(_ENTRY.pack(_key(self._ids[neighbour]), seq, label, TYPES.index(code), begin, end))
            if begin <= self._moment < end:
                holds.append((self._ids[neighbour], code))
        self.lists += 1
        self._claims[key, direction] = list(dict.fromkeys(reversed(holds)))
        return _hash(_LIST.pack(_TAGS[direction], len(packed)) + b"".join(packed))


def _walk(
    parts: list[_Partition], start: str, depth: int, direction: str
) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Return the nodes and edges (from, to, type) of the walk: level by level, ancestors first, newest first."""
    passes = _PASSES[direction]
    place, edges = {start: 0}, dict[tuple[str, str, str], None]()
    queues, seen = [[start] for _ in passes], [{start} for _ in passes]
    for _ in range(depth):
        for number, ways in enumerate(passes):
            following = []
            for node in queues[number]:
                for way in ways:
                    claimed = dict.fromkeys(claim for part in parts for claim in part.claims(node, way))
                    for other, code in claimed:
                        place.setdefault(other, len(place))
                        forward = (way == UP) == (code == "uses")
                        edges[(node, other, code) if forward else (other, node, code)] = None
                        if other not in seen[number]:
                            seen[number].add(other)
                            following.append(other)
            queues[number] = following
    return list(place), list(edges)


def _top(nodes: int, known: dict[int, bytes], given: list[bytes]) -> bytes:
    """Return the hash over all leaves from some, taking what is missing row by row."""
    _require(all(len(each) == _HASH_BYTES for each in given), "A hash is 32 bytes")
    _require(bool(known) == bool(nodes), "Of a generation with nodes, leaves are enclosed")
    missing = iter(given)
    while nodes > 1:
        above = {}
        for place in sorted(known):
            other = place ^ 1
            if other >= nodes:
                above[place >> 1] = known[place]
            elif other not in known or place < other:
                sibling = known.get(other) or next(missing, b"")
                pair = known[place] + sibling if place < other else sibling + known[place]
                above[place >> 1] = _hash(b"\x01" + bytes(7) + pair)
        known, nodes = above, (nodes + 1) // 2
    _require(next(missing, None) is None, "There are more hashes than the tree has")
    return known.get(0, bytes(_HASH_BYTES))


def _microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    _require(moment.tzinfo is not None, "A moment has a zone")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _key(node: str) -> bytes:
    return hashlib.blake2b(node.encode(), digest_size=_KEY_BYTES).digest()


def _hash(message: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=_HASH_BYTES).digest()


def _require(holds: bool, wrong: str) -> None:
    if not holds:
        raise WrongError(wrong)
