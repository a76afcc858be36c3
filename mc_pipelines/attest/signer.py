"""Signing keys: ECDSA P-256 with SHA-256, DER signatures, named by RFC 7638 thumbprints.

This is the one algorithm that every key service, OpenSSL, cosign and securesystemslib share, so it is the only
one that statements of ours carry. Everything here refuses another curve, another hash and another encoding.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Protocol, runtime_checkable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId

_COORDINATE_BYTES = 32
_MEND_KEY = "give an ECDSA key on curve P-256 (prime256v1) in PEM form"


@runtime_checkable
class Signer(Protocol):
    """Anything that signs with one ECDSA P-256 key: a file, a key service, a hardware module."""

    @property
    def key_id(self) -> KeyId:
        """RFC 7638 thumbprint of the public key."""
        ...

    @property
    def public_key_pem(self) -> bytes:
        """The public key as a PEM SubjectPublicKeyInfo."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return a DER ECDSA signature over the SHA-256 of ``data``."""
        ...


class LocalSigner:
    """Signs with a private key held in this process."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        _require_p256(private_key.curve)
        self._private_key = private_key
        self._public_key_pem = _pem(private_key.public_key())
        self._key_id = thumbprint(self._public_key_pem)

    @classmethod
    def generate(cls) -> LocalSigner:
        """Make a new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, content: bytes, *, password: bytes | None = None) -> LocalSigner:
        """Load a private key from PEM (PKCS #8 or SEC 1).

        Raises:
            InputError: the content is no such key, needs another password, or is on another curve.
        """
        try:
            key = serialization.load_pem_private_key(content, password)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InputError("Not a readable private key", field="private key", mend=_MEND_KEY) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InputError("Not an elliptic curve key", field="private key", mend=_MEND_KEY)
        return cls(key)

    @property
    def key_id(self) -> KeyId:
        """RFC 7638 thumbprint of the public key."""
        return self._key_id

    @property
    def public_key_pem(self) -> bytes:
        """The public key as a PEM SubjectPublicKeyInfo."""
        return self._public_key_pem

    def sign(self, data: bytes) -> bytes:
        """Return a DER ECDSA signature over the SHA-256 of ``data``."""
        return self._private_key.sign(data, ec.ECDSA(hashes.SHA256()))

    def private_key_pem(self, *, password: bytes | None = None) -> bytes:
        """Return the private key as PKCS #8 PEM, encrypted if a password is given; for keyrings only."""
        encryption: serialization.KeySerializationEncryption = (
            serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
        )
        return self._private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def __repr__(self) -> str:
        """Show the key id, never the key."""
        return f"LocalSigner({self._key_id})"


def load_public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Load a P-256 public key from a PEM SubjectPublicKeyInfo.

    Raises:
        InputError: the content is no such key.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError("Not a readable public key", field="public key", mend=_MEND_KEY) from error
    return _checked(key)


def load_public_key_der(content: bytes) -> ec.EllipticCurvePublicKey:
    """Load a P-256 public key from a DER SubjectPublicKeyInfo.

    Raises:
        InputError: the content is no such key.
    """
    try:
        key = serialization.load_der_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError("Not a readable public key", field="public key", mend=_MEND_KEY) from error
    return _checked(key)


def spki_der(pem: bytes) -> bytes:
    """Return the DER SubjectPublicKeyInfo of a P-256 public key given as PEM."""
    return load_public_key(pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_key_pem_of_der(content: bytes) -> bytes:
    """Return the PEM form of a P-256 public key given as a DER SubjectPublicKeyInfo."""
    return _pem(load_public_key_der(content))


def public_jwk(pem: bytes) -> dict[str, str]:
    """Return the required members of the key's JWK (RFC 7518 section 6.2.1)."""
    numbers = load_public_key(pem).public_numbers()
    return {
        "crv": "P-256",
        "kty": "EC",
        "x": _base64url(numbers.x.to_bytes(_COORDINATE_BYTES, "big")),
        "y": _base64url(numbers.y.to_bytes(_COORDINATE_BYTES, "big")),
    }


def thumbprint(pem: bytes) -> KeyId:
    """Return the RFC 7638 SHA-256 thumbprint of a P-256 public key, base64url without padding."""
    return KeyId(_base64url(hashlib.sha256(canonical_json(public_jwk(pem))).digest()))


def verify_signature(public_key_pem: bytes, signature: bytes, data: bytes) -> None:
    """Check one ECDSA P-256 SHA-256 signature in strict DER.

    A DER signature that decodes but is not the one encoding of its two numbers is refused, so that a
    signature has exactly one form.

    Raises:
        InputError: the key is not a P-256 key.
        VerificationError: the signature does not verify, or is not DER.
    """
    verify_with_key(load_public_key(public_key_pem), signature, data)


def verify_with_key(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """Check one signature as :func:`verify_signature` does, with a key that is loaded already.

    Raises:
        VerificationError: the signature does not verify, or is not DER.
    """
    _require_p256(key.curve)
    try:
        canonical = encode_dss_signature(*decode_dss_signature(signature))
    except ValueError as error:
        raise VerificationError("The signature is not a DER ECDSA signature", field="signature") from error
    if canonical != signature:
        raise VerificationError("The signature is not in the one DER encoding", field="signature")
    try:
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise VerificationError("The signature does not match the content", field="signature") from error


def der_from_raw(signature: bytes) -> bytes:
    """Return the DER form of a raw ``r || s`` P-256 signature (IEEE P1363, JOSE, Azure Key Vault).

    Raises:
        InputError: the signature is not 64 bytes.
    """
    if len(signature) != 2 * _COORDINATE_BYTES:
        raise InputError("A raw P-256 signature is 64 bytes", field="signature", value=f"{len(signature)} bytes")
    r = int.from_bytes(signature[:_COORDINATE_BYTES], "big")
    s = int.from_bytes(signature[_COORDINATE_BYTES:], "big")
    return encode_dss_signature(r, s)


def raw_from_der(signature: bytes) -> bytes:
    """Return the raw ``r || s`` form of a DER P-256 signature, as JOSE wants it (RFC 7518 section 3.4).

    Raises:
        InputError: the signature is not a DER ECDSA signature.
    """
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
    except (ValueError, OverflowError) as error:
        raise InputError("Not a DER P-256 signature", field="signature") from error


def _checked(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError("Not an elliptic curve key", field="public key", mend=_MEND_KEY)
    _require_p256(key.curve)
    return key


def _require_p256(curve: ec.EllipticCurve) -> None:
    if not isinstance(curve, ec.SECP256R1):
        raise InputError("Only curve P-256 is accepted", field="curve", value=curve.name, mend=_MEND_KEY)


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
