"""Adds what late files change to counts that are stored, without counting the day again.

The counts of a day are a sum over the rows that hold. A late file changes which rows hold only for the attempts that
stand in it, so the new counts are the stored ones, less the rows that hold no more, plus the rows that hold now: exact
integers, byte-equal with a count of the whole day (a property test compares them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla.counting import Profile, count_rows
from mc_pipelines.sla.latency import latency_buckets
from mc_pipelines.sla.slices import SliceDay, SliceRow

Pair = tuple[TenantId, ServiceId]


@dataclass(slots=True)
class Shift:
    """By how much the counts of one tenant, service and day change.

    Args:
        slices: by number of the slice: total, bad and excluded.
        buckets: by number of the slice and upper edge in ms: valid attempts; for latency.
        constructed: events of the day that were not real executions.
    """

    slices: dict[int, list[int]] = field(default_factory=dict)
    buckets: dict[tuple[int, int], int] = field(default_factory=dict)
    constructed: int = 0


def late_shifts(gone: pl.DataFrame, come: pl.DataFrame, profile: Profile, day: date) -> dict[Pair, Shift]:
    """Return by how much each tenant's and service's counts change.

    Args:
        gone: rows that hold no more (:func:`mc_pipelines.executions.fact_versions.changed_rows`).
        come: rows that hold now.
        profile: how to slice.
        day: the UTC day of every ``finished_at``.

    Raises:
        InputError: a row lacks a required value or finished on another day.
    """
    found: dict[Pair, Shift] = {}
    for rows, sign in ((gone, -1), (come, 1)):
        for tenant, service, number, *counts, constructed in count_rows(rows, profile, day).iter_rows():
            shift = found.setdefault((TenantId(tenant), ServiceId(service)), Shift())
            _add(shift.slices.setdefault(number, [0, 0, 0]), counts, sign)
            shift.constructed += sign * constructed
        if profile.threshold_ms:
            for tenant, service, number, edge, count in latency_buckets(rows.lazy(), profile).collect().iter_rows():
                buckets = found[TenantId(tenant), ServiceId(service)].buckets
                buckets[number, edge] = buckets.get((number, edge), 0) + sign * count
    return found


def shifted(stored: SliceDay, shift: Shift) -> SliceDay:
    """Return a day of slices with a shift added to it.

    Raises:
        VerificationError: a count would fall below zero: what is stored is not the count of the files it names.
    """
    counts = {row.number: [row.total, row.bad, row.excluded] for row in stored.rows}
    buckets = {(row.number, edge): count for row in stored.rows for edge, count in row.buckets}
    for number, change in shift.slices.items():
        _add(counts.setdefault(number, [0, 0, 0]), change, 1)
    for place, count in shift.buckets.items():
        buckets[place] = buckets.get(place, 0) + count
    constructed = stored.constructed + shift.constructed
    if constructed < 0 or min(buckets.values(), default=0) < 0 or any(min(row) < 0 for row in counts.values()):
        raise VerificationError("Stored counts are not those of the files they name", field="day", value=stored.day)
    spread: dict[int, list[tuple[int, int]]] = {}
    for (number, edge), count in sorted(buckets.items()):
        if count:
            spread.setdefault(number, []).append((edge, count))
    rows = tuple(
        SliceRow(number, total, bad, excluded, tuple(spread.get(number, ())))
        for number, (total, bad, excluded) in sorted(counts.items())
        if total
    )
    return SliceDay(
        stored.tenant, stored.service, stored.day, stored.granule_ms, stored.threshold_ms, rows, constructed
    )


def empty_day(pair: Pair, day: date, profile: Profile) -> SliceDay:
    """Return a day without events."""
    return SliceDay(*pair, day, profile.granule_ms, profile.threshold_ms, ())


def _add(counts: list[int], change: Sequence[int], sign: int) -> None:
    for place, one in enumerate(change):
        counts[place] += sign * one
