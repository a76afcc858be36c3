"""The asset check of drift: an error on DRIFT, a warning on UNDETERMINED, otherwise it passes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import dagster as dg
import pytest

from mc_pipelines.estimator.records import freeze_estimate, latest_drift
from mc_pipelines.estimator.serving import EstimatorService
from mc_pipelines.executions.facts import facts_frame, write_facts
from mc_pipelines_tests.estimator.test_readers import fact

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # dagster's own word on backfill policies
    from mc_pipelines.defs import resources
    from mc_pipelines.defs.estimator.assets import drift_is_within_bounds, estimator_backtest
    from mc_pipelines.defs.resources import Maestro


@pytest.mark.parametrize("where", ["workflows", "ledger"])
@pytest.mark.parametrize(
    ("drift", "undetermined", "passed", "severity"),
    [(0, 0, True, None), (0, 3, False, "WARN"), (1, 0, False, "ERROR"), (2, 3, False, "ERROR")],
)
def test_drift_is_an_error_and_what_cannot_be_told_a_warning(drift, undetermined, passed, severity, where):
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "estimator_backtest",
                metadata={
                    f"{side}_{name}": count if side == where else 0
                    for name, count in (("drift", drift), ("undetermined", undetermined))
                    for side in ("workflows", "ledger")
                },
            )
        )
        found = drift_is_within_bounds(dg.build_asset_check_context(instance=instance))
    assert found.passed is passed
    if severity is not None:
        assert found.severity.value == severity


@pytest.mark.database
def test_the_asset_judges_what_was_served_and_what_would_be(database, tmp_path, monkeypatch):
    from mc_pipelines.composition import Context
    from mc_pipelines.foundation.settings import load_settings

    monkeypatch.setenv("MC_DATABASE_URL", database.app.url)
    monkeypatch.setenv("MC_HOME", str(tmp_path))
    resources._context.cache_clear()
    rows = [
        fact(
            hour,
            runtime=100.0 + hour % 7,
            execution_id=str(UUID(int=hour)),
            cost_minor=700 + 7 * (hour % 7),
            receipt_digest="sha256:" + "0" * 64,
        )
        for hour in range(30 * 24)
    ]
    context = Context(load_settings(), database.app)
    write_facts(context.object_store, facts_frame(rows))
    blank = EstimatorService(None, {}).estimate({}, "etl/load", run_id="e0", at=rows[0]["published_at"], price_id="p")
    with database.app.begin() as connection:
        for row in rows[300:]:
            cost = Decimal("1.3") * row["cost_minor"] / 100
            told = replace(blank, run_id=row["execution_id"], submitted_at=row["published_at"], cost=cost, v1=cost)
            freeze_estimate(connection, told, tenant="acme")
    try:
        result = dg.materialize([estimator_backtest, drift_is_within_bounds], resources={"maestro": Maestro()})
    finally:
        resources._context.cache_clear()
    assert result.success
    (made,) = result.asset_materializations_for_node("estimator_backtest")
    assert (made.metadata["ledger_runs"].value, made.metadata["ledger_drift"].value) == (len(rows) - 300, 1)
    assert [one.severity for one in result.get_asset_check_evaluations()] == [dg.AssetCheckSeverity.ERROR]
    with database.app.begin() as connection:
        found = {(row.window_days, row.source): row for row in latest_drift(connection)}
    assert {key for key in found if not key[1].startswith("replay-")} == {
        (days, source) for days in (7, 28, 90) for source in ("served", "v1")
    }
    assert found[90, "served"].drift == pytest.approx(0.3, abs=0.01)
    assert {"replay-served", "replay-v1", "replay-v2"} <= {source for _, source in found}
