"""A seeded trace for machines without real ones: ninety days of workflows that repeat, drift and vary.

Only submissions, runtimes and features are simulated here; tenant, cloud, outcome and charge come from the same
overlay that completes a real trace, so both go through one path.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from mc_pipelines.executions.fact_schema import FEATURE, MOMENT, Known

_WORKFLOWS = 24
_WEEKEND_SHARE = 0.35
_NOISE_SIGMA = 0.30
_DAY_US = 86_400 * 1_000_000


def simulate_trace(*, first_day: date, days: int = 90, runs: int = 20_000, seed: int = 7) -> pl.DataFrame:
    """Return a trace in the layout of :func:`mc_pipelines.executions.trace.read_trace`.

    Runtime = base of the workflow x (input size) ** elasticity x lognormal noise, in milliseconds; submissions
    follow a working week with a peak in the UTC afternoon.

    Args:
        first_day: UTC day of the first submissions.
        days: length of the trace.
        runs: number of executions.
        seed: the same seed gives the same bytes.
    """
    random = np.random.default_rng(seed)
    workflow = np.minimum(random.geometric(0.12, runs) - 1, _WORKFLOWS - 1)
    base = np.exp(random.uniform(np.log(8), np.log(900), _WORKFLOWS))
    elasticity = random.uniform(0.4, 1.1, _WORKFLOWS)
    cores = random.choice([1, 2, 4, 8], _WORKFLOWS)[workflow]
    size = np.exp(random.normal(0, 0.6, runs))
    noise = np.exp(_NOISE_SIGMA * random.normal(size=runs) - _NOISE_SIGMA**2 / 2)
    runtime_ms = np.maximum(np.round(1000 * base[workflow] * size ** elasticity[workflow] * noise), 1).astype(np.int64)
    day = _days(first_day, days, runs, random)
    hour_us = (np.clip(random.normal(14, 4.5, runs) % 24, 0, 23.999) * 3_600_000_000).astype(np.int64)
    origin = int(datetime.combine(first_day, datetime.min.time(), UTC).timestamp()) * 1_000_000
    in_bytes = np.round(size * 1e8).astype(np.int64)
    frame = pl.DataFrame(
        {
            "ts": pl.Series(origin + day * _DAY_US + hour_us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "workflow": [f"simulated/w{number:02d}" for number in workflow.tolist()],
            "runtime_s": runtime_ms / 1000.0,
            "resources": cores.astype(np.float64),
            "in_bytes": in_bytes,
        }
    ).sort("ts", "workflow", "runtime_s", "in_bytes")
    return frame.select(
        pl.col("ts").cast(MOMENT),
        "workflow",
        "runtime_s",
        "resources",
        pl.concat_list(
            _feature("cores", pl.col("resources"), Known.SUBMIT),
            _feature("in_bytes", pl.col("in_bytes").cast(pl.Float64), Known.READY),
        )
        .cast(pl.List(FEATURE))
        .alias("features"),
        pl.concat_str(
            pl.lit(f"simulated {seed}"),
            pl.col("ts").cast(pl.Int64),
            "workflow",
            "runtime_s",
            "in_bytes",
            separator="\x1f",
        ).alias("content"),
    )


def last_ninety_days(now: datetime) -> date:
    """Return the first of the ninety UTC days before the day of ``now``."""
    return (now.astimezone(UTC) - timedelta(days=90)).date()


def _days(
    first_day: date, days: int, runs: int, random: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    weekdays = [(first_day + timedelta(days=offset)).weekday() for offset in range(days)]
    weights = np.array([_WEEKEND_SHARE if weekday >= 5 else 1.0 for weekday in weekdays])  # noqa: PLR2004 - Saturday
    return random.choice(days, runs, p=weights / weights.sum()).astype(np.int64)


def _feature(name: str, value: pl.Expr, known: Known) -> pl.Expr:
    return pl.struct(
        pl.lit(name).alias("name"),
        value.alias("value"),
        pl.lit(None, dtype=pl.String).alias("text"),
        pl.lit(known.value).alias("known"),
    )
