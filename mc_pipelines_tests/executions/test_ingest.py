from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mc_pipelines.executions.constructed_prices import MICRO_PER_MINOR, MILLISECONDS_PER_HOUR, PLACES
from mc_pipelines.executions.facts import FACTS_SCHEMA, Known, scan_facts
from mc_pipelines.executions.ingest import ingest_simulation, ingest_traces
from mc_pipelines.executions.overlay import Overlay, outages, overlay_facts
from mc_pipelines.executions.simulator import simulate_trace
from mc_pipelines.executions.trace import mark, read_trace
from mc_pipelines.foundation.errors import InputError
from mc_pipelines_tests.executions.stores import MemoryStore

START = datetime(2025, 9, 1, 8)  # noqa: DTZ001 - a column without a zone is UTC by the layout's definition


def trace(rows: int = 50, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts": [START + timedelta(minutes=number) for number in range(rows)],
            "workflow": [f"w{number % 3}/main" for number in range(rows)],
            "cores": [1 + number % 4 for number in range(rows)],
            "in_bytes": [1000 * number for number in range(rows)],
            "out_bytes_POSTHOC": list(range(rows)),
            "family": ["bwa"] * rows,
            "runtime_s": [10.5 + number for number in range(rows)],
        }
        | columns
    )


def written(tmp_path: Path, frame: pl.DataFrame, name: str = "trace.parquet") -> Path:
    path = tmp_path / name
    frame.write_parquet(path)
    return path


def facts_of(store: MemoryStore) -> pl.DataFrame:
    return scan_facts(store, first_day=date(2025, 8, 1), last_day=date(2026, 3, 1)).collect()


def test_a_trace_becomes_facts(tmp_path: Path) -> None:
    store = MemoryStore()
    (report,) = ingest_traces(store, [written(tmp_path, trace())], Overlay())
    facts = facts_of(store)
    assert (report.rows, len(facts), facts.schema) == (50, 50, FACTS_SCHEMA)
    assert set(facts["source"]) == {"constructed"}
    by_time = facts.sort("published_at")
    assert by_time["resource_seconds"].to_list() == [(10.5 + n) * (1 + n % 4) for n in range(50)]
    assert by_time["published_at"][0] == START.replace(tzinfo=UTC)
    runtime = (by_time["finished_at"] - by_time["started_at"]).dt.total_microseconds()
    assert runtime.to_list() == [int((10.5 + n) * 1e6) for n in range(50)]
    features = {entry["name"]: entry for entry in by_time["features"][7]}
    assert features["in_bytes"] == {"name": "in_bytes", "value": 7000.0, "text": None, "known": "ready"}
    assert features["family"] == {"name": "family", "value": None, "text": "bwa", "known": "submit"}
    assert features["out_bytes_POSTHOC"]["known"] == "post-hoc"
    assert report.document()["constructedColumns"]


def test_again_and_in_another_file_and_order_changes_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    ingest_traces(store, [written(tmp_path, trace())], Overlay())
    first = facts_of(store)
    (again,) = ingest_traces(store, [written(tmp_path, trace(), "copy.parquet")], Overlay())
    assert again.files_written == 0
    ingest_traces(store, [written(tmp_path, trace(60)[::-1], "longer.parquet")], Overlay())
    longer = facts_of(store)
    assert len(longer) == 60
    assert longer.filter(pl.col("execution_id").is_in(first["execution_id"].implode())).equals(first)


def test_equal_rows_are_as_many_executions(tmp_path: Path) -> None:
    row = trace(1)
    store = MemoryStore()
    ingest_traces(store, [written(tmp_path, pl.concat([row, row, row]))], Overlay())
    assert facts_of(store)["execution_id"].n_unique() == 3


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    path = written(tmp_path, trace())
    one, other = (overlay_facts(read_trace(path), Overlay(seed=seed)) for seed in (1, 2))
    assert set(one["execution_id"]).isdisjoint(other["execution_id"])


def test_null_features_are_left_out(tmp_path: Path) -> None:
    frame = trace(2, in_bytes=[None, 5], family=[None, None])
    rows = read_trace(written(tmp_path, frame))["features"].to_list()
    assert {entry["name"] for entry in rows[0]} == {"cores", "out_bytes_POSTHOC"}
    assert {entry["name"] for entry in rows[1]} == {"cores", "in_bytes", "out_bytes_POSTHOC"}


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"runtime_s": pl.lit(None, dtype=pl.Float64)}, "runtime_s", "missing, in row 0"),
        ({"runtime_s": pl.when(pl.col("cores") == 2).then(float("nan")).otherwise(1.0)}, "runtime_s", "row 1"),
        ({"runtime_s": pl.when(pl.col("cores") == 3).then(-1.0).otherwise(1.0)}, "runtime_s", "row 2"),
        ({"runtime_s": pl.lit(float("inf"))}, "runtime_s", "finite"),
        ({"runtime_s": pl.lit("fast")}, "runtime_s", "numeric"),
        ({"cores": pl.lit(0)}, "cores", "more than nothing"),
        ({"workflow": pl.lit("")}, "workflow", "missing"),
        ({"ts": pl.lit(None, dtype=pl.Datetime("us"))}, "ts", "missing"),
        ({"ts": pl.lit("2025-09-01T10:00:00")}, "ts", "offset, in row 0"),
        ({"ts": pl.lit(5)}, "ts", "timestamps"),
    ],
)
def test_a_bad_value_is_named_and_nothing_is_written(
    tmp_path: Path, change: dict[str, pl.Expr], field: str, words: str
) -> None:
    store = MemoryStore()
    good = written(tmp_path, trace(), "good.parquet")
    bad = written(tmp_path, trace().with_columns(**change), "bad.parquet")
    with pytest.raises(InputError, match=words) as raised:
        ingest_traces(store, [good, bad], Overlay())
    assert raised.value.field == field
    assert "bad.parquet" in str(raised.value)
    assert not store.objects


def test_missing_columns_truncated_and_absent_files(tmp_path: Path) -> None:
    for column in ("ts", "workflow", "runtime_s"):
        with pytest.raises(InputError, match="lacks a column") as raised:
            read_trace(written(tmp_path, trace().drop(column)))
        assert raised.value.field == column
    path = written(tmp_path, trace())
    for length in (0, 3, 40, path.stat().st_size - 1):
        short = tmp_path / "short.parquet"
        short.write_bytes(path.read_bytes()[:length])
        with pytest.raises(InputError, match="Not a whole Parquet file"):
            read_trace(short)
    with pytest.raises(InputError, match="No such file"):
        read_trace(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="no rows"):
        read_trace(written(tmp_path, trace(0)))
    with pytest.raises(InputError):
        Overlay(tenants=("Not a name",))


def test_charges_are_unbiased_however_small_the_runs(tmp_path: Path) -> None:
    """0.02 cents each: rounding half up would make the sum zero."""
    rows = 20_000
    frame = trace(rows, runtime_s=[15.0] * rows, cores=[1] * rows)
    facts = overlay_facts(read_trace(written(tmp_path, frame)), Overlay())
    price = {place.price_id: place.micro_usd_per_hour for place in PLACES}
    exact = sum(15_000 * price[name] for name in facts["price_id"]) / (MICRO_PER_MINOR * MILLISECONDS_PER_HOUR)
    assert abs(facts["cost_minor"].sum() - exact) < 5 * np.sqrt(exact)
    assert facts["cost_minor"].max() == 1


def test_outages_fail_a_third_and_only_in_their_place() -> None:
    overlay = Overlay()
    facts = overlay_facts(simulate_trace(first_day=date(2025, 10, 1), runs=40_000), overlay)
    months = range(int(datetime(2025, 9, 1, tzinfo=UTC).timestamp()) // (30 * 86_400), 700)
    inside = pl.lit(value=False)
    for number, place in enumerate(PLACES):
        for month in months:
            for start, end in outages(number, month, overlay.seed):
                at_place = (pl.col("cloud") == place.cloud) & (pl.col("region") == place.region)
                inside |= at_place & pl.col("finished_at").is_between(start, end, closed="left")
    failed = pl.col("fault_owner") == "provider"
    within = facts.filter(inside)
    assert len(within) > 200
    assert 0.25 < within.select(failed.mean()).item() < 0.45
    assert facts.filter(~inside).select(failed.mean()).item() < 0.01


def test_the_simulator_is_ninety_days_on_three_clouds_and_the_same_twice() -> None:
    store = MemoryStore()
    report = ingest_simulation(store, first_day=date(2025, 10, 1), overlay=Overlay(), runs=5_000)
    before = dict(store.objects)
    again = ingest_simulation(store, first_day=date(2025, 10, 1), overlay=Overlay(), runs=5_000)
    assert (store.objects, again.files_written) == (before, 0)
    assert (report.last_day - report.first_day).days >= 88
    facts = facts_of(store)
    assert set(facts["cloud"]) == {"AWS", "GCP", "AZURE"}
    assert set(facts["tenant"]) == {"acme", "globex", "initech"}
    assert len(facts) == 5_000


def test_what_nobody_marked_is_post_hoc() -> None:
    assert mark("peak_rss") is Known.POST_HOC
    assert mark("num_steps") is Known.SUBMIT
    assert mark("in_bytes") is Known.READY
