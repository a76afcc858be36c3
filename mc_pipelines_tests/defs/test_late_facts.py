"""Days whose facts came late are rolled up again, in one run a stretch, and no other day is touched."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mc_pipelines.composition import Context
from mc_pipelines.executions.facts import facts_frame, write_facts
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.settings import Settings
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.sla.conftest import execution

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # dagster's own word on backfill policies
    from mc_pipelines.defs import resources
    from mc_pipelines.defs.resources import Maestro
    from mc_pipelines.defs.sla.assets import sla_slices
    from mc_pipelines.defs.sla.late_facts import late_facts, late_rollup_job, stretches


def test_stretches_are_unbroken() -> None:
    days = [date(2026, 1, day) for day in (1, 2, 3, 7, 9, 10)]
    assert [(first.day, last.day) for first, last in stretches(days)] == [(1, 3), (7, 7), (9, 10)]
    assert list(stretches([])) == []


@pytest.mark.database
def test_late_days_are_rolled_again_and_no_other(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FrozenClock(datetime(2026, 1, 28, 5, tzinfo=UTC))
    (tmp_path / "objects").mkdir()
    settings = Settings(home=tmp_path, object_store_url=(tmp_path / "objects").as_uri())
    context = Context(settings, database.app, clock)
    monkeypatch.setattr(resources, "_context", lambda: context)
    store = context.object_store
    write_facts(store, facts_frame([execution(number, day=number % 3) for number in range(9)]))
    write_facts(store, facts_frame([execution(90, day=6), execution(91, day=9)]))  # the last is today
    definitions = dg.Definitions(assets=[sla_slices], jobs=[late_rollup_job], resources={"maestro": Maestro()})
    job = definitions.resolve_job_def("sla_late")
    with dg.DagsterInstance.ephemeral() as instance:

        def asked() -> list[dg.RunRequest]:
            with dg.build_sensor_context(instance=instance, resources={"maestro": Maestro()}) as sensor:
                return list(late_facts.evaluate_tick(sensor).run_requests or [])

        def days_read(request: dg.RunRequest) -> int:
            done = job.execute_in_process(instance=instance, tags=request.tags)
            return int(done.asset_materializations_for_node("sla_slices")[0].metadata["days_read"].value)  # type: ignore[arg-type]

        first, second = asked()
        assert first.tags["dagster/asset_partition_range_end"] == "2026-01-21"
        assert (days_read(first), days_read(second)) == (3, 1)
        assert asked() == []
        late = execution(99, day=1, recorded_at=clock.now() - timedelta(hours=1))
        write_facts(store, facts_frame([late]))
        [again] = asked()
        assert again.tags["dagster/asset_partition_range_start"] == "2026-01-20"
        assert (days_read(again), asked()) == (1, [])
