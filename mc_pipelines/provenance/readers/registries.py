"""What registries and builders hand out around envelopes: Google Cloud Build, npm attestations, PEP 740.

Each envelope in such a document is a receipt of its own. What the document says beside an envelope is nobody's word:
it is compared with the signed payload, and where it contradicts it the part is marked as altered.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import receipt_id
from mc_pipelines.provenance.readers.collector import Certificate, Collector, SignedPart
from mc_pipelines.provenance.readers.envelope import EnvelopeDocument, SignatureDocument, read_bundle, read_dsse
from mc_pipelines.provenance.readers.parsing import ONE_PASS, decode, decoder_of

MAXIMUM_RECEIPTS = 10_000
_IN_TOTO = "application/vnd.in-toto+json"
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})(?![0-9a-fA-F])")


class _Build(msgspec.Struct):
    """The readable copies of what the envelope holds."""

    intoto: Any = msgspec.field(default=None, name="intotoStatement")
    slsa: Any = msgspec.field(default=None, name="inTotoSlsaProvenanceV1")


class _Occurrence(msgspec.Struct, rename="camel"):
    envelope: msgspec.Raw
    kind: str | None = None
    resource_uri: str | None = None
    build: _Build | None = None


class _Occurrences(msgspec.Struct):
    provenance: list[_Occurrence] | None = None


class _ImageSummary(msgspec.Struct):
    digest: str | None = None
    fully_qualified_digest: str | None = None


class _Gcb(msgspec.Struct):
    provenance_summary: _Occurrences
    image_summary: _ImageSummary | None = None


class _NpmAttestation(msgspec.Struct, rename="camel"):
    bundle: msgspec.Raw
    predicate_type: str | None = None


class _Npm(msgspec.Struct):
    attestations: list[_NpmAttestation]


class _PepMaterial(msgspec.Struct):
    certificate: str


class _PepEnvelope(msgspec.Struct):
    statement: str
    signature: str


class _Pep(msgspec.Struct):
    version: int
    verification_material: _PepMaterial
    envelope: _PepEnvelope


class _PepBundle(msgspec.Struct):
    attestations: list[msgspec.Raw]


class _PepProvenance(msgspec.Struct):
    version: int
    attestation_bundles: list[_PepBundle]


def read_gcb(content: bytes, collector: Collector) -> None:
    """Read what Google Cloud Build tells of an image: signed envelopes among readable copies.

    Raises:
        InputError: it is malformed or holds no envelope.
    """
    document = decode(content, _Gcb, what="Cloud Build provenance")
    occurrences = document.provenance_summary.provenance or []
    _check_count(len(occurrences))
    for occurrence in occurrences:
        raw = bytes(occurrence.envelope)
        envelope = decode(raw, EnvelopeDocument, what="DSSE envelope")
        read_dsse(envelope, raw, collector, container="gcb", receipt=receipt_id(raw))
        _mark(collector, _contradiction(collector.parts[-1], occurrence, document.image_summary))
    collector.format = f"gcb-{collector.format}"


def read_npm(content: bytes, collector: Collector) -> None:
    """Read npm's attestations of a package version: sigstore bundles with their predicate types beside them.

    Raises:
        InputError: it is malformed or holds no bundle.
    """
    document = decode(content, _Npm, what="npm attestations")
    _check_count(len(document.attestations))
    for attestation in document.attestations:
        read_bundle(bytes(attestation.bundle), collector)
        stated = attestation.predicate_type
        if stated is not None and stated != collector.parts[-1].predicate_type:
            _mark(collector, "The predicate type beside the bundle is not the signed one.")
    collector.format = f"npm-{collector.format}"


class _PepAlone(_Pep, kw_only=True):
    """An attestation, and the members that would make it something else."""

    bom_format: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="bomFormat")
    spdx_version: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="spdxVersion")
    graph: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="@graph")
    statement_type: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="_type")
    payload_type: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="payloadType")
    material: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="verificationMaterial")


def read_if_pep740(content: bytes, collector: Collector) -> bool:
    """Read one PEP 740 attestation in one pass over its bytes; return whether it was one.

    Raises:
        InputError: what it signs is malformed.
    """
    if len(content) > ONE_PASS or b'"verification_material"' not in content or b'"attestation_bundles"' in content:
        return False
    try:
        found = decoder_of(_PepAlone).decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    others = (found.bom_format, found.spdx_version, found.graph, found.statement_type)
    if any(each is not msgspec.UNSET for each in (*others, found.payload_type, found.material)):
        return False
    _read_pep740(found, content, collector)
    return True


def read_pep740(content: bytes, collector: Collector) -> None:
    """Read one PEP 740 attestation.

    Raises:
        InputError: it is malformed or of another version.
    """
    _read_pep740(decode(content, _Pep, what="PEP 740 attestation"), content, collector)


def _read_pep740(document: _Pep, content: bytes, collector: Collector) -> None:
    if document.version != 1:
        raise InputError("Only version 1 of PEP 740 attestations is read", field="version", value=document.version)
    envelope = EnvelopeDocument(
        document.envelope.statement, _IN_TOTO, [SignatureDocument(sig=document.envelope.signature)]
    )
    # A certificate that cannot be decoded stays one: it is judged, and fails, as such.
    certificate = Certificate((document.verification_material.certificate,))
    read_dsse(envelope, content, collector, container="pep740", receipt=receipt_id(content), certificate=certificate)
    collector.format = "pep740"


def read_pep740_provenance(content: bytes, collector: Collector) -> None:
    """Read a PEP 740 provenance object: attestations by publisher. Who published is in the certificates.

    Raises:
        InputError: it is malformed or holds no attestation.
    """
    document = decode(content, _PepProvenance, what="PEP 740 provenance")
    attestations = [one for bundle in document.attestation_bundles for one in bundle.attestations]
    _check_count(len(attestations))
    for attestation in attestations:
        read_pep740(bytes(attestation), collector)
    collector.format = "pep740-provenance"


def _check_count(count: int) -> None:
    if not 0 < count <= MAXIMUM_RECEIPTS:
        raise InputError(f"A document holds 1 to {MAXIMUM_RECEIPTS} attestations", field="attestations", value=count)


def _mark(collector: Collector, altered: str) -> None:
    if altered:
        collector.remark(altered)
        collector.parts[-1] = msgspec.structs.replace(collector.parts[-1], altered=altered)


def _contradiction(part: SignedPart, occurrence: _Occurrence, image: _ImageSummary | None) -> str:
    """Return how the readable text contradicts the signed payload; empty where it does not."""
    signed = {one.get("sha256", "").lower() for one in part.subjects}
    if occurrence.kind != "BUILD":
        return "The readable text does not call this a build."
    if not _digests(occurrence.resource_uri) <= signed:
        return "The resource beside the envelope is not a signed subject."
    if image is not None and not _digests(image.digest) | _digests(image.fully_qualified_digest) <= signed:
        return "The image summary names another digest than the signed subject."
    copies = [] if occurrence.build is None else [occurrence.build.intoto, occurrence.build.slsa]
    for copy in (each for each in copies if isinstance(each, dict)):
        payload = decode(part.payload, dict[str, Any], what="signed payload")
        if any(payload.get(key) != value for key, value in copy.items()):
            return "The readable copy beside the envelope differs from the signed payload."
    return ""


def _digests(text: str | None) -> set[str]:
    return {one.lower() for one in _SHA256.findall(text or "")}
