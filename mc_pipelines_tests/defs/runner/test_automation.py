"""One thousand ended executions, no runner, and a daemon that dies twice: every fact once, in a handful of runs."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from mc_pipelines.composition import Context
from mc_pipelines.defs import resources
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.runner.assets import facts_reach_the_lake, recorded_executions
from mc_pipelines.defs.runner.automation import PATIENCE, RETRY_SECONDS, flush_execution_facts, record_executions
from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.foundation import outbox
from mc_pipelines.foundation.clock import FrozenClock, SystemClock
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.runner.lake import FINISHED
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.runner.test_lake_and_minutes import payload

pytestmark = pytest.mark.database
ROWS = 1_000


@pytest.fixture
def context(database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    settings = Settings(home=tmp_path, object_store_url=(tmp_path / "objects").as_uri())
    opened = Context(settings, database.app, FrozenClock(SystemClock().now()))
    monkeypatch.setattr(resources, "_context", lambda: opened)
    return opened


def ended(context: Context, first: int, rows: int) -> None:
    with context.database.begin() as connection:
        for number in range(first, first + rows):
            outbox.publish(connection, FINISHED, str(number), payload(number))


def tick(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    with dg.build_sensor_context(instance=instance, resources={"maestro": Maestro()}) as sensor:
        found = flush_execution_facts.evaluate_tick(sensor)
    return list(found.run_requests or [])


def test_a_thousand_rows_and_a_daemon_that_dies_twice(context: Context) -> None:
    clock = context.clock
    assert isinstance(clock, FrozenClock)
    definitions = dg.Definitions(
        assets=[recorded_executions],
        asset_checks=[facts_reach_the_lake],
        jobs=[record_executions],
        resources={"maestro": Maestro()},
    )
    job = definitions.resolve_job_def("record_executions")
    keys: set[str] = set()
    runs = 0
    with dg.DagsterInstance.ephemeral() as instance:
        assert tick(instance) == []
        ended(context, 0, ROWS // 2)
        assert tick(instance) == []  # a runner may still take them
        clock.advance(PATIENCE + timedelta(seconds=30))
        for died in range(2):  # a run is asked for, and lost with its daemon before it did anything
            for _ in range(10):
                keys |= {str(request.run_key) for request in tick(instance)}
            assert len(keys) == died + 1
            clock.advance(timedelta(seconds=RETRY_SECONDS))
        ended(context, ROWS // 2, ROWS // 2)
        for _ in range(40):
            for request in tick(instance):
                if request.run_key not in keys:
                    keys.add(str(request.run_key))
                    runs += 1
                    assert job.execute_in_process(instance=instance).success
            clock.advance(timedelta(seconds=30))
    assert runs == 1
    assert len(keys) < 20
    days = days_with_facts(context.object_store)
    facts = scan_facts(context.object_store, first_day=days[0], last_day=days[-1]).collect()
    assert len(facts) == ROWS
    assert facts["execution_id"].n_unique() == ROWS


def test_a_fact_that_cannot_go_is_named_by_the_check(context: Context) -> None:
    clock = context.clock
    assert isinstance(clock, FrozenClock)
    with context.database.begin() as connection:
        outbox.publish(connection, FINISHED, "1", payload(1, resource_seconds=-1.0))
    assert facts_reach_the_lake(Maestro()).passed
    clock.advance(timedelta(minutes=20))
    found = facts_reach_the_lake(Maestro())
    assert not found.passed
