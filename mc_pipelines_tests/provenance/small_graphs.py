"""Graphs in memory for tests: the log's rows without a database, and brute force over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.generation_file import LAYOUT, open_generation, write_generation
from mc_pipelines.provenance.generations import assemble
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.log_reader import FOREVER, Claims, Closures, Descriptions, Documents, Nodes
from mc_pipelines.provenance.partition import Older, Partition, extend, unread
from mc_pipelines.provenance.records import TYPE_MENTIONS

IDS = [
    *(f"sha256:{number:064x}" for number in range(6)),
    *(f"pkg:npm/a{number}@1" for number in range(6)),
    'run:ci/quo"te\\d',
    "run:https://ci.example/01890a5d-ac96-774b-bcce-b302099a8057",
    "gitoid:blob:sha256:" + "ab" * 32,
    "dataset:ünï/cødé",
]


@dataclass(frozen=True)
class Document:
    """A document of a small graph: edges as (source, target, type) over places in :data:`IDS`.

    ``says`` has (place, kind plus 8 for a stub) of what it calls something else than :func:`kind_of` does.
    """

    edges: tuple[tuple[int, int, int], ...]
    label: int = 0
    valid_from: int = 0
    valid_to: int = FOREVER
    permanent: bool = True
    says: tuple[tuple[int, int], ...] = ()

    def calls(self) -> dict[int, int]:
        """What it calls each place that it names."""
        ends = sorted({end for edge in self.edges for end in edge[:2]})
        return {place: dict(self.says).get(place, kind_of(place)) for place in ends}

    def covers(self, other: Document) -> bool:
        """Whether it is visible whenever ``other``, which comes later, is."""
        never_ends = self.permanent and self.valid_to == FOREVER
        return never_ends and self.label == other.label and self.valid_from <= other.valid_from


def kind_of(place: int) -> int:
    """The kind of each id, where a document says no other."""
    return place % 5


def order_of(kind: int) -> tuple[bool, int]:
    """What decides between kinds (plus 8 for a stub): a description first, then how special the kind is."""
    return not kind & 8, [1, 0, 2, 3, 4][kind & 7]


def told(documents: Sequence[Document]) -> list[tuple[int, int, int]]:
    """Event, place and kind of the descriptions that a log keeps: those that no earlier one implies."""
    kept: list[tuple[int, int, int]] = []
    for seq, document in enumerate(documents, start=1):
        for place, kind in document.calls().items():
            earlier = [one for one in kept if one[1] == place and one[0] < seq and order_of(one[2]) >= order_of(kind)]
            if not any(documents[one[0] - 1].covers(document) for one in earlier):
                kept.append((seq, place, kind))
    return kept


def descriptions(said: Sequence[tuple[int, int, int]]) -> Descriptions:
    """Rows of the log that say so."""
    keys = _keys()[[place for _, place, _ in said]]
    seq, kind = (np.array([one[at] for one in said], dtype=dtype) for at, dtype in ((0, np.int64), (2, np.uint8)))
    return Descriptions(keys[:, 0], keys[:, 1], seq, kind)


def _keys() -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(node_key(each) for each in IDS), dtype=">u8").astype(np.uint64).reshape(-1, 2)


def rows(documents: Sequence[Document], first: int, last: int) -> tuple[Documents, Claims, Nodes, Descriptions]:
    """The log's rows of events first to last (1-based, inclusive)."""
    chosen = list(documents[first - 1 : last])
    triples = [(first + place, edge) for place, document in enumerate(chosen) for edge in dict.fromkeys(document.edges)]
    keys = _keys()
    source = np.array([edge[0] for _, edge in triples], dtype=np.int64)
    target = np.array([edge[1] for _, edge in triples], dtype=np.int64)
    claims = Claims(
        np.array([seq for seq, _ in triples], dtype=np.int64),
        np.concatenate([keys[source], keys[target]], axis=1),
        np.array([edge[2] for _, edge in triples], dtype=np.int8),
    )
    said = [one for one in told(documents[:last]) if one[0] >= first]
    before = {place for document in documents[: first - 1] for place in document.calls()}
    names: dict[int, tuple[int, int]] = {}
    later = [one for one in said if one[1] in before or names.setdefault(one[1], (one[0], one[2])) != (one[0], one[2])]
    mentioned = sorted(names)
    text = [IDS[place].encode() for place in mentioned]
    begin = np.cumsum([0, *map(len, text)])[:-1].astype(np.int64)
    nodes = Nodes(
        keys[mentioned, 0],
        keys[mentioned, 1],
        np.array([names[place][0] for place in mentioned], dtype=np.int64),
        np.array([names[place][1] for place in mentioned], dtype=np.uint8),
        begin,
        np.array(list(map(len, text)), dtype=np.int64),
        np.frombuffer(b"".join(text), dtype=np.uint8),
    )
    made = Documents(
        first,
        last,
        np.ones(len(chosen), dtype=np.bool_),
        np.array([each.label for each in chosen], dtype=np.uint16),
        np.array([each.valid_from for each in chosen], dtype=np.int64),
        np.array([each.valid_to for each in chosen], dtype=np.int64),
        np.arange(first, last + 1, dtype=np.int64) * 1_000_000,
        np.array([each.permanent and each.valid_to == FOREVER for each in chosen], dtype=np.bool_),
        np.array([len(each.edges) for each in chosen], dtype=np.int64),
    )
    return made, claims, nodes, descriptions(later)


def whole(tenant: TenantId, documents: Sequence[Document]) -> dict[str, Any]:
    """The sections of a generation built from all documents, their claims read in pieces."""
    none = np.empty(0, dtype=np.int64)
    read, claims, nodes, said = rows(documents, 1, len(documents))
    cuts = np.searchsorted(claims.seq, np.arange(2, len(documents) + 1, 2), side="right")
    parts = zip(*(np.split(column, cuts) for column in (claims.seq, claims.ends, claims.type)), strict=True)
    return assemble(tenant, read, [Claims(*part) for part in parts], nodes, said, Closures(none, none, none))


def partition(
    documents: Sequence[Document],
    folder: Path,
    *,
    compacted: int,
    steps: Sequence[int] = (),
    tenant: str = "acme",
    closures: Closures | None = None,
) -> Partition:
    """A partition whose generation holds ``compacted`` documents; the others arrive in ``steps``."""
    none = np.empty(0, dtype=np.int64)
    ended = closures or Closures(none, none, none)
    owner = TenantId(tenant)
    base = None
    if compacted:
        sections = whole(owner, documents[:compacted])
        facts = {"layout": LAYOUT, "tenant": tenant, "seq": compacted, "nodes": 0, "edges": 0}
        base = open_generation(write_generation(folder, facts, sections)[0])
    made = unread(owner, "g", base)
    done = compacted
    for until in (*steps, len(documents)):
        if until > done:
            made = extend(made, *rows(documents, done + 1, until), ended, Older(_no_names, _told(documents[:until])))
            done = until
    return made


def _no_names(high: NDArray[np.uint64], _low: NDArray[np.uint64]) -> Nodes:
    raise AssertionError(high)


def _told(documents: Sequence[Document]) -> Callable[[NDArray[np.uint64], NDArray[np.uint64]], Descriptions]:
    def read(high: NDArray[np.uint64], _low: NDArray[np.uint64]) -> Descriptions:
        return descriptions([one for one in told(documents) if _keys()[one[1], 0] in high])

    return read


def seen_kinds_by_force(documents: Sequence[tuple[bool, Document]]) -> dict[int, int]:
    """What visible documents call each place: the best of all that any of them says."""
    found: dict[int, int] = {}
    for visible, document in documents:
        for place, kind in document.calls().items() if visible else ():
            found[place] = max(found.get(place, kind), kind, key=order_of)
    return found


def brute_force(
    documents: Sequence[tuple[bool, Document]], start: int, depth: int, *, up: bool, types: int = 15, kinds: int = 31
) -> tuple[set[int], set[tuple[int, int, int]]]:
    """Nodes and edges of a one-way walk over visible documents: sets only, no clever structure."""
    kind_seen = seen_kinds_by_force(documents)
    edges = {edge for visible, document in documents if visible for edge in document.edges if edge[2] != TYPE_MENTIONS}
    nodes, found, level = {start}, set(), {start}
    for _ in range(depth):
        following = set()
        for edge in edges:
            source, target, code = edge
            lower, upper = (source, target) if code == 0 else (target, source)
            here, there = (lower, upper) if up else (upper, lower)
            if here in level and types >> code & 1 and kinds >> (kind_seen[there] & 7) & 1:
                found.add(edge)
                following.add(there)
        level = following - nodes
        nodes |= following
    return nodes, found
