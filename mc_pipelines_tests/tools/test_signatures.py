"""cosign, which knows nothing of us, verifies the evidence of a rotation offline."""

from pathlib import Path

import pytest

from mc_pipelines.attest.bundle import export_bundle
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.signer import spki_der
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.keys.evidence import PREDICATE_TYPE
from mc_pipelines.keys.provider import SIGNER_KEY
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.rotation import Rotator
from mc_pipelines.keys.signers import active_signer
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.tools.conftest import Tool

pytestmark = [pytest.mark.tools, pytest.mark.database]


@pytest.fixture
def rotated(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> Path:
    """A folder with the evidence of a rotation as two bundles, both public keys, and the new key in DER."""
    keyring = LocalKeyring(tmp_path / "keyring.json", clock=clock)
    active_signer(database.app, keyring, clock)
    rotator = Rotator(database.app, keyring, clock)
    evidence = rotator.run(rotator.plan(SIGNER_KEY, reason="scheduled").rotation_id).evidence
    assert evidence is not None
    for name, version in zip(("old", "new"), keyring.inventory(), strict=True):
        pem = keyring.public_key(version.ref)
        (tmp_path / f"{name}.pub").write_bytes(pem)
        (tmp_path / f"{name}.der").write_bytes(spki_der(pem))
        (tmp_path / f"{name}.json").write_bytes(export_bundle(Envelope.from_json(evidence), version.check_value))
    return tmp_path


def _arguments(bundle: Path, key: Path, blob: Path) -> tuple[str | Path, ...]:
    offline = ("--insecure-ignore-tlog",)  # a managed key, in no public log
    return ("verify-blob-attestation", *offline, "--type", PREDICATE_TYPE, "--bundle", bundle, "--key", key, blob)


@pytest.mark.parametrize("who", ["old", "new"])
def test_both_keys_signed_a_statement_about_the_new_key(tool: Tool, rotated: Path, who: str) -> None:
    done = tool("cosign", *_arguments(rotated / f"{who}.json", rotated / f"{who}.pub", rotated / "new.der"))
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr


def test_a_key_that_did_not_sign_is_refused(tool: Tool, rotated: Path) -> None:
    done = tool("cosign", *_arguments(rotated / "old.json", rotated / "new.pub", rotated / "new.der"))
    assert done.returncode != 0
    assert "signature" in done.stderr


def test_a_blob_that_is_no_subject_is_refused(tool: Tool, rotated: Path) -> None:
    (rotated / "another").write_bytes(b"another key")
    done = tool("cosign", *_arguments(rotated / "old.json", rotated / "old.pub", rotated / "another"))
    assert done.returncode != 0
    assert "Verified OK" not in done.stderr
