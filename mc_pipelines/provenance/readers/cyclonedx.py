"""CycloneDX 1.2 to 1.7 in JSON.

The document is a manifest that uses its root component; ``a`` dependsOn ``b`` is ``a uses b``; a component nested in
another is used by it. What the dependency graph does not reach is used by the root (it is contained in it), because
an absent or empty ``dependencies`` means unknown, not none. A component is named by its strong digest, else by its
canonical purl, else inside the document only; purl and digest are claimed as aliases, never merged.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId, execution_id
from mc_pipelines.provenance.model import Kind, Verification, VerificationStatus
from mc_pipelines.provenance.readers.collector import Collector
from mc_pipelines.provenance.readers.containment import Containment
from mc_pipelines.provenance.readers.parsing import decode

VERSIONS = frozenset({"1.2", "1.3", "1.4", "1.5", "1.6", "1.7"})
_ALGORITHMS = {
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-512": "sha3_512",
    "BLAKE2b-256": "blake2b_256",
    "BLAKE2b-512": "blake2b_512",
    "BLAKE3": "blake3",
}
_RELEASES = frozenset({"application", "container", "firmware", "operating-system"})
_IMAGE_DIGEST = re.compile(r"(?:^|@)sha256(?::|%3A)([0-9a-f]{64})(?=$|[?#])", re.IGNORECASE)


class _Hash(msgspec.Struct, gc=False):
    alg: str = ""
    content: str = ""


class _Component(msgspec.Struct, rename={"ref": "bom-ref"}):
    type: str = ""
    ref: str | None = None
    group: str | None = None
    name: str | None = None
    version: str | None = None
    purl: str | None = None
    scope: str | None = None
    hashes: list[_Hash] | None = None
    components: list[_Component] | None = None


class _Service(msgspec.Struct, rename={"ref": "bom-ref"}):
    ref: str | None = None
    group: str | None = None
    name: str | None = None
    version: str | None = None
    services: list[_Service] | None = None


class _Dependency(msgspec.Struct, rename="camel"):
    ref: str
    depends_on: list[str] | None = None
    provides: list[str] | None = None


class _Metadata(msgspec.Struct):
    timestamp: str | None = None
    component: _Component | None = None


class _Resource(msgspec.Struct):
    ref: str | None = None


class _Flow(msgspec.Struct):
    resource: _Resource | None = None


class _Workflow(msgspec.Struct, rename={"ref": "bom-ref"}):
    ref: str | None = None
    uid: str | None = None
    name: str | None = None
    inputs: list[_Flow] | None = None
    outputs: list[_Flow] | None = None


class _Formula(msgspec.Struct):
    components: list[_Component] | None = None
    services: list[_Service] | None = None
    workflows: list[_Workflow] | None = None


class _Bom(msgspec.Struct, rename="camel"):
    bom_format: str
    spec_version: str
    serial_number: str | None = None
    version: int = 1
    metadata: _Metadata | None = None
    components: list[_Component] | None = None
    services: list[_Service] | None = None
    dependencies: list[_Dependency] | None = None
    formulation: list[_Formula] | None = None
    vulnerabilities: list[msgspec.Raw] | None = None
    signature: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def read_cyclonedx(content: bytes | msgspec.Raw, collector: Collector, manifest: NodeId) -> Kind | None:
    """Read a CycloneDX document into ``collector`` as manifest ``manifest``.

    Returns:
        The kind of the root component; None where there is no root.

    Raises:
        InputError: the document is malformed, of another format or of an unknown version.
    """
    bom = decode(content, _Bom, what="CycloneDX document")
    if bom.bom_format != "CycloneDX":
        raise InputError("Not a CycloneDX document", field="bomFormat", value=bom.bom_format)
    if bom.spec_version not in VERSIONS:
        raise InputError(
            "This version of CycloneDX is not read", field="specVersion", value=bom.spec_version, mend="use 1.2 to 1.7"
        )
    collector.format = f"cyclonedx-{bom.spec_version}"
    collector.series = bom.serial_number
    collector.version = max(0, min(bom.version, 2**31 - 1))
    if bom.signature is not msgspec.UNSET:
        collector.verification = Verification(
            status=VerificationStatus.UNCHECKED, reason="The document carries a JSF signature, which is not checked."
        )
    return _Reader(bom, collector, manifest).read()


class _Reader:
    """One document on its way into a collector."""

    def __init__(self, bom: _Bom, collector: Collector, manifest: NodeId) -> None:
        self._bom = bom
        self._collector = collector
        self._manifest = manifest
        self._by_reference: dict[str, NodeId] = {}
        self._below = Containment(collector)

    def read(self) -> Kind | None:
        """Read everything; return the kind of the root."""
        bom, collector = self._bom, self._collector
        metadata = bom.metadata or _Metadata()
        collector.valid_from = collector.moment(metadata.timestamp, what="timestamp of the document")
        attributes: dict[str, Any] = {"format": collector.format}
        if bom.serial_number:
            attributes["serialNumber"] = bom.serial_number
        if bom.vulnerabilities:
            attributes["vulnerabilities"] = len(bom.vulnerabilities)
        title = _label(metadata.component) if metadata.component is not None else None
        label = f"bill of materials of {title}" if title else "bill of materials"
        collector.node(self._manifest, Kind.MANIFEST, label, attributes=attributes)
        root = None
        if metadata.component is not None:
            release = metadata.component.type in _RELEASES
            root = self._component(metadata.component, Kind.BUNDLE if release else Kind.PACKAGE, "root")
            collector.uses(self._manifest, root)
            self._nested(metadata.component, root)
        self._components(bom.components, None)
        self._services(bom.services)
        for formula in bom.formulation or ():
            self._components(formula.components, None)
            self._services(formula.services)
        self._dependencies()
        self._workflows()
        self._below.contain(root if root is not None else self._manifest)
        return None if root is None else collector.nodes[root].kind

    def _components(self, components: list[_Component] | None, parent: NodeId | None) -> None:
        """Name components and what is nested in them, without recursion: the nesting is the document's choice."""
        waiting = [(one, parent) for one in reversed(components or [])]
        place = len(self._below.listed)
        while waiting:
            component, above = waiting.pop()
            place += 1
            node = self._component(component, Kind.PACKAGE, f"component {place}")
            self._below.listed.append(node)
            if above is not None:
                self._below.uses(above, node)
            if component.components:
                waiting.extend((one, node) for one in reversed(component.components))

    def _nested(self, component: _Component, node: NodeId) -> None:
        if component.components:
            self._components(component.components, node)

    def _component(self, component: _Component, kind: Kind, fallback: str) -> NodeId:
        collector = self._collector
        purl = collector.package(component.purl)
        content = self._content(component, purl)
        node = content or purl
        if node is None:
            title = "/".join(part for part in (component.group, component.name) if part) or fallback
            versioned = f"{title}@{component.version}" if component.version else title
            node = collector.local(component.ref or versioned)
        attributes: dict[str, Any] = {}
        if component.type and component.type != "library":
            attributes["type"] = component.type
        if content is not None and purl is not None:
            attributes["purl"] = purl
        if component.scope and component.scope != "required":
            attributes["scope"] = component.scope
        collector.node(node, kind, _label(component) or fallback, attributes=attributes)
        if content is not None and purl is not None:
            collector.alias(content, purl)
        if component.ref is not None:
            known = self._by_reference.setdefault(component.ref, node)
            if known != node:
                collector.remark("Two components carry the same bom-ref; the first stands.")
        return node

    def _content(self, component: _Component, purl: NodeId | None) -> NodeId | None:
        """Return the id by digest: of the hashes, or of an image that its purl or version names by digest."""
        if component.hashes:
            digests = {_ALGORITHMS[one.alg]: one.content for one in component.hashes if one.alg in _ALGORITHMS}
            found = self._collector.strong_artifact(digests)
            if found is not None:
                return found
        if purl is not None and purl.startswith(("pkg:oci/", "pkg:docker/")):
            image = _IMAGE_DIGEST.search(purl)
        elif component.type == "container" and component.version:
            image = _IMAGE_DIGEST.fullmatch(component.version)
        else:
            return None
        return None if image is None else self._collector.artifact({"sha256": image[1].lower()})

    def _services(self, services: list[_Service] | None) -> None:
        waiting: list[tuple[_Service, NodeId | None]] = [(one, None) for one in reversed(services or [])]
        while waiting:
            service, above = waiting.pop()
            name = service.name or service.ref or "service"
            node = self._collector.local(service.ref or f"service {'/'.join(filter(None, (service.group, name)))}")
            self._collector.node(node, Kind.PACKAGE, name, attributes={"type": "service"})
            if service.ref is not None:
                self._by_reference.setdefault(service.ref, node)
            self._below.listed.append(node)
            if above is not None:
                self._below.uses(above, node)
            waiting.extend((one, node) for one in reversed(service.services or []))

    def _dependencies(self) -> None:
        provides = 0
        for dependency in self._bom.dependencies or ():
            targets = dependency.depends_on
            provides += len(dependency.provides or ())
            if not targets:
                continue
            source = self._resolve(dependency.ref)
            for target in targets:
                self._below.uses(source, self._resolve(target))
        if provides:
            self._collector.remark("What components provide (implement) is not read as a dependency.")

    def _resolve(self, reference: str) -> NodeId:
        node = self._by_reference.get(reference)
        if node is not None:
            return node
        collector = self._collector
        collector.remark("A dependency names a bom-ref that no component carries; it stands as a stub.")
        named = collector.package(reference) if reference.startswith("pkg:") else None
        node = collector.local(reference) if named is None else named
        collector.node(node, Kind.PACKAGE, reference, stub=True)
        self._by_reference[reference] = node
        return node

    def _workflows(self) -> None:
        issuer = self._bom.serial_number or self._collector.document
        for formula in self._bom.formulation or ():
            for workflow in formula.workflows or ():
                run = workflow.uid or workflow.ref
                if not run:
                    self._collector.remark("A workflow without a uid was left out.")
                    continue
                execution = execution_id(issuer, run)
                self._collector.node(execution, Kind.EXECUTION, workflow.name or run)
                for flow in workflow.inputs or ():
                    if flow.resource is not None and flow.resource.ref:
                        self._collector.uses(execution, self._resolve(flow.resource.ref))
                for flow in workflow.outputs or ():
                    if flow.resource is not None and flow.resource.ref:
                        self._collector.produces(execution, self._resolve(flow.resource.ref))


def _label(component: _Component) -> str | None:
    name = component.name or component.purl or component.ref
    return f"{name}@{component.version}" if name and component.version else name
