"""From execution facts to rows of cost: one per tenant, workflow, place, price and local day.

A charge falls in the tenant's local day in which its attempt finished. Amounts are the facts' own integer minor units,
summed in 128 bits and written as Decimal: nothing is rounded, and nothing is computed from an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import minor_unit_exponent
from mc_pipelines.showback.calendar import billing_days
from mc_pipelines.showback.focus import (
    COST,
    COST_COLUMNS,
    ESTIMATE,
    FOCUS_SCHEMA,
    ISSUER,
    MOMENT,
    NO_PROVIDER,
    PROVIDERS,
    QUANTITY,
    UNIT,
    USAGE,
)

DEFAULT_ZONE = "UTC"
"""The calendar of a tenant that has no record; every row names its calendar in ``x_BillingZone``."""
_THREE_PLACES = 3


class Grain(StrEnum):
    """What one row stands for."""

    DAY = "day"
    """All attempts of a workflow in one place, at one price, on one local day."""
    EXECUTION = "execution"
    """The attempts of one execution among those; carries ``ResourceId`` and the estimate's interval."""


_ESTIMATE_COLUMNS: dict[str, DataType | DataTypeClass] = {
    "estimate_id": pl.String,
    "cost": ESTIMATE,
    "low": ESTIMATE,
    "high": ESTIMATE,
    "currency": pl.String,
    "model_id": pl.String,
    "confidence": pl.Float64,
    "source": pl.String,
}
ESTIMATES_SCHEMA = pl.Schema(_ESTIMATE_COLUMNS)
"""What was predicted, in major units; ``low`` and ``high`` bound the interval that covers 90 % of runs."""

_KEYS = (
    *("tenant", "workflow", "service", "cloud", "region", "price_id", "currency", "source"),
    *("start", "end", "month_start", "month_end", "zone", "model_id", "estimator"),
)
_READ = (
    *("execution_id", "attempt", "tenant", "workflow", "service", "cloud", "region", "price_id", "currency"),
    *("source", "finished_at", "outcome", "resource_seconds", "cost_minor", "estimate_id"),
)


def showback_costs(
    facts: pl.LazyFrame,
    *,
    zones: Mapping[str, str] | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
    estimates: pl.LazyFrame | None = None,
    grain: Grain = Grain.DAY,
) -> pl.DataFrame:
    """Return the cost of facts in :data:`FOCUS_SCHEMA`, in one fixed order whatever the order of the facts.

    Args:
        facts: as :func:`mc_pipelines.executions.facts.scan_facts` gives them, each attempt once.
        zones: IANA zone of each tenant's billing calendar; :data:`DEFAULT_ZONE` for the others.
        first_day: leave out local days before this one.
        last_day: leave out local days after this one.
        estimates: predictions in :data:`ESTIMATES_SCHEMA`; only ``x_`` columns ever hold them.
        grain: what one row stands for.

    Raises:
        InputError: a zone or currency is unknown, or the days are in the wrong order.
    """
    if first_day is not None and last_day is not None and last_day < first_day:
        raise InputError("The last day is before the first", field="last day", value=last_day.isoformat())
    read = facts.select(_READ)
    days = _periods(read, zones or {}, first_day, last_day)
    placed = (
        read.sort("finished_at")
        .join_asof(
            days.sort("start"),
            left_on="finished_at",
            right_on="start",
            by="tenant",
            strategy="backward",
            check_sortedness=False,
        )
        .filter(pl.col("finished_at") < pl.col("end"))
    )
    if grain is Grain.DAY:
        keys: tuple[str, ...] = _KEYS
    else:
        keys = (*_KEYS, "execution_id")
    grouped = _with_estimates(placed, estimates).group_by(keys).agg(*_sums()).collect(engine="streaming")
    return _focus(grouped, _scales(grouped), by_execution=grain is Grain.EXECUTION).sort(
        "BillingAccountId",
        "ChargePeriodStart",
        "SubAccountId",
        "ServiceName",
        "ProviderName",
        "RegionId",
        "SkuPriceId",
        "BillingCurrency",
        "x_Source",
        "x_EstimatorModelId",
        "x_EstimatorSource",
        "ResourceId",
        nulls_last=True,
    )


def _periods(
    facts: pl.LazyFrame, zones: Mapping[str, str], first_day: date | None, last_day: date | None
) -> pl.LazyFrame:
    """Return the local days of every tenant that its facts may fall in."""
    moment = pl.col("finished_at")
    spans = facts.group_by("tenant").agg(moment.min().alias("low"), moment.max().alias("high")).collect()
    calendars: dict[tuple[str, date, date], pl.DataFrame] = {}
    rows = []
    for tenant, low, high in spans.sort("tenant").iter_rows():
        zone = zones.get(tenant, DEFAULT_ZONE)
        first = max(low.date() - timedelta(days=2), first_day or date.min)  # a zone is at most 26 hours from UTC
        last = min(high.date() + timedelta(days=2), last_day or date.max)
        if last < first:
            continue
        key = (zone, first, last)
        if key not in calendars:
            calendars[key] = _calendar(zone, first, last)
        rows.append(calendars[key].with_columns(pl.lit(tenant).alias("tenant")))
    schema: dict[str, DataType | DataTypeClass] = {"tenant": pl.String, **_CALENDAR}
    found = pl.concat(rows).select(list(schema)) if rows else pl.DataFrame(schema=schema)
    return found.lazy()


_CALENDAR: dict[str, DataType | DataTypeClass] = {
    "zone": pl.String,
    "start": MOMENT,
    "end": MOMENT,
    "month_start": MOMENT,
    "month_end": MOMENT,
}


def _calendar(zone: str, first: date, last: date) -> pl.DataFrame:
    days = billing_days(zone, first, last)
    return pl.DataFrame(
        [(zone, day.start, day.end, day.month_start, day.month_end) for day in days], schema=_CALENDAR, orient="row"
    )


def _with_estimates(facts: pl.LazyFrame, estimates: pl.LazyFrame | None) -> pl.LazyFrame:
    given = pl.LazyFrame(schema=ESTIMATES_SCHEMA) if estimates is None else estimates.select(ESTIMATES_SCHEMA.names())
    named = given.rename({"source": "estimator"}).unique(["estimate_id", "currency"], keep="first")
    # An estimate is of an execution: its further attempts must not count it again.
    once = pl.when(pl.col("attempt") == 1).then(pl.col("estimate_id"))
    return facts.with_columns(once.alias("estimate_id")).join(named, on=["estimate_id", "currency"], how="left")


def _sums() -> list[pl.Expr]:
    cost = pl.col("cost_minor").cast(pl.Int128)
    estimated = pl.col("cost").is_not_null().sum()
    one = estimated == 1
    return [
        cost.sum().alias("minor"),
        cost.filter(pl.col("outcome") != "succeeded").sum().alias("unsuccessful"),
        # Milliseconds add up exactly; sums of floats would depend on the order of the rows.
        (pl.col("resource_seconds") * 1000).round().cast(pl.Int64).cast(pl.Int128).sum().alias("milliseconds"),
        pl.len().cast(pl.Int64).alias("attempts"),
        estimated.cast(pl.Int64).alias("estimated"),
        pl.when(estimated > 0).then(pl.col("cost").sum()).alias("estimate"),
        # Intervals and confidences of several executions do not add up to those of their sum.
        *(
            pl.when(one).then(pl.col(name).filter(pl.col("cost").is_not_null()).first()).alias(name)
            for name in ("low", "high", "confidence")
        ),
    ]


def _scales(grouped: pl.DataFrame) -> dict[str, Decimal]:
    """Return the value of one minor unit of every currency there is, in major units with three places."""
    return {
        currency: Decimal(1).scaleb(-minor_unit_exponent(currency)).quantize(Decimal(1).scaleb(-_THREE_PLACES))
        for currency in grouped["currency"].unique().to_list()
    }


def _focus(grouped: pl.DataFrame, scales: Mapping[str, Decimal], *, by_execution: bool) -> pl.DataFrame:
    unit = pl.col("currency").replace_strict(dict(scales), return_dtype=COST) if scales else pl.lit(None, dtype=COST)

    def money(column: str) -> pl.Expr:
        return (pl.col(column).cast(pl.Decimal(38, 0)) * unit).cast(COST)

    quantity = (pl.col("milliseconds").cast(pl.Decimal(38, 0)) * pl.lit(Decimal("0.001"))).cast(QUANTITY)
    provider = pl.col("cloud").replace(PROVIDERS).fill_null(NO_PROVIDER)
    resource = pl.col("execution_id") if by_execution else pl.lit(None, dtype=pl.String)
    tags = pl.struct("tenant", "workflow", "service", "cloud", "region", "source").struct.json_encode()
    filled = {
        **{name: money("minor") for name in COST_COLUMNS},
        "BillingAccountId": pl.col("tenant"),
        "BillingAccountName": pl.col("tenant"),
        "BillingCurrency": pl.col("currency"),
        "BillingPeriodEnd": pl.col("month_end"),
        "BillingPeriodStart": pl.col("month_start"),
        "ChargeCategory": pl.lit(USAGE),
        "ChargeClass": pl.lit(None, dtype=pl.String),
        "ChargeDescription": pl.format("Executions of {} on {}", "workflow", provider),
        "ChargeFrequency": pl.lit("Usage-Based"),
        "ChargePeriodEnd": pl.col("end"),
        "ChargePeriodStart": pl.col("start"),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": pl.lit(UNIT),
        "InvoiceIssuerName": pl.lit(ISSUER),
        "PricingQuantity": quantity,
        "PricingUnit": pl.lit(UNIT),
        "ProviderName": provider,
        "PublisherName": provider,
        "RegionId": pl.col("region"),
        "RegionName": pl.col("region"),
        "ResourceId": resource,
        "ResourceType": pl.when(resource.is_not_null()).then(pl.lit("Execution")),
        "ServiceCategory": pl.lit("Compute"),
        "ServiceName": pl.col("service"),
        "SkuPriceId": pl.col("price_id"),
        "SubAccountId": pl.format("{}/{}", "tenant", "workflow"),
        "SubAccountName": pl.col("workflow"),
        "Tags": tags,
        "x_Attempts": pl.col("attempts"),
        "x_BillingZone": pl.col("zone"),
        "x_Cloud": pl.col("cloud"),
        "x_EstimatedCost": pl.col("estimate"),
        "x_EstimatedCostLow": pl.col("low"),
        "x_EstimatedCostHigh": pl.col("high"),
        "x_EstimatedExecutions": pl.col("estimated"),
        "x_EstimatorConfidence": pl.col("confidence"),
        "x_EstimatorModelId": pl.col("model_id"),
        "x_EstimatorSource": pl.col("estimator"),
        "x_Source": pl.col("source"),
        "x_UnsuccessfulCost": money("unsuccessful"),
    }
    return grouped.select(filled[name].cast(kind).alias(name) for name, kind in FOCUS_SCHEMA.items())
