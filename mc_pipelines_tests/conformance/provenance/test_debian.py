"""A real package index: reach, cycles and the most depended upon, as an independent script found them."""

from __future__ import annotations

import lzma
from collections import defaultdict
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from mc_pipelines.provenance.model import Claims
from mc_pipelines.provenance.readers import read_document

Graph = dict[str, set[str]]


@pytest.fixture(scope="session")
def indices(provenance: Path, expected: dict[str, Any]) -> dict[str, Claims]:
    paths = {str(one.relative_to(provenance)): one for one in (provenance / "debian").glob("*.tsv*")}
    assert paths.keys() == expected["debian"].keys()
    return {name: read_document(path.read_bytes(), path.name) for name, path in paths.items()}


def name_of(claims: Claims) -> dict[str, str]:
    return {node.id: (node.label or "").partition("@")[0] for node in claims.nodes}


def by_name(claims: Claims) -> Graph:
    """The index's edges between names, without the index itself."""
    names, found = name_of(claims), defaultdict(set)
    for edge in claims.edges:
        if edge.source != claims.document:
            found[names[edge.source]].add(names[edge.target])
    return found


def within(graph: Graph, start: str, hops: int) -> int:
    reached, edge = {start}, {start}
    for _ in range(hops):
        edge = {target for node in edge for target in graph.get(node, ())} - reached
        reached |= edge
    return len(reached)


def test_indices(indices: dict[str, Claims], expected: dict[str, Any]) -> None:
    for name, claims in indices.items():
        fact, graph = expected["debian"][name], by_name(claims)
        concrete = {edge.target for edge in claims.edges if edge.source == claims.document}
        assert len(concrete) == fact["distinct_package_version_arch"]
        names = name_of(claims)
        assert len({names[one] for one in concrete}) == fact["distinct_package_names"]
        absent = {node.label for node in claims.nodes if node.stub and node.label} - {names[one] for one in concrete}
        assert len(absent) == fact["target_names_not_a_real_package"]
        edges = fact["edges_distinct_name_pairs_first_alternative"]
        assert edges - fact["self_edges_first"] <= sum(map(len, graph.values())) <= edges
        backward: Graph = defaultdict(set)
        for source, targets in graph.items():
            for target in targets:
                backward[target].add(source)
        most = max(backward, key=lambda one: len(backward[one]))
        assert [len(backward[most]), len(backward[fact["max_in_degree"][1]])] == fact["max_in_degree"][:1] * 2
        cycles = [len(one) for one in nx.strongly_connected_components(nx.DiGraph(graph)) if len(one) > 1]
        assert (len(cycles), max(cycles)) == (fact["scc_gt1"], fact["largest_scc"])
        for probe, reach in fact["probes"].items():
            assert [within(graph, probe, hops) for hops in range(1, 6)] == reach["dependencies_within_1to5_incl_self"]
            assert [within(backward, probe, hops) for hops in range(1, 6)] == reach["dependents_within_1to5_incl_self"]
            assert within(graph, probe, 10**6) == reach["all_dependencies_incl_self"]
            assert within(backward, probe, 10**6) == reach["all_dependents_incl_self"]


def test_the_same_index_as_stanzas(provenance: Path, indices: dict[str, Claims]) -> None:
    """The form in which a mirror serves it gives the same graph."""
    for name, claims in indices.items():
        text = lzma.decompress((provenance / name).read_bytes()).decode()
        header, *rows = (line.split("\t") for line in text.splitlines())
        titles = [one.replace("_", "-").title() for one in header]
        stanzas = "\n".join(
            "".join(f"{title}: {cell}\n" for title, cell in zip(titles, row, strict=True) if cell) for row in rows
        )
        other = read_document(stanzas.encode(), "Packages")
        strip = {claims.document: "index", other.document: "index"}
        assert {(strip.get(e.source, e.source), e.target) for e in claims.edges} == {  # type: ignore[call-overload]
            (strip.get(e.source, e.source), e.target)
            for e in other.edges  # type: ignore[call-overload]
        }
