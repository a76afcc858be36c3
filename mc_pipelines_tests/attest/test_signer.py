"""One algorithm, one encoding, one name per key."""

from __future__ import annotations

import base64
import hashlib

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mc_pipelines.attest.signer import (
    LocalSigner,
    Signer,
    der_from_raw,
    load_public_key,
    public_jwk,
    public_key_pem_of_der,
    spki_der,
    thumbprint,
    verify_signature,
)
from mc_pipelines.foundation.errors import InputError, VerificationError


def private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_signature_verifies_and_survives_a_round_trip_through_pem() -> None:
    signer = LocalSigner.generate()
    again = LocalSigner.from_pem(signer.private_key_pem(password=b"secret"), password=b"secret")
    assert isinstance(signer, Signer)
    assert again.key_id == signer.key_id
    verify_signature(signer.public_key_pem, again.sign(b"content"), b"content")


def test_the_key_id_is_the_thumbprint_of_the_four_members_in_order() -> None:
    signer = LocalSigner.generate()
    jwk = public_jwk(signer.public_key_pem)
    text = f'{{"crv":"P-256","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'
    expected = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    assert thumbprint(signer.public_key_pem) == expected == signer.key_id
    parsed = jwt.PyJWK(jwk | {"alg": "ES256"}).key  # other software reads the same key out of the JWK
    assert parsed.public_numbers() == load_public_key(signer.public_key_pem).public_numbers()


def test_coordinates_with_leading_zeros_keep_their_length() -> None:
    for scalar in range(1, 2000):
        key = ec.derive_private_key(scalar, ec.SECP256R1())
        if key.public_key().public_numbers().x < 2**248:
            break
    else:  # pragma: no cover - a property of the curve: about one in 256 keys
        pytest.fail("no key with a leading zero byte found")
    jwk = public_jwk(LocalSigner(key).public_key_pem)
    assert len(jwk["x"]) == 43


def test_another_content_another_key_and_a_changed_byte_are_refused() -> None:
    signer, other = LocalSigner.generate(), LocalSigner.generate()
    signature = signer.sign(b"content")
    with pytest.raises(VerificationError):
        verify_signature(signer.public_key_pem, signature, b"other")
    with pytest.raises(VerificationError):
        verify_signature(other.public_key_pem, signature, b"content")
    for position in range(len(signature)):
        changed = bytearray(signature)
        changed[position] ^= 1
        with pytest.raises(VerificationError):
            verify_signature(signer.public_key_pem, bytes(changed), b"content")


def test_a_raw_signature_is_refused_as_der_and_accepted_when_converted() -> None:
    signer = LocalSigner.generate()
    r, s = decode_dss_signature(signer.sign(b"content"))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    with pytest.raises(VerificationError, match="DER"):
        verify_signature(signer.public_key_pem, raw, b"content")
    verify_signature(signer.public_key_pem, der_from_raw(raw), b"content")
    with pytest.raises(InputError, match="64 bytes"):
        der_from_raw(raw[:-1])


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()])
def test_another_curve_is_refused_by_name(curve: ec.EllipticCurve) -> None:
    with pytest.raises(InputError, match=curve.name):
        LocalSigner.from_pem(private_pem(ec.generate_private_key(curve)))


def test_what_is_no_elliptic_curve_key_is_refused() -> None:
    with pytest.raises(InputError, match="elliptic"):
        LocalSigner.from_pem(private_pem(ed25519.Ed25519PrivateKey.generate()))
    with pytest.raises(InputError, match="private key"):
        LocalSigner.from_pem(b"not a key")
    with pytest.raises(InputError, match="private key"):
        LocalSigner.from_pem(LocalSigner.generate().private_key_pem(password=b"a"), password=b"b")
    with pytest.raises(InputError, match="public key"):
        load_public_key(b"not a key")


def test_der_and_pem_carry_the_same_key() -> None:
    signer = LocalSigner.generate()
    assert public_key_pem_of_der(spki_der(signer.public_key_pem)) == signer.public_key_pem


def test_showing_a_signer_shows_no_secret() -> None:
    signer = LocalSigner.generate()
    assert repr(signer) == f"LocalSigner({signer.key_id})"
