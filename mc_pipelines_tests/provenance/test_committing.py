"""Committing over a real log: once a generation, kept beside it, proven by the audit log; documents that end or go."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.attest.audit import audit_log
from mc_pipelines.attest.log import DEFAULT_ORIGIN, contents_of_act, sequence
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_logged
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import NotFoundError, VerificationError
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.answer_check import check_answer
from mc_pipelines.provenance.committing import ACT, commit_all, commit_current
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines.provenance.generations import build_all, build_generation
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.proving import NotCommittedError, proven_answer
from mc_pipelines.provenance.request import ProofQuery
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, BOLT, sbom
from mc_pipelines_tests.provenance.test_query import KEY, purl, store_of

pytestmark = pytest.mark.database


def proof(store: GraphStore, name: str, **more: Any) -> dict[str, Any]:
    query = ProofQuery(node=NodeId(purl(name)), depth=3, **more)
    found: dict[str, Any] = json.loads(proven_answer(store, ACME, query, EVERYTHING, KEY).body)
    return found


def names(document: dict[str, Any]) -> list[str]:
    return [each["id"].rpartition("/")[2] for each in document["answer"]["nodes"]]


def test_a_generation_is_committed_to_once(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    ingest_claims(database.app, ACME, sbom("a", {"app": ["libc6"]}), clock=clock)
    assert commit_current(database.app, tmp_path, ACME, clock=clock) is None
    built = build_generation(database.app, tmp_path, ACME, clock=clock)
    first = commit_current(database.app, tmp_path, ACME, clock=clock)
    assert first is not None
    assert (first.generation, first.seq, first.nodes) == (built.generation, 1, 2)
    kept = (tmp_path / built.path).with_suffix(".mcroots")
    written = kept.stat().st_mtime_ns
    clock.advance(timedelta(hours=1))
    assert commit_all(database.app, tmp_path, clock=clock) == [first]
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(b"MCROOTS1")  # cut off: it is made again
    assert commit_current(database.app, tmp_path, ACME, clock=clock) == first
    with database.app.begin() as connection:
        acts = contents_of_act(connection, ACT)
    assert [subject for subject, _ in acts] == [f"acme/{built.generation}"]
    # The rows go with their generation, and only then.
    for number in range(4):
        ingest_claims(database.app, ACME, sbom(f"n{number}", {f"p{number}": ["libc6"]}), clock=clock)
        build_generation(database.app, tmp_path, ACME, clock=clock)
        commit_current(database.app, tmp_path, ACME, clock=clock)
    assert not kept.exists()
    assert len(list((tmp_path / "acme").glob("*.mcroots"))) == 3


def test_a_proof_holds_under_the_logs_key(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    shared = sbom("shared", {"libc6": ["gcc"]})
    ingest_claims(database.app, PUBLIC, shared, clock=clock, operator=True)
    ingest_claims(database.app, ACME, sbom("a", {"app": ["libc6", "zlib1g"]}), clock=clock)
    ingest_claims(database.app, BOLT, sbom("b", {"theirs": ["libc6", "app"]}), clock=clock)
    store = store_of(database, tmp_path, clock)
    with pytest.raises(NotCommittedError):
        proof(store, "app")
    build_all(database.app, tmp_path, clock=clock)
    with pytest.raises(NotCommittedError):
        proof(store, "app")
    commit_all(database.app, tmp_path, clock=clock)
    assert [each["logProof"] for each in proof(store, "app")["partitions"]] == [None, None]
    signer = LocalSigner.generate()
    sequence(database.app, signer, clock)
    # What is learnt afterwards is not in it: the answer is the generation's.
    ingest_claims(database.app, ACME, sbom("later", {"app": ["later"], "zlib1g": ["later"]}), clock=clock)
    document = proof(store, "app")
    assert names(document) == ["app", "zlib1g", "libc6", "gcc"]
    assert "theirs" not in json.dumps(document)
    assert [each["tenant"] for each in document["partitions"]] == ["acme", "public"]
    found = check_answer(document)
    assert found.ok, found.problems
    key = NoteKey.ecdsa(DEFAULT_ORIGIN, signer.public_key_pem)
    trust = Trust((), (key,))
    for content, part in zip(found.commitments, document["partitions"], strict=True):
        report = Report("proof")
        verify_logged(content, trust, part["logProof"], report)
        assert report.ok
        with pytest.raises(VerificationError):
            verify_logged(content.replace(b'"seq":1', b'"seq":2'), trust, part["logProof"], report)
        stranger = Trust((), (NoteKey.ecdsa(DEFAULT_ORIGIN, LocalSigner.generate().public_key_pem),))
        with pytest.raises(VerificationError):
            verify_logged(content, stranger, part["logProof"], report)
    with database.app.begin() as connection:
        assert audit_log(connection, [key]).ok
    for name in ("theirs", "never", "later"):
        with pytest.raises(NotFoundError):
            proof(store, name)


def test_what_has_ended_is_shown_to_have_ended(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> None:
    """A newer version ends the one before: at each moment exactly what held then is proven, from one generation."""
    store = store_of(database, tmp_path, clock)
    before = clock.now()
    ingest_claims(database.app, ACME, sbom("v1", {"app": ["old"]}, series="app", version=1), clock=clock)
    clock.advance(timedelta(days=1))
    ingest_claims(database.app, ACME, sbom("v2", {"app": ["new"]}, series="app", version=2), clock=clock)
    build_generation(database.app, tmp_path, ACME, clock=clock)
    commit_current(database.app, tmp_path, ACME, clock=clock)
    now, then = proof(store, "app"), proof(store, "app", as_of=before)
    assert (names(now), names(then)) == (["app", "new"], ["app", "old"])
    assert now["partitions"][0]["root"] == then["partitions"][0]["root"]
    for document in (now, then):
        assert check_answer(document, own_only=True).ok
        assert not check_answer(document).ok, "nothing in it says that there was no shared generation"
    # The answer of one moment does not pass for that of the other.
    now["answer"]["asOf"], then["answer"]["asOf"] = then["answer"]["asOf"], now["answer"]["asOf"]
    assert not check_answer(now, own_only=True).ok
    assert not check_answer(then, own_only=True).ok
