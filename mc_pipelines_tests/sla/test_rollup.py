"""Rollups: the fast count is the plain definition, its bytes are canonical, late facts change only what they touch."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.executions.fact_versions import changed_rows, newest_rows
from mc_pipelines.executions.facts import fact_paths, fact_source, facts_frame, write_facts
from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.object_store import ObjectStore, open_object_store
from mc_pipelines.sla import counting
from mc_pipelines.sla.counting import Profile, count_slices
from mc_pipelines.sla.late_counts import empty_day, late_shifts, shifted
from mc_pipelines.sla.rollup import BASE, roll_day
from mc_pipelines.sla.slices import EDGES_MS, SliceDay, slice_day_of

DAY = date(2026, 1, 19)
START = datetime(2026, 1, 19, tzinfo=UTC)
PROFILES = (BASE, Profile(60_000), Profile(300_000, 400))
KEYS = ("tenant", "service", "number")


def fact(number: int, moment: timedelta, recorded: int = 0, **changes: Any) -> dict[str, Any]:
    finished = START + moment
    return {
        "execution_id": str(UUID(int=number)),
        "attempt": 1,
        "tenant": "acme",
        "workflow": "nightly",
        "service": "pipelines",
        "cloud": "AWS",
        "region": "us-east-1",
        "published_at": finished - timedelta(seconds=2),
        "started_at": finished - timedelta(seconds=1),
        "finished_at": finished,
        "outcome": "succeeded",
        "fault_owner": "none",
        "resource_seconds": 1.0,
        "price_id": "p1",
        "cost_minor": 1,
        "currency": "USD",
        "features": [],
        "source": "constructed",
        "recorded_at": START + timedelta(days=2, seconds=recorded),
    } | changes


@st.composite
def facts_of_a_day(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A day of attempts, some of them corrected, with every outcome and exclusion."""
    rows = []
    for number in range(draw(st.integers(1, 30))):
        moment = timedelta(
            microseconds=draw(st.sampled_from([0, 899_999_999, 900_000_000, 43_200_000_001, 86_399_999_999]))
        )
        finished = START + moment
        waited = draw(st.sampled_from([0, 399_999, 400_000, 400_001, 5_000_000]))
        outcome = draw(st.sampled_from(["succeeded", "failed", "lost", "cancelled"]))
        rows.append(
            fact(
                draw(st.integers(0, 20)),
                moment,
                number,
                tenant=draw(st.sampled_from(["acme", "beta", 'o"ne'])),
                service=draw(st.sampled_from(["pipelines", "reports"])),
                published_at=finished - timedelta(microseconds=waited),
                started_at=draw(st.sampled_from([finished, finished, None])),
                outcome=outcome,
                fault_owner=draw(st.sampled_from(["provider", "customer", "none"])),
                excluded_reason=draw(st.sampled_from([None, None, "maintenance"])),
                source=draw(st.sampled_from(["real", "constructed"])),
                receipt_digest="sha256:" + "0" * 64,
            )
        )
    return rows


def plainly(rows: list[dict[str, Any]], profile: Profile) -> pl.DataFrame:
    """The definition of a count, row by row."""
    counted: dict[tuple[str, str, int], list[int]] = {}
    for row in newest_rows(facts_frame(rows).lazy()).collect().iter_rows(named=True):
        excluded = bool(row["excluded_reason"]) or row["fault_owner"] == "customer" or row["outcome"] == "cancelled"
        if profile.threshold_ms:
            excluded = excluded or row["started_at"] is None
            limit = timedelta(milliseconds=profile.threshold_ms)
            bad = not excluded and row["started_at"] - row["published_at"] > limit
        else:
            bad = not excluded and row["outcome"] in {"failed", "lost"}
        since = row["finished_at"] - datetime(1970, 1, 1, tzinfo=UTC)
        number = since // timedelta(milliseconds=profile.granule_ms)
        cell = counted.setdefault((row["tenant"], row["service"], number), [0, 0, 0, 0])
        for place, one in enumerate((True, bad, excluded, row["source"] != "real")):
            cell[place] += one
    found = [(*key, *counts) for key, counts in sorted(counted.items())]
    return pl.DataFrame(found, schema=[*KEYS, "total", "bad", "excluded", "constructed"], orient="row")


def stored(folder: Path, rows: list[dict[str, Any]], pieces: int, seed: int = 0) -> ObjectStore:
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, not a secret
    folder.mkdir(parents=True, exist_ok=True)
    store = open_object_store(folder.as_uri())
    for number in range(pieces):
        if part := shuffled[number::pieces]:
            write_facts(store, facts_frame(part))
    return store


def rolled(store: ObjectStore, *, threads: int = 2, backwards: bool = False) -> list[bytes]:
    paths = fact_paths(store, first_day=DAY, last_day=DAY)
    sources = [fact_source(store, path) for path in (reversed(paths) if backwards else paths)]
    return [one.content for one in roll_day(sources, PROFILES, DAY, threads=threads)]


@given(rows=facts_of_a_day(), pieces=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_fast_count_is_the_plain_definition(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], pieces: int, seed: int
) -> None:
    store = stored(tmp_path_factory.mktemp("facts"), rows, pieces, seed)
    documents = rolled(store)
    assert documents == rolled(store, threads=1, backwards=True)
    for profile in PROFILES:
        days = [slice_day_of(parse_json(content, what="slices")) for content in documents]
        mine = [day for day in days if (day.granule_ms, day.threshold_ms) == (profile.granule_ms, profile.threshold_ms)]
        expected = plainly(rows, profile)
        counted = [
            (day.tenant, day.service, row.number, row.total, row.bad, row.excluded) for day in mine for row in day.rows
        ]
        assert counted == expected.drop("constructed").rows()
        assert sum(day.constructed for day in mine) == expected["constructed"].sum()
        for row in (row for day in mine for row in day.rows if profile.threshold_ms):
            assert sum(count for _, count in row.buckets) == row.total - row.excluded
            assert {edge for edge, _ in row.buckets} <= set(EDGES_MS)


@given(rows=facts_of_a_day())
@settings(max_examples=8, deadline=None)
def test_documents_are_in_canonical_form(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    store = stored(tmp_path_factory.mktemp("facts"), rows, 2)
    for one in roll_day([fact_source(store, p) for p in fact_paths(store, first_day=DAY, last_day=DAY)], PROFILES, DAY):
        day = slice_day_of(parse_json(one.content, what="slices"))
        assert canonical_json(day.to_document()) == one.content
        assert (day.digest, day.events) == (one.digest, one.events)


def test_sparse_and_dense_counting_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        fact(
            number,
            timedelta(seconds=863 * (number % 100)),
            tenant=f"t{number % 7}",
            outcome=("failed", "succeeded")[number % 2],
        )
        for number in range(500)
    ]
    store = stored(tmp_path, rows, 3)
    sources = [fact_source(store, path) for path in fact_paths(store, first_day=DAY, last_day=DAY)]
    dense = count_slices(sources, Profile(60_000), DAY)
    monkeypatch.setattr(counting, "_MOST_CELLS", 0)
    assert count_slices(sources, Profile(60_000), DAY).equals(dense)
    assert dense["total"].sum() == 500


def test_a_file_of_another_day_is_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, [fact(1, timedelta(hours=1))], 1)
    sources = [fact_source(store, path) for path in fact_paths(store, first_day=DAY, last_day=DAY)]
    with pytest.raises(InputError, match="another day"):
        count_slices(sources, BASE, DAY + timedelta(days=1))
    assert count_slices([], BASE, DAY).is_empty()


def test_a_small_late_file_replaces_rows_of_a_large_one(tmp_path: Path) -> None:
    rows = [fact(number, timedelta(minutes=number)) for number in range(60)]
    store = stored(tmp_path, rows, 1)
    late = [
        fact(7, timedelta(minutes=7), 10, outcome="failed", fault_owner="provider"),
        fact(7, timedelta(minutes=7), 20, outcome="lost", fault_owner="provider", tenant="beta"),
        fact(99, timedelta(minutes=9), 10, outcome="failed", fault_owner="provider"),
    ]
    write_facts(store, facts_frame(late))
    sources = [fact_source(store, path) for path in fact_paths(store, first_day=DAY, last_day=DAY)]
    assert len(sources) == 2
    counted = [
        (one.tenant, one.events, sum(row.bad for row in slice_day_of(parse_json(one.content, what="slices")).rows))
        for one in roll_day(sources, [BASE], DAY)
    ]
    assert counted == [("acme", 60, 1), ("beta", 1, 1)]


def shifted_days(store: ObjectStore, known: list[str], before: list[bytes]) -> list[bytes]:
    """Add to the documents of a day what the files that are not known change."""
    paths = fact_paths(store, first_day=DAY, last_day=DAY)
    sources, late = [fact_source(store, path) for path in paths], [path not in known for path in paths]
    days = [slice_day_of(parse_json(content, what="slices")) for content in before]
    found: list[SliceDay] = []
    for profile in PROFILES:
        mine = {
            (day.tenant, day.service): day
            for day in days
            if (day.granule_ms, day.threshold_ms) == (profile.granule_ms, profile.threshold_ms)
        }
        gone, come = changed_rows(sources, late, sorted(set(profile.columns)))
        for pair, shift in late_shifts(gone, come, profile, DAY).items():
            mine[pair] = shifted(mine.get(pair, empty_day(pair, DAY, profile)), shift)
        found += [mine[pair] for pair in sorted(mine) if mine[pair].rows]
    return [canonical_json(day.to_document()) for day in found]


@given(rows=facts_of_a_day(), late=facts_of_a_day(), pieces=st.integers(1, 3), backdated=st.booleans())
@settings(max_examples=40, deadline=None)
def test_late_rows_added_to_stored_counts_are_a_count_of_the_whole_day(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    late: list[dict[str, Any]],
    pieces: int,
    backdated: bool,
) -> None:
    """Also where a late row was recorded before, or at the same moment as, one that is counted."""
    store = stored(tmp_path_factory.mktemp("facts"), rows, pieces)
    known, before = fact_paths(store, first_day=DAY, last_day=DAY), rolled(store)
    for row in late if not backdated else []:
        row["recorded_at"] += timedelta(seconds=15)
    for row in late:
        write_facts(store, facts_frame([row]))
    assert shifted_days(store, known, before) == rolled(store)


def test_counts_that_the_files_do_not_bear_out_are_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, [fact(1, timedelta(hours=1))], 1)
    known = fact_paths(store, first_day=DAY, last_day=DAY)
    write_facts(store, facts_frame([fact(1, timedelta(hours=1), 5, tenant="beta")]))
    with pytest.raises(VerificationError, match="not those of the files"):
        shifted_days(store, known, [])
