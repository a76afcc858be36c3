"""What the runner recorded, taken to where others read it; never an execution itself: that would cost a run each."""

from datetime import timedelta
from typing import Any

import dagster as dg

from mc_pipelines.defs.partitions import retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome, table

_LATE = timedelta(minutes=15)
"""Facts that wait longer for the lake are a fault: runner and daemon both had many turns by then."""


@dg.asset(
    group_name="runner",
    owners=["team:platform"],
    kinds={"postgres", "parquet"},
    code_version="1",
    retry_policy=retries(),
    pool="execution_facts",
    description="Ended executions: their facts in the lake, their receipts in the audit log, one leaf a minute.",
)
def recorded_executions(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Flush what waits in the outbox and enter closed minutes; what a runner did already is not done again."""
    from mc_pipelines.runner.lake import flush_facts
    from mc_pipelines.runner.minutes import enter_minutes
    from mc_pipelines.runner.queue import depth

    context = maestro.open()
    flushed = flush_facts(context.database, context.object_store, context.clock)
    minutes = enter_minutes(context.database, context.clock)
    with context.database.begin() as connection:
        waiting = depth(connection)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": flushed,
            "minutes_looked_at": minutes,
            "queue": table(("state", "executions"), sorted(waiting.items())),
        }
    )


@dg.asset_check(
    asset=recorded_executions,
    description="No fact of an ended execution waits for the lake longer than fifteen minutes.",
)
def facts_reach_the_lake(maestro: Maestro) -> dg.AssetCheckResult:
    """Look at the oldest row that waits; one that breaks a rule of the facts waits for ever, and is named here."""
    from mc_pipelines.runner.lake import waiting

    context = maestro.open()
    with context.database.begin() as connection:
        count, oldest, since = waiting(connection)
    late = since is not None and context.clock.now() - since > _LATE
    problems = [f"row {oldest} of the outbox waits since {since}; the log of the run says why"] if late else []
    return dg.AssetCheckResult(**outcome(not late, problems, waiting=count))
