"""What stands behind an answer: which documents claim each edge, and what our check of them found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import text

from mc_pipelines.provenance.location import STATUSES, Opened
from mc_pipelines.provenance.model import PUBLIC, VerificationStatus
from mc_pipelines.provenance.snapshot import SHARED
from mc_pipelines.provenance.walk import ANCESTORS, Reached

Event = tuple[str, int]
"""A document's event: whose (the tenant or ``public``), and its seq."""
Claims = dict[int, list[Event]]
"""Entry (neighbour and type) to the visible events that claim it."""


@dataclass(frozen=True, slots=True)
class Backing:
    """What stands behind one edge.

    Attributes:
        status: the best outcome of our check among the documents that claim it.
        events: those documents, but for those that only repeat it.
    """

    status: VerificationStatus
    events: tuple[Event, ...]


def claims_at(opened: Opened, direction: int, node: int) -> Claims:
    """Return the visible claims at a node towards one direction, entry by entry.

    One that an earlier claim implies is left out, as a generation does it, so that an answer does not depend on which
    claims a generation has taken in.

    Args:
        opened: what may be seen.
        direction: ANCESTORS or DESCENDANTS.
        node: its number.
    """
    found: Claims = {}
    visible = opened.view.visible
    for entries, seq in opened.snapshot.slices(direction, node):
        shared = bool(len(seq)) and bool(seq[0] & SHARED)  # a slice is of one partition
        event = (seq & ~SHARED).astype(np.int64)
        mask = visible.shared if shared else visible.own
        owner = PUBLIC if shared else opened.tenant
        for place in np.flatnonzero(mask[event]):
            found.setdefault(int(entries[place]), []).append((owner, int(event[place])))
    return {entry: events if len(events) == 1 else _not_implied(opened, events) for entry, events in found.items()}


def _not_implied(opened: Opened, events: list[Event]) -> list[Event]:
    """Return the events but for those of which an earlier one says the same to every reader of theirs, for ever."""
    kept: list[Event] = []
    covering: set[tuple[str, int, int]] = set()
    for owner, seq in sorted(set(events)):
        documents = opened.partition_of(owner).documents
        label, begun = int(documents["doc_label"][seq]), int(documents["doc_valid_from"][seq])
        if any(each[:2] == (owner, label) and each[2] <= begun for each in covering):
            continue
        kept.append((owner, seq))
        if documents["doc_permanent"][seq]:
            covering.add((owner, label, begun))
    return kept


def backing_of(opened: Opened, reached: Reached, *, first_edge: int = 0) -> list[Backing]:
    """Return what stands behind each edge of an answer, in its order."""
    known: dict[int, Claims] = {}
    found = []
    for row in range(first_edge, len(reached.lower)):
        lower = int(reached.nodes[reached.lower[row]])
        if lower not in known:
            known[lower] = claims_at(opened, ANCESTORS, lower)
        entry = int(reached.nodes[reached.upper[row]]) << 2 | int(reached.code[row])
        events = tuple(sorted(set(known[lower][entry])))
        best = max((opened.status_of(*event) for event in events), key=STATUSES.index)
        found.append(Backing(best, events))
    return found


@dataclass(frozen=True, slots=True)
class Source:
    """A document that stands behind an answer, and our verdict on it."""

    digest: str
    format: str
    verification: dict[str, Any]


def sources_of(opened: Opened, events: set[Event]) -> dict[Event, Source]:
    """Return the documents of events, the tenant's own first; the caller made sure that they are visible."""
    if not events:
        return {}
    with opened.store.database.begin(tenant=opened.tenant) as connection:
        rows = connection.execute(
            text(
                "select tenant, seq, digest, format, verification from provenance_documents"
                " where (tenant = :tenant and seq = any(:own)) or (tenant = :public and seq = any(:shared))"
                " order by tenant = :public, seq"
            ),
            {
                "tenant": opened.tenant,
                "public": PUBLIC,
                "own": [seq for tenant, seq in events if tenant == opened.tenant],
                "shared": [seq for tenant, seq in events if tenant != opened.tenant],
            },
        )
        return {(row.tenant, row.seq): Source(row.digest, row.format, row.verification) for row in rows}
