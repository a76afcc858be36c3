"""What lies below a live bundle or a legal hold, kept up to date while the log goes on.

Reading a large log takes seconds, and nobody should wait for it: so it is read without a lock, and what was written
meanwhile is taken in under the lock, where it is little. That is sound because marks only grow: a new claim or a new
root adds ancestors and takes none away. (What retention itself removes was not below a root, so no mark hangs on it.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import csr, log_reader
from mc_pipelines.provenance.edge_log import head_of
from mc_pipelines.provenance.log_reader import Claims
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.records import TYPE_MENTIONS
from mc_pipelines.provenance.retention import Edges, ancestors_of

Array = NDArray[Any]


@dataclass
class Marks:
    """All claims that a tenant can see, whatever their time, and a mark at each node that must keep what is above it.

    Attributes:
        tenant: whose.
        edges: the claims as they were read first, by number of node.
        marked: a flag per number.
        roots: keys of the nodes whose ancestors are marked.
        positions: up to which event each partition was read.
        own: how many of the claims are the tenant's own; they come first, in order of event.
    """

    tenant: TenantId
    edges: Edges
    marked: Array
    roots: frozenset[bytes]
    positions: dict[TenantId, int]
    own: int
    _keys: tuple[Array, Array, Array]
    _later: dict[int, list[int]] = field(default_factory=dict)
    _later_keys: dict[bytes, int] = field(default_factory=dict)
    _upward: tuple[Array, Array] | None = None

    def number(self, key: bytes) -> int:
        """Return the number of a node's key, -1 where no claim names it."""
        later = self._later_keys.get(key)
        if later is not None:
            return later
        return int(self.numbers([key])[0])

    def numbers(self, keys: list[bytes]) -> Array:
        """Return the number of each key among the claims as they were read first, -1 where none of them names it."""
        halves = np.frombuffer(b"".join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        table, high, low = self._keys
        numbers: Array = csr.find_keys(halves[:, 0].copy(), halves[:, 1].copy(), table, high, low)
        return numbers

    def catch_up(self, connection: Connection, roots: Iterable[bytes]) -> None:
        """Take in what was claimed since, and further roots."""
        begin: list[int] = []
        for tenant, position in self.positions.items():
            head = head_of(connection, tenant)
            if head > position:
                begin += self._take(log_reader.read_claims(connection, tenant, after=position, upto=head))
                self.positions[tenant] = head
        fresh = frozenset(roots) - self.roots
        self.roots |= fresh
        begin += [number for key in fresh if (number := self.number(key)) >= 0]
        self.mark(begin)

    def needs(self, seq: int) -> bool:
        """Tell whether a claim of one of the tenant's events stands below a root."""
        begin, end = np.searchsorted(self.edges.seq[: self.own], [seq, seq + 1])
        return bool(np.any(self.marked[self.edges.lower[begin:end]]))

    def mark(self, nodes: Iterable[int]) -> list[int]:
        """Mark nodes and all their ancestors; return those that were not."""
        waiting, found = list(nodes), []
        while waiting:
            node = waiting.pop()
            if not self.marked[node]:
                self.marked[node] = True
                found.append(node)
                waiting += self._above(node)
        return found

    def _take(self, claims: Claims) -> list[int]:
        """Remember new edges; return the ancestors that they add to marked nodes."""
        high = np.stack([claims.source_high, claims.source_low, claims.target_high, claims.target_low], axis=1)
        found = []
        for row, code in zip(high.astype(">u8"), claims.type.tolist(), strict=True):
            source, target = (self._numbered(part.tobytes()) for part in (row[:2], row[2:]))
            uses = code in {0, TYPE_MENTIONS}
            lower, upper = (source, target) if uses else (target, source)
            self._later.setdefault(lower, []).append(upper)
            if self.marked[lower]:
                found.append(upper)
        return found

    def _numbered(self, key: bytes) -> int:
        number = self.number(key)
        if number < 0:
            number = self._later_keys[key] = len(self.marked)
            self.marked = np.append(self.marked, np.False_)
        return number

    def _above(self, node: int) -> list[int]:
        if self._upward is None:
            order = np.argsort(self.edges.lower, kind="stable")
            starts = np.searchsorted(self.edges.lower[order], np.arange(self.edges.nodes + 1))
            self._upward = starts, self.edges.upper[order]
        starts, upper = self._upward
        known = upper[starts[node] : starts[node + 1]].tolist() if node < self.edges.nodes else []
        return known + self._later.get(node, [])


def read_marks(connection: Connection, tenant: TenantId, roots: Iterable[bytes]) -> Marks:
    """Read all claims that a tenant can see and mark what its roots (keys of nodes) stand on."""
    positions = {each: head_of(connection, each) for each in dict.fromkeys((tenant, PUBLIC))}
    parts = [log_reader.read_claims(connection, each, after=0, upto=head) for each, head in positions.items()]
    joined = Claims(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))
    high, low, table, numbers = csr.number_ends(joined)
    source, target = numbers[0::2].astype(np.int64), numbers[1::2].astype(np.int64)
    code = joined.type.astype(np.int64)
    seq = np.concatenate([parts[0].seq, *(np.zeros(len(part.seq), dtype=np.int64) for part in parts[1:])])
    uses = (code == 0) | (code == TYPE_MENTIONS)
    edges = Edges(np.where(uses, source, target), np.where(uses, target, source), code, seq, len(high))
    kept = frozenset(roots)
    marks = Marks(
        tenant, edges, np.zeros(len(high), dtype=np.bool_), kept, positions, len(parts[0].seq), (table, high, low)
    )
    begin = [number for key in kept if (number := marks.number(key)) >= 0]
    marks.marked = ancestors_of(edges, begin)
    return marks


_COLUMNS = ("seq", "source_high", "source_low", "target_high", "target_low", "type")
