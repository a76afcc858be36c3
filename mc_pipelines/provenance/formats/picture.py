"""A picture without a program: SVG, layered left to right by steps from the root.

Kinds differ by shape and by colour; an edge that a verified document claims is solid, a claimed one is dashed; what
retention removed is grey. Within a layer a node stands near the middle of its neighbours in the layer before it (one
barycentre pass), ties by id, so the same answer gives the same bytes.
"""

from __future__ import annotations

from collections import defaultdict

from mc_pipelines.provenance.formats.appearance import CLAIMED, LOOKS, PRUNED, VERIFIED, short_name
from mc_pipelines.provenance.formats.choice import NotAcceptableError
from mc_pipelines.provenance.formats.notes import incompleteness
from mc_pipelines.provenance.formats.xml_text import xml_text
from mc_pipelines.provenance.model import EdgeType, Kind
from mc_pipelines.provenance.subgraph import GraphEdge, GraphNode, Subgraph

MAXIMUM_NODES = 600
_WIDTH, _HEIGHT = 220, 30
_COLUMN, _ROW = 320, 46
_MARGIN, _HEAD = 24, 64
_FONTS = "Helvetica, Arial, sans-serif"
_ARROW = (
    '<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="context-stroke"/></marker></defs>'
)
Places = dict[str, tuple[int, int]]


def write_picture(graph: Subgraph) -> bytes:
    """Return an answer as an SVG picture.

    Raises:
        NotAcceptableError: it has more than :data:`MAXIMUM_NODES` nodes.
    """
    nodes = (*graph.nodes, *graph.earlier)
    if len(nodes) > MAXIMUM_NODES:
        raise NotAcceptableError(
            f"A picture holds at most {MAXIMUM_NODES} nodes",
            field="format",
            value=len(nodes),
            mend=f"ask with limit={MAXIMUM_NODES} or less, or for a table (csv)",
        )
    places = _places(nodes, graph.edges)
    width = max(x for x, _ in places.values()) + _WIDTH + _MARGIN
    height = max(y for _, y in places.values()) + _HEIGHT + _MARGIN
    note = incompleteness(graph)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{_FONTS}" font-size="12">',
        f"<title>{xml_text(_title(graph))}</title>",
        _ARROW,
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="22" font-size="14" font-weight="bold">{xml_text(_title(graph))}</text>',
    ]
    if note is not None:
        lines.append(f'<text x="{_MARGIN}" y="42" fill="#b91c1c">{xml_text(note)}</text>')
    lines += [_edge(edge, places) for edge in graph.edges]
    lines += [_node(node, *places[node.id]) for node in nodes]
    return "\n".join([*lines, "</svg>", ""]).encode()


def _title(graph: Subgraph) -> str:
    verified = sum(edge.verified for edge in graph.edges)
    return (
        f"{short_name(graph.root, None)}: {len(graph.nodes)} nodes, {len(graph.edges)} edges"
        f" ({verified} verified, {len(graph.edges) - verified} claimed)"
    )


def _places(nodes: tuple[GraphNode, ...], edges: tuple[GraphEdge, ...]) -> Places:
    """Ancestors stand left of the root, descendants right of it: the level, signed by the side it was reached on."""
    level = {node.id: node.level for node in nodes}
    side = _sides(level, edges)
    layers: dict[int, list[str]] = defaultdict(list)
    for node in nodes:
        layers[level[node.id] * side[node.id]].append(node.id)
    near: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        near[edge.source].append(edge.target)
        near[edge.target].append(edge.source)
    row: dict[str, float] = {}
    places: Places = {}
    first = min(layers)
    for layer in sorted(layers, key=abs):
        ordered = sorted(layers[layer], key=lambda each: (_middle(near[each], row), each))
        for place, identifier in enumerate(ordered):
            row[identifier] = place - len(ordered) / 2
            places[identifier] = (_MARGIN + (layer - first) * _COLUMN, _HEAD + place * _ROW)
    return places


def _sides(level: dict[str, int], edges: tuple[GraphEdge, ...]) -> dict[str, int]:
    """-1 for what an upward step from a lower level reached first, 1 for a downward one; the root is on neither."""
    side = {identifier: 0 if depth == 0 else 1 for identifier, depth in level.items()}
    told = {identifier for identifier, depth in level.items() if depth == 0}
    for depth in range(max(level.values(), default=0)):
        for edge in edges:
            lower, upper = _ends(edge)
            for near, far, way in ((lower, upper, -1), (upper, lower, 1)):
                fits = level[near] == depth and level[far] == depth + 1 and far not in told
                if fits and (depth == 0 or side[near] == way):
                    side[far] = way
                    told.add(far)
    return side


def _ends(edge: GraphEdge) -> tuple[str, str]:
    if edge.type is EdgeType.USES:
        return edge.source, edge.target
    return edge.target, edge.source


def _middle(neighbours: list[str], row: dict[str, float]) -> float:
    known = [row[each] for each in neighbours if each in row]
    return sum(known) / len(known) if known else 0.0


def _edge(edge: GraphEdge, places: Places) -> str:
    (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
    start, end = (x1 + _WIDTH, x2) if x1 < x2 else (x1, x2 + _WIDTH)
    if x1 == x2:
        start, end = x1 + _WIDTH, x2 + _WIDTH
    bend = (start + end) // 2 if x1 != x2 else start + 60
    middle1, middle2 = y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
    colour, dash = (VERIFIED, "") if edge.verified else (CLAIMED, ' stroke-dasharray="5 4"')
    return (
        f'<path class="edge {edge.type}" d="M{start} {middle1} C{bend} {middle1} {bend} {middle2} {end} {middle2}"'
        f' fill="none" stroke="{colour}"{dash} marker-end="url(#to)">'
        f"<title>{xml_text(f'{edge.source} {edge.type} {edge.target}: {edge.status}')}</title></path>"
    )


def _node(node: GraphNode, x: int, y: int) -> str:
    fill = PRUNED if node.pruned else LOOKS[node.kind].fill
    dash = ' stroke-dasharray="3 2"' if node.stub else ""
    shape = _shape(node.kind, x, y)
    text = xml_text(short_name(node.id, node.label))
    says = xml_text(f"{node.kind} {node.id}{' (stub)' if node.stub else ''}{' (pruned)' if node.pruned else ''}")
    return (
        f'<g class="node {node.kind}"><title>{says}</title>'
        f'<{shape} fill="{fill}" stroke="#374151"{dash}/>'
        f'<text x="{x + _WIDTH // 2}" y="{y + _HEIGHT // 2 + 4}" text-anchor="middle" font-size="11">{text}</text></g>'
    )


def _shape(kind: Kind, x: int, y: int) -> str:
    right, bottom, half = x + _WIDTH, y + _HEIGHT, y + _HEIGHT // 2
    box = f'x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}"'
    return {
        Kind.MANIFEST: f'polygon points="{x},{y} {right - 12},{y} {right},{y + 12} {right},{bottom} {x},{bottom}"',
        Kind.PACKAGE: f"rect {box}",
        Kind.EXECUTION: f'rect {box} rx="15"',
        Kind.RECEIPT: f'polygon points="{x},{half} {x + 14},{y} {right - 14},{y} {right},{half} {right - 14},{bottom}'
        f' {x + 14},{bottom}"',
        Kind.BUNDLE: f'polygon points="{x},{y + 8} {x + _WIDTH // 2},{y - 6} {right},{y + 8} {right},{bottom}'
        f' {x},{bottom}"',
    }[kind]
