"""Runs whose events come one by one: what is claimed once the events of several documents are known together.

An OpenLineage run may name its outputs when it starts and complete with an event that names none. Each event is a
document of its own, so that outputs wait, and count once any event says that the run completed. What then counts is
claimed by a document of ours, named by what it says: the run and the event whose outputs they are. Which documents
of this kind there are follows from the set of events alone, so order, repetition and crashes change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, text

from mc_pipelines.foundation.canonical import canonical_json, sha256_digest
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.marking import Marking
from mc_pipelines.provenance.model import Claims, Edge, EdgeType, Kind, Node
from mc_pipelines.provenance.readers.collector import RunEvents

FORMAT = "openlineage-completion"
_TYPE = "https://maestro-conductor.example/provenance/run-completion/v1"
_AT_ONCE = 1000

_REMEMBER = text("""
insert into provenance_run_events (tenant, run, document, completed, waiting)
values (:tenant, :run, :document, :completed, cast(:waiting as jsonb)) on conflict do nothing
""")
# Only events whose documents are in the log count: an ingest that died between the two is as if it had not begun.
_SETTLED = text("""
select told.run, told.document, told.waiting, document.label
from provenance_run_events as told
join provenance_documents as document on document.tenant = told.tenant and document.digest = told.document
where told.tenant = :tenant and told.run = any(:runs) and told.waiting <> '[]'::jsonb
  and exists (
    select from provenance_run_events as ended
    join provenance_documents as said on said.tenant = ended.tenant and said.digest = ended.document
    where ended.tenant = :tenant and ended.run = told.run and ended.completed)
order by told.run, told.document
""")


@dataclass(frozen=True)
class Told:
    """What one document leaves open about runs."""

    document: Digest
    runs: tuple[RunEvents, ...]


def remember(connection: Connection, tenant: TenantId, told: Iterable[Told]) -> None:
    """Record what documents tell of runs; once is enough."""
    rows = [
        {
            "tenant": tenant,
            "run": run.run,
            "document": one.document,
            "completed": run.completed,
            "waiting": msgspec.json.encode(sorted(run.waiting)).decode(),
        }
        for one in told
        for run in one.runs
    ]
    if rows:
        connection.execute(_REMEMBER, rows)


def settled(connection: Connection, tenant: TenantId, runs: Iterable[NodeId]) -> list[Claims]:
    """Return the documents that claim the outputs which waited, of those of ``runs`` that completed."""
    found = []
    wanted = sorted(set(runs))
    for start in range(0, len(wanted), _AT_ONCE):
        rows = connection.execute(_SETTLED, {"tenant": tenant, "runs": wanted[start : start + _AT_ONCE]})
        found += [
            Marking.of_label(row.label).put_on(_completion(NodeId(row.run), Digest(row.document), row.waiting))
            for row in rows
        ]
    return found


def _completion(run: NodeId, event: Digest, outputs: list[str]) -> Claims:
    says = canonical_json({"_type": _TYPE, "run": run, "event": event, "outputs": outputs})
    nodes = [Node(run, Kind.EXECUTION, stub=True)]
    nodes += [Node(NodeId(output), Kind.PACKAGE, stub=True) for output in outputs]
    return Claims(
        document=sha256_digest(says),
        name=f"completion of {run}"[:200],
        format=FORMAT,
        nodes=tuple(nodes),
        edges=tuple(Edge(run, NodeId(output), EdgeType.PRODUCES) for output in outputs),
    )
