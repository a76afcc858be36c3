"""in-toto Statements v0.1 and v1: what a receipt names, and what its predicate says of it.

The receipt signs every subject (by digest; the name is a hint) and the execution, where the predicate tells of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.collector import Collector
from mc_pipelines.provenance.readers.parsing import decode

STATEMENT_TYPES = {
    "https://in-toto.io/Statement/v0.1": "in-toto-statement-v0.1",
    "https://in-toto.io/Statement/v1": "in-toto-statement-v1",
    "https://in-toto.io/Statement/v1.0": "in-toto-statement-v1",
}
_IMAGE_TYPES = ("pkg:oci/", "pkg:docker/")
RELEASE_PREDICATES = (
    "https://in-toto.io/attestation/release/",
    "https://slsa.dev/verification_summary/",
)
"""Predicates whose subjects are what is released: bundles."""
MAXIMUM_SUBJECTS = 100_000


class Resource(msgspec.Struct, rename="camel"):
    """An in-toto ResourceDescriptor, or a subject or material of the older forms; all members are optional."""

    name: str | None = None
    uri: str | None = None
    digest: dict[str, str] | None = None
    media_type: str | None = None
    download_location: str | None = None


class Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    """The frame of a statement; the predicate waits for its own reader."""

    type: str
    predicate_type: str = ""
    subject: list[Resource] | None = None
    predicate: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class Frame:
    """What a predicate's reader gets.

    Attributes:
        collector: where claims go.
        receipt: the node of the receipt; it signs what the predicate adds.
        statement: the statement.
        subjects: nodes of its subjects.
    """

    collector: Collector
    receipt: NodeId
    statement: Statement
    subjects: tuple[NodeId, ...]

    @property
    def predicate(self) -> msgspec.Raw:
        """The predicate's bytes; an absent one is an empty object."""
        raw = self.statement.predicate
        if raw is msgspec.UNSET or bytes(raw) == b"null":
            return msgspec.Raw(b"{}")
        return raw

    def resource(self, resource: Resource, kind: Kind = Kind.PACKAGE) -> NodeId | None:
        """Name something that the predicate mentions; None where it says nothing to name it by."""
        return name_resource(self.collector, resource, kind)


def parse_frame(payload: bytes | msgspec.Raw) -> Statement:
    """Decode the frame of a statement.

    Raises:
        InputError: it is no statement of a known version.
    """
    statement = decode(payload, Statement, what="in-toto statement")
    if statement.type not in STATEMENT_TYPES:
        raise InputError("Not an in-toto Statement v0.1 or v1", field="_type", value=statement.type)
    if not statement.predicate_type:
        raise InputError("The statement has no predicate type", field="predicateType")
    return statement


def read_subjects(collector: Collector, receipt: NodeId, statement: Statement) -> tuple[NodeId, ...]:
    """Name the subjects of a statement and let the receipt sign them.

    Raises:
        InputError: there is no subject, or one without a digest: the statement would bind nothing.
    """
    subjects = statement.subject
    if not subjects:
        raise InputError("The statement has no subject", field="subject")
    if len(subjects) > MAXIMUM_SUBJECTS:
        raise InputError(f"A statement names at most {MAXIMUM_SUBJECTS} subjects", field="subject", value=len(subjects))
    nodes = []
    for index, subject in enumerate(subjects):
        node = collector.artifact(subject.digest)
        if node is None:
            why = "A subject by whose digests nothing is named here" if subject.digest else "A subject without a digest"
            raise InputError(
                f"{why} binds nothing",
                field=f"subject[{index}].digest",
                value=sorted(subject.digest) if subject.digest else subject.name,
                mend="give its sha256",
            )
        purl = collector.package(subject.name) if subject.name and subject.name.startswith("pkg:") else None
        release = statement.predicate_type.startswith(RELEASE_PREDICATES) or (
            purl is not None and purl.startswith(_IMAGE_TYPES)
        )
        collector.node(node, Kind.BUNDLE if release else Kind.PACKAGE, subject.name)
        if purl is not None:
            collector.alias(node, purl)
        _other_digests(collector, node, subject.digest or {})
        collector.signs(receipt, node)
        nodes.append(node)
    return tuple(dict.fromkeys(nodes))


def name_resource(collector: Collector, resource: Resource, kind: Kind = Kind.PACKAGE) -> NodeId | None:
    """Name a resource by digest, else by purl, else inside this document; None where it says nothing."""
    uri = resource.uri or resource.download_location or ""
    purl = collector.package(uri) if uri.startswith("pkg:") else None
    node = collector.artifact(resource.digest, uri=uri)
    label = resource.name or uri or None
    if node is not None:
        collector.node(node, kind, label, attributes={"uri": uri} if uri and uri != label else None)
        if purl is not None:
            collector.alias(node, purl)
        return node
    if purl is not None:
        return collector.node(purl, kind, label)
    if not label:
        return None
    collector.remark("Something without a digest is named inside this document only.")
    return collector.node(collector.local(uri or label), kind, label, stub=True)


def _other_digests(collector: Collector, node: NodeId, digests: dict[str, str]) -> None:
    """Claim as aliases the strong digests that another document may name the same content by."""
    for algorithm in ("sha512", "sha384"):
        value = digests.get(algorithm)
        other = None if value is None else collector.artifact({algorithm: value})
        if other is not None:
            collector.alias(node, other)
