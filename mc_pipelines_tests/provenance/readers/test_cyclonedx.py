from __future__ import annotations

from typing import Any

import pytest

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import Claims, EdgeType, Kind
from mc_pipelines.provenance.readers import read_document
from mc_pipelines_tests.provenance.readers.documents import A, bom, dump


def edges(claims: Claims) -> set[tuple[str, str]]:
    assert {edge.type for edge in claims.edges} <= {EdgeType.USES}
    return {(edge.source, edge.target) for edge in claims.edges}


def read(document: dict[str, Any]) -> Claims:
    return read_document(dump(document), "sbom.json")


def test_manifest_root_dependencies() -> None:
    content = dump(bom())
    claims = read_document(content, "sbom.json")
    manifest, root = sha256_digest(content), next(one.id for one in claims.nodes if one.kind is Kind.BUNDLE)
    assert edges(claims) == {(manifest, root), (root, "pkg:pypi/a@1"), ("pkg:pypi/a@1", "pkg:pypi/b@1")}
    assert (claims.series, claims.version, claims.format) == ("urn:uuid:1", 2, "cyclonedx-1.6")
    assert claims.valid_from is not None
    assert claims.remarks == ()


@pytest.mark.parametrize("version", ["1.2", "1.3", "1.4", "1.5", "1.6", "1.7"])
def test_every_version(version: str) -> None:
    assert read(bom(specVersion=version)).format == f"cyclonedx-{version}"


def test_what_no_dependency_reaches_is_contained_in_the_root() -> None:
    claims = read(bom(dependencies=[]))
    root = next(one.id for one in claims.nodes if one.kind is Kind.BUNDLE)
    assert {(root, "pkg:pypi/a@1"), (root, "pkg:pypi/b@1")} <= edges(claims)


def test_an_unreached_cycle_is_entered_once_and_everything_is_reachable() -> None:
    claims = read(bom(dependencies=[{"ref": "a", "dependsOn": ["b"]}, {"ref": "b", "dependsOn": ["a"]}]))
    root = next(one.id for one in claims.nodes if one.kind is Kind.BUNDLE)
    assert (root, "pkg:pypi/a@1") in edges(claims)
    assert (root, "pkg:pypi/b@1") not in edges(claims)


def test_nested_components_are_used_by_their_parent_and_may_be_deep() -> None:
    inner: dict[str, Any] = {"type": "library", "name": "n0", "purl": "pkg:pypi/n0@1"}
    for depth in range(1, 200):
        inner = {"type": "library", "name": f"n{depth}", "purl": f"pkg:pypi/n{depth}@1", "components": [inner]}
    claims = read(bom(components=[inner], dependencies=[]))
    assert ("pkg:pypi/n1@1", "pkg:pypi/n0@1") in edges(claims)
    assert len(claims.edges) == 1 + 200


def test_without_root_the_manifest_lists() -> None:
    content = dump(bom(metadata={}, dependencies=[{"ref": "a", "dependsOn": ["b"]}]))
    claims = read_document(content, "x")
    assert edges(claims) == {(sha256_digest(content), "pkg:pypi/a@1"), ("pkg:pypi/a@1", "pkg:pypi/b@1")}


def test_strong_digest_names_and_the_purl_is_an_alias_claim() -> None:
    hashes = [{"alg": "MD5", "content": "0" * 32}, {"alg": "SHA-256", "content": A.upper()}]
    component = {"type": "library", "bom-ref": "a", "name": "a", "purl": "pkg:pypi/a@1", "hashes": hashes}
    claims = read(bom(components=[component], dependencies=[]))
    assert [(one.first, one.second) for one in claims.aliases] == [(f"sha256:{A}", "pkg:pypi/a@1")]
    assert next(one for one in claims.nodes if one.id == "pkg:pypi/a@1").stub


def test_weak_digests_name_nothing() -> None:
    component = {
        "type": "library",
        "name": "a",
        "purl": "pkg:pypi/a@1",
        "hashes": [{"alg": "SHA-1", "content": "0" * 40}],
    }
    assert "pkg:pypi/a@1" in {one.id for one in read(bom(components=[component], dependencies=[])).nodes}


def test_image_digest_in_the_purl_names_the_image() -> None:
    root = {"type": "container", "name": "image", "purl": f"pkg:oci/image@sha256%3A{A}?arch=amd64"}
    claims = read(bom(metadata={"component": root}, dependencies=[]))
    assert next(one for one in claims.nodes if one.kind is Kind.BUNDLE and not one.stub).id == f"sha256:{A}"


def test_canonical_purls_meet() -> None:
    components = [
        {"type": "library", "bom-ref": "1", "name": "a", "purl": "pkg:deb/debian/a@1+b?b=2&a=1"},
        {"type": "library", "bom-ref": "2", "name": "a", "purl": "pkg:deb/debian/a@1%2Bb?a=1&b=2"},
    ]
    assert len({n.id for n in read(bom(components=components, dependencies=[])).nodes if n.id.startswith("pkg:")}) == 1


def test_dangling_reference_is_a_stub_with_a_remark() -> None:
    claims = read(bom(dependencies=[{"ref": "root", "dependsOn": ["nowhere", "pkg:pypi/elsewhere@2"]}]))
    assert {one.id for one in claims.nodes if one.stub} >= {"pkg:pypi/elsewhere@2"}
    assert sum(one.stub for one in claims.nodes) == 2
    assert any("stub" in sentence and "(2 times)" in sentence for sentence in claims.remarks)


def test_bom_ref_local_to_its_document() -> None:
    one = read(bom(components=[{"type": "library", "bom-ref": "x", "name": "x"}], dependencies=[]))
    other = read(bom(components=[{"type": "library", "bom-ref": "x", "name": "x"}], dependencies=[], version=3))
    assert {n.id for n in one.nodes if n.label == "x"}.isdisjoint({n.id for n in other.nodes if n.label == "x"})


def test_services_and_workflows() -> None:
    document = bom(
        specVersion="1.5",
        services=[{"bom-ref": "s", "name": "svc", "services": [{"bom-ref": "t", "name": "inner"}]}],
        formulation=[
            {
                "workflows": [
                    {
                        "bom-ref": "w",
                        "uid": "w-1",
                        "inputs": [{"resource": {"ref": "a"}}],
                        "outputs": [{"resource": {"ref": "b"}}],
                    }
                ]
            }
        ],
    )
    claims = read(document)
    execution = next(one.id for one in claims.nodes if one.kind is Kind.EXECUTION)
    found = {(one.source, one.type.value, one.target) for one in claims.edges}
    assert (execution, "uses", "pkg:pypi/a@1") in found
    assert (execution, "produces", "pkg:pypi/b@1") in found
    assert {"svc", "inner"} <= {one.label for one in claims.nodes}


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"bomFormat": "CDX"}, "bomFormat"),
        ({"specVersion": "1.1"}, "specVersion"),
        ({"specVersion": "9"}, "specVersion"),
    ],
)
def test_other_formats_and_versions_are_refused_by_name(over: dict[str, str], field: str) -> None:
    with pytest.raises(InputError) as caught:
        read(bom(**over))
    assert caught.value.field == field


def test_wrong_shape_names_the_place() -> None:
    with pytest.raises(InputError, match=r"components\[0\]|components\[\.\.\.\]"):
        read(bom(components=[{"name": 3}]))


def test_zoneless_time_is_ignored_with_a_remark() -> None:
    claims = read(bom(metadata={"timestamp": "2026-01-19T17:00:00"}))
    assert claims.valid_from is None
    assert any("time zone" in sentence for sentence in claims.remarks)
