"""What a provenance document says: nodes, edges and aliases, as claims of that document.

Five kinds of node and four types of edge, as docs/provenance/GRAPH.schema.json has them. Read an edge as
``source VERB target``:

- execution **uses** an input; a package, bundle or manifest **uses** what it depends on, contains or lists;
- execution **produces** an output;
- receipt **signs** what its signed payload names: a claim, whoever signed it;
- receipt **verifies** receipt (or bundle): minted by :mod:`mc_pipelines.provenance.verification` after our own
  check of signature, trust root, identity and subject digest. No document can bring one: a reader puts
  edges into :attr:`Claims.edges`, where ``verifies`` is refused; only :attr:`Claims.earned` holds them, and
  only when the document's own verdict is ``verified``.

Ancestors of a node are what it stands on: ``uses`` followed forward, ``produces``, ``signs`` and ``verifies``
followed backward (its inputs, its maker, the evidence about it). Descendants are the exact reverse.

The rows are msgspec structs, not dataclasses: a bulk ingest makes millions of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, TenantId, parse_digest
from mc_pipelines.provenance.identity import NodeId, check_node_ids

PUBLIC = TenantId("public")
"""The shared partition: readable by all tenants, written only by operators."""

MAXIMUM_NODES = 4_000_000
MAXIMUM_EDGES = 10_000_000
MAXIMUM_CLASSIFICATION = 3
MAXIMUM_LABEL_LENGTH = 1000


class Kind(StrEnum):
    """What a node is."""

    MANIFEST = "manifest"
    PACKAGE = "package"
    EXECUTION = "execution"
    RECEIPT = "receipt"
    BUNDLE = "bundle"


class EdgeType(StrEnum):
    """What an edge says."""

    USES = "uses"
    PRODUCES = "produces"
    SIGNS = "signs"
    VERIFIES = "verifies"


KINDS: tuple[Kind, ...] = tuple(Kind)
"""Position = the code of a kind in the store."""
EDGE_TYPES: tuple[EdgeType, ...] = tuple(EdgeType)
"""Position = the code of a type in the store (two bits)."""
KIND_CODE: dict[str, int] = {kind.value: code for code, kind in enumerate(KINDS)}
TYPE_CODE: dict[str, int] = {edge.value: code for code, edge in enumerate(EDGE_TYPES)}

_CONTENT = frozenset({Kind.MANIFEST, Kind.PACKAGE, Kind.BUNDLE})
_ENDS: dict[EdgeType, tuple[frozenset[Kind], frozenset[Kind]]] = {
    EdgeType.USES: (_CONTENT | {Kind.EXECUTION}, _CONTENT | {Kind.RECEIPT}),
    EdgeType.PRODUCES: (frozenset({Kind.EXECUTION}), _CONTENT | {Kind.RECEIPT}),
    EdgeType.SIGNS: (frozenset({Kind.RECEIPT}), frozenset(Kind)),
    EdgeType.VERIFIES: (frozenset({Kind.RECEIPT}), frozenset({Kind.RECEIPT, Kind.BUNDLE})),
}
_LEGAL = frozenset(
    (type_, source, target) for type_, (sources, targets) in _ENDS.items() for source in sources for target in targets
)
_CLAIMABLE = frozenset(each for each in _LEGAL if each[0] is not EdgeType.VERIFIES)


class VerificationStatus(StrEnum):
    """The outcome of our own check of a document; never collapsed to yes or no."""

    UNSIGNED = "unsigned"
    UNCHECKED = "unchecked"
    NO_TRUST_ROOT = "no-trust-root"
    FAILED = "failed"
    IDENTITY_UNPROVEN = "signature-ok-identity-unproven"
    STALE = "stale"
    VERIFIED = "verified"


VERIFICATION_CODE: dict[str, int] = {status.value: code for code, status in enumerate(VerificationStatus)}
"""Code of a status in the store (three bits)."""


class Purpose(StrEnum):
    """What a claim may be read for; a claim without purposes may be read for any."""

    OPERATIONS = "operations"
    SECURITY = "security"
    FINANCE = "finance"
    AUDIT = "audit"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Our verdict on the signatures of a document, with its reason.

    Attributes:
        status: the outcome.
        reason: one sentence for a person.
        signer: issuer and subject of the identity that was proved, if one was.
        key_id: the key that verified, if one did (never the unauthenticated hint of an envelope).
        scheme: how it was signed, such as ``dsse-pae``, ``legacy-raw`` or ``sigstore-0.3``.
    """

    status: VerificationStatus = VerificationStatus.UNSIGNED
    reason: str = ""
    signer: str | None = None
    key_id: str | None = None
    scheme: str | None = None


class Node(msgspec.Struct, frozen=True, gc=False):
    """A node as one document describes it.

    Attributes:
        id: see :mod:`mc_pipelines.provenance.identity`.
        kind: what it is.
        label: a name for people; a hint, never an identity.
        stub: named by the document, not described by it.
        attributes: further facts as JSON, such as the predicate type of a receipt.
    """

    id: NodeId
    kind: Kind
    label: str | None = None
    stub: bool = False
    attributes: dict[str, Any] | None = None


class Edge(msgspec.Struct, frozen=True, gc=False):
    """``source`` TYPE ``target``, as one document claims it."""

    source: NodeId
    target: NodeId
    type: EdgeType


class Alias(msgspec.Struct, frozen=True, gc=False):
    """A claim that two ids name one thing, such as purl and digest; resolved when asked, never merged."""

    first: NodeId
    second: NodeId


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """All that one document says.

    Attributes:
        document: sha256 of its bytes exactly as received; the unit of idempotence within a tenant.
        name: the name its sender gave it.
        format: what it was read as, such as ``cyclonedx-1.5`` or ``in-toto-statement-v1``.
        nodes: every node it names; both ends of each edge are among them.
        edges: what it claims; ``verifies`` is refused here.
        aliases: ids it says are one thing.
        earned: ``verifies`` edges minted by our own check.
        verification: our verdict on its signatures.
        refused: why the document as a whole was refused; then it claims nothing.
        remarks: what was odd in it and how it was read, one sentence each.
        valid_from: since when the claims hold by the document's own word; None = since it was recorded.
        valid_to: until when, exclusive; None = until superseded.
        series: documents of one series supersede each other, such as a CycloneDX serial number.
        version: position in the series; a higher one closes the validity of the lower ones.
        classification: 0 (open) to 3 (secret); a reader sees claims up to her clearance.
        purposes: what it may be read for; empty = any purpose.
        low_value: recomputable detail (such as column lineage) that retention may expire.
    """

    document: Digest
    name: str
    format: str
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    aliases: tuple[Alias, ...] = ()
    earned: tuple[Edge, ...] = ()
    verification: Verification = Verification()
    refused: str | None = None
    remarks: tuple[str, ...] = ()
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    series: str | None = None
    version: int = 0
    classification: int = 0
    purposes: frozenset[Purpose] = frozenset()
    low_value: bool = False


def refuse(document: Digest, name: str, format_: str, reason: str) -> Claims:
    """Return the claims of a refused document: none, and the reason."""
    return Claims(document=document, name=name, format=format_, refused=reason)


def orientation(edge: EdgeType) -> bool:
    """Tell whether following ``edge`` from source to target leads to an ancestor (else to a descendant)."""
    return edge is EdgeType.USES


def validate(claims: Claims) -> Claims:
    """Return ``claims`` if they are well formed.

    Raises:
        InputError: a malformed id, an edge whose end is not among the nodes or has the wrong kind, two
            descriptions of one node that disagree on its kind, a ``verifies`` that was not earned, a
            naive or reversed time, or more claims than one document may bring.
    """
    parse_digest(claims.document, field="document")
    _check_frame(claims)
    if claims.refused is not None:
        return claims
    kinds = _kinds(claims.nodes)
    for edge in claims.edges:
        if (edge.type, kinds.get(edge.source), kinds.get(edge.target)) not in _CLAIMABLE:
            raise _edge_error(edge, kinds)
    validate_earned(claims, kinds)
    for alias in claims.aliases:
        if alias.first not in kinds or alias.second not in kinds:
            raise InputError("An alias names a node that the document does not", field="alias", value=alias.first)
    return claims


def _kinds(nodes: tuple[Node, ...]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for node in nodes:
        if kinds.setdefault(node.id, node.kind) is not node.kind:
            raise InputError(
                f"The document calls one node both {kinds[node.id]} and {node.kind}", field="node", value=node.id
            )
    check_node_ids(kinds)
    return kinds


def validate_earned(claims: Claims, kinds: Mapping[str, Kind]) -> Claims:
    """Return ``claims``, whose nodes have these kinds, if what it earned is well formed; see :func:`validate`.

    Raises:
        InputError: a ``verifies`` that was not earned, or between nodes that it cannot stand between.
    """
    for edge in claims.earned:
        if edge.type is not EdgeType.VERIFIES or claims.verification.status is not VerificationStatus.VERIFIED:
            raise InputError("Only a verified document earns a verifies edge", field="earned", value=edge.source)
        if (edge.type, kinds.get(edge.source), kinds.get(edge.target)) not in _LEGAL:
            raise _edge_error(edge, kinds)
    return claims


def _edge_error(edge: Edge, kinds: Mapping[str, Kind]) -> InputError:
    """Return what is wrong with an edge that is not legal among these nodes."""
    source, target = kinds.get(edge.source), kinds.get(edge.target)
    if source is None or target is None:
        missing = edge.source if source is None else edge.target
        return InputError("An edge ends at a node that the document does not name", field="edge", value=missing)
    if (edge.type, source, target) in _LEGAL:
        return InputError("A document cannot claim that something is verified", field="edge", value=edge.source)
    return InputError(f"A {source} cannot stand before '{edge.type}' a {target}", field="edge", value=edge.source)


def _check_frame(claims: Claims) -> None:
    if len(claims.nodes) > MAXIMUM_NODES or len(claims.edges) > MAXIMUM_EDGES:
        raise InputError(
            f"One document brings at most {MAXIMUM_NODES} nodes and {MAXIMUM_EDGES} edges",
            field="nodes",
            value=len(claims.nodes),
            mend="split it",
        )
    if not 0 <= claims.classification <= MAXIMUM_CLASSIFICATION:
        raise InputError("A classification is 0 to 3", field="classification", value=claims.classification)
    if claims.valid_from is not None:
        as_utc(claims.valid_from, field="valid_from")
    if claims.valid_to is not None:
        end = as_utc(claims.valid_to, field="valid_to")
        if claims.valid_from is not None and end <= claims.valid_from:
            raise InputError("The validity ends before it begins", field="valid_to", value=end.isoformat())
