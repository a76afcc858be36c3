"""When graphs are built: a schedule for what changed; readers see news at once by the segments beside a generation."""

import dagster as dg

from mc_pipelines.defs.provenance.assets import provenance_edges, provenance_generation, provenance_retention

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
