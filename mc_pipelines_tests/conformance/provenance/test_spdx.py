"""Real SPDX documents of versions 2 and 3, reconciled with counts that an independent script made."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from packageurl import PackageURL

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import Claims, EdgeType, Kind
from mc_pipelines.provenance.readers import read_document

# Which way each relation of the corpus points, by the specification: +1, `A uses B`; -1, `B uses A`; 0, none.
SENSE = {
    "CONTAINED_BY": -1,
    "CONTAINS": 1,
    "DEPENDENCY_OF": -1,
    "DEPENDS_ON": 1,
    "DESCENDANT_OF": 1,
    "DESCRIBES": 1,
    "GENERATED_FROM": 1,
    "GENERATES": -1,
    "METAFILE_OF": -1,
    "BUILD_TOOL_OF": -1,
    "STATIC_LINK": 1,
    "TEST_DEPENDENCY_OF": -1,
    "availableFrom": 0,
    "contains": 1,
    "dependsOn": 1,
    "describes": 1,
    "generates": -1,
    "hasConcludedLicense": 0,
    "hasDeclaredLicense": 0,
    "hasDistributionArtifact": 1,
    "hasDynamicLink": 1,
    "hasMetadata": 1,
    "hasStaticLink": 1,
    "usesTool": 1,
}
CONTENT = {"software_Package", "software_File", "dataset_DatasetPackage", "ai_AIPackage", "Tool"}


def title(element: dict[str, Any], manifest: str) -> str:
    """What our label begins with; the document itself is known by its digest."""
    if element.get("type") == "SpdxDocument":
        return manifest
    name = element.get("name") or element.get("packageName") or element.get("fileName")
    return str(name or element.get("type") or element.get("SPDXID"))


def labelled_edges(claims: Claims) -> set[tuple[str, str]]:
    """Edges by the labels of their ends, without versions."""
    labels = {node.id: (node.label or node.id) for node in claims.nodes}
    labels[claims.document] = claims.document  # type: ignore[index]
    return {(labels[edge.source], labels[edge.target]) for edge in claims.edges}


def check_relations(claims: Claims, titles: dict[str, set[str]], triples: list[tuple[str, str, str]]) -> None:
    edges = labelled_edges(claims)
    for source, relation, target in triples:
        sense = SENSE[relation]
        if not sense or source not in titles or target not in titles:
            continue
        first, second = (source, target) if sense > 0 else (target, source)
        assert any((a, b) in edges for a in titles[first] for b in titles[second]), (claims.name, relation)
        if not any((b, a) in edges for a in titles[first] for b in titles[second]):
            continue
        assert any(  # a pair that stands both ways says so itself
            {other_source, other_target} == {source, target} and (other_source, other) != (source, relation)
            for other_source, other, other_target in triples
        )


def reached_from(claims: Claims) -> set[str]:
    follow: dict[str, list[str]] = {}
    for edge in claims.edges:
        assert edge.type is EdgeType.USES
        follow.setdefault(edge.source, []).append(edge.target)
    reached, waiting = {str(claims.document)}, [str(claims.document)]
    while waiting:
        for target in follow.get(waiting.pop(), ()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def canonical(purl: str) -> str | None:
    try:
        return PackageURL.from_string(purl).to_string()
    except ValueError:
        return None


def named(package: dict[str, Any], version: str) -> set[str]:
    name = title(package, "")
    return {name, f"{name}@{package[version]}"} if package.get(version) else {name}


def test_spdx(provenance: Path, expected: dict[str, Any]) -> None:
    documents = {str(one.relative_to(provenance)): one for one in (provenance / "spdx").glob("*.json")}
    assert documents.keys() == expected["spdx"].keys()
    for name, path in documents.items():
        fact, content = expected["spdx"][name], path.read_bytes()
        if not str(fact["spdx"]).startswith("SPDX-2") and fact["spdx"] != 3:
            with pytest.raises(InputError, match="spdxVersion"):
                read_document(content, name)
            continue
        claims = read_document(content, name)
        check = check_spdx3 if fact["spdx"] == 3 else check_spdx2
        check(claims, json.loads(content), fact)
        assert {node.id for node in claims.nodes if not node.stub} <= reached_from(claims), name


def check_spdx2(claims: Claims, document: dict[str, Any], fact: dict[str, Any]) -> None:
    packages, files = document.get("packages", []), document.get("files", [])
    relations = document.get("relationships", [])
    assert claims.format == fact["spdx"].lower()
    assert (len(packages), len(files), len(relations)) == (fact["packages"], fact["files"], fact["relationships"])
    assert Counter(one["relationshipType"] for one in relations) == fact["by_type"]
    described = [node for node in claims.nodes if not node.stub]
    assert len(described) == 1 + fact["packages"] + fact["files"], claims.name
    purls = [
        one["referenceLocator"]
        for each in packages
        for one in each.get("externalRefs", [])
        if one["referenceType"] == "purl"
    ]
    assert len(set(purls)) >= fact["purls_distinct_canonical"] - purls.count("")
    good = {found for purl in purls if (found := canonical(purl))}
    assert {node.id for node in claims.nodes if node.id.startswith("pkg:")} == good
    malformed = sum(canonical(purl) is None for purl in purls)
    assert len(good) + malformed == fact["purls_distinct_canonical"]
    assert any("malformed package URL" in one for one in claims.remarks) == bool(malformed)
    titles = {one["SPDXID"]: named(one, "versionInfo") for one in (*packages, *files)}
    titles["SPDXRef-DOCUMENT"] = {claims.document}
    triples = (
        [
            (one["spdxElementId"], one["relationshipType"], one["relatedSpdxElement"])
            for one in document["relationships"]
        ]
        if relations
        else []
    )
    triples += [("SPDXRef-DOCUMENT", "DESCRIBES", one) for one in document.get("documentDescribes", [])]
    check_relations(claims, titles, triples)


def check_spdx3(claims: Claims, document: dict[str, Any], fact: dict[str, Any]) -> None:
    graph = document["@graph"]
    assert len(graph) == fact["elements"]
    assert Counter(one["type"] for one in graph) == fact["by_type"]
    triples = [
        (one["from"], one["relationshipType"], to) for one in graph if "relationshipType" in one for to in one["to"]
    ]
    assert Counter(relation for _, relation, _ in triples) == fact["relationship_targets_by_type"]
    content = [one for one in graph if one["type"] in CONTENT]
    manifests = [one for one in graph if one["type"] == "software_Sbom"]
    described = [node for node in claims.nodes if not node.stub]
    # Two packages of one digest or purl are one node; nothing else may be.
    same = len(content) - len({json.dumps(identity(one)) for one in content})
    assert len(described) == 1 + len(content) - same + len(manifests), claims.name
    assert sum(node.kind is Kind.MANIFEST for node in claims.nodes) == 1 + len(manifests)
    titles = {
        one["spdxId"]: named(one, "software_packageVersion")
        | ({claims.document} if one["type"] == "SpdxDocument" else set())
        for one in (*content, *manifests, *(each for each in graph if each["type"] == "SpdxDocument"))
    }
    check_relations(claims, titles, triples)


def identity(element: dict[str, Any]) -> Any:
    hashes = {one["algorithm"]: one["hashValue"] for one in element.get("verifiedUsing", []) if "algorithm" in one}
    for algorithm in ("sha256", "sha512", "sha384"):
        if algorithm in hashes:
            return [algorithm, hashes[algorithm]]
    return element.get("software_packageUrl") or element["spdxId"]
