"""Compile everything once: `python -m mc_pipelines.provenance.warm_up`, which set-up runs.

A tiny log is read, built, merged, walked and written through the same code as a real one, in each combination of
mapped and added, own and shared, that the compiled functions know; numba keeps what it made beside the sources. A
service that starts afterwards loads it in a second or two and never compiles while somebody waits.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import log_reader
from mc_pipelines.provenance.ancestry import ancestry
from mc_pipelines.provenance.commitment import Leaves, grow_tree
from mc_pipelines.provenance.compaction import compact
from mc_pipelines.provenance.compiling import COMPILES
from mc_pipelines.provenance.generation_file import LAYOUT, open_generation, write_generation
from mc_pipelines.provenance.generations import assemble
from mc_pipelines.provenance.id_texts import ids_of
from mc_pipelines.provenance.identity import node_key
from mc_pipelines.provenance.kernel import have_edges, walk_compiled
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.page import Whole
from mc_pipelines.provenance.partition import Older, Partition, extend, unread
from mc_pipelines.provenance.reach import reach
from mc_pipelines.provenance.serialise import write_answer
from mc_pipelines.provenance.snapshot import Snapshot, take_snapshot
from mc_pipelines.provenance.two_ends import shortest_between
from mc_pipelines.provenance.walk import ANCESTORS, DESCENDANTS, Visible, Walk

_TENANT = TenantId("warm-up")
_RUN = "run:https://ci.example/0000000{}-0000-4000-8000-000000000000"
_NAMES = (
    *(f"sha256:{number:064x}" for number in range(3)),
    *("gitoid:blob:sha256:" + "ab" * 32, "pkg:npm/a@1", "pkg:npm/b@1"),
    *(_RUN.format(number) for number in range(3)),
)
_EVENTS = (((0, 4, 0), (6, 0, 1), (3, 0, 2)), ((1, 4, 0), (7, 1, 1)), ((2, 4, 0), (8, 2, 1), (0, 5, 0)))
"""Edges (source, target, type) of three events, by place in the names."""


def warm_up() -> float:
    """Compile what is not compiled yet; return the seconds it took."""
    begun = time.perf_counter()
    if COMPILES:
        with tempfile.TemporaryDirectory() as folder:
            _exercise(Path(folder))
    return time.perf_counter() - begun


def _exercise(folder: Path) -> None:
    own, shared = _partition(folder, _TENANT), _partition(folder, PUBLIC)
    for partition in (own, shared):
        compact(partition)
        if partition.base is not None:
            grow_tree(Leaves(partition.base, partition.closures))
    earlier = take_snapshot(_partition(folder, _TENANT, last=1), _partition(folder, PUBLIC, last=2))
    snapshot = take_snapshot(own, shared, earlier)
    for everything in (True, False):
        shown = np.ones(len(_EVENTS) + 1, dtype=np.uint8)
        shown.flags.writeable = False
        visible = Visible(shown, shown, everything)
        _survey(snapshot, visible)
        start = snapshot.find(_NAMES[0])
        down = Walk(start, 3, DESCENDANTS)
        ids_of(snapshot, reach(snapshot, down, visible).nodes)
        Whole.of(walk_compiled(snapshot, down, visible), down.depth).page((1, 0), 1)
        shortest_between(snapshot, visible, down, snapshot.find(_NAMES[2]))  # there is none
        shortest_between(snapshot, visible, Walk(start, 3, ANCESTORS), snapshot.find(_NAMES[4]))
        for undirected in (True, False):
            walk = Walk(start, 3, undirected=undirected)
            write_answer(snapshot, walk_compiled(snapshot, walk, visible), b"{}")


def _survey(snapshot: Snapshot, visible: Visible) -> None:
    starts = [snapshot.find(_NAMES[0])]
    above = ancestry(snapshot, visible, starts)
    above.count(above.place[starts])
    above.below(np.ones(len(above.nodes), dtype=np.bool_))
    have_edges(snapshot, visible, above.nodes)
    for number in range(snapshot.nodes):
        snapshot.id_of(number)


def _partition(folder: Path, tenant: TenantId, last: int = len(_EVENTS)) -> Partition:
    """A generation of the first event, and a segment for each of the others."""
    none = np.empty(0, dtype=np.int64)
    closures = log_reader.Closures(none, none, none)
    sections = assemble(tenant, _documents(1), [_claims(1)], _nodes(1), _descriptions(2, 1, ()), closures)
    facts = {"layout": LAYOUT, "tenant": tenant, "seq": 1}
    made = unread(tenant, "warm-up", open_generation(write_generation(folder, facts, sections)[0]))
    for event in range(2, last + 1):
        made = extend(
            made,
            *(_documents(event), _claims(event), _nodes(event), _descriptions(event, event, _NAMES), closures),
            Older(lambda _high, _low: _nodes(1), _told_until(event)),
        )
    return made


def _documents(event: int) -> log_reader.Documents:
    one = np.ones(1, dtype=np.int64)
    yes = np.ones(1, dtype=np.bool_)
    return log_reader.Documents(
        event, event, yes, np.zeros(1, dtype=np.uint16), one, one * log_reader.FOREVER, one, yes, one
    )


def _claims(event: int) -> log_reader.Claims:
    keys = [node_key(name) for name in _NAMES]
    rows = (
        log_reader.row_of(event, ordinal, code, keys[source], keys[target])
        for ordinal, (source, target, code) in enumerate(_EVENTS[event - 1])
    )
    return log_reader.claims_of(b"".join(rows))


def _nodes(event: int) -> log_reader.Nodes:
    """The rows of the nodes that an event is the first to name."""
    ends = [{end for edge in edges for end in edge[:2]} for edges in _EVENTS]
    chosen = sorted(ends[event - 1].difference(*ends[: event - 1]))
    return log_reader.nodes_of(_said((event, place) for place in chosen), "\n".join(_NAMES[p] for p in chosen).encode())


def _told_until(event: int) -> Callable[[np.ndarray, np.ndarray], log_reader.Descriptions]:
    def told(high: np.ndarray, _low: np.ndarray) -> log_reader.Descriptions:
        wanted = set(high.tolist())
        names = [name for name in _NAMES if int.from_bytes(node_key(name)[:8], "big") in wanted]
        return _descriptions(1, event, names)

    return told


def _descriptions(first: int, last: int, names: Collection[str]) -> log_reader.Descriptions:
    """What events say of nodes that more than one of them names."""
    rows = ((1, 0), (1, 4), (2, 4), (3, 0))
    return log_reader.descriptions_of(_said(row for row in rows if first <= row[0] <= last and _NAMES[row[1]] in names))


def _said(rows: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(log_reader.said_row(node_key(_NAMES[at]), event, (at + (event > 1)) % 5) for event, at in rows)


if __name__ == "__main__":
    sys.stderr.write(f"set-up: kernel of the provenance graph, ready after {warm_up():.0f} s\n")
