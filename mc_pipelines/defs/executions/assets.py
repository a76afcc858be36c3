"""Execution facts by day: written by the runner and by ingest; here they are looked at and checked."""

from datetime import date
from typing import Any

import dagster as dg

from mc_pipelines.defs.partitions import DAYS, ONE_RUN, days_of, retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome, table


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=ONE_RUN,
    group_name="executions",
    owners=["team:platform"],
    kinds={"parquet", "polars"},
    code_version="1",
    retry_policy=retries(),
    description="What ran: one row an attempt, one folder of immutable Parquet files a UTC day.",
)
def execution_facts(context: dg.AssetExecutionContext, maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Count the facts of the days by outcome and source."""
    import polars as pl

    from mc_pipelines.executions.facts import scan_facts

    first, last = days_of(context)
    facts = scan_facts(
        maestro.open().object_store, first_day=date.fromisoformat(first), last_day=date.fromisoformat(last)
    )
    summary = (
        facts.group_by("cloud", "source", "outcome")
        .agg(pl.len().alias("attempts"), pl.col("resource_seconds").sum() / 3600)
        .sort("cloud", "source", "outcome", nulls_last=True)
        .collect()
    )
    rows = [(*row[:4], f"{row[4]:.1f}") for row in summary.iter_rows()]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": int(summary["attempts"].sum()),
            "constructed": int(summary.filter(pl.col("source") == "constructed")["attempts"].sum()),
            "attempts": table(("cloud", "source", "outcome", "attempts", "resource hours"), rows),
        }
    )


@dg.asset_check(
    asset=execution_facts,
    blocking=True,
    description="Every fact keeps the rules of the schema, and each attempt has one row.",
)
def facts_keep_their_schema(maestro: Maestro) -> dg.AssetCheckResult:
    """Check all days that there are."""
    from mc_pipelines.executions.fact_checks import check_facts
    from mc_pipelines.executions.facts import days_with_facts, scan_facts
    from mc_pipelines.foundation.errors import InputError

    store = maestro.open().object_store
    days = days_with_facts(store)
    problems = [] if days else ["there are no facts"]
    try:
        if days:
            check_facts(scan_facts(store, first_day=days[0], last_day=days[-1]).collect())
    except InputError as error:
        problems.append(str(error))
    return dg.AssetCheckResult(**outcome(not problems, problems, days=len(days)))
