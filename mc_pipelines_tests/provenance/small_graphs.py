"""Graphs in memory for tests: the log's rows without a database, and brute force over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.generation_file import LAYOUT, open_generation, write_generation
from mc_pipelines.provenance.generations import assemble
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.log_reader import FOREVER, Claims, Closures, Documents, Nodes
from mc_pipelines.provenance.partition import Partition, extend, unread
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
    """A document of a small graph: edges as (source, target, type) over places in :data:`IDS`."""

    edges: tuple[tuple[int, int, int], ...]
    label: int = 0
    valid_from: int = 0
    valid_to: int = FOREVER
    permanent: bool = True


def kind_of(place: int) -> int:
    """The kind of each id; a function of the id, so that all documents agree."""
    return place % 5


def rows(
    documents: Sequence[Document], first: int, last: int, known: set[int] | None = None
) -> tuple[Documents, Claims, Nodes]:
    """The log's rows of events first to last (1-based, inclusive)."""
    chosen = list(documents[first - 1 : last])
    triples = [(first + place, edge) for place, document in enumerate(chosen) for edge in dict.fromkeys(document.edges)]
    keys = np.frombuffer(b"".join(node_key(each) for each in IDS), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    source = np.array([edge[0] for _, edge in triples], dtype=np.int64)
    target = np.array([edge[1] for _, edge in triples], dtype=np.int64)
    claims = Claims(
        np.array([seq for seq, _ in triples], dtype=np.int64),
        np.concatenate([keys[source], keys[target]], axis=1),
        np.array([edge[2] for _, edge in triples], dtype=np.int8),
    )
    mentioned = sorted({*source.tolist(), *target.tolist()} - (known or set()))
    text = [IDS[place].encode() for place in mentioned]
    begin = np.cumsum([0, *map(len, text)])[:-1].astype(np.int64)
    nodes = Nodes(
        keys[mentioned, 0],
        keys[mentioned, 1],
        np.array([kind_of(place) for place in mentioned], dtype=np.uint8),
        np.zeros(len(mentioned), dtype=np.uint8),
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
    return made, claims, nodes


def whole(tenant: TenantId, documents: Sequence[Document]) -> dict[str, Any]:
    """The sections of a generation built from all documents, their claims read in pieces."""
    none = np.empty(0, dtype=np.int64)
    read, claims, nodes = rows(documents, 1, len(documents))
    cuts = np.searchsorted(claims.seq, np.arange(2, len(documents) + 1, 2), side="right")
    parts = zip(*(np.split(column, cuts) for column in (claims.seq, claims.ends, claims.type)), strict=True)
    return assemble(tenant, read, [Claims(*part) for part in parts], nodes, Closures(none, none, none))


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
    known = {end for document in documents[:compacted] for edge in document.edges for end in edge[:2]}
    done = compacted
    for until in (*steps, len(documents)):
        if until > done:
            made = extend(made, *rows(documents, done + 1, until, known), ended)
            known |= {end for document in documents[done:until] for edge in document.edges for end in edge[:2]}
            done = until
    return made


def brute_force(
    documents: Sequence[tuple[bool, Document]], start: int, depth: int, *, up: bool, types: int = 15, kinds: int = 31
) -> tuple[set[int], set[tuple[int, int, int]]]:
    """Nodes and edges of a one-way walk over visible documents: sets only, no clever structure."""
    edges = {edge for visible, document in documents if visible for edge in document.edges if edge[2] != TYPE_MENTIONS}
    nodes, found, level = {start}, set(), {start}
    for _ in range(depth):
        following = set()
        for edge in edges:
            source, target, code = edge
            lower, upper = (source, target) if code == 0 else (target, source)
            here, there = (lower, upper) if up else (upper, lower)
            if here in level and types >> code & 1 and kinds >> kind_of(there) & 1:
                found.add(edge)
                following.add(there)
        level = following - nodes
        nodes |= following
    return nodes, found
