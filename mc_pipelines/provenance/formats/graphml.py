"""GraphML (graphml.graphdrawing.org), as networkx, Gephi and yEd read it."""

from __future__ import annotations

from collections.abc import Iterable

from mc_pipelines.provenance.formats.notes import incompleteness
from mc_pipelines.provenance.formats.xml_text import xml_text
from mc_pipelines.provenance.subgraph import GraphNode, Subgraph

_KEYS = (
    ("node", "kind", "string"),
    ("node", "label", "string"),
    ("node", "level", "int"),
    ("node", "stub", "boolean"),
    ("node", "pruned", "boolean"),
    ("edge", "type", "string"),
    ("edge", "status", "string"),
    ("edge", "verified", "boolean"),
    ("graph", "root", "string"),
    ("graph", "complete", "boolean"),
    ("graph", "note", "string"),
)
_KEY_OF = {(owner, name): f"{owner[0]}{place}" for place, (owner, name, _) in enumerate(_KEYS)}


def write_graphml(graph: Subgraph) -> bytes:
    """Return an answer as a directed GraphML graph."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">']
    for owner, name, type_ in _KEYS:
        lines.append(f'<key id="{_KEY_OF[owner, name]}" for="{owner}" attr.name="{name}" attr.type="{type_}"/>')
    lines.append('<graph id="provenance" edgedefault="directed">')
    lines += _data("graph", (("root", graph.root), ("complete", graph.complete), ("note", incompleteness(graph))))
    for node in (*graph.nodes, *graph.earlier):
        lines += [f'<node id="{xml_text(node.id)}">', *_data("node", _facts(node)), "</node>"]
    for number, edge in enumerate(graph.edges):
        facts = (("type", edge.type.value), ("status", edge.status.value), ("verified", edge.verified))
        ends = f'source="{xml_text(edge.source)}" target="{xml_text(edge.target)}"'
        lines += [f'<edge id="e{number}" {ends}>', *_data("edge", facts), "</edge>"]
    return "\n".join([*lines, "</graph>", "</graphml>", ""]).encode()


def _facts(node: GraphNode) -> Iterable[tuple[str, object]]:
    return (
        ("kind", node.kind.value),
        ("label", node.label),
        ("level", node.level),
        ("stub", node.stub or None),
        ("pruned", node.pruned or None),
    )


def _data(owner: str, facts: Iterable[tuple[str, object]]) -> Iterable[str]:
    for name, value in facts:
        if value is None:
            continue
        shown = str(value).lower() if isinstance(value, bool) else xml_text(str(value))
        yield f'<data key="{_KEY_OF[owner, name]}">{shown}</data>'
