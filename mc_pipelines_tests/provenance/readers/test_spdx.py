from __future__ import annotations

from typing import Any

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import Claims, Kind
from mc_pipelines.provenance.readers import read_document, spdx2, spdx3
from mc_pipelines_tests.provenance.readers.documents import A, dump

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"


def spdx_2(**over: Any) -> dict[str, Any]:
    return {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "sbom",
        "documentNamespace": "https://example.org/sbom/1",
        "creationInfo": {"created": "2026-01-19T17:00:00.123456789Z"},
        "documentDescribes": ["SPDXRef-a"],
        "packages": [
            {"SPDXID": "SPDXRef-a", "name": "a", "versionInfo": "1", "primaryPackagePurpose": "APPLICATION"},
            {"SPDXID": "SPDXRef-b", "name": "b"},
        ],
    } | over


def spdx_3(*elements: dict[str, Any], version: str = "3.0.1", context: str = CONTEXT) -> dict[str, Any]:
    frame = [
        {"type": "CreationInfo", "@id": "_:c", "specVersion": version, "created": "2026-01-19T17:00:00Z"},
        {"type": "SpdxDocument", "spdxId": "urn:doc", "name": "sbom", "rootElement": ["urn:a"]},
        {"type": "software_Package", "spdxId": "urn:a", "name": "a", "software_primaryPurpose": "container"},
        {"type": "software_File", "spdxId": "urn:b", "name": "b"},
    ]
    return {"@context": context, "@graph": [*frame, *elements]}


def read(document: dict[str, Any]) -> Claims:
    return read_document(dump(document), "sbom.json")


def edges(claims: Claims) -> set[tuple[str, str, str]]:
    labels: dict[str, str] = {node.id: (node.label or node.id) for node in claims.nodes}
    labels[claims.document] = "doc"
    return {(labels[one.source], one.type.value, labels[one.target]) for one in claims.edges}


def relation(type_: str, source: str = "SPDXRef-a", target: str = "SPDXRef-b") -> dict[str, str]:
    return {"spdxElementId": source, "relationshipType": type_, "relatedSpdxElement": target}


@pytest.mark.parametrize("type_", sorted(spdx2.FORWARD | spdx2.REVERSED))
def test_every_relation_of_version_2_has_one_direction(type_: str) -> None:
    found = edges(read(spdx_2(relationships=[relation(type_)])))
    pair = ("a@1", "uses", "b") if type_ in spdx2.FORWARD else ("b", "uses", "a@1")
    assert pair in found
    assert (pair[2], "uses", pair[0]) not in found


def test_the_two_ways_to_say_one_thing_are_one_edge() -> None:
    one = read(spdx_2(relationships=[relation("DEPENDS_ON")]))
    other = read(spdx_2(relationships=[relation("DEPENDENCY_OF", "SPDXRef-b", "SPDXRef-a")]))
    assert edges(one) == edges(other) == {("doc", "uses", "a@1"), ("a@1", "uses", "b")}


def test_what_no_relation_reaches_is_contained_in_the_document() -> None:
    assert edges(read(spdx_2())) == {("doc", "uses", "a@1"), ("doc", "uses", "b")}


def test_digest_then_purl_then_the_document_only() -> None:
    reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:PyPI/X@1"}
    checksums = [{"algorithm": "SHA1", "checksumValue": "0" * 40}, {"algorithm": "SHA256", "checksumValue": A}]
    packages = [
        {"SPDXID": "SPDXRef-a", "name": "a", "checksums": checksums, "externalRefs": [reference]},
        {"SPDXID": "SPDXRef-b", "name": "b", "externalRefs": [reference]},
        {"SPDXID": "SPDXRef-c", "name": "c", "checksums": checksums[:1]},
    ]
    claims = read(spdx_2(packages=packages))
    found = {node.label: node.id for node in claims.nodes if node.label in "abc"}
    assert found["a"] == f"sha256:{A}"
    assert found["b"] == "pkg:pypi/x@1"
    assert found["c"].startswith("local:")
    assert [(one.first, one.second) for one in claims.aliases] == [(f"sha256:{A}", "pkg:pypi/x@1")]


def test_a_described_application_is_a_bundle_and_fractions_of_seconds_are_cut() -> None:
    claims = read(spdx_2())
    assert {node.label: node.kind for node in claims.nodes}["a@1"] is Kind.BUNDLE
    assert claims.valid_from is not None
    assert claims.valid_from.microsecond == 123456
    assert claims.series == "https://example.org/sbom/1"


@pytest.mark.parametrize("target", ["NONE", "NOASSERTION"])
def test_nothing_asserted_is_no_edge(target: str) -> None:
    claims = read(spdx_2(relationships=[relation("DEPENDS_ON", target=target)]))
    assert len(claims.nodes) == 3
    assert claims.remarks == ()


def test_dangling_and_foreign_references_are_stubs_with_a_remark() -> None:
    there = [relation("DEPENDS_ON", target="SPDXRef-gone"), relation("DEPENDS_ON", target="DocumentRef-x:SPDXRef-y")]
    claims = read(spdx_2(relationships=there))
    assert sum(node.stub for node in claims.nodes) == 2
    assert len(claims.remarks) == 2


def test_unknown_relations_and_doubled_ids_are_remarked() -> None:
    packages = [{"SPDXID": "SPDXRef-a", "name": "a"}, {"SPDXID": "SPDXRef-a", "name": "b", "versionInfo": "2"}]
    packages[1]["externalRefs"] = [{"referenceType": "purl", "referenceLocator": "pkg:pypi/b@2"}]  # type: ignore[assignment]
    claims = read(spdx_2(packages=packages, relationships=[relation("COPY_OF")]))
    assert any("COPY_OF" in one for one in claims.remarks)
    assert any("same SPDXID" in one for one in claims.remarks)


@pytest.mark.parametrize("version", ["SPDX-2.1", "SPDX-9", ""])
def test_other_versions_are_refused_by_name(version: str) -> None:
    with pytest.raises(InputError) as caught:
        read(spdx_2(spdxVersion=version))
    assert caught.value.field == "spdxVersion"
    with pytest.raises(InputError) as caught:
        read(spdx_3(version="4.0"))
    assert caught.value.field == "specVersion"
    with pytest.raises(InputError) as caught:
        read(spdx_3(context="https://example.org/context"))
    assert caught.value.field == "@context"


def test_tag_value_is_refused_with_a_mend() -> None:
    with pytest.raises(InputError, match="tag-value"):
        read_document(b"SPDXVersion: SPDX-2.3\nSPDXID: SPDXRef-DOCUMENT\n", "sbom.spdx")


def stands(type_: str, source: str, *targets: str) -> dict[str, Any]:
    return {"type": "Relationship", "relationshipType": type_, "from": source, "to": list(targets)}


@pytest.mark.parametrize("type_", sorted(spdx3.FORWARD | spdx3.REVERSED))
def test_every_relation_of_version_3_has_one_direction(type_: str) -> None:
    found = edges(read(spdx_3(stands(type_, "urn:a", "urn:b"))))
    pair = ("a", "uses", "b") if type_ in spdx3.FORWARD else ("b", "uses", "a")
    assert pair in found
    assert (pair[2], "uses", pair[0]) not in found


def test_a_build_is_an_execution() -> None:
    build = {"type": "build_Build", "spdxId": "urn:build", "build_buildType": "https://b", "build_buildId": "7"}
    claims = read(
        spdx_3(
            build,
            stands("hasInput", "urn:build", "urn:b"),
            stands("hasOutput", "urn:build", "urn:a"),
            stands("dependsOn", "urn:a", "urn:build"),
        )
    )
    found = {(one.source, one.type.value, one.target) for one in claims.edges}
    nodes = {node.label: node.id for node in claims.nodes}
    assert ("run:https://b/7", "uses", nodes["b"]) in found
    assert {type_ for source, type_, target in found if target == nodes["a"]} == {"produces", "uses"}
    assert any("build is never used" in one for one in claims.remarks)


def test_packages_of_version_3_by_digest_purl_and_bill_of_materials() -> None:
    content = {"type": "Hash", "algorithm": "sha256", "hashValue": A}
    package = {"type": "software_Package", "spdxId": "urn:p", "name": "p", "verifiedUsing": [content]}
    package["externalIdentifier"] = [{"externalIdentifierType": "packageUrl", "identifier": "pkg:npm/p@1"}]
    sbom = {"type": "software_Sbom", "spdxId": "urn:s", "name": "s", "rootElement": ["urn:p"]}
    claims = read(spdx_3(package, sbom, stands("describes", "urn:doc", "urn:s")))
    assert {("doc", "uses", "s"), ("s", "uses", "p"), ("doc", "uses", "a")} <= edges(claims)
    assert [(one.first, one.second) for one in claims.aliases] == [(f"sha256:{A}", "pkg:npm/p@1")]
    assert {node.label: node.kind for node in claims.nodes}["a"] is Kind.BUNDLE
