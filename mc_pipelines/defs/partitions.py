"""The partitions of everything that is kept by day."""

from datetime import timedelta

import dagster as dg

from mc_pipelines.foundation.settings import load_settings

DAYS = dg.DailyPartitionsDefinition(start_date=load_settings().first_day.isoformat(), timezone="UTC")
"""UTC days; MC_FIRST_DAY is the first."""

ONE_RUN = dg.BackfillPolicy.single_run()
"""A range of days is one run: a run costs seconds of CPU, a day of rollups milliseconds."""


def days_of(context: dg.AssetExecutionContext) -> tuple[str, str]:
    """Return the first and the last day that a run covers, both included."""
    keys = sorted(context.partition_keys)
    return keys[0], keys[-1]


def retries() -> dg.RetryPolicy:
    """Two more tries after a passing fault of a database or store; every write is idempotent."""
    return dg.RetryPolicy(
        max_retries=2,
        delay=timedelta(seconds=2).total_seconds(),
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )
