"""`mc showback`: what it cost, per tenant, workflow and cloud, and as FOCUS for other tools."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    import polars as pl

    from mc_pipelines.composition import Context

app = typer.Typer(help="Cost per tenant, workflow and cloud.", no_args_is_help=True)

Month = Annotated[str, typer.Argument(help="Month of the tenants' own calendars, YYYY-MM.")]
Tenant = Annotated[str | None, typer.Option(help="Of this tenant only.")]
AsKnownAt = Annotated[str | None, typer.Option(help="Only what was recorded by this time, ISO 8601 with offset.")]


class Format(StrEnum):
    """How an export is written."""

    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def report(
    month: Month,
    tenant: Tenant = None,
    by: Annotated[str, typer.Option(help="Groups, by comma: tenant, workflow, cloud, region, service, day, month.")] = (
        "tenant,workflow,cloud"
    ),
    as_known_at: AsKnownAt = None,
    json: Json = False,
) -> None:
    """Print a month's cost; refuses to print what does not agree with the facts to the cent.

    Example: mc showback report 2026-01 --by tenant,cloud
    """
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.showback.export import GROUPS, sources, summary

    groups = by.split(",")
    unknown = [one for one in groups if one not in GROUPS]
    if unknown or len(set(groups)) != len(groups):
        raise InputError("Not a list of groups", field="--by", value=by, mend="use some of " + ", ".join(GROUPS))
    costs = _costs(month, tenant, as_known_at, by_execution=False)
    totals, origin = summary(costs, groups), sources(costs)
    if json:
        print_json({"month": month, "sources": origin.sentence, "costs": totals.to_dicts()})
    else:
        print_table(totals.columns, totals.iter_rows(), title=f"Cost in {month}, each tenant's own calendar")
        print(origin.sentence)


@app.command()
def export(
    month: Month,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    tenant: Tenant = None,
    form: Annotated[Format | None, typer.Option("--format", help="Default: by the name of the file.")] = None,
    by_execution: Annotated[bool, typer.Option("--by-execution", help="A row an execution, not a day.")] = False,
    as_known_at: AsKnownAt = None,
    json: Json = False,
) -> None:
    """Write a month in the columns of FOCUS 1.2, reconciled with the facts first.

    Example: mc showback export 2026-01 --tenant acme --out acme-2026-01.csv
    """
    from mc_pipelines.foundation.canonical import sha256_digest
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.showback.export import sources, to_csv, to_parquet

    try:
        chosen = form or Format(out.suffix.removeprefix("."))
    except ValueError as error:
        raise InputError("The name does not tell the format", field="--out", value=str(out), mend="--format") from error
    costs = _costs(month, tenant, as_known_at, by_execution=by_execution)
    content = to_csv(costs) if chosen is Format.CSV else to_parquet(costs)
    try:
        out.write_bytes(content)
    except OSError as error:
        raise InputError(f"The file cannot be written: {error.strerror}", field="--out", value=str(out)) from error
    facts = {"file": out, "format": chosen, "rows": costs.height, "digest": sha256_digest(content)}
    if json:
        print_json(facts | {"sources": sources(costs).sentence})
    else:
        print(f"{out}: {costs.height} rows, {facts['digest']}")
        print(sources(costs).sentence, file=sys.stderr)


def _costs(month: str, tenant: str | None, as_known_at: str | None, *, by_execution: bool) -> pl.DataFrame:
    from datetime import timedelta

    import polars as pl

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.executions.facts import scan_facts
    from mc_pipelines.foundation.clock import parse_utc
    from mc_pipelines.foundation.errors import NotFoundError, VerificationError
    from mc_pipelines.foundation.tenants import list_tenants
    from mc_pipelines.showback.calendar import local_month
    from mc_pipelines.showback.costs import Grain, showback_costs
    from mc_pipelines.showback.reconciliation import reconcile

    first, last = local_month(month)
    known = None if as_known_at is None else parse_utc(as_known_at, field="--as-known-at")
    context = open_context()
    with context.database.begin() as connection:
        zones = {str(one.tenant): one.zone for one in list_tenants(connection)}
    margin = timedelta(days=1)  # local days begin up to 14 hours before and end up to 12 hours after those of UTC
    facts = scan_facts(context.object_store, first_day=first - margin, last_day=last + margin, as_known_at=known)
    if tenant is not None:
        facts = facts.filter(pl.col("tenant") == tenant)
    grain = Grain.EXECUTION if by_execution else Grain.DAY
    costs = showback_costs(
        facts, zones=zones, first_day=first, last_day=last, estimates=_estimates(context, facts), grain=grain
    )
    if costs.is_empty():
        raise NotFoundError("There are no execution facts in this month", field="month", value=month)
    problems = reconcile(costs, facts, zones=zones, first_day=first, last_day=last)
    if problems:
        raise VerificationError("Showback does not agree with the facts: " + " ".join(problems))
    return costs


def _estimates(context: Context, facts: pl.LazyFrame) -> pl.LazyFrame | None:
    """Read the predictions that the facts name; None where they name none."""
    import polars as pl
    from sqlalchemy import select

    from mc_pipelines.estimator.records import prediction
    from mc_pipelines.showback.costs import ESTIMATES_SCHEMA

    named = facts.select(pl.col("estimate_id").drop_nulls().unique()).collect()["estimate_id"].to_list()
    if not named:
        return None
    with context.database.begin() as connection:
        columns = [prediction.c[name] for name in ESTIMATES_SCHEMA]
        rows = connection.execute(select(*columns).where(prediction.c.estimate_id.in_(named))).all()
    return pl.LazyFrame([tuple(row) for row in rows], schema=ESTIMATES_SCHEMA, orient="row")
