"""A graph of which too much waits beside its generation is merged, once for what waits; others are left alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg
import pytest

from mc_pipelines.attest.log import contents_of_act
from mc_pipelines.composition import Context
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.provenance import delta
from mc_pipelines.provenance.committing import ACT
from mc_pipelines.provenance.delta import due_deltas
from mc_pipelines.provenance.edge_log import ingest_claims
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.provenance.test_edge_log import ACME, BOLT, sbom

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # dagster's own word on backfill policies
    from mc_pipelines.defs import resources
    from mc_pipelines.defs.provenance.assets import provenance_generation
    from mc_pipelines.defs.provenance.automation import compact_generations, compaction_job
    from mc_pipelines.defs.resources import Maestro

pytestmark = pytest.mark.database


def test_it_asks_while_too_much_waits(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(Settings(home=tmp_path), database.app, clock)
    monkeypatch.setattr(resources, "_context", lambda: context)
    small = lambda database: due_deltas(database, share=0.05, most=50, least=2)  # noqa: E731
    monkeypatch.setattr(delta, "due_deltas", small)
    definitions = dg.Definitions(
        assets=[provenance_generation], jobs=[compaction_job], resources={"maestro": Maestro()}
    )
    job = definitions.resolve_job_def("provenance_compaction")
    ingest_claims(database.app, ACME, sbom("a", {"app": [f"lib{each}" for each in range(100)]}), clock=clock)
    ingest_claims(database.app, BOLT, sbom("b", {"app": ["libc6"]}), clock=clock)  # no more than the least
    with dg.DagsterInstance.ephemeral() as instance:

        def asked() -> list[dg.RunRequest]:
            with dg.build_sensor_context(instance=instance, resources={"maestro": Maestro()}) as sensor:
                return list(compact_generations.evaluate_tick(sensor).run_requests or [])

        (first,) = asked()
        assert first.tags["mc/shards"] == "1"
        assert asked()[0].run_key == first.run_key
        assert job.execute_in_process(instance=instance, tags=first.tags).success
        assert asked() == []
    with database.app.begin() as connection:  # what was built is committed to, by the same run
        assert sorted(subject.split("/")[0] for subject, _ in contents_of_act(connection, ACT)) == [ACME, BOLT]
    for number in range(5):  # five claims are five in a hundred, a sixth is more
        ingest_claims(database.app, ACME, sbom(f"n{number}", {"app": [f"new{number}"]}), clock=clock)
    assert list(small(database.app)) == []
    ingest_claims(database.app, ACME, sbom("n5", {"app": ["new5"]}), clock=clock)
    assert [(each.tenant, each.built, each.head, each.claims) for each in small(database.app)] == [(ACME, 1, 7, 6)]
    assert [each.claims for each in due_deltas(database.app, share=1, most=3, least=1)] == [4]
