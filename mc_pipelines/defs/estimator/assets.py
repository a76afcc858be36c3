"""The estimator's backtest: what was predicted against what it cost, with its statistical support."""

import json
from typing import Any

import dagster as dg

from mc_pipelines.defs.executions.assets import execution_facts
from mc_pipelines.defs.partitions import retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome


@dg.asset(
    deps=[dg.AssetDep(execution_facts, partition_mapping=dg.AllPartitionMapping())],
    group_name="estimator",
    owners=["team:finance"],
    kinds={"polars", "numpy"},
    code_version="1",
    retry_policy=retries(),
    description="Replays the last 90 days as if served: drift per workflow with intervals, calibration, coverage.",
)
def estimator_backtest(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Run the backtest and keep its report."""
    from mc_pipelines.estimator.backtest import backtest, window_of
    from mc_pipelines.estimator.ledger import ledger_drift, read_predictions
    from mc_pipelines.estimator.readers import history_from_facts
    from mc_pipelines.estimator.records import record_drift, record_warnings
    from mc_pipelines.estimator.report import metadata_of, render_html, render_markdown
    from mc_pipelines.executions.facts import days_with_facts, scan_facts
    from mc_pipelines.foundation.canonical import sha256_digest

    context = maestro.open()
    store = context.object_store
    first, last = window_of(days_with_facts(store))
    facts = scan_facts(store, first_day=first, last_day=last)
    history = history_from_facts(facts)
    report = backtest(history)
    verdicts = {"served": report.workflows, "v1": report.workflows_v1, "v2": report.workflows_v2}
    rows = [(f"replay-{source}", row) for source, listed in verdicts.items() for row in listed]
    with context.database.begin() as connection:
        served = ledger_drift(history, read_predictions(connection, history))
        for one in served:
            listed = [(one.source, row) for row in one.rows]
            record_drift(connection, listed, as_of=report.end, window_days=one.window_days)
        record_drift(connection, rows, as_of=report.end, window_days=(report.end - report.start).days)
        record_warnings(connection, report.alarms, report.changes, at=report.end)
    page = render_html(report).encode()
    digest = sha256_digest(page)
    name = f"estimator/reports/{digest.removeprefix('sha256:')}"
    store.put(f"{name}.html", page, if_absent=True)
    store.put(f"{name}.json", json.dumps(report.summary()).encode(), if_absent=True)
    return dg.MaterializeResult(
        metadata=metadata_of(report, served)
        | {"report": dg.MetadataValue.md(render_markdown(report)), "html": f"{name}.html"},
        data_version=dg.DataVersion(digest),
    )


@dg.asset_check(
    asset=estimator_backtest,
    description="None of the top ten drifts beyond 5 % with support; a verdict that data cannot give is a warning.",
)
def drift_is_within_bounds(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Read the verdicts of the backtest that was just made."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey("estimator_backtest"))
    found = event.asset_materialization.metadata if event and event.asset_materialization else {}
    count = {name: int(str(value.value)) for name, value in found.items() if name.startswith(("workflows_", "ledger_"))}
    drift, undetermined = (
        count[f"workflows_{state}"] + count[f"ledger_{state}"] for state in ("drift", "undetermined")
    )
    severity = dg.AssetCheckSeverity.ERROR if drift else dg.AssetCheckSeverity.WARN
    problems = [f"{drift} verdicts of DRIFT, replayed or served", f"{undetermined} cannot be told yet"]
    return dg.AssetCheckResult(severity=severity, **outcome(drift + undetermined == 0, problems))
