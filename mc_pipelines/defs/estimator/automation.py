"""When the estimator is judged: every Monday, and whenever somebody asks."""

import dagster as dg

from mc_pipelines.defs.estimator.assets import estimator_backtest

backtest_job = dg.define_asset_job(
    "estimator_weekly",
    selection=dg.AssetSelection.assets(estimator_backtest),
    description="Backtest of the last 90 days.",
)

weekly_backtest = dg.ScheduleDefinition(
    name="weekly_backtest",
    job=backtest_job,
    cron_schedule="30 5 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Backtests the estimator every Monday.",
)
