"""What documents say that nodes are, as generations and segments hold it: a byte a node, and rows where it matters.

A node is, to a reader, what the best of the descriptions that she may see says (:mod:`mc_pipelines.provenance.rank`).
Where all descriptions of a node say the same, that is the node's byte and no more is kept. Where they differ, the byte
is what the best of all says, marked :data:`SEVERAL`, and each description stands as a row: of a node the best first, so
that the first visible one decides.

A description by a document that claims no edge of the node stands as a row too: no list of edges tells whether it is
visible, which matters where the tenant and the shared partition both know the node and differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.rank import KIND_OF, ORDER_OF, ORDERS
from mc_pipelines.provenance.segment import Lists

Array = NDArray[Any]
SEVERAL = 16
"""Marks a node of which not all descriptions say the same."""
KIND_AND_STUB = SEVERAL - 1


class Said(NamedTuple):
    """Descriptions in any order: numbers of nodes, events, kinds plus 8 for a stub."""

    node: Array
    seq: Array
    kind: Array

    def where(self, keep: Array) -> Said:
        """Return some of them."""
        return Said(self.node[keep], self.seq[keep], self.kind[keep])

    def joined(self, other: Said) -> Said:
        """Return these and others."""
        return Said(*(np.append(mine, theirs) for mine, theirs in zip(self, other, strict=True)))


def best_kinds(count: int, said: Said) -> Array:
    """Return of each of ``count`` nodes the kind plus 8 for a stub that its best description says, marked SEVERAL."""
    order = ORDER_OF[said.kind]
    best, least = np.zeros(count, dtype=np.uint8), np.full(count, ORDERS, dtype=np.uint8)
    np.maximum.at(best, said.node, order)
    np.minimum.at(least, said.node, order)
    # A document may be removed between two statements that read the log; its nodes are hidden from the next event on.
    return KIND_OF[best] | ((least < best).astype(np.uint8) * np.uint8(SEVERAL))


def better_of(first: Array, second: Array) -> Array:
    """Return of each pair of kinds the one that outranks, marked SEVERAL where they differ or one of them is."""
    one, other = first & KIND_AND_STUB, second & KIND_AND_STUB
    several = ((first | second) & SEVERAL) | ((one != other).astype(np.uint8) * np.uint8(SEVERAL))
    found: Array = np.where(ORDER_OF[one] >= ORDER_OF[other], one, other) | several
    return found


def said_lists(said: Said) -> Lists:
    """Return descriptions as lists by node; an entry is how far its order is from the highest there is."""
    entry = np.uint8(ORDERS - 1) - ORDER_OF[said.kind]
    place = np.lexsort((said.seq, entry, said.node))
    owner = said.node[place]
    starts = np.flatnonzero(np.diff(owner.astype(np.int64), prepend=-1) > 0)
    return Lists(
        owner[starts].astype(np.uint32),
        np.append(starts, len(owner)).astype(np.uint32),
        entry[place].astype(np.uint32),
        said.seq[place].astype(np.uint32),
    )


def said_in(lists: Lists) -> Said:
    """Return the descriptions of lists."""
    start = lists.start.astype(np.int64)
    owner = np.repeat(lists.owners.astype(np.int64), start[1:] - start[:-1])
    return Said(owner, lists.seq.astype(np.int64), KIND_OF[ORDERS - 1 - lists.entries.astype(np.int64)])


def said_sections(lists: Lists) -> dict[str, Array]:
    """Return the sections of a generation that hold lists."""
    return {
        "said_owner": lists.owners,
        "said_start": lists.start,
        "said": lists.entries.astype(np.uint8),
        "said_seq": lists.seq,
    }


def said_lists_in(sections: Mapping[str, Array]) -> Lists:
    """Return the lists that sections of a generation hold."""
    return Lists(*(sections[name] for name in ("said_owner", "said_start", "said", "said_seq")))


def kept_rows(said: Said, kind: Array, mentions: tuple[Array, Array]) -> Array:
    """Tell which descriptions stand as rows.

    Args:
        said: the descriptions.
        kind: what :func:`best_kinds` says of the node of each.
        mentions: numbers of nodes, and events, of claims that name a node without an edge.
    """
    kept: Array = (kind & SEVERAL) != 0
    if len(mentions[0]):
        kept |= np.isin(_pairs(said.node, said.seq), _pairs(*mentions))
    return kept


def _pairs(node: Array, seq: Array) -> Array:
    return node.astype(np.uint64) << np.uint64(32) | seq.astype(np.uint64)


def said_of(count: int, said: Said, mentions: tuple[Array, Array]) -> tuple[Array, dict[str, Array]]:
    """Return what ``count`` nodes are, as :func:`best_kinds`, and the sections of the descriptions that stand as rows.

    Args:
        count: how many nodes there are.
        said: all descriptions.
        mentions: see :func:`kept_rows`.
    """
    kind = best_kinds(count, said)
    return kind, said_sections(said_lists(said.where(kept_rows(said, kind[said.node], mentions))))


@dataclass(frozen=True, slots=True)
class News:
    """What consecutive events say of nodes.

    Attributes:
        kind: of each new node, as in :func:`best_kinds`.
        changed: numbers of older nodes of which that is another than before, ascending.
        changed_kind: what it is.
        lists: the rows.
    """

    kind: Array
    changed: Array
    changed_kind: Array
    lists: Lists


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of older nodes, by their numbers, ascending.

    Attributes:
        kinds: as in :func:`best_kinds`.
        rows: rows that stand already.
        everything: all descriptions in the log, the new ones too.
    """

    kinds: Callable[[Array], Array]
    rows: Callable[[Array], Said]
    everything: Callable[[Array], Said]


def take_in(said: Said, mentions: tuple[Array, Array], first: int, fresh: int, before: Before) -> News:
    """Return what the next events' descriptions change.

    A node that they are the first to call something else gets a row for each description, old ones too: those are
    read once. Of any other node nothing old is read, however many descriptions it has.

    Args:
        said: the new descriptions.
        mentions: see :func:`kept_rows`.
        first: number of the first new node.
        fresh: how many new nodes there are.
        before: tells of older nodes.
    """
    nodes, row = np.unique(said.node, return_inverse=True)
    kind = best_kinds(len(nodes), Said(row, said.seq, said.kind))
    older = nodes < first
    was = kind.copy()
    was[older] = before.kinds(nodes[older])
    kind = better_of(was, kind)
    turned = older & ((kind & SEVERAL) > (was & SEVERAL))
    rows = said.where(kept_rows(said, kind[row], mentions) & ~turned[row])
    if bool(turned.any()):
        every, standing = before.everything(nodes[turned]), before.rows(nodes[turned])
        new = ~np.isin(_pairs(every.node, every.seq), _pairs(standing.node, standing.seq))
        rows = rows.joined(every.where(new))
    made = np.full(fresh, KIND_OF[0], dtype=np.uint8)
    made[nodes[~older] - first] = kind[~older]
    changed = older & (kind != was)
    return News(made, nodes[changed], kind[changed], said_lists(rows))


def rows_of(lists: Lists, nodes: Array) -> Said:
    """Return the rows of some nodes, whose numbers ascend."""
    place = np.searchsorted(lists.owners, nodes)
    place = place[place < len(lists.owners)]
    place = np.unique(place)
    place = place[np.isin(lists.owners[place], nodes)]
    begin = lists.start[place].astype(np.int64)
    length = lists.start[place + 1].astype(np.int64) - begin
    at = np.repeat(begin - np.cumsum(length) + length, length) + np.arange(int(length.sum()))
    kinds = KIND_OF[ORDERS - 1 - lists.entries[at].astype(np.int64)]
    return Said(np.repeat(lists.owners[place].astype(np.int64), length), lists.seq[at].astype(np.int64), kinds)
