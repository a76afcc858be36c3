"""Exports opened by the programs that they are for; counts, ids and marks are those of the answer."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import networkx as nx
import prov.model
import pytest

from mc_pipelines.provenance.formats import Form, NotAcceptableError, choose_form, write_form
from mc_pipelines.provenance.formats.prov_json import name_of
from mc_pipelines.provenance.model import EdgeType, Kind, VerificationStatus
from mc_pipelines.provenance.subgraph import GraphEdge, GraphNode, Subgraph

ODD = "run:ci/quo\"te\\d & <b> 'x' #1; ünï"
CUT = {
    "complete": False,
    "truncated": {"reason": "nodes", "frontierCount": 2},
    "pruned": [{"node": "pkg:npm/a@1"}],
    "fanOutCount": 1,
}


def graph(facts: dict[str, object] | None = None) -> Subgraph:
    """Each kind and each type, a stub, something pruned, a label with everything that forms trip over, a cycle."""
    nodes = (
        GraphNode("pkg:oci/shop@1", Kind.BUNDLE, 0, label='a "label"\\\x01\n`#|;</text>'),
        GraphNode(ODD, Kind.EXECUTION, 1),
        GraphNode("sha256:" + "a" * 64, Kind.MANIFEST, 2, stub=True),
        GraphNode("pkg:npm/a@1", Kind.PACKAGE, 2, pruned=True),
        GraphNode("pkg:npm/b@1", Kind.PACKAGE, 3),
        GraphNode("gitoid:blob:sha256:" + "b" * 64, Kind.RECEIPT, 1),
        GraphNode("gitoid:blob:sha256:" + "c" * 64, Kind.RECEIPT, 2),
    )
    verified, claimed = VerificationStatus.VERIFIED, VerificationStatus.UNSIGNED
    ends = [
        (1, 0, EdgeType.PRODUCES, verified),
        (1, 2, EdgeType.USES, verified),
        (1, 3, EdgeType.USES, claimed),
        (3, 4, EdgeType.USES, claimed),
        (4, 3, EdgeType.USES, claimed),
        (5, 0, EdgeType.SIGNS, verified),
        (5, 1, EdgeType.SIGNS, verified),
        (6, 5, EdgeType.VERIFIES, verified),
    ]
    edges = tuple(GraphEdge(nodes[a].id, nodes[b].id, type_, status) for a, b, type_, status in ends)
    return Subgraph(nodes[0].id, nodes, edges, facts or {"complete": True})


def test_networkx_reads_graphml() -> None:
    made = graph()
    found = nx.read_graphml(io.BytesIO(write_form(made, Form.GRAPHML)))
    assert set(found.nodes) == {node.id for node in made.nodes}
    assert sorted((a, b, d["type"], d["verified"]) for a, b, d in found.edges(data=True)) == sorted(
        (e.source, e.target, e.type.value, e.verified) for e in made.edges
    )
    assert found.nodes[ODD]["kind"] == "execution"
    assert found.nodes["pkg:npm/a@1"]["pruned"] is True
    assert found.graph["complete"] is True
    assert nx.read_graphml(io.BytesIO(write_form(graph(CUT), Form.GRAPHML))).graph["complete"] is False


@pytest.mark.system
def test_graphviz_reads_dot(need_program: Callable[[str, str], str]) -> None:
    dot = need_program("dot", "Debian package graphviz")
    made = graph(CUT)
    content = write_form(made, Form.DOT)
    done = subprocess.run([dot, "-Tjson0"], input=content, capture_output=True, check=True)
    assert done.stderr == b""
    found = json.loads(done.stdout)
    names = [each["name"] for each in found["objects"]]
    assert sorted(names) == sorted(node.id for node in made.nodes)
    assert sorted((names[e["tail"]], names[e["head"]], e["label"]) for e in found["edges"]) == sorted(
        (e.source, e.target, e.type.value) for e in made.edges
    )
    assert "Not complete" in found["label"]
    drawn = subprocess.run([dot, "-Tsvg"], input=content, capture_output=True, check=True).stdout
    assert drawn.count(b'class="edge"') == len(made.edges)


def test_prov_reads_prov_json() -> None:
    made = graph()
    found = prov.model.ProvDocument.deserialize(io.StringIO(write_form(made, Form.PROV_JSON).decode()), format="json")
    records = list(found.get_records())
    named = {str(each.identifier): each for each in records if each.is_element()}
    assert set(named) == {name_of(node.id) for node in made.nodes}
    relations = [each for each in records if each.is_relation()]
    assert len(relations) == len(made.edges)
    kinds = {type(each).__name__ for each in relations}
    assert kinds == {"ProvUsage", "ProvGeneration", "ProvDerivation", "ProvInfluence"}
    (made_by,) = [each for each in relations if isinstance(each, prov.model.ProvGeneration)]
    ends = dict(made_by.formal_attributes)
    assert str(ends[prov.model.PROV_ATTR_ENTITY]) == name_of("pkg:oci/shop@1")
    assert str(ends[prov.model.PROV_ATTR_ACTIVITY]) == name_of(ODD)
    # What it read, it writes and reads again alike.
    again = prov.model.ProvDocument.deserialize(io.StringIO(found.serialize(format="json")), format="json")
    assert again == found


def test_a_table_has_a_row_an_edge() -> None:
    made = graph()
    rows = list(csv.DictReader(io.StringIO(write_form(made, Form.CSV).decode(), newline="")))
    assert [(row["from"], row["to"], row["type"]) for row in rows] == [(e.source, e.target, e.type) for e in made.edges]
    alone = Subgraph("pkg:npm/x@1", (GraphNode("pkg:npm/x@1", Kind.PACKAGE),), ())
    (row,) = csv.DictReader(io.StringIO(write_form(alone, Form.CSV).decode(), newline=""))
    assert (row["from"], row["to"]) == ("pkg:npm/x@1", "")


def test_the_picture_tells_kinds_and_proofs_apart() -> None:
    made = graph(CUT)
    root = ET.fromstring(write_form(made, Form.SVG))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    nodes = [each for each in root.iter(f"{space}g") if each.get("class", "").startswith("node ")]
    assert len(nodes) == len(made.nodes)
    looks = {
        (each[1].tag, each[1].get("rx"), (each[1].get("points") or "").count(","), each[1].get("fill"))
        for each in nodes
    }
    assert len(looks) == 6  # five kinds, and one grey for what was pruned
    edges = [each for each in root.iter(f"{space}path") if each.get("class", "").startswith("edge ")]
    assert [each.get("stroke-dasharray") is None for each in edges] == [edge.verified for edge in made.edges]
    assert "Not complete" in "".join(root.itertext())
    places = {(each[1].get("x"), each[1].get("y"), each[1].get("points")) for each in nodes}
    assert len(places) == len(nodes)


def test_a_picture_too_large_is_refused_with_the_mend() -> None:
    many = tuple(GraphNode(f"pkg:npm/a{number}@1", Kind.PACKAGE, 1) for number in range(601))
    for form in (Form.SVG, Form.MERMAID):
        with pytest.raises(NotAcceptableError) as refused:
            write_form(replace(graph(), nodes=many, edges=()), form)
        assert refused.value.mend


def test_mermaid_names_every_node_and_edge() -> None:
    made = graph(CUT)
    lines = write_form(made, Form.MERMAID).decode().splitlines()
    assert lines[0] == "flowchart LR"
    assert sum("|" in line and (" --> " in line or "-->|" in line or "-.->|" in line) for line in lines) == len(
        made.edges
    )
    assert sum(":::" in line for line in lines) == len(made.nodes)
    assert not any("\x01" in line for line in lines)
    assert all(line.count('"') in {0, 2} for line in lines)


def test_cytoscape_has_what_its_loader_needs() -> None:
    made = graph()
    elements = json.loads(write_form(made, Form.CYTOSCAPE))["elements"]
    ids = [each["data"]["id"] for each in elements["nodes"]]
    assert ids == [node.id for node in made.nodes]
    assert all({e["data"]["source"], e["data"]["target"]} <= set(ids) for e in elements["edges"])
    assert len({e["data"]["id"] for e in elements["edges"]}) == len(made.edges)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.JSON),
        ("*/*", Form.JSON),
        ("text/csv", Form.CSV),
        ("text/*, application/json;q=0.9", Form.DOT),
        ("application/json;q=0.1, image/svg+xml;q=0.2", Form.SVG),
        ("*/*;q=0.5, application/json;q=0", Form.CYTOSCAPE),
        ("TEXT/CSV; charset=utf-8", Form.CSV),
    ],
)
def test_the_weightiest_media_type_wins(accept: str | None, form: Form) -> None:
    assert choose_form(None, accept) is form


def test_ids_that_look_alike_stay_apart_in_dot() -> None:
    names = ("job:a b", "job:a\u00a0b", "job:a\u200bb", "job:ab")
    nodes = tuple(GraphNode(name, Kind.MANIFEST, 0) for name in names)  # type: ignore[arg-type]
    written = write_form(Subgraph(names[0], nodes, (), {"complete": True}), Form.DOT).decode()
    drawn = {line.partition(" [label")[0] for line in written.splitlines() if "kind=" in line}
    assert len(drawn) == len(names)
