"""From documents to the log: read, judged and recorded, each whole with a reasoned verdict, or refused with one.

Batches are bounded by what they hold, so that memory is bounded by the largest document, and a crash costs at most a
batch: what was answered is recorded, and the same documents again change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ForbiddenError, InputError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.edge_log import IngestResult, ingest_many
from mc_pipelines.provenance.marking import OPEN, Marking
from mc_pipelines.provenance.model import PUBLIC, Claims, refuse
from mc_pipelines.provenance.readers import read_parts
from mc_pipelines.provenance.readers.collector import Reading
from mc_pipelines.provenance.rejudgement import first_recorded, in_series, rejudged
from mc_pipelines.provenance.run_events import Told, remember, settled
from mc_pipelines.provenance.trust_roots import TrustRoots
from mc_pipelines.provenance.verification import VerdictCache, judge

MAXIMUM_BATCH = 500
"""Documents in a transaction."""
MAXIMUM_ROWS = 100_000
"""Nodes and edges after which a transaction takes no further document."""


@dataclass(frozen=True)
class Document:
    """A document as it came.

    Attributes:
        name: what its sender calls it; a label.
        content: its bytes exactly as received.
        seen: when it is known to have existed, by a record of ours; None = since now.
    """

    name: str
    content: bytes
    seen: datetime | None = None


@dataclass
class _Batch:
    """Documents as read, in their order; a refused one stands as its refusal."""

    items: list[tuple[Document, Reading | Claims]] = field(default_factory=list)
    rows: int = 0

    def add(self, document: Document) -> None:
        try:
            read: Reading | Claims = read_parts(document.content, document.name)
        except InputError as error:
            read = refuse(sha256_digest(document.content), document.name, "unknown", str(error))
        claims = read.claims if isinstance(read, Reading) else read
        self.rows += len(claims.nodes) + len(claims.edges)
        self.items.append((replace(document, content=b""), read))

    @property
    def full(self) -> bool:
        return len(self.items) >= MAXIMUM_BATCH or self.rows >= MAXIMUM_ROWS


def ingest_documents(
    database: Database,
    tenant: TenantId,
    documents: Iterable[Document],
    roots: TrustRoots,
    *,
    clock: Clock,
    operator: bool = False,
    cache: VerdictCache | None = None,
    marking: Marking = OPEN,
    low_value: bool = False,
) -> Iterator[IngestResult]:
    """Record documents; yield what became of each, in their order, once it is committed.

    Args:
        database: the log, as the application role.
        tenant: from the caller's verified credential, never from a document.
        documents: read one after the other; none is kept longer than its batch.
        roots: what verification believes.
        clock: tells when we learnt it.
        operator: whether the caller may write the shared partition.
        cache: verdicts of earlier checks.
        marking: who may read what is recorded now.
        low_value: whether it is recomputable detail, which retention lets go first.

    Raises:
        ForbiddenError: a tenant tries to write the shared partition; nothing is read then.
        InputError: the shared partition is to hold what is not open; nothing is read then.
    """
    if tenant == PUBLIC and not operator:
        raise ForbiddenError("Only an operator writes the shared partition", field="tenant", value=tenant)
    marking.require_on(tenant)
    pipeline = _Pipeline(database, tenant, roots, clock, cache, operator=operator, marking=marking, low_value=low_value)
    batches = _batches(documents)
    first = next(batches, None)
    if first is None:
        return
    if not first.full:
        yield from pipeline.record(first)
        return
    # The server writes one batch while the next one is read; what is yielded is committed.
    with ThreadPoolExecutor(1, thread_name_prefix="ingest") as writer:
        pending = writer.submit(pipeline.record, first)
        for batch in batches:
            yield from pending.result()
            pending = writer.submit(pipeline.record, batch)
        yield from pending.result()


def _batches(documents: Iterable[Document]) -> Iterator[_Batch]:
    batch = _Batch()
    for document in documents:
        batch.add(document)
        if batch.full:
            yield batch
            batch = _Batch()
    if batch.items:
        yield batch


@dataclass(frozen=True)
class _Pipeline:
    """What every batch of one call goes through."""

    database: Database
    tenant: TenantId
    roots: TrustRoots
    clock: Clock
    cache: VerdictCache | None
    operator: bool = field(kw_only=True)
    marking: Marking = field(kw_only=True)
    low_value: bool = field(kw_only=True)

    def record(self, batch: _Batch) -> list[IngestResult]:
        claims = self._judge(batch)
        told = [Told(read.claims.document, read.runs) for _, read in batch.items if isinstance(read, Reading)]
        told = [one for one in told if one.runs]
        if told:
            with self.database.begin(tenant=self.tenant) as connection:
                remember(connection, self.tenant, told)
        results = self._ingest(claims)
        if told:
            with self.database.begin(tenant=self.tenant) as connection:
                completed = settled(connection, self.tenant, [run.run for one in told for run in one.runs])
            self._ingest(completed)
        again = [one for one, result in zip(claims, results, strict=True) if result.status == "known"]
        changed = self._rejudge(again) if again else {}
        return [changed.get(one.document, one) if one.status == "known" else one for one in results]

    def _judge(self, batch: _Batch) -> list[Claims]:
        """Judge what was read; what we recorded before is known to have existed since then."""
        signed = [
            read.claims.document
            for _, read in batch.items
            if isinstance(read, Reading) and any(part.signatures for part in read.parts)
        ]
        recorded: dict[Digest, datetime] = {}
        if signed:
            with self.database.begin(tenant=self.tenant) as connection:
                recorded = first_recorded(connection, self.tenant, signed)
        found = []
        for document, read in batch.items:
            if not isinstance(read, Reading):
                found.append(read)
                continue
            moments = [one for one in (document.seen, recorded.get(read.claims.document)) if one is not None]
            claims = judge(read, self.roots, cache=self.cache, seen=min(moments, default=None))
            claims = in_series(claims, signed=any(part.signatures for part in read.parts))
            found.append(msgspec.structs.replace(self.marking.put_on(claims), low_value=self.low_value))
        return found

    def _ingest(self, claims: list[Claims]) -> list[IngestResult]:
        return ingest_many(self.database, self.tenant, claims, clock=self.clock, operator=self.operator)

    def _rejudge(self, known: list[Claims]) -> dict[Digest, IngestResult]:
        """Record the verdicts that changed; return the answers for the documents that they are about."""
        with self.database.begin(tenant=self.tenant) as connection:
            pairs = rejudged(connection, self.tenant, known, now=self.clock.now())
        recorded = self._ingest([claims for _, claims in pairs])
        return {
            claims.document: replace(result, document=claims.document, status="known")
            for (claims, _), result in zip(pairs, recorded, strict=True)
        }
