"""Real documents, read and reconciled with counts that an independent script made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import Claims, EdgeType, Kind
from mc_pipelines.provenance.readers import read_document, read_parts


def components_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    root = document.get("metadata", {}).get("component")
    waiting = ([root] if root else []) + list(document.get("components", []))
    found = []
    while waiting:
        one = waiting.pop(0)
        found.append(one)
        waiting[:0] = one.get("components", [])
    return found


def title_of(component: dict[str, Any]) -> str:
    return str(component["name"])


def title_of_label(label: str | None) -> str:
    """A label without its version: one content may be listed twice, with and without."""
    assert label
    name, at, _ = label.rpartition("@")
    return name if at and name else label


def depends_on(path: Path) -> set[tuple[str, str]]:
    dependencies = json.loads(path.read_bytes()).get("dependencies", [])
    return {(one["ref"], target) for one in dependencies for target in one.get("dependsOn") or []}


def purls_of(claims: Claims) -> set[str]:
    """All package URLs that the claims name, as node or as alias."""
    return {node.id for node in claims.nodes if node.id.startswith("pkg:")}


def test_cyclonedx(provenance: Path, expected: dict[str, Any]) -> None:
    documents = {str(one.relative_to(provenance)): one for one in (provenance / "cyclonedx").glob("*.json")}
    assert documents.keys() == expected["cyclonedx"].keys()
    for name, path in documents.items():
        fact = expected["cyclonedx"][name]
        if "error" in fact:
            with pytest.raises(InputError, match="bomFormat"):
                read_document(path.read_bytes(), name)
            continue
        claims = read_document(path.read_bytes(), name)
        components = components_of(json.loads(path.read_bytes()))
        assert claims.format == f"cyclonedx-{fact['specVersion']}"
        assert len(components) == fact["components_incl_nested_and_root"]
        assert len(purls_of(claims)) == fact["purls_distinct_canonical"], name
        # Everything is reachable from the document, whatever its dependency graph leaves out.
        follow: dict[str, list[str]] = {}
        for edge in claims.edges:
            assert edge.type is EdgeType.USES
            follow.setdefault(edge.source, []).append(edge.target)
        reached, waiting = {claims.document}, [str(claims.document)]
        while waiting:
            for target in follow.get(waiting.pop(), ()):
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
        described = {node.id for node in claims.nodes if not node.stub}
        assert described <= reached, name
        assert fact["edges_with_undeclared_endpoint"] == sum("bom-ref" in one for one in claims.remarks)
        labels = {node.id: title_of_label(node.label) for node in claims.nodes if not node.stub}
        edges = {(labels[edge.source], labels[edge.target]) for edge in claims.edges}
        depends = depends_on(path)
        assert len(depends) == fact["depends_on_edges_distinct"]
        titles = {one["bom-ref"]: title_of(one) for one in reversed(components) if "bom-ref" in one}
        assert {(titles[source], titles[target]) for source, target in depends} <= edges, name
        # What is claimed beyond that is containment: below the document, its root, or a component that nests another.
        roots = {labels[claims.document]} | {title_of(one) for one in components[:1]}
        nesting = {title_of(one) for one in components if one.get("components")}
        beyond = edges - {(titles[source], titles[target]) for source, target in depends}
        assert {source for source, _ in beyond} <= roots | nesting, name


def test_attestations(provenance: Path, expected: dict[str, Any]) -> None:
    for name, facts in expected["attestations"].items():
        path = provenance / name
        content = path.read_bytes()
        if name.endswith("intoto-spec-examples-a.jsonl"):  # statements lie inside a wrapper of the collection's own
            lines = [json.dumps(json.loads(line)["statement"]) for line in content.splitlines()]
            content = "\n".join(lines).encode()
        if any(fact.get("kind") != "no envelope" and fact.get("type") is None for fact in facts):
            if "invalid_payload" in name:
                with pytest.raises(InputError):
                    read_parts(content, name)
                continue
            reading = read_parts(content, name)  # a payload that is not in-toto's: its digest alone is named
            assert {edge.type for edge in reading.claims.edges} == {EdgeType.SIGNS}
            continue
        reading = read_parts(content, name)
        assert len(reading.parts) == len(facts), name
        for part, fact in zip(reading.parts, facts, strict=True):
            if fact.get("kind") == "no envelope":
                assert part.payload == b""
                continue
            assert part.predicate_type == fact["predicateType"]
            assert len(part.signatures) == fact.get("signatures", 0)
            assert len(part.subjects) == fact["subjects"]
            if "payload_sha256" in fact:
                assert hashlib.sha256(part.payload).hexdigest() == fact["payload_sha256"]
            if part.predicate_type.startswith("https://slsa.dev/provenance/"):
                assert part.builder == fact["builder"]
            signed = {
                edge.target
                for edge in reading.claims.edges
                if edge.source == part.receipt and edge.type is EdgeType.SIGNS and not edge.target.startswith("run:")
            }
            sha256 = {one["sha256"].lower() for one in part.subjects if "sha256" in one}
            assert len(sha256) == fact["distinct_subject_sha256"]
            assert {f"sha256:{one}" for one in sha256} <= signed
        executions = [node for node in reading.claims.nodes if node.kind is Kind.EXECUTION]
        provenances = [one for one in reading.parts if one.predicate_type.startswith("https://slsa.dev/provenance/")]
        assert len(executions) == len(provenances), name
