"""A watching store hears of commits and of swaps by itself; what a request holds stays as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.provenance import log_reader
from mc_pipelines.provenance.access import EVERYTHING
from mc_pipelines.provenance.edge_log import ingest_claims, ingest_many
from mc_pipelines.provenance.generations import KEPT, build_generation
from mc_pipelines.provenance.impact import impact_answer
from mc_pipelines.provenance.kernel import walk_compiled
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.pruning import prune
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import GraphQuery, ImpactQuery
from mc_pipelines.provenance.segment import MAXIMUM_SEGMENTS
from mc_pipelines.provenance.store import GraphStore
from mc_pipelines.provenance.walk import Walk
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, sbom
from mc_pipelines_tests.provenance.test_query import KEY, purl

pytestmark = pytest.mark.database


@pytest.fixture
def store(database: TestDatabase, clock: FrozenClock, tmp_path: Path) -> Iterator[GraphStore]:
    made = GraphStore(database.app, tmp_path, clock, refresh_seconds=3600)  # looks for news only by watching
    made.watch()
    yield made
    made.close()


def eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.01)
    return False


def test_it_hears_of_commits_swaps_and_shared_news(
    store: GraphStore, database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    ingest_claims(database.app, ACME, sbom("a", {"app": ["libc6"]}), clock=clock)
    held = store.snapshot(ACME)
    assert held.position == (1, 0)
    ingest_claims(database.app, ACME, sbom("b", {"app": ["zlib1g"]}), clock=clock)
    ingest_claims(database.app, PUBLIC, sbom("c", {"libc6": ["gcc"]}), clock=clock, operator=True)
    assert eventually(lambda: store.snapshot(ACME).position == (2, 1))
    built = build_generation(database.app, tmp_path, ACME, clock=clock)
    assert eventually(lambda: store.snapshot(ACME).own.generation == built.generation)
    assert (held.position, held.find(purl("zlib1g"))) == ((1, 0), -1)
    view = store.view(ACME, held, EVERYTHING)
    assert len(walk_compiled(held, Walk(held.find(purl("app")), 5), view.visible).nodes) == 2


def test_many_small_commits_stay_few_segments_and_old_generations_go(
    store: GraphStore, database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    store.snapshot(ACME)
    for number in range(20):
        document = sbom(f"d{number}", {f"p{number}": ["libc6", f"q{number}"]})
        seq = ingest_claims(database.app, ACME, document, clock=clock).seq or 0
        partition = store.snapshot(ACME, min_seq=seq).own
        assert len(partition.segments) <= MAXIMUM_SEGMENTS
        if number % 4 == 3:
            build_generation(database.app, tmp_path, ACME, clock=clock)
    assert len(list((tmp_path / ACME).glob("*.mcgraph"))) == KEPT
    assert not list((tmp_path / ACME).glob("*.tmp"))


def test_a_generation_of_another_release_is_read_from_the_log_until_the_next_is_built(
    store: GraphStore, database: TestDatabase, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_claims(database.app, ACME, sbom("a", {"app": ["libc6"]}), clock=clock)
    with monkeypatch.context() as patch:
        patch.setattr("mc_pipelines.provenance.generations.LAYOUT", 1)
        other = build_generation(database.app, tmp_path, ACME, clock=clock)
    held = store.snapshot(ACME)
    assert (held.own.base, held.own.seq, held.find(purl("libc6"))) == (None, 1, 1)

    def unexpected(*_: object) -> object:
        raise AssertionError("what cannot be merged is not read for it")

    with monkeypatch.context() as patch:
        patch.setattr("mc_pipelines.provenance.generations.open_partition", unexpected)
        built = build_generation(database.app, tmp_path, ACME, clock=clock)
    assert built.generation != other.generation
    assert eventually(lambda: store.snapshot(ACME).own.base is not None)
    assert store.snapshot(ACME).find(purl("libc6")) == 1


def test_a_log_without_a_generation_is_read_in_pieces(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL makes no value of more than a gigabyte, and a whole log does not fit into one."""
    largest: list[int] = []
    aggregates = log_reader._aggregates

    def measured(*given: Any) -> list[bytes]:
        found = aggregates(*given)
        largest.append(max(map(len, found)))
        return found

    monkeypatch.setattr(log_reader, "_aggregates", measured)
    monkeypatch.setattr(log_reader, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(log_reader, "_DOCUMENTS_AT_ONCE", 4, raising=False)
    documents = [sbom(f"d{number}", {f"p{number}": ["libc6", f"q{number}"]}) for number in range(20)]
    ingest_many(database.app, ACME, documents, clock=clock)
    found = GraphStore(database.app, tmp_path, clock).snapshot(ACME)
    assert (found.own.nodes, found.own.seq, int(found.own.documents["doc_standing"].sum())) == (41, 20, 20)
    assert max(largest) < 500


def test_what_was_kept_of_a_view_goes_when_the_shared_partition_is_numbered_anew(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    """The tenant's own generation and both positions stay what they were; the numbers of shared nodes do not."""
    store = GraphStore(database.app, tmp_path, clock, refresh_seconds=0)
    low = msgspec.structs.replace(sbom("old", {"a": ["b"], "c": ["d"]}), low_value=True)
    tools = sbom("tools", {f"t{number}": ["lib"] for number in range(6)})
    ingest_many(database.app, PUBLIC, [low, tools], clock=clock, operator=True)
    ingest_claims(database.app, ACME, sbom("mine", {"app": ["lib"]}), clock=clock)
    store.snapshot(ACME)
    learnt = clock.now()
    clock.advance(timedelta(days=31))
    assert len(prune(database.app, PUBLIC, archive=None, clock=clock).pruned) == 1
    ingest_claims(database.app, ACME, sbom("later", {"y": ["z"]}), clock=clock)
    query = ImpactQuery(purl("lib"), limit=2, known_at=learnt)
    cursor = impact_answer(store, ACME, query, EVERYTHING, KEY).cursor
    asked = [
        lambda: impact_answer(store, ACME, replace(query, cursor=cursor), EVERYTHING, KEY).body,
        lambda: graph_answer(store, ACME, GraphQuery(purl("lib"), fan_out=2, known_at=learnt), EVERYTHING, KEY).body,
    ]
    before = [ask() for ask in asked]
    build_generation(database.app, tmp_path, PUBLIC, clock=clock)
    assert store.snapshot(ACME).shared.base is not None
    assert [ask() for ask in asked] == before
