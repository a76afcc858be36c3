"""Every Parquet trace of the data folder goes through the backtest; the known ones reach their numbers."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mc_pipelines.cli.estimator import app
from mc_pipelines.estimator.backtest import backtest
from mc_pipelines.estimator.drift import State
from mc_pipelines.estimator.readers import history_from_trace

FOLDER = Path(os.environ.get("MC_DATA_DIR", Path(__file__).parents[4] / "shared" / "data")) / "estimator"
TRACES = sorted(FOLDER.glob("*.parquet")) if FOLDER.is_dir() else []
_REPORTS = {}


def report_of(path):
    if path not in _REPORTS:
        _REPORTS[path] = backtest(history_from_trace(path))
    return _REPORTS[path]


def named(part):
    found = [path for path in TRACES if part in path.name]
    if not found:
        pytest.skip(f"no trace named {part} in the data folder")
    return report_of(found[0])


def test_there_are_traces(data_dir):
    assert TRACES


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_every_trace_gives_a_whole_report(path):
    report = report_of(path)
    summary = json.loads(json.dumps(report.summary(), allow_nan=False))
    assert list(summary) == [
        "workflows", "served", "v1", "v2", "v2_share", "clamp_share", "coverage90", "windows_within_5pct", "seconds",
    ]  # fmt: skip
    assert summary["workflows"]
    spends = [row["spend_usd"] for row in summary["workflows"]]
    assert spends == sorted(spends, reverse=True)
    for row in report.workflows:
        assert not math.isnan(row.drift)
        if row.state is State.OK:
            assert row.low >= -0.05
            assert row.high <= 0.05
            assert row.days >= 5


def test_image_generation_ten_of_ten():
    report = named("gentd26")
    assert [row.workflow for row in report.workflows if abs(row.drift) > 0.05] == []
    assert report.scores["v2"].wape <= 0.85 * report.scores["v1"].wape
    assert report.scores["served"].wape <= 0.87 * report.scores["v1"].wape
    assert report.scores["served"].windows.share >= 0.9
    assert 0.89 <= report.coverage90 <= 0.91
    assert min(report.coverage_by_workflow.values()) >= 0.85


def test_scientific_workflows_ten_of_ten():
    report = named("wfcommons_replay")
    assert [row.workflow for row in report.workflows if abs(row.drift) > 0.05] == []
    assert report.scores["served"].wape <= 0.95 * report.scores["v1"].wape
    assert report.scores["served"].windows.share >= 0.9
    assert 0.89 <= report.coverage90 <= 0.91
    assert min(report.coverage_by_workflow.values()) >= 0.85


def test_supercomputer_is_never_called_ok_without_support():
    report = named("nasa")
    assert report.count(State.OK) == 0
    assert abs(report.scores["served"].drift) <= abs(report.scores["v1"].drift)
    assert report.scores["served"].wape <= report.scores["v1"].wape * 1.01
    assert report.scores["v2"].wape <= 0.75 * report.scores["v1"].wape
    assert 0.89 <= report.coverage90 <= 0.91


def test_the_command_prints_the_summary():
    path = next((path for path in TRACES if "gentd26" in path.name), None)
    if path is None:
        pytest.skip("no trace named gentd26 in the data folder")
    found = CliRunner().invoke(
        app, ["backtest", "--data", str(path), "--train-until", "2024-11-24T00:00:00Z", "--json"]
    )
    assert found.exit_code == 0
    printed = json.loads(found.stdout)
    assert len(printed["workflows"]) == 10
    assert np.isfinite(printed["served"]["wape"])
