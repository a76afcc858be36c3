"""From documents to the log: read, judged and recorded, each whole with a reasoned verdict, or refused with one.

Batches are bounded by what they hold, so that memory is bounded by the largest document, and a crash costs at most a
batch: what was answered is recorded, and the same documents again change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ForbiddenError, InputError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.edge_log import IngestResult, ingest_many
from mc_pipelines.provenance.model import PUBLIC, Claims, refuse
from mc_pipelines.provenance.readers import read_parts
from mc_pipelines.provenance.rejudgement import in_series, rejudged
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
    """

    name: str
    content: bytes


@dataclass
class _Batch:
    claims: list[Claims] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    rows: int = 0

    def add(self, claims: Claims, told: Told | None) -> None:
        self.claims.append(claims)
        self.rows += len(claims.nodes) + len(claims.edges)
        if told is not None:
            self.told.append(told)

    @property
    def full(self) -> bool:
        return len(self.claims) >= MAXIMUM_BATCH or self.rows >= MAXIMUM_ROWS


def ingest_documents(
    database: Database,
    tenant: TenantId,
    documents: Iterable[Document],
    roots: TrustRoots,
    *,
    clock: Clock,
    operator: bool = False,
    cache: VerdictCache | None = None,
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

    Raises:
        ForbiddenError: a tenant tries to write the shared partition; nothing is read then.
    """
    if tenant == PUBLIC and not operator:
        raise ForbiddenError("Only an operator writes the shared partition", field="tenant", value=tenant)
    batch = _Batch()
    for document in documents:
        batch.add(*_read(document, roots, cache))
        if batch.full:
            yield from _record(database, tenant, batch, clock, operator=operator)
            batch = _Batch()
    yield from _record(database, tenant, batch, clock, operator=operator)


def _read(document: Document, roots: TrustRoots, cache: VerdictCache | None) -> tuple[Claims, Told | None]:
    try:
        reading = read_parts(document.content, document.name)
        claims = judge(reading, roots, cache=cache)
    except InputError as error:
        return refuse(sha256_digest(document.content), document.name, "unknown", str(error)), None
    if any(part.signatures for part in reading.parts):
        claims = in_series(claims)
    return claims, Told(claims.document, reading.runs) if reading.runs else None


def _record(
    database: Database, tenant: TenantId, batch: _Batch, clock: Clock, *, operator: bool
) -> Iterator[IngestResult]:
    if not batch.claims:
        return
    if batch.told:
        with database.begin(tenant=tenant) as connection:
            remember(connection, tenant, batch.told)
    results = ingest_many(database, tenant, batch.claims, clock=clock, operator=operator)
    if batch.told:
        runs = [run.run for told in batch.told for run in told.runs]
        with database.begin(tenant=tenant) as connection:
            completed = settled(connection, tenant, runs)
        ingest_many(database, tenant, completed, clock=clock, operator=operator)
    again = [claims for claims, result in zip(batch.claims, results, strict=True) if result.status == "known"]
    changed = _rejudge(database, tenant, again, clock, operator=operator) if again else {}
    for result in results:
        yield changed.get(result.document, result) if result.status == "known" else result


def _rejudge(
    database: Database, tenant: TenantId, known: list[Claims], clock: Clock, *, operator: bool
) -> dict[Digest, IngestResult]:
    """Record the verdicts that changed; return the answers for the documents that they are about."""
    with database.begin(tenant=tenant) as connection:
        pairs = rejudged(connection, tenant, known, now=clock.now())
    recorded = ingest_many(database, tenant, [claims for _, claims in pairs], clock=clock, operator=operator)
    return {
        claims.document: replace(result, document=claims.document, status="known")
        for (claims, _), result in zip(pairs, recorded, strict=True)
    }
