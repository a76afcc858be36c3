"""The sensor that takes facts to the lake where no runner does: one run for all that wait, not one an execution."""

from datetime import timedelta

import dagster as dg

from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.runner.assets import recorded_executions

PATIENCE = timedelta(seconds=60)
"""A runner that serves flushes within ten seconds; what is older has no runner."""
RETRY_SECONDS = 300
"""After so long the same oldest row asks for another run: the last one failed, or was lost with its daemon."""

record_executions = dg.define_asset_job(
    "record_executions",
    selection=dg.AssetSelection.assets(recorded_executions),
    description="Takes the facts of ended executions to the lake, and their receipts into the audit log.",
)


@dg.sensor(
    job=record_executions,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for one run when facts of ended executions wait for the lake and no runner takes them.",
)
def flush_execution_facts(maestro: Maestro) -> dg.SensorResult | dg.SkipReason:
    """Name the run by the oldest waiting row and a span of time.

    All rows behind that one go with the same run. While it is queued or runs, further ticks give the same key and no
    further run; if it is lost, the next span gives another key, since the row still waits.
    """
    from mc_pipelines.runner.lake import waiting

    opened = maestro.open()
    with opened.database.begin() as connection:
        count, oldest, since = waiting(connection)
    now = opened.clock.now()
    if since is None:
        return dg.SkipReason("no facts wait")
    if now - since < PATIENCE:
        return dg.SkipReason(f"{count} rows wait, the oldest since {since}: a runner may still take them")
    run_key = f"{oldest}:{int(now.timestamp()) // RETRY_SECONDS}"
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key, tags={"mc/waiting": str(count)})])
