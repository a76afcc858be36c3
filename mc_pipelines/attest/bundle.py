"""Sigstore bundles (protobuf-specs, v0.3): one DSSE signature each, with a public key hint.

A bundle holds exactly one signature, so an envelope of two people is exported as two bundles; whoever keeps only one
of them has lost the other person. Managed-key bundles are verified here, offline; keyless ones (with a certificate)
are sigstore-python's business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mc_pipelines.attest.dsse import Envelope, decode_base64, verify
from mc_pipelines.attest.merkle import leaf_hash, verify_inclusion
from mc_pipelines.attest.note import parse_note
from mc_pipelines.attest.signer import verify_signature
from mc_pipelines.foundation.canonical import parse_json
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_MEDIA_PREFIX = "application/vnd.dev.sigstore.bundle"
_CHECKPOINT_LINES = 3


@dataclass(frozen=True)
class Bundle:
    """One signature with what is needed to check it.

    Attributes:
        key_hint: hint of a managed key, unauthenticated; None for a keyless bundle.
        envelope: the signed envelope, or None where a bare artifact is signed.
        message_digest: SHA-256 that a message signature states for its artifact.
        message_signature: signature over the artifact.
        log_entries: entries of a public log, as they stand in the bundle.
    """

    key_hint: str | None
    envelope: Envelope | None
    message_digest: bytes
    message_signature: bytes
    log_entries: tuple[Mapping[str, Any], ...]


def export_bundle(envelope: Envelope, key_id: KeyId) -> bytes:
    """Return the bundle with the signature of one key of an envelope.

    Raises:
        InputError: that key has not signed exactly once.
    """
    document = envelope.single(key_id).to_document()
    # Verifiers that name keys in another way skip a signature whose keyid is not theirs; the hint names it instead.
    bare = document | {"signatures": [{"sig": one["sig"]} for one in document["signatures"]]}
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id}, "tlogEntries": []},
        "dsseEnvelope": bare,
    }
    return json.dumps(bundle, separators=(",", ":")).encode()


def parse_bundle(content: bytes | str) -> Bundle:
    """Read a bundle; nothing in it is proved yet.

    Raises:
        InputError: it is no bundle, or its envelope holds more than one signature.
    """
    document = parse_json(content, what="sigstore bundle")
    if not isinstance(document, dict) or not str(document.get("mediaType", "")).startswith(_MEDIA_PREFIX):
        raise InputError("Not a sigstore bundle", field="mediaType")
    material = document.get("verificationMaterial")
    if not isinstance(material, dict):
        raise InputError("The bundle has no verification material", field="verificationMaterial")
    entries = material.get("tlogEntries", [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InputError("Log entries are objects", field="tlogEntries")
    hint = _hint(material)
    if ("dsseEnvelope" in document) == ("messageSignature" in document):
        raise InputError("A bundle holds an envelope or a message signature", field="dsseEnvelope")
    if "dsseEnvelope" in document:
        envelope = Envelope.from_document(document["dsseEnvelope"])
        if len(envelope.signatures) != 1:
            raise InputError("A bundle holds exactly one signature", field="signatures", value=len(envelope.signatures))
        return Bundle(hint, envelope, b"", envelope.signatures[0].sig, tuple(entries))
    digest, signature = _message(document["messageSignature"])
    return Bundle(hint, None, digest, signature, tuple(entries))


def verify_managed(bundle: Bundle, keys: Mapping[KeyId, bytes], *, artifact: bytes | None = None) -> KeyId:
    """Check a bundle made with a managed key; return the trusted key that signed.

    The hint is not believed: every trusted key is tried. Entries of a public log that came along must be about this
    signature and agree with their own inclusion proof; that the log itself is honest is not checked here.

    Args:
        bundle: what to check.
        keys: trusted public keys (PEM) by key id.
        artifact: what a message signature signs.

    Raises:
        InputError: the bundle is keyless, or an artifact is needed.
        VerificationError: no trusted key signed it, or an entry belongs to something else.
    """
    if bundle.key_hint is None:
        raise InputError("The bundle carries a certificate, not a managed key", field="verificationMaterial")
    if bundle.envelope is not None:
        [signer] = verify(bundle.envelope, keys)
    else:
        signer = _verify_message(bundle, keys, artifact)
    for entry in bundle.log_entries:
        _verify_log_entry(bundle, entry)
    return signer


def _verify_message(bundle: Bundle, keys: Mapping[KeyId, bytes], artifact: bytes | None) -> KeyId:
    if artifact is None:
        raise InputError("The signed artifact is needed", field="artifact", mend="give the file that was signed")
    if hashlib.sha256(artifact).digest() != bundle.message_digest:
        raise VerificationError("The bundle is about another artifact", field="messageDigest")
    for key_id, pem in keys.items():
        try:
            verify_signature(pem, bundle.message_signature, artifact)
        except VerificationError:
            continue
        return key_id
    raise VerificationError("No trusted key has signed the artifact", field="signature", value=bundle.key_hint)


def _verify_log_entry(bundle: Bundle, entry: Mapping[str, Any]) -> None:
    try:
        body = decode_base64(entry["canonicalizedBody"], field="canonicalizedBody")
        proof = entry["inclusionProof"]
        hashes = [decode_base64(one, field="hashes") for one in proof["hashes"]]
        size, root = int(proof["treeSize"]), decode_base64(proof["rootHash"], field="rootHash")
        lines = parse_note(proof["checkpoint"]["envelope"]).text.split("\n")
        index = int(proof["logIndex"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The log entry is incomplete: {error!r}", field="tlogEntries") from error
    verify_inclusion(leaf_hash(body), index, size, hashes, root)
    if len(lines) < _CHECKPOINT_LINES or lines[1:3] != [str(size), proof["rootHash"]]:
        raise VerificationError("The checkpoint is that of another tree", field="checkpoint")
    if bundle.envelope is None:
        spec = parse_json(body, what="log entry").get("spec", {})
        logged = spec.get("signature", {}).get("content")
        if decode_base64(logged, field="signature") != bundle.message_signature:
            raise VerificationError("The log entry is about another signature", field="canonicalizedBody")


def _hint(material: Mapping[str, Any]) -> str | None:
    if "publicKey" not in material:
        return None
    key = material["publicKey"]
    if not isinstance(key, dict) or not isinstance(key.get("hint", ""), str):
        raise InputError("A public key hint is text", field="publicKey.hint")
    return str(key.get("hint", ""))


def _message(document: Any) -> tuple[bytes, bytes]:
    digest = document.get("messageDigest") if isinstance(document, dict) else None
    if not isinstance(digest, dict) or digest.get("algorithm") != "SHA2_256":
        raise InputError("A message signature states a SHA-256 digest", field="messageDigest")
    return (
        decode_base64(digest.get("digest"), field="messageDigest.digest"),
        decode_base64(document.get("signature"), field="signature"),
    )
