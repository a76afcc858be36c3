from __future__ import annotations

import base64
import dataclasses
import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
from mc_pipelines.attest.key_history import KeyRecord, KeyStatus
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.trust import Trust
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines.provenance.model import Claims, VerificationStatus
from mc_pipelines.provenance.readers import read_document
from mc_pipelines.provenance.trust_roots import ExpectedIdentity, Scheme, TrustedKey, TrustRoots
from mc_pipelines.provenance.verification import VerdictCache, verify_document
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, A, bom, dump, slsa_1, statement

BUILDER = "https://example.org/builder"
SIGNER = LocalSigner.generate()
OTHER = LocalSigner.generate()
PAYLOAD = statement(SLSA_1, slsa_1())
S = VerificationStatus


def signed(payload: bytes = PAYLOAD, *signers: LocalSigner) -> bytes:
    return sign(payload, IN_TOTO_PAYLOAD_TYPE, signers or (SIGNER,)).to_json()


def theirs(**over: object) -> TrustRoots:
    return TrustRoots(keys=(dataclasses.replace(TrustedKey("their builder", SIGNER.public_key_pem), **over),))  # type: ignore[arg-type]


def ours(holder: str = "service", status: KeyStatus = KeyStatus.ACTIVE) -> TrustRoots:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    until = None if status is KeyStatus.ACTIVE else end
    return TrustRoots(own=Trust((KeyRecord(SIGNER.key_id, SIGNER.public_key_pem, start, until, status, holder),)))


def verdict(content: bytes, roots: TrustRoots, **over: object) -> Claims:
    claims = verify_document(content, "x", roots, **over)  # type: ignore[arg-type]
    assert bool(claims.earned) == (claims.verification.status is S.VERIFIED)
    assert claims.verification.reason
    return claims


def test_earned_by_a_key_of_somebody_we_know() -> None:
    content = signed()
    claims = verdict(content, theirs(builders=(BUILDER,)))
    assert claims.verification.status is S.VERIFIED
    assert (claims.verification.signer, claims.verification.scheme) == ("their builder", "dsse-pae")
    [edge] = claims.earned
    assert edge.target == receipt_id(content)
    assert claims.edges == read_document(content, "x").edges


def test_the_same_check_mints_the_same_edge() -> None:
    first, again = (verdict(signed_once, theirs()) for signed_once in [signed()] * 2)
    assert first == again


def test_reading_alone_verifies_nothing() -> None:
    claims = read_document(signed(), "x")
    assert (claims.verification.status, claims.earned) == (S.UNCHECKED, ())


@pytest.mark.parametrize(
    ("roots", "status"),
    [
        (TrustRoots(), S.NO_TRUST_ROOT),
        (TrustRoots(keys=(TrustedKey("other", OTHER.public_key_pem),)), S.NO_TRUST_ROOT),
        (TrustRoots(keys=(TrustedKey("other", OTHER.public_key_pem, hints=(SIGNER.key_id,)),)), S.FAILED),
        (theirs(builders=("https://example.org/else*",)), S.IDENTITY_UNPROVEN),
        (theirs(revoked=True), S.STALE),
        (theirs(schemes=frozenset({Scheme.LEGACY_RAW})), S.NO_TRUST_ROOT),
        (theirs(schemes=frozenset({Scheme.DSSE_PAE_RAW})), S.NO_TRUST_ROOT),
        (ours(), S.VERIFIED),
        (ours(holder="9c1b2c8e-person"), S.IDENTITY_UNPROVEN),
        (ours(status=KeyStatus.RETIRED), S.STALE),
        (ours(status=KeyStatus.COMPROMISED), S.STALE),
    ],
)
def test_verdicts_are_many_valued(roots: TrustRoots, status: VerificationStatus) -> None:
    assert verdict(signed(), roots).verification.status is status


def test_an_altered_payload_fails_where_the_signer_is_named() -> None:
    good = Envelope.from_json(signed())
    altered = Envelope(good.payload_type, statement(SLSA_1, slsa_1(tenant="evil")), good.signatures).to_json()
    assert verdict(altered, ours()).verification.status is S.FAILED


def test_every_flipped_byte_of_the_payload_loses_the_verdict() -> None:
    good = Envelope.from_json(signed())
    for place in range(0, len(PAYLOAD), 7):
        patched = bytes([*PAYLOAD[:place], PAYLOAD[place] ^ 1, *PAYLOAD[place + 1 :]])
        content = Envelope(good.payload_type, patched, good.signatures).to_json()
        try:
            claims = verify_document(content, "x", ours())
        except InputError:
            continue
        assert claims.verification.status is not S.VERIFIED
        assert claims.earned == ()


def test_another_payload_type_over_the_same_payload_does_not_hold() -> None:
    good = Envelope.from_json(signed())
    other = Envelope("application/vnd.in-toto.provenance+dsse", good.payload, good.signatures).to_json()
    assert verdict(other, ours()).verification.status is S.FAILED


def test_raw_payload_and_p1363_only_for_keys_known_to_use_them() -> None:
    raw = Envelope.from_json(signed())
    legacy = dataclasses.replace(raw, signatures=(dataclasses.replace(raw.signatures[0], sig=SIGNER.sign(PAYLOAD)),))
    assert verdict(legacy.to_json(), theirs()).verification.status is S.NO_TRUST_ROOT
    accepted = verdict(legacy.to_json(), theirs(schemes=frozenset({Scheme.LEGACY_RAW})))
    assert accepted.verification.scheme == "legacy-raw"
    r, s = decode_dss_signature(raw.signatures[0].sig)
    joined = r.to_bytes(32) + s.to_bytes(32)
    p1363 = dataclasses.replace(raw, signatures=(dataclasses.replace(raw.signatures[0], sig=joined),))
    assert verdict(p1363.to_json(), theirs()).verification.status is S.NO_TRUST_ROOT
    assert verdict(p1363.to_json(), theirs(schemes=frozenset({Scheme.DSSE_PAE_RAW}))).verification.status is S.VERIFIED


def test_one_good_signature_among_others_counts_whatever_its_hint() -> None:
    document = json.loads(signed(PAYLOAD, OTHER, SIGNER))
    for one in document["signatures"]:
        one["keyid"] = "forged"
    assert verdict(dump(document), theirs()).verification.status is S.VERIFIED


@pytest.mark.parametrize("signatures", [[], [{"keyid": "x"}], [{"sig": "%%%"}], [{"sig": ""}]])
def test_signatures_that_are_none(signatures: list[dict[str, str]]) -> None:
    document = json.loads(signed()) | {"signatures": signatures}
    assert verdict(dump(document), ours()).verification.status is S.FAILED


def test_a_file_that_is_another_fails_and_the_right_one_holds() -> None:
    import hashlib

    content = b"the artifact"
    subject = [{"name": "a", "digest": {"sha256": hashlib.sha256(content).hexdigest()}}]
    document = signed(statement(SLSA_1, slsa_1(), subject))
    assert verdict(document, ours(), artifact=content).verification.status is S.VERIFIED
    assert verdict(document, ours(), artifact=b"other").verification.status is S.FAILED


def test_unsigned_documents_stay_unsigned() -> None:
    assert verdict(PAYLOAD, ours()).verification.status is S.UNSIGNED
    assert verdict(dump(bom()), ours()).verification.status is S.UNSIGNED


def test_lines_are_verified_only_together() -> None:
    good, unknown = signed(), signed(statement(SLSA_1, slsa_1(tenant="b")), OTHER)
    assert len(verdict(good + b"\n" + signed(statement(SLSA_1, slsa_1(tenant="c"))), ours()).earned) == 2
    claims = verdict(good + b"\n" + unknown, ours())
    assert claims.verification.status is S.NO_TRUST_ROOT
    assert "1 of 2" in claims.verification.reason


def test_a_verified_summary_verifies_its_bundle_only_if_it_passed() -> None:
    predicate = {"verifier": {"id": "v"}, "resourceUri": "r", "verificationResult": "PASSED"}
    kind = "https://slsa.dev/verification_summary/v1"
    passed = verdict(signed(statement(kind, predicate)), theirs(builders=("v",)))
    assert {edge.target for edge in passed.earned} == {passed.edges[0].source, f"sha256:{A}"}
    for over in ({"verificationResult": "FAILED"}, {"resourceUri": ""}):
        claims = verdict(signed(statement(kind, predicate | over)), theirs(builders=("v",)))
        assert f"sha256:{A}" not in {edge.target for edge in claims.earned}
    other = verdict(signed(statement(kind, predicate)), theirs(builders=("w",)))
    assert other.earned == ()


def test_cache_keeps_verdicts_per_content_and_trust() -> None:
    cache = VerdictCache(capacity=2)
    content = signed()
    assert verdict(content, ours(), cache=cache).verification.status is S.VERIFIED
    assert verdict(content, ours(), cache=cache) == verdict(content, ours())
    assert verdict(content, TrustRoots(), cache=cache).verification.status is S.NO_TRUST_ROOT
    assert verdict(content, ours(status=KeyStatus.COMPROMISED), cache=cache).verification.status is S.STALE


def test_a_cached_verdict_is_not_that_of_altered_text_beside_the_same_envelope() -> None:
    envelope_bytes = signed()

    def cloud_build(digest: str) -> bytes:
        occurrence = {"kind": "BUILD", "resourceUri": f"https://example.org/x@sha256:{digest}", "envelope": "ENVELOPE"}
        document = dump({"image_summary": {}, "provenance_summary": {"provenance": [occurrence]}})
        return document.replace(b'"ENVELOPE"', envelope_bytes)

    good, altered = cloud_build(A), cloud_build("b" * 64)
    for order in ((good, altered), (altered, good)):
        cache = VerdictCache()
        verdicts = {content: verdict(content, theirs(), cache=cache).verification.status for content in order}
        assert verdicts == {good: S.VERIFIED, altered: S.FAILED}


def test_managed_bundle_by_key_not_by_hint() -> None:
    envelope = json.loads(signed())
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "whatever"}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
    assert verdict(dump(bundle), theirs()).verification.status is S.VERIFIED
    assert verdict(dump(bundle), TrustRoots()).verification.status is S.NO_TRUST_ROOT
    bundle["dsseEnvelope"] = envelope | {"payload": base64.b64encode(statement(SLSA_1, slsa_1(x=1))).decode()}
    assert verdict(dump(bundle), theirs(hints=("whatever",))).verification.status is S.FAILED


@pytest.mark.parametrize("subject", ["", "*", "**?"])
def test_an_identity_that_matches_everybody_is_refused(subject: str) -> None:
    with pytest.raises(InputError):
        ExpectedIdentity("https://issuer", subject)


@pytest.mark.parametrize("signers", [(SIGNER, OTHER), (OTHER, SIGNER)])
@pytest.mark.parametrize(
    ("holder", "status"),
    [("service", KeyStatus.RETIRED), ("service", KeyStatus.COMPROMISED), ("mia", KeyStatus.ACTIVE)],
)
def test_the_best_signature_decides_in_whatever_order_they_stand(
    signers: tuple[LocalSigner, ...], holder: str, status: KeyStatus
) -> None:
    """While keys rotate, both sign; and whoever adds a signature must not be able to take from another."""
    [weak] = ours(holder, status).own.keys  # type: ignore[union-attr]
    good = KeyRecord(OTHER.key_id, OTHER.public_key_pem, weak.valid_from, None, KeyStatus.ACTIVE, "service")
    content = signed(PAYLOAD, *signers)
    assert verdict(content, TrustRoots(own=Trust((weak, good)))).verification.key_id == OTHER.key_id
    theirs_too = TrustRoots(own=Trust((weak,)), keys=(TrustedKey("their builder", OTHER.public_key_pem),))
    assert verdict(content, theirs_too).verification.signer == "their builder"
    assert verdict(content, TrustRoots(own=Trust((weak,)))).verification.status in {S.STALE, S.IDENTITY_UNPROVEN}
