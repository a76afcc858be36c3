from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.executions.facts import (
    FACTS_SCHEMA,
    Known,
    days_with_facts,
    facts_frame,
    feature,
    scan_facts,
    with_feature_struct,
    write_facts,
)
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines_tests.executions.stores import MemoryStore

DAY = date(2026, 1, 18)
NOON = datetime(2026, 1, 18, 12, tzinfo=UTC)


def fact(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "execution_id": str(UUID(int=number)),
        "attempt": 1,
        "tenant": "acme",
        "workflow": "nightly",
        "service": "executions",
        "cloud": "AWS",
        "region": "us-east-1",
        "published_at": NOON,
        "started_at": NOON + timedelta(seconds=1),
        "finished_at": NOON + timedelta(seconds=61),
        "outcome": "succeeded",
        "fault_owner": "none",
        "resource_seconds": 120.0,
        "price_id": "p1",
        "cost_minor": 3,
        "currency": "USD",
        "features": [feature("cores", 2, Known.SUBMIT), feature("family", "bwa", Known.SUBMIT)],
        "source": "constructed",
        "recorded_at": NOON + timedelta(seconds=90),
    } | changes


def read(store: MemoryStore, **options: Any) -> pl.DataFrame:
    return scan_facts(store, **({"first_day": DAY, "last_day": DAY} | options)).collect()


def test_what_is_written_is_read() -> None:
    store = MemoryStore()
    frame = facts_frame([fact(1), fact(2, finished_at=NOON + timedelta(days=1), recorded_at=NOON + timedelta(days=2))])
    files = write_facts(store, frame)
    assert [file.day for file in files] == [DAY, DAY + timedelta(days=1)]
    assert days_with_facts(store) == [DAY, DAY + timedelta(days=1)]
    found = read(store, last_day=DAY + timedelta(days=1))
    assert found.schema == FACTS_SCHEMA
    assert found.equals(frame.sort("finished_at"))
    assert read(store)["execution_id"].to_list() == [str(UUID(int=1))]


def test_writing_again_in_another_order_writes_nothing() -> None:
    store = MemoryStore()
    frame = facts_frame([fact(number) for number in range(1, 20)])
    write_facts(store, frame)
    before = dict(store.objects)
    again = write_facts(store, pl.concat([frame.reverse(), frame]))
    assert store.objects == before
    assert not any(file.written for file in again)


def test_a_correction_wins_and_the_past_stays_readable() -> None:
    store = MemoryStore()
    write_facts(store, facts_frame([fact(1), fact(2)]))
    later = NOON + timedelta(hours=5)
    write_facts(store, facts_frame([fact(1, excluded_reason="maintenance", recorded_at=later)]))
    assert read(store).sort("execution_id")["excluded_reason"].to_list() == ["maintenance", None]
    before = read(store, as_known_at=later - timedelta(microseconds=1))
    assert before["excluded_reason"].to_list() == [None, None]
    assert read(store, as_known_at=NOON).is_empty()


def test_two_attempts_are_two_facts() -> None:
    store = MemoryStore()
    write_facts(store, facts_frame([fact(1, outcome="lost", fault_owner="provider"), fact(1, attempt=2)]))
    assert read(store)["attempt"].sort().to_list() == [1, 2]


def test_no_facts_is_an_empty_frame_of_the_schema() -> None:
    assert read(MemoryStore()).schema == FACTS_SCHEMA


def test_a_changed_file_is_refused() -> None:
    store = MemoryStore()
    (file,) = write_facts(store, facts_frame([fact()]))
    store.objects[file.path] = store.objects[file.path][:-20]
    with pytest.raises(VerificationError, match="not what its name says"):
        read(store)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"execution_id": "7"}, "execution_id"),
        ({"attempt": 0}, "attempt"),
        ({"tenant": None}, "tenant"),
        ({"outcome": "fine"}, "outcome"),
        ({"fault_owner": "nobody"}, "fault_owner"),
        ({"source": "guess"}, "source"),
        ({"resource_seconds": float("nan")}, "resource_seconds"),
        ({"resource_seconds": float("inf")}, "resource_seconds"),
        ({"resource_seconds": -0.5}, "resource_seconds"),
        ({"cost_minor": -1}, "cost_minor"),
        ({"currency": "XXX"}, "currency"),
        ({"finished_at": NOON - timedelta(seconds=1), "started_at": None}, "finished_at"),
        ({"started_at": NOON - timedelta(seconds=1)}, "started_at"),
        ({"started_at": NOON + timedelta(seconds=62)}, "started_at"),
        ({"recorded_at": NOON}, "recorded_at"),
        ({"cloud": None}, "cloud"),
        ({"outcome": "denied", "cloud": None, "region": None}, "cost_minor"),
        ({"receipt_digest": "sha256:00"}, "receipt_digest"),
        ({"source": "real"}, "receipt_digest"),
        ({"features": [{"name": "x", "value": 1.0, "text": None, "known": "later"}]}, "features.known"),
    ],
)
def test_a_broken_rule_is_named_and_nothing_is_written(changes: dict[str, Any], field: str) -> None:
    store = MemoryStore()
    with pytest.raises(InputError) as raised:
        write_facts(store, facts_frame([fact(1), fact(2, **changes)]))
    assert raised.value.field == field
    assert not store.objects


def test_columns_and_types_are_held() -> None:
    frame = facts_frame([fact()])
    for wrong in (
        frame.drop("tenant"),
        frame.with_columns(pl.lit(1).alias("surplus")),
        frame.with_columns(pl.col("finished_at").dt.replace_time_zone(None)),
        frame.with_columns(pl.col("cost_minor").cast(pl.Float64)),
    ):
        with pytest.raises(InputError):
            write_facts(MemoryStore(), wrong)
    with pytest.raises(InputError, match="Not a column"):
        facts_frame([fact() | {"surplus": 1}])
    with pytest.raises(InputError, match="last day"):
        read(MemoryStore(), last_day=DAY - timedelta(days=1))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(2, 9)), min_size=1, max_size=12))
def test_whatever_is_written_in_whatever_pieces_the_latest_row_of_each_attempt_is_read(
    rows: list[tuple[int, int, int]],
) -> None:
    store = MemoryStore()
    latest: dict[tuple[int, int], int] = {}
    for number, attempt, minutes in rows:
        recorded = NOON + timedelta(minutes=minutes)
        write_facts(store, facts_frame([fact(number, attempt=attempt, recorded_at=recorded)]))
        latest[number, attempt] = max(minutes, latest.get((number, attempt), 0))
    found = {
        (UUID(row["execution_id"]).int, row["attempt"]): int((row["recorded_at"] - NOON).total_seconds() // 60)
        for row in read(store).iter_rows(named=True)
    }
    assert found == latest


def test_features_as_a_struct_carry_value_and_mark() -> None:
    frame = facts_frame([fact(1), fact(2, features=[feature("cores", 8, Known.READY)]), fact(3, features=[])])
    wide = with_feature_struct(frame)
    assert wide["features"].to_list() == [
        {"cores": {"value": 2.0, "known": "ready"}, "family": {"value": "bwa", "known": "submit"}},
        {"cores": {"value": 8.0, "known": "ready"}, "family": {"value": None, "known": "submit"}},
        {"cores": {"value": None, "known": "ready"}, "family": {"value": None, "known": "submit"}},
    ]
