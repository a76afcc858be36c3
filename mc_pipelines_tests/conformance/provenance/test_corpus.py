"""Every document of the corpus through the pipeline into the log: one verdict each, one root whatever the order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.edge_log import IngestResult
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.readers import read_parts
from mc_pipelines.provenance.root_hash import root_hash
from mc_pipelines.provenance.trust_roots import ExpectedIdentity, TrustedKey, TrustRoots
from mc_pipelines.provenance.verification import VerdictCache
from mc_pipelines_tests.conformance.provenance.test_signatures import ACTIONS, BEACON, gcb_keys
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database
ALTERED = ("_fail", "invalidsig", "mismatch", "tamper", "empty-signature.json", "invalid-signature-encoding")
"""In the names of documents that somebody spoiled on purpose."""


@pytest.fixture(scope="module")
def corpus(provenance: Path) -> list[Document]:
    return [
        Document(str(path.relative_to(provenance)), path.read_bytes())
        for path in sorted(provenance.rglob("*"))
        if path.is_file()
    ]


@pytest.fixture(scope="module")
def roots(provenance: Path) -> TrustRoots:
    """All that any document of the corpus could be believed by."""
    keys = gcb_keys(provenance).keys
    keys += tuple(TrustedKey(path.stem, path.read_bytes()) for path in sorted(provenance.rglob("*.pub")))
    identities = [ExpectedIdentity(ACTIONS, BEACON), ExpectedIdentity(ACTIONS, "https://github.com/*")]
    return TrustRoots(keys=keys, identities=tuple(identities))


def put(
    database: TestDatabase,
    clock: FrozenClock,
    given: list[Document],
    roots: TrustRoots,
    tenant: str,
    cache: VerdictCache,
) -> list[IngestResult]:
    return list(ingest_documents(database.app, TenantId(tenant), given, roots, clock=clock, cache=cache))


def root(database: TestDatabase, tenant: str) -> Digest:
    with database.app.begin(tenant=TenantId(tenant)) as connection:
        return root_hash(connection, TenantId(tenant))


def listed(expected: Any) -> Iterator[str]:
    for format_, documents in expected.items():
        if format_ != "openlineage":  # counted by folder
            yield from documents


def test_every_document(
    database: TestDatabase,
    clock: FrozenClock,
    corpus: list[Document],
    roots: TrustRoots,
    expected: dict[str, Any],
) -> None:
    cache = VerdictCache()
    results = put(database, clock, corpus, roots, "acme", cache)
    status = {document.name: result for document, result in zip(corpus, results, strict=True)}
    assert set(listed(expected)) <= status.keys()
    for document in corpus:
        result = status[document.name]
        try:
            reading, refusal = read_parts(document.content, document.name), None
        except InputError as error:
            reading, refusal = None, str(error)
        if reading is None:
            assert (result.status, result.reason) == ("refused", refusal), document.name
            continue
        assert result.status in {"accepted", "known"}, document.name  # a few files lie there twice
        assert result.nodes == len({node.id for node in reading.claims.nodes}) + earned_nodes(
            result, len(reading.parts)
        )
        if any(word in document.name for word in ALTERED):
            assert result.verification != "verified", document.name
    assert any(result.verification == "verified" for result in results)
    with database.app.begin(tenant=TenantId("acme")) as connection:
        # Whatever a document is called or claims: a verifies edge stands in a document whose own check succeeded.
        unearned = connection.execute(
            text(
                "select count(*) from provenance_claims as claim join provenance_documents as document"
                " on document.tenant = claim.tenant and document.seq = claim.seq"
                " where claim.type = 3 and document.verification ->> 'status' <> 'verified'"
            )
        ).scalar_one()
        kinds = connection.execute(
            text(
                "select distinct claim.type, source.kind, target.kind from provenance_claims as claim"
                " join provenance_nodes as source on source.node = claim.source"
                " join provenance_nodes as target on target.node = claim.target where claim.type in (1, 2, 3)"
            )
        ).all()
        loose = connection.execute(
            text(
                "select count(*) from provenance_claims as claim where not exists"
                " (select from provenance_nodes as node where node.node = claim.source)"
                " or not exists (select from provenance_nodes as node where node.node = claim.target)"
            )
        ).scalar_one()
    assert (unearned, loose) == (0, 0)
    assert {kind for type_, kind, _ in kinds if type_ == 1} == {2}  # only executions produce
    assert {kind for type_, kind, _ in kinds if type_ in {2, 3}} == {3}  # only receipts sign and verify


def earned_nodes(result: IngestResult, parts: int) -> int:
    """A verified document brings our record of each check."""
    return parts if result.verification == "verified" else 0


def test_one_root_again_shuffled_and_by_four_workers(
    database: TestDatabase, clock: FrozenClock, corpus: list[Document], roots: TrustRoots
) -> None:
    small = [one for one in corpus if len(one.content) < 200_000]
    cache = VerdictCache()
    put(database, clock, small, roots, "first", cache)
    first = root(database, "first")
    put(database, clock, small, roots, "first", cache)
    assert root(database, "first") == first
    shuffled = small[:]
    random.Random(12).shuffle(shuffled)  # noqa: S311 - an order, not a secret
    quarters = [shuffled[start::4] + shuffled[:20] for start in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda quarter: put(database, clock, quarter, roots, "other", cache), quarters))
    assert root(database, "other") == first
