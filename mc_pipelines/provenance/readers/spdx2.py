"""SPDX 2.2 and 2.3 in JSON.

The document is a manifest that uses what it describes. Relations become ``uses`` in the direction in which the
specification (SPDX 2.3, clause 11.1) means them: ``A DEPENDS_ON B`` and ``B DEPENDENCY_OF A`` are one edge. What no
relation reaches from what is described is contained in the document. Licences, people and snippets are not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.collector import Collector
from mc_pipelines.provenance.readers.containment import Containment
from mc_pipelines.provenance.readers.parsing import decode

VERSIONS = frozenset({"SPDX-2.2", "SPDX-2.3"})
DOCUMENT = "SPDXRef-DOCUMENT"
FORWARD = frozenset(
    {
        "CONTAINS",
        "DEPENDS_ON",
        "DESCENDANT_OF",
        "DESCRIBES",
        "DISTRIBUTION_ARTIFACT",
        "DYNAMIC_LINK",
        "EXPANDED_FROM_ARCHIVE",
        "FILE_MODIFIED",
        "GENERATED_FROM",
        "HAS_PREREQUISITE",
        "STATIC_LINK",
    }
)
"""``A RELATION B`` says that A uses B."""
REVERSED = frozenset(
    {
        "ANCESTOR_OF",
        "BUILD_DEPENDENCY_OF",
        "BUILD_TOOL_OF",
        "CONTAINED_BY",
        "DATA_FILE_OF",
        "DEPENDENCY_MANIFEST_OF",
        "DEPENDENCY_OF",
        "DESCRIBED_BY",
        "DEV_DEPENDENCY_OF",
        "DEV_TOOL_OF",
        "DOCUMENTATION_OF",
        "EXAMPLE_OF",
        "FILE_ADDED",
        "GENERATES",
        "METAFILE_OF",
        "OPTIONAL_COMPONENT_OF",
        "OPTIONAL_DEPENDENCY_OF",
        "PACKAGE_OF",
        "PATCH_APPLIED",
        "PREREQUISITE_FOR",
        "PROVIDED_DEPENDENCY_OF",
        "RUNTIME_DEPENDENCY_OF",
        "TEST_CASE_OF",
        "TEST_DEPENDENCY_OF",
        "TEST_OF",
        "TEST_TOOL_OF",
    }
)
"""``A RELATION B`` says that B uses A."""
_NOTHING = frozenset({"NONE", "NOASSERTION"})
_ALGORITHMS = {
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-512": "sha3_512",
    "BLAKE2b-256": "blake2b_256",
    "BLAKE2b-512": "blake2b_512",
    "BLAKE3": "blake3",
}
_RELEASES = frozenset({"APPLICATION", "CONTAINER", "FIRMWARE", "OPERATING-SYSTEM", "OPERATING_SYSTEM"})


class _Checksum(msgspec.Struct, rename="camel", gc=False):
    algorithm: str = ""
    checksum_value: str = ""


class _ExternalRef(msgspec.Struct, rename="camel", gc=False):
    reference_type: str = ""
    reference_locator: str = ""


class _Package(msgspec.Struct, rename="camel"):
    spdx_id: str = msgspec.field(name="SPDXID")
    name: str | None = None
    package_name: str | None = None
    version_info: str | None = None
    primary_package_purpose: str | None = None
    checksums: list[_Checksum] | None = None
    external_refs: list[_ExternalRef] | None = None
    has_files: list[str] | None = None


class _File(msgspec.Struct, rename="camel"):
    spdx_id: str = msgspec.field(name="SPDXID")
    file_name: str | None = None
    checksums: list[_Checksum] | None = None


class _Relationship(msgspec.Struct, rename="camel", gc=False):
    spdx_element_id: str
    relationship_type: str
    related_spdx_element: str


class _CreationInfo(msgspec.Struct):
    created: str | None = None


class _Document(msgspec.Struct, rename="camel"):
    spdx_version: str
    spdx_id: str = msgspec.field(default=DOCUMENT, name="SPDXID")
    name: str | None = None
    document_namespace: str | None = None
    creation_info: _CreationInfo | None = None
    document_describes: list[str] | None = None
    packages: list[_Package] | None = None
    files: list[_File] | None = None
    relationships: list[_Relationship] | None = None


def read_spdx2(content: bytes | msgspec.Raw, collector: Collector, manifest: NodeId) -> None:
    """Read an SPDX 2 document into ``collector`` as manifest ``manifest``.

    Raises:
        InputError: the document is malformed or of another version.
    """
    document = decode(content, _Document, what="SPDX document")
    if document.spdx_version not in VERSIONS:
        raise InputError(
            "This version of SPDX is not read",
            field="spdxVersion",
            value=document.spdx_version,
            mend="use SPDX-2.2, SPDX-2.3 or 3.0 in JSON",
        )
    collector.format = document.spdx_version.lower()
    collector.series = document.document_namespace
    _Reader(document, collector, manifest).read()


class _Reader:
    """One document on its way into a collector."""

    def __init__(self, document: _Document, collector: Collector, manifest: NodeId) -> None:
        self._document = document
        self._collector = collector
        self._manifest = manifest
        self._below = Containment(collector)
        self._by_id: dict[str, NodeId] = {document.spdx_id: manifest, DOCUMENT: manifest}

    def read(self) -> None:
        document, collector = self._document, self._collector
        created = None if document.creation_info is None else document.creation_info.created
        collector.valid_from = collector.moment(created, what="time of creation")
        attributes: dict[str, Any] = {"format": collector.format}
        if document.document_namespace:
            attributes["documentNamespace"] = document.document_namespace
        collector.node(self._manifest, Kind.MANIFEST, document.name or "bill of materials", attributes=attributes)
        described = self._described()
        for package in document.packages or ():
            self._package(package, released=package.spdx_id in described)
        for file in document.files or ():
            self._place(file.spdx_id, self._content(file.checksums), None, file.file_name, {"type": "file"})
        for reference in document.document_describes or ():
            self._relate(DOCUMENT, "DESCRIBES", reference)
        for package in document.packages or ():
            for reference in package.has_files or ():
                self._relate(package.spdx_id, "CONTAINS", reference)
        for one in document.relationships or ():
            self._relate(one.spdx_element_id, one.relationship_type, one.related_spdx_element)
        self._below.contain(self._manifest)

    def _described(self) -> set[str]:
        found = set(self._document.document_describes or ())
        for one in self._document.relationships or ():
            if one.relationship_type == "DESCRIBES":
                found.add(one.related_spdx_element)
            elif one.relationship_type == "DESCRIBED_BY":
                found.add(one.spdx_element_id)
        return found

    def _package(self, package: _Package, *, released: bool) -> None:
        purls = [
            found
            for one in package.external_refs or ()
            if one.reference_type == "purl" and (found := self._collector.package(one.reference_locator))
        ]
        name = package.name or package.package_name or package.spdx_id
        label = f"{name}@{package.version_info}" if package.version_info else name
        attributes = {}
        purpose = (package.primary_package_purpose or "").upper()
        if purpose and purpose != "LIBRARY":
            attributes["type"] = purpose.lower()
        kind = Kind.BUNDLE if released and purpose in _RELEASES else Kind.PACKAGE
        self._place(package.spdx_id, self._content(package.checksums), purls, label, attributes, kind)

    def _content(self, checksums: list[_Checksum] | None) -> NodeId | None:
        if not checksums:
            return None
        return self._collector.strong_artifact(
            {_ALGORITHMS[one.algorithm]: one.checksum_value for one in checksums if one.algorithm in _ALGORITHMS}
        )

    def _place(
        self,
        reference: str,
        content: NodeId | None,
        purls: list[NodeId] | None,
        label: str | None,
        attributes: dict[str, Any],
        kind: Kind = Kind.PACKAGE,
    ) -> None:
        """Name an element by digest, else by its first purl, else inside the document; further purls are aliases."""
        names = [*([content] if content else ()), *(purls or ())]
        node = names[0] if names else self._collector.local(reference)
        self._collector.node(node, kind, label, attributes=attributes)
        for other in names[1:]:
            self._collector.alias(node, other)
        self._below.listed.append(node)
        known = self._by_id.setdefault(reference, node)
        if known != node:
            self._collector.remark("Two elements carry the same SPDXID; the first stands.")

    def _relate(self, source: str, relation: str, target: str) -> None:
        if source in _NOTHING or target in _NOTHING:
            return
        if relation in FORWARD:
            self._uses(source, (target,))
        elif relation in REVERSED:
            self._uses(target, (source,))
        else:
            self._collector.remark(f"Relations of type {relation[:60]} are not read.")

    def _uses(self, source: str, targets: Iterable[str]) -> None:
        for target in targets:
            self._below.uses(self._resolve(source), self._resolve(target))

    def _resolve(self, reference: str) -> NodeId:
        node = self._by_id.get(reference)
        if node is None:
            what = "of another document" if reference.startswith("DocumentRef-") else "that no element carries"
            self._collector.remark(f"A relation names an SPDXID {what}; it stands as a stub.")
            node = self._collector.local(reference)
            self._collector.node(node, Kind.PACKAGE, reference, stub=True)
            self._by_id[reference] = node
        return node
