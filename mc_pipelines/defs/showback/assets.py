"""Showback: what each tenant's executions cost, in FOCUS columns, reconciled to the cent with the facts."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from mc_pipelines.defs.executions.assets import execution_facts
from mc_pipelines.defs.partitions import retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome, table

if TYPE_CHECKING:
    import polars as pl

    from mc_pipelines.composition import Context


@dg.asset(
    deps=[dg.AssetDep(execution_facts, partition_mapping=dg.AllPartitionMapping())],
    group_name="showback",
    owners=["team:finance"],
    kinds={"polars"},
    code_version="1",
    retry_policy=retries(),
    description="Cost by tenant, workflow, cloud and local day of the billing calendar; `mc showback` shows it.",
)
def showback_costs(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Sum the facts up; metadata names clouds and currencies, never tenants."""
    import polars as pl

    costs = _costs(maestro.open())
    summary = costs.group_by("ProviderName", "BillingCurrency").agg(pl.col("BilledCost").sum(), pl.len()).sort(pl.all())
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(costs),
            "costs": table(("provider", "currency", "billed", "rows"), summary.iter_rows()),
        }
    )


@dg.asset_check(
    asset=showback_costs,
    blocking=True,
    description="The costs add up to exactly what the facts charge, and nothing is counted twice or left out.",
)
def costs_reconcile_with_the_facts(maestro: Maestro) -> dg.AssetCheckResult:
    """Compare both to the minor unit."""
    from mc_pipelines.showback.reconciliation import reconcile

    context = maestro.open()
    problems = reconcile(_costs(context), _facts(context), zones=_zones(context))
    return dg.AssetCheckResult(
        **outcome(not problems, [f"{len(problems)} sums differ; `mc showback report` names them"])
    )


def _facts(context: "Context") -> "pl.LazyFrame":
    from mc_pipelines.executions.facts import days_with_facts, scan_facts

    days = days_with_facts(context.object_store)
    return scan_facts(context.object_store, first_day=days[0], last_day=days[-1])


def _costs(context: "Context") -> "pl.DataFrame":
    from mc_pipelines.showback.costs import showback_costs as costs_of

    return costs_of(_facts(context), zones=_zones(context))


def _zones(context: "Context") -> dict[str, str]:
    from mc_pipelines.foundation.tenants import list_tenants

    with context.database.begin() as connection:
        return {str(one.tenant): one.zone for one in list_tenants(connection)}
