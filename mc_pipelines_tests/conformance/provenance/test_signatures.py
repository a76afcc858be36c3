"""Verdicts on real signed documents equal what an independent check found; nothing altered is ever verified."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines.provenance.keyless_check import matches_certificate
from mc_pipelines.provenance.model import Claims, VerificationStatus
from mc_pipelines.provenance.readers import read_parts
from mc_pipelines.provenance.trust_roots import ExpectedIdentity, Scheme, TrustedKey, TrustRoots
from mc_pipelines.provenance.verification import judge_part, keys_that_hold, verify_document

S = VerificationStatus
BEACON = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/"
    "extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ACTIONS = "https://token.actions.githubusercontent.com"


def text(path: Path, default: str) -> str:
    return path.read_text().strip() if path.is_file() else default


def conformance_claims(case: Path) -> Claims | None:
    """The verdict on one case of the suite, as a client would be asked; None where the document is refused."""
    artifact = case / "artifact" if (case / "artifact").is_file() else case.parent / "a.txt"
    root = case / "trusted_root.json"
    pinned = root if root.is_file() else case.parent / "trusted_root.production.json"
    key = case / "key.pub"
    roots = TrustRoots(
        keys=(TrustedKey("the suite", key.read_bytes()),) if key.is_file() else (),
        identities=(ExpectedIdentity(text(case / "issuer", ACTIONS), text(case / "identity", BEACON)),),
        sigstore_root=pinned.read_bytes(),
    )
    try:
        return verify_document(
            (case / "bundle.sigstore.json").read_bytes(), case.name, roots, artifact=artifact.read_bytes()
        )
    except InputError:
        return None


def test_sigstore_conformance(provenance: Path, expected_signatures: dict[str, Any]) -> None:
    cases = [path for path in sorted((provenance / "sigstore-conformance").iterdir()) if path.is_dir()]
    assert {case.name for case in cases} == set(expected_signatures["sigstore_conformance"])
    wrong = {}
    for case in cases:
        claims = conformance_claims(case)
        status = None if claims is None else claims.verification.status
        if case.name.endswith("_fail"):
            if status is S.VERIFIED:
                wrong[case.name] = status
        elif status is not S.VERIFIED:
            wrong[case.name] = (status, None if claims is None else claims.verification.reason)
    assert wrong == {}


def test_real_bundles(provenance: Path, expected_signatures: dict[str, Any]) -> None:
    """The signature against the embedded certificate, and never more than that proves."""
    seen = 0
    for name, fact in expected_signatures["bundles"].items():
        path, _, index = name.partition("#")
        part = read_parts((provenance / path).read_bytes(), path).parts[int(index or 0)]
        verdict = judge_part(part, TrustRoots())
        if "dsse_signature_matches_embedded_cert" in fact:
            certificate = part.signatures[0].certificate
            leaf = None if certificate is None else certificate.leaf()
            assert leaf is not None
            intact = fact["dsse_signature_matches_embedded_cert"]
            assert matches_certificate(part, part.signatures[0], leaf) == intact, name
            assert (verdict.status is S.FAILED) != intact, (name, verdict)
            seen += 1
        assert verdict.status is not S.VERIFIED
        if str(fact.get("sigstore_python", "")).startswith("ok"):
            assert verdict.status is S.IDENTITY_UNPROVEN
            assert verdict.signer is not None
    assert seen >= 40


def test_real_bundles_of_expected_signers(provenance: Path, expected_signatures: dict[str, Any]) -> None:
    """Who is expected is verified where a log entry proves when she signed; an altered bundle never is."""
    anybody = TrustRoots(identities=(ExpectedIdentity(ACTIONS, "https://github.com/*"),))
    verified, flipped = set(), 0
    for name, fact in expected_signatures["bundles"].items():
        path, _, index = name.partition("#")
        part = read_parts((provenance / path).read_bytes(), path).parts[int(index or 0)]
        verdict = judge_part(part, anybody)
        if verdict.status is S.VERIFIED:
            assert fact["dsse_signature_matches_embedded_cert"], name
            assert verdict.signer == f"{fact['cert_san'][0]} ({ACTIONS})"
            verified.add(name)
        elif fact.get("dsse_signature_matches_embedded_cert") and part.container == "sigstore-bundle":
            assert "not provable here" in verdict.reason, (name, verdict)  # no proof of inclusion
    assert {one.partition("/")[0] for one in verified} == {"slsa-gha"}
    for name in sorted(verified)[:4]:
        content = (provenance / name.partition("#")[0]).read_bytes()
        for altered in spoiled(json.loads(content)):
            claims = verify_document(json.dumps(altered).encode(), name, anybody)
            assert claims.verification.status is S.FAILED, claims.verification
            flipped += 1
    assert flipped == 4 * 4


def test_pep_740(provenance: Path) -> None:
    """Attestations of the index's own form: verified for the publisher we expect, and only as they were signed."""
    anybody = TrustRoots(identities=(ExpectedIdentity(ACTIONS, "https://github.com/*"),))
    other = TrustRoots(identities=(ExpectedIdentity(ACTIONS, "https://github.com/somebody/else/*"),))
    verdicts = {}
    for path in sorted((provenance / "pypi-attestations").glob("*.attestation")):
        content = path.read_bytes()
        claims = verify_document(content, path.name, anybody)
        verdicts[path.name] = claims.verification.status
        if claims.verification.status is not S.VERIFIED:
            assert claims.verification.status is S.NO_TRUST_ROOT  # signed against the staging instance
            continue
        assert [edge.target for edge in claims.earned] == [receipt_id(content)]
        assert verify_document(content, path.name, other).verification.status is S.IDENTITY_UNPROVEN
        altered = json.loads(content)
        statement = json.loads(base64.b64decode(altered["envelope"]["statement"]))
        statement["subject"][0]["digest"]["sha256"] = "0" * 64
        altered["envelope"]["statement"] = base64.b64encode(json.dumps(statement).encode()).decode()
        assert verify_document(json.dumps(altered).encode(), path.name, anybody).verification.status is S.FAILED
    assert S.VERIFIED in verdicts.values()


def spoiled(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """The bundle with its log entry's body, promise, time and proof altered, one at a time."""
    found = []
    for spoil in (
        lambda entry: entry.update(canonicalizedBody=flip(entry["canonicalizedBody"])),
        lambda entry: entry["inclusionPromise"].update(
            signedEntryTimestamp=flip(entry["inclusionPromise"]["signedEntryTimestamp"])
        ),
        lambda entry: entry.update(integratedTime=str(int(entry["integratedTime"]) + 1)),
        lambda entry: entry["inclusionProof"].update(rootHash=flip(entry["inclusionProof"]["rootHash"])),
    ):
        copy = json.loads(json.dumps(bundle))
        spoil(copy["verificationMaterial"]["tlogEntries"][0])
        found.append(copy)
    return found


def flip(text: str) -> str:
    content = bytearray(base64.b64decode(text))
    content[len(content) // 2] ^= 1
    return base64.b64encode(content).decode()


def gcb_keys(provenance: Path) -> TrustRoots:
    keys = []
    for path in sorted((provenance / "gcb" / "keys").glob("*.key")):
        schemes = frozenset({Scheme.DSSE_PAE if "pae" in path.stem else Scheme.LEGACY_RAW})
        keys.append(
            TrustedKey(
                path.stem, path.read_bytes(), schemes, ("https://cloudbuild.googleapis.com/GoogleHostedWorker*",)
            )
        )
    return TrustRoots(keys=tuple(keys))


def test_cloud_build(provenance: Path, expected_signatures: dict[str, Any]) -> None:
    roots = gcb_keys(provenance)
    documents = {str(path.relative_to(provenance)): path for path in (provenance / "gcb").glob("v*/*.json")}
    assert documents.keys() == expected_signatures["gcb"].keys()
    for name, path in documents.items():
        facts = expected_signatures["gcb"][name]
        if facts == "not JSON":
            with pytest.raises(InputError):
                read_parts(path.read_bytes(), name)
            continue
        reading = read_parts(path.read_bytes(), name)
        assert len(reading.parts) == len(facts)
        for part, fact in zip(reading.parts, facts, strict=True):
            held = [
                [f"{key.holder}:{'raw-payload' if how is Scheme.LEGACY_RAW else 'pae'}" for key, how in pairs]
                for pairs in keys_that_hold(part, roots)
            ]
            assert held == fact["signatures_verified_by"], name
            assert sorted(one["sha256"] for one in part.subjects) == sorted(fact["signed_subject_digests"])
        claims = verify_document(path.read_bytes(), name, roots)
        subjects = {digest for fact in facts for digest in fact["signed_subject_digests"]}
        assert {node.id for node in claims.nodes if node.id.startswith("sha256:")} == {
            f"sha256:{one}" for one in subjects
        }
        held_all = all(any(fact["signatures_verified_by"]) for fact in facts)
        assert (claims.verification.status is S.VERIFIED) == (held_all and "mismatch" not in name), name


def test_verification_summary(provenance: Path, expected_signatures: dict[str, Any]) -> None:
    key = (provenance / "vsa" / "vsa_signing_public_key.pem").read_bytes()
    for name, form in expected_signatures["vsa"].items():
        content = (provenance / name).read_bytes()
        how = {"p1363": Scheme.DSSE_PAE_RAW, "der": Scheme.DSSE_PAE}[form]
        trusted = functools.partial(TrustedKey, "verifier", key, builders=("https://bcid.corp.google.com/verifier/*",))
        claims = verify_document(content, name, TrustRoots(keys=(trusted(frozenset({how})),)))
        assert claims.verification.status is S.VERIFIED
        assert len(claims.earned) == 2
        other = {Scheme.DSSE_PAE_RAW, Scheme.DSSE_PAE} - {how}
        assert verify_document(content, name, TrustRoots(keys=(trusted(frozenset(other)),))).earned == ()


def test_without_trust_nothing_real_is_verified(provenance: Path) -> None:
    """Every document of the corpus, with no key and no expected identity: not one verified."""
    read = 0
    for path in sorted(provenance.rglob("*")):
        if path.is_file() and path.stat().st_size < 1_000_000:
            try:
                claims = verify_document(path.read_bytes(), path.name, TrustRoots())
            except InputError:
                continue
            read += 1
            assert claims.verification.status is not S.VERIFIED
            assert claims.earned == ()
            assert claims.document == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert read > 100
