"""Does showback say what the facts say, to the cent? A second way to the same figures, by plain integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import Money
from mc_pipelines.showback.calendar import billing_days
from mc_pipelines.showback.costs import DEFAULT_ZONE
from mc_pipelines.showback.focus import COST_COLUMNS, FOCUS_SCHEMA, MOMENT, NULLABLE, USAGE

_KEY = ("tenant", "workflow", "service", "cloud", "region", "currency", "source")
_SHOWN = 20
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_Totals = dict[tuple[str, ...], tuple[Decimal, int]]


def reconcile(
    costs: pl.DataFrame,
    facts: pl.LazyFrame,
    *,
    zones: Mapping[str, str] | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[str]:
    """Return one sentence for each way in which costs and facts disagree; an empty list means to the cent.

    Compared are amount and number of attempts of every tenant, workflow, service, cloud, region, currency and source,
    both ways: a fact without a row is found, and a row without a fact.

    Args:
        costs: as :func:`mc_pipelines.showback.costs.showback_costs` returns them, or as read back from an export.
        facts: what they were made from.
        zones: as given to ``showback_costs``; needed with days.
        first_day: as given to ``showback_costs``; give both days or none.
        last_day: as given to ``showback_costs``.

    Raises:
        InputError: only one of the days is given, or a zone is unknown.
    """
    if (first_day is None) != (last_day is None):
        raise InputError("Give both days or none", field="first day" if first_day is None else "last day")
    if first_day is not None and last_day is not None:
        facts = _within(facts, zones or {}, first_day, last_day)
    wrong = list(_shape_problems(costs))
    if wrong:
        return wrong
    wrong += _row_problems(costs)
    stated, recorded = _stated(costs), _recorded(facts)
    for key in sorted(stated.keys() | recorded.keys()):
        (cost, attempts), (fact_cost, fact_attempts) = (
            totals.get(key, (Decimal(0), 0)) for totals in (stated, recorded)
        )
        if cost != fact_cost:
            wrong.append(f"{_name(key)}: showback says {cost} {key[5]}, the facts say {fact_cost}.")
        if attempts != fact_attempts:
            wrong.append(f"{_name(key)}: showback counts {attempts} attempts, the facts {fact_attempts}.")
    return wrong[:_SHOWN] + ([f"And {len(wrong) - _SHOWN} more."] if len(wrong) > _SHOWN else [])


def _shape_problems(costs: pl.DataFrame) -> Iterator[str]:
    for name, kind in FOCUS_SCHEMA.items():
        if name not in costs.schema:
            yield f"The column {name} is missing."
        elif costs.schema[name] != kind:
            yield f"The column {name} is {costs.schema[name]}, not {kind}."
        elif name not in NULLABLE and costs[name].null_count():
            yield f"The column {name} is empty in {costs[name].null_count()} rows."
    for name in costs.columns:
        if name not in FOCUS_SCHEMA:
            yield f"{name} is no column of showback."


def _row_problems(costs: pl.DataFrame) -> Iterator[str]:
    billed = pl.col("BilledCost")
    rules = {
        "a charge is negative": billed < 0,
        "a charge is not of category Usage": pl.col("ChargeCategory") != USAGE,
        "the costs of a row differ": pl.any_horizontal(pl.col(name) != billed for name in COST_COLUMNS),
        "the cost of what did not succeed is above the whole": pl.col("x_UnsuccessfulCost") > billed,
        "a charge period is empty": pl.col("ChargePeriodStart") >= pl.col("ChargePeriodEnd"),
        "a charge period lies outside its billing period": (pl.col("ChargePeriodStart") < pl.col("BillingPeriodStart"))
        | (pl.col("ChargePeriodEnd") > pl.col("BillingPeriodEnd")),
    }
    for sentence, broken in rules.items():
        count = costs.filter(broken).height
        if count:
            yield f"In {count} rows {sentence}."
    periods = (
        costs.select("BillingAccountId", "ChargePeriodStart", "ChargePeriodEnd")
        .unique()
        .sort("BillingAccountId", "ChargePeriodStart", "ChargePeriodEnd")
    )
    before = pl.col("ChargePeriodEnd").shift(1).over("BillingAccountId")
    for tenant, start, _ in periods.filter(before > pl.col("ChargePeriodStart")).iter_rows():
        yield f"Charge periods of {tenant} overlap at {rfc3339(start)}."


def _stated(costs: pl.DataFrame) -> _Totals:
    columns = {
        "tenant": "BillingAccountId",
        "workflow": "SubAccountName",
        "service": "ServiceName",
        "cloud": "x_Cloud",
        "region": "RegionId",
        "currency": "BillingCurrency",
        "source": "x_Source",
    }
    totals: _Totals = {}
    for *parts, cost, attempts in costs.select(*(columns[name] for name in _KEY), "BilledCost", "x_Attempts").rows():
        key = tuple(part or "" for part in parts)
        before = totals.get(key, (Decimal(0), 0))
        totals[key] = (before[0] + cost, before[1] + attempts)
    return totals


def _recorded(facts: pl.LazyFrame) -> _Totals:
    counted = facts.group_by(_KEY).agg(pl.col("cost_minor").cast(pl.Int128).sum(), pl.len())
    totals: _Totals = {}
    for *parts, minor, count in counted.collect(engine="streaming").iter_rows():
        totals[tuple(part or "" for part in parts)] = (Money(parts[5], int(minor)).amount, int(count))
    return totals


def _within(facts: pl.LazyFrame, zones: Mapping[str, str], first: date, last: date) -> pl.LazyFrame:
    """Keep the facts of some local days, by two comparisons a tenant and no table of days."""
    spans = {}
    for tenant in facts.select("tenant").unique().collect()["tenant"].to_list():
        days = billing_days(zones.get(tenant, DEFAULT_ZONE), first, last)
        spans[tenant] = (days[0].start, days[-1].end) if days else (_NEVER, _NEVER)
    moments: dict[str, DataType | DataTypeClass] = {"tenant": pl.String, "low": MOMENT, "high": MOMENT}
    bounds = pl.LazyFrame([(tenant, *span) for tenant, span in spans.items()], schema=moments, orient="row")
    finished = pl.col("finished_at")
    return facts.join(bounds, on="tenant").filter((finished >= pl.col("low")) & (finished < pl.col("high")))


def _name(key: tuple[str, ...]) -> str:
    tenant, workflow, service, cloud, region, _, source = key
    return f"{tenant}/{workflow} ({service}, {cloud or 'no cloud'} {region}, {source})"
