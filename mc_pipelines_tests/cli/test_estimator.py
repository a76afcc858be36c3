"""`mc estimator` on a small trace: what it prints, and how it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from mc_pipelines.cli import estimator
from mc_pipelines.cli.estimator import app
from mc_pipelines.estimator.prices import DEFAULT_PRICE
from mc_pipelines.estimator.serving import EstimatorService
from mc_pipelines.foundation.errors import InputError, NotFoundError


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    generator = np.random.default_rng(5)
    count = 1500
    size = generator.lognormal(3, 0.5, count)
    frame = pl.DataFrame(
        {
            "ts": [datetime(2025, 1, 1) + timedelta(minutes=17 * index) for index in range(count)],  # noqa: DTZ001
            "workflow": [f"etl/task{index % 3}" for index in range(count)],
            "num_rows": size,
            "out_bytes": size * 2,
            "runtime_s": size**0.7 * generator.lognormal(0, 0.2, count),
        }
    )
    path = tmp_path_factory.mktemp("trace") / "runs.parquet"
    frame.write_parquet(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(part) for part in arguments])


def test_backtest_prints_a_table_and_writes_one_html_file(trace, tmp_path):
    page = tmp_path / "report.html"
    found = run("backtest", "--data", trace, "--html", page)
    assert found.exit_code == 0
    assert "etl/task0" in found.stdout
    text = page.read_text()
    assert "<svg" in text
    assert "etl/task0" in text
    assert "src=" not in text
    assert 'href="http' not in text


def test_backtest_as_json_has_the_promised_keys(trace):
    printed = json.loads(run("backtest", "--data", trace, "--json").stdout)
    assert set(printed) == {
        "workflows", "served", "v1", "v2", "v2_share", "clamp_share", "coverage90", "windows_within_5pct", "seconds",
    }  # fmt: skip
    assert set(printed["workflows"][0]) == {"workflow", "spend_usd", "runs", "drift", "low", "high", "state"}
    assert printed["served"]["wape"] < printed["v1"]["wape"]


def test_a_post_hoc_column_changes_nothing(trace, tmp_path):
    """Permute what is measured after the run: the report is the same to the bit."""
    frame = pl.read_parquet(trace)
    other = tmp_path / "runs.parquet"
    frame.with_columns(pl.col("out_bytes").shuffle(seed=1)).write_parquet(other)
    plain, permuted = (json.loads(run("backtest", "--data", path, "--json").stdout) for path in (trace, other))
    assert plain.pop("seconds") > 0
    assert permuted.pop("seconds") > 0
    assert plain == permuted


def test_predict_explain_and_report(trace, tmp_path):
    found = json.loads(run("predict", "etl/task1", "-f", "num_rows=20", "--data", trace, "--json").stdout)
    assert found["source"] == "v2"
    unseen = json.loads(run("predict", "etl/other", "-f", "num_rows=x", "--data", trace, "--json").stdout)
    assert unseen["source"] == "v1"
    assert {"unseen-workflow", "unknown-category"} <= set(unseen["reasons"])
    assert "bias correction" in run("explain", "etl/task1", "-f", "num_rows=20", "--data", trace).stdout
    assert run("report", "--data", trace, "--output", tmp_path / "r.html").exit_code == 0


def test_where_nothing_is_known_the_answer_says_so_and_how_to_learn(trace, monkeypatch):
    """Without a model there is no figure, no interval and no empty table to misread."""
    nothing = EstimatorService(None, {DEFAULT_PRICE.price_id: DEFAULT_PRICE})
    monkeypatch.setattr(estimator, "open_service", lambda *_: (nothing, datetime(2026, 1, 1, tzinfo=UTC)))
    answer = run("predict", "etl/task1")
    assert answer.exit_code == 1
    assert "nothing is known" in answer.stdout
    assert "mc estimator register" in answer.stdout
    assert "None" not in answer.stdout
    assert json.loads(run("predict", "etl/task1", "--json").stdout)["cost"] is None
    assert isinstance(run("explain", "etl/task1").exception, NotFoundError)


def test_screen_tries_settings_from_daily_sums_best_first(trace):
    arguments = ("screen", "--data", trace, "--training-days", 5, "--training-days", 30, "--json")
    found = json.loads(run(*arguments).stdout)
    assert {row["training_days"] for row in found} == {5, 30}
    assert found[0]["wape"] <= found[1]["wape"] < 1.0


def test_whatif_prices_everywhere_cheapest_first(trace, tmp_path):
    prices = tmp_path / "prices.csv"
    prices.write_text(
        "cloud,instance_type,vcpus,region,price_usd_h,spot_price_usd_h,note\n"
        "gcp,c2,16,eu,1.6,0.16,\naws,m5,4,us,0.2,,\ngcp,a2,12,us,0.7,,host only: the row carries no accelerator\n"
    )
    found = json.loads(
        run(
            "whatif", "etl/task1", "-f", "num_rows=20", "--cores", 2, "--data", trace, "--prices", prices, "--json"
        ).stdout
    )
    assert [(one["price_id"], one["spot"]) for one in found] == [
        ("gcp/eu/c2", True), ("aws/us/m5", False), ("gcp/eu/c2", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--train-until", "2025-01-05"], "train-until"),
        (["--train-until", "yesterday"], "train-until"),
        (["--train-until", "2031-01-01T00:00:00Z"], "train-until"),
    ],
)
def test_a_bad_moment_is_one_clear_error(trace, arguments, field):
    found = run("backtest", "--data", trace, *arguments)
    assert isinstance(found.exception, InputError)
    assert found.exception.field == field
