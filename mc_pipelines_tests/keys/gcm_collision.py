"""Builds one AES-GCM ciphertext that verifies under two keys (Dodis et al. 2018; Albertini et al. 2022).

The tag is a polynomial in the hash key, so with two keys and one free block there is one linear equation in
GF(2^128): solve it and both tags agree.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_REDUCTION = 0xE1 << 120


def _multiply(x: int, y: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if y >> bit & 1:
            product ^= x
        x = x >> 1 ^ (_REDUCTION if x & 1 else 0)
    return product


def _invert(x: int) -> int:
    # x^(2^128 - 2), Fermat's little theorem in the field.
    result, power = 1 << 127, x
    for _ in range(127):
        power = _multiply(power, power)
        result = _multiply(result, power)
    return result


def _block(key: bytes, content: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - GCM is built from it
    return int.from_bytes(encryptor.update(content) + encryptor.finalize(), "big")


def two_key_ciphertext(first: bytes, second: bytes, nonce_first: bytes, nonce_second: bytes, beginning: bytes) -> bytes:
    """Return ciphertext and tag that decrypt under both keys; ``beginning`` is free, whole blocks."""
    blocks = [int.from_bytes(beginning[at : at + 16], "big") for at in range(0, len(beginning), 16)]
    length = (len(blocks) + 1) * 128
    constants, squares = [], []
    for key, nonce in ((first, nonce_first), (second, nonce_second)):
        hash_key = _block(key, bytes(16))
        digest = 0
        for one in [*blocks, 0]:
            digest = _multiply(digest ^ one, hash_key)
        digest = _multiply(digest ^ length, hash_key)
        constants.append(digest ^ _block(key, nonce + b"\0\0\0\1"))
        squares.append(_multiply(hash_key, hash_key))
    free = _multiply(constants[0] ^ constants[1], _invert(squares[0] ^ squares[1]))
    tag = constants[0] ^ _multiply(free, squares[0])
    return beginning + free.to_bytes(16, "big") + tag.to_bytes(16, "big")
