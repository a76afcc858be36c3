"""Which documents may leave the hot tier, and which never: marked from what is live, then swept.

Only recomputable detail goes: documents that bring nothing but ``uses`` edges, are of low value or superseded, and are
old enough. Age alone decides nothing: a document with one edge that lies below a live bundle or a legal hold stays,
however old, or the provenance of the base image that every live bundle stands on would go first.
Receipts, ``signs``, ``verifies`` and ``produces`` never go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from mc_pipelines.foundation.errors import InputError

Array = NDArray[Any]


class Selects(StrEnum):
    """What a rule is about."""

    LOW_VALUE = "low-value"
    """Documents that were ingested as recomputable detail."""
    SUPERSEDED = "superseded"
    """Documents that a newer version of their series ended."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When documents of a sort may go: so many days after they were recorded, or after they were superseded."""

    selects: Selects
    days: int

    def __post_init__(self) -> None:
        if self.days < 1:
            raise InputError("A rule keeps documents for a day at least", field="days", value=self.days)

    @property
    def name(self) -> str:
        """What tombstones say."""
        return f"{self.selects.value}-{self.days}d"


DEFAULT_RULES = (Rule(Selects.LOW_VALUE, 30), Rule(Selects.SUPERSEDED, 180))


@dataclass(frozen=True, slots=True)
class Document:
    """What retention knows of one document.

    Attributes:
        seq: its event.
        digest: its name.
        recorded_at: when we learnt it.
        low_value: whether it was ingested as recomputable detail.
        ended_at: since when it is superseded; None = it is not.
    """

    seq: int
    digest: str
    recorded_at: datetime
    low_value: bool
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Edges:
    """All claims of the tenant's graph as numbers: lower end, upper end, type, event (0: of the shared partition)."""

    lower: Array
    upper: Array
    type: Array
    seq: Array
    nodes: int


def rule_for(document: Document, rules: Iterable[Rule], now: datetime) -> Rule | None:
    """Return the first rule under which a document is old enough to go."""
    for rule in rules:
        since = document.recorded_at if rule.selects is Selects.LOW_VALUE else document.ended_at
        fits = document.low_value if rule.selects is Selects.LOW_VALUE else since is not None
        if fits and since is not None and since <= now - timedelta(days=rule.days):
            return rule
    return None


def ancestors_of(edges: Edges, roots: Sequence[int]) -> Array:
    """Return a flag per node: whether it is a root or an ancestor of one, over all claims whatever their time."""
    marked = np.zeros(edges.nodes, dtype=np.bool_)
    if not len(roots):
        return marked
    # One more node, below all roots, so that one walk finds the ancestors of all.
    lower = np.append(edges.lower, np.full(len(roots), edges.nodes))
    upper = np.append(edges.upper, roots)
    ones = np.ones(len(lower), dtype=np.int8)
    graph = csr_array((ones, (lower, upper)), shape=(edges.nodes + 1, edges.nodes + 1))
    found = breadth_first_order(graph, edges.nodes, directed=True, return_predecessors=False)
    marked[found[found < edges.nodes]] = True
    return marked


def may_go(edges: Edges, marked: Array, last: int) -> Array:
    """Return a flag per event up to ``last``: whether the document brings only ``uses``, none of it below a root."""
    own = edges.seq > 0
    kept = marked[edges.lower] | ((edges.type != 0) & (edges.type != _MENTIONS))
    counted = np.bincount(edges.seq[own & kept], minlength=last + 1)
    flags: Array = counted == 0
    return flags


_MENTIONS = 4
