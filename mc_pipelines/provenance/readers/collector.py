"""Where a reader puts what it finds: nodes, edges and aliases of one document, each once, kinds agreeing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import starmap
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.provenance.identity import MAXIMUM_ID_LENGTH, NodeId, digest_id, local_id, package_id
from mc_pipelines.provenance.model import (
    MAXIMUM_EDGES,
    MAXIMUM_LABEL_LENGTH,
    MAXIMUM_NODES,
    Alias,
    Claims,
    Edge,
    EdgeType,
    Kind,
    Node,
    Verification,
    VerificationStatus,
)
from mc_pipelines.provenance.readers.parsing import decode_base64

_RESERVED = frozenset({"run", "pkg", "gitoid", "dataset", "job", "asset", "local"})
"""Schemes of ids that are no digests: an algorithm of such a name would let a digest pose as a run or a receipt."""
_STRONG = ("sha256", "sha512", "sha384", "sha3_256", "sha3_512", "blake2b_256", "blake2b_512", "blake3")
_HEX_LENGTH = {"sha256": 64, "sha512": 128, "sha384": 96}
_UNSIGNED = Verification(status=VerificationStatus.UNSIGNED, reason="The document carries no signature.")
_UNCHECKED = Verification(status=VerificationStatus.UNCHECKED, reason="The signature has not been checked.")
_MAXIMUM_REMARKS = 100
_LONGEST_SERIES = 500
_GIT_HEX = 40
_CONTENT = frozenset({Kind.MANIFEST, Kind.PACKAGE, Kind.BUNDLE})
_SOURCES = frozenset({Kind.MANIFEST, Kind.PACKAGE, Kind.BUNDLE, Kind.EXECUTION})


class Certificate(msgspec.Struct, frozen=True):
    """A certificate that came with a signature, unproved; decoded when it is judged.

    Attributes:
        encoded: DER in base64, leaf first.
        pem: or all of them in PEM.
    """

    encoded: tuple[str, ...] = ()
    pem: str = ""

    def leaf(self) -> x509.Certificate | None:
        """Return the first certificate; None where there is none that can be read."""
        try:
            if self.pem:
                return x509.load_pem_x509_certificates(self.pem.encode())[0]
            decoded = next((der for one in self.encoded if (der := decode_base64(one))), None)
            return None if decoded is None else x509.load_der_x509_certificate(decoded)
        except (ValueError, UnsupportedAlgorithm):
            return None


class PartSignature(msgspec.Struct, frozen=True):
    """One signature of a part; nothing in it is proved.

    Attributes:
        keyid: an unauthenticated hint.
        signature: its bytes; None where they could not be decoded.
        certificate: what came along, if anything did.
    """

    keyid: str
    signature: bytes | None
    certificate: Certificate | None = None


class SignedPart(msgspec.Struct, frozen=True):
    """One signed thing in a document, as verification needs it; nothing in it is proved.

    Attributes:
        receipt: the node that stands for it.
        container: ``dsse``, ``sigstore-bundle``, ``pep740``, ``gcb`` or ``unsigned``.
        content: the container's bytes as they stand in the document.
        payload_type: of the envelope; empty for a bare message signature.
        payload: the signed bytes; empty for a bare message signature.
        signatures: all of them.
        predicate_type: of the statement in the payload.
        builder: the builder that the payload names, if it names one.
        subjects: digest sets of the statement's subjects.
        message_digest: sha256 that a bare message signature states for its artifact.
        key_hint: hint of a managed key in a sigstore bundle.
        summary: of a verification summary, what it says.
        altered: how what stands beside the signed bytes contradicts them; empty = it does not. Such a document was
            changed after it was signed, whatever its signature proves.
    """

    receipt: NodeId
    container: str
    content: bytes
    payload_type: str = ""
    payload: bytes = b""
    signatures: tuple[PartSignature, ...] = ()
    predicate_type: str = ""
    builder: str | None = None
    subjects: tuple[Mapping[str, str], ...] = ()
    message_digest: bytes = b""
    key_hint: str | None = None
    summary: Summary | None = None
    altered: str = ""


class Summary(msgspec.Struct, frozen=True):
    """What a verification summary attestation (SLSA VSA) says.

    Attributes:
        verifier: id of who verified.
        resource: the resource that was verified.
        result: ``PASSED`` or ``FAILED``.
        levels: what it was found to fulfil.
        targets: nodes of the subjects that it vouches for.
    """

    verifier: str
    resource: str
    result: str
    levels: tuple[str, ...]
    targets: tuple[NodeId, ...]


class RunEvents(msgspec.Struct, frozen=True):
    """What a document of lineage events leaves open about a run.

    Attributes:
        run: the execution.
        completed: whether an event said so.
        waiting: outputs that count once the run is known to have completed; empty where it is.
    """

    run: NodeId
    completed: bool
    waiting: tuple[NodeId, ...]


class Reading(msgspec.Struct, frozen=True):
    """A document as read.

    Attributes:
        claims: what it claims.
        parts: the signed parts that verification has to judge.
        runs: the runs of which its events tell.
    """

    claims: Claims
    parts: tuple[SignedPart, ...]
    runs: tuple[RunEvents, ...] = ()


class Collector(msgspec.Struct):
    """Gathers the claims of one document.

    Attributes:
        document: sha256 of the document.
        name: what its sender calls it.
        format: what it is read as.
    """

    document: Digest
    name: str
    format: str
    valid_from: datetime | None = None
    series: str | None = None
    version: int = 0
    low_value: bool = False
    verification: Verification | None = None
    parts: list[SignedPart] = []
    runs: tuple[RunEvents, ...] = ()
    nodes: dict[str, Node] = {}
    edges: dict[tuple[NodeId, NodeId, EdgeType], None] = {}
    aliases: dict[tuple[NodeId, NodeId], None] = {}
    _remarks: dict[str, int] = {}
    _clashes: bool = False

    @classmethod
    def of(cls, content: bytes, name: str, format_: str) -> Collector:
        """Begin a document."""
        return cls(sha256_digest(content), name, format_)

    def remark(self, sentence: str) -> None:
        """Note what is odd in the document; the same sentence is counted, not repeated."""
        self._remarks[sentence] = self._remarks.get(sentence, 0) + 1

    def node(
        self,
        identifier: NodeId,
        kind: Kind,
        label: str | None = None,
        *,
        stub: bool = False,
        attributes: dict[str, Any] | None = None,
    ) -> NodeId:
        """Name a node; its first description stands, and its first kind."""
        known = self.nodes.get(identifier)
        if known is None:
            if label is not None and len(label) > MAXIMUM_LABEL_LENGTH:
                label = label[:MAXIMUM_LABEL_LENGTH]
            self.nodes[identifier] = Node(identifier, kind, label or None, stub, attributes or None)
            if len(self.nodes) > MAXIMUM_NODES:
                raise InputError(f"One document brings at most {MAXIMUM_NODES} nodes", field="nodes", mend="split it")
            return identifier
        if known.kind is not kind and not (known.kind in _CONTENT and kind in _CONTENT):
            self._clashes = True
            self.remark(f"One node is called both {known.kind} and {kind}; the former stands.")
        if known.stub and not stub:
            self.nodes[identifier] = Node(identifier, known.kind, label or known.label, attributes=attributes or None)
        return identifier

    def edge(self, source: NodeId, type_: EdgeType, target: NodeId) -> None:
        """Claim an edge between two named nodes; a thing that stands on itself says nothing."""
        if source == target:
            self.remark("An edge from a node to itself was left out.")
            return
        self.edges[(source, target, type_)] = None
        if len(self.edges) > MAXIMUM_EDGES:
            raise InputError(f"One document brings at most {MAXIMUM_EDGES} edges", field="edges", mend="split it")

    def uses(self, source: NodeId, target: NodeId) -> None:
        """Claim that ``source`` uses ``target``."""
        self.edge(source, EdgeType.USES, target)

    def produces(self, source: NodeId, target: NodeId) -> None:
        """Claim that execution ``source`` produces ``target``."""
        self.edge(source, EdgeType.PRODUCES, target)

    def signs(self, source: NodeId, target: NodeId) -> None:
        """Claim that what receipt ``source`` signs names ``target``."""
        self.edge(source, EdgeType.SIGNS, target)

    def alias(self, first: NodeId, second: NodeId) -> None:
        """Claim that two ids name one thing; the second is named as a stub of the first one's kind."""
        if first != second:
            self.node(second, self.nodes[first].kind, stub=True)
            self.aliases[(first, second)] = None

    def local(self, reference: str) -> NodeId:
        """Return an id that holds only inside this document."""
        if len(reference) > MAXIMUM_ID_LENGTH // 4:
            reference = sha256_digest(reference.encode(errors="replace"))
        return local_id(self.document, _printable(reference))

    def package(self, purl: str | None) -> NodeId | None:
        """Return the id of a purl; None, with a remark, where there is none or it is malformed."""
        if not purl:
            return None
        try:
            return package_id(purl)
        except InputError:
            self.remark("A malformed package URL was ignored.")
            return None

    def artifact(self, digests: Mapping[str, str] | None, *, uri: str = "") -> NodeId | None:
        """Return the id of an artifact by its digest set; None, with a remark, where it has no usable digest.

        A ``sha1`` of something fetched by git is the id of a commit and is written as one.
        """
        if not digests:
            return None
        usable = digests
        if "sha256" not in digests:  # it is preferred: the others do not matter beside it
            usable = {
                algorithm: value
                for algorithm, value in digests.items()
                if algorithm not in _RESERVED and ":" not in algorithm
            }
            if not usable:
                return None
            sha1 = usable.get("sha1", "")
            if len(usable) == 1 and uri.startswith("git+") and len(sha1) == _GIT_HEX:
                usable = {"gitCommit": sha1}
        try:
            return digest_id(usable)
        except InputError:
            self.remark("A malformed digest was ignored.")
            return None

    def strong_artifact(self, digests: Mapping[str, str]) -> NodeId | None:
        """Return the id by a digest that names content for good; weak ones (MD5, SHA-1) name nothing here."""
        for algorithm in _STRONG:
            value = digests.get(algorithm)
            if value:
                length = _HEX_LENGTH.get(algorithm)
                if length is not None and len(value) != length:
                    self.remark("A malformed digest was ignored.")
                    continue
                return self.artifact({algorithm: value})
        return None

    def moment(self, text: str | None, *, what: str) -> datetime | None:
        """Return a time of the document in UTC; None, with a remark, where it has no zone or is none.

        Digits below the microsecond are cut.
        """
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.remark(f"The {what} is not a time and was ignored.")
            return None
        if found.tzinfo is None:
            self.remark(f"The {what} has no time zone and was ignored.")
            return None
        try:
            return found.astimezone(UTC)
        except OverflowError:
            self.remark(f"The {what} is not a time and was ignored.")
            return None

    def finish(self) -> Reading:
        """Return what was gathered."""
        if self._clashes:
            self._drop_impossible()
        claims = Claims(
            document=self.document,
            name=self.name,
            format=self.format,
            nodes=tuple(self.nodes.values()),
            edges=tuple(starmap(Edge, self.edges)),
            aliases=tuple(starmap(Alias, self.aliases)),
            verification=self._verdict(),
            remarks=self._sentences(),
            valid_from=self.valid_from,
            series=_series_key(self.series),
            version=self.version,
            low_value=self.low_value,
        )
        return Reading(claims, tuple(self.parts), self.runs)

    def _verdict(self) -> Verification:
        if self.verification is not None:
            return self.verification
        signed = sum(bool(part.signatures) for part in self.parts)
        if not signed:
            return _UNSIGNED
        if signed == 1:
            return _UNCHECKED
        sentence = f"{signed} signatures have not been checked."
        return Verification(status=VerificationStatus.UNCHECKED, reason=sentence)

    def _sentences(self) -> tuple[str, ...]:
        sentences = [
            text if count == 1 else f"{text.removesuffix('.')} ({count} times)."
            for text, count in self._remarks.items()
        ]
        return tuple(sentences[:_MAXIMUM_REMARKS])

    def _drop_impossible(self) -> None:
        """Leave out edges that a node's first kind does not allow."""
        for key in list(self.edges):
            source, target, type_ = key
            kind, other = self.nodes[source].kind, self.nodes[target].kind
            legal = (
                kind is Kind.RECEIPT
                if type_ is EdgeType.SIGNS
                else other is not Kind.EXECUTION
                and (kind in _SOURCES if type_ is EdgeType.USES else kind is Kind.EXECUTION)
            )
            if not legal:
                del self.edges[key]
                self.remark("An edge that contradicts the kind of its ends was left out.")


def _printable(text: str) -> str:
    if text and text.isprintable():
        return text
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text) or "unnamed"


def _series_key(name: str | None) -> str | None:
    """Return a name of a series as an index can hold it; a longer one, or one with a NUL, goes by its digest."""
    if name is None or (len(name) <= _LONGEST_SERIES and "\0" not in name):
        return name
    return sha256_digest(name.encode())
