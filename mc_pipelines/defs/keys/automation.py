"""When keys are looked at: every morning, and a rotation that waits is taken up."""

import dagster as dg

from mc_pipelines.defs.keys.assets import key_inventory, key_rotations

keys_daily = dg.define_asset_job(
    "keys_daily",
    selection=dg.AssetSelection.assets(key_inventory, key_rotations),
    description="Inventory of keys, and the rotations that are due.",
)

key_age = dg.ScheduleDefinition(
    name="key_age",
    job=keys_daily,
    cron_schedule="15 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Rotates keys beyond their cryptoperiod of 90 days.",
)
