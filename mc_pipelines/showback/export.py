"""Showback for others: FOCUS as CSV and Parquet, and a summary for people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from mc_pipelines.showback.focus import COST, FOCUS_SCHEMA, FOCUS_VERSION

CONSTRUCTED = "constructed"
_GROUPS = {
    "tenant": "BillingAccountId",
    "workflow": "SubAccountName",
    "cloud": "ProviderName",
    "region": "RegionId",
    "service": "ServiceName",
    "day": "ChargePeriodStart",
    "month": "BillingPeriodStart",
}
GROUPS = tuple(_GROUPS)


@dataclass(frozen=True, slots=True)
class Sources:
    """How many rows come from executions that we ran, and how many were constructed."""

    real: int
    constructed: int

    @property
    def sentence(self) -> str:
        """What every output says about its sources."""
        if not self.constructed:
            return f"All {self.real} rows are of executions that ran here (x_Source = real)."
        return (
            f"{self.constructed} of {self.real + self.constructed} rows are of constructed facts (x_Source = "
            "constructed): their tenants, places and charges are made up."
        )


def sources(costs: pl.DataFrame) -> Sources:
    """Count rows by source."""
    constructed = costs.filter(pl.col("x_Source") == CONSTRUCTED).height
    return Sources(costs.height - constructed, constructed)


def to_csv(costs: pl.DataFrame) -> bytes:
    """Return FOCUS in CSV: RFC 3339 UTC times, plain decimals, empty where null."""
    moments = [name for name, kind in FOCUS_SCHEMA.items() if isinstance(kind, pl.Datetime)]
    text = costs.with_columns(pl.col(moments).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return text.write_csv(line_terminator="\r\n").encode()


def to_parquet(costs: pl.DataFrame) -> bytes:
    """Return FOCUS in Parquet; the file's metadata name version, generator and sources."""
    buffer = io.BytesIO()
    metadata = {
        "FocusVersion": FOCUS_VERSION,
        "DataGenerator": "Maestro Conductor",
        "x_Sources": sources(costs).sentence,
    }
    costs.rechunk().write_parquet(buffer, compression="zstd", metadata=metadata)
    return buffer.getvalue()


def summary(costs: pl.DataFrame, by: Sequence[str] = ("tenant", "workflow", "cloud")) -> pl.DataFrame:
    """Return totals by some of :data:`GROUPS`, currency and source, dearest first within the first group.

    Columns: the groups, ``currency``, ``billed``, ``unsuccessful`` (cost of attempts that did not succeed),
    ``estimated`` (for the ``estimated_executions`` of them that have an estimate), ``attempts``, ``source``.
    """
    names = [pl.col(_GROUPS[one]).alias(one) for one in by]
    keys = [*by, "currency", "source"]
    found = (
        costs.select(
            *names,
            pl.col("BillingCurrency").alias("currency"),
            pl.col("x_Source").alias("source"),
            "BilledCost",
            "x_UnsuccessfulCost",
            "x_EstimatedCost",
            "x_EstimatedExecutions",
            "x_Attempts",
        )
        .group_by(keys)
        .agg(
            pl.col("BilledCost").sum().cast(COST).alias("billed"),
            pl.col("x_UnsuccessfulCost").sum().cast(COST).alias("unsuccessful"),
            pl.when(pl.col("x_EstimatedCost").count() > 0).then(pl.col("x_EstimatedCost").sum()).alias("estimated"),
            pl.col("x_EstimatedExecutions").sum().alias("estimated_executions"),
            pl.col("x_Attempts").sum().alias("attempts"),
        )
        .sort(by[0], "billed", *keys, descending=[False, True, *(False for _ in keys)], nulls_last=True)
    )
    return found.select(
        *by, "currency", "billed", "unsuccessful", "estimated", "estimated_executions", "attempts", "source"
    )
