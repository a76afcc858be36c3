"""The file of one generation: named arrays, aligned, behind a JSON header; written whole, then renamed.

Layout: ``MCGRAPH1``, the header's length (8 bytes, little-endian), the header (UTF-8 JSON: ``facts`` and
``sections`` with dtype, offset and length), then each section at a multiple of 64 bytes. The hot sections
(adjacency, ids) come before the cold ones (events, documents), so that a walk without a filter touches the
front of the file only. A file is named by the BLAKE2b of its bytes and is never changed.

Sections (n nodes in order of first mention, m entries a direction, d events):

- ``up_start``, ``down_start`` (n+1, packed) and ``up``, ``down`` (uint32, m): for each node its neighbours
  towards ancestors and towards descendants, ascending; an entry is ``neighbour << 2 | type``.
- ``up_seq``, ``down_seq`` (uint32, m): the event that claimed the entry. Label, validity and retention are the
  document's, so an entry costs four bytes for all of them.
- ``kind`` (uint8, n): kind, plus 8 for a stub, as the best of a node's descriptions says, plus 16 where not all say so.
- ``said_owner`` (uint32), ``said_start`` (uint32, one more), ``said`` (uint8), ``said_seq`` (uint32): descriptions that
  stand as rows, by node, of each node the best first (12 minus its order) and then by event; see
  :mod:`mc_pipelines.provenance.described`.
- ``id_start`` (n+1, packed), ``ids`` (uint8): encoded ids, see :mod:`mc_pipelines.provenance.id_codec`;
  ``prefix`` (uint8), ``prefix_start`` (int64): the table of prefixes that they share.
- ``bucket`` (uint32), ``by_key`` (uint32, n), ``check`` (uint8, n): nodes sorted by key, found by the key's
  first bits, told apart by bits 56 to 63; eight to sixteen to a bucket.
- packed offsets (uint16): see :mod:`mc_pipelines.provenance.offsets`.
- ``doc_*`` (d+1): by event: label, validity and time of recording (microseconds since 1970), whether it
  stands, and whether it is permanent (never superseded or pruned, so that it makes later equal claims superfluous).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.foundation.errors import VerificationError

Array = NDArray[Any]
LAYOUT = 5
_MAGIC = b"MCGRAPH1"
_ALIGNMENT = 64
MAXIMUM_NODES = 2**30 - 1
"""Nodes of one tenant: two of 32 bits of an entry are the edge's type."""
ROOTS = ".mcroots"
"""Suffix of what lies beside a generation once it is committed to; see :mod:`mc_pipelines.provenance.committing`."""


class OtherLayoutError(VerificationError):
    """A generation that another release wrote: nothing is wrong with it, and the log makes it anew."""


@dataclass(frozen=True)
class GenerationFile:
    """An open generation.

    Attributes:
        path: where it lies.
        facts: tenant, seq, layout and counts.
        sections: the arrays, read-only views of the mapped file.
        size: bytes.
    """

    path: Path
    facts: dict[str, Any]
    sections: dict[str, Array]
    size: int

    def __getitem__(self, name: str) -> Array:
        """Return a section."""
        return self.sections[name]


def write_generation(folder: Path, facts: dict[str, Any], sections: dict[str, Array]) -> tuple[Path, str]:
    """Write a generation below ``folder``; return its path and its digest (hex).

    The same arrays give the same bytes and so the same name. A crash leaves at most a ``.tmp`` file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    room = len(json.dumps(facts)) + 100 * len(sections) + 64
    table: dict[str, list[Any]] = {}
    offset = _aligned(len(_MAGIC) + 8 + room)
    for name, array in sections.items():
        table[name] = [array.dtype.str, offset, len(array)]
        offset = _aligned(offset + array.nbytes)
    header = json.dumps({"facts": facts, "sections": table}, sort_keys=True).encode().ljust(room)
    partial = folder / f"{uuid4().hex}.tmp"
    digest = hashlib.blake2b(digest_size=20)
    with partial.open("wb") as file:
        position = 0
        for piece, at in ((_MAGIC + len(header).to_bytes(8, "little") + header, 0), *_pieces(sections, table)):
            gap = b"\0" * (at - position)
            for block in (gap, piece):
                view = memoryview(block).cast("B") if len(block) else b""
                digest.update(view)
                file.write(view)
                position += len(view)
        file.flush()
        os.fsync(file.fileno())
    path = folder / f"{digest.hexdigest()}.mcgraph"
    partial.replace(path)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return path, digest.hexdigest()


def open_generation(path: Path) -> GenerationFile:
    """Map a generation.

    Raises:
        OtherLayoutError: another release wrote it.
        VerificationError: it is no generation, or cut short.
    """
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    head = bytes(mapped[: len(_MAGIC) + 8])
    if not head.startswith(_MAGIC):
        raise VerificationError("Not a graph generation", field="path", value=path.name)
    length = int.from_bytes(head[len(_MAGIC) :], "little")
    header = json.loads(bytes(mapped[len(head) : len(head) + length]))
    if header["facts"]["layout"] != LAYOUT:
        raise OtherLayoutError("A graph generation of another layout", field="layout", value=header["facts"]["layout"])
    sections: dict[str, Array] = {}
    for name, (dtype, offset, count) in header["sections"].items():
        end = offset + np.dtype(dtype).itemsize * count
        if end > len(mapped):
            raise VerificationError("A graph generation that is cut short", field="path", value=path.name)
        sections[name] = np.asarray(mapped[offset:end]).view(dtype)
    return GenerationFile(path, header["facts"], sections, len(mapped))


def check_generation(path: Path) -> None:
    """Check that a file's bytes still have the digest it is named by.

    Raises:
        VerificationError: they do not.
    """
    digest = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    if digest.hexdigest() != path.stem:
        raise VerificationError("A graph generation whose bytes have changed", field="path", value=path.name)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _pieces(sections: dict[str, Array], table: dict[str, list[Any]]) -> list[tuple[Any, int]]:
    return [(np.ascontiguousarray(array), table[name][1]) for name, array in sections.items()]
