"""Which rows of facts a later row replaces: found without reading what need not be read.

Most files hold each attempt once and say so in their Parquet metadata; a day that is one such file needs no
look at its keys at all. Otherwise keys are compared by 64-bit hash, and only rows whose hash occurs twice are
read and compared exactly. A counter can then count every row and take the replaced ones off again, instead of
carrying the keys of millions of rows through its sort.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mc_pipelines.executions.fact_schema import FACTS_SCHEMA

KEY = ("execution_id", "attempt")
DISTINCT = {"mc.attempts": "distinct"}
"""Parquet metadata of a file in which no attempt stands twice."""

FactsSource = Path | io.BytesIO
"""A file of facts in place, or its verified content."""


def holds_each_once(source: FactsSource) -> bool:
    """Tell whether a file states that no attempt stands twice in it."""
    [(name, value)] = DISTINCT.items()
    found = pl.read_parquet_metadata(source).get(name)
    if isinstance(source, io.BytesIO):
        source.seek(0)
    return found == value


def newest_rows(facts: pl.LazyFrame) -> pl.LazyFrame:
    """Keep the latest row of each attempt; of rows recorded at one moment, the last in the order given."""
    return facts.sort("recorded_at", maintain_order=True).unique(subset=KEY, keep="last", maintain_order=True)


def replaced_rows(sources: Sequence[FactsSource], columns: Sequence[str]) -> pl.DataFrame:
    """Return the rows that a later row of the same attempt replaces, as :func:`newest_rows` decides it.

    Args:
        sources: all files of a day, in the order of their paths.
        columns: which columns of the rows to return.
    """
    wanted = [name for name in FACTS_SCHEMA.names() if name in {*columns, *KEY, "recorded_at"}]
    none = pl.DataFrame(schema={name: FACTS_SCHEMA[name] for name in columns})
    if not sources or (len(sources) == 1 and holds_each_once(sources[0])):
        return none
    facts = pl.concat([pl.scan_parquet(source, schema=FACTS_SCHEMA) for source in sources], how="vertical")
    mark = pl.col("execution_id").hash() ^ pl.col("attempt").hash(1)
    hashes = facts.select(mark.alias("mark")).collect(engine="streaming")["mark"].sort()
    twice = hashes.filter(hashes == hashes.shift(1)).unique()
    if twice.is_empty():
        return none
    rows = facts.filter(mark.is_in(twice.implode())).select(wanted).with_row_index("_row").collect(engine="streaming")
    kept = newest_rows(rows.lazy()).select("_row").collect()
    return rows.join(kept, on="_row", how="anti", maintain_order="left").select(columns)
