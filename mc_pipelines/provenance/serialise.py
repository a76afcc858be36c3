# Numba infers the integers of compiled loops.
# mypy: disable-error-code="return-value,arg-type"
# ruff: noqa: FBT003, PLR2004 - flat arguments are what compiles; characters of JSON and of hexadecimal
"""Answers as JSON bytes, written from the encoded ids without a Python object per node.

An id is rendered once, where its node is; an edge copies the rendered text.

Offsets of a generation are packed, see :mod:`mc_pipelines.provenance.offsets`.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import COMPILES, compiled
from mc_pipelines.provenance.id_codec import decode_id, put_bytes, put_id
from mc_pipelines.provenance.model import EDGE_TYPES, KINDS
from mc_pipelines.provenance.offsets import offset_at, offset_count
from mc_pipelines.provenance.snapshot import Names, Part, Snapshot
from mc_pipelines.provenance.walk import Reached

Array = NDArray[Any]
_STUB = 8
_SKIP = 4
"""In place of the array that holds an id: the node is not written."""


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
def longest_prefix(names: Names) -> int:
    """Return the length of the longest prefix in a generation's table."""
    longest = 0
    for place in range(len(names.prefix_start) - 1):
        longest = max(longest, names.prefix_start[place + 1] - names.prefix_start[place])
    return longest


@compiled
def _locate(nodes: Array, needed: Array, own: int, part: Part, shared: Part, places: Array) -> int:
    """Find where each node's encoded id lies (which array, begin, end); return room for all.

    One pass that only looks, so that the memory is waited for together and not node by node.
    """
    size, first = 0, np.uint8(0)
    for row in range(len(nodes)):
        if not needed[row]:
            places[row, 0], places[row, 1], places[row, 2] = _SKIP, 0, 0
            continue
        node = np.int64(nodes[row])
        if node < own:
            generation = offset_count(part.names.start) - 1
            if node < generation:
                packed = part.names.start
                places[row, 0] = 0
                places[row, 1], places[row, 2] = offset_at(packed, node), offset_at(packed, node + 1)
            else:
                node -= generation
                starts = part.names.more_start
                places[row, 0], places[row, 1], places[row, 2] = 1, starts[node], starts[node + 1]
        else:
            node -= own
            generation = offset_count(shared.names.start) - 1
            if node < generation:
                packed = shared.names.start
                places[row, 0] = 2
                places[row, 1], places[row, 2] = offset_at(packed, node), offset_at(packed, node + 1)
            else:
                node -= generation
                starts = shared.names.more_start
                places[row, 0], places[row, 1], places[row, 2] = 3, starts[node], starts[node + 1]
    longest = longest_prefix(part.names), longest_prefix(shared.names)
    for row in range(len(nodes)):
        if places[row, 0] == _SKIP:
            continue
        size += places[row, 2] - places[row, 1] + longest[places[row, 0] >> 1] + 32
        if places[row, 0] == 0:
            first |= part.names.ids[places[row, 1]] | part.names.ids[places[row, 2] - 1]
    return size + (first >> 7)  # a use of what was read, or the compiler would not read it; at most one byte of room


@compiled
def _write_nodes(
    places: Array,
    kinds: Array,
    part: Part,
    shared: Part,
    text: Array,
    text_start: Array,
    out: Array,
    spans: Array,
) -> int:
    at = 0
    for row in range(len(kinds)):
        which, begin, end = places[row, 0], places[row, 1], places[row, 2]
        if which == _SKIP:
            spans[row, 0], spans[row, 1] = at, at
            continue
        at = put_bytes(out, at, text, text_start[4], text_start[5])
        spans[row, 0] = at
        if which == 0:
            at = put_id(out, at, part.names.ids, begin, end, part.names.prefixes, part.names.prefix_start, True)
        elif which == 1:
            at = put_id(out, at, part.names.more_ids, begin, end, part.names.prefixes, part.names.prefix_start, True)
        elif which == 2:
            at = put_id(out, at, shared.names.ids, begin, end, shared.names.prefixes, shared.names.prefix_start, True)
        else:
            at = put_id(
                out,
                at,
                shared.names.more_ids,
                begin,
                end,
                shared.names.prefixes,
                shared.names.prefix_start,
                True,
            )
        spans[row, 1] = at
        ending = 5 + np.int64(kinds[row] & 7) + (5 if kinds[row] & 8 else 0)
        at = put_bytes(out, at, text, text_start[ending], text_start[ending + 1])
    return at


@compiled
def _write_edges(
    lower: Array,
    upper: Array,
    code: Array,
    spans: Array,
    out: Array,
    at: int,
    text: Array,
    text_start: Array,
) -> int:
    """Write edges behind the nodes, whose rendered ids are copied."""
    for row in range(len(lower)):
        source, target = np.int64(lower[row]), np.int64(upper[row])
        if code[row] != 0:
            source, target = target, source
        at = put_bytes(out, at, text, text_start[15], text_start[16])
        at = put_bytes(out, at, out, spans[source, 0], spans[source, 1])
        at = put_bytes(out, at, text, text_start[16], text_start[17])
        at = put_bytes(out, at, out, spans[target, 0], spans[target, 1])
        end = 17 + np.int64(code[row])
        at = put_bytes(out, at, text, text_start[end], text_start[end + 1])
    return at


class _Room(threading.local):
    """Memory that a thread writes its answers into, kept between them: fresh pages cost more than the writing."""

    def __init__(self) -> None:
        self.bytes = np.empty(1 << 20, dtype=np.uint8)
        self.spans = np.empty((1 << 13, 2), dtype=np.int64)

    def of(self, size: int, nodes: int) -> tuple[Array, Array]:
        """Return room for ``size`` bytes and for the spans of ``nodes``."""
        if len(self.bytes) < size:
            self.bytes = np.empty(2 * size, dtype=np.uint8)
        if len(self.spans) < nodes:
            self.spans = np.empty((2 * nodes, 2), dtype=np.int64)
        return self.bytes, self.spans


_ROOM = _Room()


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
    nodes, edges = _written(snapshot, reached, first_node, first_edge)
    return bytes(nodes), bytes(edges)


def write_answer(
    snapshot: Snapshot, reached: Reached, further: bytes, *, first_node: int = 0, first_edge: int = 0
) -> bytes:
    """Return an answer as one JSON object: ``nodes``, ``edges`` and then the members of the object ``further``."""
    nodes, edges = _written(snapshot, reached, first_node, first_edge)
    return b"".join((b'{"nodes":[', nodes, b'],"edges":[', edges, b"],", further[1:]))


def _written(snapshot: Snapshot, reached: Reached, first_node: int, first_edge: int) -> tuple[Any, Any]:
    """Return both parts as memory that holds until this thread writes again."""
    if not COMPILES:
        return _write_plainly(snapshot, reached, first_node, first_edge)
    nodes = np.ascontiguousarray(reached.nodes, dtype=np.int32)
    own, part, shared = snapshot.own.nodes, snapshot.part, snapshot.shared_part
    # Contiguous, whatever their number: a column of one row counts as contiguous, and would be another signature.
    lower, upper, code = (
        np.ascontiguousarray(each[first_edge:]) for each in (reached.lower, reached.upper, reached.code)
    )
    count = len(nodes)
    places = np.empty((count, 3), dtype=np.int64)
    needed = np.zeros(count, dtype=np.uint8)
    needed[first_node:] = 1
    needed[lower], needed[upper] = 1, 1  # nodes of earlier pages are written for the edges that end at them
    room = 2 * _locate(nodes, needed, own, part, shared, places)
    out, spans = _ROOM.of(room, count)
    used = _write_nodes(places, np.ascontiguousarray(reached.kind), part, shared, _TEXT, _TEXT_START, out, spans)
    longest = _edges_size(lower, upper, spans)
    if len(out) < used + longest:
        kept = out
        out, spans = _ROOM.of(used + longest, count)
        out[:used] = kept[:used]
    begin = int(spans[first_node, 0]) - 7 if first_node < count else used
    ended = _write_edges(lower, upper, code, spans, out, used, _TEXT, _TEXT_START)
    view = memoryview(out)
    return view[begin : max(begin, used - 1)], view[used : max(used, ended - 1)]


@compiled
def _edges_size(lower: Array, upper: Array, spans: Array) -> int:
    size = 48 * len(lower)
    for row in range(len(lower)):
        size += spans[lower[row], 1] - spans[lower[row], 0] + spans[upper[row], 1] - spans[upper[row], 0]
    return size


def _write_plainly(snapshot: Snapshot, reached: Reached, first_node: int, first_edge: int) -> tuple[bytes, bytes]:
    rendered = [orjson.dumps(decode_id(snapshot.encoded_id(int(node)))) for node in reached.nodes]
    nodes = []
    for place in range(first_node, len(rendered)):
        kind = int(reached.kind[place])
        stub = b',"stub":true' if kind & _STUB else b""
        nodes.append(b'{"id":%b,"kind":"%b"%b}' % (rendered[place], KINDS[kind & 7].encode(), stub))
    edges = []
    for row in range(first_edge, len(reached.lower)):
        source, target = rendered[reached.lower[row]], rendered[reached.upper[row]]
        if reached.code[row]:
            source, target = target, source
        edges.append(b'{"from":%b,"to":%b,"type":"%b"}' % (source, target, EDGE_TYPES[reached.code[row]].encode()))
    return b",".join(nodes), b",".join(edges)
