"""Rolls execution facts up into slices, one UTC day at a time, in streaming polars.

The kernel counts with integers only, so the result is byte-equal for any order of files and any number of
threads. A day is rolled up again only when its files have changed, and of such a day only those rows are
written whose counts changed; earlier revisions stay, which makes "as known on D" a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from mc_pipelines.executions.facts import FactsStore, days_with_facts, fact_paths, scan_facts
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla.calendar import GRID_MS
from mc_pipelines.sla.contract import Contract, Objective
from mc_pipelines.sla.contract_store import list_assignments
from mc_pipelines.sla.slice_store import newest_rollup, write_rollup
from mc_pipelines.sla.slices import AVAILABILITY, EDGES_MS, SliceDay, SliceRow

_COLUMNS = (
    "tenant",
    "service",
    "published_at",
    "started_at",
    "finished_at",
    "outcome",
    "fault_owner",
    "excluded_reason",
    "source",
)
_BAD = ("failed", "lost")
_NOT_OURS = ("cancelled", "denied")
_KEYS = ("tenant", "service", "number")


@dataclass(frozen=True, slots=True, order=True)
class Profile:
    """A way to slice: length and, for latency, the threshold that is still good (0 counts outcomes)."""

    granule_ms: int
    threshold_ms: int = AVAILABILITY

    @classmethod
    def of(cls, contract: Contract) -> Profile:
        """Return what a contract needs."""
        latency = contract.objective is Objective.LATENCY
        return cls(contract.granule_ms, (contract.threshold_ms or 0) if latency else AVAILABILITY)


BASE = Profile(GRID_MS)
"""Every tenant is counted on this, contract or not, so that a contract made later finds its past."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a rollup of one day did: how many rows it looked at and how many were new or changed."""

    day: date
    days_of_slices: int
    changed: int


def slice_facts(facts: pl.LazyFrame, profile: Profile) -> pl.LazyFrame:
    """Count facts per tenant, service and slice; the result is sorted and integer, whatever the input's order.

    An attempt is excluded when a reason says so, when it was the customer's fault, or when it was cancelled or
    denied; it is bad when it failed or was lost and is not excluded. For a latency profile an attempt that
    never started is excluded and one that waited longer than the threshold is bad.

    Args:
        facts: columns of execution facts, one row per attempt.
        profile: length of a slice and threshold.
    """
    excluded = (
        pl.col("excluded_reason").is_not_null()
        | (pl.col("fault_owner") == "customer")
        | pl.col("outcome").is_in(_NOT_OURS)
    )
    bad = pl.col("outcome").is_in(_BAD)
    if profile.threshold_ms:
        waited_us = (pl.col("started_at") - pl.col("published_at")).dt.total_microseconds()
        excluded = excluded | pl.col("started_at").is_null()
        bad = waited_us > profile.threshold_ms * 1000
    number = pl.col("finished_at").dt.epoch("ms") // profile.granule_ms
    counted = facts.select(
        pl.col("tenant"),
        pl.col("service"),
        number.alias("number"),
        excluded.alias("excluded"),
        (bad & ~excluded).fill_null(value=False).alias("bad"),
        (pl.col("source") != "real").alias("constructed"),
    )
    return (
        counted.group_by(_KEYS)
        .agg(
            pl.len().cast(pl.Int64).alias("total"),
            pl.col("bad").sum().cast(pl.Int64),
            pl.col("excluded").sum().cast(pl.Int64),
            pl.col("constructed").sum().cast(pl.Int64),
        )
        .sort(_KEYS)
    )


def latency_buckets(facts: pl.LazyFrame, profile: Profile) -> pl.LazyFrame:
    """Count valid attempts per slice and latency bucket; the edge of a bucket is inclusive."""
    edges = pl.Series("edge", EDGES_MS, dtype=pl.Int64)
    waited_ms = -((pl.col("published_at") - pl.col("started_at")).dt.total_microseconds() // 1000)
    valid = (
        pl.col("excluded_reason").is_null()
        & (pl.col("fault_owner") != "customer")
        & ~pl.col("outcome").is_in(_NOT_OURS)
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
        .with_columns(bucket.alias("bucket"))
        .group_by(*_KEYS, "bucket")
        .agg(pl.col("count").sum())
        .sort(*_KEYS, "bucket")
    )


def slice_days(facts: pl.LazyFrame, profile: Profile, day: date) -> list[SliceDay]:
    """Return the slices of one UTC day for every tenant and service in the facts, by tenant and service."""
    narrow = facts.select(_COLUMNS)
    table = slice_facts(narrow, profile).collect(engine="streaming")
    buckets = _buckets(narrow, profile) if profile.threshold_ms else {}
    found: list[SliceDay] = []
    for (tenant, service), part in table.group_by(["tenant", "service"], maintain_order=True):
        rows = tuple(
            SliceRow(number, total, bad, excluded, tuple(buckets.get((tenant, service, number), ())))
            for number, total, bad, excluded in part.select("number", "total", "bad", "excluded").iter_rows()
        )
        constructed = int(part["constructed"].sum())
        found.append(
            SliceDay(
                TenantId(str(tenant)),
                ServiceId(str(service)),
                day,
                profile.granule_ms,
                profile.threshold_ms,
                rows,
                constructed,
            )
        )
    return found


def _buckets(facts: pl.LazyFrame, profile: Profile) -> dict[tuple[object, ...], list[tuple[int, int]]]:
    found: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    for *key, bucket, count in latency_buckets(facts, profile).collect(engine="streaming").iter_rows():
        found.setdefault(tuple(key), []).append((EDGES_MS[bucket], count))
    return found


def profiles_needed(contracts: Iterable[Contract]) -> tuple[Profile, ...]:
    """Return the base profile and those that contracts add, sorted."""
    return tuple(sorted({BASE} | {Profile.of(contract) for contract in contracts}))


def roll_up(
    database: Database,
    store: FactsStore,
    clock: Clock,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[Rolled]:
    """Roll up every UTC day whose fact files are not yet counted; a second run finds nothing to do.

    Args:
        database: as mc_app.
        store: the plain store with the lake of facts.
        clock: stamps what is written.
        first_day: the first UTC day to look at; default: the first with facts.
        last_day: the last one, included; default: the last with facts.

    Returns:
        One entry for each day that was read.
    """
    with database.begin() as connection:
        profiles = profiles_needed(assigned.contract for assigned in list_assignments(connection))
    done: list[Rolled] = []
    for day in days_with_facts(store):
        if (first_day is None or day >= first_day) and (last_day is None or day <= last_day):
            rolled = _roll_day(database, store, clock, day, profiles)
            done += [] if rolled is None else [rolled]
    return done


def _roll_day(
    database: Database, store: FactsStore, clock: Clock, day: date, profiles: Sequence[Profile]
) -> Rolled | None:
    files = digest_of(fact_paths(store, first_day=day, last_day=day))
    name = digest_of([[profile.granule_ms, profile.threshold_ms] for profile in profiles])
    with database.begin() as connection:
        if newest_rollup(connection, day, name) == files:
            return None
    facts = scan_facts(store, first_day=day, last_day=day).select(_COLUMNS).collect(engine="streaming").lazy()
    found = [slices for profile in profiles for slices in slice_days(facts, profile, day)]
    with database.begin() as connection:
        changed = write_rollup(connection, day, found, profiles=name, files=files, now=clock.now())
    return Rolled(day, len(found), changed)
