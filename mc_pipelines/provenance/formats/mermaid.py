"""Mermaid flowcharts, for pages that draw them; too large a picture helps nobody, so there is a cap."""

from __future__ import annotations

from html import escape

from mc_pipelines.provenance.formats.appearance import LOOKS, short_name
from mc_pipelines.provenance.formats.choice import NotAcceptableError
from mc_pipelines.provenance.formats.notes import incompleteness
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.subgraph import Subgraph

MAXIMUM_NODES = 200
_BRACKETS = {
    Kind.MANIFEST: ("[/", "/]"),
    Kind.PACKAGE: ("[", "]"),
    Kind.EXECUTION: ("([", "])"),
    Kind.RECEIPT: ("{{", "}}"),
    Kind.BUNDLE: ("[[", "]]"),
}


def write_mermaid(graph: Subgraph) -> bytes:
    """Return an answer as a flowchart.

    Raises:
        NotAcceptableError: it has more than :data:`MAXIMUM_NODES` nodes.
    """
    nodes = (*graph.nodes, *graph.earlier)
    if len(nodes) > MAXIMUM_NODES:
        raise NotAcceptableError(
            f"A Mermaid picture holds at most {MAXIMUM_NODES} nodes",
            field="format",
            value=len(nodes),
            mend=f"ask with limit={MAXIMUM_NODES} or less, or for svg",
        )
    number = {node.id: place for place, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    note = incompleteness(graph)
    if note is not None:
        lines.append(f"  %% {note}")
    for node in nodes:
        opening, closing = _BRACKETS[node.kind]
        shown = _text(short_name(node.id, node.label) + (" (pruned)" if node.pruned else ""))
        lines.append(f'  n{number[node.id]}{opening}"{shown}"{closing}:::{node.kind}')
    for edge in graph.edges:
        arrow = "-->" if edge.verified else "-.->"
        lines.append(f"  n{number[edge.source]} {arrow}|{edge.type}| n{number[edge.target]}")
    lines += [f"  classDef {kind} fill:{look.fill},color:#111" for kind, look in LOOKS.items()]
    return "\n".join([*lines, ""]).encode()


def _text(text: str) -> str:
    """Quotes end a label and ``#`` begins an entity code there."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    return escape(plain.replace("#", "#35;"), quote=False).replace('"', "#quot;").replace("`", "#96;")
