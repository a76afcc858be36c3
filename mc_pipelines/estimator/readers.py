"""Read runs from a trace (Parquet) or from execution facts into a :class:`History`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mc_pipelines.estimator.features import refuse_leakage, select_features
from mc_pipelines.estimator.history import MICROSECONDS, History
from mc_pipelines.executions.fact_schema import Known
from mc_pipelines.executions.facts import with_feature_struct
from mc_pipelines.foundation.errors import InputError

DEFAULT_PRICE_USD_PER_RESOURCE_HOUR = Decimal("0.05747")
"""c2-standard-16 on demand in europe-west4, divided by its 16 vCPUs (prices_gcp_2025.csv)."""
_CONSTRUCTED_MARKS = ("replay", "constructed", "simulated")
_LATE_FINISH_YEARS = 400


def history_from_trace(
    path: Path,
    *,
    price: Decimal = DEFAULT_PRICE_USD_PER_RESOURCE_HOUR,
    moment: Known = Known.READY,
    requested: Sequence[str] | None = None,
) -> History:
    """Read one Parquet trace.

    Required columns: ``ts``, ``workflow``, ``runtime_s`` (the raw WfCommons layout says ``executed_at``
    and ``family``/``task_type`` instead); ``cores`` or ``nodes`` where the trace has them;
    ``price_usd_hour`` (per core- or node-hour) where prices differ between runs.

    Args:
        path: the file.
        price: USD per core- or node-hour of runs that carry none.
        moment: when estimates are made; decides which columns may be used.
        requested: use exactly these feature columns.

    Raises:
        InputError: no Parquet file, a required column is missing or of the wrong type, no usable run, or
            the data leak (a requested post-hoc column, a column that is the runtime in disguise).
    """
    rows = _read(path)
    distinct = rows.unique(maintain_order=True)
    frame = _named(distinct, path)
    numeric = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    selection = select_features(frame.columns, numeric=numeric, moment=moment, requested=requested)
    prepared, excluded = _clean(
        frame.with_columns(_price(frame, price)).with_row_index("row"), numbers=selection.numbers
    )
    if len(distinct) < len(rows):
        excluded["duplicate"] = len(rows) - len(distinct)
    ids = np.array([f"{path.stem}#{row}" for row in prepared["row"].to_list()], dtype=object)
    history = _assemble(
        prepared,
        source=path.name,
        constructed=any(mark in path.stem.lower() for mark in _CONSTRUCTED_MARKS),
        run_ids=ids,
        numbers=selection.numbers,
        excluded=excluded,
        ignored={"post-hoc": selection.post_hoc, "late": selection.late, "unmarked": selection.unmarked},
    )
    refuse_leakage(history.number_names, history.numbers, history.runtime)
    return history


def history_from_facts(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    price: Decimal = DEFAULT_PRICE_USD_PER_RESOURCE_HOUR,
    moment: Known = Known.SUBMIT,
) -> History:
    """Read execution facts (architecture.md, "Execution facts").

    Of several rows of one attempt the last recorded one counts, so a duplicate changes nothing and a
    late correction restates. The USD rate of a price id is what its runs were charged divided by their
    resource-time: billed amounts are rounded to minor units one by one, their sum is not far off.

    Raises:
        InputError: a column is missing or no run is usable.
    """
    facts = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    for column in ("execution_id", "workflow", "published_at", "started_at", "finished_at", "resource_seconds"):
        if column not in facts.columns:
            raise InputError("The execution facts lack a column", field=column, mend="read them with scan_facts")
    if "recorded_at" in facts.columns:
        keys = [name for name in ("execution_id", "attempt") if name in facts.columns]
        facts = facts.sort("recorded_at", maintain_order=True).unique(subset=keys, keep="last", maintain_order=True)
    if isinstance(facts.schema.get("features"), pl.List):
        facts = with_feature_struct(facts)
    facts, marks = _unnest_features(facts)
    facts = _with_allocation(facts)
    numeric = [name for name, kind in facts.schema.items() if kind.is_numeric()]
    selection = select_features(facts.columns, numeric=numeric, moment=moment, marks=marks)
    prepared, excluded = _clean(_with_rates(facts, price), numbers=selection.numbers)
    constructed = "source" in prepared.columns and (prepared["source"].cast(pl.String) != "real").any()
    history = _assemble(
        prepared,
        source="execution facts",
        constructed=bool(constructed),
        run_ids=np.array(prepared["execution_id"].cast(pl.String).to_list(), dtype=object),
        numbers=selection.numbers,
        excluded=excluded,
        ignored={"post-hoc": selection.post_hoc, "late": selection.late, "unmarked": selection.unmarked},
    )
    refuse_leakage(history.number_names, history.numbers, history.runtime)
    return history


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except FileNotFoundError as error:
        raise InputError("No such file", field="data", value=str(path), mend="name a Parquet file") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"Not a readable Parquet file: {str(error).splitlines()[0]}",
            field="data",
            value=str(path),
            mend="fetch the file again; it may be truncated",
        ) from error


def _named(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Bring the layouts of SOURCE.txt under one set of names."""
    columns = set(frame.columns)
    if "ts" not in columns and "executed_at" in columns:
        frame = frame.with_columns(_parse_times("executed_at").alias("ts")).drop("executed_at")
    if "workflow" not in columns and {"family", "task_type"} <= columns:
        frame = frame.with_columns((pl.col("family") + "/" + pl.col("task_type")).alias("workflow")).drop("task_type")
    for column in ("ts", "workflow", "runtime_s"):
        if column not in frame.columns:
            raise InputError(
                "The trace lacks a required column",
                field=column,
                value=path.name,
                mend="a trace has ts, workflow and runtime_s; see docs/estimator/data.md",
            )
    if not frame.schema["runtime_s"].is_numeric():
        raise InputError("Not a number", field="runtime_s", value=str(frame.schema["runtime_s"]), mend="use seconds")
    if not frame.schema["ts"].is_temporal():
        raise InputError("Not a time", field="ts", value=str(frame.schema["ts"]), mend="use a timestamp column in UTC")
    submitted = pl.col("ts").cast(pl.Datetime("us")) if frame.schema["ts"] == pl.Date else pl.col("ts")
    if getattr(frame.schema["ts"], "time_zone", None):
        submitted = submitted.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    resources = next((name for name in ("cores", "nodes") if name in frame.columns), None)
    return frame.with_columns(
        submitted.cast(pl.Datetime("us")).alias("ts"),
        pl.col("workflow").cast(pl.String),
        pl.col("runtime_s").cast(pl.Float64),
        (pl.lit(1.0) if resources is None else pl.col(resources).cast(pl.Float64).fill_null(1.0)).alias("resources"),
    )


def _parse_times(column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String)
    formats = ("%Y-%m-%dT%H:%M:%S%z", "%Y%m%dT%H%M%S%z", "%Y-%m-%dT%H:%M:%S%.f%z")
    return pl.coalesce(
        *(text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in formats)
    ).dt.replace_time_zone(None)


def _price(frame: pl.DataFrame, price: Decimal) -> list[pl.Expr]:
    given = "price_usd_hour" in frame.columns
    rate = pl.col("price_usd_hour").cast(pl.Float64) if given else pl.lit(float(price))
    named = pl.col("region").cast(pl.String) if "region" in frame.columns else pl.lit("default")
    return [rate.alias("price"), named.alias("price_name")]


def _clean(frame: pl.DataFrame, *, numbers: Sequence[str]) -> tuple[pl.DataFrame, dict[str, int]]:
    """Leave out rows that nothing can be learnt from, counted by reason; the first reason counts."""
    bad_time = pl.col("ts").is_null() | (pl.col("ts").dt.year().abs() > _LATE_FINISH_YEARS * 25)
    reasons = (
        ("time-missing", bad_time),
        ("workflow-missing", pl.col("workflow").is_null() | (pl.col("workflow").str.len_chars() == 0)),
        ("runtime-missing", pl.col("runtime_s").is_null() | ~pl.col("runtime_s").is_finite()),
        ("runtime-negative", pl.col("runtime_s") < 0),
        ("allocation-invalid", ~(pl.col("resources").is_finite() & (pl.col("resources") > 0))),
        ("price-unknown", ~(pl.col("price").is_finite() & (pl.col("price") > 0)) | pl.col("price").is_null()),
    )
    label = pl.lit(None, dtype=pl.String)
    for name, condition in reversed(reasons):
        label = pl.when(condition.fill_null(value=True)).then(pl.lit(name)).otherwise(label)
    labelled = frame.with_columns(label.alias("excluded"))
    counts = labelled.filter(pl.col("excluded").is_not_null())["excluded"].value_counts()
    kept = labelled.filter(pl.col("excluded").is_null())
    if kept.is_empty():
        raise InputError("No usable run in the data", field="data", value=dict(counts.iter_rows()) or "empty file")
    cast = [pl.col(name).cast(pl.Float64) for name in numbers]
    return kept.with_columns(cast).sort("ts", maintain_order=True), dict(counts.iter_rows())


def _assemble(
    frame: pl.DataFrame,
    *,
    source: str,
    constructed: bool,
    run_ids: NDArray[np.object_],
    numbers: Sequence[str],
    excluded: dict[str, int],
    ignored: dict[str, tuple[str, ...]],
) -> History:
    names, workflow = np.unique(np.array(frame["workflow"].to_list(), dtype=object).astype(str), return_inverse=True)
    submitted = frame["ts"].cast(pl.Int64).to_numpy().astype(np.int64)
    runtime = frame["runtime_s"].to_numpy().astype(np.float64)
    resources = frame["resources"].to_numpy().astype(np.float64)
    families = _families(frame, names)
    group = frame["group"].cast(pl.String).fill_null("").to_list() if "group" in frame.columns else [""] * len(frame)
    variant = np.array([f"{a}|{b:g}" for a, b in zip(group, resources.tolist(), strict=True)], dtype=object)
    matrix = [frame[name].to_numpy().astype(np.float64) for name in numbers]
    failed = frame["outcome"].cast(pl.String) != "succeeded" if "outcome" in frame.columns else None
    finished = (
        frame["finished_us"].to_numpy().astype(np.int64)
        if "finished_us" in frame.columns
        else submitted + np.round(runtime * MICROSECONDS).astype(np.int64)
    )
    return History(
        source=source,
        constructed=constructed,
        run_ids=run_ids,
        workflow_names=tuple(str(name) for name in names),
        workflow=workflow.astype(np.int64),
        family_of_workflow=families,
        variant=variant,
        submitted=submitted,
        finished=finished,
        resources=resources,
        runtime=runtime,
        price=frame["price"].to_numpy().astype(np.float64),
        price_ids=np.array(frame["price_name"].to_list(), dtype=object),
        succeeded=np.ones(len(frame), dtype=bool) if failed is None else ~failed.to_numpy().astype(bool),
        number_names=tuple(numbers),
        numbers=np.column_stack(matrix) if matrix else np.zeros((len(frame), 0)),
        excluded=excluded,
        ignored_columns={reason: columns for reason, columns in ignored.items() if columns},
    )


def _families(frame: pl.DataFrame, names: NDArray[Any]) -> tuple[str, ...]:
    if "family" in frame.columns:
        rows = frame.group_by("workflow").agg(pl.col("family").cast(pl.String).drop_nulls().first())
        found = dict(rows.iter_rows())
        return tuple(str(found.get(str(name)) or str(name).split("/")[0]) for name in names)
    return tuple(str(name).split("/")[0] for name in names)


def _unnest_features(facts: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Known]]:
    """Spread the ``features`` struct; a field ``{value, known}`` carries its own mark."""
    marks: dict[str, Known] = {}
    kind = facts.schema.get("features")
    if not isinstance(kind, pl.Struct):
        return facts, marks
    columns: list[pl.Expr] = []
    for member in kind.fields:
        value = pl.col("features").struct.field(member.name)
        if isinstance(member.dtype, pl.Struct):
            known = facts.select(value.struct.field("known").drop_nulls().first()).item()
            marks[member.name] = Known(known) if known in set(Known) else Known.POST_HOC
            value = value.struct.field("value")
        if member.name not in facts.columns:
            columns.append(value.alias(member.name))
    return facts.with_columns(columns).drop("features"), marks


def _with_allocation(facts: pl.DataFrame) -> pl.DataFrame:
    held = next((name for name in ("resources", "cores", "nodes") if name in facts.columns), None)
    allocated = pl.lit(1.0) if held is None else pl.col(held).cast(pl.Float64).fill_null(1.0)
    return facts.with_columns(
        allocated.alias("resources"),
        (pl.col("resource_seconds").cast(pl.Float64) / allocated).alias("runtime_s"),
        pl.col("published_at").dt.replace_time_zone(None).cast(pl.Datetime("us")).alias("ts"),
        pl.col("finished_at").dt.replace_time_zone(None).cast(pl.Datetime("us")).cast(pl.Int64).alias("finished_us"),
    )


def _with_rates(facts: pl.DataFrame, price: Decimal) -> pl.DataFrame:
    name = pl.col("price_id").cast(pl.String).fill_null("default") if "price_id" in facts.columns else pl.lit("default")
    named = facts.with_columns(name.alias("price_name"))
    if "cost_minor" not in facts.columns:
        return named.with_columns(pl.lit(float(price)).alias("price"))
    rates = named.group_by("price_name").agg(
        (pl.col("cost_minor").sum() / 100.0 / (pl.col("resource_seconds").sum() / 3600.0)).alias("price")
    )
    return named.join(rates, on="price_name", how="left", maintain_order="left").with_columns(
        pl.when(pl.col("price").is_finite() & (pl.col("price") > 0))
        .then("price")
        .otherwise(float(price))
        .alias("price")
    )
