"""A signing key that the settings name: a file, a key of AWS KMS, and everything else refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from pydantic import SecretStr

from mc_pipelines.attest.dsse import Envelope, sign, verify
from mc_pipelines.attest.key_history import load_history
from mc_pipelines.attest.signer import LocalSigner, load_public_key, verify_with_key
from mc_pipelines.composition import Context
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConfigurationError, UnavailableError, VerificationError
from mc_pipelines.foundation.settings import Profile, Settings
from mc_pipelines.keys.provider import KEK_KEY, KeyUse
from mc_pipelines.keys.rotation import Rotator
from mc_pipelines.keys.signing_key import open_signing_key
from mc_pipelines_tests.clouds import servers
from mc_pipelines_tests.conftest import TestDatabase

KEY = LocalSigner.generate()


def key_file(folder: Path, *, password: bytes | None = None, mode: int = 0o600) -> str:
    path = folder / "signer.pem"
    path.write_bytes(KEY.private_key_pem(password=password))
    path.chmod(mode)
    return path.as_uri()


@pytest.mark.parametrize("password", [None, b"geheim"])
def test_a_key_in_a_file_signs(tmp_path: Path, password: bytes | None) -> None:
    url = key_file(tmp_path, password=password, mode=0o600 if password is None else 0o644)
    signer = open_signing_key(url, passphrase=b"geheim", sealed_only=password is not None)
    verify(sign(b"{}", "application/json", [signer]), {KEY.key_id: KEY.public_key_pem})


@pytest.mark.parametrize(
    ("password", "mode", "given", "sealed_only", "says"),
    [
        (None, 0o600, None, True, r"production profile refuses.*readable.*pkcs8"),
        (None, 0o640, None, False, r"Others may read.*chmod 600"),
        (b"geheim", 0o600, None, True, r"encrypted.*MC_SIGNING_KEY_PASSPHRASE"),
        (b"geheim", 0o600, b"falsch", True, r"not under this passphrase.*MC_SIGNING_KEY_PASSPHRASE"),
    ],
    ids=["readable-in-production", "readable-by-others", "no-passphrase", "another-passphrase"],
)
def test_a_key_in_a_file_is_refused_with_the_mend(
    tmp_path: Path, password: bytes | None, mode: int, given: bytes | None, sealed_only: bool, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as refusal:
        open_signing_key(key_file(tmp_path, password=password, mode=mode), passphrase=given, sealed_only=sealed_only)
    assert "falsch" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gcpkms://projects/p/locations/l", r"Keys of gcpkms are not supported.*Mend: write file:///"),
        ("azurekms://vault/key", r"Keys of azurekms are not supported"),
        ("hashivault://key", r"Keys of hashivault are not supported"),
        ("awskms://", r"Not the URL of a signing key"),
        ("signer.pem", r"Not the URL of a signing key"),
        ("file:///nowhere/signer.pem", r"cannot be read: No such file"),
    ],
)
def test_a_url_that_names_no_key_of_ours_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_signing_key(url, passphrase=None, sealed_only=False)


@pytest.fixture(scope="module")
def kms() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, servers.aws(patch):
        yield boto3.client("kms")


def new_key(kms: Any, alias: str, spec: str = "ECC_NIST_P256") -> str:
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)["KeyMetadata"]
    kms.create_alias(AliasName=f"alias/{alias}", TargetKeyId=key["KeyId"])
    return str(key["Arn"])


def test_a_key_of_kms_signs_and_is_told_by_alias_and_arn(kms: Any) -> None:
    arn = new_key(kms, "told")
    signers = [open_signing_key(f"awskms:///{name}", passphrase=None, sealed_only=True) for name in ("alias/told", arn)]
    assert signers[0].key_id == signers[1].key_id
    # moto 5 hashes what it is given as a digest once more, which AWS does not: so the digest is what it signed.
    signature = signers[0].sign(b"a statement")
    public = load_public_key(signers[1].public_key_pem)
    verify_with_key(public, signature, sha256(b"a statement").digest())
    with pytest.raises(VerificationError):
        verify_with_key(public, signature, sha256(b"another").digest())


def test_a_key_of_kms_of_another_kind_or_none_is_refused(kms: Any) -> None:
    new_key(kms, "rsa", "RSA_2048")
    with pytest.raises(ConfigurationError, match=r"another kind.*alias/rsa.*ECC_NIST_P256"):
        open_signing_key("awskms:///alias/rsa", passphrase=None, sealed_only=True)
    with pytest.raises(UnavailableError, match=r"AWS KMS does not sign.*alias/nowhere.*kms:Sign"):
        open_signing_key("awskms:///alias/nowhere", passphrase=None, sealed_only=True)


def test_kms_that_is_down_is_named(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UnavailableError, match=r"AWS KMS does not sign.*MC_SIGNING_KEY_URL"):
        open_signing_key("awskms://127.0.0.1:1/alias/told", passphrase=None, sealed_only=True)


@pytest.mark.database
def test_the_service_signs_with_the_named_key_and_verifiers_know_it(
    database: TestDatabase, clock: FrozenClock, kms: Any, tmp_path: Path
) -> None:
    new_key(kms, "service")
    settings = Settings(home=tmp_path, profile=Profile.PRODUCTION, signing_key_url=SecretStr("awskms:///alias/service"))
    signer = Context(settings, database.app, clock).signer
    with database.app.begin() as connection:
        assert [one.key_id for one in load_history(connection)] == [signer.key_id]
    assert not (tmp_path / "keys").exists(), "a local key was made although one is named"


@pytest.mark.database
def test_a_wrapping_key_rotates_under_the_named_signature_and_no_local_signer_is_made(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", signing_key_url=SecretStr(key_file(tmp_path)))
    context = Context(settings, database.app, clock)
    context.keyring.create(KEK_KEY, KeyUse.WRAP)
    rotator = Rotator(database.app, context.keyring, clock, signer=lambda: context.signer)
    done = rotator.run(rotator.plan(KEK_KEY, reason="test").rotation_id)
    assert done.evidence is not None
    verify(Envelope.from_json(done.evidence), {KEY.key_id: KEY.public_key_pem})
    assert {one.key for one in context.keyring.inventory()} == {KEK_KEY}
