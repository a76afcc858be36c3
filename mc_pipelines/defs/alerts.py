"""A run that fails reaches a person: the webhook of MC_WEBHOOK_URL."""

import dagster as dg

from mc_pipelines.foundation.settings import load_settings


@dg.run_failure_sensor(
    name="alert_on_run_failure",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="Posts every failed run to the webhook of MC_WEBHOOK_URL.",
)
def alert_on_run_failure(context: dg.RunFailureSensorContext) -> None:
    """Post the run's id, job and first error; no metadata, which could name a tenant."""
    from mc_pipelines.foundation.webhook import post

    post(
        load_settings().webhook_url,
        {
            "event": "dagster.run.failed",
            "run_id": context.dagster_run.run_id,
            "job": context.dagster_run.job_name,
            "steps": sorted(each.step_key for each in context.get_step_failure_events() if each.step_key),
        },
    )
