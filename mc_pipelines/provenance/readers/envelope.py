"""Signed containers: DSSE envelopes, sigstore bundles and bare statements; each is one receipt.

The receipt is named by the container's bytes exactly as they stand in the document, and the payload is read from the
signed bytes only: readable copies beside an envelope are nobody's word. A sigstore bundle is a receipt, whatever it
is called; it is never a bundle of the graph.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId, receipt_id
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.collector import Certificate, Collector, PartSignature, SignedPart
from mc_pipelines.provenance.readers.parsing import ONE_PASS, decode, decode_base64, decoder_of
from mc_pipelines.provenance.readers.predicates import read_predicate
from mc_pipelines.provenance.readers.statement import STATEMENT_TYPES, Frame, parse_frame, read_subjects

IN_TOTO_TYPES = frozenset({"application/vnd.in-toto+json", "application/vnd.in-toto.provenance+dsse"})
_SIGNED_NAMES = (b'"payloadType"', b'"verificationMaterial"')
_AROUND_SIGNED = (b'"provenance_summary"', b'"attestations"', b'"attestation_bundles"')
"""Members of documents that hold signed ones: those need no try."""
MAXIMUM_SIGNATURES = 64
MAXIMUM_CHAIN = 16


class SignatureDocument(msgspec.Struct):
    """A signature of an envelope; ``cert`` is an extension that some builders write (PEM)."""

    sig: str | None = None
    keyid: str | None = None
    cert: str | None = None


class EnvelopeDocument(msgspec.Struct, rename="camel"):
    """A DSSE envelope."""

    payload: str
    payload_type: str
    signatures: list[SignatureDocument] | None = None


class _RawBytes(msgspec.Struct, rename="camel"):
    raw_bytes: str | None = None


class _Chain(msgspec.Struct):
    certificates: list[_RawBytes] | None = None


class _PublicKey(msgspec.Struct):
    hint: str | None = None


class _Material(msgspec.Struct, rename="camel"):
    x509_certificate_chain: _Chain | None = msgspec.field(default=None, name="x509CertificateChain")
    certificate: _RawBytes | None = None
    public_key: _PublicKey | None = None


class _MessageDigest(msgspec.Struct):
    algorithm: str | None = None
    digest: str | None = None


class _MessageSignature(msgspec.Struct, rename="camel"):
    message_digest: _MessageDigest | None = None
    signature: str | None = None


class BundleDocument(msgspec.Struct, rename="camel"):
    """The parts of a sigstore bundle that say what is signed, and by what."""

    media_type: str
    verification_material: _Material | None = None
    dsse_envelope: EnvelopeDocument | None = None
    message_signature: _MessageSignature | None = None


class _Signed(msgspec.Struct, rename="camel"):
    """An envelope or a bundle, whichever it turns out to be, and the members that would make it something else."""

    bom_format: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    spdx_version: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    graph: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="@graph")
    statement_type: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="_type")
    payload: str | msgspec.UnsetType = msgspec.UNSET
    payload_type: str | msgspec.UnsetType = msgspec.UNSET
    signatures: list[SignatureDocument] | None = None
    media_type: str | msgspec.UnsetType = msgspec.UNSET
    verification_material: _Material | msgspec.UnsetType = msgspec.UNSET
    dsse_envelope: EnvelopeDocument | None = None
    message_signature: _MessageSignature | None = None


def read_if_signed(content: bytes, collector: Collector) -> bool:
    """Read an envelope or a bundle in one pass over its bytes; return whether it was one.

    Anything else, malformed ones too, is told apart and refused by :mod:`mc_pipelines.provenance.readers.detect`.

    Raises:
        InputError: what it signs is malformed.
    """
    if len(content) > ONE_PASS or not any(name in content for name in _SIGNED_NAMES):
        return False
    if any(name in content for name in _AROUND_SIGNED):
        return False
    try:
        found = decoder_of(_Signed).decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    others = (found.bom_format, found.spdx_version, found.graph, found.statement_type)
    if any(each is not msgspec.UNSET for each in others):
        return False
    return _read_found(found, content, collector)


def _read_found(found: _Signed, content: bytes, collector: Collector) -> bool:
    if found.payload_type is not msgspec.UNSET and found.payload is not msgspec.UNSET:
        envelope = EnvelopeDocument(found.payload, found.payload_type, found.signatures)
        read_dsse(envelope, content, collector, container="dsse", receipt=receipt_id(content))
        return True
    if found.payload_type is msgspec.UNSET and found.verification_material is not msgspec.UNSET:
        if found.media_type is msgspec.UNSET:
            return False
        bundle = BundleDocument(
            found.media_type, found.verification_material, found.dsse_envelope, found.message_signature
        )
        read_decoded_bundle(bundle, content, collector)
        return True
    return False


def read_statement(content: bytes, collector: Collector) -> None:
    """Read an unsigned statement as a receipt that nobody vouches for.

    Raises:
        InputError: it is no statement, or binds nothing.
    """
    _read_payload(collector, receipt_id(content), "unsigned", content, content, ())


def read_envelope(content: bytes, collector: Collector) -> None:
    """Read a DSSE envelope.

    Raises:
        InputError: it is no envelope, or its payload is malformed.
    """
    envelope = decode(content, EnvelopeDocument, what="DSSE envelope")
    read_dsse(envelope, content, collector, container="dsse", receipt=receipt_id(content))


def read_dsse(
    envelope: EnvelopeDocument,
    content: bytes,
    collector: Collector,
    *,
    container: str,
    receipt: NodeId,
    certificate: Certificate | None = None,
    key_hint: str | None = None,
) -> None:
    """Read a decoded envelope that stands in some container.

    Raises:
        InputError: the payload is not base64 or malformed, or there are too many signatures.
    """
    payload = decode_base64(envelope.payload)
    if payload is None:
        raise InputError("The envelope's payload is not base64", field="payload")
    documents = envelope.signatures or []
    if len(documents) > MAXIMUM_SIGNATURES:
        raise InputError(
            f"An envelope carries at most {MAXIMUM_SIGNATURES} signatures", field="signatures", value=len(documents)
        )
    signatures = tuple(
        PartSignature(
            one.keyid or "",
            decode_base64(one.sig) or None,
            certificate or (Certificate(pem=one.cert) if one.cert else None),
        )
        for one in documents
    )
    if envelope.payload_type in IN_TOTO_TYPES:
        _read_payload(
            collector,
            receipt,
            container,
            content,
            payload,
            signatures,
            payload_type=envelope.payload_type,
            key_hint=key_hint,
        )
        return
    collector.remark(f"Payload type {envelope.payload_type[:200]} is not in-toto's; only its digest was read.")
    manifest = NodeId(sha256_digest(payload))
    collector.node(receipt, Kind.RECEIPT, envelope.payload_type, attributes={"payloadType": envelope.payload_type})
    collector.node(manifest, Kind.MANIFEST, envelope.payload_type)
    collector.signs(receipt, manifest)
    collector.parts.append(
        SignedPart(receipt, container, content, envelope.payload_type, payload, signatures, key_hint=key_hint)
    )


def read_bundle(content: bytes, collector: Collector) -> None:
    """Read a sigstore bundle.

    Raises:
        InputError: it is malformed, or signs nothing.
    """
    read_decoded_bundle(decode(content, BundleDocument, what="sigstore bundle"), content, collector)


def read_decoded_bundle(bundle: BundleDocument, content: bytes, collector: Collector) -> None:
    """Read a bundle that was decoded from ``content``; see :func:`read_bundle`."""
    material = bundle.verification_material or _Material()
    certificate = _certificate_of(material)
    hint = None if material.public_key is None else material.public_key.hint or ""
    receipt = receipt_id(content)
    if bundle.dsse_envelope is not None:
        read_dsse(
            bundle.dsse_envelope,
            content,
            collector,
            container="sigstore-bundle",
            receipt=receipt,
            certificate=certificate,
            key_hint=hint,
        )
        return
    message = bundle.message_signature
    if message is None:
        raise InputError("The bundle holds neither an envelope nor a message signature", field="dsseEnvelope")
    collector.node(receipt, Kind.RECEIPT, bundle.media_type, attributes={"mediaType": bundle.media_type})
    digest = b""
    stated = message.message_digest
    if stated is not None and stated.algorithm == "SHA2_256":
        digest = decode_base64(stated.digest) or b""
    subject = collector.artifact({"sha256": digest.hex()}) if digest else None
    if subject is None:
        raise InputError("A message signature states no SHA-256 of its artifact", field="messageDigest")
    collector.node(subject, Kind.PACKAGE, stub=True)
    collector.signs(receipt, subject)
    signature = PartSignature("", decode_base64(message.signature) or None, certificate)
    collector.parts.append(
        SignedPart(
            receipt,
            "sigstore-bundle",
            content,
            signatures=(signature,),
            subjects=({"sha256": digest.hex()},),
            message_digest=digest,
            key_hint=hint,
        )
    )


def _read_payload(
    collector: Collector,
    receipt: NodeId,
    container: str,
    content: bytes,
    payload: bytes,
    signatures: tuple[PartSignature, ...],
    *,
    payload_type: str = "",
    key_hint: str | None = None,
) -> None:
    statement = parse_frame(payload)
    if not collector.format or collector.format == "in-toto":
        collector.format = STATEMENT_TYPES[statement.type]
    attributes: dict[str, Any] = {"predicateType": statement.predicate_type, "container": container}
    keyids = [one.keyid for one in signatures if one.keyid]
    if keyids:
        attributes["keyidHints"] = keyids
    collector.node(receipt, Kind.RECEIPT, statement.predicate_type, attributes=attributes)
    subjects = read_subjects(collector, receipt, statement)
    outcome = read_predicate(Frame(collector, receipt, statement, subjects))
    collector.parts.append(
        SignedPart(
            receipt,
            container,
            content,
            payload_type,
            payload,
            signatures,
            statement.predicate_type,
            outcome.builder,
            tuple(one.digest or {} for one in statement.subject or ()),
            key_hint=key_hint,
            summary=outcome.summary,
        )
    )


def _certificate_of(material: _Material) -> Certificate | None:
    documents = [] if material.certificate is None else [material.certificate]
    if not documents and material.x509_certificate_chain is not None:
        documents = material.x509_certificate_chain.certificates or []
    encoded = tuple(one.raw_bytes for one in documents[:MAXIMUM_CHAIN] if one.raw_bytes)
    return Certificate(encoded) if encoded else None
