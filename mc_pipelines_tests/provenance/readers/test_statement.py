from __future__ import annotations

import pytest

from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.statement import Statement, Subject
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines.provenance.model import Claims, Kind, VerificationStatus
from mc_pipelines.provenance.readers import read_document, read_parts
from mc_pipelines_tests.provenance.readers.documents import (
    SLSA_02,
    SLSA_1,
    A,
    B,
    C,
    bom,
    dump,
    envelope,
    slsa_1,
    statement,
)

RUN = "run:https://example.org/builder/run-1"


def triples(claims: Claims) -> set[tuple[str, str, str]]:
    return {(one.source, one.type.value, one.target) for one in claims.edges}


def test_slsa_1_in_an_envelope() -> None:
    content = envelope(statement(SLSA_1, slsa_1()))
    claims = read_document(content, "x.json")
    receipt = receipt_id(content)
    assert triples(claims) == {
        (receipt, "signs", f"sha256:{A}"),
        (receipt, "signs", RUN),
        (RUN, "uses", f"sha256:{B}"),
        (RUN, "uses", f"sha256:{C}"),
        (RUN, "produces", f"sha256:{A}"),
    }
    assert {one.id: one.kind for one in claims.nodes}[f"sha256:{C}"] is Kind.MANIFEST
    assert [(one.first, one.second) for one in claims.aliases] == [(f"sha256:{B}", "pkg:pypi/foo@1")]
    assert claims.verification.status is VerificationStatus.UNCHECKED
    assert claims.valid_from is not None
    assert claims.valid_from.microsecond == 123456
    assert claims.earned == ()


def test_our_own_signed_receipt() -> None:
    """A receipt as executions make it: SLSA provenance v1 with further members, signed by the service."""
    predicate = slsa_1(tenant="acme", attempts=[{"cloud": "local", "fence": 1}])
    made = Statement((Subject.of("output.tar", Digest(f"sha256:{A}")),), SLSA_1, predicate)
    content = made.sign([LocalSigner.generate()]).to_json()
    reading = read_parts(content, "receipt.json")
    assert (receipt_id(content), "signs", RUN) in triples(reading.claims)
    assert [part.builder for part in reading.parts] == ["https://example.org/builder"]


def test_slsa_02_configuration_is_a_file_in_a_commit() -> None:
    commit = "1" * 40
    source = {"uri": "git+https://example.org/r@refs/heads/main", "digest": {"sha1": commit}}
    predicate = {
        "builder": {"id": "https://example.org/builder"},
        "invocation": {"configSource": source | {"entryPoint": "ci.yml"}},
        "metadata": {"buildInvocationID": "run-1"},
        "materials": [source, {"uri": "https://example.org/vm/1"}],
    }
    claims = read_document(statement(SLSA_02, predicate, version="v0.1"), "x")
    found = triples(claims)
    [manifest] = [one.id for one in claims.nodes if one.kind is Kind.MANIFEST]
    assert {
        (RUN, "uses", f"gitCommit:{commit}"),
        (RUN, "uses", manifest),
        (manifest, "uses", f"gitCommit:{commit}"),
    } <= found
    assert claims.verification.status is VerificationStatus.UNSIGNED
    assert any(one.stub and one.id.startswith("local:") for one in claims.nodes)


def test_without_invocation_id_the_predicate_names_the_execution() -> None:
    first = read_document(statement(SLSA_1, slsa_1(runDetails={"builder": {"id": "b"}})), "x")
    again = read_document(envelope(statement(SLSA_1, slsa_1(runDetails={"builder": {"id": "b"}}))), "y")
    [one], [other] = ([n.id for n in c.nodes if n.kind is Kind.EXECUTION] for c in (first, again))
    assert one == other
    assert one.startswith("run:b/sha256:")


def test_subjects_with_purl_and_several_digests_are_alias_claims() -> None:
    subject = {"name": "pkg:npm/x@1", "digest": {"sha256": A, "sha512": "d" * 128}}
    claims = read_document(statement("https://example.org/t", {}, [subject]), "x")
    assert {(one.first, one.second) for one in claims.aliases} == {
        (f"sha256:{A}", "pkg:npm/x@1"),
        (f"sha256:{A}", f"sha512:{'d' * 128}"),
    }


@pytest.mark.parametrize("algorithm", ["run", "pkg", "gitoid", "local", "dataset", "job", "asset"])
def test_a_digest_algorithm_cannot_pose_as_another_kind_of_id(algorithm: str) -> None:
    with pytest.raises(InputError, match="binds nothing"):
        read_document(statement(SLSA_1, slsa_1(), [{"name": "x", "digest": {algorithm: "github/1"}}]), "x")


@pytest.mark.parametrize(
    "subjects", [[], [{"name": "x"}], [{"name": "x", "digest": {}}], [{"digest": {"sha256": "ab"}}]]
)
def test_subjects_that_bind_nothing_refuse_the_document(subjects: list[dict[str, object]]) -> None:
    with pytest.raises(InputError, match="subject"):
        read_document(statement(SLSA_1, slsa_1(), subjects), "x")


def test_unknown_predicate_leaves_the_subjects_and_says_so() -> None:
    claims = read_document(statement("https://example.org/never-seen/v9", {"x": 1}), "x")
    assert [one.type.value for one in claims.edges] == ["signs"]
    assert any("never-seen" in sentence for sentence in claims.remarks)


def test_bill_of_materials_as_predicate() -> None:
    predicate = bom()
    claims = read_document(envelope(statement("https://cyclonedx.org/bom", predicate)), "x")
    found = triples(claims)
    manifest = next(one.id for one in claims.nodes if one.kind is Kind.MANIFEST)
    assert (manifest, "uses", f"sha256:{A}") in found
    assert ("pkg:pypi/a@1", "uses", "pkg:pypi/b@1") in found
    assert any(kind == "signs" and target == manifest for _, kind, target in found)


def test_link() -> None:
    predicate = {"name": "build", "materials": [{"name": "src", "digest": {"sha256": B}}]}
    found = triples(read_document(statement("https://in-toto.io/attestation/link/v0.3", predicate), "x"))
    [step] = {source for source, type_, _ in found if type_ == "uses"}
    assert {(step, "uses", f"sha256:{B}"), (step, "produces", f"sha256:{A}")} <= found


def test_verification_summary_is_read_but_verifies_nothing() -> None:
    predicate = {
        "verifier": {"id": "https://example.org/verifier"},
        "timeVerified": "2026-01-19T17:00:00Z",
        "resourceUri": "pkg:oci/x",
        "policy": {"uri": "https://example.org/policy", "digest": {"sha256": B}},
        "inputAttestations": [{"uri": "https://example.org/a", "digest": {"sha256": C}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    }
    reading = read_parts(envelope(statement("https://slsa.dev/verification_summary/v1", predicate)), "x")
    assert {one.type.value for one in reading.claims.edges} == {"signs"}
    assert {one.id: one.kind for one in reading.claims.nodes}[f"sha256:{C}"] is Kind.RECEIPT
    [part] = reading.parts
    assert part.summary is not None
    assert part.summary.result == "PASSED"


def test_other_payload_types_leave_their_digest() -> None:
    payload = dump({"policy": 1})
    claims = read_document(envelope(payload, "https://example.org/policy"), "x")
    assert [one.target for one in claims.edges] == [sha256_digest(payload)]


def test_lines_are_receipts_of_their_own_and_all_or_nothing() -> None:
    lines = [envelope(statement(SLSA_1, slsa_1())), statement("https://example.org/t", {})]
    claims = read_document(b"\n".join(lines) + b"\n", "x.jsonl")
    assert {receipt_id(line) for line in lines} == {one.id for one in claims.nodes if one.kind is Kind.RECEIPT}
    with pytest.raises(InputError, match=r"Line 2: .*subject"):
        read_document(b"\n".join([lines[0], statement(SLSA_1, slsa_1(), [])]), "x.jsonl")


def test_node_ids_agree_whatever_the_container() -> None:
    bare, signed = statement(SLSA_1, slsa_1()), envelope(statement(SLSA_1, slsa_1()))
    kinds = [
        {one.id for one in read_document(content, "x").nodes if one.kind is not Kind.RECEIPT}
        for content in (bare, signed)
    ]
    assert kinds[0] == kinds[1]
