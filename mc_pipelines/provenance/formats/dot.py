"""Graphviz DOT: ids are quoted strings, so any id is a node name; what cannot stand in one is percent-encoded."""

from __future__ import annotations

import re
from urllib.parse import quote

from mc_pipelines.provenance.formats.appearance import CLAIMED, LOOKS, PRUNED, VERIFIED, short_name
from mc_pipelines.provenance.formats.notes import incompleteness
from mc_pipelines.provenance.subgraph import GraphNode, Subgraph

_LONE = re.compile(r'(?<!\\)(?:\\\\)*\\(?="|$)')
"""An odd number of backslashes before a quote or the end."""


def write_dot(graph: Subgraph) -> bytes:
    """Return an answer as a directed graph of the DOT language."""
    lines = ["digraph provenance {", "  rankdir=LR;", "  node [style=filled, fontname=Helvetica];"]
    note = incompleteness(graph)
    if note is not None:
        lines.append(f"  label={_label(note)};")
    lines += [_node(node) for node in (*graph.nodes, *graph.earlier)]
    for edge in graph.edges:
        look = f'color="{VERIFIED}", style=solid' if edge.verified else f'color="{CLAIMED}", style=dashed'
        lines.append(
            f"  {_name(edge.source)} -> {_name(edge.target)} [label={edge.type}, {look}, status={_name(edge.status)}];"
        )
    return "\n".join([*lines, "}", ""]).encode()


def _node(node: GraphNode) -> str:
    look = LOOKS[node.kind]
    fill = PRUNED if node.pruned else look.fill
    style = 'style="filled,dashed"' if node.stub else "style=filled"
    return (
        f"  {_name(node.id)} [label={_label(short_name(node.id, node.label))}, kind={node.kind}, shape={look.shape},"
        f' fillcolor="{fill}", {style}, level={node.level}];'
    )


def _label(text: str) -> str:
    """Quote text that is drawn: a backslash begins an escape there, so it is doubled."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    return _name(plain.replace("\\", "\\\\"))


def _name(text: str) -> str:
    """Quote a name: a backslash stands for itself, but no name can hold one before a quote or at its end.

    What is not printed is encoded, for a space in its place would make one node of two.
    """
    plain = "".join(each if each.isprintable() else quote(each) for each in text)
    whole = _LONE.sub(lambda found: found[0][:-1] + "%5C", plain)
    return '"{}"'.format(whole.replace('"', '\\"'))
