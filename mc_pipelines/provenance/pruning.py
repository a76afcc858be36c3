"""Retention done: planned from the log, archived first, and told by a tombstone at each node.

One event a document. Ingest does not wait for all of it: the plan is made without the tenant's lock, and documents go
in slices, each a transaction that holds the lock for some hundred claims and looks first whether what was written
meanwhile needs them. A run that was killed has removed whole slices, and the next one goes on from there. Who plans
(a dry run) and who prunes come by the same function, so the report is what happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.cold import SCHEMA, Archive
from mc_pipelines.provenance.edge_log import lock_head, move_head
from mc_pipelines.provenance.marks import Marks, read_marks
from mc_pipelines.provenance.records import TYPE_MENTIONS
from mc_pipelines.provenance.removal import Removal, remove
from mc_pipelines.provenance.retention import (
    DEFAULT_RULES,
    Document,
    Edges,
    Rule,
    may_go,
    rule_for,
)

Array = NDArray[Any]
_FORGET_NAMES_AFTER = timedelta(hours=1)
"""How long names of nodes without claims stay: longer than any reader takes to open the log."""
CLAIMS_AT_ONCE = 500
"""Claims that go in one transaction, if no document has more."""
_NAMES_AT_ONCE = 5_000
_ROOTS = text("select node from provenance_roots where tenant = :tenant and (until is null or until > :now)")
_STILL_THERE = text("""
select seq, digest from provenance_documents d where tenant = :tenant and seq = any(:seqs) and not exists (
    select from provenance_closures gone
    where gone.tenant = :tenant and gone.seq > :since and gone.closed_seq = d.seq and gone.valid_to is null)
""")
_PRUNED = text("select distinct node from provenance_tombstones where tenant = :tenant and pruned_at < :before")
_NAMED = text("select node from provenance_nodes where tenant = :tenant and node = any(:names)")
_FORGET = text("delete from provenance_nodes where tenant = :tenant and node = any(:names)")


@dataclass(frozen=True, slots=True)
class Pruned:
    """A document that goes, or went.

    Attributes:
        digest: its name.
        seq: its event.
        rule: under which it goes.
        edges: how many.
        recorded_at: when it was recorded.
    """

    digest: str
    seq: int
    rule: str
    edges: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What retention did, or would do.

    Attributes:
        tenant: whose graph.
        dry_run: whether nothing was changed.
        pruned: the documents that go.
        protected: documents that are old enough and stay, because they lie below a live bundle or a legal hold, or
            bring more than ``uses``; how many by rule.
        roots: live bundles and holds that were in force.
        files: cold files written.
    """

    tenant: TenantId
    dry_run: bool
    pruned: tuple[Pruned, ...]
    protected: dict[str, int]
    roots: int
    files: tuple[str, ...] = field(default=())


def prune(
    database: Database,
    tenant: TenantId,
    *,
    archive: Archive | None,
    clock: Clock,
    rules: Sequence[Rule] = DEFAULT_RULES,
    dry_run: bool = False,
) -> Report:
    """Remove from the hot tier what the rules let go.

    Args:
        database: the log, as the application role.
        tenant: whose graph.
        archive: where the claims go first; None = they are gone for good.
        clock: tells how old things are.
        rules: what may go, and after how long.
        dry_run: only report.
    """
    now = clock.now()
    with database.begin(tenant=tenant) as connection:
        roots = _roots(connection, tenant, now)
        marks = read_marks(connection, tenant, roots)
        last = marks.positions[tenant]
        documents = [each for each in _documents(connection, tenant) if each.seq <= last]
        going = may_go(marks.edges, marks.marked, last)
        chosen, protected = _choose(documents, rules, going, marks.edges, now)
    if dry_run or not chosen:
        return Report(tenant, dry_run, tuple(chosen), protected, len(roots))
    done: list[Pruned] = []
    files: set[str] = set()
    for part in _slices(chosen):
        with database.begin(tenant=tenant) as connection:
            gone, paths = _remove_all(connection, tenant, marks, part, archive, now)
        done += gone
        files |= paths
    stayed = Counter(each.rule for each in chosen) - Counter(each.rule for each in done)
    _forget_names(database, tenant, marks, done, now)
    kept = dict(Counter(protected) + stayed)
    return Report(tenant, dry_run, tuple(done), kept, len(roots), tuple(sorted(files)))


def _roots(connection: Connection, tenant: TenantId, now: datetime) -> frozenset[bytes]:
    """Return the keys of the nodes that are live or held."""
    rows = connection.execute(_ROOTS, {"tenant": tenant, "now": now})
    return frozenset(row.node.bytes for row in rows)


def _slices(chosen: Sequence[Pruned]) -> Iterator[list[Pruned]]:
    """Yield documents, so many at once as the lock may be held for."""
    part: list[Pruned] = []
    claims = 0
    for each in chosen:
        if part and claims + each.edges > CLAIMS_AT_ONCE:
            yield part
            part, claims = [], 0
        part.append(each)
        claims += each.edges + 1
    yield part


def _remove_all(
    connection: Connection, tenant: TenantId, marks: Marks, part: list[Pruned], archive: Archive | None, now: datetime
) -> tuple[list[Pruned], set[str]]:
    """Remove a slice; return what of it went, and the cold files written.

    What a new claim or root needs stays, and what another run removed, or a deletion of the tenant, is not there.
    """
    head = lock_head(connection, tenant)
    facts = {"tenant": tenant, "seqs": [each.seq for each in part], "since": marks.positions[tenant]}
    marks.catch_up(connection, _roots(connection, tenant, now))
    found = connection.execute(_STILL_THERE, facts)
    there = {row.seq: row.digest for row in found}
    gone = [each for each in part if not marks.needs(each.seq) and there.get(each.seq) == each.digest]
    paths = _archive(connection, tenant, archive, gone)
    events = [
        Removal(event, each.seq, each.recorded_at, each.rule, paths.get(each.digest))
        for event, each in enumerate(gone, start=head + 1)
    ]
    remove(connection, tenant, events, now=now)
    move_head(connection, tenant, head + len(gone))
    return gone, set(paths.values())


def _documents(connection: Connection, tenant: TenantId) -> list[Document]:
    """Return the documents that were not pruned."""
    rows = connection.execute(
        text(
            "select d.seq, d.digest, d.recorded_at, d.prunable, min(c.valid_to) as ended_at"
            " from provenance_documents d"
            " left join provenance_closures c on c.tenant = d.tenant and c.closed_seq = d.seq"
            " where d.tenant = :tenant and not exists (select from provenance_closures gone"
            " where gone.tenant = d.tenant and gone.closed_seq = d.seq and gone.valid_to is null)"
            " group by d.seq, d.digest, d.recorded_at, d.prunable order by d.seq"
        ),
        {"tenant": tenant},
    )
    return [Document(row.seq, row.digest, row.recorded_at, row.prunable, row.ended_at) for row in rows]


def _choose(
    documents: list[Document], rules: Sequence[Rule], going: Array, edges: Edges, now: datetime
) -> tuple[list[Pruned], dict[str, int]]:
    counted = np.bincount(edges.seq[(edges.seq > 0) & (edges.type != TYPE_MENTIONS)], minlength=len(going))
    chosen: list[Pruned] = []
    protected: Counter[str] = Counter()
    for document in documents:
        rule = rule_for(document, rules, now)
        if rule is None:
            continue
        if going[document.seq]:
            edge_count = int(counted[document.seq])
            chosen.append(Pruned(document.digest, document.seq, rule.name, edge_count, document.recorded_at))
        else:
            protected[rule.name] += 1
    return chosen, dict(protected)


_CLAIMS = text(
    "select d.digest, 'claim' as row, c.ordinal, s.id as source, t.id as target, c.type"
    " from provenance_claims c join provenance_documents d on d.tenant = c.tenant and d.seq = c.seq"
    " join provenance_nodes s on s.tenant = c.tenant and s.node = c.source"
    " join provenance_nodes t on t.tenant = c.tenant and t.node = c.target"
    " where c.tenant = :tenant and c.seq = any(:events)"
)
_ALIASES = text(
    "select d.digest, 'alias' as row, s.id as source, t.id as target"
    " from provenance_aliases a join provenance_documents d on d.tenant = a.tenant and d.seq = a.seq"
    " join provenance_nodes s on s.tenant = a.tenant and s.node = a.first"
    " join provenance_nodes t on t.tenant = a.tenant and t.node = a.second"
    " where a.tenant = :tenant and a.seq = any(:events)"
)
# What a document says of nodes, but for what one that never ends says in its place, also when it is back.
_NODES = text(
    "select d.digest, 'node' as row, n.id as source, n.kind, n.stub, n.label, n.rank,"
    " cast(n.attributes as text) as attributes"
    " from provenance_nodes n join provenance_documents d on d.tenant = n.tenant and d.seq = n.seq"
    " where n.tenant = :tenant and n.seq >= 0 and n.seq = any(:events)"
    " union all"
    " select d.digest, 'node' as row, n.id as source, s.kind, s.stub,"
    " case when s.rank = n.rank then n.label else s.label end, s.rank,"
    " cast(case when s.rank = n.rank then n.attributes else s.attributes end as text)"
    " from provenance_descriptions s join provenance_documents d on d.tenant = s.tenant and d.seq = s.seq"
    " join provenance_nodes n on n.tenant = s.tenant and n.node = s.node"
    " where s.tenant = :tenant and s.seq >= 0 and s.seq = any(:events)"
)


def _archive(connection: Connection, tenant: TenantId, archive: Archive | None, chosen: list[Pruned]) -> dict[str, str]:
    """Write the claims of documents to cold files, one a month; return the path of each document's."""
    if archive is None:
        return {}
    paths: dict[str, str] = {}
    for month in sorted({(each.recorded_at.year, each.recorded_at.month) for each in chosen}):
        members = [each for each in chosen if (each.recorded_at.year, each.recorded_at.month) == month]
        facts = {"tenant": tenant, "events": [each.seq for each in members]}
        rows = [
            {name: getattr(row, name, None) for name in SCHEMA}
            for query in (_CLAIMS, _ALIASES, _NODES)
            for row in connection.execute(query, facts)
        ]
        path = archive.write(pl.DataFrame(rows, schema=SCHEMA), members[0].recorded_at)
        paths |= dict.fromkeys((each.digest for each in members), path)
    return paths


def _forget_names(database: Database, tenant: TenantId, marks: Marks, gone: Sequence[Pruned], now: datetime) -> None:
    """Forget the ids of nodes that lost their last claim some time ago; their tombstones keep a hash only."""
    events = [each.seq for each in gone]
    with database.begin(tenant=tenant) as connection:
        rows = connection.execute(_PRUNED, {"tenant": tenant, "before": now - _FORGET_NAMES_AFTER})
        keys = marks.unclaimed([row.node.bytes for row in rows], without=events)
    for begin in range(0, len(keys), _NAMES_AT_ONCE):
        names = [UUID(bytes=key) for key in keys[begin : begin + _NAMES_AT_ONCE]]
        with database.begin(tenant=tenant) as connection:
            left = [row.node.bytes for row in connection.execute(_NAMED, {"tenant": tenant, "names": names})]
        if not left:
            continue
        with database.begin(tenant=tenant) as connection:
            lock_head(connection, tenant)  # or a claim that is about to be committed would lose its name
            marks.catch_up(connection, ())
            some = [UUID(bytes=key) for key in marks.unclaimed(left, without=events)]
            connection.execute(_FORGET, {"tenant": tenant, "names": some})


def report_document(report: Report) -> dict[str, Any]:
    """Return a report as JSON members."""
    return {
        "tenant": report.tenant,
        "dryRun": report.dry_run,
        "documents": len(report.pruned),
        "edges": sum(each.edges for each in report.pruned),
        "byRule": dict(Counter(each.rule for each in report.pruned)),
        "protected": report.protected,
        "roots": report.roots,
        "files": list(report.files),
        "digests": [each.digest for each in report.pruned],
    }
