"""Keyless signatures: what a certificate that came with a signature proves, offline, against a pinned root.

sigstore-python judges what it supports. It refuses older log entries (``intoto`` 0.0.2) and bundles without an
inclusion proof although nothing in them is wrong; for those our own check of the signature against the embedded
certificate tells an intact one (identity unproven: no usable proof of the time of signing) from an altered one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from mc_pipelines.attest.dsse import pae
from mc_pipelines.attest.keyless import pinned_root, verify_keyless
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.provenance.model import Verification, VerificationStatus
from mc_pipelines.provenance.readers.collector import PartSignature, SignedPart
from mc_pipelines.provenance.trust_roots import TrustRoots

_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_UNSUPPORTED = ("only supported for", "Unsupported DSSE log entry", "failed to load bundle", "Expected entry type")
"""Beginnings of sigstore-python's words for entries that it does not know, as opposed to ones that do not hold."""
_FAILED = VerificationStatus.FAILED
_UNPROVEN = VerificationStatus.IDENTITY_UNPROVEN


@dataclass(frozen=True)
class ClaimedIdentity:
    """Whom a certificate names; unproved until the certificate is verified."""

    issuer: str
    subject: str

    def __str__(self) -> str:
        """One line: who, according to whom."""
        return f"{self.subject} ({self.issuer})"


def check_keyless(part: SignedPart, roots: TrustRoots, artifact: bytes | None) -> Verification:
    """Judge a part whose signature came with a certificate."""
    [signature, *more] = part.signatures
    if more:
        return Verification(status=_FAILED, reason="A keyless document carries exactly one signature.")
    leaf = None if signature.certificate is None else signature.certificate.leaf()
    identity = None if leaf is None else identity_of(leaf)
    if leaf is None or identity is None:
        return Verification(status=_FAILED, reason="The certificate cannot be read, or names no identity.")
    if part.payload and not matches_certificate(part, signature, leaf):
        reason = "The signature does not match the certificate that came with it."
        return Verification(status=_FAILED, reason=reason, scheme=part.container)
    if not roots.keyless or not issued_by_root(leaf, roots.sigstore_root):
        reason = "The certificate was not issued by an authority of a root that is trusted here."
        return Verification(status=VerificationStatus.NO_TRUST_ROOT, reason=reason, scheme=part.container)
    if part.container == "dsse":
        reason = (
            f"The signature matches the certificate of {identity}; nothing in the document proves when it was made."
        )
        return Verification(status=_UNPROVEN, reason=reason, scheme="dsse-certificate")
    return _check_bundle(part, roots, artifact, identity)


def _check_bundle(
    part: SignedPart, roots: TrustRoots, artifact: bytes | None, identity: ClaimedIdentity
) -> Verification:
    scheme = part.container
    if not part.payload and artifact is None:
        return Verification(
            status=VerificationStatus.UNCHECKED,
            reason="A bare signature is judged with the file that it signs, which is not here.",
            scheme=scheme,
        )
    content = _as_bundle(part)
    if content is None:
        return Verification(status=_FAILED, reason="The attestation cannot be written as a bundle.", scheme=scheme)
    try:
        verify_keyless(
            content,
            identity=identity.subject,
            issuer=identity.issuer,
            artifact=artifact,
            trusted_root=roots.sigstore_root,
        )
    except (VerificationError, InputError) as error:
        return _refused(part, identity, error.detail)
    expected = any(one.matches(identity.issuer, identity.subject, part.builder) for one in roots.identities)
    if not expected:
        reason = f"Signature, certificate and log entry hold for {identity}, whom nobody here expects for this."
        return Verification(status=_UNPROVEN, reason=reason, signer=str(identity), scheme=scheme)
    reason = f"Signed by {identity}; signature, certificate and log entry hold."
    return Verification(status=VerificationStatus.VERIFIED, reason=reason, signer=str(identity), scheme=scheme)


def _refused(part: SignedPart, identity: ClaimedIdentity, detail: str) -> Verification:
    if part.payload and any(words in detail for words in _UNSUPPORTED):
        reason = (
            f"The signature matches the certificate of {identity}; when it was made is not provable here: "
            f"{detail.rstrip('.')}."
        )
        return Verification(status=_UNPROVEN, reason=reason, scheme=part.container)
    return Verification(status=_FAILED, reason=detail, scheme=part.container)


def matches_certificate(part: SignedPart, signature: PartSignature, leaf: x509.Certificate) -> bool:
    """Tell whether a DSSE signature over the payload was made with the certificate's key."""
    key = leaf.public_key()
    if signature.signature is None or not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature.signature, pae(part.payload_type, part.payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def identity_of(leaf: x509.Certificate) -> ClaimedIdentity | None:
    """Return whom a Fulcio certificate names: the one alternative name, and the OIDC issuer."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        issuer = _issuer_of(leaf)
    except (x509.ExtensionNotFound, ValueError):
        return None
    found = [
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *names.get_values_for_type(x509.RFC822Name),
    ]
    return ClaimedIdentity(issuer, found[0]) if len(found) == 1 and issuer else None


def _issuer_of(leaf: x509.Certificate) -> str:
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.UnrecognizedExtension) and extension.oid == _ISSUER_V2:
            return value.value[2:].decode("utf-8", "replace") if value.value[:1] == b"\x0c" else ""
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.UnrecognizedExtension) and extension.oid == _ISSUER_V1:
            return value.value.decode("utf-8", "replace")
    return ""


def issued_by_root(leaf: x509.Certificate, sigstore_root: bytes | None) -> bool:
    """Tell whether an authority of the pinned root issued the certificate; its time is judged elsewhere."""
    return any(_issued(leaf, authority) for authority in _authorities(sigstore_root))


def _issued(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@lru_cache(maxsize=16)
def _authorities(sigstore_root: bytes | None) -> tuple[x509.Certificate, ...]:
    if sigstore_root is None:
        return tuple(pinned_root().get_fulcio_certs())
    try:
        authorities = json.loads(sigstore_root)["certificateAuthorities"]
        return tuple(_chain(authorities))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("Not a sigstore trusted root", field="trusted root") from error


def _chain(authorities: list[dict[str, Any]]) -> Iterable[x509.Certificate]:
    for authority in authorities:
        for one in authority["certChain"]["certificates"]:
            yield x509.load_der_x509_certificate(base64.b64decode(one["rawBytes"]))


def _as_bundle(part: SignedPart) -> bytes | None:
    """Return the part as a sigstore bundle; a PEP 740 attestation is one with other member names."""
    if part.container != "pep740":
        return part.content
    from pypi_attestations import Attestation, ConversionError

    try:
        return Attestation.model_validate_json(part.content).to_bundle().to_json().encode()
    except (ConversionError, ValueError):
        return None
