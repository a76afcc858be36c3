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
import pyarrow as pa
import pyarrow.parquet as pq

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
    facts = _scan(sources)
    twice = _marks_that_stand_twice(sources)
    if twice.is_empty():
        return none
    rows = facts.filter(_MARK.is_in(twice.implode())).select(wanted).with_row_index("_row").collect(engine="streaming")
    kept = newest_rows(rows.lazy()).select("_row").collect()
    return rows.join(kept, on="_row", how="anti", maintain_order="left").select(columns)


def changed_rows(
    sources: Sequence[FactsSource], late: Sequence[bool], columns: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what files that came late change: rows that hold no more, and rows that hold now.

    Only attempts that stand in late files are looked at: of all others the same row holds as before. Equal to the
    difference of :func:`newest_rows` over all files and over those that are not late.

    Args:
        sources: all files of a day, in the order of their paths.
        late: for each of them, whether it came late.
        columns: which columns of the rows to return.
    """
    wanted = [name for name in FACTS_SCHEMA.names() if name in {*columns, *KEY, "recorded_at"}]
    of_late = [source for source, came_late in zip(sources, late, strict=True) if came_late]
    marks = _marks(_scan(of_late)).unique().implode()
    parts = [
        _scan([source]).filter(_MARK.is_in(marks)).select(wanted).with_columns(pl.lit(came_late).alias("_late"))
        for source, came_late in zip(sources, late, strict=True)
    ]
    rows = pl.concat(parts, how="vertical").with_row_index("_row").collect(engine="streaming")
    after = newest_rows(rows.lazy()).collect()
    before = newest_rows(rows.filter(~pl.col("_late")).lazy()).collect()
    gone, come = before.join(after, on="_row", how="anti"), after.join(before, on="_row", how="anti")
    return gone.select(columns), come.select(columns)


def row_count(source: FactsSource) -> int:
    """Return how many rows a file holds, from its footer alone."""
    return int(
        pq.read_metadata(pa.BufferReader(source.getbuffer()) if isinstance(source, io.BytesIO) else source).num_rows
    )


_MARK = pl.col("execution_id").hash() ^ pl.col("attempt").hash(1)
_FEW = 4


def _scan(sources: Sequence[FactsSource]) -> pl.LazyFrame:
    return pl.concat([pl.scan_parquet(source, schema=FACTS_SCHEMA) for source in sources], how="vertical")


def _marks_that_stand_twice(sources: Sequence[FactsSource]) -> pl.Series:
    """Return the hashes of keys that stand more than once; a large file is only asked for those of late, small ones."""
    rows = [pl.scan_parquet(source).select(pl.len()).collect().item() for source in sources]
    largest = max(range(len(sources)), key=rows.__getitem__)
    others = [source for number, source in enumerate(sources) if number != largest]
    if not others or not holds_each_once(sources[largest]) or _FEW * (sum(rows) - rows[largest]) > rows[largest]:
        return _twice(_marks(_scan(sources)))
    late = _marks(_scan(others))
    known = _marks(_scan([sources[largest]]).filter(_MARK.is_in(late.unique().implode())))
    return pl.concat([_twice(late), known]).unique()


def _marks(facts: pl.LazyFrame) -> pl.Series:
    return facts.select(_MARK.alias("mark")).collect(engine="streaming")["mark"]


def _twice(marks: pl.Series) -> pl.Series:
    ordered = marks.sort()
    return ordered.filter(ordered == ordered.shift(1)).unique()
