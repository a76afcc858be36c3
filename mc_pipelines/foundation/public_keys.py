"""Public keys of people: which are accepted, and the name that a key has everywhere."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import KeyId

_MEND = "give the public half of an ECDSA key on curve P-256 (prime256v1) as PEM"


def normalised_public_key(pem: str) -> tuple[KeyId, str]:
    """Return the RFC 7638 thumbprint of a P-256 public key and its PEM in the one form that is stored.

    Raises:
        InputError: the text is no public key, or one of another kind.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError("Not a readable public key", field="public key", mend=_MEND) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError("Not an ECDSA key on curve P-256", field="public key", mend=_MEND)
    numbers = key.public_numbers()
    members = {
        "crv": "P-256",
        "kty": "EC",
        "x": _base64url(numbers.x.to_bytes(32, "big")),
        "y": _base64url(numbers.y.to_bytes(32, "big")),
    }
    stored = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return KeyId(_base64url(hashlib.sha256(canonical_json(members)).digest())), stored.decode()


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
