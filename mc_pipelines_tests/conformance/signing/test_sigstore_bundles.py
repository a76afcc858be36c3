"""sigstore-conformance bundles: managed keys through our verifier; every keyless one is refused by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mc_pipelines.attest.bundle import parse_bundle, verify_managed
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.foundation.errors import InputError, MaestroError


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
