"""Read a Parquet trace of executions into one layout, or say exactly what is wrong with it.

Required columns: ``ts`` (submission; a timestamp, in UTC where the column has no zone), ``workflow``,
``runtime_s`` (seconds); ``cores`` or ``nodes`` where the trace has them. The raw WfCommons layout says
``executed_at`` (text with an offset) and ``family``/``task_type`` instead. Every other number or text becomes a
feature with a when-known mark; a column that nobody marked is kept as post-hoc: silence is not permission.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl

from mc_pipelines.executions.fact_schema import FEATURE, MOMENT, Known
from mc_pipelines.foundation.errors import InputError

_TIMES = ("%Y-%m-%dT%H:%M:%S%z", "%Y%m%dT%H%M%S%z", "%Y-%m-%dT%H:%M:%S%.f%z")
_SUBMIT = frozenset({"cores", "nodes", "user", "exe", "group", "family", "engine", "n_parents", "n_children"})
_READY = frozenset({"in_bytes", "n_in"})
_SUBMIT_PATTERN = re.compile(r"num_[a-z0-9_]+|[a-z0-9_]+_length")
_LARGEST_RUNTIME_SECONDS = 10 * 366 * 86_400
_LARGEST_ALLOCATION = 1_000_000
_MEND_LAYOUT = "a trace has ts, workflow and runtime_s, and cores or nodes where it knows them"


def mark(column: str) -> Known:
    """Return when a column of a trace is known; what nobody marked counts as measured afterwards."""
    if column in _SUBMIT or _SUBMIT_PATTERN.fullmatch(column):
        return Known.SUBMIT
    return Known.READY if column in _READY else Known.POST_HOC


def read_trace(path: Path) -> pl.DataFrame:
    """Return ``ts, workflow, runtime_s, resources, features, content``, one row an execution.

    ``resources`` is cores or nodes (1 where the trace does not say); ``content`` is the row as text, which names
    the row wherever it stands.

    Raises:
        InputError: no Parquet file, a required column is missing or of another type, or a value is missing,
            without a zone, negative, NaN or infinite; names file, column, row (from 0) and value.
    """
    frame = _under_one_name(_read(path), path)
    allocation = next((name for name in ("cores", "nodes") if name in frame.columns), None)
    _refuse_bad_values(frame, path, allocation)
    named = [name for name in sorted(frame.columns) if name not in {"ts", "workflow", "runtime_s"}]
    kinds = frame.schema
    wanted = [name for name in named if kinds[name].is_numeric() or kinds[name] == pl.String]
    content = pl.concat_str(
        [pl.lit(name + "=") + pl.col(name).cast(pl.String).fill_null("") for name in sorted(frame.columns)],
        separator="\x1f",
    )
    return frame.select(
        pl.col("ts"),
        pl.col("workflow"),
        pl.col("runtime_s").cast(pl.Float64),
        (pl.lit(1.0) if allocation is None else pl.col(allocation).cast(pl.Float64).fill_null(1.0)).alias("resources"),
        _features(frame, wanted),
        content.alias("content"),
    )


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise InputError("No such file", field="PATH", value=str(path), mend="name a Parquet file")
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"Not a whole Parquet file: {str(error).splitlines()[0]}",
            field="PATH",
            value=str(path),
            mend="fetch the file again; it may be truncated",
        ) from error


def _under_one_name(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    columns = set(frame.columns)
    if "ts" not in columns and "executed_at" in columns:
        frame = frame.rename({"executed_at": "ts"})
    if "workflow" not in columns and {"family", "task_type"} <= columns:
        frame = frame.with_columns((pl.col("family") + "/" + pl.col("task_type")).alias("workflow"))
    for column in ("ts", "workflow", "runtime_s"):
        if column not in frame.columns:
            raise _wrong("The trace lacks a column", path, column, mend=_MEND_LAYOUT)
    if frame.is_empty():
        raise _wrong("The trace has no rows", path, "rows")
    for column in ("runtime_s", *({"cores", "nodes"} & set(frame.columns))):
        if not frame.schema[column].is_numeric():
            raise _wrong("Not a numeric column", path, column, value=str(frame.schema[column]))
    if frame.schema["workflow"] != pl.String:
        raise _wrong("Not a text column", path, "workflow", value=str(frame.schema["workflow"]))
    return frame.with_columns(_moments(frame, path).alias("ts"))


def _moments(frame: pl.DataFrame, path: Path) -> pl.Series:
    kind = frame.schema["ts"]
    if kind == pl.String:
        texts = frame["ts"]
        parsed = frame.select(
            pl.coalesce(
                *(pl.col("ts").str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in _TIMES)
            )
        )["ts"]
        bad = (parsed.is_null() & texts.is_not_null()).arg_true()
        if len(bad):
            raise _wrong(
                f"Not a time with an offset, in row {bad[0]}",
                path,
                "ts",
                value=texts[bad[0]],
                mend="write it such as 2026-01-19T10:00:00+00:00",
            )
        return parsed
    if not isinstance(kind, pl.Datetime):
        raise _wrong("Not a column of timestamps", path, "ts", value=str(kind))
    series = frame["ts"]
    aware = series.dt.replace_time_zone("UTC") if kind.time_zone is None else series.dt.convert_time_zone("UTC")
    return aware.cast(MOMENT)


def _refuse_bad_values(frame: pl.DataFrame, path: Path, allocation: str | None) -> None:
    runtime = pl.col("runtime_s").cast(pl.Float64)
    rules: list[tuple[str, str, pl.Expr]] = [
        ("ts", "A value is missing", pl.col("ts").is_null()),
        ("workflow", "A value is missing", pl.col("workflow").is_null() | (pl.col("workflow") == "")),
        ("runtime_s", "A value is missing", runtime.is_null()),
        ("runtime_s", "Not a finite number", ~runtime.is_finite()),
        ("runtime_s", "A runtime is not negative", runtime < 0),
        ("runtime_s", "A runtime of more than ten years", runtime > _LARGEST_RUNTIME_SECONDS),
    ]
    if allocation is not None:
        held = pl.col(allocation).cast(pl.Float64)
        rules += [
            (allocation, "Not a finite number", ~held.is_finite()),
            (allocation, "An allocation is more than nothing", held <= 0),
            (allocation, "An allocation of more than a million", held > _LARGEST_ALLOCATION),
        ]
    broken = frame.select(
        condition.fill_null(value=False).arg_true().first().alias(str(index))
        for index, (_, _, condition) in enumerate(rules)
    ).row(0)
    for row, (column, sentence, _) in zip(broken, rules, strict=True):
        if row is not None:
            raise _wrong(f"{sentence}, in row {row}", path, column, value=str(frame[column][row]))


def _features(frame: pl.DataFrame, names: list[str]) -> pl.Series:
    """Return the list of features of every row; built whole, column under column, because row by row is slow."""
    rows, count = len(frame), len(names)
    if not names:
        return pl.Series("features", [[]] * rows, dtype=pl.List(FEATURE))
    columns = []
    for name in names:
        column = frame[name]
        numeric = column.dtype.is_numeric()
        columns.append(
            pl.DataFrame(
                {
                    "name": pl.repeat(name, rows, eager=True),
                    "value": column.cast(pl.Float64)
                    if numeric
                    else pl.repeat(None, rows, dtype=pl.Float64, eager=True),
                    "text": pl.repeat(None, rows, dtype=pl.String, eager=True) if numeric else column,
                    "known": pl.repeat(mark(name).value, rows, eager=True),
                }
            )
        )
    by_row = (np.arange(rows)[:, None] + rows * np.arange(count)).ravel()
    flat = pl.concat(columns)[by_row].to_struct("features")
    lists = flat.reshape((rows, count)).arr.to_list()
    if sum(frame[name].null_count() for name in names) == 0:
        return lists
    given = pl.element().struct.field("value").is_not_null() | pl.element().struct.field("text").is_not_null()
    return lists.to_frame().select(pl.col("features").list.eval(pl.element().filter(given)))["features"]


def _wrong(sentence: str, path: Path, column: str, *, value: str | None = None, mend: str | None = None) -> InputError:
    return InputError(f"{path.name}: {sentence}", field=column, value=value, mend=mend, file=str(path))
