# ruff: noqa: PLR0917 - flat arguments are what compiles; characters of JSON and of hexadecimal
"""Answers as JSON bytes, written from the encoded ids without a Python object per node.

An id is rendered once, where its node is; an edge copies the rendered text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.id_codec import HEX, PREFIX_START, PREFIXES, decode_id, put_id
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS
from mc_pipelines.provenance.snapshot import Part, Snapshot
from mc_pipelines.provenance.walk import Reached

Array = NDArray[Any]
_STUB = 8


def _joined(parts: list[bytes]) -> tuple[Array, Array]:
    start = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return np.frombuffer(b"".join(parts), dtype=np.uint8), start


# 0-3 nothing, 4 start of a node, 5-14 end of a node by kind (+ 5 for a stub), 15 start of an edge,
# 16 between its ends, 17-20 its end by type.
_TEXT, _TEXT_START = _joined(
    [
        *(b"", b"", b"", b""),
        b'{"id":"',
        *(b'","kind":"%b"},' % kind.encode() for kind in KINDS),
        *(b'","kind":"%b","stub":true},' % kind.encode() for kind in KINDS),
        b'{"from":"',
        b'","to":"',
        *(b'","type":"%b"},' % edge.encode() for edge in EDGE_TYPES),
    ]
)


@compiled
def _put(out: Array, at: int, source: Array, begin: int, end: int) -> int:
    for place in range(begin, end):
        out[at] = source[place]
        at += 1
    return at


@compiled
def _write_nodes(
    nodes: Array,
    own: int,
    part: Part,
    shared: Part,
    text: Array,
    text_start: Array,
    prefixes: Array,
    prefix_start: Array,
    digits: Array,
    out: Array,
    spans: Array,
) -> int:
    at = 0
    for row in range(len(nodes)):
        node = np.int64(nodes[row])
        names, kinds = part.names, part.kind
        if node >= own:
            node -= own
            names, kinds = shared.names, shared.kind
        kind = np.int64(kinds[node])
        start, ids = names.start, names.ids
        generation = len(start) - 1
        if node >= generation:
            node -= generation
            start, ids = names.more_start, names.more_ids
        at = _put(out, at, text, text_start[4], text_start[5])
        spans[row, 0] = at
        at = put_id(out, at, ids, start[node], start[node + 1], prefixes, prefix_start, digits, True)  # noqa: FBT003
        spans[row, 1] = at
        end = 5 + (kind & 7) + (5 if kind & 8 else 0)
        at = _put(out, at, text, text_start[end], text_start[end + 1])
    return at


@compiled
def _encoded_size(nodes: Array, own: int, part: Part, shared: Part) -> int:
    size = 0
    for row in range(len(nodes)):
        node = np.int64(nodes[row])
        names = part.names
        if node >= own:
            node -= own
            names = shared.names
        start = names.start
        generation = len(start) - 1
        if node >= generation:
            node -= generation
            start = names.more_start
        size += np.int64(start[node + 1]) - np.int64(start[node])
    return size


@compiled
def _write_edges(
    lower: Array,
    upper: Array,
    code: Array,
    spans: Array,
    rendered: Array,
    text: Array,
    text_start: Array,
    out: Array,
) -> int:
    at = 0
    for row in range(len(lower)):
        source, target = np.int64(lower[row]), np.int64(upper[row])
        if code[row] != 0:
            source, target = target, source
        at = _put(out, at, text, text_start[15], text_start[16])
        at = _put(out, at, rendered, spans[source, 0], spans[source, 1])
        at = _put(out, at, text, text_start[16], text_start[17])
        at = _put(out, at, rendered, spans[target, 0], spans[target, 1])
        end = 17 + np.int64(code[row])
        at = _put(out, at, text, text_start[end], text_start[end + 1])
    return at


def write_graph(
    snapshot: Snapshot, reached: Reached, *, first_node: int = 0, first_edge: int = 0
) -> tuple[bytes, bytes]:
    """Return the members of ``nodes`` and of ``edges`` as JSON text, without the brackets.

    Args:
        snapshot: names the nodes.
        reached: what was walked.
        first_node: leave out the nodes before this place (they were on an earlier page).
        first_edge: leave out the edges before this place.
    """
    if not COMPILES:
        return _write_plainly(snapshot, reached, first_node, first_edge)
    nodes = np.ascontiguousarray(reached.nodes, dtype=np.int32)
    own, part, shared = snapshot.own.nodes, snapshot.part, snapshot.shared_part
    out = np.empty(2 * _encoded_size(nodes, own, part, shared) + 64 * len(nodes), dtype=np.uint8)
    spans = np.empty((len(nodes), 2), dtype=np.int64)
    _write_nodes(nodes, own, part, shared, _TEXT, _TEXT_START, PREFIXES, PREFIX_START, HEX, out, spans)
    length = int(spans[-1, 1]) + _ending(snapshot.kind_of(int(nodes[-1])))
    begin = int(spans[first_node, 0]) - 7 if first_node < len(nodes) else length
    lower, upper, code = (each[first_edge:] for each in (reached.lower, reached.upper, reached.code))
    width = spans[:, 1] - spans[:, 0]
    edge_out = np.empty(int(width[lower].sum() + width[upper].sum()) + 48 * len(lower), dtype=np.uint8)
    used = _write_edges(lower, upper, code, spans, out, _TEXT, _TEXT_START, edge_out)
    return out[begin : max(begin, length - 1)].tobytes(), edge_out[: max(0, used - 1)].tobytes()


def _ending(kind: int) -> int:
    end = 5 + (kind & 7) + (5 if kind & _STUB else 0)
    return int(_TEXT_START[end + 1] - _TEXT_START[end])


def _write_plainly(snapshot: Snapshot, reached: Reached, first_node: int, first_edge: int) -> tuple[bytes, bytes]:
    rendered = [orjson.dumps(decode_id(snapshot.encoded_id(int(node)))) for node in reached.nodes]
    nodes = []
    for place in range(first_node, len(rendered)):
        kind = snapshot.kind_of(int(reached.nodes[place]))
        stub = b',"stub":true' if kind & _STUB else b""
        nodes.append(b'{"id":%b,"kind":"%b"%b}' % (rendered[place], KINDS[kind & 7].encode(), stub))
    edges = []
    for row in range(first_edge, len(reached.lower)):
        source, target = rendered[reached.lower[row]], rendered[reached.upper[row]]
        if reached.code[row]:
            source, target = target, source
        edges.append(b'{"from":%b,"to":%b,"type":"%b"}' % (source, target, EDGE_TYPES[reached.code[row]].encode()))
    return b",".join(nodes), b",".join(edges)
