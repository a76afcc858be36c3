"""Cytoscape.js elements (the form of ``cy.json()``): classes carry kind, type and verification for style sheets."""

from __future__ import annotations

from typing import Any

import orjson

from mc_pipelines.provenance.subgraph import GraphNode, Subgraph


def write_cytoscape(graph: Subgraph) -> bytes:
    """Return an answer as elements of Cytoscape.js."""
    nodes = [_node(node) for node in graph.nodes] + [_node(node, " earlier") for node in graph.earlier]
    edges = [
        {
            "data": {
                "id": f"{edge.source} {edge.type} {edge.target}",
                "source": edge.source,
                "target": edge.target,
                "type": edge.type.value,
                "status": edge.status.value,
            },
            "classes": f"{edge.type} {'verified' if edge.verified else 'claimed'}",
        }
        for edge in graph.edges
    ]
    return orjson.dumps({"elements": {"nodes": nodes, "edges": edges}, "data": graph.facts})


def _node(node: GraphNode, more: str = "") -> dict[str, Any]:
    marks = (" stub" if node.stub else "") + (" pruned" if node.pruned else "")
    return {
        "data": {"id": node.id, "kind": node.kind.value, "label": node.label or node.id, "level": node.level},
        "classes": f"{node.kind}{marks}{more}",
    }
