"""Debian package indices: ``Packages`` files (deb822), or tables of the same fields; plain or as an xz stream.

The index is a manifest that uses every package in it, named by the SHA-256 of its archive, else by its purl; the purl
is an alias claim. A package uses what the first alternative of each group of Pre-Depends and Depends names: the
packages of that name in the same index, whatever their version, else the name as a purl without version, a stub:
it is provided virtually, or by another index. Version constraints, architectures of dependencies and further
alternatives are left to a solver.
"""

from __future__ import annotations

import lzma
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from packageurl import PackageURL

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.collector import Collector
from mc_pipelines.provenance.readers.parsing import MAXIMUM_DOCUMENT_BYTES

HEADER = b"package\tversion\tarchitecture"
_FIELDS = frozenset({"package", "version", "architecture", "pre-depends", "depends", "sha256"})
_SPACE = "debian"
_MAXIMUM_DICTIONARY = 128 * 1024 * 1024
"""Bytes that unpacking may take beside what it yields; xz -9 needs 65 MiB."""


@dataclass(frozen=True)
class _Package:
    name: str
    version: str
    architecture: str
    depends: str
    sha256: str


def unpack_xz(content: bytes) -> bytes:
    """Return what an xz stream holds.

    Raises:
        InputError: it is cut off or damaged, or larger than a document may be.
    """
    decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MAXIMUM_DICTIONARY)
    try:
        found = decompressor.decompress(content, max_length=MAXIMUM_DOCUMENT_BYTES + 1)
    except lzma.LZMAError as error:
        raise InputError(f"The xz stream is damaged: {error}", field="document") from error
    if len(found) > MAXIMUM_DOCUMENT_BYTES:
        raise InputError(f"Unpacked, a document has at most {MAXIMUM_DOCUMENT_BYTES} bytes", field="document")
    if not decompressor.eof:
        raise InputError("The xz stream is cut off", field="document")
    return found


def is_index(content: bytes) -> bool:
    """Tell whether the content is a package index of either form."""
    return content.startswith((HEADER, b"Package: "))


def read_index(content: bytes, collector: Collector) -> None:
    """Read an index, unpacked.

    Raises:
        InputError: it is not UTF-8, cut off or malformed; the line is named.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"The package index is not UTF-8: {error}", field="document") from error
    read = _table if content.startswith(HEADER) else _stanzas
    collector.format = "debian-packages"
    manifest = NodeId(collector.document)
    collector.node(manifest, Kind.MANIFEST, "package index", attributes={"format": collector.format})
    packages = list(read(text))
    named: defaultdict[str, list[NodeId]] = defaultdict(list)
    nodes = []
    for package in packages:
        node = _name(package, collector)
        collector.uses(manifest, node)
        nodes.append(node)
        if node not in named[package.name]:
            named[package.name].append(node)
    absent = _absent(collector)
    for package, node in zip(packages, nodes, strict=True):
        for name in dict.fromkeys(first_alternatives(package.depends)):
            for target in named.get(name) or (absent(name),):
                if target != node:
                    collector.uses(node, target)


def first_alternatives(depends: str) -> Iterator[str]:
    """Yield the name of the first alternative of each group of a dependency field, without version or architecture."""
    for group in depends.split(","):
        first = group.partition("|")[0]
        for end in "([<:":
            first = first.partition(end)[0]
        name = first.strip()
        if name:
            yield name


def _name(package: _Package, collector: Collector) -> NodeId:
    purl = _purl(package.name, package.version, package.architecture)
    content = collector.strong_artifact({"sha256": package.sha256}) if package.sha256 else None
    node = content or purl
    collector.node(node, Kind.PACKAGE, f"{package.name}@{package.version}", attributes={"type": "deb"})
    if content is not None:
        collector.alias(content, purl)
    return node


def _purl(name: str, version: str | None = None, architecture: str | None = None) -> NodeId:
    qualifiers = {"arch": architecture} if architecture else None
    try:
        return NodeId(PackageURL("deb", _SPACE, name, version, qualifiers).to_string())
    except ValueError as error:
        raise InputError(f"Not a package name: {error}", field="package", value=name) from error


def _absent(collector: Collector) -> Callable[[str], NodeId]:
    known: dict[str, NodeId] = {}

    def node(name: str) -> NodeId:
        if name not in known:
            known[name] = collector.node(_purl(name), Kind.PACKAGE, name, stub=True)
        return known[name]

    return node


def _table(text: str) -> Iterator[_Package]:
    """Read a table with a header; its fields are those of a stanza, in lower case with underscores."""
    lines = text.split("\n")
    header = lines[0].split("\t")
    if lines[-1]:
        raise InputError("The last line of the package table is cut off", field=f"line {len(lines)}")
    for number, line in enumerate(lines[1:-1], start=2):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise InputError(f"The table has {len(header)} columns", field=f"line {number}", value=len(cells))
        yield _package({name.replace("_", "-"): cell for name, cell in zip(header, cells, strict=True)}, number)


def _stanzas(text: str) -> Iterator[_Package]:
    """Read stanzas of deb822 (Debian Policy, section 5.1)."""
    if not text.endswith("\n"):
        raise InputError("The last stanza of the package index is cut off", field="document")
    fields: dict[str, str] = {}
    last = ""
    begin = 1
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            if fields:
                yield _package(fields, begin)
            fields, last, begin = {}, "", number + 1
        elif line[0] in " \t":
            if last in _FIELDS:
                fields[last] += " " + line.strip()
        else:
            name, colon, value = line.partition(":")
            if not colon:
                raise InputError("Not a field of a package index", field=f"line {number}", value=line[:80])
            last = name.lower()
            if last in _FIELDS:
                fields[last] = value.strip()


def _package(fields: dict[str, str], line: int) -> _Package:
    name, version = fields.get("package", ""), fields.get("version", "")
    if not name or not version:
        raise InputError("A package has a name and a version", field=f"line {line}", value=name or None)
    needs: Iterable[str] = (fields.get("pre-depends", ""), fields.get("depends", ""))
    return _Package(
        name, version, fields.get("architecture", ""), ", ".join(one for one in needs if one), fields.get("sha256", "")
    )
