"""Signed notes (C2SP signed-note): text that several keys sign line by line.

Three of the assigned signature types are read and written: ``0x02`` ECDSA P-256 (the product's signing key, which any
key service can hold), ``0x01`` Ed25519 (a log key of its own, for verifiers that know nothing else) and ``0x04``
(timestamped Ed25519 cosignatures of witnesses, C2SP tlog-cosignature). The key hash is, for Ed25519, the first 4 bytes
of SHA-256(name, newline, type, key), and for ECDSA those of SHA-256(DER SPKI).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mc_pipelines.attest.dsse import decode_base64
from mc_pipelines.attest.signer import Signer, load_public_key_der, spki_der, verify_with_key
from mc_pipelines.foundation.errors import InputError, VerificationError

ED25519 = 0x01
ECDSA = 0x02
COSIGNATURE = 0x04
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_HASH_BYTES = 4
_ED25519_KEY_BYTES = 32
_TIME_BYTES = 8
_LAST_TIME = 1 << 63
_SIGNATURE_PREFIX = "\N{EM DASH} "
_VERIFIER_KEY = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+(\S+)")


@dataclass(frozen=True)
class NoteKey:
    """A public key that verifies notes: name, type byte, encoded key (32 bytes, or a DER SPKI for ECDSA)."""

    name: str
    kind: int
    public_key: bytes

    def __post_init__(self) -> None:
        _require_name(self.name)
        if self.kind in {ED25519, COSIGNATURE} and len(self.public_key) == _ED25519_KEY_BYTES:
            return
        if self.kind == ECDSA:
            load_public_key_der(self.public_key)
            return
        raise InputError("Not an Ed25519, ECDSA P-256 or witness key", field="signature type", value=self.kind)

    @classmethod
    def ecdsa(cls, name: str, public_key_pem: bytes) -> NoteKey:
        """Return the note key of a P-256 public key."""
        return cls(name, ECDSA, spki_der(public_key_pem))

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read a verifier key, ``name+hash+base64(type || key)``.

        Raises:
            InputError: the text is none, or its hash is not that of its key.
        """
        found = _VERIFIER_KEY.fullmatch(text.strip())
        if not found:
            raise InputError("Not a note verifier key", field="verifier key", value=text)
        content = decode_base64(found[3], field="verifier key")
        if not content:
            raise InputError("The verifier key holds no key", field="verifier key", value=text)
        key = cls(found[1], content[0], content[1:])
        if key.key_hash.hex() != found[2]:
            raise InputError("The verifier key's hash is not that of its key", field="verifier key", value=text)
        return key

    @property
    def key_hash(self) -> bytes:
        """The 4 bytes that name the key in a signature line."""
        if self.kind == ECDSA:
            return hashlib.sha256(self.public_key).digest()[:_HASH_BYTES]
        content = self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key
        return hashlib.sha256(content).digest()[:_HASH_BYTES]

    def __str__(self) -> str:
        """Return the verifier key text."""
        content = bytes([self.kind]) + self.public_key
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(content).decode('ascii')}"

    def verify(self, text: str, signature: bytes) -> None:
        """Check one signature over a note's text.

        Raises:
            VerificationError: it does not hold.
        """
        if self.kind == ECDSA:
            verify_with_key(load_public_key_der(self.public_key), signature, text.encode())
            return
        message = text.encode()
        if self.kind == COSIGNATURE:
            message, signature = cosigned_message(text, cosigned_at(signature)), signature[_TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature as error:
            raise VerificationError("The signature does not match the note", field="signature") from error


class NoteSigner(Protocol):
    """Signs notes under one name with one key."""

    @property
    def key(self) -> NoteKey:
        """The public half."""
        ...

    def sign_note(self, text: str) -> bytes:
        """Return the signature over a note's text, without the key hash."""
        ...


class EcdsaNoteSigner:
    """Signs notes with the product's ECDSA P-256 signer."""

    def __init__(self, name: str, signer: Signer) -> None:
        self._signer = signer
        self.key = NoteKey.ecdsa(name, signer.public_key_pem)

    def sign_note(self, text: str) -> bytes:
        """Return the DER signature over a note's text."""
        return self._signer.sign(text.encode())


class Ed25519NoteSigner:
    """Signs notes with an Ed25519 key of the log."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.key = NoteKey(name, ED25519, private_key.public_key().public_bytes_raw())

    def sign_note(self, text: str) -> bytes:
        """Return the Ed25519 signature over a note's text."""
        return self._private_key.sign(text.encode())


class WitnessNoteSigner:
    """Signs notes as a witness: what it has seen, and when (C2SP tlog-cosignature, ``cosignature/v1``)."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey, seconds: Callable[[], int]) -> None:
        self._private_key = private_key
        self._seconds = seconds
        self.key = NoteKey(name, COSIGNATURE, private_key.public_key().public_bytes_raw())

    def sign_note(self, text: str) -> bytes:
        """Return the time and the Ed25519 signature over it and a checkpoint's text."""
        now = self._seconds()
        return now.to_bytes(_TIME_BYTES, "big") + self._private_key.sign(cosigned_message(text, now))


def cosigned_message(text: str, seconds: int) -> bytes:
    """Return the bytes that a witness signs for a checkpoint's text."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosigned_at(signature: bytes) -> int:
    """Return the time in a witness's signature, in seconds since the epoch.

    Raises:
        VerificationError: the signature is too short or the time out of range.
    """
    seconds = int.from_bytes(signature[:_TIME_BYTES], "big")
    if len(signature) <= _TIME_BYTES or not 0 < seconds < _LAST_TIME:
        raise VerificationError("Not a timestamped cosignature", field="signature")
    return seconds


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: key name, key hash and signature."""

    name: str
    key_hash: bytes
    signature: bytes

    def __str__(self) -> str:
        """Return the line, with its newline."""
        return f"{_SIGNATURE_PREFIX}{self.name} {base64.b64encode(self.key_hash + self.signature).decode('ascii')}\n"

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Read one line without its newline.

        Raises:
            InputError: it is no signature line.
        """
        return _signature(line)


@dataclass(frozen=True)
class SignedNote:
    """A text that ends in a newline, and its signature lines."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        """Return the note in its one form."""
        return f"{self.text}\n{''.join(str(one) for one in self.signatures)}"


def sign_note(text: str, signers: Iterable[NoteSigner]) -> SignedNote:
    """Sign a text.

    Raises:
        InputError: the text is not one a note can carry.
    """
    _require_text(text)
    if not text.endswith("\n"):
        raise InputError("The text of a note ends in a newline", field="text")
    lines = tuple(NoteSignature(one.key.name, one.key.key_hash, one.sign_note(text)) for one in signers)
    return SignedNote(text, lines)


def parse_note(content: bytes | str) -> SignedNote:
    """Read a signed note; nothing in it is proved until :func:`verify_note` says so.

    Raises:
        InputError: the content is no signed note.
    """
    if len(content) > MAX_NOTE_BYTES:
        raise InputError("The note is too large", field="note", value=len(content))
    try:
        whole = content.decode("utf-8") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise InputError("The note is not UTF-8", field="note") from error
    _require_text(whole)
    text, separator, lines = whole.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise InputError("Not a signed note: text, empty line, signature lines", field="note")
    split = lines[:-1].split("\n")
    if len(split) > MAX_SIGNATURES:
        raise InputError(f"A note carries at most {MAX_SIGNATURES} signatures", field="note", value=len(split))
    return SignedNote(text + "\n", tuple(_signature(line) for line in split))


def verify_note(note: SignedNote, keys: Iterable[NoteKey]) -> tuple[NoteKey, ...]:
    """Return the trusted keys that signed; lines of unknown keys are ignored, as the specification demands.

    Raises:
        VerificationError: a trusted key's line does not hold, or no trusted key signed.
    """
    known = {(key.name, key.key_hash): key for key in keys}
    found: list[NoteKey] = []
    for line in note.signatures:
        key = known.get((line.name, line.key_hash))
        if key is None:
            continue
        key.verify(note.text, line.signature)
        if key not in found:
            found.append(key)
    if not found:
        raise VerificationError(
            "No trusted key has signed the note",
            field="signatures",
            value=[f"{one.name}+{one.key_hash.hex()}" for one in note.signatures],
            mend="refuse it, unless its holder publishes a newer trust file that has this key",
        )
    return tuple(found)


def _signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(_SIGNATURE_PREFIX) or not space:
        raise InputError("Not a signature line", field="signature line", value=line)
    _require_name(name)
    try:
        content = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InputError("A signature is base64", field="signature line", value=line) from error
    if base64.b64encode(content).decode("ascii") != encoded or len(content) <= _HASH_BYTES:
        raise InputError("A signature is the base64 of a key hash and a signature", field="signature line", value=line)
    return NoteSignature(name, content[:_HASH_BYTES], content[_HASH_BYTES:])


def _require_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise InputError("A key name has no spaces and no plus", field="key name", value=name)


def _require_text(text: str) -> None:
    if any(character < " " and character != "\n" for character in text):
        raise InputError("A note holds no control characters but newlines", field="note")
