# ruff: noqa: PLR2004, PLR0917 - flat arguments are what compiles; characters of JSON and of hexadecimal
"""Answers as JSON bytes, written from the encoded ids without a Python object per node.

An id is rendered once, where its node is; an edge copies the rendered text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.id_codec import decode_id
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS
from mc_pipelines.provenance.snapshot import Snapshot
from mc_pipelines.provenance.walk import Reached

Array = NDArray[Any]
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_STUB = 8


def _joined(parts: list[bytes]) -> tuple[Array, Array]:
    start = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return np.frombuffer(b"".join(parts), dtype=np.uint8), start


# 0-3 forms of ids, 4 start of a node, 5-14 end of a node by kind (+ 5 for a stub), 15 start of an edge,
# 16 between its ends, 17-20 its end by type.
_TEXT, _TEXT_START = _joined(
    [
        b"",
        b"sha256:",
        b"gitoid:blob:sha256:",
        b"",
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
def _put_hex(out: Array, at: int, ids: Array, begin: int, end: int, digits: Array) -> int:
    for place in range(begin, end):
        out[at] = digits[ids[place] >> 4]
        out[at + 1] = digits[ids[place] & 15]
        at += 2
    return at


@compiled
def _put_text(out: Array, at: int, ids: Array, begin: int, end: int) -> int:
    for place in range(begin, end):
        character = ids[place]
        if character in (34, 92):
            out[at] = 92
            at += 1
        out[at] = character
        at += 1
    return at


@compiled
def _put_id(
    out: Array, at: int, ids: Array, begin: int, end: int, text: Array, text_start: Array, digits: Array
) -> int:
    form = ids[begin]
    begin += 1
    if form == 0:
        return _put_text(out, at, ids, begin, end)
    if form == 3:
        prefix = begin + 1 + ids[begin]
        at = _put_text(out, at, ids, begin + 1, prefix)
        for part in range(16):
            if part in (4, 6, 8, 10):
                out[at] = 45
                at += 1
            at = _put_hex(out, at, ids, prefix + part, prefix + part + 1, digits)
        return at
    at = _put(out, at, text, text_start[form], text_start[form + 1])
    return _put_hex(out, at, ids, begin, end, digits)


@compiled
def _write_nodes(
    nodes: Array,
    kind: Array,
    base: int,
    id_start: Array,
    ids: Array,
    extra_start: Array,
    extra_ids: Array,
    text: Array,
    text_start: Array,
    digits: Array,
    out: Array,
    spans: Array,
) -> int:
    at = 0
    for row in range(len(nodes)):
        node = np.int64(nodes[row])
        at = _put(out, at, text, text_start[4], text_start[5])
        spans[row, 0] = at
        if node < base:
            at = _put_id(out, at, ids, id_start[node], id_start[node + 1], text, text_start, digits)
        else:
            place = node - base
            at = _put_id(out, at, extra_ids, extra_start[place], extra_start[place + 1], text, text_start, digits)
        spans[row, 1] = at
        end = 5 + np.int64(kind[node] & 7) + (5 if kind[node] & 8 else 0)
        at = _put(out, at, text, text_start[end], text_start[end + 1])
    return at


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
    nodes = np.ascontiguousarray(reached.nodes, dtype=np.int64)
    base = len(snapshot.id_start) - 1
    own = nodes[nodes < base]
    extra = nodes[nodes >= base] - base
    encoded = int(np.sum(snapshot.id_start[own + 1].astype(np.int64) - snapshot.id_start[own])) + int(
        np.sum(snapshot.extra_start[extra + 1].astype(np.int64) - snapshot.extra_start[extra])
    )
    out = np.empty(2 * encoded + 64 * len(nodes), dtype=np.uint8)
    spans = np.empty((len(nodes), 2), dtype=np.int64)
    _write_nodes(
        nodes,
        snapshot.kind,
        base,
        snapshot.id_start,
        snapshot.ids,
        snapshot.extra_start,
        snapshot.extra_ids,
        _TEXT,
        _TEXT_START,
        _HEX,
        out,
        spans,
    )
    length = int(spans[-1, 1]) + _ending(int(snapshot.kind[nodes[-1]]))
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
        kind = int(snapshot.kind[reached.nodes[place]])
        stub = b',"stub":true' if kind & _STUB else b""
        nodes.append(b'{"id":%b,"kind":"%b"%b}' % (rendered[place], KINDS[kind & 7].encode(), stub))
    edges = []
    for row in range(first_edge, len(reached.lower)):
        source, target = rendered[reached.lower[row]], rendered[reached.upper[row]]
        if reached.code[row]:
            source, target = target, source
        edges.append(b'{"from":%b,"to":%b,"type":"%b"}' % (source, target, EDGE_TYPES[reached.code[row]].encode()))
    return b",".join(nodes), b",".join(edges)
