"""The rules that every row of facts keeps; checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from mc_pipelines.executions.fact_schema import ENUMERATIONS, FACTS_SCHEMA, NULLABLE, Known, Outcome, Source
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.money import minor_unit_exponent

_DIGEST = r"^sha256:[0-9a-f]{64}$"
_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def check_facts(frame: pl.DataFrame) -> None:
    """Check columns, types and values.

    Raises:
        InputError: names the column, the row (counted from 0) and the value of the first broken rule.
    """
    _check_schema(frame)
    for column, sentence, broken in _rules():
        _refuse(frame, column, sentence, broken)
    for currency in frame["currency"].unique().to_list():
        minor_unit_exponent(currency)
    _check_marks(frame)


def _check_schema(frame: pl.DataFrame) -> None:
    for name, kind in FACTS_SCHEMA.items():
        if name not in frame.schema:
            raise InputError("Execution facts lack a column", field=name, mend="see execution-facts.md")
        if frame.schema[name] != kind:
            raise InputError(
                f"A column of execution facts has another type than {kind}", field=name, value=str(frame.schema[name])
            )
    unknown = [name for name in frame.columns if name not in FACTS_SCHEMA]
    if unknown:
        raise InputError("Not a column of execution facts", field=unknown[0], mend="a new column takes an ADR")


def _rules() -> Iterator[tuple[str, str, pl.Expr]]:
    for name in FACTS_SCHEMA:
        if name not in NULLABLE:
            yield name, "A required value is missing", pl.col(name).is_null()
    for name, allowed in ENUMERATIONS.items():
        yield name, f"Not one of {', '.join(sorted(allowed))}", ~pl.col(name).is_in(sorted(allowed))
    denied = pl.col("outcome") == Outcome.DENIED.value
    yield "execution_id", "Not a UUID in lower case", ~pl.col("execution_id").str.contains(_UUID)
    yield "attempt", "Attempts count from 1", pl.col("attempt") < 1
    seconds = pl.col("resource_seconds")
    yield "resource_seconds", "Not a finite, non-negative number of seconds", ~(seconds.is_finite() & (seconds >= 0))
    yield "cost_minor", "A charge is not negative", pl.col("cost_minor") < 0
    yield "finished_at", "It finished before it was published", pl.col("finished_at") < pl.col("published_at")
    yield "started_at", "It started before it was published", pl.col("started_at") < pl.col("published_at")
    yield "started_at", "It started after it finished", pl.col("started_at") > pl.col("finished_at")
    yield "recorded_at", "It was recorded before it finished", pl.col("recorded_at") < pl.col("finished_at")
    yield "cloud", "Only a denied execution has no cloud", pl.col("cloud").is_null() & ~denied
    yield "region", "Only a denied execution has no region", pl.col("region").is_null() & ~denied
    yield "cost_minor", "A denied execution costs nothing", denied & (pl.col("cost_minor") != 0)
    receipt = pl.col("receipt_digest")
    yield "receipt_digest", "Not a sha256 digest", ~receipt.str.contains(_DIGEST)
    real = pl.col("source") == Source.REAL.value
    yield "receipt_digest", "A real execution has a receipt", real & receipt.is_null()


def _check_marks(frame: pl.DataFrame) -> None:
    marks = (
        frame.lazy()
        .select(pl.col("features").list.eval(pl.element().struct.field("known")).list.unique().alias("known"))
        .explode("known", empty_as_null=True, keep_nulls=True)
        .unique()
        .collect()["known"]
        .drop_nulls()
        .to_list()
    )
    unknown = sorted(set(marks) - set(Known))
    if unknown:
        raise InputError("Not a when-known mark", field="features.known", value=unknown[0], mend=", ".join(Known))


def _refuse(frame: pl.DataFrame, column: str, sentence: str, broken: pl.Expr) -> None:
    rows = frame.select(broken.fill_null(value=False).arg_true().first()).item()
    if rows is not None:
        value = frame[column][rows]
        raise InputError(f"{sentence}, in row {rows}", field=column, value=None if value is None else str(value))
