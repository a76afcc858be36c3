"""Graphviz DOT: ids are quoted strings, so any id is a node name."""

from __future__ import annotations

from mc_pipelines.provenance.formats.appearance import CLAIMED, LOOKS, PRUNED, VERIFIED, short_name
from mc_pipelines.provenance.formats.notes import incompleteness
from mc_pipelines.provenance.subgraph import GraphNode, Subgraph


def write_dot(graph: Subgraph) -> bytes:
    """Return an answer as a directed graph of the DOT language."""
    lines = ["digraph provenance {", "  rankdir=LR;", "  node [style=filled, fontname=Helvetica];"]
    note = incompleteness(graph)
    if note is not None:
        lines.append(f"  label={_quoted(note)};")
    lines += [_node(node) for node in (*graph.nodes, *graph.earlier)]
    for edge in graph.edges:
        look = f'color="{VERIFIED}", style=solid' if edge.verified else f'color="{CLAIMED}", style=dashed'
        lines.append(
            f"  {_quoted(edge.source)} -> {_quoted(edge.target)}"
            f" [label={edge.type}, {look}, status={_quoted(edge.status)}];"
        )
    return "\n".join([*lines, "}", ""]).encode()


def _node(node: GraphNode) -> str:
    look = LOOKS[node.kind]
    fill = PRUNED if node.pruned else look.fill
    style = 'style="filled,dashed"' if node.stub else "style=filled"
    return (
        f"  {_quoted(node.id)} [label={_quoted(short_name(node.id, node.label))}, kind={node.kind}, shape={look.shape},"
        f' fillcolor="{fill}", {style}, level={node.level}];'
    )


def _quoted(text: str) -> str:
    """Quote for DOT; ids have no control characters, what labels have of them becomes a space."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(each if each.isprintable() else " " for each in escaped)}"'
