"""Reading traces and facts: layouts, bad rows, duplicates, late corrections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from mc_pipelines.estimator.readers import history_from_facts, history_from_trace
from mc_pipelines.executions.fact_schema import Known
from mc_pipelines.executions.facts import facts_frame, feature
from mc_pipelines.foundation.errors import InputError

START = datetime(2025, 1, 1, tzinfo=UTC)


def trace(**columns):
    count = len(next(iter(columns.values())))
    base = {
        "ts": [START.replace(tzinfo=None) + timedelta(hours=index) for index in range(count)],
        "workflow": ["w"] * count,
        "runtime_s": [10.0 + index for index in range(count)],
    }
    return pl.DataFrame(base | columns)


def write(frame, tmp_path):
    path = tmp_path / "trace.parquet"
    frame.write_parquet(path)
    return path


def test_bad_rows_are_left_out_and_counted_by_reason(tmp_path):
    frame = trace(
        runtime_s=[1.0, -2.0, float("nan"), float("inf"), None, 5.0, 6.0],
        workflow=["w", "w", "w", "w", "w", None, "w"],
        cores=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
    )
    history = history_from_trace(write(frame, tmp_path))
    assert len(history) == 1
    assert history.excluded == {
        "runtime-negative": 1, "runtime-missing": 3, "workflow-missing": 1, "allocation-invalid": 1,
    }  # fmt: skip


def test_an_exact_duplicate_counts_once(tmp_path):
    frame = trace(cores=[1, 2, 3])
    history = history_from_trace(write(pl.concat([frame, frame]), tmp_path))
    assert len(history) == 3
    assert history.excluded == {"duplicate": 3}


@pytest.mark.parametrize("column", ["ts", "workflow", "runtime_s"])
def test_a_missing_column_is_named(tmp_path, column):
    with pytest.raises(InputError) as caught:
        history_from_trace(write(trace(cores=[1, 2]).drop(column), tmp_path))
    assert caught.value.field == column


def test_a_truncated_file_is_one_sentence(tmp_path):
    path = write(trace(cores=[1, 2]), tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="Parquet"):
        history_from_trace(path)
    with pytest.raises(InputError, match="No such file"):
        history_from_trace(tmp_path / "nowhere.parquet")


def test_wrong_types_are_named(tmp_path):
    with pytest.raises(InputError) as caught:
        history_from_trace(write(trace(runtime_s=["a", "b"]), tmp_path))
    assert caught.value.field == "runtime_s"
    with pytest.raises(InputError) as caught:
        history_from_trace(write(trace(ts=[1, 2]), tmp_path))
    assert caught.value.field == "ts"


def fact(index, *, runtime=10.0, recorded=None, **more):
    begun = START + timedelta(hours=index)
    ended = begun + timedelta(seconds=runtime)
    return {
        "execution_id": f"e{index}", "attempt": 1, "tenant": "acme", "workflow": "etl/load", "service": "etl",
        "cloud": "gcp", "region": "europe-west4", "published_at": begun, "started_at": begun, "finished_at": ended,
        "outcome": "succeeded", "fault_owner": "none", "resource_seconds": runtime * 4, "price_id": "p",
        "cost_minor": round(runtime * 4 * 0.06 / 3600 * 100 * 1000), "currency": "USD", "source": "real",
        "features": [feature("num_rows", 5.0 + index, Known.SUBMIT), feature("cores", 4.0, Known.SUBMIT),
                     feature("peak", runtime, Known.POST_HOC)],
        "recorded_at": recorded or ended,
    } | more  # fmt: skip


def test_facts_become_runs_with_price_and_time_apart():
    history = history_from_facts(facts_frame([fact(index, runtime=10.0 + index % 7) for index in range(60)]))
    assert history.number_names == ("num_rows",)
    assert "peak" in history.ignored_columns["post-hoc"]
    np.testing.assert_allclose(history.runtime[:3], [10, 11, 12])
    np.testing.assert_allclose(history.resources, 4.0)
    np.testing.assert_allclose(history.price, 60.0, rtol=1e-2)
    assert not history.constructed


def test_a_late_correction_restates_and_a_duplicate_changes_nothing():
    rows = [fact(index) for index in range(5)]
    late = fact(2, runtime=33.0, recorded=START + timedelta(days=9))
    once = history_from_facts(facts_frame([*rows, late]))
    twice = history_from_facts(facts_frame([*rows, late, *rows]))
    assert once.runtime.tolist() == twice.runtime.tolist() == [10.0, 10.0, 33.0, 10.0, 10.0]
