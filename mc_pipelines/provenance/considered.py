"""Which bundles a survey of the whole graph looks at: the live ones, or all that can be seen where none is live."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from mc_pipelines.provenance.ancestry import Ancestry
from mc_pipelines.provenance.cone import kinds_of
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.kernel import have_edges
from mc_pipelines.provenance.location import Opened
from mc_pipelines.provenance.model import KIND_CODE, PUBLIC
from mc_pipelines.provenance.records import TYPE_MENTIONS
from mc_pipelines.provenance.snapshot import Snapshot

Array = NDArray[Any]
MAXIMUM_BUNDLES = 10_000
"""Bundles that a survey looks at; where there are more, the answer says so."""
_BUNDLE = KIND_CODE["bundle"]


def considered_bundles(opened: Opened, live: list[str]) -> tuple[list[int], str]:
    """Return the numbers of the bundles that a survey looks at, and which they are: the live ones, else ``all``.

    A bundle of which the reader may see nothing is none of them, live or not: she would learn its id.
    """
    snapshot = opened.snapshot
    if live:
        numbers = numbers_of(snapshot, [node_key(name) for name in live])
        known = np.flatnonzero(numbers >= 0)
        seen = have_edges(snapshot, opened.view.visible, numbers[known])
        named = _mentioned(opened, [live[place] for place in known[~seen]])
        seen |= np.array([live[place] in named for place in known], dtype=np.bool_)
        return sorted(set(numbers[known[seen]].tolist())), "live"
    called = snapshot.candidates(_BUNDLE)
    bundles = called[have_edges(snapshot, opened.view.visible, called)]
    return bundles[kinds_of(opened, bundles) == _BUNDLE].tolist(), "all"


def numbers_of(snapshot: Snapshot, keys: list[bytes]) -> Array:
    """Return the number of each node key, -1 where neither partition knows it."""
    halves = np.frombuffer(b"".join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    numbers = snapshot.own.find_keys(halves[:, 0], halves[:, 1])
    if snapshot.shared is not None:
        missing = np.flatnonzero(numbers < 0)
        there = snapshot.shared.find_keys(halves[missing, 0], halves[missing, 1])
        numbers[missing] = np.where(there < 0, -1, snapshot.own.nodes + there)
    return numbers


def flagged(opened: Opened, above: Ancestry, keys: list[bytes]) -> Array:
    """Return a flag per place of an ancestry: whether it is a node of one of the keys."""
    flags = np.zeros(len(above.nodes), dtype=np.bool_)
    if keys:
        numbers = numbers_of(opened.snapshot, keys)
        places = above.place[numbers[numbers >= 0]]
        flags[places[places >= 0]] = True
    return flags


def _mentioned(opened: Opened, names: list[str]) -> set[str]:
    """Return those of the nodes that a visible document names without an edge."""
    if not names:
        return set()
    by_key = {UUID(bytes=node_key(name)): name for name in names}
    with opened.store.database.begin(tenant=opened.tenant) as connection:
        rows = connection.execute(
            text(
                "select tenant, seq, source from provenance_claims"
                " where source = any(:keys) and type = :mention and tenant in (:tenant, :public)"
            ),
            {"keys": list(by_key), "mention": TYPE_MENTIONS, "tenant": opened.tenant, "public": PUBLIC},
        ).all()
    return {by_key[row.source] for row in rows if opened.may_read(row.tenant, row.seq)}
