"""Signatures of OPA bundles (openpolicyagent.org, "Bundles", section "Signing"): a JWT (ES256) over the files' digests.

OPA hashes JSON files by their values, in the order of their sorted keys and without white space. Our bundles hold JSON
in exactly that form (RFC 8785), so that the digest of the bytes is the digest that OPA computes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mc_pipelines.attest.signer import Signer, der_from_raw, raw_from_der, verify_signature
from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.errors import InputError, MaestroError, VerificationError
from mc_pipelines.foundation.ids import KeyId

SIGNATURES = ".signatures.json"
_ALGORITHM, _HASH = "ES256", "SHA-256"
_PARTS = 3


def sign_files(files: Mapping[str, bytes], signer: Signer) -> bytes:
    """Return the content of ``.signatures.json`` for a bundle's other files, by path without a leading slash."""
    header = {"alg": _ALGORITHM, "kid": signer.key_id, "typ": "JWT"}
    signed = f"{_encode(canonical_json(header))}.{_encode(canonical_json({'files': _listed(files)}))}"
    signature = raw_from_der(signer.sign(signed.encode()))
    return canonical_json({"signatures": [f"{signed}.{_encode(signature)}"]})


def verify_files(files: Mapping[str, bytes], signatures: bytes | None, trusted: Mapping[KeyId, bytes]) -> KeyId:
    """Check that a trusted key signed exactly these files; return it.

    Args:
        files: all files of the bundle but ``.signatures.json``.
        signatures: the content of that, or None where there is none.
        trusted: public keys (PEM) by key id.

    Raises:
        VerificationError: nobody trusted did.
    """
    if signatures is None:
        raise VerificationError(
            "The bundle is not signed", field=SIGNATURES, mend="store it with `mc rollout start` or `mc policy build`"
        )
    try:
        tokens = parse_json(signatures, what=SIGNATURES)["signatures"]
        [token] = tokens
        return _verify(str(token), files, trusted)
    except InputError as error:
        raise VerificationError(f"The bundle's signature is malformed: {error.detail}", field=SIGNATURES) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError("The bundle's signature is malformed", field=SIGNATURES) from error


def _verify(token: str, files: Mapping[str, bytes], trusted: Mapping[KeyId, bytes]) -> KeyId:
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise VerificationError("The bundle's signature is no JWT", field=SIGNATURES)
    header, claims = json.loads(_decode(parts[0])), json.loads(_decode(parts[1]))
    key_id = KeyId(str(header.get("kid")))
    if header.get("alg") != _ALGORITHM or key_id not in trusted:
        raise VerificationError("No trusted key has signed the bundle", field="kid", value=key_id)
    try:
        verify_signature(trusted[key_id], der_from_raw(_decode(parts[2])), f"{parts[0]}.{parts[1]}".encode())
    except MaestroError as error:
        raise VerificationError("The bundle's signature does not hold", field=SIGNATURES) from error
    if sorted(claims["files"], key=lambda one: str(one["name"])) != _listed(files):
        raise VerificationError("The bundle's files are not those that were signed", field="files")
    return key_id


def _listed(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"name": path, "hash": hashlib.sha256(files[path]).hexdigest(), "algorithm": _HASH} for path in sorted(files)
    ]


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise VerificationError("The bundle's signature is not base64url", field=SIGNATURES) from error
