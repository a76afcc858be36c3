# Numba infers the integers of compiled loops.
# mypy: disable-error-code="assignment"
# ruff: noqa: PLR0917 - flat arguments compile
"""The next generation from the one before: segments merged in, byte for byte what a build from the whole log gives.

Reading the log from its beginning costs a row of PostgreSQL per claim, over and over. A partition in memory, the
generation mapped and the segments read, already holds all of it in order, so that the next file is one merging pass.
Where retention has removed documents since, numbers could differ, and the log is read whole.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance import csr, id_codec
from mc_pipelines.provenance.compiling import compiled
from mc_pipelines.provenance.described import said_in, said_lists, said_lists_in, said_sections
from mc_pipelines.provenance.key_hash import keys_of
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.offsets import pack_offsets, unpack_offsets
from mc_pipelines.provenance.partition import Partition
from mc_pipelines.provenance.segment import Lists, Segment, merge_segments

Array = NDArray[Any]
_STEP = 1 << 20


def can_compact(partition: Partition) -> bool:
    """Tell whether the next generation can be made of this partition alone."""
    if partition.base is None:
        return False
    pruned = partition.closures.valid_to == -1
    return not bool(np.any(pruned & (partition.closures.seq > int(partition.base.facts["seq"]))))


def compact(partition: Partition) -> dict[str, Array]:
    """Return all sections of the generation as of the partition's event.

    Args:
        partition: one for which :func:`can_compact` holds.
    """
    base = partition.base
    assert base is not None  # noqa: S101 - can_compact
    segment = _one(partition.segments)
    documents = partition.documents
    permanent = np.append(base["doc_permanent"], partition.recent["doc_permanent"])
    with ThreadPoolExecutor(2) as pool:
        sides = [pool.submit(_side, partition, name, segment, documents, permanent) for name in ("up", "down")]
        keys = _keys(partition, segment)
        (up_start, up, up_seq), (down_start, down, down_seq) = (side.result() for side in sides)
    said = said_lists_in(base.sections)
    kind, starts, ids = np.array(base["kind"]), unpack_offsets(base["id_start"]), base["ids"]
    prefixes, prefix_start = base["prefix"], base["prefix_start"]
    if segment is not None:
        kind = np.append(kind, segment.kind)
        kind[segment.changed] = segment.changed_kind
        said = said_lists(said_in(said).joined(said_in(segment.said)))
        more = id_codec.share_prefixes(segment.id_start, segment.ids, prefixes, prefix_start)
        starts = np.append(starts, more[0][1:] + starts[-1]).astype(np.uint32)
        ids, prefixes, prefix_start = np.append(ids, more[1]), more[2], more[3]
    sections = {
        "up_start": pack_offsets(up_start),
        "up": up,
        "down_start": pack_offsets(down_start),
        "down": down,
        "kind": kind,
        "id_start": pack_offsets(starts),
        "ids": ids,
        "prefix": prefixes,
        "prefix_start": prefix_start,
        **csr.index_keys(keys[:, 0]),
        "up_seq": up_seq,
        "down_seq": down_seq,
        **said_sections(said),
    }
    if partition.tenant == PUBLIC:
        sections |= {"key_high": keys[:, 0].copy(), "key_low": keys[:, 1].copy()}
    return sections | {
        "doc_label": documents["doc_label"],
        "doc_valid_from": documents["doc_valid_from"],
        "doc_valid_to": documents["doc_valid_to"],
        "doc_recorded": documents["doc_recorded"],
        "doc_standing": documents["doc_standing"],
        "doc_permanent": permanent,
    }


def _one(segments: tuple[Segment, ...]) -> Segment | None:
    merged = None
    for segment in segments:
        merged = segment if merged is None else merge_segments(merged, segment)
    return merged


def _keys(partition: Partition, segment: Segment | None) -> Array:
    """Return the keys of all nodes, hashed anew from the ids of the generation."""
    base = partition.base
    assert base is not None  # noqa: S101 - can_compact
    count = len(base["kind"])
    parts = []
    for begin in range(0, count, _STEP):
        rows = np.arange(begin, min(count, begin + _STEP))
        parts.append(keys_of(base["ids"], base["id_start"], rows, base["prefix"], base["prefix_start"]))
    if segment is not None:
        parts.append(np.stack([segment.high, segment.low], axis=1))
    return np.concatenate([np.empty((0, 2), dtype=np.uint64), *parts])


def _side(
    partition: Partition, name: str, segment: Segment | None, documents: dict[str, Array], permanent: Array
) -> tuple[Array, Array, Array]:
    base = partition.base
    assert base is not None  # noqa: S101 - can_compact
    start, entries, seq = unpack_offsets(base[f"{name}_start"]), base[name], base[f"{name}_seq"]
    if segment is None:
        return start, entries, seq
    lists: Lists = getattr(segment, name)
    made: tuple[Array, Array, Array] = _merge(
        partition.nodes,
        start,
        entries,
        seq,
        *lists,
        permanent,
        documents["doc_label"],
        documents["doc_valid_from"],
        documents["doc_standing"],
    )
    return made


@compiled
def _merge(
    count: int,
    start: Array,
    entries: Array,
    seq: Array,
    owners: Array,
    first: Array,
    more: Array,
    more_seq: Array,
    permanent: Array,
    label: Array,
    valid_from: Array,
    standing: Array,
) -> tuple[Array, Array, Array]:
    """Merge a segment's lists into a generation's, dropping claims that earlier ones imply, as a build does."""
    out_start = np.zeros(count + 1, dtype=np.uint32)
    out = np.empty(len(entries) + len(more), dtype=np.uint32)
    out_seq = np.empty(len(out), dtype=np.uint32)
    at, owner = 0, 0
    for node in range(count):
        left, left_end = 0, 0
        if node + 1 < len(start):
            left, left_end = np.int64(start[node]), np.int64(start[node + 1])
        if owner == len(owners) or owners[owner] != node:
            for place in range(left, left_end):
                out[at] = entries[place]
                out_seq[at] = seq[place]
                at += 1
            out_start[node + 1] = at
            continue
        right, right_end = np.int64(first[owner]), np.int64(first[owner + 1])
        owner += 1
        begun = at
        while left < left_end or right < right_end:
            if right == right_end or (left < left_end and entries[left] <= more[right]):
                out[at] = entries[left]
                out_seq[at] = seq[left]
                left += 1
                at += 1
                continue
            value, event = more[right], more_seq[right]
            right += 1
            implied = standing[event] == 0
            earlier = at - 1
            while earlier >= begun and out[earlier] == value and not implied:
                old = out_seq[earlier]
                implied = permanent[old] and label[old] == label[event] and valid_from[old] <= valid_from[event]
                earlier -= 1
            if not implied:
                out[at] = value
                out_seq[at] = event
                at += 1
        out_start[node + 1] = at
    return out_start, out[:at].copy(), out_seq[:at].copy()
