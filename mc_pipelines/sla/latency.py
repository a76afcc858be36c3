"""How many attempts waited how long, per slice: counts by bucket, from which every percentile follows.

Whether a latency objective is kept is decided on counts against its threshold (:mod:`mc_pipelines.sla.counting`);
the buckets serve the percentile that a report shows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mc_pipelines.executions.fact_schema import FACTS_SCHEMA
from mc_pipelines.executions.fact_versions import FactsSource
from mc_pipelines.sla.counting import Profile
from mc_pipelines.sla.slices import EDGES_MS

_KEYS = ("tenant", "service", "number")


def slice_buckets(sources: Sequence[FactsSource], replaced: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """Return the latency buckets of every slice, in streaming polars.

    Args:
        sources: all files of facts of a day.
        replaced: rows of these files that a later row replaces; they are taken off again.
        profile: how to slice.

    Returns:
        ``tenant``, ``service``, ``number`` and ``buckets``: a list of [upper edge in ms, valid attempts] by edge.
    """
    facts = pl.concat([pl.scan_parquet(source, schema=FACTS_SCHEMA) for source in sources], how="vertical")
    counted = latency_buckets(facts, profile)
    if len(replaced):
        off = latency_buckets(replaced.lazy(), profile).with_columns(-pl.col("count"))
        counted = pl.concat([counted, off]).group_by(*_KEYS, "edge").agg(pl.col("count").sum())
    pair = pl.concat_list("edge", "count")
    return (
        counted.filter(pl.col("count") != 0)
        .sort(*_KEYS, "edge")
        .group_by(_KEYS, maintain_order=True)
        .agg(pair.alias("buckets"))
        .collect(engine="streaming")
    )


def latency_buckets(facts: pl.LazyFrame, profile: Profile) -> pl.LazyFrame:
    """Count valid attempts per slice and latency bucket, in streaming polars.

    Returns:
        ``tenant``, ``service``, ``number``, ``edge`` (upper edge in ms, inclusive) and ``count``.
    """
    edges = pl.Series("edge", EDGES_MS, dtype=pl.Int64)
    waited_ms = -((pl.col("published_at") - pl.col("started_at")).dt.total_microseconds() // 1000)
    valid = (
        pl.col("excluded_reason").is_null()
        & (pl.col("fault_owner") != "customer")
        & ~pl.col("outcome").is_in(("cancelled", "denied"))
        & pl.col("started_at").is_not_null()
    )
    bucket = pl.lit(edges).search_sorted(pl.col("waited").clip(0, EDGES_MS[-1]), side="left")
    return (
        facts.filter(valid)
        .select(
            "tenant",
            "service",
            (pl.col("finished_at").dt.epoch("ms") // profile.granule_ms).alias("number"),
            waited_ms.alias("waited"),
        )
        .group_by(*_KEYS, "waited")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .with_columns(pl.lit(edges).gather(bucket).alias("edge"))
        .group_by(*_KEYS, "edge")
        .agg(pl.col("count").sum())
    )
