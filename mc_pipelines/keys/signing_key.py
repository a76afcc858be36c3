"""The service's signing key where the settings name one: a PKCS #8 file, or a key of AWS KMS that never leaves it.

URLs are those of sigstore's tools: ``file:///run/secrets/signer.pem``, ``awskms:///alias/NAME``,
``awskms:///arn:aws:kms:...`` and ``awskms://HOST:PORT/alias/NAME`` for an endpoint that is not AWS's own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mc_pipelines.attest.signer import LocalSigner, Signer, load_public_key, thumbprint
from mc_pipelines.foundation.errors import ConfigurationError, InputError, UnavailableError
from mc_pipelines.foundation.ids import KeyId

SETTING = "MC_SIGNING_KEY_URL"
PASSPHRASE_SETTING = "MC_SIGNING_KEY_PASSPHRASE"  # noqa: S105 - the name of a setting
_SUPPORTED = "file:///PATH/KEY.pem, awskms:///alias/NAME or awskms:///arn:aws:kms:..."
_OTHERS = frozenset({"gcpkms", "azurekms", "hashivault", "pkcs11", "k8s"})
_FORBIDDEN_MODE = 0o077


def open_signing_key(url: str, *, passphrase: bytes | None, sealed_only: bool) -> Signer:
    """Open the key that a URL names.

    Args:
        url: of the key; never shown, since it may name an account.
        passphrase: opens an encrypted PKCS #8 file.
        sealed_only: refuse a key that lies readable in a file, as production does.

    Raises:
        ConfigurationError: the URL names no key of ours, or the key is refused.
        UnavailableError: the key's service does not answer.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return _of_file(Path(unquote(parts.path)), passphrase, sealed_only=sealed_only)
    if parts.scheme == "awskms" and len(parts.path) > 1:
        return AwsSigner.open(parts.path[1:], endpoint=parts.netloc or None)
    known = parts.scheme in _OTHERS
    raise ConfigurationError(
        f"Keys of {parts.scheme} are not supported by this release" if known else "Not the URL of a signing key",
        field=SETTING,
        value=f"{parts.scheme}://…" if parts.scheme else None,
        mend=f"write {_SUPPORTED}",
    )


def _of_file(path: Path, passphrase: bytes | None, *, sealed_only: bool) -> Signer:
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(
            f"The signing key cannot be read: {error.strerror}", field=SETTING, value=str(path), mend="mount it there"
        ) from error
    if b"ENCRYPTED PRIVATE KEY" not in content:
        if sealed_only:
            raise ConfigurationError(
                "The production profile refuses a signing key that lies readable in a file",
                field=SETTING,
                value=str(path),
                mend=f"encrypt it (openssl pkcs8 -topk8) and set {PASSPHRASE_SETTING}, or name a key of a key service",
            )
        if mode & _FORBIDDEN_MODE:
            raise ConfigurationError(
                "Others may read the signing key", field=SETTING, value=str(path), mend=f"chmod 600 {path}"
            )
        passphrase = None
    elif passphrase is None:
        raise ConfigurationError(
            "The signing key is encrypted", field=PASSPHRASE_SETTING, mend="set it to the passphrase"
        )
    try:
        return LocalSigner.from_pem(content, password=passphrase)
    except InputError as error:
        raise ConfigurationError(
            f"{error.detail}, or not under this passphrase",
            field=SETTING,
            value=str(path),
            mend=f"{error.mend}; check {PASSPHRASE_SETTING}",
        ) from error


class AwsSigner:
    """Signs with an ECC_NIST_P256 key of AWS KMS; the private key stays there.

    An alias is resolved when the signer is opened and its key kept: an alias that moves is a new signer, so that one
    signer never answers with two keys.
    """

    def __init__(self, client: Any, arn: str, public_key_pem: bytes) -> None:
        self._client = client
        self._arn = arn
        self._public_key_pem = public_key_pem
        self._key_id = thumbprint(public_key_pem)

    @classmethod
    def open(cls, key: str, *, endpoint: str | None) -> AwsSigner:
        """Ask KMS for the public key of a key id, alias or ARN.

        Raises:
            ConfigurationError: it is no P-256 signing key.
            UnavailableError: KMS does not answer, refuses the credentials, or has no such key.
        """
        import boto3
        from botocore.config import Config

        region = key.split(":")[3] if key.startswith("arn:") else None
        settings = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})
        with _Spoken(key):
            scheme = "http" if endpoint and endpoint.startswith(("127.0.0.1:", "localhost:")) else "https"
            client = boto3.client(
                "kms",
                region_name=region,
                endpoint_url=f"{scheme}://{endpoint}" if endpoint else None,
                config=settings,
            )
            answer = client.get_public_key(KeyId=key)
        pem = load_der_public_key(answer["PublicKey"]).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        try:
            load_public_key(pem)
        except InputError as error:
            raise ConfigurationError(
                f"The key of AWS KMS is of another kind: {error.detail}",
                field=SETTING,
                value=key,
                mend="name a key with usage SIGN_VERIFY and spec ECC_NIST_P256",
            ) from error
        return cls(client, answer["KeyId"], pem)

    @property
    def key_id(self) -> KeyId:
        """RFC 7638 thumbprint of the public key."""
        return self._key_id

    @property
    def public_key_pem(self) -> bytes:
        """The public key as a PEM SubjectPublicKeyInfo."""
        return self._public_key_pem

    def sign(self, data: bytes) -> bytes:
        """Return a DER ECDSA signature over the SHA-256 of ``data``; only the digest is sent.

        Raises:
            UnavailableError: KMS does not answer or refuses.
        """
        with _Spoken(self._arn):
            answer = self._client.sign(
                KeyId=self._arn,
                Message=hashlib.sha256(data).digest(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        return bytes(answer["Signature"])


class _Spoken:
    """Turns what boto3 raises into one sentence."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, BotoCoreError | ClientError):
            raise UnavailableError(
                f"AWS KMS does not sign: {str(error).splitlines()[0]}",
                field=SETTING,
                value=self._key,
                mend="check the key's name, the region, and that this process may kms:GetPublicKey and kms:Sign",
            ) from error
