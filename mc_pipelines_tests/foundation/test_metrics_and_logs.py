"""Business metrics come from the database, cached; logs never show a secret."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection, text

from mc_pipelines.foundation import metrics
from mc_pipelines.foundation.logs import configure, get_logger
from mc_pipelines.foundation.settings import Settings
from mc_pipelines_tests.conftest import TestDatabase


@pytest.fixture(autouse=True)
def _own_sources(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metrics, "_SOURCES", {})
    monkeypatch.setattr(metrics, "_cache", {})
    yield
    import structlog

    structlog.reset_defaults()


@pytest.mark.database
def test_a_scrape_reads_once_in_its_time_and_one_failure_hides_no_other(
    database: TestDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(Settings(log_json=True))
    reads = []

    @metrics.business_metrics("good")
    def good(connection: Connection) -> Iterable[Metric]:
        reads.append(connection.execute(text("select 1")).scalar_one())
        return [GaugeMetricFamily("mc_reads", "reads", value=len(reads))]

    @metrics.business_metrics("bad")
    def bad(connection: Connection) -> Iterable[Metric]:
        connection.execute(text("select * from nothing"))
        return []

    moment = [0.0]
    first = metrics.render(database.app, monotonic=lambda: moment[0])
    assert b"mc_reads 1.0" in first
    assert b'mc_metrics_source_up{source="bad"} 0.0' in first
    assert b'mc_metrics_source_up{source="good"} 1.0' in first
    assert "nothing" in capsys.readouterr().err
    moment[0] = metrics.CACHE_SECONDS - 0.01
    assert metrics.render(database.app, monotonic=lambda: moment[0]) == first
    moment[0] = metrics.CACHE_SECONDS
    assert b"mc_reads 2.0" in metrics.render(database.app, monotonic=lambda: moment[0])


def test_a_name_registered_twice_is_a_mistake() -> None:
    metrics.business_metrics("same")(lambda _: [])
    with pytest.raises(ValueError, match="same"):
        metrics.business_metrics("same")(lambda _: [])


def test_a_log_line_masks_what_is_secret(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_json=True))
    get_logger("here").info("opened", bearer_token="geheim", rows=3)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["rows"], line["bearer_token"], line["logger"]) == ("opened", 3, "***", "here")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_shows_no_local_variable(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure(Settings(log_json=as_json))
    environment = {"PASSWORD": "hunt" + "er2"}
    try:
        environment["PASS"]
    except KeyError:
        get_logger("here").warning("failed", exc_info=True)
    written = capsys.readouterr().err
    assert "KeyError" in written
    assert "hunter2" not in written


def test_a_logger_made_before_the_settings_follows_them(capsys: pytest.CaptureFixture[str]) -> None:
    early = get_logger("here")
    configure(Settings(log_json=True))
    early.info("opened", token="geheim")
    written = capsys.readouterr()
    assert written.out == ""
    assert json.loads(written.err)["token"] == "***"


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_level="warning"))
    get_logger("here").info("quiet")
    assert capsys.readouterr().err == ""
