"""Predicates of in-toto statements, by type; an unknown one leaves the subjects and says so."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.provenance.identity import NodeId, execution_id
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers import slsa
from mc_pipelines.provenance.readers.collector import Summary
from mc_pipelines.provenance.readers.cyclonedx import read_cyclonedx
from mc_pipelines.provenance.readers.parsing import decode
from mc_pipelines.provenance.readers.statement import Frame, Resource

VSA_PREFIX = "https://slsa.dev/verification_summary/"
CYCLONEDX_PREFIX = "https://cyclonedx.org/bom"
LINK_PREFIXES = ("https://in-toto.io/attestation/link/", "https://in-toto.io/Link/")
OWN_PREFIX = "https://maestro-conductor.example/attestations/"
_PLAIN = frozenset(
    {
        "https://docs.pypi.org/attestations/publish/v1",
        "https://github.com/npm/attestation/tree/main/specs/publish/v0.1",
        "https://in-toto.io/attestation/release/v0.1",
        "https://in-toto.io/attestation/test-result/v0.1",
        "https://witness.testifysec.com/attestation-collection/v0.1",
    }
)
"""Predicates that add no node: what they say is about the subjects alone."""


class Outcome(msgspec.Struct, frozen=True):
    """What verification must know of a predicate.

    Attributes:
        builder: the builder or verifier that it names.
        summary: what a verification summary says.
    """

    builder: str | None = None
    summary: Summary | None = None


def read_predicate(frame: Frame) -> Outcome:
    """Read the predicate of a statement.

    Raises:
        InputError: it has not the shape that its type promises.
    """
    type_ = frame.statement.predicate_type
    if type_.startswith(slsa.PREFIX):
        return Outcome(builder=slsa.read_slsa(frame))
    for prefix, reader in _READERS:
        if type_.startswith(prefix):
            return reader(frame)
    if type_ not in _PLAIN and not type_.startswith(OWN_PREFIX):
        frame.collector.remark(f"Predicate type {type_[:200]} is not known here; only its subjects were read.")
    return Outcome()


class _Link(msgspec.Struct):
    name: str | None = None
    materials: list[Resource] | dict[str, dict[str, str]] | None = None


def _read_link(frame: Frame) -> Outcome:
    """Read a link: a step, named by its digest, uses the materials and produces the subjects."""
    link = decode(frame.predicate, _Link, what="in-toto link")
    collector = frame.collector
    step = execution_id(f"in-toto-link/{link.name or 'step'}", sha256_digest(bytes(frame.predicate)))
    collector.node(step, Kind.EXECUTION, link.name)
    collector.signs(frame.receipt, step)
    materials = link.materials or []
    if isinstance(materials, dict):
        materials = [Resource(name=name, digest=digest) for name, digest in materials.items()]
    for material in materials:
        node = frame.resource(material)
        if node is not None:
            collector.uses(step, node)
    for subject in frame.subjects:
        collector.produces(step, subject)
    return Outcome()


class _Verifier(msgspec.Struct):
    id: str | None = None


class _Vsa(msgspec.Struct, rename="camel"):
    verifier: _Verifier | None = None
    time_verified: str | None = None
    resource_uri: str | None = None
    policy: Resource | None = None
    input_attestations: list[Resource] | None = None
    verification_result: str | None = None
    verified_levels: list[str] | None = None


def _read_vsa(frame: Frame) -> Outcome:
    """Read a verification summary: the receipt names its policy and the attestations that it looked at."""
    vsa = decode(frame.predicate, _Vsa, what="verification summary")
    collector = frame.collector
    moment = collector.moment(vsa.time_verified, what="time of the verification")
    collector.valid_from = collector.valid_from or moment
    if vsa.policy is not None:
        policy = frame.resource(vsa.policy, Kind.MANIFEST)
        if policy is not None:
            collector.signs(frame.receipt, policy)
    for attestation in vsa.input_attestations or ():
        named = frame.resource(attestation, Kind.RECEIPT)
        if named is not None:
            collector.signs(frame.receipt, named)
    verifier = vsa.verifier.id if vsa.verifier is not None else None
    return Outcome(
        builder=verifier,
        summary=Summary(
            verifier or "",
            vsa.resource_uri or "",
            vsa.verification_result or "",
            tuple(vsa.verified_levels or ()),
            frame.subjects,
        ),
    )


def _read_cyclonedx(frame: Frame) -> Outcome:
    manifest = _manifest(frame)
    read_cyclonedx(frame.predicate, frame.collector, manifest)
    return _describe(frame, manifest)


def _manifest(frame: Frame) -> NodeId:
    return NodeId(sha256_digest(bytes(frame.predicate)))


def _describe(frame: Frame, manifest: NodeId) -> Outcome:
    """Let the receipt sign the bill of materials, which describes (uses) the statement's subjects."""
    frame.collector.signs(frame.receipt, manifest)
    for subject in frame.subjects:
        frame.collector.uses(manifest, subject)
    return Outcome()


class _References(msgspec.Struct):
    references: list[Resource] | None = None


def _read_references(frame: Frame) -> Outcome:
    """Read a reference attestation: documents about the subjects, elsewhere."""
    for reference in decode(frame.predicate, _References, what="reference predicate").references or ():
        node = frame.resource(reference, Kind.MANIFEST)
        if node is not None:
            frame.collector.signs(frame.receipt, node)
            for subject in frame.subjects:
                frame.collector.uses(node, subject)
    return Outcome()


_Reader = Callable[[Frame], Outcome]
_READERS: tuple[tuple[str, _Reader], ...] = (
    (VSA_PREFIX, _read_vsa),
    (CYCLONEDX_PREFIX, _read_cyclonedx),
    *((prefix, _read_link) for prefix in LINK_PREFIXES),
    ("https://in-toto.io/attestation/reference/", _read_references),
)
