"""A second MCE1 writer, written from docs/security/mce1.md alone: it shares no line with the product's."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def _hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    prk = hmac.digest(salt, secret, "sha512")
    output, block, counter = b"", b"", 0
    while len(output) < length:
        counter += 1
        block = hmac.digest(prk, block + info + bytes([counter]), "sha512")
        output += block
    return output[:length]


def _cbor_head(major: int, number: int) -> bytes:
    for limit, low, form in ((24, None, "B"), (2**8, 24, ">B"), (2**16, 25, ">H"), (2**32, 26, ">I")):
        if number < limit:
            return (
                bytes([major << 5 | number]) if low is None else bytes([major << 5 | low]) + struct.pack(form, number)
            )
    return bytes([major << 5 | 27]) + struct.pack(">Q", number)


def _cbor(value: Any) -> bytes:
    if isinstance(value, int):
        return _cbor_head(0, value)
    if isinstance(value, bytes):
        return _cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return _cbor_head(3, len(value.encode())) + value.encode()
    return _cbor_head(5, len(value)) + b"".join(_cbor(key) + _cbor(item) for key, item in sorted(value.items()))


def write(
    content: bytes,
    *,
    dek: bytes,
    salt: bytes,
    kind: int,
    log2: int,
    members: dict[int, Any],
    slots: list[tuple[int, str, bytes]],
) -> bytes:
    """Seal by the letter of the specification."""
    encoded = _cbor(members)
    flags = (0 if slots else 1) | (0 if content else 2)
    fixed = b"MCE1" + bytes([flags, 1, log2, kind]) + struct.pack(">I", len(encoded)) + encoded
    okm = _hkdf(dek, salt, b"MCE1" + hashlib.sha256(fixed).digest(), 103)
    key, commit, mac_key, prefix = okm[:32], okm[32:64], okm[64:96], okm[96:]
    block = struct.pack(">H", len(slots))
    for provider, reference, wrapped in slots:
        block += struct.pack(">BH", provider, len(reference)) + reference.encode()
        block += struct.pack(">H", len(wrapped)) + wrapped
    size = 1 << log2
    pieces = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    body = b"".join(
        AESGCM(key).encrypt(prefix + struct.pack(">IB", number, number == len(pieces) - 1), piece, None)
        for number, piece in enumerate(pieces)
    )
    return fixed + salt + commit + block + hmac.digest(mac_key, block, "sha256") + body
