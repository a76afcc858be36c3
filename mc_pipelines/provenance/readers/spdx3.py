"""SPDX 3.0 in JSON (a JSON-LD graph in the serialisation that the specification prescribes).

The SpdxDocument is the manifest; every bill of materials in it is a manifest that it uses. Packages, files and tools
are packages; a Build is an execution, which uses its inputs, tools and host and produces its outputs. Relations become
edges in the direction in which the model means them; licences, people and vulnerabilities are not read.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId, execution_id
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.collector import Collector
from mc_pipelines.provenance.readers.containment import Containment
from mc_pipelines.provenance.readers.parsing import decode

FORWARD = frozenset(
    {
        "contains",
        "dependsOn",
        "descendantOf",
        "describes",
        "hasAddedFile",
        "hasDataFile",
        "hasDependencyManifest",
        "hasDistributionArtifact",
        "hasDocumentation",
        "hasDynamicLink",
        "hasExample",
        "hasHost",
        "hasInput",
        "hasMetadata",
        "hasOptionalComponent",
        "hasOptionalDependency",
        "hasPrerequisite",
        "hasProvidedDependency",
        "hasStaticLink",
        "hasTest",
        "hasTestCase",
        "patchedBy",
        "testedOn",
        "trainedOn",
        "usesTool",
    }
)
"""``from RELATION to`` says that ``from`` uses ``to``."""
REVERSED = frozenset({"ancestorOf", "configures", "expandsTo", "generates", "hasOutput", "packagedBy"})
"""``from RELATION to`` says that ``to`` uses ``from``; where ``from`` is a build, that it produces ``to``."""
_OUTPUTS = frozenset({"generates", "hasOutput"})
_SILENT = ("hasConcludedLicense", "hasDeclaredLicense", "availableFrom")
_CONTENT = frozenset({"software_Package", "software_File", "dataset_DatasetPackage", "ai_AIPackage", "Tool"})
_COLLECTIONS = frozenset({"software_Sbom", "Bom", "Bundle"})
_BUILD = "build_Build"
_DOCUMENT = "SpdxDocument"
_PURL_TYPES = frozenset({"packageUrl", "packageURL", "purl"})
_RELEASES = frozenset({"application", "container", "firmware", "operatingSystem"})
_NOTHING = ("NoneElement", "NoAssertionElement")
_ALGORITHMS = {
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "sha3_256": "sha3_256",
    "sha3_512": "sha3_512",
    "blake2b256": "blake2b_256",
    "blake2b512": "blake2b_512",
    "blake3": "blake3",
}


class _Hash(msgspec.Struct, rename="camel", gc=False):
    algorithm: str = ""
    hash_value: str = ""


class _Identifier(msgspec.Struct, rename="camel", gc=False):
    external_identifier_type: str = ""
    identifier: str = ""


class _Element(msgspec.Struct, rename="camel"):
    """Any element: what is read of it is told by its type."""

    type: str = ""
    spdx_id: str | None = None
    blank_id: str | None = msgspec.field(default=None, name="@id")
    name: str | None = None
    spec_version: str | None = None
    created: str | None = None
    package_version: str | None = msgspec.field(default=None, name="software_packageVersion")
    package_url: str | None = msgspec.field(default=None, name="software_packageUrl")
    purpose: str | None = msgspec.field(default=None, name="software_primaryPurpose")
    build_id: str | None = msgspec.field(default=None, name="build_buildId")
    build_type: str | None = msgspec.field(default=None, name="build_buildType")
    started: str | None = msgspec.field(default=None, name="build_buildStartTime")
    ended: str | None = msgspec.field(default=None, name="build_buildEndTime")
    verified_using: list[_Hash] | None = None
    external_identifier: list[_Identifier] | None = None
    root_element: list[str] | None = None
    element: list[str] | None = None
    relationship_type: str | None = None
    source: str | None = msgspec.field(default=None, name="from")
    to: list[str] | None = None


class _Document(msgspec.Struct):
    graph: list[_Element] = msgspec.field(name="@graph")
    context: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="@context")


def read_spdx3(content: bytes | msgspec.Raw, collector: Collector, manifest: NodeId) -> None:
    """Read an SPDX 3 document into ``collector`` as manifest ``manifest``.

    Raises:
        InputError: the document is malformed, of another version or not SPDX's.
    """
    document = decode(content, _Document, what="SPDX document")
    if not isinstance(document.context, str) or "spdx.org/rdf/3." not in document.context:
        raise InputError("Not the JSON-LD of SPDX 3", field="@context", value=str(document.context)[:200])
    versions = {one.spec_version for one in document.graph if one.type == "CreationInfo" and one.spec_version}
    if not versions or any(not one.startswith("3.0") for one in versions):
        raise InputError("This version of SPDX is not read", field="specVersion", value=sorted(versions))
    collector.format = f"spdx-{min(versions)}"
    _Reader(document.graph, collector, manifest).read()


class _Reader:
    """One document on its way into a collector."""

    def __init__(self, graph: list[_Element], collector: Collector, manifest: NodeId) -> None:
        self._graph = graph
        self._collector = collector
        self._manifest = manifest
        self._below = Containment(collector)
        self._by_id: dict[str, NodeId] = {}
        self._builds: set[str] = set()

    def read(self) -> None:
        self._frame()
        described = self._described()
        for one in self._graph:
            self._element(one, released=one.spdx_id in described)
        for one in self._graph:
            self._relations(one)
        self._below.contain(self._manifest)

    def _element(self, one: _Element, *, released: bool) -> None:
        if one.type in _CONTENT:
            self._content(one, released=released)
        elif one.type == _BUILD:
            self._build(one)
        elif one.type in _COLLECTIONS and one.spdx_id:
            node = self._collector.local(one.spdx_id)
            self._collector.node(node, Kind.MANIFEST, one.name or one.type, attributes={"type": one.type})
            self._name(one.spdx_id, node)

    def _relations(self, one: _Element) -> None:
        if one.type == _DOCUMENT or (one.type in _COLLECTIONS and one.spdx_id):
            for target in one.root_element or ():
                self._uses(self._resolve(one.spdx_id) if one.spdx_id else self._manifest, self._resolve(target))
        if one.relationship_type and one.source:
            for target in one.to or ():
                self._relate(one.source, one.relationship_type, target)

    def _frame(self) -> None:
        """Name the document; where several or none is declared, all of them are the one that was given to us."""
        collector = self._collector
        documents = [one for one in self._graph if one.type == _DOCUMENT]
        if len(documents) != 1:
            collector.remark(f"It declares {len(documents)} SpdxDocuments instead of one.")
        created = [one.created for one in self._graph if one.type == "CreationInfo" and one.created]
        collector.valid_from = collector.moment(max(created, default=None), what="time of creation")
        name = next((one.name for one in documents if one.name), None)
        attributes: dict[str, Any] = {"format": collector.format}
        for one in documents:
            if one.spdx_id:
                collector.series = collector.series or one.spdx_id
                attributes.setdefault("spdxId", one.spdx_id)
                self._by_id[one.spdx_id] = self._manifest
        collector.node(self._manifest, Kind.MANIFEST, name or "bill of materials", attributes=attributes)

    def _described(self) -> set[str]:
        found = {target for one in self._graph for target in one.root_element or ()}
        for one in self._graph:
            if one.relationship_type == "describes":
                found.update(one.to or ())
        return found

    def _content(self, one: _Element, *, released: bool) -> None:
        collector = self._collector
        texts = [one.package_url] if one.package_url else []
        texts += [
            each.identifier for each in one.external_identifier or () if each.external_identifier_type in _PURL_TYPES
        ]
        purls = [found for text in dict.fromkeys(texts) if (found := collector.package(text))]
        digests = {
            _ALGORITHMS[each.algorithm]: each.hash_value
            for each in one.verified_using or ()
            if each.algorithm in _ALGORITHMS
        }
        content = collector.strong_artifact(digests) if digests else None
        names = [*([content] if content else ()), *purls]
        reference = one.spdx_id or one.blank_id or one.name or one.type
        node = names[0] if names else collector.local(reference)
        name = one.name or reference
        attributes: dict[str, Any] = {}
        if one.type != "software_Package":
            attributes["type"] = one.type
        kind = Kind.BUNDLE if released and one.purpose in _RELEASES else Kind.PACKAGE
        label = f"{name}@{one.package_version}" if one.package_version else name
        collector.node(node, kind, label, attributes=attributes)
        for other in names[1:]:
            collector.alias(node, other)
        self._below.listed.append(node)
        self._name(reference, node)

    def _build(self, one: _Element) -> None:
        reference = one.spdx_id or one.blank_id or ""
        issuer = one.build_type or self._collector.document
        node = execution_id(issuer, one.build_id or reference or "build")
        attributes = {"buildType": one.build_type, "startedOn": one.started, "finishedOn": one.ended}
        self._collector.node(
            node, Kind.EXECUTION, one.name or one.build_id, attributes={key: v for key, v in attributes.items() if v}
        )
        self._name(reference, node)
        self._builds.add(node)

    def _name(self, reference: str, node: NodeId) -> None:
        if self._by_id.setdefault(reference, node) != node:
            self._collector.remark("Two elements carry the same spdxId; the first stands.")

    def _relate(self, source: str, relation: str, target: str) -> None:
        if target.endswith(_NOTHING) or relation in _SILENT:
            return
        if relation in FORWARD:
            self._uses(self._resolve(source), self._resolve(target))
        elif relation in REVERSED:
            maker, made = self._resolve(source), self._resolve(target)
            if relation in _OUTPUTS and maker in self._builds:
                self._collector.produces(maker, made)
            else:
                self._uses(made, maker)
        else:
            self._collector.remark(f"Relations of type {relation[:60]} are not read.")

    def _uses(self, source: NodeId, target: NodeId) -> None:
        if target in self._builds:
            self._collector.remark("A relation makes something stand on a build; a build is never used.")
            return
        self._below.uses(source, target)

    def _resolve(self, reference: str) -> NodeId:
        node = self._by_id.get(reference)
        if node is None:
            self._collector.remark("A relation names an spdxId that no element read here carries; it stands as a stub.")
            node = self._collector.local(reference)
            self._collector.node(node, Kind.PACKAGE, reference, stub=True)
            self._by_id[reference] = node
        return node
