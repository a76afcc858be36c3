"""The sensor that moves rollouts: it asks for a run once a window of evidence closed, or a rollout changed."""

from hashlib import sha256
from typing import Any

import dagster as dg

from mc_pipelines.defs.policy.assets import policy_rollouts, rollout_evidence
from mc_pipelines.defs.resources import Maestro

rollout_tick = dg.define_asset_job(
    "rollout_tick",
    selection=dg.AssetSelection.assets(rollout_evidence, policy_rollouts),
    description="Collects evidence of the windows that closed, and moves the rollouts whose gate says so.",
)


@dg.sensor(
    job=rollout_tick,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Advances, aborts or stops policy rollouts on paired evidence; holds while evidence is thin.",
)
def advance_rollouts(maestro: Maestro) -> dg.SensorResult | dg.SkipReason:
    """Ask for one run a window of evidence for all active rollouts, and one more after each move."""
    from mc_pipelines.foundation import flags
    from mc_pipelines.policy.controller import list_rollouts
    from mc_pipelines.policy.replay import SETTLE, WINDOW
    from mc_pipelines.policy.rollout import ACTIVE

    opened = maestro.open()
    with opened.database.begin() as connection:
        if not flags.enabled(connection, flags.POLICY_ROLLOUT_CONTROLLER):
            return dg.SkipReason("the flag policy_rollout_controller is off")
        active = [one for one in list_rollouts(connection) if one.phase in ACTIVE]
    if not active:
        return dg.SkipReason("no rollout is under way")
    window = int((opened.clock.now() - SETTLE).timestamp()) // int(WINDOW.total_seconds())
    standing: list[Any] = [f"{one.rollout_id}:{one.sequence}" for one in active]
    run_key = f"{window}:{sha256(' '.join(sorted(standing)).encode()).hexdigest()[:16]}"
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)])
