"""Where a question begins: what its reader may see of a snapshot, and the node that she names.

A node that nobody knows, one that only others know and one that is hidden from this reader are answered by the same
error. A node without edges of its own may stand for another by an alias claim, if there is exactly one; a node whose
claims retention removed is gone, which is another answer than unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError, NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import PRUNED, Filter, View
from mc_pipelines.provenance.cursor import Cursor
from mc_pipelines.provenance.id_texts import ids_of
from mc_pipelines.provenance.identity import NodeId, node_key
from mc_pipelines.provenance.kernel import have_edges
from mc_pipelines.provenance.labels import verification_of
from mc_pipelines.provenance.log_reader import microseconds
from mc_pipelines.provenance.model import EDGE_TYPES, PUBLIC, VerificationStatus
from mc_pipelines.provenance.partition import Partition
from mc_pipelines.provenance.request import QueryError, Scope
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.store import GraphStore

STATUSES = tuple(VerificationStatus)
"""Position = the code of a status in a label."""

Array = NDArray[Any]
Names = Iterable[str]


class AmbiguousAliasError(InputError):
    """A node that stands for several others by alias claims."""

    slug, title, status = "ambiguous-alias", "Ambiguous alias", 422


class PrunedError(NotFoundError):
    """A node of this tenant whose claims retention removed."""

    slug, title, status = "pruned", "Pruned", 410


@dataclass(frozen=True, slots=True)
class Opened:
    """A snapshot and what of it one reader may see at one moment.

    Attributes:
        store: where it was opened.
        tenant: whose graph.
        snapshot: the graph.
        view: what may be seen.
        allowed: the filter behind the view.
        valid_at: the moment at which claims hold, microseconds since 1970.
    """

    store: GraphStore
    tenant: TenantId
    snapshot: Snapshot
    view: View
    allowed: Filter
    valid_at: int

    def may_read(self, tenant: str, seq: int) -> bool:
        """Tell whether the claims of an event may be read: the tenant's own or those of the shared partition."""
        mask = self.view.visible.own if tenant == self.tenant else self.view.visible.shared
        return bool(0 <= seq < len(mask) and mask[seq])

    def status_of(self, tenant: str, seq: int) -> VerificationStatus:
        """Return what our check of the document of a visible event found."""
        return STATUSES[verification_of(int(self.partition_of(tenant).documents["doc_label"][seq]))]

    def partition_of(self, tenant: str) -> Partition:
        """Return the partition of an event: the tenant's own or the shared one."""
        own = tenant == self.tenant or self.snapshot.shared is None
        partition = self.snapshot.own if own else self.snapshot.shared
        assert partition is not None  # noqa: S101 - decided one line above
        return partition


@dataclass(frozen=True, slots=True)
class Found:
    """A node in a snapshot.

    Attributes:
        number: in the snapshot.
        node: its id.
        asked: the id by which it was asked for.
        status: of the alias claim that led from one to the other; None where they are the same.
    """

    number: int
    node: NodeId
    asked: NodeId
    status: VerificationStatus | None = None

    def document(self) -> dict[str, Any] | None:
        """Say in an answer that an alias was followed."""
        if self.status is None:
            return None
        return {"from": self.asked, "to": self.node, "status": self.status.value}


def open_view(
    store: GraphStore,
    tenant: TenantId,
    scope: Scope,
    allowed: Filter,
    before: Cursor | None = None,
    *,
    snapshot: Snapshot | None = None,
) -> Opened:
    """Return what a reader may see, at the moment and the knowledge that she asks for.

    Args:
        store: open snapshots.
        tenant: whose graph, from the verified credential.
        scope: what is asked.
        allowed: what the policy lets the reader see.
        before: the cursor of a page: then its events and moment hold.
        snapshot: the graph, where it was taken already; None = the newest.

    Raises:
        QueryError: retention removed something since the page before, so that the pages would not join.
    """
    if scope.verified_only:
        allowed = allowed.narrowed([VerificationStatus.VERIFIED])
    snapshot = snapshot or store.snapshot(tenant, min_seq=scope.min_seq)
    position = None if before is None else before.position
    valid_at = None if scope.as_of is None else microseconds(scope.as_of)
    if before is not None:
        valid_at = before.valid_at
        refuse_pruned_since(snapshot, before)
    elif scope.known_at is not None:
        position = known_at(snapshot, microseconds(scope.known_at))
    view = store.view(tenant, snapshot, allowed, valid_at=valid_at, position=position)
    moment = microseconds(store.clock.now()) if valid_at is None else valid_at
    return Opened(store, tenant, snapshot, view, allowed, moment)


def refuse_pruned_since(snapshot: Snapshot, before: Cursor) -> None:
    """Refuse a cursor of a page that was read before retention removed something.

    Raises:
        QueryError: it did.
    """
    parts = [(snapshot.own, before.position[0])]
    if snapshot.shared is not None:
        parts.append((snapshot.shared, before.position[1]))
    for partition, position in parts:
        ended = partition.closures
        if bool(np.any((ended.valid_to == PRUNED) & (ended.seq > position))):
            raise QueryError(
                "Retention removed something since the page before", field="cursor", mend="begin again without a cursor"
            )


def known_at(snapshot: Snapshot, moment: int) -> tuple[int, int]:
    """Return the last events recorded up to ``moment`` (microseconds since 1970): the tenant's and the shared."""

    def last(recorded: Any) -> int:
        return int(np.searchsorted(np.maximum.accumulate(recorded), moment, side="right")) - 1

    shared = 0 if snapshot.shared is None else last(snapshot.shared.documents["doc_recorded"])
    return last(snapshot.own.documents["doc_recorded"]), shared


def no_such_node(field: str) -> NotFoundError:
    """Return the one refusal of a node that there is not, is another tenant's or is hidden from the reader."""
    mend = "`mc provenance nodes`, or GET /api/provenance/nodes, lists those that you may know of"
    return NotFoundError("There is no such node", field=field, mend=mend)


def find_node(opened: Opened, node: NodeId, resolve: str, *, field: str = "node") -> Found:
    """Find a node in what may be seen.

    Args:
        opened: what may be seen.
        node: its id.
        resolve: which alias claims may stand for it.
        field: named in errors.

    Raises:
        NotFoundError: no such node, or none that this reader may know of; the two cannot be told apart.
        AmbiguousAliasError: it has no edges of its own and stands for several nodes that have.
        PrunedError: retention removed its claims.
    """
    number = opened.snapshot.find(node)
    if _has_edges(opened, number):
        return Found(number, node, node)
    candidates = [each for each in aliases_of(opened, node, resolve) if _has_edges(opened, each.number)]
    if len(candidates) > 1:
        raise AmbiguousAliasError(
            f"The node has no edges of its own and stands for {len(candidates)} nodes",
            field=field,
            mend="ask for one of the candidates",
            candidates=[{"id": each.node, "status": each.status} for each in candidates],
        )
    if candidates:
        return candidates[0]
    if is_mentioned(opened, node):
        return Found(number, node, node)
    gone = tombstones(opened, [node])
    if gone:
        raise PrunedError("Retention removed the claims about this node", field=field, tombstones=gone)
    raise no_such_node(field)


def aliases_of(opened: Opened, node: NodeId, resolve: str = "claimed") -> list[Found]:
    """Return the nodes that a node stands for by visible alias claims, in order of their ids; verified ones outrank."""
    if resolve == "none":
        return []
    with opened.store.database.begin(tenant=opened.tenant) as connection:
        rows = connection.execute(
            text(
                "select a.tenant, a.seq, n.id from provenance_aliases a join provenance_nodes n on n.tenant = a.tenant"
                " and n.node = case when a.first = cast(:key as uuid) then a.second else a.first end"
                " where a.tenant in (:tenant, :public)"
                " and (a.first = cast(:key as uuid) or a.second = cast(:key as uuid)) order by n.id, a.tenant, a.seq"
            ),
            {"key": str(UUID(bytes=node_key(node))), "tenant": opened.tenant, "public": PUBLIC},
        ).all()
    best: dict[str, VerificationStatus] = {}
    for row in rows:
        if not opened.may_read(row.tenant, row.seq):
            continue
        status = opened.status_of(row.tenant, row.seq)
        if resolve == "verified" and status is not VerificationStatus.VERIFIED:
            continue
        best[row.id] = max(best.get(row.id, status), status, key=STATUSES.index)
    return [Found(opened.snapshot.find(other), NodeId(other), node, status) for other, status in best.items()]


def _has_edges(opened: Opened, number: int) -> bool:
    return number >= 0 and bool(have_edges(opened.snapshot, opened.view.visible, np.array([number]))[0])


def is_mentioned(opened: Opened, node: str) -> bool:
    """Tell whether a visible document names the node without an edge; asked alike for unknown and for hidden ones."""
    with opened.store.database.begin(tenant=opened.tenant) as connection:
        rows = connection.execute(
            text(
                "select tenant, seq from provenance_claims"
                " where source = cast(:node as uuid) and type = 4 and tenant in (:tenant, :public)"
            ),
            {"node": str(UUID(bytes=node_key(node))), "tenant": opened.tenant, "public": PUBLIC},
        ).all()
    return any(opened.may_read(row.tenant, row.seq) for row in rows)


def tombstones(opened: Opened, names: Names) -> list[dict[str, Any]]:
    """Return what retention removed at nodes; nothing is looked up where nothing ever was.

    A tombstone is shown to who could have read what it stands for. It is shown whatever the moment asked for,
    because what was removed is missing from answers about the past too.
    """
    if not bool(np.any(opened.snapshot.own.closures.valid_to == PRUNED)):
        return []
    by_key = {node_key(name).hex(): name for name in names}
    with opened.store.database.begin(tenant=opened.tenant) as connection:
        rows = connection.execute(
            text(
                "select t.node, t.type, t.direction, t.edges, t.rule, t.pruned_at, d.label, c.cold"
                " from provenance_tombstones t"
                " join provenance_closures c on c.tenant = t.tenant and c.seq = t.seq"
                " join provenance_documents d on d.tenant = t.tenant and d.seq = c.closed_seq"
                " where t.tenant = :tenant and t.node = any(cast(:keys as uuid[])) and t.seq <= :seq"
            ),
            {"tenant": opened.tenant, "keys": list(by_key), "seq": opened.snapshot.own.seq},
        ).all()
    grouped: dict[tuple[str, int, int, str], list[Any]] = {}
    for row in rows:
        if opened.allowed.allowed[row.label]:
            grouped.setdefault((by_key[row.node.hex], row.type, row.direction, row.rule), []).append(row)
    return [
        {
            "node": node,
            "type": EDGE_TYPES[code],
            "direction": ("ancestors", "descendants")[direction],
            "edges": sum(each.edges for each in group),
            "rule": rule,
            "when": rfc3339(max(each.pruned_at for each in group)),
            "restorable": all(each.cold is not None for each in group),
        }
        for (node, code, direction, rule), group in sorted(grouped.items())
    ]


def tombstones_at(opened: Opened, numbers: Array) -> list[dict[str, Any]]:
    """Return what retention removed at nodes, by their numbers; see :func:`tombstones`."""
    if not bool(np.any(opened.snapshot.own.closures.valid_to == PRUNED)):
        return []
    return tombstones(opened, ids_of(opened.snapshot, numbers))


def pruned_keys(opened: Opened) -> frozenset[bytes]:
    """Return the keys of all nodes at which retention removed claims that this reader could have read."""
    if not bool(np.any(opened.snapshot.own.closures.valid_to == PRUNED)):
        return frozenset()
    known: frozenset[bytes] | None = opened.view.derived.get((pruned_keys.__name__,))
    if known is None:
        with opened.store.database.begin(tenant=opened.tenant) as connection:
            rows = connection.execute(
                text(
                    "select distinct t.node, d.label from provenance_tombstones t"
                    " join provenance_closures c on c.tenant = t.tenant and c.seq = t.seq"
                    " join provenance_documents d on d.tenant = t.tenant and d.seq = c.closed_seq"
                    " where t.tenant = :tenant and t.seq <= :seq"
                ),
                {"tenant": opened.tenant, "seq": opened.snapshot.own.seq},
            )
            known = frozenset(row.node.bytes for row in rows if opened.allowed.allowed[row.label])
        opened.view.derived[pruned_keys.__name__,] = known
    return known


@dataclass(frozen=True, slots=True)
class Description:
    """What visible documents call a node: a label and attributes, for people."""

    label: str | None
    attributes: dict[str, Any] | None


class _Best:
    """Of each node the visible description that ranks highest, of those that were offered."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.found: dict[UUID, tuple[int, Description]] = {}

    def rank(self, node: UUID) -> int:
        """Return the rank of a node's best, -1 for none."""
        return self.found[node][0] if node in self.found else -1

    def offer(self, row: Any, said: Description) -> bool:
        """Take in a description, if it may be read; tell whether it may."""
        may = self.opened.may_read(row.tenant, row.seq)
        if may and row.rank > self.rank(row.node):
            self.found[row.node] = (row.rank, said)
        return may


def describe(opened: Opened, names: Collection[str]) -> dict[str, Description]:
    """Return of each node the description that ranks highest among those that may be read, the shared ones too."""
    by_key = {UUID(bytes=node_key(name)): name for name in names}
    best = _Best(opened)
    with opened.store.database.begin(tenant=opened.tenant) as connection:
        facts = {"owners": sorted({opened.tenant, PUBLIC}), "keys": list(by_key)}
        first = {(row.tenant, row.node): row for row in connection.execute(_FIRST, facts).all()}
        for row in first.values():
            best.offer(row, Description(row.label, row.attributes))
        wanted, count = [(*each, _HIGHEST, _HIGHEST) for each in first], _FEW
        while wanted:
            wanted = _offer_later(connection, best, first, wanted, count)
            count *= _FEW
    return {by_key[node]: said for node, (_, said) in best.found.items()}


def _offer_later(
    connection: Connection,
    best: _Best,
    first: dict[tuple[str, UUID], Any],
    wanted: list[tuple[str, UUID, int, int]],
    count: int,
) -> list[tuple[str, UUID, int, int]]:
    """Offer ``count`` more descriptions of each node, the highest first; return of which nodes more are wanted."""
    tenants, nodes, ranks, seqs = map(list, zip(*wanted, strict=True))
    facts = {"tenants": tenants, "nodes": nodes, "ranks": ranks, "seqs": seqs, "count": count}
    rows = connection.execute(_LATER, facts | {"floors": [best.rank(node) for _, node, _, _ in wanted]}).all()
    further = []
    for (tenant, node), group in groupby(rows, key=lambda row: (row.tenant, row.node)):
        several, known = list(group), first[tenant, node]
        # A label that is that of the node's own row is kept there only.
        said = [known if row.rank == known.rank else row for row in several]
        if any(best.offer(row, Description(one.label, one.attributes)) for row, one in zip(several, said, strict=True)):
            continue
        if len(several) == count:
            further.append((tenant, node, several[-1].rank, several[-1].seq))
    return further


_FEW = 8
"""Descriptions of a node that are looked at first; then so many times more. Mostly one of them may be read."""
_HIGHEST = 2**63 - 1
_FIRST = text(
    "select tenant, node, seq, rank, label, attributes from provenance_nodes"
    " where tenant = any(:owners) and node = any(:keys)"
)
_LATER = text(
    "select said.tenant, said.node, said.seq, said.rank, said.label, said.attributes from unnest("
    " cast(:tenants as text[]), cast(:nodes as uuid[]), cast(:floors as bigint[]), cast(:ranks as bigint[]),"
    " cast(:seqs as bigint[])) with ordinality as wanted(tenant, node, floor, rank, seq, at) cross join lateral ("
    " select * from provenance_descriptions as one where one.tenant = wanted.tenant and one.node = wanted.node"
    " and one.rank > wanted.floor and (one.rank, one.seq) < (wanted.rank, wanted.seq)"
    " order by one.rank desc, one.seq desc limit :count"
    ") as said order by wanted.at, said.rank desc, said.seq desc"
)
