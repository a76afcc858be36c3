"""What a trace lacks, constructed from a seed: tenant, place, start delay, outcome, exclusion and charge.

docs/reference/overlay.md is the specification. Everything is drawn from one BLAKE2b hash of (seed, row content,
occurrence), so a row gets the same values in whatever file and order it comes, and a file with more rows changes
nothing of the old ones. The runtimes, submissions and features are the trace's own. Rows are marked constructed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mc_pipelines.executions.constructed_prices import (
    CURRENCY,
    MICRO_PER_MINOR,
    MILLISECONDS_PER_HOUR,
    PLACES,
    Place,
)
from mc_pipelines.executions.fact_schema import FACTS_SCHEMA, FaultOwner, Outcome, Source
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import parse_name

DEFAULT_TENANTS = ("acme", "globex", "initech")
SERVICE = "executions"
DEFAULT_SEED = 7
RECORDED_AFTER_SECONDS = 60
"""Facts are recorded this long after the end."""
MAINTENANCE_REASON = "maintenance"

_WORDS = 8
_OUTAGES_PER_PLACE_AND_30_DAYS = 2
_OUTAGE_HOURS = (1, 6)
_OUTAGE_FAILURE_SHARE = 0.35
_MAINTENANCE_WEEKDAY, _MAINTENANCE_HOURS = 6, (2, 4)
_START_SIGMA = 0.47
"""Of the logarithm of the start delay: the 95th percentile is 2.17 times the median."""
_SLOW_START_SECONDS = (15, 60)
_MOVED_SHARE = 0.05
_OUTCOMES = (
    (0.004, Outcome.FAILED, FaultOwner.CUSTOMER),
    (0.007, Outcome.FAILED, FaultOwner.PROVIDER),
    (0.008, Outcome.CANCELLED, FaultOwner.NONE),
    (0.0085, Outcome.LOST, FaultOwner.PROVIDER),
)
"""Cumulative shares outside outages; the rest succeeds."""
_TWO_64 = float(2**64)
_UUID_LENGTH = 36
_UUID_DIGITS = [place for place in range(_UUID_LENGTH) if place not in {8, 13, 18, 23}]
_Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Overlay:
    """The parameters of an overlay; facts made with the same ones are the same bytes."""

    seed: int = DEFAULT_SEED
    tenants: tuple[str, ...] = DEFAULT_TENANTS
    service: str = SERVICE

    def __post_init__(self) -> None:
        if not self.tenants:
            raise InputError("An overlay needs a tenant", field="--tenants")
        for name in self.tenants:
            parse_name(name, field="--tenants")


def overlay_facts(trace: pl.DataFrame, overlay: Overlay) -> pl.DataFrame:
    """Return facts of a trace (the columns of :func:`mc_pipelines.executions.trace.read_trace`)."""
    words = _row_words(trace, overlay.seed)
    submitted = trace["ts"].cast(pl.Int64).to_numpy()
    homes, tenants = _of_workflow(trace["workflow"], overlay)
    places = np.where(_share(words[:, 1]) < _MOVED_SHARE, _weighted(words[:, 2]), homes)
    started = submitted + _start_delay_us(words[:, 3], places)
    finished = started + np.round(trace["runtime_s"].to_numpy() * 1e6).astype(np.int64)
    outcome, fault = _outcomes(words[:, 4], places, finished, overlay.seed)
    milliseconds = np.maximum(np.round(trace["runtime_s"].to_numpy() * trace["resources"].to_numpy() * 1e3), 0)
    frame = pl.DataFrame(
        {
            "execution_id": _ids(words, submitted),
            "tenant": pl.Series(tenants, dtype=pl.Int32).replace_strict(
                dict(enumerate(overlay.tenants)), return_dtype=pl.String
            ),
            "workflow": trace["workflow"],
            "place": pl.Series(places.astype(np.int32)),
            "published_at": trace["ts"],
            "started_at": pl.Series(started).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "finished_at": pl.Series(finished).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "outcome": pl.Series(outcome),
            "fault_owner": pl.Series(fault),
            "resource_seconds": trace["runtime_s"] * trace["resources"],
            "cost_minor": pl.Series(_charges(milliseconds.astype(np.int64), places, words[:, 5])),
            "features": trace["features"],
        }
    )
    return _finish(frame, overlay.service)


def outages(place: int, month: int, seed: int) -> list[tuple[datetime, datetime]]:
    """Return the constructed outages of a place in one 30-day block since 1970, as half-open intervals in UTC."""
    found = []
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=30 * month)
    for number in range(_OUTAGES_PER_PLACE_AND_30_DAYS):
        draw = hashlib.blake2b(f"outage|{seed}|{place}|{month}|{number}".encode(), digest_size=16).digest()
        first = int.from_bytes(draw[:8], "big") / _TWO_64
        second = int.from_bytes(draw[8:], "big") / _TWO_64
        start = begin + timedelta(minutes=int(first * 30 * 24 * 60))
        low, high = _OUTAGE_HOURS
        found.append((start, start + timedelta(minutes=int(60 * (low + second * (high - low))))))
    return sorted(found)


def _row_words(trace: pl.DataFrame, seed: int) -> _Words:
    """Return eight random 64-bit words a row, drawn from the row's content and how often it occurred before."""
    occurrence = trace.select(pl.int_range(pl.len()).over("content").alias("occurrence"))["occurrence"]
    key = hashlib.sha256(f"overlay|{seed}".encode()).digest()
    joined = (trace["content"] + "\x1e" + occurrence.cast(pl.String)).to_list()
    keyed = hashlib.blake2b(key=key)
    digests = b"".join(_digest(keyed.copy(), text) for text in joined)
    return np.frombuffer(digests, dtype=">u8").reshape(len(joined), _WORDS).astype(np.uint64)


def _digest(hasher: hashlib.blake2b, text: str) -> bytes:
    """Return the digest of a text by a hasher that has read its key already: half the work of a new one."""
    hasher.update(text.encode())
    return hasher.digest()


def _ids(words: _Words, submitted_us: NDArray[np.int64]) -> pl.Series:
    """Return UUIDv7 of the submission with noise from the content, so that ids sort by time and never change."""
    milliseconds = np.maximum(submitted_us // 1000, 0).astype(np.uint64) & np.uint64(2**48 - 1)
    noise = words[:, 0]
    high = milliseconds << np.uint64(16) | np.uint64(0x7000) | noise >> np.uint64(52)
    variant = np.uint64(0x8000) | (noise >> np.uint64(38) & np.uint64(0x3FFF))
    low = variant << np.uint64(48) | noise & np.uint64(2**48 - 1)
    digits = np.frombuffer(np.stack([high, low], axis=1).astype(">u8").tobytes().hex().encode(), np.uint8)
    text = np.full((len(words), _UUID_LENGTH), ord("-"), np.uint8)
    text[:, _UUID_DIGITS] = digits.reshape(len(words), len(_UUID_DIGITS))
    return pl.Series(text.view(f"S{_UUID_LENGTH}").ravel()).cast(pl.String)


def _of_workflow(workflows: pl.Series, overlay: Overlay) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    homes: dict[str, int] = {}
    tenants: dict[str, int] = {}
    for name in workflows.unique().to_list():
        draw = hashlib.blake2b(f"workflow|{overlay.seed}|{name}".encode(), digest_size=16).digest()
        homes[name] = int(_weighted(np.array([int.from_bytes(draw[:8], "big")], dtype=np.uint64))[0])
        tenants[name] = int.from_bytes(draw[8:], "big") % len(overlay.tenants)
    return (
        workflows.replace_strict(homes, return_dtype=pl.Int64).to_numpy(),
        workflows.replace_strict(tenants, return_dtype=pl.Int64).to_numpy(),
    )


def _share(words: _Words) -> NDArray[np.float64]:
    return words.astype(np.float64) / _TWO_64


def _weighted(words: _Words) -> NDArray[np.int64]:
    bounds = np.cumsum([place.weight for place in PLACES])
    found = np.searchsorted(bounds, _share(words) * bounds[-1], side="right")
    places: NDArray[np.int64] = np.minimum(found, len(PLACES) - 1).astype(np.int64)
    return places


def _start_delay_us(words: _Words, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lognormal around the place's median; a small share of starts is slow."""
    first = ((words >> np.uint64(32)).astype(np.float64) + 0.5) / 2.0**32
    second = ((words & np.uint64(2**32 - 1)).astype(np.float64) + 0.5) / 2.0**32
    normal = np.sqrt(-2 * np.log(first)) * np.cos(2 * math.pi * second)
    median = np.array([place.start_median_ms for place in PLACES], dtype=np.float64)[places]
    usual = median * 1000 * np.exp(_START_SIGMA * normal)
    low, high = _SLOW_START_SECONDS
    slow_share = np.array([place.slow_start_share for place in PLACES])[places]
    slow = 1e6 * (low + (high - low) * second)
    return np.round(np.where(first < slow_share, slow, usual)).astype(np.int64)


def _outcomes(
    words: _Words, places: NDArray[np.int64], finished_us: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    share = _share(words)
    bounds = [limit for limit, _, _ in _OUTCOMES]
    names = np.array([*(str(outcome) for _, outcome, _ in _OUTCOMES), str(Outcome.SUCCEEDED)])
    faults = np.array([*(str(fault) for _, _, fault in _OUTCOMES), str(FaultOwner.NONE)])
    index = np.searchsorted(bounds, share, side="right")
    outcome, fault = names[index], faults[index]
    broken = _in_outage(places, finished_us, seed) & (share < _OUTAGE_FAILURE_SHARE)
    return np.where(broken, str(Outcome.FAILED), outcome), np.where(broken, str(FaultOwner.PROVIDER), fault)


def _in_outage(places: NDArray[np.int64], finished_us: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    month_us = 30 * 86_400 * 1_000_000
    hit = np.zeros(len(places), dtype=bool)
    for month in range(int(finished_us.min() // month_us) - 1, int(finished_us.max() // month_us) + 1):
        for place in range(len(PLACES)):
            for start, end in outages(place, month, seed):
                low, high = (int(moment.timestamp()) * 1_000_000 for moment in (start, end))
                hit |= (places == place) & (finished_us >= low) & (finished_us < high)
    return hit


def _charges(milliseconds: NDArray[np.int64], places: NDArray[np.int64], words: _Words) -> NDArray[np.int64]:
    """Price each row in whole cents, rounded by dithering in integers: sums are unbiased however small the rows."""
    price = np.array([place.micro_usd_per_hour for place in PLACES], dtype=np.int64)[places]
    if len(milliseconds) and int(milliseconds.max()) > (2**62) // int(price.max()):
        raise InputError("A run is too large to be priced", field="runtime_s", value=int(milliseconds.max()))
    unit = MICRO_PER_MINOR * MILLISECONDS_PER_HOUR
    dither = (words >> np.uint64(1)).astype(np.int64) % unit
    return (milliseconds * price + dither) // unit


def _finish(frame: pl.DataFrame, service: str) -> pl.DataFrame:
    def of_place(read: Sequence[str]) -> pl.Expr:
        return pl.col("place").replace_strict(dict(enumerate(read)), return_dtype=pl.String)

    begin, end = _MAINTENANCE_HOURS
    finished = pl.col("finished_at")
    maintained = (finished.dt.weekday() == _MAINTENANCE_WEEKDAY + 1) & finished.dt.hour().is_between(
        begin, end, closed="left"
    )
    places: tuple[Place, ...] = PLACES
    return frame.with_columns(
        pl.lit(1, dtype=pl.Int32).alias("attempt"),
        pl.lit(service).alias("service"),
        of_place([place.cloud for place in places]).alias("cloud"),
        of_place([place.region for place in places]).alias("region"),
        of_place([place.price_id for place in places]).alias("price_id"),
        pl.when(maintained & (pl.col("place") == 1)).then(pl.lit(MAINTENANCE_REASON)).alias("excluded_reason"),
        pl.lit(CURRENCY).alias("currency"),
        pl.lit(None, dtype=pl.String).alias("estimate_id"),
        pl.lit(None, dtype=pl.String).alias("receipt_digest"),
        pl.lit(Source.CONSTRUCTED.value).alias("source"),
        (finished + pl.duration(seconds=RECORDED_AFTER_SECONDS)).alias("recorded_at"),
    ).select(pl.col(name).cast(kind) for name, kind in FACTS_SCHEMA.items())
