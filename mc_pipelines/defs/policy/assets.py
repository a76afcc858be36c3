"""Policy rollouts: their evidence, and the moves that it allows."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from mc_pipelines.defs.partitions import retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome, table

if TYPE_CHECKING:
    from mc_pipelines.composition import Context

_LOOK_BACK = timedelta(days=90)
"""How far before its start a simulation replays recorded decisions."""


@dg.asset(
    group_name="policy",
    owners=["team:security"],
    kinds={"postgres", "opa"},
    code_version="1",
    retry_policy=retries(),
    description="Recorded decisions of closed windows, under the old and the new pack of every active rollout.",
)
def rollout_evidence(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Replay into each active rollout's step; a window that was collected adds nothing."""
    from mc_pipelines.attest.key_history import service_keys
    from mc_pipelines.policy.controller import counts_of, list_rollouts
    from mc_pipelines.policy.replay import collect_evidence
    from mc_pipelines.policy.rollout import ACTIVE, Phase

    context = maestro.open()
    with context.database.begin() as connection:
        active = [one for one in list_rollouts(connection) if one.phase in ACTIVE]
        trusted = service_keys(connection)
    rows = []
    for one in active:
        back = _LOOK_BACK if one.phase is Phase.SIMULATE else timedelta()
        replayed, masked = collect_evidence(
            context.database,
            context.object_store,
            one,
            trusted=trusted,
            since=one.step_started_at - back,
            now=context.clock.now(),
        )
        with context.database.begin() as connection:
            tenants = len(counts_of(connection, one))
        rows.append((one.rollout_id, one.pack, one.phase, replayed, masked, tenants))
    columns = ("rollout", "pack", "phase", "replayed", "not replayable", "tenants")
    return dg.MaterializeResult(metadata={"rollouts": len(rows), "evidence": table(columns, rows)})


@dg.asset(
    deps=[rollout_evidence],
    group_name="policy",
    owners=["team:security"],
    kinds={"postgres"},
    code_version="1",
    pool="policy_rollouts",
    description="Every rollout's phase: advanced, held, aborted or stopped by its evidence.",
)
def policy_rollouts(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Judge every active rollout once; a rollout without enough evidence stays where it is."""
    from mc_pipelines.policy.controller import gate_of, list_rollouts, tick
    from mc_pipelines.policy.rollout import ACTIVE

    context = maestro.open()
    stable, now = _budget(context), context.clock.now()
    moved = tick(context.database, context.clock, budget=lambda _connection, _rollout: stable)
    with context.database.begin() as connection:
        rows = [
            (
                one.pack,
                one.phase,
                f"{one.percent} %",
                "held by a person" if one.held else "",
                gate_of(connection, one, budget_stable=stable, now=now).reason if one.phase in ACTIVE else "",
                one.step_started_at,
            )
            for one in list_rollouts(connection)
        ]
    columns = ("pack", "phase", "tenants", "hold", "what the evidence says", "since")
    return dg.MaterializeResult(
        metadata={
            "moved": len(moved),
            "error_budget": {True: "stable", False: "burning", None: "unknown"}[stable],
            "rollouts": table(columns, rows),
        }
    )


@dg.asset_check(
    asset=policy_rollouts,
    blocking=True,
    description="For every pack the active pointer is the revision that its newest rollout says.",
)
def pointers_agree_with_rollouts(maestro: Maestro) -> dg.AssetCheckResult:
    """Compare pointers and rollouts."""
    from mc_pipelines.policy.pointers import pointer_problems

    with maestro.open().database.begin() as connection:
        problems = pointer_problems(connection)
    return dg.AssetCheckResult(**outcome(not problems, problems))


def _budget(context: "Context") -> bool | None:
    from mc_pipelines.executions.facts import scan_facts
    from mc_pipelines.policy.error_budget import LONGEST, budget_stable

    now = context.clock.now()
    facts = scan_facts(context.object_store, first_day=(now - LONGEST).date(), last_day=now.date())
    return budget_stable(facts, now)
