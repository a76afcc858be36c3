"""Trust that changes: what was verified yesterday and is not today, asked as of either day."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.key_history import KeyRecord, KeyStatus
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.trust import Trust
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import IngestResult
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.marking import OPEN, Marking
from mc_pipelines.provenance.model import Purpose
from mc_pipelines.provenance.root_hash import root_hash
from mc_pipelines.provenance.trust_roots import TrustedKey, TrustRoots
from mc_pipelines.provenance.verification import VerdictCache
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, bom, dump, slsa_1, statement

pytestmark = pytest.mark.database
ACME = TenantId("acme")
SIGNER = LocalSigner.generate()
KEY = TrustedKey("builder", SIGNER.public_key_pem)
NOBODY, TRUSTED = TrustRoots(), TrustRoots(keys=(KEY,))
REVOKED = TrustRoots(keys=(dataclasses.replace(KEY, revoked=True),))
SIGNED = sign(statement(SLSA_1, slsa_1()), IN_TOTO_PAYLOAD_TYPE, (SIGNER,)).to_json()


def put(
    database: TestDatabase,
    clock: FrozenClock,
    roots: TrustRoots,
    content: bytes = SIGNED,
    cache: VerdictCache | None = None,
) -> IngestResult:
    clock.advance(timedelta(hours=1))
    [result] = ingest_documents(database.app, ACME, [Document("x", content)], roots, clock=clock, cache=cache)
    return result


def verified_at(database: TestDatabase, moment: datetime, known: datetime | None = None) -> bool:
    """Whether a verifies edge stood at a moment, by what was known at another: the log's own semantics, spelled out."""
    with database.app.begin(tenant=ACME) as connection:
        found = connection.execute(
            text(
                "select count(*) from provenance_claims as claim join provenance_documents as said"
                " on said.tenant = claim.tenant and said.seq = claim.seq"
                " join provenance_nodes as node on node.node = claim.target"
                " where claim.type = 3 and node.id = :receipt and said.valid_from <= :moment"
                " and said.recorded_at <= :known and not exists (select from provenance_closures as closed"
                " where closed.closed_seq = said.seq and closed.valid_to <= :moment and closed.recorded_at <= :known)"
            ),
            {"receipt": receipt_id(SIGNED), "moment": moment, "known": known or moment},
        ).scalar_one()
    return bool(found)


def test_verdicts_change_with_what_is_believed_and_nothing_is_overwritten(
    database: TestDatabase, clock: FrozenClock
) -> None:
    clock.advance(timedelta(days=2))  # after the document's own time
    first = put(database, clock, NOBODY)
    unknown = clock.now()
    assert (first.status, first.verification) == ("accepted", "no-trust-root")
    second = put(database, clock, TRUSTED)
    trusted = clock.now()
    assert (second.status, second.verification, second.document) == ("known", "verified", first.document)
    assert any("no-trust-root became verified" in one for one in second.remarks)
    third = put(database, clock, REVOKED)
    revoked = clock.now()
    assert third.verification == "stale"
    assert (first.seq, second.seq, third.seq) == (1, 2, 3)
    assert [verified_at(database, one) for one in (unknown, trusted, revoked)] == [False, True, False]
    assert verified_at(database, trusted, known=revoked)  # what held then held then, also by what we know now
    put(database, clock, TRUSTED)  # believed again: a new verdict, not the old one revived
    assert verified_at(database, clock.now())
    assert not verified_at(database, revoked)


def test_the_same_verdict_again_changes_nothing(database: TestDatabase, clock: FrozenClock) -> None:
    put(database, clock, TRUSTED)
    with database.app.begin(tenant=ACME) as connection:
        before = root_hash(connection, ACME)
    assert put(database, clock, TRUSTED).seq == 1
    other = TrustRoots(keys=(KEY, TrustedKey("another", LocalSigner.generate().public_key_pem)))
    assert put(database, clock, other).seq == 1  # believing somebody else, too, is no other verdict on this
    with database.app.begin(tenant=ACME) as connection:
        assert root_hash(connection, ACME) == before


def test_a_new_verdict_is_read_by_whom_the_document_was_recorded_for(
    database: TestDatabase, clock: FrozenClock
) -> None:
    secret = Marking(3, frozenset({Purpose.AUDIT}))
    for marking, roots in ((secret, NOBODY), (OPEN, TRUSTED)):  # whoever sends it again opens nothing
        clock.advance(timedelta(hours=1))
        list(ingest_documents(database.app, ACME, [Document("x", SIGNED)], roots, clock=clock, marking=marking))
    with database.app.begin(tenant=ACME) as connection:
        labels = connection.execute(text("select label from provenance_documents order by seq")).scalars().all()
    assert [Marking.of_label(label) for label in labels] == [secret, secret]


def ours(status: KeyStatus, until: datetime | None) -> TrustRoots:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    return TrustRoots(own=Trust((KeyRecord(SIGNER.key_id, SIGNER.public_key_pem, start, until, status),)))


@pytest.mark.parametrize("status", [KeyStatus.RETIRED, KeyStatus.COMPROMISED])
def test_a_rotation_does_not_unverify_what_we_recorded_before_it(
    database: TestDatabase, clock: FrozenClock, status: KeyStatus
) -> None:
    cache = VerdictCache()
    recorded = put(database, clock, ours(KeyStatus.ACTIVE, None), cache=cache)
    assert recorded.verification == "verified"
    later, earlier = clock.now() + timedelta(minutes=1), clock.now() - timedelta(minutes=1)
    kept = put(database, clock, ours(status, later), cache=cache)
    assert (kept.verification, kept.seq) == ("verified", recorded.seq)
    lost = put(database, clock, ours(status, earlier), cache=cache)
    assert (lost.verification, lost.status) == ("stale", "known")


def test_a_receipt_that_arrives_after_the_rotation_needs_a_record_of_ours(
    database: TestDatabase, clock: FrozenClock
) -> None:
    until = clock.now()
    retired = ours(KeyStatus.RETIRED, until)
    assert put(database, clock, retired).verification == "stale"
    seen = Document("x", SIGNED, until - timedelta(seconds=1))
    [found] = ingest_documents(database.app, ACME, [seen], retired, clock=clock)
    assert found.verification == "verified"


@pytest.mark.parametrize("version", [1, 2**31 - 1])
def test_no_document_ends_a_verdict_by_calling_itself_one(
    database: TestDatabase, clock: FrozenClock, version: int
) -> None:
    clock.advance(timedelta(days=2))
    recorded = put(database, clock, TRUSTED)
    forged = bom(serialNumber=f"verdict:{recorded.document}", version=version)
    assert put(database, clock, TRUSTED, dump(forged)).status == "accepted"
    clock.advance(timedelta(days=1))
    assert verified_at(database, clock.now())
    assert put(database, clock, TRUSTED).verification == "verified"
    assert put(database, clock, REVOKED).verification == "stale"  # and its own next verdict still ends it
    assert not verified_at(database, clock.now())


def test_unsigned_documents_have_nothing_to_judge(database: TestDatabase, clock: FrozenClock) -> None:
    first = put(database, clock, NOBODY, dump(bom()))
    again = put(database, clock, TRUSTED, dump(bom()))
    assert (again.status, again.seq) == ("known", first.seq)
