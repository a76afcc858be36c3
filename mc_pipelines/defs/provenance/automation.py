"""When graphs are built: a schedule for what changed; readers see news at once by the segments beside a generation."""

from hashlib import sha256

import dagster as dg

from mc_pipelines.defs.provenance.assets import provenance_edges, provenance_generation, provenance_retention
from mc_pipelines.defs.resources import Maestro

RETRY_SECONDS = 900
"""A delta that still waits after this long is asked for again."""

provenance_job = dg.define_asset_job(
    "provenance_hourly",
    selection=dg.AssetSelection.assets(provenance_edges, provenance_generation),
    description="New receipts into the edge log, and generations where the log is ahead.",
)

hourly_generation = dg.ScheduleDefinition(
    name="hourly_generation",
    job=provenance_job,
    cron_schedule="5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Builds the generations of graphs that grew.",
)

retention_job = dg.define_asset_job(
    "provenance_retention_daily",
    selection=dg.AssetSelection.assets(provenance_retention, provenance_generation),
    description="What the rules let go leaves the hot tier, and generations without it are built.",
)

daily_retention = dg.ScheduleDefinition(
    name="daily_retention",
    job=retention_job,
    cron_schedule="40 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Keeps the hot tier to what is needed.",
)

compaction_job = dg.define_asset_job(
    "provenance_compaction",
    selection=dg.AssetSelection.assets(provenance_generation),
    description="Generations of graphs of which too much waits in memory.",
)


@dg.sensor(
    job=compaction_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a generation when more than 5 % of a graph, or a million claims, wait beside it.",
)
def compact_generations(maestro: Maestro) -> dg.SensorResult | dg.SkipReason:
    """Name the run by what the shards were built to; the names of tenants stay out of run keys."""
    from mc_pipelines.provenance.delta import due_deltas

    opened = maestro.open()
    due = list(due_deltas(opened.database))
    if not due:
        return dg.SkipReason("no graph is far ahead of its generation")
    standing = " ".join(f"{each.tenant}:{each.built}" for each in due)
    quarter = int(opened.clock.now().timestamp()) // RETRY_SECONDS
    run_key = f"{sha256(standing.encode()).hexdigest()[:16]}:{quarter}"
    tags = {"mc/shards": str(len(due)), "mc/claims": str(sum(each.claims for each in due))}
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key, tags=tags)])
