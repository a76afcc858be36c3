"""DSSE envelopes (secure-systems-lab/dsse, protocol v1): sign, carry and verify bytes with their type.

A verifier checks the signatures, then uses ``Envelope.payload`` as it is: nothing is parsed before it is verified and
nothing is serialised again after. A key id in an envelope is a hint that nobody signed, so keys are the caller's.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mc_pipelines.attest.signer import Signer, load_public_key, thumbprint, verify_with_key
from mc_pipelines.foundation.canonical import parse_json
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId

IN_TOTO_PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 64
"""An envelope with more is refused before any signature is checked."""


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope; ``keyid`` is an unauthenticated hint and may be empty."""

    keyid: KeyId
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload, its type, and who signed both."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def pae(self) -> bytes:
        """Return the bytes that are signed."""
        return pae(self.payload_type, self.payload)

    def to_document(self) -> dict[str, Any]:
        """Return the envelope as JSON members."""
        return {
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "payloadType": self.payload_type,
            "signatures": [
                ({"keyid": one.keyid} if one.keyid else {}) | {"sig": base64.b64encode(one.sig).decode("ascii")}
                for one in self.signatures
            ],
        }

    def to_json(self) -> bytes:
        """Return the envelope as JSON, one fixed form for one envelope."""
        return json.dumps(self.to_document(), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> Envelope:
        """Read an envelope strictly.

        Raises:
            InputError: it is not a DSSE envelope in JSON.
        """
        return cls.from_document(parse_json(content, what="DSSE envelope"))

    @classmethod
    def from_document(cls, document: Any) -> Envelope:
        """Read an envelope out of parsed JSON.

        Members that the specification does not name are ignored, as it asks.

        Raises:
            InputError: a member is missing, of another type, or not base64.
        """
        if not isinstance(document, dict):
            raise InputError("A DSSE envelope is a JSON object")
        payload_type = document.get("payloadType")
        if not isinstance(payload_type, str) or not payload_type:
            raise InputError("The envelope has no payload type", field="payloadType", value=payload_type)
        signatures = document.get("signatures")
        if not isinstance(signatures, list) or not signatures:
            raise InputError("The envelope has no signatures", field="signatures")
        if len(signatures) > MAX_SIGNATURES:
            raise InputError(
                f"An envelope carries at most {MAX_SIGNATURES} signatures", field="signatures", value=len(signatures)
            )
        return cls(
            payload_type,
            decode_base64(document.get("payload"), field="payload"),
            tuple(_signature(one, index) for index, one in enumerate(signatures)),
        )

    def single(self, keyid: KeyId) -> Envelope:
        """Return the envelope with only the signature of one key, as a sigstore bundle demands.

        Raises:
            InputError: the key did not sign, or signed twice.
        """
        kept = tuple(one for one in self.signatures if one.keyid == keyid)
        if len(kept) != 1:
            raise InputError("The envelope does not hold exactly one signature of this key", field="keyid", value=keyid)
        return Envelope(self.payload_type, self.payload, kept)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding of a payload and its type."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, payload_type: str, signers: Iterable[Signer]) -> Envelope:
    """Sign a payload with one or more keys.

    Raises:
        InputError: there is no signer, or one key comes twice.
    """
    content = pae(payload_type, payload)
    given = list(signers)
    if not given:
        raise InputError("An envelope needs at least one signer", field="signers")
    if len({signer.key_id for signer in given}) != len(given):
        raise InputError("One key cannot sign twice", field="signers", value=[signer.key_id for signer in given])
    return Envelope(payload_type, payload, tuple(Signature(one.key_id, one.sign(content)) for one in given))


def add_signature(envelope: Envelope, signer: Signer) -> Envelope:
    """Return the envelope with one more signature over the same bytes.

    Raises:
        InputError: the key has signed already.
    """
    if any(one.keyid == signer.key_id for one in envelope.signatures):
        raise InputError("This key has signed the envelope already", field="keyid", value=signer.key_id)
    added = Signature(signer.key_id, signer.sign(envelope.pae()))
    return Envelope(envelope.payload_type, envelope.payload, (*envelope.signatures, added))


def verify(envelope: Envelope, keys: Mapping[KeyId, bytes], *, threshold: int = 1) -> tuple[KeyId, ...]:
    """Return the keys whose signatures hold, if they are at least ``threshold`` different ones.

    A key counts once, however many signatures it made and under whatever name it was given: the count is of
    public keys, not of signatures and not of names. A signature whose hint names a given key is tried with that
    key only; one without a known hint is tried with all.

    Args:
        envelope: what to verify.
        keys: trusted public keys (PEM) by their key id; never keys that came with the envelope.
        threshold: how many different keys must have signed.

    Raises:
        InputError: the threshold is less than one, or a key is not a P-256 key or not the one its id names.
        VerificationError: fewer different keys than ``threshold`` have signed.
    """
    if threshold < 1:
        raise InputError("A threshold below one proves nothing", field="threshold", value=threshold)
    loaded = {}
    for key_id, pem in keys.items():
        if thumbprint(pem) != key_id:
            raise InputError("A key id is not the thumbprint of its key", field="key id", value=key_id)
        loaded[key_id] = load_public_key(pem)
    content = envelope.pae()
    found: list[KeyId] = []
    for signature in envelope.signatures:
        candidates = [signature.keyid] if signature.keyid in loaded else list(loaded)
        for key_id in candidates:
            if key_id in found:
                continue
            try:
                verify_with_key(loaded[key_id], signature.sig, content)
            except VerificationError:
                continue
            found.append(key_id)
            break
    if len(found) < threshold:
        raise VerificationError(
            f"{len(found)} of the {threshold} required keys have signed this",
            field="signatures",
            value=[one.keyid for one in envelope.signatures],
            mend="check that the keys you trust are those of the signers",
        )
    return tuple(found)


def decode_base64(text: Any, *, field: str) -> bytes:
    """Decode strict, padded base64 (standard or URL-safe alphabet, never mixed).

    Raises:
        InputError: the text is not base64, or not the one encoding of its bytes.
    """
    if not isinstance(text, str):
        raise InputError("Not base64 text", field=field, value=type(text).__name__)
    try:
        content = base64.b64decode(text, validate=True)
        again = base64.b64encode(content)
    except (ValueError, binascii.Error):
        content, again = _decode_urlsafe(text, field=field)
    if again.decode("ascii") != text:
        raise InputError("Not the canonical base64 of its bytes", field=field, value=text)
    return content


def _decode_urlsafe(text: str, *, field: str) -> tuple[bytes, bytes]:
    try:
        content = base64.b64decode(text, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError("Not base64", field=field, value=text, mend="use padded base64 of RFC 4648") from error
    return content, base64.urlsafe_b64encode(content)


def _signature(document: Any, index: int) -> Signature:
    if not isinstance(document, dict):
        raise InputError("A signature is a JSON object", field=f"signatures[{index}]")
    keyid = document.get("keyid")
    if keyid is not None and not isinstance(keyid, str):
        raise InputError("A key id is text", field=f"signatures[{index}].keyid")
    return Signature(KeyId(keyid or ""), decode_base64(document.get("sig"), field=f"signatures[{index}].sig"))
