"""sigstore-conformance bundles: managed keys through our verifier, keyless ones through sigstore-python."""

from __future__ import annotations

from pathlib import Path

import pytest

from mc_pipelines.attest.bundle import parse_bundle, verify_managed
from mc_pipelines.attest.keyless import verify_keyless
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.foundation.errors import InputError, MaestroError, VerificationError


def test_managed_key_bundles(data_dir: Path) -> None:
    folder = data_dir / "signing" / "sigstore-bundles"
    artifact = (folder / "a.txt").read_bytes()
    managed = sorted(folder.glob("*/key.pub"))
    assert len(managed) >= 2
    for key in managed:
        pem = key.read_bytes()
        content = (key.parent / "bundle.sigstore.json").read_bytes()
        try:
            verify_managed(parse_bundle(content), {thumbprint(pem): pem}, artifact=artifact)
            accepted = True
        except MaestroError:
            accepted = False
        assert accepted != key.parent.name.endswith("_fail"), key.parent.name


def test_keyless_bundles_are_never_taken_for_managed_ones(data_dir: Path) -> None:
    folder = data_dir / "signing" / "sigstore-bundles"
    pem = (folder / "managed-key-happy-path" / "key.pub").read_bytes()
    keyless = [one for one in sorted(folder.iterdir()) if one.is_dir() and not (one / "key.pub").is_file()]
    assert len(keyless) >= 23
    for one in keyless:
        bundle = parse_bundle((one / "bundle.sigstore.json").read_bytes())
        with pytest.raises(InputError, match="certificate"):
            verify_managed(bundle, {thumbprint(pem): pem}, artifact=b"")


BEACON = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/"
IDENTITY = BEACON + "extremely-dangerous-oidc-beacon.yml@refs/heads/main"
ISSUER = "https://token.actions.githubusercontent.com"


def test_keyless_bundles(data_dir: Path) -> None:
    folder = data_dir / "signing" / "sigstore-bundles"
    wrong = []
    for one in sorted(one for one in folder.iterdir() if one.is_dir() and not (one / "key.pub").is_file()):
        artifact, root = one / "artifact", one / "trusted_root.json"
        try:
            verify_keyless(
                (one / "bundle.sigstore.json").read_bytes(),
                identity=IDENTITY,
                issuer=ISSUER,
                artifact=(artifact if artifact.is_file() else folder / "a.txt").read_bytes(),
                trusted_root=root.read_bytes() if root.is_file() else None,
            )
            accepted = True
        except MaestroError:
            accepted = False
        if accepted == one.name.endswith("_fail"):
            wrong.append(one.name)
    assert wrong == []


def test_another_identity_is_refused(data_dir: Path) -> None:
    folder = data_dir / "signing" / "sigstore-bundles"
    content = (folder / "happy-path-v0.3" / "bundle.sigstore.json").read_bytes()
    artifact = (folder / "a.txt").read_bytes()
    verify_keyless(content, identity=IDENTITY, issuer=ISSUER, artifact=artifact)
    for identity, issuer in ((IDENTITY + "x", ISSUER), (IDENTITY, "https://issuer.example")):
        with pytest.raises(VerificationError):
            verify_keyless(content, identity=identity, issuer=issuer, artifact=artifact)
    with pytest.raises(VerificationError):
        verify_keyless(content, identity=IDENTITY, issuer=ISSUER, artifact=artifact + b"x")
    with pytest.raises(InputError):
        verify_keyless(content, identity="", issuer=ISSUER, artifact=artifact)
    with pytest.raises(InputError):
        verify_keyless(content, identity=IDENTITY, issuer=ISSUER)
