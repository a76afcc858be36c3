"""Walks that are kept for their next pages: found for their own view only, up to so many bytes, gone with the view."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np

from mc_pipelines.provenance.access import View
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.page import Shelf, Whole
from mc_pipelines.provenance.snapshot import take_snapshot
from mc_pipelines.provenance.walk import DESCENDANTS, Visible, Walk
from mc_pipelines_tests.provenance.small_graphs import Document, partition


def a_walk(folder: Path) -> tuple[Visible, Whole]:
    own = [Document(tuple((place, 0, 0) for place in range(1, 9)))]
    snapshot = take_snapshot(partition(own, folder, compacted=1), partition([Document(())], folder, compacted=0))
    visible = Visible(np.ones(2, dtype=np.uint8), np.ones(2, dtype=np.uint8), everything=True)
    walk = Walk(0, 5, DESCENDANTS)
    return visible, Whole.of(walk_compiled(snapshot, walk, visible), walk.depth)


def test_a_walk_is_kept_for_its_own_view_up_to_the_room_there_is(tmp_path: Path) -> None:
    visible, whole = a_walk(tmp_path)
    views = [View(visible, 0, 1, (1, 1)) for _ in range(4)]
    shelf = Shelf(3 * whole.size)
    for view in views[:3]:
        shelf.put(view, "question", whole)
    assert shelf.get(views[0], "question") is whole  # asked for last, so the second one makes room
    assert shelf.get(views[0], "another") is None
    assert shelf.get(views[3], "question") is None
    shelf.put(views[3], "question", whole)
    assert [shelf.get(view, "question") is whole for view in views] == [True, False, True, True]
    del views[2:], view
    gc.collect()
    shelf.put(views[1], "question", whole)
    assert len(shelf._held) == 2, "what was kept for views that are gone is gone"
    assert Shelf(1).put(views[0], "question", whole) is whole, "a walk without room is used and not kept"


def test_a_page_leaves_the_walk_as_it_is(tmp_path: Path) -> None:
    _, whole = a_walk(tmp_path)
    first = [whole.page((0, 0), 4).reached.nodes.tolist() for _ in range(2)]
    assert first[0] == first[1] == whole.reached.nodes[:4].tolist()
    rest = whole.page(whole.page((0, 0), 4).until, 100)
    assert rest.reached.nodes[rest.earlier :].tolist() == whole.reached.nodes[4:].tolist()
    assert rest.until == (len(whole.reached.nodes), len(whole.reached.lower))
    assert not len(rest.waiting)
