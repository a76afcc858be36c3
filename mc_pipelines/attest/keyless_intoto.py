"""Keyless envelopes whose log entry is of the old kind ``intoto`` 0.0.2, which sigstore-python does not judge.

Everything but two steps is the library's: chain, certificate time stamp, identity, inclusion proof, promise, time stamp
authorities. The first of ours takes the log's integrated time, which its inclusion promise signs together with the
entry, as a time of signing, as for the kinds that the library knows. The second compares the entry with the bundle:
the entry holds the SHA-256 of the payload, the signature and the certificate (Rekor, type ``intoto`` 0.0.2), and each
must be the bundle's own, or the entry is about something else.

This leans on inner functions of the pinned library; its public conformance suite holds both steps.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore._internal.timestamp import TimestampSource, TimestampVerificationResult
from sigstore.errors import VerificationError as SigstoreError
from sigstore.verify import Verifier

from mc_pipelines.attest.dsse import Envelope, pae

if TYPE_CHECKING:
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify.policy import VerificationPolicy

KIND = ("intoto", "0.0.2")


def is_intoto(bundle: Bundle) -> bool:
    """Tell whether a bundle's log entry is of this kind."""
    found = bundle.log_entry._inner.kind_version  # noqa: SLF001 - the library shows it nowhere else
    return (found.kind, found.version) == KIND


def verify_intoto(trusted_root: TrustedRoot, bundle: Bundle, envelope: Envelope, policy: VerificationPolicy) -> None:
    """Check a keyless envelope with such an entry.

    Args:
        trusted_root: what to believe.
        bundle: as the library parsed it.
        envelope: the same bundle's envelope, as we parsed it.
        policy: who must have signed.

    Raises:
        sigstore.errors.VerificationError: something does not hold.
    """
    _Verifier(trusted_root=trusted_root)._verify_common_signing_cert(bundle, policy)  # noqa: SLF001
    certificate = bundle.signing_certificate
    key = certificate.public_key()
    if len(envelope.signatures) != 1 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise SigstoreError("an envelope carries one signature, by an ECDSA key")
    signature = envelope.signatures[0].sig
    try:
        key.verify(signature, pae(envelope.payload_type, envelope.payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise SigstoreError("the signature does not hold over the envelope") from error
    _compare(bundle.log_entry._inner.canonicalized_body, envelope.payload, signature, certificate)  # noqa: SLF001


class _Verifier(Verifier):
    """The library's verifier, for which the integrated time of such an entry is a time, too."""

    def _establish_time(self, bundle: Bundle) -> list[TimestampVerificationResult]:
        inner = bundle.log_entry._inner  # noqa: SLF001
        found: list[TimestampVerificationResult] = []
        stamped = bundle.verification_material.timestamp_verification_data
        if stamped and self._trusted_root.get_timestamp_authorities():
            found += self._verify_timestamp_authority(bundle)
        if inner.integrated_time and inner.inclusion_promise:
            moment = datetime.fromtimestamp(inner.integrated_time, UTC)
            found.append(TimestampVerificationResult(source=TimestampSource.TRANSPARENCY_SERVICE, time=moment))
        return found


def _compare(body: bytes, payload: bytes, signature: bytes, certificate: x509.Certificate) -> None:
    """Check that a log entry is about this payload, signature and certificate.

    Raises:
        sigstore.errors.VerificationError: it is about something else, or malformed.
    """
    try:
        entry: Any = json.loads(body)
        content = entry["spec"]["content"]
        [signed] = content["envelope"]["signatures"]
        hashed = (content["payloadHash"]["algorithm"], content["payloadHash"]["value"])
        text = base64.b64decode(signed["sig"], validate=True)
        logged = x509.load_pem_x509_certificate(base64.b64decode(signed["publicKey"], validate=True))
        kind = (entry["kind"], entry["apiVersion"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise SigstoreError(f"the log entry is malformed: {error}") from error
    if kind != KIND:
        raise SigstoreError(f"the log entry says that it is another kind: {kind}")
    if hashed != ("sha256", hashlib.sha256(payload).hexdigest()):
        raise SigstoreError("the log entry is about another payload")
    if text != base64.b64encode(signature):  # the log keeps the base64 text of the signature, in base64
        raise SigstoreError("the log entry is about another signature")
    if logged != certificate:
        raise SigstoreError("the log entry is about another certificate")
