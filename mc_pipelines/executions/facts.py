"""Execution facts: one row per attempt, the one interface that SLA, showback, estimator and reports read.

Layout in the plain object store: ``facts/day=YYYY-MM-DD/<sha256 of the file>.parquet``, where the day is the
UTC day of ``finished_at``. A file never changes. A correction is a new row with a later ``recorded_at`` in
a new file of the same day; readers take the latest row of each (execution_id, attempt), or the latest that
was known at a moment. docs/reference/execution-facts.md describes every column and its unit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from mc_pipelines.executions.fact_checks import check_facts
from mc_pipelines.executions.fact_schema import FACTS_SCHEMA, FEATURE, Known
from mc_pipelines.executions.fact_versions import DISTINCT, KEY, FactsSource, holds_each_once, newest_rows
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import Digest

PREFIX = "facts"
_ORDER = ("finished_at", "execution_id", "attempt", "recorded_at")
_FILES_AT_ONCE = 4
_SUFFIX = ".parquet"


class _Listed(Protocol):
    @property
    def path(self) -> str: ...


class FactsStore(Protocol):
    """The part of :class:`mc_pipelines.foundation.object_store.ObjectStore` that the lake needs."""

    def put(self, path: str, content: bytes, *, if_absent: bool = True) -> bool:
        """Write an object; False where one of that name is there already."""
        ...

    def get(self, path: str) -> bytes:
        """Read an object."""
        ...

    def list(self, prefix: str) -> Iterable[_Listed]:
        """List objects below a prefix."""
        ...


@dataclass(frozen=True, slots=True)
class FactsFile:
    """One immutable file of facts."""

    path: str
    digest: Digest
    day: date
    rows: int
    written: bool
    """False where the same file was there already."""


def facts_frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Build a frame in the schema of facts; a column that a row lacks is null.

    Raises:
        InputError: a row has an unknown column or a value of another type.
    """
    listed = [dict(row) for row in rows]
    for row in listed:
        unknown = sorted(set(row) - set(FACTS_SCHEMA))
        if unknown:
            raise InputError("Not a column of execution facts", field=unknown[0], mend="see execution-facts.md")
    try:
        return pl.DataFrame(listed, schema=FACTS_SCHEMA, orient="row")
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise InputError(f"A value does not fit its column: {str(error).splitlines()[0]}", field="facts") from error


def feature(name: str, value: float | str, known: Known) -> dict[str, Any]:
    """Return one entry of the ``features`` column: a number or a text, and when it is known."""
    is_text = isinstance(value, str)
    return {
        "name": name,
        "value": None if is_text else float(value),
        "text": value if is_text else None,
        "known": known.value,
    }


def write_facts(store: FactsStore, frame: pl.DataFrame) -> tuple[FactsFile, ...]:
    """Write facts, one file a UTC day of ``finished_at``; the same facts again write nothing.

    Args:
        store: the plain object store.
        frame: rows in :data:`FACTS_SCHEMA`, in any order.

    Raises:
        InputError: a column is missing, unknown or of another type, or a value breaks a rule of the schema;
            nothing is written then.
    """
    check_facts(frame)
    ordered = frame.select(FACTS_SCHEMA.names()).unique(maintain_order=True).sort(_ORDER)
    days = ordered.with_columns(pl.col("finished_at").dt.date().alias("_day")).partition_by(
        "_day", as_dict=True, include_key=False, maintain_order=True
    )

    def write(day: date, rows: pl.DataFrame) -> FactsFile:
        content = _parquet(rows)
        digest = sha256_digest(content)
        path = f"{PREFIX}/day={day.isoformat()}/{digest.removeprefix('sha256:')}{_SUFFIX}"
        return FactsFile(path, digest, day, len(rows), store.put(path, content, if_absent=True))

    # A store is waited for, be it a disk that flushes or a cloud that answers.
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        return tuple(pool.map(write, (day for (day,) in days), days.values()))


def fact_paths(store: FactsStore, *, first_day: date, last_day: date) -> list[str]:
    """Return the paths of all files of the days from ``first_day`` to ``last_day``, both included, sorted.

    Raises:
        InputError: the last day is before the first.
    """
    if last_day < first_day:
        raise InputError("The last day is before the first", field="last_day", value=last_day.isoformat())
    by_day = paths_by_day(store)
    return sorted(path for day, paths in by_day.items() if first_day <= day <= last_day for path in paths)


def paths_by_day(store: FactsStore) -> dict[date, list[str]]:
    """Return the sorted paths of all files by UTC day, from one listing."""
    found: dict[date, list[str]] = {}
    for listed in store.list(f"{PREFIX}/"):
        day = _day_of(listed.path)
        if day is not None:
            found.setdefault(day, []).append(listed.path)
    return {day: sorted(found[day]) for day in sorted(found)}


def scan_facts(
    store: FactsStore, *, first_day: date, last_day: date, as_known_at: datetime | None = None
) -> pl.LazyFrame:
    """Return the facts of some UTC days, lazily and without duplicates: the latest row of each attempt.

    Args:
        store: the plain object store; its files are read in place where it is a folder.
        first_day: first UTC day of ``finished_at``.
        last_day: last one, included.
        as_known_at: leave out what was recorded after this moment.

    Raises:
        InputError: the days are in the wrong order, or ``as_known_at`` is naive.
        VerificationError: a file is not what its name says (where files are read in place, a damaged file
            raises polars' ComputeError here or on collecting).
    """
    paths = fact_paths(store, first_day=first_day, last_day=last_day)
    if not paths:
        return pl.LazyFrame(schema=FACTS_SCHEMA)
    sources = [fact_source(store, path) for path in paths]
    facts = pl.concat([pl.scan_parquet(source, schema=FACTS_SCHEMA) for source in sources], how="vertical")
    if as_known_at is not None:
        facts = facts.filter(pl.col("recorded_at") <= as_utc(as_known_at, field="as_known_at"))
    if len(sources) == 1 and holds_each_once(sources[0]):
        return facts  # written in the order below
    return newest_rows(facts).sort("finished_at", *KEY)


def days_with_facts(store: FactsStore) -> list[date]:
    """Return the UTC days that have any facts, in order."""
    return list(paths_by_day(store))


def day_range(first_day: date, last_day: date) -> list[date]:
    """Return every day from the first to the last, both included."""
    return [first_day + timedelta(days=offset) for offset in range((last_day - first_day).days + 1)]


def with_feature_struct(facts: pl.DataFrame) -> pl.DataFrame:
    """Return facts whose ``features`` is a struct with one member ``{value, known}`` per feature name.

    This is the shape that the estimator trains on. A name's value is a number where any row has one, else
    text; rows without the feature have null. Of differing marks of one name the latest-known one holds.
    """
    flat = (
        facts.select("features")
        .with_row_index("_row")
        .explode("features", empty_as_null=True, keep_nulls=True)
        .unnest("features")
        .drop_nulls("name")
    )
    order = {known.value: rank for rank, known in enumerate(Known)}
    columns = []
    for (name,), rows in sorted(flat.partition_by("name", as_dict=True).items(), key=lambda item: str(item[0][0])):
        known = max(rows["known"].unique().to_list(), key=order.__getitem__)
        kind = "text" if rows["value"].null_count() == len(rows) else "value"
        column = pl.DataFrame({"_row": pl.Series(range(len(facts)), dtype=pl.UInt32)}).join(
            rows.select("_row", kind).unique("_row", keep="first", maintain_order=True),
            on="_row",
            how="left",
            maintain_order="left",
        )[kind]
        columns.append(
            pl.DataFrame({"value": column}).select(
                pl.struct(pl.col("value"), pl.lit(known).alias("known")).alias(str(name))
            )
        )
    if not columns:
        return facts.drop("features")
    wide = pl.concat(columns, how="horizontal").to_struct("features")
    return facts.with_columns(wide)


def _parquet(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    distinct = rows.n_unique(subset=KEY) == len(rows)
    rows.rechunk().write_parquet(
        buffer, compression="zstd", compression_level=3, statistics=True, metadata=DISTINCT if distinct else {}
    )
    return buffer.getvalue()


def fact_source(store: FactsStore, path: str) -> FactsSource:
    """Return a file of facts in place where the store is a folder, else its content, verified.

    Raises:
        VerificationError: the content is not what its name says.
    """
    folder = getattr(store, "root", None)
    if isinstance(folder, Path):
        return folder / path
    content = store.get(path)
    if sha256_digest(content).removeprefix("sha256:") != Path(path).stem:
        raise VerificationError("A file of facts is not what its name says", field="path", value=path)
    return io.BytesIO(content)


def _day_of(path: str) -> date | None:
    parts = path.split("/")
    try:
        if parts[0] != PREFIX or not path.endswith(_SUFFIX) or not parts[1].startswith("day="):
            return None
        return date.fromisoformat(parts[1].removeprefix("day="))
    except (IndexError, ValueError):
        return None


__all__ = [
    "FACTS_SCHEMA",
    "FEATURE",
    "FactsFile",
    "FactsStore",
    "Known",
    "day_range",
    "days_with_facts",
    "fact_paths",
    "fact_source",
    "facts_frame",
    "feature",
    "paths_by_day",
    "scan_facts",
    "with_feature_struct",
    "write_facts",
]
