from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import VerificationStatus
from mc_pipelines.provenance.trust_file import load_trust_file
from mc_pipelines.provenance.trust_roots import ExpectedIdentity, Scheme, TrustRoots
from mc_pipelines.provenance.verification import verify_document
from mc_pipelines_tests.provenance.readers.documents import SLSA_1, slsa_1, statement

SIGNER = LocalSigner.generate()


def load(folder: Path, **document: Any) -> TrustRoots:
    path = folder / "trust.json"
    path.write_text(json.dumps(document))
    return load_trust_file(path)


def test_an_empty_file_believes_nobody(tmp_path: Path) -> None:
    assert load(tmp_path) == TrustRoots()


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "builder.pub").write_bytes(SIGNER.public_key_pem)
    (tmp_path / "root.json").write_bytes(b"{}")
    key = {"holder": "builder", "file": "builder.pub", "schemes": ["dsse-pae", "legacy-raw"], "builders": ["https://*"]}
    identity = {"issuer": "https://issuer", "subject": "https://example.org/*"}
    roots = load(tmp_path, keys=[key], identities=[identity], sigstoreRoot="root.json", keyless=False)
    assert roots.keys[0].schemes == {Scheme.DSSE_PAE, Scheme.LEGACY_RAW}
    assert roots.identities == (ExpectedIdentity("https://issuer", "https://example.org/*"),)
    assert (roots.sigstore_root, roots.keyless) == (b"{}", False)
    assert roots.digest != load(tmp_path, keys=[key]).digest


def test_a_document_is_verified_by_it_and_no_longer_once_the_key_is_revoked(tmp_path: Path) -> None:
    content = sign(statement(SLSA_1, slsa_1()), IN_TOTO_PAYLOAD_TYPE, (SIGNER,)).to_json()
    key = {"holder": "builder", "pem": SIGNER.public_key_pem.decode()}
    good, revoked = load(tmp_path, keys=[key]), load(tmp_path, keys=[key | {"revoked": True}])
    assert verify_document(content, "x", good).verification.status is VerificationStatus.VERIFIED
    assert verify_document(content, "x", revoked).verification.status is VerificationStatus.STALE


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"key": []}, "unknown field"),
        ({"keys": [{"holder": "x"}]}, "`pem` or in a `file`"),
        ({"keys": [{"holder": "x", "pem": "a", "file": "b"}]}, "`pem` or in a `file`"),
        ({"keys": [{"holder": "x", "file": "absent.pub"}]}, "Cannot be read"),
        ({"keys": [{"holder": "x", "pem": "no key"}]}, "readable public key"),
        ({"keys": [{"holder": "", "pem": SIGNER.public_key_pem.decode()}]}, "holder and a scheme"),
        ({"keys": [{"holder": "x", "pem": "a", "schemes": ["rot13"]}]}, "Invalid enum value"),
        ({"identities": [{"issuer": "https://i", "subject": "*"}]}, "names its issuer and subject"),
        ({"sigstoreRoot": "absent.json"}, "Cannot be read"),
    ],
)
def test_what_is_no_trust_file_is_refused(tmp_path: Path, document: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(tmp_path, **document)


def test_no_json(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_text("{")
    with pytest.raises(InputError, match="trust file"):
        load_trust_file(path)
    with pytest.raises(InputError, match="Cannot be read"):
        load_trust_file(tmp_path / "absent.json")
