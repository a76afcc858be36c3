"""When SLAs are rolled up, and the sensor that completes what two people have signed."""

from hashlib import sha256

import dagster as dg

from mc_pipelines.defs.executions.assets import execution_facts
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.sla.assets import credit_drafts, credit_notes, sla_attainment, sla_slices

daily_rollup_job = dg.define_asset_job(
    "sla_daily",
    selection=dg.AssetSelection.assets(execution_facts, sla_slices),
    description="Yesterday's facts into slices.",
)

daily_rollup = dg.build_schedule_from_partitioned_job(
    daily_rollup_job,
    name="daily_rollup",
    hour_of_day=0,
    minute_of_hour=30,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Rolls up the UTC day that ended.",
)

judge_job = dg.define_asset_job(
    "credits_daily",
    selection=dg.AssetSelection.assets(sla_attainment, credit_drafts, credit_notes),
    description="Judges all periods, drafts what is owed, ends incidents and signs what is missing.",
)

daily_judgement = dg.ScheduleDefinition(
    name="daily_judgement",
    job=judge_job,
    cron_schedule="0 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Judges all periods and drafts what is owed, after the rollup.",
)

issue_job = dg.define_asset_job(
    "credits_issue",
    selection=dg.AssetSelection.assets(credit_notes),
    description="Issues the notes of drafts that are completely signed.",
)

_AGAIN_SECONDS = 900
"""The same drafts are tried again after so long, should a run have failed."""


@dg.sensor(
    job=issue_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Issues credit notes once two different people have signed; it signs nothing itself.",
)
def issue_credits(maestro: Maestro) -> dg.SensorResult | dg.SkipReason:
    """Ask for one run for all drafts that are completely signed."""
    from mc_pipelines.sla.draft_store import OPEN, list_drafts

    opened = maestro.open()
    with opened.database.begin() as connection:
        ready = [draft.draft_id for draft in list_drafts(connection, state=OPEN) if draft.complete]
    if not ready:
        return dg.SkipReason("no draft has all its signatures")
    quarter = int(opened.clock.now().timestamp()) // _AGAIN_SECONDS
    run_key = f"{sha256(' '.join(sorted(ready)).encode()).hexdigest()}:{quarter}"
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)])
