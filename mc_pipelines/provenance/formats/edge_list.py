"""CSV (RFC 4180), one line an edge; a node without edges stands alone in the first column."""

from __future__ import annotations

import csv
import io

from mc_pipelines.provenance.subgraph import Subgraph

COLUMNS = ("from", "from_kind", "type", "to", "to_kind", "status", "verified", "claims")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_edge_list(graph: Subgraph) -> bytes:
    """Return the edges of an answer as CSV."""
    kinds = {node.id: node.kind.value for node in (*graph.nodes, *graph.earlier)}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for edge in graph.edges:
        status = (edge.status.value, "true" if edge.verified else "false", edge.claims)
        writer.writerow(
            (_cell(edge.source), kinds[edge.source], edge.type.value, _cell(edge.target), kinds[edge.target], *status)
        )
    connected = {end for edge in graph.edges for end in (edge.source, edge.target)}
    for node in graph.nodes:
        if node.id not in connected:
            writer.writerow((_cell(node.id), node.kind.value, "", "", "", "", "", 0))
    return out.getvalue().encode()


def _cell(identifier: str) -> str:
    """Every id begins with a scheme, so no cell is taken for a formula; one that did would be quoted as text."""
    return f"'{identifier}" if identifier.startswith(_FORMULA) else identifier
