"""What lies below a live bundle or a legal hold, kept up to date while the log goes on.

Reading a large log takes seconds, and nobody should wait for it: so it is read without a lock, and what was written
meanwhile is taken in under the lock, where it is little. That is sound because marks only grow: a new claim or a new
root adds ancestors and takes none away. (What retention itself removes was not below a root, so no mark hangs on it.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import log_reader
from mc_pipelines.provenance.csr import Numbering
from mc_pipelines.provenance.edge_log import head_of
from mc_pipelines.provenance.log_reader import Claims
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.records import TYPE_MENTIONS
from mc_pipelines.provenance.retention import Edges, ancestors_of

Array = NDArray[Any]
_UPWARD = (0, TYPE_MENTIONS)
"""Types whose source is the lower end."""


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
    _numbering: Numbering
    _named: set[int] = field(default_factory=set)
    _later: dict[int, list[int]] = field(default_factory=dict)
    _upward: tuple[Array, Array] | None = None

    def number(self, key: bytes) -> int:
        """Return the number of a node's key, -1 where no claim names it."""
        return int(self.numbers([key])[0])

    def numbers(self, keys: list[bytes]) -> Array:
        """Return the number of each key, -1 where no claim names it."""
        halves = np.frombuffer(b"".join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        return self._numbering.find(halves[:, 0], halves[:, 1])

    def catch_up(self, connection: Connection, roots: Iterable[bytes]) -> None:
        """Take in what was claimed since, and further roots."""
        begin: list[int] = []
        for tenant, position in self.positions.items():
            head = head_of(connection, tenant)
            if head > position:
                taken = _claims(connection, tenant, after=position, upto=head)
                begin += self._take(taken, own=tenant == self.tenant)
                self.positions[tenant] = head
        fresh = frozenset(roots) - self.roots
        self.roots |= fresh
        begin += [number for key in fresh if (number := self.number(key)) >= 0]
        self.mark(begin)

    def needs(self, seq: int) -> bool:
        """Tell whether a claim of one of the tenant's events stands below a root."""
        begin, end = np.searchsorted(self.edges.seq[: self.own], [seq, seq + 1])
        return bool(np.any(self.marked[self.edges.lower[begin:end]]))

    def unclaimed(self, keys: list[bytes], *, without: Collection[int] = ()) -> list[bytes]:
        """Return those of the keys that no claim of the tenant names, but for the claims of some events."""
        if not keys:
            return []
        stays = ~np.isin(self.edges.seq[: self.own], list(without))
        claimed = np.zeros(len(self.marked) + 1, dtype=np.bool_)  # what no claim names has number -1: the last flag
        for ends in (self.edges.lower, self.edges.upper):
            claimed[ends[: self.own][stays]] = True
        claimed[list(self._named)] = True
        return [key for key, number in zip(keys, self.numbers(keys).tolist(), strict=True) if not claimed[number]]

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

    def _take(self, claims: Claims, *, own: bool) -> list[int]:
        """Remember new edges; return the ancestors that they add to marked nodes."""
        ends = self._numbering.add(claims.ends.reshape(-1, 2)).reshape(-1, 2)
        self._named.update(ends.ravel().tolist() if own else ())
        self.marked = np.append(self.marked, np.zeros(self._numbering.count - len(self.marked), dtype=np.bool_))
        found = []
        for (source, target), code in zip(ends.tolist(), claims.type.tolist(), strict=True):
            lower, upper = (source, target) if code in _UPWARD else (target, source)
            self._later.setdefault(lower, []).append(upper)
            if self.marked[lower]:
                found.append(upper)
        return found

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
    parts = [_claims(connection, each, after=0, upto=head) for each, head in positions.items()]
    joined = Claims.joined(parts)
    numbering = Numbering()
    source, target = numbering.add(joined.ends.reshape(-1, 2)).astype(np.int64).reshape(-1, 2).T
    code = joined.type.astype(np.int64)
    own = len(parts[0].seq)
    seq = np.append(joined.seq[:own], np.zeros(len(joined.seq) - own, dtype=np.int64))
    upward = np.isin(code, _UPWARD)
    edges = Edges(np.where(upward, source, target), np.where(upward, target, source), code, seq, numbering.count)
    kept = frozenset(roots)
    marks = Marks(tenant, edges, np.zeros(numbering.count, dtype=np.bool_), kept, positions, own, numbering)
    begin = [number for key in kept if (number := marks.number(key)) >= 0]
    marks.marked = ancestors_of(edges, begin)
    return marks


def _claims(connection: Connection, tenant: TenantId, *, after: int, upto: int) -> Claims:
    documents = log_reader.read_documents(connection, tenant, after=after, upto=upto)
    return log_reader.read_claims(connection, tenant, documents)
