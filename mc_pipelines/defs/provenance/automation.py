"""When graphs are built: a schedule for what changed; readers see news at once by the segments beside a generation."""

import dagster as dg

from mc_pipelines.defs.provenance.assets import provenance_edges, provenance_generation

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
